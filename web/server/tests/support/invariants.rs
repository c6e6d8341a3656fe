//! What must hold over the whole ledger of a house, whatever happened to its processes.

use super::{
    Client, Event,
    driver::{Driver, Plan},
    eventually_within, ledger,
    world::RUN,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Waits until every message to the next of kin has its end.
pub async fn notifications_end(client: &Client) {
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
pub async fn check_house(client: &Client, driver: &Driver) {
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

/// No event twice, no gap in a stream.
pub fn check_streams(log: &[Event]) {
    let ids: BTreeSet<&str> = log.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), log.len(), "no event twice");
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    for event in log {
        let version = versions.entry(&event.stream).or_default();
        *version += 1;
        assert_eq!(event.version, *version, "{} has no gap and no double", event.stream);
    }
}

/// The whole log of a house in which nobody needed supervision and no reading came twice.
pub fn check_log(log: &[Event], driver: &Driver, units: &[String]) {
    check_streams(log);
    assert!(!log.iter().any(|event| event.kind.starts_with("supervision.")), "nobody needed supervision");
    check_readings(log, &driver.accepted.borrow());
    check_incidents(log, &driver.plans.borrow());
    for unit in units {
        check_unit(log, unit);
    }
}

/// Every reading in the log, as patient and number, in the log's order.
pub fn recorded(log: &[Event]) -> Vec<(String, u64)> {
    let envelopes = log.iter().filter(|event| event.kind == "wearable.reading.recorded");
    let readings = envelopes.flat_map(|event| event.data["readings"].as_array().expect("readings"));
    let key = |reading: &Value| {
        let of = reading["patient_id"].as_str().expect("a patient").to_owned();
        (of, reading["seq"].as_u64().expect("a number"))
    };
    readings.map(key).collect()
}

/// Every accepted reading is recorded once, and nothing else is.
fn check_readings(log: &[Event], accepted: &BTreeSet<(String, u64)>) {
    let all = recorded(log);
    let once: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(all.len(), once.len(), "no reading is recorded twice");
    assert_eq!(&once, accepted);
}

/// One incident per emergency, one unit per incident, each step once.
pub fn check_incidents(log: &[Event], plans: &[Plan]) {
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
pub fn check_unit(log: &[Event], unit: &str) {
    let stream = format!("unit/{unit}");
    let changes: Vec<&Event> =
        log.iter().filter(|event| event.stream == stream && event.kind.starts_with("unit.status.")).collect();
    let mut expected = ["reserved", "assigned"].iter().chain(&RUN).cycle();
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
pub fn check_ledgers(payments: &[Value], messages: &[Value], log: &[Event], plans: &[Plan]) {
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
    for message in messages.iter().filter(|message| message["fate"] == "sent") {
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
