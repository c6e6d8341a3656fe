//! One emergency from the first reading to PAID over HTTP, the websocket and server-sent events, against
//! whatever house a client asks.

use super::{
    Client, Event, Socket, eventually, ledger,
    socket::Delivered,
    world::{self, RUN},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The next of kin's telephone.
pub const PHONE: &str = "+41790001234";
/// The trace that the first reading brings along.
pub const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The kinds of the story that must come in this order, whatever comes between.
const ORDER: [&str; 17] = [
    "triage.status.normal",
    "triage.status.emergency",
    "incident.opened",
    "dispatch.assigned",
    "unit.status.enroute",
    "unit.status.on-scene",
    "unit.status.at-patient",
    "unit.status.onboard",
    "unit.status.arrived",
    "unit.status.handed-over",
    "incident.resolved",
    "command.billing.start",
    "billing.pending",
    "billing.coverage-verified",
    "billing.pending",
    "billing.paid",
    "incident.closed",
];

/// Plays it as devices and crews would, checks what everyone is told, and gives the incident's id.
pub async fn play(client: &Client) -> String {
    world::hospital(client, "landesspital").await;
    world::register_patient(client, "p-1", &world::patient("pm_card_visa", PHONE)).await;
    world::free_unit(client, "rtw-1").await;
    let mut socket = Socket::open(client).await;
    socket.subscribe("all", &["#"], Some(0)).await;

    send_readings(client).await;
    let incident = world::assigned(client, "p-1").await;
    assert_eq!(incident["unit_id"], "rtw-1");
    let id = incident["incident_id"].as_str().expect("an id").to_owned();
    for status in RUN {
        world::report(client, "rtw-1", status).await;
    }
    let events = socket.events_until(|event| event.kind == "incident.closed").await;

    check_story(&events, &id);
    check_documents(client, &id).await;
    check_log(client, &id).await;
    check_resume(client, &events).await;
    check_sse(client, &events).await;
    id
}

async fn send_readings(client: &Client) {
    let answer = client.post("/vitals", &json!([world::well("p-1", 1), world::well("p-1", 2)])).await.expect(202);
    assert_eq!(answer, json!({"accepted": 2, "refused": []}));
    eventually("triage has judged the normal readings", async || {
        let judged = ledger::log_after(client, 0, "triage.#").await;
        if judged.is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
    })
    .await;
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let headers = [("traceparent", traceparent.as_str())];
    let answer = client.try_post("/vitals", &world::ill("p-1", 3), &headers).await.expect("an answer");
    let echoed = answer.headers.get("traceparent").and_then(|v| v.to_str().ok()).unwrap_or_default();
    assert!(echoed.contains(TRACE), "the answer belongs to the caller's trace: {echoed}");
    answer.expect(202);
}

/// Order and content as the websocket told them.
fn check_story(events: &[Delivered], incident: &str) {
    let mut rest = events.iter();
    for kind in ORDER {
        assert!(rest.any(|event| event.kind == kind), "{kind} comes in its place: {:#?}", kinds(events));
    }
    let of = |kind: &str| events.iter().find(|event| event.kind == kind).unwrap_or_else(|| panic!("{kind} is there"));
    let emergency = &of("triage.status.emergency").data;
    assert!(emergency["score"]["known"].as_u64() >= Some(7), "{emergency}");
    assert!(emergency["reason"].as_str().is_some_and(|reason| reason.len() > 20), "{emergency}");
    let parameters: BTreeSet<_> = emergency["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|f| &f["parameter"])
        .map(Value::to_string)
        .collect();
    assert!(parameters.len() >= 5, "every scored value stands in the findings: {emergency}");
    assert_eq!(of("incident.opened").data["patient_id"], "p-1");
    let assigned = &of("dispatch.assigned").data;
    assert_eq!((&assigned["unit_id"], &assigned["incident_id"]), (&json!("rtw-1"), &json!(incident)));
    assert!(assigned["eta_s"].as_u64().is_some_and(|s| s > 30 && s < 1200), "by road: {assigned}");
    assert!(!assigned["eta_source"].as_str().unwrap_or_default().is_empty(), "every ETA names its source");
    assert_eq!(of("unit.status.onboard").data["hospital"]["hospital_id"], "landesspital");
    let told: BTreeSet<_> =
        events.iter().filter(|e| e.kind == "notification.sent").map(|e| e.data["template"].to_string()).collect();
    assert!(
        told.contains("\"emergency-detected\"") && told.contains("\"unit-enroute\""),
        "next of kin were told: {told:?}"
    );
    for kind in ["incident.opened", "dispatch.assigned", "command.billing.start", "billing.paid", "incident.closed"] {
        assert_eq!(events.iter().filter(|event| event.kind == kind).count(), 1, "{kind} once");
    }
}

fn kinds(events: &[Delivered]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

/// The read models tell the same.
async fn check_documents(client: &Client, incident: &str) {
    let document = client.get(&format!("/incidents/{incident}")).await.expect(200);
    assert_eq!((&document["status"], &document["calls"]), (&json!("closed"), &json!(1)), "{document}");
    assert_eq!(document["bill"]["state"], "PAID");
    assert_eq!(document["hospital_id"], "landesspital");
    for time in ["call", "assigned", "enroute", "on_scene", "at_patient", "onboard", "arrived", "handed_over"] {
        assert!(document["times"][time].is_string(), "{time} is known: {document}");
    }
    let timeline = client.get(&format!("/incidents/{incident}/timeline?limit=200")).await.expect(200);
    let kinds: Vec<_> = timeline["items"].as_array().expect("items").iter().map(|e| e["kind"].clone()).collect();
    for kind in ["incident.opened", "dispatch.assigned", "unit.status.handed-over", "billing.paid", "incident.closed"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind} in {kinds:?}");
    }
    let bill = client.get(&format!("/bills/{incident}")).await.expect(200);
    assert_eq!((&bill["state"], &bill["attention"]), (&json!("PAID"), &Value::Null), "{bill}");
    let minor = |name: &str| bill[name]["amount_minor"].as_i64().unwrap_or_else(|| panic!("{name} of {bill}"));
    assert_eq!(minor("insurer") + minor("patient_share"), minor("total"), "{bill}");
    assert!(minor("total") > 0 && minor("insurer") > 0 && minor("charged") == minor("patient_share"), "{bill}");
    let unit = client.get("/units/rtw-1").await.expect(200);
    assert_eq!((&unit["status"], &unit["incident_id"]), (&json!("available"), &Value::Null), "{unit}");
}

/// One trace from the reading to the bill; nothing is an exercise.
async fn check_log(client: &Client, incident: &str) {
    let log = ledger::log(client).await;
    let of_incident: Vec<&Event> = log.iter().filter(|e| e.correlation_id.as_deref() == Some(incident)).collect();
    assert!(of_incident.len() > 20, "{}", of_incident.len());
    let strangers: Vec<_> =
        of_incident.iter().filter(|e| e.trace_id() != Some(TRACE)).map(|e| (&e.kind, &e.traceparent)).collect();
    assert!(strangers.is_empty(), "events outside the trace of the reading: {strangers:#?}");
    let reading = log.iter().rfind(|e| e.kind == "wearable.reading.recorded").expect("the reading");
    assert_eq!(reading.trace_id(), Some(TRACE));
    assert!(log.iter().all(|event| !event.exercise), "this was no exercise");
    let ids: BTreeSet<_> = log.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), log.len(), "ids are unique");
}

/// From the middle, the rest and nothing else.
async fn check_resume(client: &Client, events: &[Delivered]) {
    let middle = events.len() / 2;
    let mut socket = Socket::open(client).await;
    socket.subscribe("rest", &["#"], Some(events[middle - 1].offset)).await;
    let rest = socket.events_until(|event| event.kind == "incident.closed").await;
    assert_eq!(rest, events[middle..]);
}

/// Server-sent events from the middle, by `Last-Event-ID`.
async fn check_sse(client: &Client, events: &[Delivered]) {
    let middle = events.len() / 2;
    let want: Vec<(u64, String)> = events[middle..].iter().map(|e| (e.offset, e.kind.clone())).collect();
    let request = client.request(reqwest::Method::GET, "/events").header("accept", "text/event-stream");
    let mut response =
        request.header("last-event-id", events[middle - 1].offset.to_string()).send().await.expect("a stream");
    assert_eq!(response.status(), 200);
    let mut text = String::new();
    while !text.contains("event: incident.closed\n") || !text.ends_with("\n\n") {
        let chunk = response.chunk().await.expect("the stream goes on").expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    let got: Vec<(u64, String)> = text.split("\n\n").filter_map(sse_event).take(want.len()).collect();
    assert_eq!(got, want);
}

fn sse_event(block: &str) -> Option<(u64, String)> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data: Value = serde_json::from_str(field("data: ")?).expect("data is JSON");
    let (_epoch, offset) = field("id: ")?.rsplit_once('/')?;
    assert_eq!(data["offset"].to_string(), offset);
    Some((offset.parse().ok()?, field("event: ")?.to_owned()))
}
