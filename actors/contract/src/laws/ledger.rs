//! Money: what a provider's books say against what the log says.

use super::{BillEnd, Breach, Laws, breach};
use crate::{IncidentId, Money};
use std::collections::BTreeMap;

/// A payment as a provider's books have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Key it was created under.
    pub key: String,
    /// For which incident's bill.
    pub incident: IncidentId,
    /// How much.
    pub amount: Money,
    /// How often it was charged.
    pub charges: u32,
    /// Paid back.
    pub refunded_minor: i64,
}

impl Charge {
    fn net_minor(&self) -> i64 {
        i64::from(self.charges) * self.amount.amount_minor - self.refunded_minor
    }
}

/// Holds the books against the log: every payment under a key of its bill and for the patient's share, no
/// payment charged twice, no more paid back than taken; of a bill at most one payment is kept, exactly the
/// share when it is PAID and nothing when it is FAILED.
#[must_use]
pub fn check_ledger(laws: &Laws, books: &[Charge]) -> Vec<Breach> {
    let mut broken = Vec::new();
    let mut kept: BTreeMap<&IncidentId, (u32, i64)> = BTreeMap::new();
    for charge in books {
        let name = || format!("bill/{}", charge.incident);
        let bill = laws.bills.get(&charge.incident);
        let ordered = bill.and_then(|bill| bill.keys.iter().find(|(key, _)| *key == charge.key));
        match ordered {
            None => broken.push(breach("charge-has-bill", name(), format!("no bill asked under key {}", charge.key))),
            Some((_, amount)) if *amount != Some(charge.amount) => {
                broken.push(breach("charge-has-bill", name(), format!("{} instead of {amount:?}", charge.amount)));
            }
            Some(_) => {}
        }
        if charge.charges > 1 {
            broken.push(breach("one-charge", name(), format!("charged {} times", charge.charges)));
        }
        if charge.refunded_minor > i64::from(charge.charges) * charge.amount.amount_minor {
            broken.push(breach("refund-at-most-charge", name(), format!("{} paid back", charge.refunded_minor)));
        }
        let entry = kept.entry(&charge.incident).or_default();
        entry.0 += u32::from(charge.net_minor() > 0);
        entry.1 += charge.net_minor();
    }
    for (id, bill) in &laws.bills {
        let (count, net) = kept.get(id).copied().unwrap_or_default();
        let name = format!("bill/{id}");
        if count > 1 {
            broken.push(breach("one-charge", &name, format!("{count} payments are kept")));
        }
        let want = match bill.end {
            BillEnd::Paid => bill.charged.map(|money| money.amount_minor),
            BillEnd::Failed => Some(0),
            BillEnd::Running | BillEnd::Stuck | BillEnd::WrittenOff => None,
        };
        if want.is_some_and(|want| want != net) {
            broken.push(breach("charge-matches-bill", &name, format!("{:?}, and {net} is kept", bill.end)));
        }
    }
    broken
}
