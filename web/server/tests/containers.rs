//! The main story on a house that somebody else started: `scripts/areas/images.sh` starts one of containers and
//! names it here. Without one there is nothing to test, and the test says so.

mod support;

use std::time::Duration;
use support::{Client, run, story};

#[test]
fn an_emergency_crosses_the_house_that_was_started() {
    let Ok(address) = std::env::var("SHERS_TEST_HOUSE") else {
        println!(
            "left out: no house to play on: SHERS_TEST_HOUSE (address:port) and SHERS_TEST_HOUSE_TOKEN are not set"
        );
        return;
    };
    let token = std::env::var("SHERS_TEST_HOUSE_TOKEN").expect("SHERS_TEST_HOUSE_TOKEN, beside SHERS_TEST_HOUSE");
    run(Duration::from_secs(180), async {
        let incident = story::play(&Client::new(&address, &token)).await;
        println!("note: {incident} went from its first reading to a paid bill");
    });
}
