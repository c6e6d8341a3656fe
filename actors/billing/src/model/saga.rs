//! The saga, from top to bottom. Each step with what it commits before anything leaves the house, what
//! its results lead to, and what a failure after it would undo.
//!
//! | step | committed before | asked outside | a failure then undoes |
//! |---|---|---|---|
//! | `eligibility` | order, payer | the insurer's split | nothing |
//! | `eligibility-queued` | when to ask again | the same | nothing |
//! | `create-payment` | split, idempotency key | a payment, not yet charged | payment, claim |
//! | `confirm-payment` | the payment's id | the amount reserved | payment, claim |
//! | `capture-payment` | that it is reserved | the charge | payment, claim |
//! | `compensate` | why, what is left | cancel or refund, then release | – |
//!
//! A try without an end is `billing.pending` of the same step with `retry_at`; too many of them, or one
//! that cannot work, is `billing.stuck`. Nothing becomes FAILED because somebody did not answer.
//!
//! A provider's own report moves the saga like an answer when it says that what is asked now was done, and
//! otherwise only makes it look again: see [`reported`].

use crate::model::bill::{Account, Bill, End, OpenPayment, Run, Stage, Ticket, Undo};
use crate::model::command::{Command, MAX_REASON_CHARS, Refusal, Report, ReportedState, Undone};
use crate::model::retry::RetryPolicy;
use shers_contract::{
    BillId, IncidentId, Money, Timestamp,
    billing::{
        BillingEvent, Compensated, CoverageVerified, Failed, Order, Paid, Payer, Pending, Step, Stuck, WrittenOff,
    },
};
use shers_runtime::Aggregate;

type Decision = Result<Vec<BillingEvent>, Refusal>;

/// Provider of a bill that needs no charge.
const NO_PROVIDER: &str = "none";

pub(super) fn decide(bill: &Bill, command: &Command, now: Timestamp) -> Decision {
    match command {
        Command::Start { order, payer } => Ok(started(bill, order, payer, now)),
        Command::Due => Ok(waiting(bill, now).map(|run| vec![proceed(run)]).unwrap_or_default()),
        Command::CoverageAnswered { ticket, insurer, reason, response_id } => Ok(running(bill, *ticket)
            .map(|run| covered(run, *insurer, reason, response_id.clone(), now))
            .unwrap_or_default()),
        Command::CoverageQueued { ticket, policy } => {
            Ok(running(bill, *ticket).map(|run| queued(run, *policy, now)).unwrap_or_default())
        }
        Command::PaymentCreated { ticket, payment_id, provider } => {
            Ok(running(bill, *ticket).map(|run| created(run, payment_id, provider)).unwrap_or_default())
        }
        Command::PaymentAuthorised { ticket } => Ok(running(bill, *ticket).map(authorised).unwrap_or_default()),
        Command::PaymentSucceeded { ticket } => Ok(running(bill, *ticket).map(succeeded).unwrap_or_default()),
        Command::PaymentDeclined { ticket, code, reason } => {
            Ok(running(bill, *ticket).map(|run| declined(run, code, reason)).unwrap_or_default())
        }
        Command::PaymentUndone { ticket, how } => {
            Ok(running(bill, *ticket).map(|run| payment_undone(run, *how)).unwrap_or_default())
        }
        Command::ClaimReleased { ticket } => Ok(running(bill, *ticket).map(claim_released).unwrap_or_default()),
        Command::Delayed { ticket, reason, policy } => {
            Ok(running(bill, *ticket).map(|run| vec![delayed(run, reason, *policy, now)]).unwrap_or_default())
        }
        Command::Blocked { ticket, reason } => {
            Ok(running(bill, *ticket).map(|run| vec![stuck(run, reason.clone())]).unwrap_or_default())
        }
        Command::Reported(report) => Ok(reported(bill, report)),
        Command::Retry { by, payer } => retried(bill, by, payer, now),
        Command::WriteOff { by, reason } => written_off(bill, by, reason.trim()),
    }
}

// ---- who is meant ------------------------------------------------------------------------------------

/// The run that waits for nothing but the result with this ticket.
fn running(bill: &Bill, ticket: Ticket) -> Option<&Run> {
    match bill {
        Bill::Open(run) => Some(run).filter(|run| run.retry_at.is_none() && run.ticket() == ticket),
        Bill::Absent | Bill::Stuck(_) | Bill::Paid { .. } | Bill::Failed { .. } | Bill::WrittenOff { .. } => None,
    }
}

/// The run whose wait is over.
fn waiting(bill: &Bill, now: Timestamp) -> Option<&Run> {
    match bill {
        Bill::Open(run) => Some(run).filter(|run| run.retry_at.is_some_and(|at| at <= now)),
        Bill::Absent | Bill::Stuck(_) | Bill::Paid { .. } | Bill::Failed { .. } | Bill::WrittenOff { .. } => None,
    }
}

// ---- eligibility -------------------------------------------------------------------------------------

fn started(bill: &Bill, order: &Order, payer: &Payer, now: Timestamp) -> Vec<BillingEvent> {
    match bill {
        Bill::Absent => attempt(order, payer, 1, None, now),
        // One bill per incident: a second start, however different, is a repeat.
        Bill::Open(_) | Bill::Stuck(_) | Bill::Paid { .. } | Bill::Failed { .. } | Bill::WrittenOff { .. } => {
            Vec::new()
        }
    }
}

/// The first events of an attempt. Without cover, or with nothing to pay, nobody needs to be asked.
fn attempt(order: &Order, payer: &Payer, attempt: u16, by: Option<&str>, now: Timestamp) -> Vec<BillingEvent> {
    let bill_id = order.request.incident_id.bill();
    let mut first = Pending::at(bill_id, Step::Eligibility, attempt);
    first.order = Some(order.clone());
    first.payer = Some(payer.clone());
    first.by = by.map(str::to_owned);
    let mut events = vec![BillingEvent::Pending(first)];
    let reason = match (order.total.amount_minor, &payer.coverage) {
        (0, _) => "nothing to pay by the tariff",
        (_, None) => "no insurance: the patient pays",
        (_, Some(_)) => return events,
    };
    if let Bill::Open(run) = fold(Bill::Absent, &events, now) {
        events.extend(covered(&run, order.total.with_amount(0), reason, None, now));
    }
    events
}

/// The split is known. A share that can't be right is not taken: somebody must look.
fn covered(run: &Run, insurer: Money, reason: &str, response_id: Option<String>, now: Timestamp) -> Vec<BillingEvent> {
    match run.stage {
        Stage::Eligibility | Stage::EligibilityQueued => {}
        Stage::Covered
        | Stage::CreatePayment { .. }
        | Stage::ConfirmPayment(_)
        | Stage::CapturePayment(_)
        | Stage::Compensate { .. } => return Vec::new(),
    }
    let total = run.account.order.total;
    if insurer.currency != total.currency || !(0..=total.amount_minor).contains(&insurer.amount_minor) {
        return vec![stuck(run, format!("the insurer's share of {insurer} does not fit a total of {total}"))];
    }
    let (bill_id, incident_id) = ids(&run.account);
    let verified = BillingEvent::CoverageVerified(CoverageVerified {
        bill_id,
        incident_id,
        insurer,
        patient: total.with_amount(total.amount_minor - insurer.amount_minor),
        reason: reason.to_owned(),
        response_id,
    });
    let mut events = vec![verified];
    if let Bill::Open(run) = fold(Bill::Open(run.clone()), &events, now) {
        events.extend(to_pay(&run));
    }
    events
}

fn queued(run: &Run, policy: RetryPolicy, now: Timestamp) -> Vec<BillingEvent> {
    match run.stage {
        Stage::Eligibility | Stage::EligibilityQueued => {}
        Stage::Covered
        | Stage::CreatePayment { .. }
        | Stage::ConfirmPayment(_)
        | Stage::CapturePayment(_)
        | Stage::Compensate { .. } => return Vec::new(),
    }
    let reason = "the insurer has queued the question";
    let (bill_id, _) = ids(&run.account);
    match policy.next(&bill_id, run.tries.saturating_add(1), now) {
        Some(at) => {
            let mut pending = Pending::at(bill_id, Step::EligibilityQueued, run.account.attempt);
            pending.retry_at = Some(at);
            pending.reason = Some(reason.to_owned());
            vec![BillingEvent::Pending(pending)]
        }
        None => vec![stuck(run, format!("{reason} for too long"))],
    }
}

// ---- payment -----------------------------------------------------------------------------------------

/// What follows the split: nothing to charge, no card to charge, or a payment.
fn to_pay(run: &Run) -> Vec<BillingEvent> {
    let account = &run.account;
    if account.patient_share().amount_minor == 0 {
        return vec![paid(account, None, NO_PROVIDER.to_owned())];
    }
    if account.payer.payment_method.is_none() {
        return fail(run, "no-payment-method", "the patient has a share to pay and no payment method on file");
    }
    let (bill_id, _) = ids(account);
    let mut pending = Pending::at(bill_id, Step::CreatePayment, account.attempt);
    pending.idempotency_key = Some(account.payment_key());
    vec![BillingEvent::Pending(pending)]
}

fn created(run: &Run, payment_id: &str, provider: &str) -> Vec<BillingEvent> {
    match &run.stage {
        Stage::CreatePayment { key } => {
            let (bill_id, _) = ids(&run.account);
            let mut pending = Pending::at(bill_id, Step::ConfirmPayment, run.account.attempt);
            pending.idempotency_key = Some(key.clone());
            pending.payment_id = Some(payment_id.to_owned());
            pending.provider = Some(provider.to_owned());
            vec![BillingEvent::Pending(pending)]
        }
        Stage::Eligibility
        | Stage::EligibilityQueued
        | Stage::Covered
        | Stage::ConfirmPayment(_)
        | Stage::CapturePayment(_)
        | Stage::Compensate { .. } => Vec::new(),
    }
}

/// The amount is reserved: what is committed now is that capturing it comes next.
fn authorised(run: &Run) -> Vec<BillingEvent> {
    match &run.stage {
        Stage::ConfirmPayment(OpenPayment { key, payment_id, provider }) => {
            let (bill_id, _) = ids(&run.account);
            let mut pending = Pending::at(bill_id, Step::CapturePayment, run.account.attempt);
            pending.idempotency_key = Some(key.clone());
            pending.payment_id.clone_from(payment_id);
            pending.provider.clone_from(provider);
            vec![BillingEvent::Pending(pending)]
        }
        Stage::Eligibility
        | Stage::EligibilityQueued
        | Stage::Covered
        | Stage::CreatePayment { .. }
        | Stage::CapturePayment(_)
        | Stage::Compensate { .. } => Vec::new(),
    }
}

/// Charged. A provider that captures with the confirmation skips a step.
fn succeeded(run: &Run) -> Vec<BillingEvent> {
    match &run.stage {
        Stage::ConfirmPayment(OpenPayment { payment_id, provider, .. })
        | Stage::CapturePayment(OpenPayment { payment_id, provider, .. }) => {
            vec![paid(&run.account, payment_id.clone(), provider.clone().unwrap_or_default())]
        }
        Stage::Eligibility
        | Stage::EligibilityQueued
        | Stage::Covered
        | Stage::CreatePayment { .. }
        | Stage::Compensate { .. } => Vec::new(),
    }
}

fn declined(run: &Run, code: &str, reason: &str) -> Vec<BillingEvent> {
    match &run.stage {
        Stage::CreatePayment { .. } | Stage::ConfirmPayment(_) | Stage::CapturePayment(_) => fail(run, code, reason),
        Stage::Eligibility | Stage::EligibilityQueued | Stage::Covered | Stage::Compensate { .. } => Vec::new(),
    }
}

// ---- compensation ------------------------------------------------------------------------------------

/// FAILED, after what was done is undone; at once when nothing was.
fn fail(run: &Run, code: &str, reason: &str) -> Vec<BillingEvent> {
    let undo = run.undo();
    if undo.is_done() {
        return vec![failed(&run.account, code, reason)];
    }
    let mut pending = compensation(&run.account, &undo);
    pending.code = Some(code.to_owned());
    pending.reason = Some(reason.to_owned());
    vec![BillingEvent::Pending(pending)]
}

fn compensation(account: &Account, undo: &Undo) -> Pending {
    let (bill_id, _) = ids(account);
    let mut pending = Pending::at(bill_id, Step::Compensate, account.attempt);
    if let Some(payment) = &undo.payment {
        pending.idempotency_key = Some(payment.key.clone());
        pending.payment_id.clone_from(&payment.payment_id);
        pending.provider.clone_from(&payment.provider);
    }
    pending
}

fn payment_undone(run: &Run, how: Undone) -> Vec<BillingEvent> {
    match &run.stage {
        Stage::Compensate { undo: Undo { payment: Some(_), claim }, end } => {
            undone(run, how.as_str(), claim.is_none().then_some(end))
        }
        Stage::Compensate { undo: Undo { payment: None, .. }, .. }
        | Stage::Eligibility
        | Stage::EligibilityQueued
        | Stage::Covered
        | Stage::CreatePayment { .. }
        | Stage::ConfirmPayment(_)
        | Stage::CapturePayment(_) => Vec::new(),
    }
}

fn claim_released(run: &Run) -> Vec<BillingEvent> {
    match &run.stage {
        Stage::Compensate { undo: Undo { payment: None, claim: Some(_) }, end } => {
            undone(run, "claim-released", Some(end))
        }
        Stage::Compensate { .. }
        | Stage::Eligibility
        | Stage::EligibilityQueued
        | Stage::Covered
        | Stage::CreatePayment { .. }
        | Stage::ConfirmPayment(_)
        | Stage::CapturePayment(_) => Vec::new(),
    }
}

/// One thing was undone; with it, maybe, the last.
fn undone(run: &Run, what: &str, end: Option<&End>) -> Vec<BillingEvent> {
    let (bill_id, incident_id) = ids(&run.account);
    let mut events = vec![BillingEvent::Compensated(Compensated { bill_id, incident_id, what: what.to_owned() })];
    events.extend(end.map(|end| match end {
        End::Fail { code, reason } => failed(&run.account, code, reason),
        End::WriteOff { by, reason } => off(&run.account, by, reason),
    }));
    events
}

// ---- what the provider reports ------------------------------------------------------------------------

/// What a provider's own report changes. It is taken at its word only where it says that what the bill asks
/// for now was done; everything else makes a bill that waits, or is stuck, look for itself. So a repeated,
/// late or swapped report does nothing twice and undoes nothing.
fn reported(bill: &Bill, report: &Report) -> Vec<BillingEvent> {
    match bill {
        Bill::Open(run) => {
            let done = taken(run, report);
            if !done.is_empty() {
                done
            } else if run.retry_at.is_some() && worth_a_look(run, report) {
                vec![proceed(run)]
            } else {
                Vec::new()
            }
        }
        Bill::Stuck(run) if worth_a_look(run, report) => vec![proceed(run)],
        Bill::Absent | Bill::Stuck(_) | Bill::Paid { .. } | Bill::Failed { .. } | Bill::WrittenOff { .. } => Vec::new(),
    }
}

/// The events of a report that is the answer the run waits for.
fn taken(run: &Run, report: &Report) -> Vec<BillingEvent> {
    match (&run.stage, report.state) {
        (Stage::CreatePayment { key }, _) if *key == report.key => created(run, &report.payment_id, &report.provider),
        (Stage::ConfirmPayment(payment), ReportedState::Authorised) if is_of(payment, report) => authorised(run),
        (Stage::ConfirmPayment(payment) | Stage::CapturePayment(payment), ReportedState::Succeeded)
            if is_of(payment, report) =>
        {
            succeeded(run)
        }
        (
            Stage::Eligibility
            | Stage::EligibilityQueued
            | Stage::Covered
            | Stage::CreatePayment { .. }
            | Stage::ConfirmPayment(_)
            | Stage::CapturePayment(_)
            | Stage::Compensate { .. },
            ReportedState::Underway | ReportedState::Authorised | ReportedState::Succeeded | ReportedState::Changed,
        ) => Vec::new(),
    }
}

/// Whether reading back now may find something new.
fn worth_a_look(run: &Run, report: &Report) -> bool {
    let payment = run.undo().payment;
    report.state != ReportedState::Underway && payment.is_some_and(|payment| is_of(&payment, report))
}

fn is_of(payment: &OpenPayment, report: &Report) -> bool {
    payment.key == report.key
        && payment.payment_id.as_ref().is_none_or(|id| *id == report.payment_id)
        && payment.provider.as_ref().is_none_or(|provider| *provider == report.provider)
}

// ---- trying again ------------------------------------------------------------------------------------

/// The wait is over: the claim of the next try.
fn proceed(run: &Run) -> BillingEvent {
    BillingEvent::Pending(at_same_step(run))
}

fn at_same_step(run: &Run) -> Pending {
    let (bill_id, _) = ids(&run.account);
    let mut pending = Pending::at(bill_id, run.stage.step(), run.account.attempt);
    pending.reason.clone_from(&run.reason);
    if let Some(payment) = run.undo().payment {
        pending.idempotency_key = Some(payment.key);
        pending.payment_id = payment.payment_id;
        pending.provider = payment.provider;
    }
    pending
}

fn delayed(run: &Run, reason: &str, policy: RetryPolicy, now: Timestamp) -> BillingEvent {
    let (bill_id, _) = ids(&run.account);
    let tried = run.tries.saturating_add(1);
    match policy.next(&bill_id, tried, now) {
        Some(at) => {
            let mut pending = at_same_step(run);
            pending.retry_at = Some(at);
            pending.reason = Some(reason.to_owned());
            BillingEvent::Pending(pending)
        }
        None => stuck(run, format!("{reason} (tried {tried} times)")),
    }
}

fn stuck(run: &Run, reason: String) -> BillingEvent {
    let (bill_id, incident_id) = ids(&run.account);
    BillingEvent::Stuck(Stuck { bill_id, incident_id, step: run.stage.step(), reason })
}

// ---- a person ----------------------------------------------------------------------------------------

/// A stuck bill goes on where it stands, under the same key; a failed one begins a new attempt.
fn retried(bill: &Bill, by: &str, payer: &Payer, now: Timestamp) -> Decision {
    match bill {
        Bill::Absent => Err(Refusal::Absent),
        Bill::Open(run) => Err(Refusal::Running(run.stage.step())),
        Bill::Stuck(run) => Ok(resumed(run, by, payer, now)),
        Bill::Failed { account, .. } => {
            Ok(attempt(&account.order, payer, account.attempt.saturating_add(1), Some(by), now))
        }
        Bill::Paid { .. } => Err(Refusal::Paid),
        Bill::WrittenOff { .. } => Err(Refusal::WrittenOff),
    }
}

fn resumed(run: &Run, by: &str, payer: &Payer, now: Timestamp) -> Vec<BillingEvent> {
    let mut pending = at_same_step(run);
    pending.by = Some(by.to_owned());
    let asks_insurer = matches!(run.stage, Stage::Eligibility | Stage::EligibilityQueued);
    // Before the insurer answered nothing has left the house, so cover and card may be others by now.
    if asks_insurer {
        pending.payer = Some(payer.clone());
    }
    let mut events = vec![BillingEvent::Pending(pending)];
    if asks_insurer
        && payer.coverage.is_none()
        && let Bill::Open(run) = fold(Bill::Stuck(run.clone()), &events, now)
    {
        let nothing = run.account.order.total.with_amount(0);
        events.extend(covered(&run, nothing, "no insurance: the patient pays", None, now));
    }
    events
}

/// Given up. What a stuck step may have done outside is undone first; when it is the undoing itself that
/// is stuck, the person takes over what is left.
fn written_off(bill: &Bill, by: &str, reason: &str) -> Decision {
    if reason.is_empty() {
        return Err(Refusal::ReasonMissing);
    }
    if reason.chars().count() > MAX_REASON_CHARS {
        return Err(Refusal::ReasonTooLong);
    }
    match bill {
        Bill::Absent => Err(Refusal::Absent),
        Bill::Open(run) => Err(Refusal::Running(run.stage.step())),
        Bill::Stuck(run) => Ok(vec![given_up(run, by, reason)]),
        Bill::Failed { account, .. } => Ok(vec![off(account, by, reason)]),
        Bill::Paid { .. } => Err(Refusal::Paid),
        Bill::WrittenOff { .. } => Ok(Vec::new()),
    }
}

fn given_up(run: &Run, by: &str, reason: &str) -> BillingEvent {
    let undo = run.undo();
    if undo.is_done() || matches!(run.stage, Stage::Compensate { .. }) {
        return off(&run.account, by, reason);
    }
    let mut pending = compensation(&run.account, &undo);
    pending.by = Some(by.to_owned());
    pending.reason = Some(reason.to_owned());
    BillingEvent::Pending(pending)
}

// ---- events ------------------------------------------------------------------------------------------

fn ids(account: &Account) -> (BillId, IncidentId) {
    let incident = &account.order.request.incident_id;
    (incident.bill(), incident.clone())
}

fn paid(account: &Account, payment_id: Option<String>, provider: String) -> BillingEvent {
    let (bill_id, incident_id) = ids(account);
    BillingEvent::Paid(Paid { bill_id, incident_id, payment_id, provider, charged: account.patient_share() })
}

fn failed(account: &Account, code: &str, reason: &str) -> BillingEvent {
    let (bill_id, incident_id) = ids(account);
    BillingEvent::Failed(Failed { bill_id, incident_id, code: code.to_owned(), reason: reason.to_owned() })
}

fn off(account: &Account, by: &str, reason: &str) -> BillingEvent {
    let (bill_id, incident_id) = ids(account);
    BillingEvent::WrittenOff(WrittenOff { bill_id, incident_id, by: by.to_owned(), reason: reason.to_owned() })
}

/// The state after events that are being decided on.
fn fold(bill: Bill, events: &[BillingEvent], now: Timestamp) -> Bill {
    events.iter().fold(bill, |bill, event| bill.evolve(event, now))
}
