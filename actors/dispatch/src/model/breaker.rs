//! A circuit breaker: who failed often in a row is left alone for a while.
//!
//! States: closed (ask) → open (don't ask until `until`) → probing (one question decides) → closed or open.
//! A probe that never comes back counts as failed after another pause, so nobody waits for a lost answer.

use shers_contract::Timestamp;

/// When it opens and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerLimits {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open, in milliseconds.
    pub pause_ms: i64,
}

/// The breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breaker {
    /// Questions go through.
    Closed {
        /// Failures in a row so far.
        failures: u32,
    },
    /// Nothing goes through before `until`.
    Open {
        /// When one question may try.
        until: Timestamp,
    },
    /// One question is on its way; the others don't go through.
    Probing {
        /// When it counts as lost.
        until: Timestamp,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Whether a question may go through now, and the state afterwards.
    #[must_use]
    pub fn ask(self, now: Timestamp, limits: &BreakerLimits) -> (bool, Self) {
        match self {
            Self::Closed { .. } => (true, self),
            Self::Open { until } | Self::Probing { until } if now < until => (false, self),
            Self::Open { .. } | Self::Probing { .. } => (true, Self::Probing { until: now.plus_ms(limits.pause_ms) }),
        }
    }

    /// After an answer.
    #[must_use]
    pub const fn succeeded(self) -> Self {
        Self::Closed { failures: 0 }
    }

    /// After a failure.
    #[must_use]
    pub fn failed(self, now: Timestamp, limits: &BreakerLimits) -> Self {
        let open = Self::Open { until: now.plus_ms(limits.pause_ms) };
        match self {
            Self::Closed { failures } if failures + 1 < limits.failures => Self::Closed { failures: failures + 1 },
            Self::Closed { .. } | Self::Probing { .. } => open,
            // A late failure of an old question does not make the pause longer.
            Self::Open { .. } => self,
        }
    }

    /// Whether nothing goes through.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open { .. } | Self::Probing { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits { failures: 3, pause_ms: 1_000 };
    const START: Timestamp = Timestamp::from_ms(1_000_000);

    fn at(ms: i64) -> Timestamp {
        START.plus_ms(ms)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_only_in_a_row() {
        let two = Breaker::default().failed(at(0), &LIMITS).failed(at(1), &LIMITS);
        assert!(two.ask(at(2), &LIMITS).0);
        let again = two.succeeded().failed(at(3), &LIMITS).failed(at(4), &LIMITS);
        assert!(!again.is_open());
        let open = again.failed(at(5), &LIMITS);
        assert_eq!(open, Breaker::Open { until: at(1_005) });
        assert!(!open.ask(at(1_004), &LIMITS).0);
    }

    #[test]
    fn after_the_pause_one_probe_decides() {
        let open = Breaker::Open { until: at(0) };
        let (goes, probing) = open.ask(at(0), &LIMITS);
        assert!(goes && !probing.ask(at(1), &LIMITS).0, "one at a time");
        assert_eq!(probing.succeeded(), Breaker::default());
        assert_eq!(probing.failed(at(5), &LIMITS), Breaker::Open { until: at(1_005) });
        assert!(probing.ask(at(1_000), &LIMITS).0, "a lost probe is tried again");
    }
}
