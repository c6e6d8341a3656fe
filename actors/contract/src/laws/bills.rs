//! Bills: one for an incident, shares that add up, an end that stays.

use super::{Breach, Laws, Seen, breach, read};
use crate::{
    Envelope, IncidentId, Money,
    billing::{BillingEvent, Step},
};

/// How a bill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillEnd {
    /// The saga runs.
    Running,
    /// A person is needed.
    Stuck,
    /// Settled.
    Paid,
    /// Not settled, everything undone.
    Failed,
    /// Given up.
    WrittenOff,
}

/// A bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    /// What is billed.
    pub total: Option<Money>,
    /// The patient's share in the running attempt.
    pub patient: Option<Money>,
    /// How it stands.
    pub end: BillEnd,
    /// The attempt.
    pub attempt: u16,
    /// Every key that the provider was asked under, with the amount.
    pub keys: Vec<(String, Option<Money>)>,
    /// The charge that settled it.
    pub charged: Option<Money>,
}

impl Bill {
    /// Whether it shows that a person is needed.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        self.end == BillEnd::Stuck
    }
}

pub(super) fn see(laws: &mut Laws, envelope: &Envelope) -> Seen {
    let Some(event) = read::<BillingEvent>(envelope)? else { return Ok(Vec::new()) };
    let Ok(id) = IncidentId::new(envelope.stream.id()) else {
        return Ok(vec![breach("bill-legal", &envelope.stream, "no id of an incident")]);
    };
    if laws.incidents.get(&id).is_none_or(|incident| incident.billing.is_none()) {
        return Ok(vec![breach("one-effect", &envelope.stream, "a bill that nobody ordered")]);
    }
    let bill = laws.bills.entry(id).or_insert_with(|| Bill {
        total: None,
        patient: None,
        end: BillEnd::Running,
        attempt: 0,
        keys: Vec::new(),
        charged: None,
    });
    let mut broken = Vec::new();
    if matches!(bill.end, BillEnd::Paid | BillEnd::WrittenOff) {
        broken.push(breach("bill-final", &envelope.stream, format!("{} after {:?}", envelope.kind, bill.end)));
    }
    let mut wrong = |why: String| broken.push(breach("bill-legal", &envelope.stream, why));
    match event {
        BillingEvent::Pending(pending) => {
            if let Some(order) = &pending.order {
                if pending.attempt != bill.attempt + 1 || (bill.attempt > 0 && bill.end != BillEnd::Failed) {
                    wrong(format!("attempt {} after {} ({:?})", pending.attempt, bill.attempt, bill.end));
                }
                let sum: i64 = order.lines.iter().map(|line| line.amount_minor).sum();
                if sum != order.total.amount_minor {
                    wrong(format!("the lines make {sum}, the total is {}", order.total));
                }
                bill.attempt = pending.attempt;
                bill.total = Some(order.total);
                bill.patient = None;
            } else if bill.attempt == 0 {
                wrong("it begins without an order".to_owned());
            }
            if let Some(key) = pending.idempotency_key.filter(|_| pending.step == Step::CreatePayment)
                && !bill.keys.iter().any(|(known, _)| *known == key)
            {
                bill.keys.push((key, bill.patient));
            }
            bill.end = BillEnd::Running;
        }
        BillingEvent::CoverageVerified(split) => {
            let sum = split.insurer.amount_minor + split.patient.amount_minor;
            let least = split.insurer.amount_minor.min(split.patient.amount_minor);
            if bill.total.map(|total| total.amount_minor) != Some(sum) || least < 0 {
                wrong(format!("{} and {} are not {:?}", split.insurer, split.patient, bill.total));
            }
            bill.patient = Some(split.patient);
        }
        BillingEvent::Paid(paid) => {
            if bill.patient != Some(paid.charged) {
                wrong(format!("{} was charged, the share is {:?}", paid.charged, bill.patient));
            }
            bill.charged = Some(paid.charged);
            bill.end = BillEnd::Paid;
        }
        BillingEvent::Failed(_) => bill.end = BillEnd::Failed,
        BillingEvent::Stuck(_) => bill.end = BillEnd::Stuck,
        BillingEvent::WrittenOff(_) => bill.end = BillEnd::WrittenOff,
        BillingEvent::Compensated(_) => {}
    }
    Ok(broken)
}

pub(super) fn unsettled(laws: &Laws) -> Vec<Breach> {
    let running = laws.bills.iter().filter(|(_, bill)| bill.end == BillEnd::Running);
    running.map(|(id, _)| breach("bill-ends", format!("bill/{id}"), "its saga has not ended")).collect()
}
