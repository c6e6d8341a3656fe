//! What triage concludes, and why.

use crate::{LatLon, PatientId, Timestamp};
use serde::{Deserialize, Serialize};

/// Class of a wearer. Ordered by urgency; [`Class::Insufficient`] is no urgency at all and stands lowest,
/// but never shows as Normal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Too few fresh values to say.
    Insufficient,
    /// NEWS2 0–4 without a single red value.
    Normal,
    /// NEWS2 5–6, or a single parameter scoring 3.
    Abnormal,
    /// NEWS2 7 or more, a confirmed fall, an SOS, or a single-parameter extreme.
    Emergency,
}

/// One parameter of the score.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// `respiration-rate`, `spo2`, `oxygen`, `systolic`, `heart-rate`, `consciousness`, `temperature`.
    pub parameter: String,
    /// The value as a person reads it, with its unit.
    pub value: String,
    /// NEWS2 points, 0 to 3.
    pub points: u8,
    /// When it was measured.
    pub taken_at: Timestamp,
    /// Its age at the decision.
    pub age_s: i64,
}

/// A partial score with its bounds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Score {
    /// `news2`, or another score that applies to the patient.
    pub name: String,
    /// Points of the known parameters.
    pub known: u8,
    /// Least possible total: the same as `known`.
    pub lower: u8,
    /// Greatest possible total, each missing parameter at its own maximum.
    pub upper: u8,
    /// A single parameter scores 3.
    pub single_red: bool,
    /// Parameters without a fresh value.
    pub missing: Vec<String>,
}

/// Data of `triage.status.*`: the class, with everything needed to understand it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TriageStatus {
    /// Who.
    pub patient_id: PatientId,
    /// The class now.
    pub class: Class,
    /// The class before, null at first.
    pub previous: Option<Class>,
    /// The rule that decided, such as `news2-total`, `sos`, `fall`, `extreme-heart-rate`, `single-red`.
    pub rule: String,
    /// One sentence for a person.
    pub reason: String,
    /// The score.
    pub score: Score,
    /// The values behind it.
    pub findings: Vec<Finding>,
    /// What would clear it, in a sentence.
    pub clears_when: Option<String>,
    /// Time of the reading that decided.
    pub reading_at: Timestamp,
    /// Last known position of the wearer.
    pub location: Option<LatLon>,
}

crate::domain_events! {
    /// Changes of class, in stream `triage/<patient>`.
    TriageEvent {
        /// Normal.
        Normal(TriageStatus) = TRIAGE_NORMAL,
        /// Abnormal.
        Abnormal(TriageStatus) = TRIAGE_ABNORMAL,
        /// Emergency.
        Emergency(TriageStatus) = TRIAGE_EMERGENCY,
        /// Insufficient.
        Insufficient(TriageStatus) = TRIAGE_INSUFFICIENT,
    }
}

impl TriageEvent {
    /// The event that says `status`.
    #[must_use]
    pub fn of(status: TriageStatus) -> Self {
        match status.class {
            Class::Normal => Self::Normal(status),
            Class::Abnormal => Self::Abnormal(status),
            Class::Emergency => Self::Emergency(status),
            Class::Insufficient => Self::Insufficient(status),
        }
    }
    /// Its body.
    #[must_use]
    pub fn status(&self) -> &TriageStatus {
        match self {
            Self::Normal(s) | Self::Abnormal(s) | Self::Emergency(s) | Self::Insufficient(s) => s,
        }
    }
}
