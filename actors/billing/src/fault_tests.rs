//! The fault matrix: every call outside fails in every way, once or for ever, and the process dies before
//! and after every call and after every commit. Lives follow each other over one store in virtual time;
//! at the end the sandbox's ledger must say what the bill says.

use crate::gateway::sandbox::{SandboxPayment, SandboxPayments};
use crate::gateway::{
    AmountLimits, Ask, CancelOutcome, ConfirmOutcome, CreateOutcome, CreatePayment, Eligibility, Insurer,
    PaymentGateway, ReadOutcome, RefundOutcome, Released,
};
use crate::model::Bill;
use crate::{Settings, start_with};
use async_trait::async_trait;
use shers_contract::{
    BillId, DomainEvent, IncidentId, Money, PatientId, PlanId, Timestamp, Traceparent,
    api::{Call, Principal, Request, Role},
    envelope::StreamName,
    incident::{Disposition, IncidentEvent, StartBilling},
    patient::{CoverageRef, Patient, PatientEvent},
};
use shers_runtime::{
    Aggregate, Append, Commit, Deps, Endpoint, Expected, NewEvent, Store, SystemIds,
    clock::Ids,
    testing::{MemoryStore, TEST_START, deps_at},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Notify, task::LocalSet};

/// A call outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Op {
    Eligibility,
    Release,
    Create,
    Find,
    Confirm,
    Read,
    Cancel,
    Refund,
}

const OPS: [Op; 8] =
    [Op::Eligibility, Op::Release, Op::Create, Op::Find, Op::Confirm, Op::Read, Op::Cancel, Op::Refund];

/// How it goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// Answered: not done, try later.
    Retry,
    /// Lost on its way there.
    LostBefore,
    /// Done, the answer lost.
    LostAfter,
    /// Answered: no.
    Declined,
    /// The process dies before it is done.
    DiesBefore,
    /// The process dies after it was done.
    DiesAfter,
}

const FAULTS: [Fault; 6] =
    [Fault::Retry, Fault::LostBefore, Fault::LostAfter, Fault::Declined, Fault::DiesBefore, Fault::DiesAfter];

/// What the outside is to do wrong, and the sign that the process is to die.
#[derive(Default)]
struct Script {
    faults: Mutex<HashMap<Op, (Fault, u32)>>,
    death: Notify,
}

impl Script {
    fn next(&self, op: Op) -> Option<Fault> {
        let mut faults = self.faults.lock().expect("not poisoned");
        let (fault, times) = faults.get_mut(&op)?;
        *times = times.checked_sub(1)?;
        Some(*fault)
    }

    /// Does `call` with the fault that the script has for it.
    async fn play<T>(&self, op: Op, call: impl Future<Output = T>, lost: T, retry: T, declined: T) -> T {
        match self.next(op) {
            None => call.await,
            Some(Fault::Retry) => retry,
            Some(Fault::LostBefore) => lost,
            Some(Fault::LostAfter) => {
                call.await;
                lost
            }
            Some(Fault::Declined) => declined,
            Some(Fault::DiesBefore) => self.die().await,
            Some(Fault::DiesAfter) => {
                call.await;
                self.die().await
            }
        }
    }

    async fn die<T>(&self) -> T {
        self.death.notify_one();
        std::future::pending().await
    }
}

/// The sandbox behind a line that the script spoils.
struct Line {
    sandbox: SandboxPayments,
    script: Arc<Script>,
}

fn text(what: &str) -> String {
    format!("by the script: {what}")
}

#[async_trait]
impl PaymentGateway for Line {
    fn name(&self) -> &'static str {
        self.sandbox.name()
    }
    fn limits(&self, amount: Money) -> AmountLimits {
        self.sandbox.limits(amount)
    }
    async fn create(&self, payment: CreatePayment) -> CreateOutcome {
        let no = CreateOutcome::Declined { code: "card-declined".to_owned(), reason: text("no") };
        let (lost, retry) = (CreateOutcome::Unknown(text("lost")), CreateOutcome::Retry(text("busy")));
        self.script.play(Op::Create, self.sandbox.create(payment), lost, retry, no).await
    }
    async fn confirm(&self, key: &str, id: &str) -> ConfirmOutcome {
        let no = ConfirmOutcome::Declined { code: "card-declined".to_owned(), reason: text("no") };
        let (lost, retry) = (ConfirmOutcome::Unknown(text("lost")), ConfirmOutcome::Retry(text("busy")));
        self.script.play(Op::Confirm, self.sandbox.confirm(key, id), lost, retry, no).await
    }
    async fn find(&self, key: &str) -> ReadOutcome {
        let no = || ReadOutcome::Retry(text("lost"));
        self.script.play(Op::Find, self.sandbox.find(key), no(), no(), no()).await
    }
    async fn read(&self, id: &str) -> ReadOutcome {
        let no = || ReadOutcome::Retry(text("lost"));
        self.script.play(Op::Read, self.sandbox.read(id), no(), no(), no()).await
    }
    async fn cancel(&self, key: &str, id: &str) -> CancelOutcome {
        let (lost, retry) = (CancelOutcome::Unknown(text("lost")), CancelOutcome::Retry(text("busy")));
        let no = CancelOutcome::Blocked(text("no"));
        self.script.play(Op::Cancel, self.sandbox.cancel(key, id), lost, retry, no).await
    }
    async fn refund(&self, key: &str, id: &str, amount: Money) -> RefundOutcome {
        let (lost, retry) = (RefundOutcome::Unknown(text("lost")), RefundOutcome::Retry(text("busy")));
        let no = RefundOutcome::Failed(text("no"));
        self.script.play(Op::Refund, self.sandbox.refund(key, id, amount), lost, retry, no).await
    }
}

/// An insurer that pays nine tenths.
struct Ninety {
    script: Arc<Script>,
}

#[async_trait]
impl Insurer for Ninety {
    async fn eligibility(&self, ask: &Ask) -> Eligibility {
        let total = ask.order.total;
        let answer = Eligibility::Complete {
            insurer: total.with_amount(total.amount_minor / 10 * 9),
            reason: "nine tenths".to_owned(),
            response_id: Some("r".to_owned()),
        };
        let error = |retryable| Eligibility::Error { retryable, reason: text("no answer") };
        self.script.play(Op::Eligibility, async { answer }, error(true), Eligibility::Queued, error(false)).await
    }
    async fn release(&self, _ask: &Ask) -> Released {
        let error = |retryable| Released::Error { retryable, reason: text("no answer") };
        self.script.play(Op::Release, async { Released::Done }, error(true), error(true), error(false)).await
    }
}

/// Who is billed.
#[derive(Clone, Copy, Debug)]
struct Case {
    card: Option<&'static str>,
    insured: bool,
}

const CASES: [Case; 5] = [
    Case { card: Some("pm_card_visa"), insured: true },
    Case { card: Some("pm_card_visa"), insured: false },
    Case { card: Some("pm_card_chargeDeclined"), insured: true },
    Case { card: Some("pm_card_silent"), insured: true },
    Case { card: None, insured: true },
];

fn incident() -> IncidentId {
    IncidentId::new("i-1").expect("an id")
}

fn new_event(event: &impl DomainEvent) -> NewEvent {
    NewEvent {
        id: SystemIds.uuid(TEST_START),
        kind: event.kind(),
        v: 1,
        at: TEST_START,
        correlation_id: None,
        causation_id: None,
        traceparent: None,
        exercise: false,
        data: event.to_data(),
    }
}

/// A patient is registered and the bill ordered, twice.
async fn seed(store: &MemoryStore, case: Case) {
    let patient_id = PatientId::new("p-1").expect("an id");
    let coverage = case
        .insured
        .then(|| CoverageRef { plan_id: PlanId::new("basic").expect("an id"), member_id: "m-1".to_owned() });
    let patient: Patient = serde_json::from_value(serde_json::json!({ "patient_id": "p-1" })).expect("a patient");
    let patient = Patient { coverage, payment_method: case.card.map(str::to_owned), ..patient };
    let order = IncidentEvent::StartBilling(StartBilling {
        incident_id: incident(),
        patient_id: Some(patient_id),
        transported: true,
        distance_m: 10_000,
        level_of_care: "als".to_owned(),
        disposition: Disposition::Transported,
        served_at: TEST_START,
    });
    let append = |stream: StreamName, events| Append { stream, expected: Expected::Any, events, open: true };
    let appends = vec![
        append(StreamName::new("patient", "p-1"), vec![new_event(&PatientEvent::Registered(patient))]),
        append(StreamName::new("incident", "i-1"), vec![new_event(&order), new_event(&order)]),
    ];
    store.commit(Commit { appends, ..Commit::default() }).await.expect("committed");
}

async fn bill(store: &MemoryStore) -> (Bill, usize) {
    let events = store.read_stream(&StreamName::new("bill", "i-1"), 0).await.expect("readable");
    let bill = events.iter().fold(Bill::default(), |bill, recorded| {
        let event = shers_contract::billing::BillingEvent::from_envelope(&recorded.envelope);
        bill.evolve(&event.expect("ours").expect("readable"), recorded.envelope.at)
    });
    (bill, events.len())
}

/// How a life ended.
#[derive(PartialEq, Eq, Debug)]
enum Ended {
    /// The process died.
    Died,
    /// Nothing runs any more: settled, or waiting for a person.
    Rests,
}

/// One life of the service: until the bill rests, the script kills it, or the bill has `kill_at` events.
async fn life(store: &Arc<MemoryStore>, script: &Arc<Script>, begins: Timestamp, kill_at: Option<usize>) -> Ended {
    let deps = deps_at(store.clone(), begins);
    let endpoint = serve(&deps, script).await;
    let mut head = store.head();
    let watching = async {
        loop {
            let (state, events) = bill(store).await;
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
    let ended = tokio::select! {
        ended = tokio::time::timeout(Duration::from_secs(30 * 86_400), watching) => ended.expect("the saga comes to rest"),
        () = script.death.notified() => Ended::Died,
    };
    drop(endpoint);
    ended
}

async fn serve(deps: &Deps, script: &Arc<Script>) -> Arc<dyn Endpoint> {
    let line = Line { sandbox: SandboxPayments::new(deps), script: Arc::clone(script) };
    let insurer = Arc::new(Ninety { script: Arc::clone(script) });
    start_with(deps.clone(), Settings::default(), insurer, Some(Arc::new(line))).await.expect("starts")
}

/// A person's turn on a stuck bill.
async fn person(store: &Arc<MemoryStore>, script: &Arc<Script>, begins: Timestamp, request: Request) {
    let deps = deps_at(store.clone(), begins);
    let endpoint = serve(&deps, script).await;
    let call = Call {
        id: SystemIds.uuid(begins),
        principal: Principal { subject: "ann".to_owned(), role: Role::Dispatcher },
        traceparent: Traceparent { trace_id: 1, span_id: 1 },
        exercise: false,
        idempotency: None,
        if_match: None,
        request,
    };
    // A script that kills the process in the middle takes the answer with it.
    tokio::select! {
        reply = endpoint.call(call) => { reply.expect("a stuck bill takes it"); }
        () = script.death.notified() => {}
    }
}

/// Runs `work` in a process of its own: when it ends, everything it spawned is gone.
fn process<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("runtime");
    LocalSet::new().block_on(&runtime, work)
}

/// Plays a case to its end: lives until it rests, a person retries a stuck bill twice, then writes it off.
fn play(case: Case, faults: &[(Op, Fault, u32)], kill_at: Option<usize>) -> (Bill, Vec<SandboxPayment>) {
    let store = MemoryStore::new();
    let script = Arc::new(Script::default());
    script.faults.lock().expect("not poisoned").extend(faults.iter().map(|(op, fault, times)| (*op, (*fault, *times))));
    process(seed(&store, case));
    let (mut kill_at, mut turns) = (kill_at, 0);
    for hour in 0..200 {
        let begins = TEST_START.plus_ms(hour * 3_600_000 * 24 * 31);
        if process(life(&store, &script, begins, kill_at)) == Ended::Died {
            kill_at = None;
            continue;
        }
        let (state, _) = process(bill(&store));
        if !matches!(state, Bill::Stuck(_)) {
            break;
        }
        turns += 1;
        let id: BillId = incident().bill();
        let request =
            if turns <= 2 { Request::RetryBill(id) } else { Request::WriteOffBill(id, "gives it up".to_owned()) };
        process(person(&store, &script, begins.plus_ms(1), request));
    }
    let (state, _) = process(bill(&store));
    let ledger = process(SandboxPayments::ledger(&*store)).expect("readable");
    (state, ledger)
}

/// Plays it, and holds the ledger against the bill.
fn check(case: Case, faults: &[(Op, Fault, u32)], kill_at: Option<usize>) -> Bill {
    let (bill, ledger) = play(case, faults, kill_at);
    let what = format!("{case:?} {faults:?} killed at {kill_at:?}: {bill:?} {ledger:?}");
    assert!(ledger.iter().map(|payment| payment.charges).sum::<u32>() <= 1, "one charge at most; {what}");
    let net: i64 = ledger.iter().map(SandboxPayment::net_minor).sum();
    match &bill {
        Bill::Paid { account, .. } => assert_eq!(net, account.patient_share().amount_minor, "{what}"),
        Bill::Failed { .. } => assert_eq!(net, 0, "{what}"),
        Bill::WrittenOff { .. } => {
            // Unless it is the undoing itself that cannot be done: that is the person's now.
            let undoable = !faults.iter().any(|(op, _, _)| matches!(op, Op::Cancel | Op::Refund | Op::Find));
            assert!(net == 0 || !undoable, "{what}");
        }
        Bill::Absent | Bill::Open(_) | Bill::Stuck(_) => panic!("it never came to rest; {what}"),
    }
    bill
}

/// Enough to outlast every retry and two turns of a person.
const FOR_EVER: u32 = 150;

#[test]
fn without_faults_each_case_ends_as_its_card_and_cover_say() {
    for (case, want) in CASES.iter().zip(["paid", "paid", "card-declined", "written-off", "no-payment-method"]) {
        let got = match check(*case, &[], None) {
            Bill::Paid { .. } => "paid".to_owned(),
            Bill::Failed { code, .. } => code,
            Bill::WrittenOff { .. } => "written-off".to_owned(),
            other @ (Bill::Absent | Bill::Open(_) | Bill::Stuck(_)) => panic!("{other:?}"),
        };
        assert_eq!(got, want, "{case:?}");
    }
}

#[test]
fn every_call_failing_in_every_way_leaves_the_ledger_right() {
    for case in CASES {
        for op in OPS {
            for fault in FAULTS {
                for times in [1, 2, FOR_EVER] {
                    if times == FOR_EVER && matches!(fault, Fault::DiesBefore | Fault::DiesAfter) {
                        // A process that dies at every call for ever has no end to look at.
                        continue;
                    }
                    check(case, &[(op, fault, times)], None);
                }
            }
        }
    }
}

#[test]
fn dying_after_every_commit_leaves_the_ledger_right() {
    for case in CASES {
        for events in 1..=16 {
            check(case, &[], Some(events));
            check(case, &[(Op::Confirm, Fault::LostAfter, 1)], Some(events));
            check(case, &[(Op::Create, Fault::LostAfter, 1), (Op::Read, Fault::Retry, 1)], Some(events));
            check(case, &[(Op::Cancel, Fault::LostAfter, 1), (Op::Release, Fault::LostAfter, 1)], Some(events));
        }
    }
}

#[test]
fn a_lost_answer_is_read_back_and_never_asked_under_a_second_key() {
    for op in [Op::Create, Op::Confirm] {
        for fault in [Fault::LostBefore, Fault::LostAfter, Fault::DiesBefore, Fault::DiesAfter] {
            let (bill, ledger) = play(CASES[0], &[(op, fault, 1)], None);
            assert!(matches!(bill, Bill::Paid { .. }), "{op:?} {fault:?}: {bill:?}");
            assert_eq!(ledger.len(), 1, "{op:?} {fault:?}: {ledger:?}");
        }
    }
}

#[test]
fn an_insurer_that_never_answers_ends_with_a_person_and_never_in_failed() {
    for fault in [Fault::LostBefore, Fault::LostAfter, Fault::Retry, Fault::Declined] {
        let bill = check(CASES[0], &[(Op::Eligibility, fault, 1_000)], None);
        assert!(matches!(bill, Bill::WrittenOff { .. }), "{fault:?}: {bill:?}");
    }
}
