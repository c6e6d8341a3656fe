//! The demo city, played twice with one seed at high speed: the same plot, and every story ends well.

mod support;

use serde_json::Value;
use std::{path::Path, time::Duration};
use support::{Start, run, server::data_dir};

/// Longest time for one play.
const LIMIT: Duration = Duration::from_secs(180);
/// City seconds per real second.
const SPEED: &str = "120";

#[test]
fn the_demo_with_one_seed_plays_the_same_plot_twice_and_every_story_ends_well() {
    run(2 * LIMIT, async {
        let (_kept, data) = data_dir();
        let first = play(&data).await;
        let second = play(&data).await;
        assert_eq!(first["plot"], second["plot"], "the same seed, the same plot");
        for told in [&first, &second] {
            check_outcomes(told);
        }
    });
}

async fn play(data: &Path) -> Value {
    let data = data.to_string_lossy();
    let arguments = ["demo", "--listen", "127.0.0.1:0", "--data-dir", &data, "--seed", "7", "--speed", SPEED];
    let start = Start::with(&arguments).arguments(&["--patients", "12", "--units", "2", "--until-done"]);
    let output = start.ends(LIMIT).await;
    let (told, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{log}", output.status);
    let (link, json) = told.split_once('\n').expect("a link, then how it ended");
    assert!(link.contains("EXERCISE") && link.contains("/#token="), "{link}");
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn check_outcomes(told: &Value) {
    let plot = told["plot"].as_array().expect("stories");
    let outcomes = told["outcomes"].as_array().expect("outcomes");
    assert_eq!((plot.len(), outcomes.len()), (5, 5), "one, a declined one, and one more at once than there are units");
    for outcome in outcomes {
        assert_eq!((&outcome["incident"], &outcome["incidents"]), (&"closed".into(), &1.into()), "{outcome}");
    }
    let count = |wanted: &dyn Fn(&Value) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    assert_eq!(count(&|outcome| outcome["bill"] == "FAILED"), 1, "one card is declined: {outcomes:#?}");
    assert_eq!(count(&|outcome| outcome["bill"] == "PAID"), outcomes.len() - 1, "the others pay: {outcomes:#?}");
    assert_eq!(count(&|outcome| outcome["calls"] == 2), 1, "one is called in twice: {outcomes:#?}");
    assert_eq!(count(&|outcome| outcome["calls"] == 1), outcomes.len() - 1, "{outcomes:#?}");
    assert!(count(&|outcome| outcome["waited"] == true) >= 1, "one waits for a unit: {outcomes:#?}");
}
