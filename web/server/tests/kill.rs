//! SIGKILL at seeded moments: nothing accepted is lost, nothing happens twice, every story ends.
//!
//! Patients, crews and relatives work on over HTTP with idempotency keys while the server is killed and
//! started again on the same data directory and port. Afterwards the whole log and the sandboxes' own
//! ledgers are checked. `SHERS_SEED` chooses the moments, `SHERS_KILL_ROUNDS` how many there are.

mod support;

use serde_json::Value;
use shers_db::{SqliteOptions, SqliteStore};
use shers_runtime::Store;
use std::{cell::Cell, path::Path, time::Duration};
use support::{
    Dice, Server, Start,
    driver::Driver,
    invariants::{check_house, check_ledgers, check_log, notifications_end},
    ledger, run, seed,
    server::data_dir,
};

/// Emergencies under way at once: more than there are units, so that some wait.
const PATIENTS: usize = 5;
const UNITS: usize = 3;
/// Emergencies at most: they stop at the last kill.
const MOST: usize = 300;
/// A message to the next of kin that is not answered is given up after this.
const SEND_LIMIT_MS: &str = "150";

#[test]
fn killed_at_many_moments_it_loses_nothing_and_does_nothing_twice() {
    let rounds = std::env::var("SHERS_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let mut dice = Dice(seed(20_260_301));
    run(Duration::from_secs(60 + 10 * rounds), async {
        let (_kept, data) = data_dir();
        let mut server = start("127.0.0.1:0", &data).ready().await;
        let address = server.address().to_owned();
        let driver = Driver::new(server.client());
        let units: Vec<String> = (1..=UNITS).map(|n| format!("rtw-{n}")).collect();
        let next = Cell::new(0);
        let stories = async {
            futures::future::join_all((0..PATIENTS).map(|_| driver.patients(&next, MOST))).await;
            driver.over.set(true);
        };
        let crews = async {
            driver.set_up(&units).await;
            futures::future::join_all(units.iter().map(|unit| driver.crew(unit))).await;
        };
        let killer = async {
            for round in 1..=rounds {
                server = kill_and_restart(&mut server, &address, &data, &driver, &mut dice, round).await;
            }
            driver.enough.set(true);
        };
        tokio::join!(killer, stories, crews, driver.watch());

        let client = server.client();
        notifications_end(&client).await;
        check_house(&client, &driver).await;
        let log = ledger::log(&client).await;
        let stopped = server.terminate(Duration::from_secs(20)).await;
        assert!(stopped.success(), "{stopped}");
        println!("{} emergencies, {} events, {rounds} kills", driver.plans.borrow().len(), log.len());
        check_log(&log, &driver, &units);
        let plans = driver.plans.take();
        let store = SqliteStore::open(&data, &SqliteOptions::default()).expect("the server is gone");
        let documents = async |collection: &str| -> Vec<Value> {
            let found = store.documents(collection, &[], None, 100_000).await.expect("readable");
            found.iter().map(|document| serde_json::from_str(&document.doc).expect("JSON")).collect()
        };
        check_ledgers(&documents("sandbox.payment").await, &documents("sandbox.message").await, &log, &plans);
    });
}

fn start(listen: &str, data: &Path) -> Start {
    Start::serve_on(listen, data)
        .environment("SHERS_NOTIFICATION__SEND_LIMIT_MS", SEND_LIMIT_MS)
        .environment("SHERS_NOTIFICATION__SANDBOX_LATE_MS", "50")
        .environment("SHERS_NOTIFICATION__BACKOFF_S", "1")
}

/// Kills at a seeded moment, and starts anew; now and then it dies again while it starts.
async fn kill_and_restart(
    server: &mut Server,
    address: &str,
    data: &Path,
    driver: &Driver,
    dice: &mut Dice,
    round: u64,
) -> Server {
    if dice.below(2) == 0 {
        let at = driver.answers.get() + 1 + dice.below(60);
        while driver.answers.get() < at {
            tokio::task::yield_now().await;
        }
    } else {
        tokio::time::sleep(Duration::from_micros(dice.below(500_000))).await;
    }
    server.kill();
    if dice.below(4) == 0 {
        let mut short = start(address, data).spawn();
        tokio::time::sleep(Duration::from_micros(dice.below(400_000))).await;
        short.kill();
    }
    println!("round {round}: killed after {} answers", driver.answers.get());
    start(address, data).ready().await
}
