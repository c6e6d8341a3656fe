//! The service over a store in memory: announcements, failures and restarts.

use shers_contract::{
    DomainEvent, Kind, PatientId, Timestamp, Traceparent,
    api::{Call, Principal, Request, Role},
    envelope::StreamName,
    patient::{Patient, PatientEvent},
    triage::{TriageEvent, TriageStatus},
    vitals::{Reading, ReadingBatch, WearableEvent},
};
use shers_runtime::testing::{MemoryStore, TEST_START, deps_at};
use shers_runtime::{Append, Commit, CommitError, Expected, NewEvent, Store};
use shers_triage::{Settings, start};
use std::future::Future;
use std::sync::Arc;
use uuid::Uuid;

/// Runs `story` on an arbiter of its own; whatever it started dies with it, as in a crash.
fn life<T>(story: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(story)
}

fn at(seconds: i64) -> Timestamp {
    TEST_START.plus_ms(seconds * 1000)
}

fn id(text: &str) -> PatientId {
    PatientId::new(text).expect("an id")
}

fn reading(patient: &str, seconds: i64, change: impl FnOnce(&mut Reading)) -> Reading {
    let mut reading = Reading::empty(id(patient), at(seconds));
    change(&mut reading);
    reading
}

fn well(r: &mut Reading) {
    (r.heart_rate_bpm, r.spo2_pct, r.respiration_rate_bpm) = (Some(70), Some(98), Some(16));
}

fn sick(r: &mut Reading) {
    (r.heart_rate_bpm, r.spo2_pct, r.respiration_rate_bpm) = (Some(150), Some(90), Some(28));
}

async fn append(store: &MemoryStore, stream: StreamName, seconds: i64, event: &impl DomainEvent) -> Uuid {
    let id = shers_contract::derived_uuid(&["message", &store.all().len().to_string()]);
    let event = NewEvent {
        id,
        kind: event.kind(),
        v: 1,
        at: at(seconds),
        correlation_id: None,
        causation_id: None,
        traceparent: Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        exercise: true,
        data: event.to_data(),
    };
    let append = Append { stream, expected: Expected::Any, events: vec![event], open: false };
    store.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("appends");
    id
}

/// The house receives `readings` at the time of the last of them.
async fn receive(store: &MemoryStore, readings: Vec<Reading>) -> Uuid {
    let received_at = readings.last().map_or(TEST_START, |r| r.at);
    let seconds = received_at.ms_since(TEST_START) / 1000;
    let event = WearableEvent::Recorded(ReadingBatch { received_at, readings });
    append(store, StreamName::new("readings", "p00"), seconds, &event).await
}

fn statuses(store: &MemoryStore) -> Vec<TriageStatus> {
    let events = store.all();
    let triage = events.iter().filter_map(|r| TriageEvent::from_envelope(&r.envelope));
    triage.map(|event| event.expect("reads").status().clone()).collect()
}

/// Waits until `patient` was announced; everything received before it has been dealt with then.
async fn until_announced(store: &MemoryStore, patient: &str) {
    let mut head = store.head();
    while !statuses(store).iter().any(|s| s.patient_id == id(patient)) {
        head.changed().await.expect("the store lives");
    }
}

/// A marker: a press of the button by somebody else, and the wait for its announcement.
async fn settle(store: &MemoryStore, marker: &str, seconds: i64) {
    receive(store, vec![reading(marker, seconds, |r| r.sos = true)]).await;
    until_announced(store, marker).await;
}

fn of(store: &MemoryStore, patient: &str) -> Vec<String> {
    let all = statuses(store);
    all.iter().filter(|s| s.patient_id == id(patient)).map(|s| format!("{:?} {}", s.class, s.rule)).collect()
}

async fn begin(store: &Arc<MemoryStore>, seconds: i64) -> Arc<dyn shers_runtime::Endpoint> {
    let store: Arc<dyn Store> = Arc::clone(store) as Arc<dyn Store>;
    start(deps_at(store, at(seconds)), Settings::default()).await.expect("starts")
}

#[test]
fn an_emergency_is_announced_with_its_cause_and_trace_and_once() {
    let store = MemoryStore::new();
    life(async {
        begin(&store, 0).await;
        let cause = receive(&store, vec![reading("p-1", 0, well), reading("p-1", 5, sick)]).await;
        settle(&store, "marker", 6).await;
        assert_eq!(of(&store, "p-1"), ["Normal news2-total", "Emergency extreme-heart-rate"]);
        let all = store.all();
        let emergency = all.iter().find(|r| r.envelope.kind == Kind::TRIAGE_EMERGENCY).expect("announced");
        assert_eq!(emergency.envelope.stream.as_str(), "triage/p-1");
        assert_eq!(emergency.envelope.causation_id, Some(cause));
        assert!(emergency.envelope.traceparent.is_some() && emergency.envelope.exercise);
    });
}

#[test]
fn after_a_crash_before_the_cursor_was_saved_nothing_is_announced_twice() {
    let store = MemoryStore::new();
    life(async {
        begin(&store, 0).await;
        receive(&store, vec![reading("p-1", 0, well)]).await;
        receive(&store, vec![reading("p-1", 5, sick)]).await;
        receive(&store, vec![reading("p-1", 10, well)]).await;
        receive(&store, vec![reading("p-1", 15, sick)]).await;
        settle(&store, "marker-1", 16).await;
    });
    let before = of(&store, "p-1");
    assert_eq!(before.len(), 4, "{before:?}");
    // Nothing was saved of how far it had come: everything is delivered again.
    set_cursor(&store, 0);
    life(async {
        begin(&store, 20).await;
        receive(&store, vec![reading("p-1", 20, sick)]).await;
        settle(&store, "marker-2", 21).await;
    });
    assert_eq!(of(&store, "p-1"), before);
    assert_eq!(of(&store, "marker-1"), ["Emergency sos"]);
}

#[test]
fn after_a_restart_an_open_emergency_stays_open_and_older_values_still_count() {
    let store = MemoryStore::new();
    life(async {
        begin(&store, 0).await;
        // The blood pressure announces nothing, so only the journal knows of it.
        receive(&store, vec![reading("p-2", 0, well)]).await;
        receive(&store, vec![reading("p-2", 1, |r| r.systolic_mmhg = Some(95))]).await;
        receive(&store, vec![reading("p-1", 0, sick)]).await;
        settle(&store, "marker-1", 2).await;
    });
    save_cursor(&store);
    life(async {
        begin(&store, 400).await;
        // Past the life of what led to it, and with nothing but a heart rate.
        receive(&store, vec![reading("p-1", 400, |r| r.heart_rate_bpm = Some(80))]).await;
        // 1 (heart rate) + 2 (SpO2) + 0 + 2 (blood pressure of before) = 5.
        let worse =
            |r: &mut Reading| (r.heart_rate_bpm, r.spo2_pct, r.respiration_rate_bpm) = (Some(95), Some(93), Some(16));
        receive(&store, vec![reading("p-2", 401, worse)]).await;
        settle(&store, "marker-2", 402).await;
    });
    assert_eq!(of(&store, "p-1"), ["Emergency extreme-heart-rate"]);
    assert_eq!(of(&store, "p-2"), ["Normal news2-total", "Abnormal news2-total"]);
}

#[test]
fn readings_that_wait_at_a_restart_are_judged_one_by_one() {
    let store = MemoryStore::new();
    life(async {
        begin(&store, 0).await;
        receive(&store, vec![reading("p-1", 0, well)]).await;
        settle(&store, "marker-1", 1).await;
    });
    save_cursor(&store);
    life(async {
        // Both were received while nobody judged: the first must not hide behind the second.
        receive(&store, vec![reading("p-1", 10, |r| r.sos = true)]).await;
        receive(&store, vec![reading("p-1", 20, well)]).await;
        begin(&store, 30).await;
        settle(&store, "marker-2", 31).await;
    });
    assert_eq!(of(&store, "p-1"), ["Normal news2-total", "Emergency sos"]);
}

#[test]
fn a_commit_that_fails_is_done_again_as_if_nothing_had_been() {
    for fault in [CommitError::Unavailable("the disk is full".to_owned()), CommitError::Unknown("no answer".to_owned())]
    {
        let store = MemoryStore::new();
        life(async {
            store.fail_next([fault]);
            begin(&store, 0).await;
            // The fault must hit the service's commit, not the test's: this one is eaten first.
            let eaten = Commit::default();
            assert!(store.commit(eaten).await.is_err());
            receive(&store, vec![reading("p-0", 0, well)]).await;
            until_announced(&store, "p-0").await;
            let r = vec![reading("p-1", 0, well), reading("p-1", 5, sick), reading("p-1", 10, well)];
            receive(&store, r).await;
            store.fail_next([CommitError::Unavailable("again".to_owned())]);
            until_announced(&store, "p-1").await;
            settle(&store, "marker", 11).await;
        });
        assert_eq!(of(&store, "p-1"), ["Normal news2-total", "Emergency extreme-heart-rate", "Normal news2-total"]);
    }
}

#[test]
fn a_message_that_announces_nothing_commits_nothing() {
    let store = MemoryStore::new();
    life(async {
        begin(&store, 0).await;
        receive(&store, vec![reading("p-1", 0, well)]).await;
        until_announced(&store, "p-1").await;
        let before = store.all().len();
        for i in 1..20 {
            receive(&store, vec![reading("p-1", i, well)]).await;
        }
        settle(&store, "marker", 20).await;
        assert_eq!(store.all().len(), before + 19 + 2);
    });
}

#[test]
fn what_is_prescribed_for_a_patient_counts_from_then_on() {
    let store = MemoryStore::new();
    let patient = |scale: bool| -> Patient {
        serde_json::from_value(serde_json::json!({"patient_id": "p-1", "spo2_scale_2": scale})).expect("a patient")
    };
    life(async {
        begin(&store, 0).await;
        let stream = StreamName::new("patient", "p-1");
        append(&store, stream, 0, &PatientEvent::Registered(patient(true))).await;
        let low = |r: &mut Reading| (r.heart_rate_bpm, r.spo2_pct) = (Some(70), Some(90));
        receive(&store, vec![reading("p-1", 1, low)]).await;
        settle(&store, "marker-1", 2).await;
    });
    assert_eq!(of(&store, "p-1"), ["Normal news2-total"]);
    life(async {
        begin(&store, 3).await;
        let low = |r: &mut Reading| (r.heart_rate_bpm, r.spo2_pct) = (Some(70), Some(91));
        receive(&store, vec![reading("p-1", 3, low)]).await;
        settle(&store, "marker-2", 4).await;
    });
    assert_eq!(of(&store, "p-1"), ["Normal news2-total"]);
}

#[test]
fn the_rules_are_shown_changed_checked_and_kept() {
    let store = MemoryStore::new();
    let call = |request, if_match| Call {
        id: Uuid::nil(),
        principal: Principal { subject: "admin".to_owned(), role: Role::Administrator },
        traceparent: Traceparent { trace_id: 1, span_id: 1 },
        exercise: false,
        idempotency: None,
        if_match,
        request,
    };
    life(async {
        let door = begin(&store, 0).await;
        let shown = door.call(call(Request::GetRules, None)).await.expect("shown");
        assert_eq!((shown.version, &shown.body["late_after_s"]), (Some(0), &serde_json::json!(900)));
        // What is shown may be put back with one number changed.
        let mut changed = shown.body;
        changed["late_after_s"] = serde_json::json!(600);
        let put = door.call(call(Request::PutRules(changed.clone()), Some(0))).await.expect("taken");
        assert_eq!(put.version, Some(1));
        assert_eq!(door.call(call(Request::PutRules(changed.clone()), Some(0))).await.expect_err("stale").status, 412);
        for (bad, field) in [
            (serde_json::json!({"late_after_s": 1}), "/late_after_s"),
            (serde_json::json!({"news2": {}}), "/news2"),
            (serde_json::json!({"lives": {"blood_s": 60}}), ""),
        ] {
            let problem = door.call(call(Request::PutRules(bad), None)).await.expect_err("refused");
            assert_eq!((problem.status, &problem.more["field"]), (422, &serde_json::json!(field)));
        }
    });
    life(async {
        let door = begin(&store, 60).await;
        let shown = door.call(call(Request::GetRules, None)).await.expect("shown");
        assert_eq!((shown.version, &shown.body["late_after_s"]), (Some(1), &serde_json::json!(600)));
    });
}

/// The consumer's cursor stands at the end of the log, as it does a moment after everything is settled.
fn save_cursor(store: &MemoryStore) {
    let position = store.all().last().map_or(0, |r| r.position);
    set_cursor(store, position);
}

fn set_cursor(store: &MemoryStore, position: u64) {
    let commit = Commit { cursors: vec![("triage.readings".to_owned(), position)], ..Commit::default() };
    futures::executor::block_on(store.commit(commit)).expect("saved");
}
