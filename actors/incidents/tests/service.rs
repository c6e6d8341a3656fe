//! The service over a store in memory, in virtual time: deliveries, repeats, deadlines, restarts.

use serde_json::{Value, json};
use shers_contract::{
    DomainEvent, IncidentId, LatLon, PatientId, Timestamp, Traceparent, UnitId,
    api::{Call, Idempotency, IncidentAction, Principal, Reply, Request, Role},
    billing::{BillingEvent, Paid},
    derived_uuid,
    dispatch::{Assigned, DispatchEvent, StatusChanged, UnitEvent, UnitStatus},
    envelope::StreamName,
    incident::{Disposition, IncidentEvent},
    patient::{Patient, PatientEvent},
    triage::{Class, Score, TriageEvent, TriageStatus},
};
use shers_incidents::{Settings, start};
use shers_runtime::{
    Append, Commit, Deps, Endpoint, Expected, NewEvent,
    testing::{MemoryStore, TEST_START, deps_at, deps_over},
};
use std::{future::Future, sync::Arc, time::Duration};

/// One life of the process: everything that runs in it ends with it.
fn life<F: Future<Output = ()>>(test: F) {
    actix_rt::System::new().block_on(async {
        tokio::time::pause();
        test.await;
    });
}

fn patient() -> PatientId {
    PatientId::new("p-1").expect("valid")
}

fn incident(ordinal: u64) -> IncidentId {
    IncidentId::of_patient(&patient(), ordinal)
}

fn registered() -> PatientEvent {
    let patient = json!({"patient_id": "p-1", "name": "Max", "home": {"lat": 47.1, "lon": 9.5}});
    PatientEvent::Registered(serde_json::from_value::<Patient>(patient).expect("a patient"))
}

fn emergency(rule: &str) -> TriageEvent {
    TriageEvent::of(TriageStatus {
        patient_id: patient(),
        class: Class::Emergency,
        previous: None,
        rule: rule.into(),
        reason: "NEWS2 is 8".into(),
        score: Score { name: "news2".into(), known: 8, ..Score::default() },
        findings: Vec::new(),
        clears_when: None,
        reading_at: TEST_START,
        location: None,
    })
}

fn status(status: UnitStatus) -> UnitEvent {
    UnitEvent::status(
        status,
        StatusChanged {
            unit_id: UnitId::new("u-1").expect("valid"),
            previous: None,
            incident_id: Some(incident(1)),
            hospital: None,
            by: "crew".into(),
            at: TEST_START,
            location: None,
            loaded_distance_m: Some(5000),
            reason: None,
        },
    )
}

fn assigned() -> DispatchEvent {
    DispatchEvent::Assigned(Assigned {
        incident_id: incident(1),
        unit_id: UnitId::new("u-1").expect("valid"),
        eta_s: 300,
        distance_m: 4000,
        eta_source: "built-in".into(),
        reason: "closest".into(),
        candidates: Vec::new(),
        by: "dispatch".into(),
        from: None,
        to: LatLon::new(47.1, 9.5).expect("valid"),
        answer_by: None,
    })
}

/// Publishes an event as another service would. The same `name` is the same message delivered again.
async fn publish(deps: &Deps, stream: &str, name: &str, event: &impl DomainEvent) {
    let append = Append {
        stream: StreamName::from_stored(stream),
        expected: Expected::Any,
        events: vec![NewEvent {
            id: derived_uuid(&["published", name]),
            kind: event.kind(),
            v: 1,
            at: deps.clock.now(),
            correlation_id: stream.starts_with("unit/").then(|| incident(1)),
            causation_id: None,
            traceparent: Some(Traceparent { trace_id: 1, span_id: 1 }),
            exercise: false,
            data: event.to_data(),
        }],
        open: false,
    };
    deps.store.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("published");
    settled().await;
}

/// Lets everything that is under way finish; virtual time.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(900)).await;
}

async fn ask(door: &Arc<dyn Endpoint>, name: &str, key: Option<&str>, request: Request) -> Reply {
    door.call(Call {
        id: derived_uuid(&["call", name]),
        principal: Principal { subject: "d-1".into(), role: Role::Dispatcher },
        traceparent: Traceparent { trace_id: 1, span_id: 1 },
        exercise: false,
        idempotency: key.map(|key| Idempotency { key: format!("d-1 /incidents {key}"), body_digest: "x".into() }),
        if_match: None,
        request,
    })
    .await
}

fn open(body: Value) -> Request {
    Request::OpenIncident(serde_json::from_value(body).expect("a call"))
}

/// How often each kind of the incidents service stands in the log.
fn count(store: &MemoryStore, kind: &str) -> usize {
    store.kinds().into_iter().filter(|k| *k == kind).count()
}

#[test]
fn an_emergency_delivered_again_and_a_second_one_make_one_incident_at_the_patients_home() {
    let store = MemoryStore::new();
    life(async {
        let deps = deps_over(store.clone());
        let _door = start(deps.clone(), Settings::default()).await.expect("started");
        publish(&deps, "patient/p-1", "registered", &registered()).await;
        publish(&deps, "triage/p-1", "first", &emergency("news2-total")).await;
        publish(&deps, "triage/p-1", "first", &emergency("news2-total")).await;
        publish(&deps, "triage/p-1", "again", &emergency("news2-total")).await;
        publish(&deps, "triage/p-1", "fall", &emergency("fall")).await;
    });
    assert_eq!((count(&store, "incident.opened"), count(&store, "incident.call-joined")), (1, 1));
    assert_eq!((count(&store, "command.dispatch.request"), count(&store, "command.notification.send")), (1, 1));
    let opened = store.all().into_iter().find(|r| r.envelope.kind.as_str() == "incident.opened").expect("opened");
    match IncidentEvent::from_envelope(&opened.envelope).expect("known").expect("readable") {
        IncidentEvent::Opened(opened) => assert_eq!(opened.location, LatLon::new(47.1, 9.5)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_whole_story_runs_to_the_paid_bill_and_the_next_emergency_opens_the_next_incident() {
    let store = MemoryStore::new();
    life(async {
        let deps = deps_over(store.clone());
        let _door = start(deps.clone(), Settings::default()).await.expect("started");
        publish(&deps, "patient/p-1", "registered", &registered()).await;
        publish(&deps, "triage/p-1", "first", &emergency("news2-total")).await;
        publish(&deps, "unit/u-1", "assigned", &assigned()).await;
        for step in
            [UnitStatus::Enroute, UnitStatus::OnScene, UnitStatus::Onboard, UnitStatus::Arrived, UnitStatus::HandedOver]
        {
            publish(&deps, "unit/u-1", step.as_str(), &status(step)).await;
        }
        let paid = BillingEvent::Paid(Paid {
            bill_id: incident(1).bill(),
            incident_id: incident(1),
            payment_id: None,
            provider: "sandbox-payment".into(),
            charged: serde_json::from_value(json!({"amount_minor": 0, "currency": "EUR"})).expect("money"),
        });
        publish(&deps, "bill/1", "paid", &paid).await;
        publish(&deps, "triage/p-1", "second", &emergency("news2-total")).await;
        publish(&deps, "triage/p-1", "first", &emergency("news2-total")).await;
    });
    let own: Vec<_> = store
        .all()
        .iter()
        .filter(|r| r.envelope.stream == StreamName::new("incident", incident(1)))
        .map(|r| r.envelope.kind.as_str())
        .collect();
    let want = [
        "incident.opened",
        "command.notification.send",
        "command.dispatch.request",
        "incident.unit-changed",
        "incident.unit-changed",
        "command.notification.send",
        "incident.unit-changed",
        "incident.unit-changed",
        "command.notification.send",
        "incident.resolved",
        "command.billing.start",
        "incident.closed",
    ];
    assert_eq!(own, want);
    assert_eq!(count(&store, "incident.opened"), 2, "one for each emergency, none for the repeat");
}

#[test]
fn deadlines_fire_in_time_also_after_a_restart_and_stop_when_somebody_acknowledges() {
    let store = MemoryStore::new();
    life(async {
        let deps = deps_over(store.clone());
        let _door = start(deps.clone(), Settings::default()).await.expect("started");
        publish(&deps, "triage/p-1", "first", &emergency("sos")).await;
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(count(&store, "incident.escalated"), 1);
    });
    life(async {
        let deps = deps_at(store.clone(), Timestamp::from_ms(TEST_START.as_ms() + 3_600_000));
        let door = start(deps.clone(), Settings::default()).await.expect("started");
        settled().await;
        assert_eq!(count(&store, "incident.escalated"), 2, "the deadline passed while nobody ran");
        let answer = ask(&door, "ack", None, Request::ActOnIncident(incident(1), IncidentAction::Acknowledge)).await;
        assert_eq!(answer.expect("acknowledged").body["status"], "acknowledged");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(count(&store, "incident.escalated"), 2);
        publish(&deps, "triage/p-1", "first", &emergency("sos")).await;
        assert_eq!(count(&store, "incident.opened"), 1);
    });
}

#[test]
fn a_quiet_call_delivered_again_after_the_end_opens_nothing() {
    let store = MemoryStore::new();
    life(async {
        let deps = deps_over(store.clone());
        let door = start(deps.clone(), Settings::default()).await.expect("started");
        publish(&deps, "triage/p-1", "first", &emergency("sos")).await;
        publish(&deps, "triage/p-1", "quiet", &emergency("sos")).await;
        let act = IncidentAction::Resolve { disposition: Disposition::FalseAlarm };
        ask(&door, "resolve", None, Request::ActOnIncident(incident(1), act)).await.expect("resolved");
        publish(&deps, "triage/p-1", "quiet", &emergency("sos")).await;
    });
    assert_eq!(count(&store, "incident.opened"), 1);
}

#[test]
fn a_persons_call_opens_joins_and_is_found_again_by_its_key() {
    let store = MemoryStore::new();
    life(async {
        let deps = deps_over(store.clone());
        let door = start(deps.clone(), Settings::default()).await.expect("started");
        publish(&deps, "patient/p-1", "registered", &registered()).await;
        let body = json!({"patient_id": "p-1", "priority": 3, "summary": "fell on the stairs"});
        let first = ask(&door, "1", Some("k"), open(body.clone())).await.expect("opened");
        let replay = ask(&door, "2", Some("k"), open(body.clone())).await.expect("replayed");
        let joined = ask(&door, "3", None, open(body)).await.expect("joined");
        assert_eq!((first.status, replay.status, joined.status), (201, 201, 200));
        assert_eq!(first.body["incident_id"], joined.body["incident_id"]);
        assert_eq!(joined.body["calls"], 2);

        let place = json!({"location": {"lat": 47.2, "lon": 9.5}, "priority": 2, "summary": "crash on the road"});
        let unknown = ask(&door, "4", Some("l"), open(place.clone())).await.expect("opened");
        let again = ask(&door, "5", Some("l"), open(place.clone())).await.expect("replayed");
        let other = ask(&door, "6", None, open(place)).await.expect("opened");
        assert_eq!(unknown.body["incident_id"], again.body["incident_id"]);
        assert_ne!(unknown.body["incident_id"], other.body["incident_id"]);

        let stranger = json!({"patient_id": "nobody", "priority": 2, "summary": "who is that"});
        let problem = ask(&door, "7", None, open(stranger)).await.expect_err("unknown patient");
        assert_eq!((problem.status, problem.more["field"].as_str()), (422, Some("/patient_id")));
        let none = IncidentId::new("none").expect("valid");
        let problem =
            ask(&door, "8", None, Request::ActOnIncident(none, IncidentAction::Close)).await.expect_err("none");
        assert_eq!(problem.status, 404);
        let problem = ask(&door, "9", None, Request::ActOnIncident(incident(1), IncidentAction::Close)).await;
        let problem = problem.expect_err("open");
        assert_eq!((problem.status, problem.more["current_status"].as_str()), (409, Some("opened")));
    });
    assert_eq!(count(&store, "incident.opened"), 3);
}
