//! When a step that did not work is tried again: exponential back-off with a limit, spread a little by
//! the bill's own id so that bills which failed together do not come back together.

use serde::{Deserialize, Serialize};
use shers_contract::{BillId, Timestamp, routing::partition_of};

/// Limits of trying again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Wait before the second try, milliseconds; doubles with every further one.
    pub first_ms: u32,
    /// Longest wait, milliseconds.
    pub max_ms: u32,
    /// Tries; after the last one a person is needed.
    pub tries: u16,
}

impl RetryPolicy {
    /// When to try again after `tried` tries, or `None` when a person is needed.
    #[must_use]
    pub fn next(&self, bill: &BillId, tried: u16, now: Timestamp) -> Option<Timestamp> {
        if tried >= self.tries {
            return None;
        }
        let doublings = u32::from(tried.saturating_sub(1)).min(31);
        let wait = (i64::from(self.first_ms) << doublings).min(i64::from(self.max_ms));
        let spread = wait * i64::from(partition_of(bill.as_str())) / 64;
        Some(now.plus_ms(wait + spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_tries() {
        let policy = RetryPolicy { first_ms: 1_000, max_ms: 5_000, tries: 5 };
        let bill = BillId::new("b").expect("an id");
        let spread = i64::from(partition_of("b"));
        let waits: Vec<Option<i64>> =
            (1..=5).map(|tried| policy.next(&bill, tried, Timestamp::from_ms(0)).map(Timestamp::as_ms)).collect();
        let with_spread = |ms: i64| Some(ms + ms * spread / 64);
        assert_eq!(waits, [with_spread(1_000), with_spread(2_000), with_spread(4_000), with_spread(5_000), None]);
    }
}
