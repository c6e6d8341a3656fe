//! A bill as the outside sees it: `state`, `step`, `attention`, the shares, and what comes next.

use crate::model::bill::{Account, Bill, Run};
use serde_json::{Map, Value, json};
use shers_contract::{
    api::Answer,
    billing::{BillState, Step},
};

/// The answer to a request that led to `bill`.
pub(super) fn answer(bill: &Bill, version: u64) -> Answer {
    Answer::ok(Value::Object(body(bill))).at_version(version)
}

fn body(bill: &Bill) -> Map<String, Value> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    if let Some(account) = bill.account() {
        for (name, value) in account_members(account) {
            put(name, value);
        }
    }
    let (state, step) = state_and_step(bill);
    put("state", json!(state));
    put("step", json!(step));
    put("attention", if matches!(bill, Bill::Stuck(_)) { json!("stuck") } else { Value::Null });
    match bill {
        Bill::Absent => {}
        Bill::Open(run) | Bill::Stuck(run) => {
            for (name, value) in run_members(run) {
                put(name, value);
            }
        }
        Bill::Paid { payment_id, at, .. } => {
            put("payment_id", json!(payment_id));
            put("paid_at", json!(at));
        }
        Bill::Failed { code, reason, .. } => {
            put("code", json!(code));
            put("reason", json!(reason));
        }
        Bill::WrittenOff { by, reason, .. } => put("written_off", json!({ "by": by, "reason": reason })),
    }
    body
}

fn state_and_step(bill: &Bill) -> (Option<BillState>, Option<Step>) {
    match bill {
        Bill::Absent => (None, None),
        Bill::Open(run) | Bill::Stuck(run) => (Some(BillState::Pending), Some(run.stage.step())),
        Bill::Paid { .. } => (Some(BillState::Paid), Some(Step::Settled)),
        Bill::Failed { .. } | Bill::WrittenOff { .. } => (Some(BillState::Failed), Some(Step::Settled)),
    }
}

fn account_members(account: &Account) -> Vec<(&'static str, Value)> {
    let incident = &account.order.request.incident_id;
    let split = account.split.as_ref();
    vec![
        ("bill_id", json!(incident.bill())),
        ("incident_id", json!(incident)),
        ("patient_id", json!(account.order.patient_id)),
        ("lines", json!(account.order.lines)),
        ("total", json!(account.order.total)),
        ("insurer", json!(split.map(|split| split.insurer))),
        ("patient", json!(split.map(|split| split.patient))),
        ("attempt", json!(account.attempt)),
    ]
}

fn run_members(run: &Run) -> Vec<(&'static str, Value)> {
    let undo = run.undo();
    let mut would_undo = Vec::new();
    if undo.payment.is_some() {
        would_undo.push("payment");
    }
    if undo.claim.is_some() {
        would_undo.push("claim");
    }
    vec![
        ("tries", json!(run.tries)),
        ("retry_at", json!(run.retry_at)),
        ("reason", json!(run.reason)),
        ("would_undo", json!(would_undo)),
    ]
}
