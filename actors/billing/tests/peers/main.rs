//! The saga against servers that this project did not write, behind its fault proxy: localstripe (PyPI) and
//! stripe-stateful-mock (npm). `scripts/test peers` starts them and says where they listen
//! (`SHERS_TEST_LOCALSTRIPE_URL`, `SHERS_TEST_STRIPE_MOCK_URL`); without them each test says that it is left
//! out.
//!
//! At the end of every scenario the peer's own lists decide: charges minus refunds are the patient's share
//! when the bill is PAID, else nothing, and there is never more than one charge.

#[path = "../common/mod.rs"]
mod common;
mod house;
mod http;
mod peer;
mod proxy;

use common::Case;
use house::{Outcome, Trip, check, play, serve, webhook};
use peer::{Intents, Kind, Ledger, Peer};
use proxy::{Fault, OPS, Op, Proxy, QUICK, Script, Telling};
use shers_billing::model::Bill;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Enough to outlast every retry and every turn of a person.
const FOR_EVER: u32 = 60;

/// A proxy before a peer that runs, and the turn to use it; `None`, said so, when there is none.
fn before(
    variable: &str,
    kind: Kind,
    turn: &'static Mutex<()>,
    test: &str,
) -> Option<(Arc<Proxy>, MutexGuard<'static, ()>)> {
    let Ok(url) = std::env::var(variable) else {
        println!("left out: {test}: {variable} is not set; `scripts/test peers` sets it");
        return None;
    };
    let turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    Some((Proxy::start(Peer::new(kind, url)), turn))
}

fn localstripe(test: &str) -> Option<(Arc<Proxy>, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::new(());
    before("SHERS_TEST_LOCALSTRIPE_URL", Kind::Localstripe, &TURN, test)
}

fn stateful(test: &str) -> Option<(Arc<Proxy>, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::new(());
    before("SHERS_TEST_STRIPE_MOCK_URL", Kind::Stateful(Intents::default()), &TURN, test)
}

/// What a scenario is like before anything more goes wrong.
#[derive(Clone, Copy, Debug)]
struct Base {
    card: &'static str,
    insured: bool,
    /// Charged in silence: only undoing gets an answer.
    silent: bool,
    /// How it ends when nothing more goes wrong.
    ends: &'static str,
}

const BASES: [Base; 5] = [
    Base { card: "pm_card_visa", insured: true, silent: false, ends: "paid" },
    Base { card: "pm_card_visa", insured: false, silent: false, ends: "paid" },
    Base { card: "pm_card_chargeCustomerFail", insured: true, silent: false, ends: "card-declined" },
    Base { card: "number 4000002500003155", insured: true, silent: false, ends: "authentication-required" },
    Base { card: "pm_card_visa", insured: true, silent: true, ends: "written-off" },
];

impl Base {
    fn case(&self) -> Case {
        Case::of(Some(self.card), self.insured)
    }
    fn script(&self, faults: &[(Op, Fault, u32)], telling: Telling) -> Script {
        let faults: HashMap<_, _> = faults.iter().map(|(op, fault, times)| (*op, (*fault, *times))).collect();
        Script { faults, silent: self.silent, telling }
    }
}

fn run(proxy: &Arc<Proxy>, base: &Base, faults: &[(Op, Fault, u32)], telling: Telling, trip: Trip) -> Outcome {
    let outcome = play(proxy, &base.case(), base.script(faults, telling), trip);
    // What keeps the undoing from being done is then a person's: who writes off has been told.
    let undoing = [Op::Cancel, Op::Refund, Op::Refunds, Op::Find, Op::Read];
    let undoable = !faults.iter().any(|(op, fault, times)| {
        undoing.contains(op) && (*times > 1 || matches!(fault, Fault::Declined | Fault::SavedErrorBefore))
    });
    check(&outcome, undoable, &format!("{base:?} {faults:?} {telling:?} {trip:?}"));
    outcome
}

fn ended(outcome: &Outcome) -> String {
    match &outcome.bill {
        Bill::Paid { .. } => "paid".to_owned(),
        Bill::Failed { code, .. } => code.clone(),
        Bill::WrittenOff { .. } => "written-off".to_owned(),
        other @ (Bill::Absent | Bill::Open(_) | Bill::Stuck(_)) => format!("{other:?}"),
    }
}

#[test]
fn without_faults_each_bill_ends_as_its_card_says() {
    let Some((proxy, _turn)) = localstripe("each card") else { return };
    for base in BASES {
        let outcome = run(&proxy, &base, &[], Telling::Not, Trip::Never);
        assert_eq!(ended(&outcome), base.ends, "{base:?} {outcome:?}");
    }
}

#[test]
fn every_call_failing_in_every_way_leaves_the_peers_lists_right() {
    let Some((proxy, _turn)) = localstripe("every call failing") else { return };
    for base in BASES {
        for op in OPS {
            for fault in QUICK {
                for times in [1, FOR_EVER] {
                    if times == FOR_EVER && matches!(fault, Fault::DiesBefore | Fault::DiesAfter) {
                        // A process that dies at every call for ever has no end to look at.
                        continue;
                    }
                    // Only a lost answer to the creation makes anybody look for it.
                    let lost = (op == Op::Find).then_some((Op::Create, Fault::DropAfter, 1));
                    let faults: Vec<_> = lost.into_iter().chain([(op, fault, times)]).collect();
                    run(&proxy, &base, &faults, Telling::Not, Trip::Never);
                }
            }
        }
    }
}

#[test]
fn one_lost_answer_is_read_back_and_the_bill_is_paid() {
    let Some((proxy, _turn)) = localstripe("one lost answer") else { return };
    for op in [Op::Create, Op::Confirm, Op::Capture] {
        for fault in [
            Fault::DropBefore,
            Fault::DropAfter,
            Fault::Doubled,
            Fault::Busy,
            Fault::SavedErrorAfter,
            Fault::Garbage,
            Fault::DiesBefore,
            Fault::DiesAfter,
        ] {
            let outcome = run(&proxy, &BASES[0], &[(op, fault, 1)], Telling::Not, Trip::Never);
            assert_eq!(ended(&outcome), "paid", "{op:?} {fault:?} {outcome:?}");
            assert_eq!(outcome.ledger.charges, 1);
        }
    }
}

#[test]
fn an_error_saved_under_the_key_is_never_answered_with_another_key() {
    let Some((proxy, _turn)) = localstripe("saved errors") else { return };
    for op in [Op::Create, Op::Confirm, Op::Capture] {
        let outcome = run(&proxy, &BASES[0], &[(op, Fault::SavedErrorBefore, 1)], Telling::Not, Trip::Never);
        assert_eq!(ended(&outcome), "written-off", "{op:?} {outcome:?}");
        assert_eq!(outcome.ledger, Ledger { charges: 0, net: 0 }, "{op:?} {outcome:?}");
    }
}

#[test]
fn a_provider_slower_than_the_time_limit_charges_once_or_not_at_all() {
    let Some((proxy, _turn)) = localstripe("slow provider") else { return };
    for fault in [Fault::Slow, Fault::Late] {
        for op in [Op::Create, Op::Confirm, Op::Capture, Op::Read] {
            let outcome = run(&proxy, &BASES[0], &[(op, fault, 1)], Telling::Not, Trip::Never);
            assert_eq!(ended(&outcome), "paid", "{op:?} {fault:?} {outcome:?}");
        }
        run(&proxy, &BASES[2], &[(Op::Cancel, fault, 1)], Telling::Not, Trip::Never);
        run(&proxy, &BASES[4], &[(Op::Refund, fault, 1)], Telling::Not, Trip::Never);
    }
}

#[test]
fn dying_before_and_after_every_commit_leaves_the_peers_lists_right() {
    let Some((proxy, _turn)) = localstripe("dying at every commit") else { return };
    for base in BASES {
        for event in 1..=12 {
            for trip in [Trip::DieBefore(event), Trip::DieAfter(event)] {
                let outcome = run(&proxy, &base, &[], Telling::Not, trip);
                if !base.silent {
                    assert_eq!(ended(&outcome), base.ends, "{trip:?} {outcome:?}");
                }
                run(&proxy, &base, &[(Op::Capture, Fault::DropAfter, 1)], Telling::Not, trip);
            }
        }
    }
}

#[test]
fn a_store_that_fails_after_the_charge_neither_loses_nor_repeats_it() {
    let Some((proxy, _turn)) = localstripe("failing store") else { return };
    for trip in [Trip::Fail(1), Trip::Fail(3), Trip::UnknownLost(1), Trip::UnknownStored(1), Trip::UnknownStored(2)] {
        for base in [BASES[0], BASES[1]] {
            let outcome = run(&proxy, &base, &[], Telling::Not, trip);
            assert_eq!(ended(&outcome), "paid", "{trip:?} {outcome:?}");
            run(&proxy, &base, &[(Op::Capture, Fault::DropAfter, 1)], Telling::Not, trip);
        }
        run(&proxy, &BASES[4], &[], Telling::Not, trip);
    }
}

#[test]
fn webhooks_before_the_answer_and_doubled_are_harmless_and_replace_lost_answers() {
    let Some((proxy, _turn)) = localstripe("early webhooks") else { return };
    for base in BASES {
        let outcome = run(&proxy, &base, &[], Telling::Early, Trip::Never);
        if !base.silent {
            assert_eq!(ended(&outcome), base.ends, "{outcome:?}");
        }
        for op in [Op::Create, Op::Confirm, Op::Capture, Op::Cancel] {
            for fault in [Fault::DropAfter, Fault::Garbage, Fault::SavedErrorAfter, Fault::Doubled] {
                run(&proxy, &base, &[(op, fault, 1)], Telling::Early, Trip::Never);
            }
        }
        for event in 4..=7 {
            run(&proxy, &base, &[], Telling::Early, Trip::DieAfter(event));
        }
    }
    // No answer and nothing to be read: what was charged is known from the webhook alone.
    let deaf = [(Op::Capture, Fault::DropAfter, FOR_EVER)];
    let outcome = play(&proxy, &BASES[4].case(), BASES[4].script(&deaf, Telling::Early), Trip::Never);
    check(&outcome, true, "deaf");
    assert_eq!(ended(&outcome), "paid", "{outcome:?}");
}

#[test]
fn late_webhooks_in_the_wrong_order_change_nothing_that_is_settled() {
    let Some((proxy, _turn)) = localstripe("late webhooks") else { return };
    for base in BASES {
        let outcome = run(&proxy, &base, &[], Telling::Kept, Trip::Never);
        assert!(!outcome.told.is_empty(), "{base:?}");
        let events = outcome.store.all().len();
        let swapped: Vec<String> = outcome.told.iter().rev().flat_map(|event| [event.clone(), event.clone()]).collect();
        let statuses = common::process(false, async {
            let endpoint = serve(outcome.store.clone(), &proxy).await;
            let mut statuses = Vec::new();
            for body in swapped {
                let signature = house::signature(&body);
                statuses.push(webhook(&endpoint, body, signature).await);
            }
            statuses
        });
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(outcome.store.all().len(), events, "{base:?}: a settled bill changed");
        let ledger = common::process(false, proxy.peer.ledger(outcome.incident.bill().as_str()));
        assert_eq!(ledger, outcome.ledger);
    }
}

#[test]
fn webhooks_that_localstripe_signs_are_taken_and_forged_ones_are_not() {
    let Some((proxy, _turn)) = localstripe("webhooks of the peer") else { return };
    let outcome = play(&proxy, &BASES[0].case(), BASES[0].script(&[], Telling::Not), Trip::Never);
    assert_eq!(ended(&outcome), "paid");
    common::process(false, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        proxy.peer.webhooks_to(&url, house::WEBHOOK_SECRET).await;
        // Another bill at the same peer, whose events go to the listener.
        let store = shers_runtime::testing::MemoryStore::new();
        let incident = shers_contract::IncidentId::new("i-webhooks").expect("an id");
        common::seed(&store, &incident, &BASES[0].case()).await;
        let endpoint = serve(store.clone(), &proxy).await;
        let death = tokio::sync::Notify::new();
        let wait = std::time::Duration::from_secs(120);
        common::lives(&store, &incident, &death, None, wait).await;
        // The peer tells of a payment a second after it, so what comes first may be the end of an earlier test's.
        let sent = loop {
            let (mut socket, _) =
                tokio::time::timeout(wait, listener.accept()).await.expect("in time").expect("a webhook");
            let sent = http::read(&mut socket).await.expect("a request");
            http::write(&mut socket, 200, "{}").await;
            if sent.body.contains("payment_intent.succeeded") && sent.body.contains(incident.bill().as_str()) {
                break sent;
            }
        };
        let signature = sent.headers["stripe-signature"].clone();
        assert_eq!(webhook(&endpoint, sent.body.clone(), signature.clone()).await, 200);
        let forged = sent.body.replace("succeeded", "canceled");
        assert_eq!(webhook(&endpoint, forged, signature.clone()).await, 400);
        assert_eq!(webhook(&endpoint, sent.body, signature.replace("v1=", "v1=00")).await, 400);
    });
}

#[test]
fn an_exercise_never_reaches_the_provider() {
    let Some((proxy, _turn)) = localstripe("exercise") else { return };
    let case = Case { exercise: true, ..BASES[0].case() };
    let outcome = play(&proxy, &case, Script::default(), Trip::Never);
    assert_eq!(ended(&outcome), "paid");
    assert!(outcome.seen.is_empty(), "{:?}", outcome.seen);
    assert_eq!(outcome.ledger, Ledger::default());
    let paid = outcome.store.all().into_iter().find(|r| r.envelope.kind.as_str() == "billing.paid").expect("paid");
    assert!(paid.envelope.exercise && paid.envelope.data.get().contains("sandbox-payment"), "{paid:?}");
}

// ---- stripe-stateful-mock ----------------------------------------------------------------------------

const MOCK_BASES: [Base; 4] = [
    Base { card: "pm_card_visa", insured: true, silent: false, ends: "paid" },
    Base { card: "pm_card_chargeDeclinedInsufficientFunds", insured: true, silent: false, ends: "insufficient-funds" },
    Base { card: "pm_card_chargeDeclinedExpiredCard", insured: false, silent: false, ends: "expired-card" },
    Base { card: "pm_card_visa", insured: true, silent: true, ends: "written-off" },
];

#[test]
fn the_other_peers_own_idempotency_charges_once_whatever_fails() {
    let Some((proxy, _turn)) = stateful("every call failing, by keys of the peer") else { return };
    for base in MOCK_BASES {
        let outcome = run(&proxy, &base, &[], Telling::Not, Trip::Never);
        assert_eq!(ended(&outcome), base.ends, "{base:?} {outcome:?}");
        for op in [Op::Confirm, Op::Capture, Op::Cancel, Op::Refund] {
            for fault in QUICK {
                run(&proxy, &base, &[(op, fault, 1)], Telling::Not, Trip::Never);
            }
        }
        for event in 3..=8 {
            run(&proxy, &base, &[(Op::Capture, Fault::DropAfter, 1)], Telling::Not, Trip::DieBefore(event));
            run(&proxy, &base, &[], Telling::Early, Trip::DieAfter(event));
        }
    }
}

#[test]
fn the_other_peers_rate_limit_is_waited_for_and_its_saved_error_is_not_asked_around() {
    let Some((proxy, _turn)) = stateful("rate limit and saved error") else { return };
    let base = |card| Base { card, ..MOCK_BASES[0] };
    let outcome = run(&proxy, &base("pm_chain_429_429_visa"), &[], Telling::Not, Trip::Never);
    assert_eq!(ended(&outcome), "paid", "{outcome:?}");
    let outcome = run(&proxy, &base("pm_chain_500_visa"), &[], Telling::Not, Trip::Never);
    assert_eq!(ended(&outcome), "written-off", "{outcome:?}");
    assert_eq!(outcome.ledger, Ledger::default(), "the second token was never asked for: {outcome:?}");
}
