//! The service over a store in memory, in virtual time: the sandbox's numbers, repeats, and what happens
//! to a message whose fate is unknown when the process ends.

use async_trait::async_trait;
use serde_json::{Value, json};
use shers_contract::{
    DomainEvent, Envelope, IncidentId, NotificationId, PatientId, Traceparent, derived_uuid,
    envelope::StreamName,
    incident::IncidentEvent,
    notification::{NotificationEvent, SendNotification, Template},
    patient::{Patient, PatientEvent},
};
#[cfg(not(feature = "providers"))]
use shers_notification::{Provider, StartError};
use shers_notification::{
    Settings,
    gateway::{Lookup, Messenger, Outgoing, SendOutcome, sandbox::LEDGER},
    start, start_with,
};
use shers_runtime::{
    Append, Commit, Deps, Expected, NewEvent, Store,
    testing::{MemoryStore, deps_over},
};
use std::{cell::RefCell, future::Future, rc::Rc, sync::Arc, time::Duration};

/// One life of the process: everything that runs in it ends with it.
fn life<F: Future<Output = ()>>(test: F) {
    actix_rt::System::new().block_on(async {
        tokio::time::pause();
        test.await;
    });
}

async fn publish(deps: &Deps, stream: &str, name: &str, exercise: bool, event: &impl DomainEvent) {
    let append = Append {
        stream: StreamName::from_stored(stream),
        expected: Expected::Any,
        events: vec![NewEvent {
            id: derived_uuid(&["published", name]),
            kind: event.kind(),
            v: 1,
            at: deps.clock.now(),
            correlation_id: None,
            causation_id: None,
            traceparent: Some(Traceparent { trace_id: 1, span_id: 1 }),
            exercise,
            data: event.to_data(),
        }],
        open: false,
    };
    deps.store.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("published");
}

async fn register(deps: &Deps, next_of_kin: Value) {
    let patient = json!({"patient_id": "p-1", "name": "Max", "next_of_kin": next_of_kin});
    let patient: Patient = serde_json::from_value(patient).expect("a patient");
    publish(deps, "patient/p-1", "registered", true, &PatientEvent::Registered(patient)).await;
}

async fn order(deps: &Deps, name: &str, exercise: bool) {
    order_of(deps, "i-1", name, exercise).await;
}

async fn order_of(deps: &Deps, incident: &str, name: &str, exercise: bool) {
    let command = IncidentEvent::SendNotification(SendNotification {
        notification_id: NotificationId::new(incident.replace('i', "n")).expect("valid"),
        incident_id: IncidentId::new(incident).expect("valid"),
        patient_id: PatientId::new("p-1").expect("valid"),
        template: Template::UnitEnroute,
        eta_min: Some(6),
        hospital: None,
    });
    publish(deps, &format!("incident/{incident}"), name, exercise, &command).await;
}

async fn minutes(minutes: u64) {
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
}

/// What became of the notification, in order.
fn story(store: &MemoryStore) -> Vec<&'static str> {
    let kinds = store.kinds().into_iter();
    kinds.filter_map(|kind| kind.strip_prefix("notification.")).collect()
}

fn ended(store: &MemoryStore) -> NotificationEvent {
    let last = store
        .all()
        .into_iter()
        .map(|r| Arc::clone(&r.envelope))
        .filter(|e| e.stream.category() == "notification")
        .last();
    let last: Arc<Envelope> = last.expect("something happened");
    NotificationEvent::from_envelope(&last).expect("known").expect("readable")
}

async fn ledger(store: &MemoryStore) -> Vec<Value> {
    let found = store.documents(LEDGER, &[], None, 100).await.expect("readable");
    found.iter().map(|document| serde_json::from_str(&document.doc).expect("JSON")).collect()
}

/// Plays one notification to contacts; the story and the ledger afterwards.
fn check(next_of_kin: Value, want: &[&str], want_ledger: &[(&str, &str)]) {
    let store = MemoryStore::new();
    life(async {
        let deps = deps_over(store.clone());
        let _door = start(deps.clone(), Settings::default()).await.expect("started");
        register(&deps, next_of_kin.clone()).await;
        order(&deps, "order", true).await;
        order(&deps, "order", true).await;
        order(&deps, "ordered by another message", true).await;
        minutes(10).await;
        assert_eq!(story(&store), want, "{next_of_kin}");
        let messages = ledger(&store).await;
        let got: Vec<_> =
            messages.iter().map(|m| (m["to"].as_str().expect("to"), m["fate"].as_str().expect("fate"))).collect();
        assert_eq!(got, want_ledger, "{next_of_kin}");
        assert!(messages.iter().all(|m| m["text"].as_str().is_some_and(|text| text.starts_with("EXERCISE "))));
    });
    let log = store.all();
    let own = log.iter().filter(|r| r.envelope.stream.category() == "notification");
    assert!(own.clone().all(|r| r.envelope.exercise));
    assert!(own.clone().all(|r| r.envelope.correlation_id == IncidentId::new("i-1").ok()));
    assert!(own.clone().all(|r| !r.envelope.data.get().contains("+1500") && !r.envelope.data.get().contains("Kim")));
}

fn kim(phone: Option<&str>, email: Option<&str>) -> Value {
    json!({"name": "Kim", "phone": phone, "email": email})
}

#[test]
fn a_message_is_sent_once_however_often_it_is_ordered() {
    let number = "+15005550006";
    check(json!([kim(Some(number), Some("kim@example.org"))]), &["queued", "attempted", "sent"], &[(number, "sent")]);
}

#[test]
fn what_was_just_said_is_not_said_again_for_another_incident() {
    let store = MemoryStore::new();
    life(async {
        let deps = deps_over(store.clone());
        let _door = start(deps.clone(), Settings::default()).await.expect("started");
        register(&deps, json!([kim(Some("+15005550006"), None)])).await;
        for (incident, wait_minutes) in [("i-1", 1), ("i-2", 11), ("i-3", 1)] {
            order_of(&deps, incident, incident, true).await;
            minutes(wait_minutes).await;
        }
        assert_eq!(ledger(&store).await.len(), 2, "the second one came a minute after the first");
    });
    let story = story(&store);
    assert_eq!(story, ["queued", "attempted", "sent", "queued", "failed", "queued", "attempted", "sent"]);
}

#[test]
fn nobody_to_tell_is_a_failure_that_is_said() {
    check(json!([]), &["queued", "failed"], &[]);
    check(json!([{"name": "Kim", "phone": "+15005550006", "opted_out": true}]), &["queued", "failed"], &[]);
}

#[test]
fn an_invalid_number_gives_way_to_mail_and_then_to_the_next_contact() {
    let mail = "kim@example.org";
    let fallen_back = ["queued", "attempted", "failed", "attempted", "sent"];
    check(json!([kim(Some("+15005550001"), Some(mail))]), &fallen_back, &[(mail, "sent")]);
    check(json!([kim(Some("+15005550001"), None), kim(None, Some(mail))]), &fallen_back, &[(mail, "sent")]);
    let all = ["queued", "attempted", "failed", "attempted", "failed"];
    check(json!([kim(Some("+15005550001"), Some("refused@sandbox.example"))]), &all, &[]);
}

#[test]
fn a_busy_number_is_tried_again() {
    let number = "+15005550007";
    let story = ["queued", "attempted", "failed", "attempted", "sent"];
    check(json!([kim(Some(number), None)]), &story, &[(number, "busy"), (number, "sent")]);
}

#[test]
fn an_answer_that_comes_too_late_is_ambiguous_and_found_to_be_sent_without_sending_again() {
    let number = "+15005550008";
    let story = ["queued", "attempted", "ambiguous", "attempted", "sent"];
    check(json!([kim(Some(number), None)]), &story, &[(number, "sent")]);
}

#[test]
fn no_answer_at_all_is_ambiguous_and_repeated_once_before_the_next_way_is_tried() {
    let number = "+15005550009";
    let story = ["queued", "attempted", "ambiguous", "attempted", "ambiguous", "attempted", "sent"];
    let ledger = [(number, "lost"), (number, "lost"), ("kim@example.org", "sent")];
    check(json!([kim(Some(number), Some("kim@example.org"))]), &story, &ledger);
}

/// A provider that never answers in its first life. Of that life's message it says afterwards what it is
/// told to know; what it takes later it knows.
struct Scripted {
    answers: bool,
    knows: Lookup,
    sends: Rc<RefCell<Vec<String>>>,
}

#[async_trait(?Send)]
impl Messenger for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }
    async fn lookup(&self, key: &str) -> Lookup {
        let taken = self.answers && self.sends.borrow().iter().any(|sent| sent == key);
        if taken { Lookup::Sent("m-2".into()) } else { self.knows.clone() }
    }
    async fn send(&self, message: &Outgoing) -> SendOutcome {
        self.sends.borrow_mut().push(message.key.clone());
        if !self.answers {
            std::future::pending::<()>().await;
        }
        SendOutcome::Sent { id: "m-2".into() }
    }
}

/// The process ends while an attempt is on its way. The next one asks the provider, who `knows` this.
/// Returns what it sent within a second, before any repeat is due, and after ten minutes.
fn interrupted(knows: Lookup) -> (Arc<MemoryStore>, usize, usize) {
    let store = MemoryStore::new();
    let sends: Rc<RefCell<Vec<String>>> = Rc::default();
    let messenger = |answers, knows: &Lookup| -> Option<Rc<dyn Messenger>> {
        Some(Rc::new(Scripted { answers, knows: knows.clone(), sends: Rc::clone(&sends) }))
    };
    life(async {
        let deps = deps_over(store.clone());
        let real = messenger(false, &knows);
        let _door = start_with(deps.clone(), Settings::default(), real).await.expect("started");
        register(&deps, json!([kim(Some("+41791234567"), None)])).await;
        order(&deps, "order", false).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(*sends.borrow(), ["n-1:1"], "sent without asking: this process had just claimed it");
    assert_eq!(story(&store), ["queued", "attempted"]);
    sends.borrow_mut().clear();
    let mut at_once = 0;
    life(async {
        let deps = deps_over(store.clone());
        let real = messenger(true, &knows);
        let _door = start_with(deps.clone(), Settings::default(), real).await.expect("started");
        tokio::time::sleep(Duration::from_secs(1)).await;
        at_once = sends.borrow().len();
        minutes(10).await;
    });
    let later = sends.borrow().len();
    (store, at_once, later)
}

#[test]
fn a_message_the_provider_has_taken_is_not_sent_again_after_a_restart() {
    let (store, at_once, later) = interrupted(Lookup::Sent("m-1".into()));
    assert_eq!((at_once, later), (0, 0));
    match ended(&store) {
        NotificationEvent::Sent(ended) => assert_eq!(ended.provider_id.as_deref(), Some("m-1")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_the_provider_has_never_seen_is_sent_after_a_restart() {
    let (store, at_once, later) = interrupted(Lookup::NotSeen);
    assert_eq!((at_once, later), (1, 1));
    assert_eq!(story(&store), ["queued", "attempted", "sent"]);
}

#[test]
fn a_message_of_unknown_fate_is_recorded_so_after_a_restart_and_repeated_once_as_such() {
    let (store, at_once, later) = interrupted(Lookup::CannotTell);
    assert_eq!((at_once, later), (0, 1), "nothing is sent again before it is recorded as ambiguous");
    assert_eq!(story(&store), ["queued", "attempted", "ambiguous", "attempted", "sent"]);
}

#[test]
fn an_exercise_stays_in_the_sandbox_whatever_provider_is_set() {
    let store = MemoryStore::new();
    let sends: Rc<RefCell<Vec<String>>> = Rc::default();
    life(async {
        let deps = deps_over(store.clone());
        let real = Scripted { answers: true, knows: Lookup::NotSeen, sends: Rc::clone(&sends) };
        let _door = start_with(deps.clone(), Settings::default(), Some(Rc::new(real))).await.expect("started");
        register(&deps, json!([kim(Some("+41791234567"), None)])).await;
        order(&deps, "order", true).await;
        minutes(1).await;
        assert_eq!(ledger(&store).await.len(), 1);
    });
    assert!(sends.borrow().is_empty());
    assert_eq!(story(&store), ["queued", "attempted", "sent"]);
}

#[cfg(not(feature = "providers"))]
#[test]
fn a_provider_that_is_not_built_in_is_refused_with_the_way_to_get_it() {
    life(async {
        let settings = Settings { provider: Provider::Aws, ..Settings::default() };
        let error = start(deps_over(MemoryStore::new()), settings).await.err().expect("refused");
        assert!(
            matches!(error, StartError::NotBuilt(Provider::Aws)) && error.to_string().contains("--features providers")
        );
    });
}
