//! SIGKILL at seeded moments: nothing accepted is lost, nothing happens twice, every story ends.
//!
//! Patients, crews and relatives work on over HTTP with idempotency keys while the server is killed and
//! started again on the same data directory and port. Afterwards the whole log and the sandboxes' own
//! ledgers are checked. `SHERS_SEED` chooses the moments, `SHERS_KILL_ROUNDS` how many there are.

mod support;

use serde_json::Value;
use shers_db::{SqliteOptions, SqliteStore};
use shers_runtime::Store;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};
use support::{
    Client, Dice, Event, Server, Start,
    driver::{Driver, Plan},
    eventually_within, ledger, run, seed,
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
        check_ledgers(&data, &log, &plans).await;
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

/// Waits until every message to the next of kin has its end.
async fn notifications_end(client: &Client) {
    eventually_within(Duration::from_secs(60), "every notification ends", async || {
        let log = ledger::log_after(client, 0, "notification.#").await;
        let of = |wanted: &dyn Fn(&Event) -> bool| -> BTreeSet<String> {
            log.iter().filter(|event| wanted(event)).map(|event| event.stream.clone()).collect()
        };
        let queued = of(&|event| event.kind == "notification.queued");
        let ended = of(&|event| event.data["last"] == true);
        if queued == ended { Ok(()) } else { Err(format!("{:?}", queued.difference(&ended))) }
    })
    .await;
}

/// What the house itself says: bills as planned, nobody in trouble, nothing given up.
async fn check_house(client: &Client, driver: &Driver) {
    let list = client.get("/incidents?limit=1000").await.expect(200);
    let incidents: BTreeMap<&str, &Value> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|i| (i["patient_id"].as_str().unwrap_or_default(), i))
        .collect();
    assert_eq!(incidents.len(), driver.plans.borrow().len());
    for plan in driver.plans.borrow().iter() {
        let incident = incidents[plan.patient.as_str()];
        assert_eq!(incident["status"], "closed", "{incident}");
        assert_eq!(incident["bill"]["state"], plan.bill(), "{plan:?} {incident}");
        assert_eq!(incident["calls"], 1 + u32::from(plan.second_call), "{plan:?} {incident}");
    }
    assert_eq!(client.get("/dead-letters").await.expect(200)["items"], serde_json::json!([]));
}

fn check_log(log: &[Event], driver: &Driver, units: &[String]) {
    let ids: BTreeSet<&str> = log.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), log.len(), "no event twice");
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    for event in log {
        let version = versions.entry(&event.stream).or_default();
        *version += 1;
        assert_eq!(event.version, *version, "{} has no gap and no double", event.stream);
    }
    assert!(!log.iter().any(|event| event.kind.starts_with("supervision.")), "nobody needed supervision");
    check_readings(log, &driver.accepted.borrow());
    check_incidents(log, &driver.plans.borrow());
    for unit in units {
        check_unit(log, unit);
    }
}

/// Every accepted reading is recorded once, and nothing else is.
fn check_readings(log: &[Event], accepted: &BTreeSet<(String, u64)>) {
    let mut recorded = BTreeSet::new();
    for event in log.iter().filter(|event| event.kind == "wearable.reading.recorded") {
        for reading in event.data["readings"].as_array().expect("readings") {
            let of = reading["patient_id"].as_str().expect("a patient").to_owned();
            let key = (of, reading["seq"].as_u64().expect("a number"));
            assert!(recorded.insert(key.clone()), "{key:?} is recorded twice");
        }
    }
    assert_eq!(&recorded, accepted);
}

/// One incident per emergency, one unit per incident, each step once.
fn check_incidents(log: &[Event], plans: &[Plan]) {
    let opened: Vec<&Event> = log.iter().filter(|event| event.kind == "incident.opened").collect();
    let patients: BTreeSet<&str> = opened.iter().map(|event| event.text("patient_id")).collect();
    assert_eq!((opened.len(), patients.len()), (plans.len(), plans.len()), "one incident per emergency");
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for event in log {
        if let Some(incident) = &event.correlation_id {
            *counts.entry((incident, &event.kind)).or_default() += 1;
        }
    }
    for event in &opened {
        let incident = event.correlation_id.as_deref().expect("its own");
        let count = |kind: &str| counts.get(&(incident, kind)).copied().unwrap_or(0);
        for kind in ["dispatch.assigned", "incident.resolved", "command.billing.start", "incident.closed"] {
            assert_eq!(count(kind), 1, "{kind} of {incident}");
        }
        assert_eq!(count("billing.paid") + count("billing.failed"), 1, "the bill of {incident} ends once");
    }
}

/// A unit serves one incident after the other, each status in its place.
fn check_unit(log: &[Event], unit: &str) {
    let stream = format!("unit/{unit}");
    let changes: Vec<&Event> =
        log.iter().filter(|event| event.stream == stream && event.kind.starts_with("unit.status.")).collect();
    let mut expected = ["reserved", "assigned"].iter().chain(&support::world::RUN).cycle();
    let mut incident = None;
    for change in changes.iter().skip_while(|change| change.kind == "unit.status.available") {
        let status = expected.next().expect("a cycle");
        assert_eq!(change.kind, format!("unit.status.{status}"), "{unit} at version {}", change.version);
        match *status {
            "reserved" => incident.clone_from(&change.correlation_id),
            _ => assert_eq!(change.correlation_id, incident, "{unit} stays with its incident: {change:?}"),
        }
    }
}

/// What the outside saw: one charge for a paid bill, none for a failed one; each message at most once,
/// or known to be uncertain.
async fn check_ledgers(data: &Path, log: &[Event], plans: &[Plan]) {
    let store = SqliteStore::open(data, &SqliteOptions::default()).expect("the server is gone");
    let documents = async |collection: &str| -> Vec<Value> {
        let found = store.documents(collection, &[], None, 100_000).await.expect("readable");
        found.iter().map(|document| serde_json::from_str(&document.doc).expect("JSON")).collect()
    };
    let payments = documents("sandbox.payment").await;
    let patient_of: BTreeMap<&str, &str> = log
        .iter()
        .filter(|event| event.kind == "incident.opened")
        .map(|event| (event.text("patient_id"), event.correlation_id.as_deref().expect("its own")))
        .collect();
    for plan in plans {
        let bill = patient_of[plan.patient.as_str()];
        let of_bill = payments.iter().filter(|payment| payment["bill_id"] == bill);
        let charges: u64 = of_bill.clone().map(|payment| payment["charges"].as_u64().expect("a number")).sum();
        let refunds: i64 = of_bill.map(|payment| payment["refunded_minor"].as_i64().expect("a number")).sum();
        assert_eq!((charges, refunds), (u64::from(plan.bill() == "PAID"), 0), "{plan:?}");
    }
    let uncertain: BTreeSet<&str> =
        log.iter().filter(|e| e.kind == "notification.ambiguous").map(|e| e.text("notification_id")).collect();
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for message in documents("sandbox.message").await.iter().filter(|message| message["fate"] == "sent") {
        let key = message["key"].as_str().expect("a key");
        let (notification, _attempt) = key.rsplit_once(':').expect("notification and attempt");
        *sent.entry(notification.to_owned()).or_default() += 1;
    }
    assert!(sent.len() >= plans.len(), "the next of kin were told: {} of {}", sent.len(), plans.len());
    for (notification, count) in &sent {
        assert!(*count == 1 || uncertain.contains(notification.as_str()), "{notification} was sent {count} times");
    }
    for event in log.iter().filter(|event| event.kind == "notification.sent") {
        assert!(sent.contains_key(event.text("notification_id")), "what is said to be sent was sent: {event:?}");
    }
}
