//! The fault matrix: every call outside fails in every way, once or for ever, and the process dies before
//! and after every call and after every commit. Lives follow each other over one store in virtual time;
//! at the end the sandbox's ledger must say what the bill says.

mod common;

use async_trait::async_trait;
use common::{Case, Ended, bill, call, lives, process, seed};
use shers_billing::gateway::sandbox::{SandboxPayment, SandboxPayments};
use shers_billing::gateway::{
    AmountLimits, Ask, CancelOutcome, ConfirmOutcome, CreateOutcome, CreatePayment, Eligibility, Insurer,
    PaymentGateway, ReadOutcome, RefundOutcome, Released, Sought,
};
use shers_billing::model::Bill;
use shers_billing::{Settings, start_with};
use shers_contract::{
    BillId, Currency, IncidentId, Money, Timestamp,
    api::{ActorAction, Request},
};
use shers_runtime::{
    Deps, Endpoint,
    testing::{MemoryStore, TEST_START, deps_at},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Notify;

/// A call outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Op {
    Eligibility,
    Release,
    Create,
    Find,
    Confirm,
    Capture,
    Read,
    Cancel,
    Refund,
}

const OPS: [Op; 9] =
    [Op::Eligibility, Op::Release, Op::Create, Op::Find, Op::Confirm, Op::Capture, Op::Read, Op::Cancel, Op::Refund];

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
    limits: Option<AmountLimits>,
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
        self.limits.unwrap_or_else(|| self.sandbox.limits(amount))
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
    async fn capture(&self, key: &str, id: &str) -> ConfirmOutcome {
        let no = ConfirmOutcome::Declined { code: "card-declined".to_owned(), reason: text("no") };
        let (lost, retry) = (ConfirmOutcome::Unknown(text("lost")), ConfirmOutcome::Retry(text("busy")));
        self.script.play(Op::Capture, self.sandbox.capture(key, id), lost, retry, no).await
    }
    async fn find(&self, sought: &Sought) -> ReadOutcome {
        let no = || ReadOutcome::Retry(text("lost"));
        self.script.play(Op::Find, self.sandbox.find(sought), no(), no(), no()).await
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

/// A card, or none, with and without insurance.
type Row = (Option<&'static str>, bool);

const CASES: [Row; 5] = [
    (Some("pm_card_visa"), true),
    (Some("pm_card_visa"), false),
    (Some("pm_card_chargeDeclined"), true),
    (Some("pm_card_silent"), true),
    (None, true),
];

fn incident() -> IncidentId {
    IncidentId::new("i-1").expect("an id")
}

/// One life of the service: until the bill rests, the script kills it, or the bill has `kill_at` events.
async fn life(store: &Arc<MemoryStore>, script: &Arc<Script>, begins: Timestamp, kill_at: Option<usize>) -> Ended {
    let deps = deps_at(store.clone(), begins);
    let endpoint = serve(&deps, script).await;
    let ended = lives(store, &incident(), &script.death, kill_at, Duration::from_secs(30 * 86_400)).await;
    drop(endpoint);
    ended
}

async fn serve(deps: &Deps, script: &Arc<Script>) -> Arc<dyn Endpoint> {
    serve_with(deps, script, Settings::default(), None).await
}

async fn serve_with(
    deps: &Deps,
    script: &Arc<Script>,
    settings: Settings,
    limits: Option<AmountLimits>,
) -> Arc<dyn Endpoint> {
    let line = Line { sandbox: SandboxPayments::new(deps), script: Arc::clone(script), limits };
    let insurer = Arc::new(Ninety { script: Arc::clone(script) });
    start_with(deps.clone(), settings, insurer, Some(Arc::new(line))).await.expect("starts")
}

/// A person's turn on a stuck bill.
async fn person(store: &Arc<MemoryStore>, script: &Arc<Script>, begins: Timestamp, request: Request) {
    let deps = deps_at(store.clone(), begins);
    let endpoint = serve(&deps, script).await;
    // A script that kills the process in the middle takes the answer with it.
    tokio::select! {
        reply = endpoint.call(call(request, begins)) => { reply.expect("a stuck bill takes it"); }
        () = script.death.notified() => {}
    }
}

/// Plays a case to its end: lives until it rests, a person retries a stuck bill twice, then writes it off.
fn play(case: Row, faults: &[(Op, Fault, u32)], kill_at: Option<usize>) -> (Bill, Vec<SandboxPayment>) {
    let store = MemoryStore::new();
    let script = Arc::new(Script::default());
    script.faults.lock().expect("not poisoned").extend(faults.iter().map(|(op, fault, times)| (*op, (*fault, *times))));
    process(true, seed(&store, &incident(), &Case::of(case.0, case.1)));
    let (mut kill_at, mut turns) = (kill_at, 0);
    for hour in 0..200 {
        let begins = TEST_START.plus_ms(hour * 3_600_000 * 24 * 31);
        if process(true, life(&store, &script, begins, kill_at)) == Ended::Died {
            kill_at = None;
            continue;
        }
        let (state, _) = process(true, bill(&store, &incident()));
        if !matches!(state, Bill::Stuck(_)) {
            break;
        }
        turns += 1;
        let id: BillId = incident().bill();
        let request =
            if turns <= 2 { Request::RetryBill(id) } else { Request::WriteOffBill(id, "gives it up".to_owned()) };
        process(true, person(&store, &script, begins.plus_ms(1), request));
    }
    let (state, _) = process(true, bill(&store, &incident()));
    let ledger = process(true, SandboxPayments::ledger(&*store)).expect("readable");
    (state, ledger)
}

/// Plays it, and holds the ledger against the bill.
fn check(case: Row, faults: &[(Op, Fault, u32)], kill_at: Option<usize>) -> Bill {
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
            check(case, &[(Op::Capture, Fault::LostAfter, 1)], Some(events));
            check(case, &[(Op::Create, Fault::LostAfter, 1), (Op::Read, Fault::Retry, 1)], Some(events));
            check(case, &[(Op::Cancel, Fault::LostAfter, 1), (Op::Release, Fault::LostAfter, 1)], Some(events));
        }
    }
}

#[test]
fn a_lost_answer_is_read_back_and_never_asked_under_a_second_key() {
    for op in [Op::Create, Op::Confirm, Op::Capture] {
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

#[test]
fn two_owners_who_close_one_incident_at_once_make_one_bill_and_one_charge() {
    for round in 0..8 {
        let store = MemoryStore::new();
        let script = Arc::new(Script::default());
        process(true, async {
            seed(&store, &incident(), &Case::of(Some("pm_card_visa"), round % 2 == 0)).await;
            // Two replicas over one log, each with consumer, actors and effects of its own.
            let houses = [deps_at(store.clone(), TEST_START), deps_at(store.clone(), TEST_START)];
            let (one, two) = tokio::join!(serve(&houses[0], &script), serve(&houses[1], &script));
            let at_most = Duration::from_secs(86_400);
            assert_eq!(lives(&store, &incident(), &script.death, None, at_most).await, Ended::Rests);
            drop((one, two));
        });
        let (state, _) = process(true, bill(&store, &incident()));
        let ledger = process(true, SandboxPayments::ledger(&*store)).expect("readable");
        let Bill::Paid { account, .. } = &state else { panic!("{state:?}") };
        assert_eq!(ledger.len(), 1, "{ledger:?}");
        assert_eq!(ledger[0].charges, 1, "{ledger:?}");
        assert_eq!(ledger[0].net_minor(), account.patient_share().amount_minor);
        let first = store
            .all()
            .iter()
            .filter(|r| r.envelope.kind.as_str() == "billing.pending" && r.envelope.data.get().contains("\"order\""))
            .count();
        assert_eq!(first, 1, "one bill was begun");
    }
}

/// Plays one life without a person, with other settings and limits.
fn plain(case: Row, settings: Settings, limits: Option<AmountLimits>) -> (Bill, Vec<SandboxPayment>) {
    let store = MemoryStore::new();
    let script = Arc::new(Script::default());
    process(true, async {
        seed(&store, &incident(), &Case::of(case.0, case.1)).await;
        let endpoint = serve_with(&deps_at(store.clone(), TEST_START), &script, settings, limits).await;
        let at_most = Duration::from_secs(86_400);
        assert_eq!(lives(&store, &incident(), &script.death, None, at_most).await, Ended::Rests);
        drop(endpoint);
    });
    let (state, _) = process(true, bill(&store, &incident()));
    (state, process(true, SandboxPayments::ledger(&*store)).expect("readable"))
}

#[test]
fn bills_in_currencies_with_none_two_and_three_decimals_are_paid_to_the_unit() {
    for code in ["JPY", "CHF", "KWD"] {
        let mut settings = Settings::default();
        settings.tariff.currency = Currency::try_from(code.to_owned()).expect("a currency");
        settings.tariff.base_minor = 1_003;
        let (state, ledger) = plain(CASES[0], settings, None);
        let Bill::Paid { account, .. } = &state else { panic!("{code}: {state:?}") };
        let split = account.split.as_ref().expect("a split");
        let total = account.order.total;
        assert_eq!(split.insurer.amount_minor + split.patient.amount_minor, total.amount_minor, "{code}");
        assert!([split.insurer, split.patient].iter().all(|share| share.currency == total.currency), "{code}");
        assert_eq!(ledger.iter().map(|payment| payment.amount).collect::<Vec<_>>(), [split.patient], "{code}");
    }
}

#[test]
fn an_amount_that_the_provider_does_not_take_is_never_asked_for() {
    let takes = |min_minor, max_minor, step_minor| Some(AmountLimits { min_minor, max_minor, step_minor });
    for (limits, want) in [
        (takes(11_401, 99_999_999, 1), "amount-too-small"),
        (takes(1, 11_399, 1), "amount-too-large"),
        (takes(1, 99_999_999, 7), "amount-too-fine"),
    ] {
        let (state, ledger) = plain(CASES[0], Settings::default(), limits);
        let Bill::Failed { code, .. } = &state else { panic!("{want}: {state:?}") };
        assert_eq!((code.as_str(), ledger.len()), (want, 0), "{state:?} {ledger:?}");
    }
}

#[test]
fn an_actor_that_crashes_after_every_commit_leaves_the_ledger_right() {
    for case in CASES {
        let calm = plain(case, Settings::default(), None).0;
        for crash_at in 1..=10 {
            let store = MemoryStore::new();
            let script = Arc::new(Script::default());
            process(true, async {
                seed(&store, &incident(), &Case::of(case.0, case.1)).await;
                let deps = deps_at(store.clone(), TEST_START);
                let endpoint = serve(&deps, &script).await;
                let at_most = Duration::from_secs(30 * 86_400);
                if lives(&store, &incident(), &script.death, Some(crash_at), at_most).await == Ended::Died {
                    // It is told apart from the process: the Keeper brings it back, and nothing else dies.
                    let crashed = deps.keeper.act("bill/i-1", ActorAction::Crash).await;
                    assert!(crashed.is_ok() || !is_open(&store).await, "{crash_at}: {crashed:?}");
                    lives(&store, &incident(), &script.death, None, at_most).await;
                }
                drop(endpoint);
            });
            let (state, _) = process(true, bill(&store, &incident()));
            let ledger = process(true, SandboxPayments::ledger(&*store)).expect("readable");
            assert_eq!(std::mem::discriminant(&state), std::mem::discriminant(&calm), "{case:?} {crash_at} {state:?}");
            assert!(ledger.iter().map(|payment| payment.charges).sum::<u32>() <= 1, "{case:?} {crash_at} {ledger:?}");
            let net: i64 = ledger.iter().map(SandboxPayment::net_minor).sum();
            match &state {
                Bill::Paid { account, .. } => assert_eq!(net, account.patient_share().amount_minor),
                Bill::Failed { .. } => assert_eq!(net, 0),
                // A charge in silence is a person's to settle; see the other tests.
                Bill::Stuck(_) => assert_eq!(case.0, Some("pm_card_silent")),
                Bill::Absent | Bill::Open(_) | Bill::WrittenOff { .. } => panic!("{case:?} {crash_at} {state:?}"),
            }
        }
    }
}

async fn is_open(store: &Arc<MemoryStore>) -> bool {
    matches!(bill(store, &incident()).await.0, Bill::Open(_))
}
