//! Restart with 10,000 open incidents of ten events: until every deadline is armed and every incident has
//! answered, against reading, parsing and folding the same events with nothing around. Each in a fresh
//! process, interleaved.

use crate::{
    actors,
    house::{Bench, Failure},
    incidents,
    report::{Report, median},
};
use serde_json::value::RawValue;
use shers_contract::{DomainEvent, Kind, Timestamp, incident::IncidentEvent};
use shers_db::{SqliteOptions, SqliteStore};
use shers_incidents::model::Incident;
use shers_runtime::{Aggregate, Append, Commit, Expected, Store, clock::system_now};
use std::{collections::HashMap, io::Write, path::Path, sync::Arc, time::Instant};

const AT_ONCE: usize = 500;

/// Writes the incidents.
fn fill(directory: &Path, count: usize) -> Result<(), Failure> {
    let store = SqliteStore::open(directory, &SqliteOptions::default())?;
    let at = system_now();
    crate::house::block_on(async {
        let all: Vec<usize> = (0..count).collect();
        for chunk in all.chunks(AT_ONCE) {
            let commits = chunk.iter().map(|n| {
                let events = incidents::new_events(*n, at);
                let append =
                    Append { stream: incidents::stream(*n), expected: Expected::Version(0), events, open: true };
                store.commit(Commit { appends: vec![append], ..Commit::default() })
            });
            futures::future::try_join_all(commits).await?;
        }
        Ok(())
    })
}

/// The child process: prints milliseconds.
pub fn child(kind: &str, directory: &Path, count: usize) -> Result<(), Failure> {
    let started = Instant::now();
    if kind == "raw" {
        let folded = raw(directory)?;
        if folded != count {
            return Err(format!("{folded} of {count} were folded").into());
        }
    } else {
        let store = SqliteStore::open(directory, &SqliteOptions::default())?;
        actix_rt::System::new().block_on(house(store, count))?;
    }
    let took = started.elapsed().as_secs_f64() * 1e3;
    writeln!(std::io::stdout(), "{took}")?;
    Ok(())
}

/// One query, one parse, one fold.
fn raw(directory: &Path) -> Result<usize, Failure> {
    let mut states: HashMap<i64, Incident> = HashMap::new();
    for (stream, kind, at, data) in shers_db::raw_limit::open_events(directory, "incident")? {
        let kind = Kind::parse(&kind).ok_or("an unknown kind")?;
        let data = RawValue::from_string(data)?;
        let state = states.entry(stream).or_default();
        if let Some(event) = IncidentEvent::from_data(kind, 1, &data) {
            *state = std::mem::take(state).evolve(&event?, Timestamp::from_ms(at));
        }
    }
    Ok(states.values().filter(|state| state.is_open()).count())
}

/// As the service does it, and then a question to each.
async fn house(store: Arc<SqliteStore>, count: usize) -> Result<(), Failure> {
    let deps = actors::deps(store);
    let directory = actors::directory(deps.clone());
    let open = directory.load_open().await?;
    if open != count {
        return Err(format!("{open} of {count} are open").into());
    }
    for n in 0..count {
        actors::ask(&directory, incidents::id(n).as_str(), &deps).await?;
    }
    Ok(())
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let count: usize = bench.pick(2_000, 10_000);
    let directory = bench.directory("restart")?;
    fill(&directory, count)?;
    let path = directory.to_string_lossy().into_owned();
    let count_text = count.to_string();
    let (mut ratios, mut raws, mut houses) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let one = |kind| -> Result<f64, Failure> {
            Ok(bench.measured(&["restart", kind, &path, &count_text])?.first().copied().unwrap_or(f64::NAN))
        };
        let (raw, house) = (one("raw")?, one("house")?);
        ratios.push(house / raw);
        raws.push(raw);
        houses.push(house);
    }
    let note = format!(
        "{count} incidents of {} events: {:.0} ms until all are loaded, deadlines armed and all have answered, against {:.0} ms",
        incidents::EVENTS,
        median(&houses),
        median(&raws)
    );
    report.add("restart", "restart / raw read, parse, fold", "times raw", Some((3.0, 1.5)), &ratios, Vec::new(), note);
    Ok(())
}
