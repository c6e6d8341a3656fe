//! Stories that do not go straight: a declined card, no free unit, a second call.

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{
    Client, Start, eventually, ledger, run,
    server::data_dir,
    world::{self, RUN},
};

const LIMIT: Duration = Duration::from_secs(90);

/// A hospital and a patient who is an emergency.
async fn emergency(client: &Client, patient: &str, card: &str) {
    world::hospital(client, "landesspital").await;
    world::register_patient(client, patient, &world::patient(card, "+41790001234")).await;
    client.post("/vitals", &world::ill(patient, 1)).await.expect(202);
}

async fn drive(client: &Client, unit: &str) {
    for status in RUN {
        world::report(client, unit, status).await;
    }
}

async fn kinds_of(client: &Client, incident: &Value) -> Vec<String> {
    let log = ledger::log(client).await;
    let id = incident["incident_id"].as_str();
    log.into_iter().filter(|event| event.correlation_id.as_deref() == id).map(|event| event.kind).collect()
}

#[test]
fn a_declined_card_ends_failed_and_compensated_and_closes_the_incident() {
    run(LIMIT, async {
        let (_kept, data) = data_dir();
        let server = Start::serve(&data).ready().await;
        let client = server.client();
        world::free_unit(&client, "rtw-1").await;
        emergency(&client, "p-1", "pm_card_chargeDeclined").await;
        world::assigned(&client, "p-1").await;
        drive(&client, "rtw-1").await;
        let incident = world::closed(&client, "p-1").await;
        let id = incident["incident_id"].as_str().expect("an id");
        let bill = eventually("the compensation is shown", async || {
            let bill = client.get(&format!("/bills/{id}")).await.expect(200);
            let compensated =
                bill["history"].as_array().expect("a list").iter().any(|e| e["kind"] == "billing.compensated");
            if bill["state"] == "FAILED" && compensated { Ok(bill) } else { Err(bill.to_string()) }
        })
        .await;
        assert_eq!(bill["code"], "card-declined", "{bill}");
        assert!(bill["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{bill}");
        assert_eq!(bill["attention"], Value::Null, "{bill}");
        let kinds = kinds_of(&client, &incident).await;
        assert!(!kinds.iter().any(|kind| kind == "billing.paid"), "{kinds:?}");
    });
}

#[test]
fn an_incident_without_a_free_unit_waits_says_why_and_is_served_when_one_comes() {
    run(LIMIT, async {
        let (_kept, data) = data_dir();
        let server = Start::serve(&data).ready().await;
        let client = server.client();
        emergency(&client, "p-1", "pm_card_visa").await;
        let has_reason = |incident: &Value| incident["waiting_reason"].is_string();
        let waiting = world::incident_where(&client, "p-1", "it waits and says why", has_reason).await;
        assert!(waiting["waiting_reason"].as_str().is_some_and(|why| why.contains("unit")), "{waiting}");
        assert_eq!(waiting["unit_id"], Value::Null, "{waiting}");

        client.post("/units", &world::unit("rtw-1")).await.expect(201);
        let served = world::assigned(&client, "p-1").await;
        assert_eq!((&served["unit_id"], &served["waiting_reason"]), (&json!("rtw-1"), &Value::Null), "{served}");

        emergency(&client, "p-2", "pm_card_visa").await;
        let second = world::incident_where(&client, "p-2", "the second waits", has_reason).await;
        assert!(second["waiting_reason"].as_str().is_some_and(|why| why.contains("unit")), "{second}");
        drive(&client, "rtw-1").await;
        assert_eq!(world::assigned(&client, "p-2").await["unit_id"], "rtw-1", "the unit that came free serves it");
        drive(&client, "rtw-1").await;
        for patient in ["p-1", "p-2"] {
            assert_eq!(world::closed(&client, patient).await["bill"]["state"], "PAID");
        }
        let kinds = kinds_of(&client, &second).await;
        assert!(kinds.iter().any(|kind| kind == "dispatch.waiting"), "{kinds:?}");
    });
}

#[test]
fn a_second_call_joins_the_open_incident_and_never_opens_another() {
    run(LIMIT, async {
        let (_kept, data) = data_dir();
        let server = Start::serve(&data).ready().await;
        let client = server.client();
        world::free_unit(&client, "rtw-1").await;
        emergency(&client, "p-1", "pm_card_visa").await;
        let incident = world::assigned(&client, "p-1").await;
        let call = json!({"patient_id": "p-1", "priority": 3, "summary": "a neighbour calls"});
        let key = [("Idempotency-Key", "call-1")];
        let first = client.try_post("/incidents", &call, &key).await.expect("an answer");
        assert!(matches!(first.status, 200 | 201), "{first:?}");
        assert_eq!(first.body["incident_id"], incident["incident_id"]);
        let again = client.try_post("/incidents", &call, &key).await.expect("an answer");
        assert_eq!((again.status, &again.body), (first.status, &first.body), "the same key, the same answer");
        let reused =
            client.try_post("/incidents", &json!({"patient_id": "p-1", "priority": 1, "summary": "other"}), &key).await;
        reused.expect("an answer").expect_problem(422, "idempotency-key-reused", &["new key"]);
        let mut sos = world::ill("p-1", 2);
        sos["sos"] = json!(true);
        client.post("/vitals", &sos).await.expect(202);

        let joined = |incident: &Value| incident["calls"] == 3;
        world::incident_where(&client, "p-1", "two more calls have joined", joined).await;
        drive(&client, "rtw-1").await;
        let closed = world::closed(&client, "p-1").await;
        assert_eq!((&closed["calls"], &closed["bill"]["state"]), (&json!(3), &json!("PAID")), "{closed}");
        let kinds = kinds_of(&client, &closed).await;
        for (kind, times) in [("incident.opened", 1), ("incident.call-joined", 2), ("dispatch.assigned", 1)] {
            assert_eq!(kinds.iter().filter(|k| *k == kind).count(), times, "{kind} in {kinds:?}");
        }
    });
}
