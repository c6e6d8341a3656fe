//! What operators watch: `shers_bills_total` by state, and `shers_bills_stuck`, the bills that wait for a
//! person.

use crate::model::Bill;
use shers_contract::billing::BillingEvent;
use std::{cell::RefCell, collections::HashSet, rc::Rc};

/// Counts what each commit brings, and which bills are stuck.
pub(crate) fn observer() -> shers_runtime::aggregate::Observer<Bill> {
    let stuck: RefCell<HashSet<String>> = RefCell::default();
    Rc::new(move |id, bill, _version, events| {
        for event in events {
            if let Some(state) = counted(event) {
                metrics::counter!("shers_bills_total", "state" => state).increment(1);
            }
        }
        let mut stuck = stuck.borrow_mut();
        let changed = if matches!(bill, Bill::Stuck(_)) { stuck.insert(id.to_owned()) } else { stuck.remove(id) };
        if changed {
            let count = u32::try_from(stuck.len()).unwrap_or(u32::MAX);
            metrics::gauge!("shers_bills_stuck").set(f64::from(count));
        }
    })
}

/// The state that a bill enters with this event.
fn counted(event: &BillingEvent) -> Option<&'static str> {
    match event {
        BillingEvent::Pending(pending) => pending.order.is_some().then_some("PENDING"),
        BillingEvent::Paid(_) => Some("PAID"),
        BillingEvent::Failed(_) => Some("FAILED"),
        BillingEvent::WrittenOff(_) => Some("WRITTEN-OFF"),
        BillingEvent::CoverageVerified(_) | BillingEvent::Compensated(_) | BillingEvent::Stuck(_) => None,
    }
}
