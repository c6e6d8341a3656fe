//! What can be set about incidents.

use crate::model::{OpeningRule, intake::TextLimits};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Settings of the events manager. Every limit has its name here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A dispatcher has so many seconds to acknowledge an incident; also the time between escalations.
    pub acknowledge_within_s: u32,
    /// How often a passed deadline escalates an incident.
    pub max_escalations: u8,
    /// A further call of triage by the same rule within so many seconds is not noted again.
    pub join_quiet_s: u32,
    /// The class Abnormal opens an incident too, at priority 3.
    pub open_on_abnormal: bool,
    /// Longest summary or reason a person may give, in characters.
    pub max_text_chars: usize,
    /// Most capabilities a call may ask for.
    pub max_needs: usize,
    /// A call may name a patient who was registered so shortly before that the news is still on its way:
    /// wait so long for it, in milliseconds.
    pub patient_wait_ms: u64,
    /// Requests that may wait for this service.
    pub max_waiting_requests: usize,
    /// Longest time for a request, in milliseconds.
    pub request_limit_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            acknowledge_within_s: 60,
            max_escalations: 3,
            join_quiet_s: 900,
            open_on_abnormal: false,
            max_text_chars: 500,
            max_needs: 16,
            patient_wait_ms: 500,
            max_waiting_requests: 1024,
            request_limit_ms: 10_000,
        }
    }
}

impl Settings {
    pub(crate) fn opening_rule(&self) -> OpeningRule {
        OpeningRule {
            acknowledge_within_ms: i64::from(self.acknowledge_within_s) * 1000,
            max_escalations: self.max_escalations,
            join_quiet_ms: i64::from(self.join_quiet_s) * 1000,
        }
    }
    pub(crate) fn text_limits(&self) -> TextLimits {
        TextLimits { max_chars: self.max_text_chars, max_needs: self.max_needs }
    }
    pub(crate) fn request_limit(&self) -> Duration {
        Duration::from_millis(self.request_limit_ms)
    }
}
