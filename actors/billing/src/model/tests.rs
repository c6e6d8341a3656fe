//! The bill as given / when / then, and what no sequence of commands can break.

use super::*;
use proptest::prelude::*;
use shers_contract::{
    Currency, DomainEvent, IncidentId, Money, Timestamp,
    billing::{BillLine, BillingEvent, Order, Payer, Step},
    incident::{Disposition, StartBilling},
    patient::CoverageRef,
};
use shers_runtime::Aggregate;

const NOW: Timestamp = Timestamp::from_ms(1_000_000);
const POLICY: RetryPolicy = RetryPolicy { first_ms: 1_000, max_ms: 8_000, tries: 3 };

fn chf(minor: i64) -> Money {
    Money::new(minor, Currency::CHF)
}

fn order(total: i64) -> Order {
    let request = StartBilling {
        incident_id: IncidentId::new("i-1").expect("an id"),
        patient_id: None,
        transported: true,
        distance_m: 0,
        level_of_care: "bls".to_owned(),
        disposition: Disposition::Transported,
        served_at: NOW,
    };
    let lines = vec![BillLine { item: "base".to_owned(), text: "Base".to_owned(), amount_minor: total }];
    Order { request, patient_id: None, lines, total: chf(total) }
}

fn payer(insured: bool, card: bool) -> Payer {
    Payer {
        coverage: insured.then(|| CoverageRef {
            plan_id: shers_contract::PlanId::new("basic").expect("an id"),
            member_id: "m".to_owned(),
        }),
        payment_method: card.then(|| "pm_card_visa".to_owned()),
    }
}

fn start(total: i64, insured: bool, card: bool) -> Command {
    Command::Start { order: order(total), payer: payer(insured, card) }
}

fn ticket(step: Step, tries: u16) -> Ticket {
    Ticket { attempt: 1, step, tries }
}

fn answered(insurer: i64) -> Command {
    Command::CoverageAnswered {
        ticket: ticket(Step::Eligibility, 0),
        insurer: chf(insurer),
        reason: "so".to_owned(),
        response_id: Some("r".to_owned()),
    }
}

fn created() -> Command {
    Command::PaymentCreated {
        ticket: ticket(Step::CreatePayment, 0),
        payment_id: "pi".to_owned(),
        provider: "sandbox-payment".to_owned(),
    }
}

fn declined(step: Step) -> Command {
    Command::PaymentDeclined { ticket: ticket(step, 0), code: "card-declined".to_owned(), reason: "no".to_owned() }
}

fn delayed(step: Step, tries: u16) -> Command {
    Command::Delayed { ticket: ticket(step, tries), reason: "no answer".to_owned(), policy: POLICY }
}

fn blocked(step: Step) -> Command {
    Command::Blocked { ticket: ticket(step, 0), reason: "credentials".to_owned() }
}

fn retry() -> Command {
    Command::Retry { by: "ann".to_owned(), payer: payer(true, true) }
}

fn write_off(reason: &str) -> Command {
    Command::WriteOff { by: "ann".to_owned(), reason: reason.to_owned() }
}

/// Runs commands an hour apart, so that every wait is over; panics on a refusal.
fn run(commands: &[Command]) -> (Bill, Vec<BillingEvent>) {
    let mut bill = Bill::default();
    let mut last = Vec::new();
    for (hour, command) in (0_i64..).zip(commands) {
        let now = NOW.plus_ms(hour * 3_600_000);
        last = bill.decide(command, now).unwrap_or_else(|refusal| panic!("{command:?}: {refusal:?}"));
        bill = last.iter().fold(bill, |bill, event| bill.evolve(event, now));
    }
    (bill, last)
}

fn check(what: &str, given: &[Command], when: Command, then: &[&str]) -> Bill {
    let commands: Vec<Command> = given.iter().cloned().chain([when]).collect();
    let (bill, events) = run(&commands);
    let shown: Vec<String> = events.iter().map(short).collect();
    assert_eq!(shown, then, "{what}");
    bill
}

/// An event in a few words.
fn short(event: &BillingEvent) -> String {
    let kind = event.kind().as_str().trim_start_matches("billing.").to_owned();
    match event {
        BillingEvent::Pending(p) => {
            let step = serde_json::to_value(p.step).expect("a word");
            let wait = if p.retry_at.is_some() { " wait" } else { "" };
            format!("{kind} {}{wait}", step.as_str().expect("a word"))
        }
        BillingEvent::CoverageVerified(c) => {
            format!("{kind} {}+{}", c.insurer.amount_minor, c.patient.amount_minor)
        }
        BillingEvent::Paid(p) => format!("{kind} {}", p.charged.amount_minor),
        BillingEvent::Failed(f) => format!("{kind} {}", f.code),
        BillingEvent::Compensated(c) => format!("{kind} {}", c.what),
        BillingEvent::Stuck(_) | BillingEvent::WrittenOff(_) => kind,
    }
}

#[test]
fn a_bill_starts_with_the_insurer_and_without_one_with_the_patient() {
    check("insured", &[], start(1000, true, true), &["pending eligibility"]);
    let straight = ["pending eligibility", "coverage-verified 0+1000", "pending create-payment"];
    check("not insured", &[], start(1000, false, true), &straight);
    check("nothing to pay", &[], start(0, true, true), &["pending eligibility", "coverage-verified 0+0", "paid 0"]);
    let no_card = ["pending eligibility", "coverage-verified 0+1000", "failed no-payment-method"];
    check("no card", &[], start(1000, false, false), &no_card);
    check("a second start", &[start(1000, true, true)], start(5, false, true), &[]);
}

#[test]
fn the_insurers_answer_decides_what_is_charged() {
    let insured = [start(1000, true, true)];
    check("split", &insured, answered(900), &["coverage-verified 900+100", "pending create-payment"]);
    check("all covered", &insured, answered(1000), &["coverage-verified 1000+0", "paid 0"]);
    check("too much", &insured, answered(1001), &["stuck"]);
    check("negative", &insured, answered(-1), &["stuck"]);
    let uncarded = ["coverage-verified 900+100", "pending compensate"];
    let bill = check("no card: the claim goes back", &[start(1000, true, false)], answered(900), &uncarded);
    assert_eq!(bill.effect().map(|e| e.action), Some(Action::ReleaseClaim("r".to_owned())));
    let queued = Command::CoverageQueued { ticket: ticket(Step::Eligibility, 0), policy: POLICY };
    let bill = check("queued", &insured, queued.clone(), &["pending eligibility-queued wait"]);
    assert!(bill.effect().is_none() && bill.deadline().is_some(), "it waits");
    check("polled", &[insured[0].clone(), queued], Command::Due, &["pending eligibility-queued"]);
}

#[test]
fn a_charge_is_created_then_confirmed_then_paid() {
    let to_create = [start(1000, true, true), answered(900)];
    let bill = check("created", &to_create, created(), &["pending confirm-payment"]);
    let Some(Effect { action: Action::Confirm(payment), .. }) = bill.effect() else { panic!("{bill:?}") };
    assert_eq!(payment.payment_id.as_deref(), Some("pi"));
    let confirming = [to_create.as_slice(), &[created()]].concat();
    let success = Command::PaymentSucceeded { ticket: ticket(Step::ConfirmPayment, 0) };
    check("charged", &confirming, success.clone(), &["paid 100"]);
    let paid = [confirming.as_slice(), std::slice::from_ref(&success)].concat();
    check("charged twice", &paid, success, &[]);
    check("declined after paid", &paid, declined(Step::ConfirmPayment), &[]);
    check("start after paid", &paid, start(1000, true, true), &[]);
}

#[test]
fn what_is_confirmed_is_reserved_and_then_captured() {
    let confirming = [start(1000, true, true), answered(900), created()];
    let reserved = Command::PaymentAuthorised { ticket: ticket(Step::ConfirmPayment, 0) };
    let bill = check("reserved", &confirming, reserved.clone(), &["pending capture-payment"]);
    let Some(Effect { action: Action::Capture(payment), .. }) = bill.effect() else { panic!("{bill:?}") };
    assert_eq!((payment.payment_id.as_deref(), payment.key), (Some("pi"), bill.account().expect("one").payment_key()));
    let capturing = [confirming.as_slice(), std::slice::from_ref(&reserved)].concat();
    check("reserved twice", &capturing, reserved, &[]);
    check("captured", &capturing, Command::PaymentSucceeded { ticket: ticket(Step::CapturePayment, 0) }, &["paid 100"]);
    let bill = check("captured no more", &capturing, declined(Step::CapturePayment), &["pending compensate"]);
    assert!(matches!(bill.effect(), Some(Effect { action: Action::UndoPayment(_), .. })), "{bill:?}");
}

fn report(state: ReportedState) -> Report {
    let key = run(&[start(1000, true, true)]).0.account().expect("an account").payment_key();
    Report { provider: "sandbox-payment".to_owned(), key, payment_id: "pi".to_owned(), state }
}

/// A bill that was told something by its provider.
fn told(state: ReportedState) -> Command {
    Command::Reported(report(state))
}

#[test]
fn a_report_before_the_answer_of_its_call_is_the_answer() {
    use ReportedState::{Authorised, Changed, Succeeded, Underway};
    let creating = [start(1000, true, true), answered(900)];
    let confirming = [creating.as_slice(), &[created()]].concat();
    let reserved = Command::PaymentAuthorised { ticket: ticket(Step::ConfirmPayment, 0) };
    let capturing = [confirming.as_slice(), std::slice::from_ref(&reserved)].concat();
    check("exists", &creating, told(Underway), &["pending confirm-payment"]);
    check("reserved", &confirming, told(Authorised), &["pending capture-payment"]);
    check("charged", &capturing, told(Succeeded), &["paid 100"]);
    check("charged, and reserved never heard of", &confirming, told(Succeeded), &["paid 100"]);
    check("the answer comes after", &[confirming.as_slice(), &[told(Authorised)]].concat(), reserved, &[]);
    for late in [Underway, Authorised, Changed] {
        check("late", &capturing, told(late), &[]);
    }
}

#[test]
fn repeated_and_swapped_reports_change_nothing_that_is_settled() {
    use ReportedState::{Authorised, Changed, Succeeded, Underway};
    let paid = [start(1000, true, true), answered(900), created(), told(Succeeded)];
    let failed = [
        start(1000, false, true),
        created(),
        declined(Step::ConfirmPayment),
        Command::PaymentUndone { ticket: ticket(Step::Compensate, 0), how: Undone::Cancelled },
    ];
    let off = [start(1000, false, false), write_off("x")];
    for given in [&[][..], &paid, &failed, &off] {
        for state in [Underway, Authorised, Succeeded, Changed] {
            check("settled", given, told(state), &[]);
        }
    }
}

#[test]
fn a_report_makes_a_bill_that_waits_or_is_stuck_look_for_itself() {
    use ReportedState::{Changed, Succeeded, Underway};
    let confirming = [start(1000, true, true), answered(900), created()];
    let waiting = [confirming.as_slice(), &[delayed(Step::ConfirmPayment, 0)]].concat();
    check("something changed", &waiting, told(Changed), &["pending confirm-payment"]);
    check("nothing new", &waiting, told(Underway), &[]);
    let stuck = [confirming.as_slice(), &[blocked(Step::ConfirmPayment)]].concat();
    let bill = check("stuck", &stuck, told(Succeeded), &["pending confirm-payment"]);
    assert_eq!(bill.effect().map(|effect| effect.ticket), Some(ticket(Step::ConfirmPayment, 0)), "tries count anew");
    for other in [
        Report { key: "another".to_owned(), ..report(Succeeded) },
        Report { payment_id: "another".to_owned(), ..report(Succeeded) },
        Report { provider: "another".to_owned(), ..report(Succeeded) },
    ] {
        check("of another payment", &waiting, Command::Reported(other.clone()), &[]);
        check("of another payment, stuck", &stuck, Command::Reported(other), &[]);
    }
    let asking = [start(1000, true, true), blocked(Step::Eligibility)];
    check("no payment yet", &asking, told(Succeeded), &[]);
}

#[test]
fn a_decline_undoes_the_payment_then_the_claim_then_fails() {
    let confirming = [start(1000, true, true), answered(900), created()];
    check("declined", &confirming, declined(Step::ConfirmPayment), &["pending compensate"]);
    let undoing = [confirming.as_slice(), &[declined(Step::ConfirmPayment)]].concat();
    let cancelled = Command::PaymentUndone { ticket: ticket(Step::Compensate, 0), how: Undone::Cancelled };
    check("cancelled", &undoing, cancelled.clone(), &["compensated payment-cancelled"]);
    let half = [undoing.as_slice(), std::slice::from_ref(&cancelled)].concat();
    check("cancelled twice", &half, cancelled.clone(), &[]);
    let released = Command::ClaimReleased { ticket: ticket(Step::Compensate, 0) };
    check("released", &half, released, &["compensated claim-released", "failed card-declined"]);
    let uninsured = [start(1000, false, true), created(), declined(Step::ConfirmPayment)];
    check("no claim", &uninsured, cancelled, &["compensated payment-cancelled", "failed card-declined"]);
}

#[test]
fn what_does_not_answer_is_tried_again_and_then_waits_for_a_person() {
    for (step, given) in [
        (Step::Eligibility, vec![start(1000, true, true)]),
        (Step::CreatePayment, vec![start(1000, false, true)]),
        (Step::ConfirmPayment, vec![start(1000, false, true), created()]),
        (Step::Compensate, vec![start(1000, false, true), created(), declined(Step::ConfirmPayment)]),
    ] {
        let mut history = given.clone();
        for tries in 0..POLICY.tries - 1 {
            let (bill, _) = run(&[history.as_slice(), &[delayed(step, tries)]].concat());
            assert!(bill.effect().is_none() && bill.deadline().is_some(), "{step:?} waits after {tries}");
            history.extend([delayed(step, tries), Command::Due]);
        }
        let bill = check("one too many", &history, delayed(step, POLICY.tries - 1), &["stuck"]);
        assert_eq!(bill.answer(9).body["attention"], "stuck");
        assert_eq!(bill.answer(9).body["state"], "PENDING");
        history.push(delayed(step, POLICY.tries - 1));
        let (bill, _) = run(&[history.as_slice(), &[retry()]].concat());
        let effect = bill.effect().expect("it goes on");
        assert_eq!(effect.ticket, ticket(step, 0), "the same attempt, tries counted anew");
        check("blocked", &given, blocked(step), &["stuck"]);
    }
}

#[test]
fn a_stuck_bill_that_is_written_off_undoes_first_what_may_have_been_done() {
    let asking = [start(1000, true, true), blocked(Step::Eligibility)];
    check("nothing done yet", &asking, write_off("hardship"), &["written-off"]);
    let confirming = [start(1000, false, true), created(), blocked(Step::ConfirmPayment)];
    check("perhaps charged", &confirming, write_off("hardship"), &["pending compensate"]);
    let undoing = [confirming.as_slice(), &[write_off("hardship")]].concat();
    let refunded = Command::PaymentUndone { ticket: ticket(Step::Compensate, 0), how: Undone::Refunded };
    let bill = check("refunded", &undoing, refunded, &["compensated payment-refunded", "written-off"]);
    assert!(matches!(bill, Bill::WrittenOff { ref by, .. } if by == "ann"), "{bill:?}");
    let hopeless = [undoing.as_slice(), &[blocked(Step::Compensate)]].concat();
    check("a person takes over what cannot be undone", &hopeless, write_off("by letter"), &["written-off"]);
}

#[test]
fn a_failed_bill_begins_a_new_attempt_under_a_new_key() {
    let failed = [start(1000, false, false)];
    let events = ["pending eligibility"];
    let bill = check("retried", &failed, retry(), &events);
    assert_eq!(bill.account().map(|a| a.attempt), Some(2));
    let first = run(&failed).0;
    let keys = [first, bill].map(|bill| bill.account().map(Account::payment_key));
    assert_ne!(keys[0], keys[1]);
    check("written off", &failed, write_off("hardship"), &["written-off"]);
}

#[test]
fn a_person_is_refused_what_the_state_does_not_allow() {
    let running = [start(1000, true, true)];
    let paid = [start(0, false, false)];
    let off = [start(1000, false, false), write_off("x")];
    for (given, command, want) in [
        (&[][..], retry(), Refusal::Absent),
        (&[][..], write_off("x"), Refusal::Absent),
        (&running[..], retry(), Refusal::Running(Step::Eligibility)),
        (&running[..], write_off("x"), Refusal::Running(Step::Eligibility)),
        (&running[..], write_off("  "), Refusal::ReasonMissing),
        (&running[..], write_off(&"x".repeat(501)), Refusal::ReasonTooLong),
        (&paid[..], retry(), Refusal::Paid),
        (&paid[..], write_off("x"), Refusal::Paid),
        (&off[..], retry(), Refusal::WrittenOff),
    ] {
        let (bill, _) = run(given);
        assert_eq!(bill.decide(&command, NOW), Err(want), "{command:?}");
    }
}

// ---- properties --------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Move {
    Result(u8, i64),
    Again,
    Due,
    Start(i64, bool, bool),
    Retry(bool, bool),
    WriteOff,
    Told(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => (any::<u8>(), -1..=1001_i64).prop_map(|(kind, minor)| Move::Result(kind, minor)),
        1 => Just(Move::Again),
        4 => Just(Move::Due),
        1 => (prop_oneof![Just(0_i64), Just(1000)], any::<bool>(), any::<bool>()).prop_map(|(t, i, c)| Move::Start(t, i, c)),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(i, c)| Move::Retry(i, c)),
        1 => Just(Move::WriteOff),
        3 => any::<u8>().prop_map(Move::Told),
    ];
    proptest::collection::vec(one, 1..60)
}

/// Some result of what the bill does now, right or wrong for its step.
fn result(bill: &Bill, kind: u8, minor: i64) -> Option<Command> {
    let ticket = bill.effect().map(|effect| effect.ticket)?;
    let text = || "x".to_owned();
    Some(match kind % 11 {
        0 | 1 => Command::CoverageAnswered { ticket, insurer: chf(minor), reason: text(), response_id: Some(text()) },
        2 => Command::CoverageQueued { ticket, policy: POLICY },
        3 => Command::PaymentCreated { ticket, payment_id: text(), provider: text() },
        4 => Command::PaymentSucceeded { ticket },
        5 => Command::PaymentDeclined { ticket, code: text(), reason: text() },
        6 => Command::PaymentUndone { ticket, how: Undone::Cancelled },
        7 => Command::ClaimReleased { ticket },
        10 => Command::PaymentAuthorised { ticket },
        8 => Command::Delayed { ticket, reason: text(), policy: POLICY },
        _ => Command::Blocked { ticket, reason: text() },
    })
}

/// A report, right or wrong, of a payment of this attempt or of the one before.
fn anything_told(bill: &Bill, kind: u8) -> Option<Command> {
    use ReportedState::{Authorised, Changed, Succeeded, Underway};
    let account = bill.account()?;
    let attempt = account.attempt - u16::from(kind.is_multiple_of(5) && account.attempt > 1);
    let key = Account { attempt, ..account.clone() }.payment_key();
    let state = [Underway, Authorised, Succeeded, Changed][usize::from(kind / 5 % 4)];
    let payment_id = "x".to_owned();
    Some(Command::Reported(Report { provider: "x".to_owned(), key, payment_id, state }))
}

proptest! {
    #[test]
    fn no_sequence_of_commands_breaks_a_bill(moves in moves()) {
        let mut bill = Bill::default();
        let mut log: Vec<(BillingEvent, Timestamp)> = Vec::new();
        let mut now = NOW;
        let mut last: Option<Command> = None;
        for step in std::iter::once(Move::Start(1000, true, true)).chain(moves) {
            now = now.plus_ms(60_000);
            let command = match step {
                Move::Result(kind, minor) => result(&bill, kind, minor),
                Move::Again => last.clone(),
                Move::Due => Some(Command::Due),
                Move::Start(total, insured, card) => Some(start(total, insured, card)),
                Move::Retry(insured, card) => Some(Command::Retry { by: "ann".to_owned(), payer: payer(insured, card) }),
                Move::WriteOff => Some(write_off("x")),
                Move::Told(kind) => anything_told(&bill, kind),
            };
            let Some(command) = command else { continue };
            let Ok(events) = bill.decide(&command, now) else { continue };
            let final_before = matches!(bill, Bill::Paid { .. } | Bill::WrittenOff { .. });
            prop_assert!(events.is_empty() || !final_before, "{:?} after {:?}", events, bill);
            bill = events.iter().fold(bill, |bill, event| bill.evolve(event, now));
            prop_assert!(bill.decide(&command, now).is_err() || !matches!(command, Command::Start { .. })
                || bill.decide(&command, now) == Ok(Vec::new()), "a repeated start does nothing");
            log.extend(events.into_iter().map(|event| (event, now)));
            last = Some(command);
            // Whatever runs has something to do, a time to do it, or a person who must.
            if let Bill::Open(_) = &bill {
                prop_assert!(bill.effect().is_some() != bill.deadline().is_some(), "{:?}", bill);
            }
        }
        let folded = log.iter().fold(Bill::default(), |bill, (event, at)| {
            let data = event.to_data();
            let read = BillingEvent::from_data(event.kind(), 1, &data).expect("one of ours").expect("readable");
            bill.evolve(&read, *at)
        });
        prop_assert_eq!(&folded, &bill, "the log is the state");
        let count = |wanted: fn(&BillingEvent) -> bool| log.iter().filter(|(event, _)| wanted(event)).count();
        let paid = count(|e| matches!(e, BillingEvent::Paid(_)));
        prop_assert!(paid <= 1);
        prop_assert_eq!(paid == 1, matches!(bill, Bill::Paid { .. }), "PAID xor anything else");
        for (event, _) in &log {
            if let BillingEvent::CoverageVerified(c) = event {
                prop_assert!(c.insurer.amount_minor >= 0 && c.patient.amount_minor >= 0);
                prop_assert_eq!(c.insurer.amount_minor + c.patient.amount_minor, 1000);
            }
        }
    }
}
