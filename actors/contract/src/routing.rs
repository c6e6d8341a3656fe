//! AMQP topic patterns and the partition word of a routing key.
//!
//! On the wire the routing key is the kind with a last word `p00` … `p15`. Patterns that people and
//! services write never name that word: [`Pattern`] matches kinds.

use crate::{IncidentId, Kind, envelope::StreamName};
use std::fmt;

/// How many partitions a service that keeps order has.
pub const PARTITIONS: u16 = 16;

/// The partition of a key: FNV-1a over its bytes, so every implementation anywhere agrees.
#[must_use]
pub fn partition_of(key: &str) -> u16 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    u16::try_from((hash ^ (hash >> 32)) % u64::from(PARTITIONS)).unwrap_or(0)
}

/// The partition of a message: the one of the service that must keep its order. What belongs to an incident
/// goes with the incident's patient, so do the patient's registration and classes; journals name theirs;
/// the fleet is one region, partition 0.
#[must_use]
pub fn partition(stream: &StreamName, correlation: Option<&IncidentId>) -> u16 {
    match (stream.category(), correlation) {
        (_, Some(incident)) => incident.partition(),
        ("patient" | "triage", None) => partition_of(stream.id()),
        (_, None) => {
            let word = stream.id().strip_prefix('p').and_then(|digits| digits.parse().ok());
            word.filter(|partition| *partition < PARTITIONS).unwrap_or(0)
        }
    }
}

/// The routing key of `kind` for `partition`.
#[must_use]
pub fn routing_key(kind: Kind, partition: u16) -> String {
    format!("{kind}.p{partition:02}")
}

/// An AMQP topic pattern: words between dots, `*` for exactly one word, `#` for any number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a topic pattern is words of a-z 0-9 - between dots, `*` for one word and `#` for any number, at most 255 characters (got {got:?})"
)]
pub struct PatternError {
    /// The offending text.
    pub got: String,
}

impl Pattern {
    /// Checks and keeps a pattern.
    ///
    /// # Errors
    /// [`PatternError`] when a word is empty or holds other characters.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let word_ok = |w: &str| {
            w == "*"
                || w == "#"
                || (!w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
        };
        if text.len() <= 255 && text.split('.').all(word_ok) {
            Ok(Self(text.into()))
        } else {
            Err(PatternError { got: text.chars().take(80).collect() })
        }
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self("#".into())
    }

    /// Whether a key (a kind, or any dotted text) matches.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        fn go<'a>(mut pattern: std::str::Split<'a, char>, mut key: std::str::Split<'a, char>) -> bool {
            match pattern.next() {
                None => key.next().is_none(),
                Some("#") => {
                    let mut rest = key;
                    loop {
                        if go(pattern.clone(), rest.clone()) {
                            return true;
                        }
                        if rest.next().is_none() {
                            return false;
                        }
                    }
                }
                Some(word) => match key.next() {
                    Some(k) if word == "*" || word == k => go(pattern, key),
                    _ => false,
                },
            }
        }
        go(self.0.split('.'), key.split('.'))
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_amqp_says() {
        for (pattern, key, want) in [
            ("incident.*", "incident.opened", true),
            ("incident.*", "incident", false),
            ("incident.*", "incident.a.b", false),
            ("unit.#", "unit", true),
            ("unit.#", "unit.status.enroute", true),
            ("#", "anything.at.all", true),
            ("#.enroute", "unit.status.enroute", true),
            ("#.status.*", "unit.status.enroute", true),
            ("*.status.#", "triage.status.emergency", true),
            ("triage.status.emergency", "triage.status.abnormal", false),
        ] {
            assert_eq!(Pattern::new(pattern).expect(pattern).matches(key), want, "{pattern} {key}");
        }
        for bad in ["", "a..b", "A.b", "a b", "."] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_belongs_to_a_patient_has_one_partition() {
        for number in 0..200 {
            let patient = crate::PatientId::new(format!("p-{number}")).expect("an id");
            let own = partition_of(patient.as_str());
            let incident = IncidentId::of_patient(&patient, number);
            assert_eq!(incident.partition(), own);
            assert_eq!(partition(&StreamName::new("patient", patient.as_str()), None), own);
            assert_eq!(partition(&StreamName::new("unit", "u-1"), Some(&incident)), own);
        }
        assert_eq!(partition(&StreamName::new("readings", "p07"), None), 7);
        assert_eq!(partition(&StreamName::new("unit", "u-1"), None), 0);
    }

    #[test]
    fn partitions_are_stable_and_in_range() {
        assert_eq!(partition_of("p-1"), partition_of("p-1"));
        assert!((0..1000).all(|i| partition_of(&format!("patient-{i}")) < PARTITIONS));
        let used: std::collections::BTreeSet<_> = (0..1000).map(|i| partition_of(&format!("patient-{i}"))).collect();
        assert_eq!(used.len(), usize::from(PARTITIONS));
    }
}
