//! Runs worlds: one seed, a range of them, or fresh ones until the time is over.
//!
//! ```text
//! shers-world --seed S [--minutes M] [--trace]
//! shers-world --seeds A..B [--minutes M]
//! shers-world --soak MINUTES [--from SEED] [--minutes M]
//! ```

use shers_world::{Outcome, Script, panics, run};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

const USAGE: &str =
    "usage: shers-world (--seed S [--trace] | --seeds A..B | --soak MINUTES [--from SEED]) [--minutes M]
  --seed S       one world, twice, and says whether both were equal
  --seeds A..B   the worlds of the seeds A to B-1
  --soak N       fresh seeds for N minutes of real time, from --from on (default: the time of day)
  --minutes M    lively minutes of each world (default 40)
  --trace        print every event of the log and every answer";

struct Arguments {
    seeds: std::ops::Range<u64>,
    until: Option<Duration>,
    minutes: u64,
    trace: bool,
    twice: bool,
}

fn arguments() -> Option<Arguments> {
    let mut found = Arguments { seeds: 0..0, until: None, minutes: 40, trace: false, twice: false };
    let mut from = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seed" => {
                let seed = words.next()?.parse().ok()?;
                found.seeds = seed..seed + 1;
                found.twice = true;
            }
            "--seeds" => {
                let range = words.next()?;
                let (first, last) = range.split_once("..")?;
                found.seeds = first.parse().ok()?..last.parse().ok()?;
            }
            "--soak" => found.until = Some(Duration::from_secs(60 * words.next()?.parse::<u64>().ok()?)),
            "--from" => from = Some(words.next()?.parse().ok()?),
            "--minutes" => found.minutes = words.next()?.parse().ok()?,
            "--trace" => found.trace = true,
            _ => return None,
        }
    }
    if found.until.is_some() {
        let now = shers_runtime::clock::system_now().as_ms();
        let first = from.unwrap_or_else(|| u64::try_from(now).unwrap_or(0));
        found.seeds = first..u64::MAX;
    }
    (!found.seeds.is_empty()).then_some(found)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    panics::watch();
    let started = Instant::now();
    let mut count = 0_u64;
    for seed in arguments.seeds.clone() {
        if arguments.until.is_some_and(|until| started.elapsed() >= until) {
            break;
        }
        let script = Script { seed, minutes: arguments.minutes, trace: arguments.trace };
        match run(script) {
            Ok(outcome) => {
                show(seed, &outcome);
                if arguments.twice && !same(script, &outcome) {
                    return ExitCode::FAILURE;
                }
            }
            Err(broken) => {
                broken.trace.iter().for_each(|line| println!("{line}"));
                println!("FAILED {broken}");
                return ExitCode::FAILURE;
            }
        }
        count += 1;
    }
    println!("{count} worlds in {:.1} s, no law broken", started.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

fn show(seed: u64, outcome: &Outcome) {
    outcome.trace.iter().for_each(|line| println!("{line}"));
    println!(
        "seed {seed}: {} events, {} incidents, {} bills, {} restarts, {} crashes, digest {:016x}",
        outcome.events, outcome.incidents, outcome.bills, outcome.restarts, outcome.crashes, outcome.digest
    );
}

/// Whether a second run of the script gives the same world.
fn same(script: Script, first: &Outcome) -> bool {
    match run(Script { trace: false, ..script }) {
        Ok(second) if second.ledger == first.ledger => true,
        Ok(second) => {
            println!("FAILED seed {}: a second run differs", script.seed);
            let differing = first.ledger.lines().zip(second.ledger.lines()).find(|(one, other)| one != other);
            if let Some((one, other)) = differing {
                println!("first:  {one}\nsecond: {other}");
            }
            false
        }
        Err(broken) => {
            println!("FAILED seed {}: a second run differs: {broken}", script.seed);
            false
        }
    }
}
