//! A patient, an order to bill, and lives of the service over one store: what the tests of faults share.

use shers_billing::model::Bill;
use shers_contract::{
    DomainEvent, IncidentId, PatientId, PlanId, Timestamp, Traceparent,
    api::{Call, Principal, Request, Role},
    billing::BillingEvent,
    envelope::StreamName,
    incident::{Disposition, IncidentEvent, StartBilling},
    patient::{CoverageRef, Patient, PatientEvent},
};
use shers_runtime::{
    Aggregate, Append, Commit, Expected, NewEvent, Store, SystemIds,
    clock::Ids,
    testing::{MemoryStore, TEST_START},
};
use std::time::Duration;
use tokio::{sync::Notify, task::LocalSet};

/// Who is billed.
#[derive(Clone, Debug)]
pub struct Case {
    pub card: Option<String>,
    pub insured: bool,
    pub exercise: bool,
}

impl Case {
    pub fn of(card: Option<&str>, insured: bool) -> Self {
        Self { card: card.map(str::to_owned), insured, exercise: false }
    }
}

fn new_event(event: &impl DomainEvent, exercise: bool) -> NewEvent {
    NewEvent {
        id: SystemIds.uuid(TEST_START),
        kind: event.kind(),
        v: 1,
        at: TEST_START,
        correlation_id: None,
        causation_id: None,
        traceparent: None,
        exercise,
        data: event.to_data(),
    }
}

/// A patient is registered and the bill ordered, twice.
pub async fn seed(store: &MemoryStore, incident: &IncidentId, case: &Case) {
    let patient_id = PatientId::new("p-1").expect("an id");
    let coverage = case
        .insured
        .then(|| CoverageRef { plan_id: PlanId::new("basic").expect("an id"), member_id: "m-1".to_owned() });
    let patient: Patient = serde_json::from_value(serde_json::json!({ "patient_id": "p-1" })).expect("a patient");
    let patient = Patient { coverage, payment_method: case.card.clone(), ..patient };
    let order = IncidentEvent::StartBilling(StartBilling {
        incident_id: incident.clone(),
        patient_id: Some(patient_id),
        transported: true,
        distance_m: 10_000,
        level_of_care: "als".to_owned(),
        disposition: Disposition::Transported,
        served_at: TEST_START,
    });
    let append = |stream: StreamName, events| Append { stream, expected: Expected::Any, events, open: true };
    let ordered = || new_event(&order, case.exercise);
    let registered = new_event(&PatientEvent::Registered(patient), case.exercise);
    let appends = vec![
        append(StreamName::new("patient", "p-1"), vec![registered]),
        append(StreamName::new("incident", incident.as_str()), vec![ordered(), ordered()]),
    ];
    store.commit(Commit { appends, ..Commit::default() }).await.expect("committed");
}

/// The bill and how many events it has.
pub async fn bill(store: &MemoryStore, incident: &IncidentId) -> (Bill, usize) {
    let events = store.read_stream(&StreamName::new("bill", incident.as_str()), 0).await.expect("readable");
    let bill = events.iter().fold(Bill::default(), |bill, recorded| {
        let event = BillingEvent::from_envelope(&recorded.envelope);
        bill.evolve(&event.expect("ours").expect("readable"), recorded.envelope.at)
    });
    (bill, events.len())
}

/// How a life ended.
#[derive(PartialEq, Eq, Debug)]
pub enum Ended {
    /// The process died.
    Died,
    /// Nothing runs any more: settled, or waiting for a person.
    Rests,
}

/// Waits until the bill rests, `death` comes, or the bill has `kill_at` events.
pub async fn lives(
    store: &MemoryStore,
    incident: &IncidentId,
    death: &Notify,
    kill_at: Option<usize>,
    at_most: Duration,
) -> Ended {
    let mut head = store.head();
    let watching = async {
        loop {
            let (state, events) = bill(store, incident).await;
            if kill_at == Some(events) {
                return Ended::Died;
            }
            match state {
                Bill::Stuck(_) | Bill::Paid { .. } | Bill::Failed { .. } | Bill::WrittenOff { .. } => {
                    return Ended::Rests;
                }
                Bill::Absent | Bill::Open(_) => {}
            }
            head.changed().await.expect("the store lives");
        }
    };
    tokio::select! {
        ended = tokio::time::timeout(at_most, watching) => ended.expect("the saga comes to rest"),
        () = death.notified() => Ended::Died,
    }
}

/// A request of a dispatcher.
pub fn call(request: Request, at: Timestamp) -> Call {
    Call {
        id: SystemIds.uuid(at),
        principal: Principal { subject: "ann".to_owned(), role: Role::Dispatcher },
        traceparent: Traceparent { trace_id: 1, span_id: 1 },
        exercise: false,
        idempotency: None,
        if_match: None,
        request,
    }
}

/// Runs `work` in a process of its own: when it ends, everything it spawned is gone.
pub fn process<T>(paused: bool, work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build().expect("runtime");
    LocalSet::new().block_on(&runtime, work)
}
