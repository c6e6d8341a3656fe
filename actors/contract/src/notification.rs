//! Messages to the next of kin.

use crate::{IncidentId, NotificationId, PatientId, Timestamp};
use serde::{Deserialize, Serialize};

/// What the next of kin hear of. Never vitals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// An emergency was detected.
    EmergencyDetected,
    /// A unit is on its way, with its ETA.
    UnitEnroute,
    /// Arrived at which hospital.
    ArrivedAtHospital,
    /// Called off.
    Cancelled,
}

impl Template {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmergencyDetected => "emergency-detected",
            Self::UnitEnroute => "unit-enroute",
            Self::ArrivedAtHospital => "arrived-at-hospital",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Data of `command.notification.send`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SendNotification {
    /// Derived from incident and template, so a repeat finds the first.
    pub notification_id: NotificationId,
    /// About which incident.
    pub incident_id: IncidentId,
    /// Whose relatives.
    pub patient_id: PatientId,
    /// What to say.
    pub template: Template,
    /// Minutes until arrival, for `unit-enroute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_min: Option<u32>,
    /// Hospital's name, for `arrived-at-hospital`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hospital: Option<String>,
}

/// How a message travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// Text message.
    Sms,
    /// E-mail.
    Email,
}

/// Data of `notification.queued`: who will be tried, in order. Holds no address and no name: the
/// contact is looked up by its place in the patient's list when it is tried.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Queued {
    /// The command this answers.
    pub request: SendNotification,
    /// The contacts and channels that will be tried, in order.
    pub plan: Vec<PlannedAttempt>,
    /// How often and how fast: the rule in force when it was queued.
    #[serde(default)]
    pub policy: DeliveryPolicy,
    /// Why nobody is told, when a limit of repetition holds; the plan is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<String>,
}

/// How a notification is tried again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeliveryPolicy {
    /// Attempts for one contact and channel before the next one is tried.
    pub attempts_per_target: u16,
    /// Wait after the first failed attempt, in milliseconds; doubles with each.
    pub backoff_ms: u32,
    /// Longest wait, in milliseconds.
    pub max_backoff_ms: u32,
    /// How often an attempt whose outcome is unknown may be repeated to the same contact and channel.
    pub ambiguous_repeats: u16,
    /// The provider's name as it shows.
    pub provider: String,
}

impl Default for DeliveryPolicy {
    fn default() -> Self {
        Self {
            attempts_per_target: 3,
            backoff_ms: 2_000,
            max_backoff_ms: 60_000,
            ambiguous_repeats: 1,
            provider: "sandbox-messaging".into(),
        }
    }
}

/// One way to reach one contact.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedAttempt {
    /// Place in the patient's list of contacts, from 0.
    pub contact: u16,
    /// How.
    pub channel: Channel,
}

/// Data of `notification.attempted`: the claim, committed before the provider is called.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Attempted {
    /// Which notification.
    pub notification_id: NotificationId,
    /// 1, 2, …
    pub attempt: u16,
    /// Which contact and channel.
    pub target: PlannedAttempt,
    /// The provider's name as it shows (`sandbox-messaging`, `aws` …).
    pub provider: String,
    /// The attempt to the same contact that this one repeats although it may have arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u16>,
}

/// Data of `notification.sent`, `notification.failed` and `notification.ambiguous`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttemptEnded {
    /// Which notification.
    pub notification_id: NotificationId,
    /// About which incident.
    pub incident_id: IncidentId,
    /// What it said.
    pub template: Template,
    /// Which attempt; 0 when there was nobody to try.
    pub attempt: u16,
    /// Which contact and channel; null when there was nobody to try.
    pub target: Option<PlannedAttempt>,
    /// Provider.
    pub provider: String,
    /// The provider's message id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Why it failed or is unknown. Never holds an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// No further attempt follows.
    pub last: bool,
    /// When the next attempt is due, if one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
}

crate::domain_events! {
    /// The life of a notification, in stream `notification/<id>`.
    NotificationEvent {
        /// Accepted, with its plan.
        Queued(Queued) = NOTIFICATION_QUEUED,
        /// About to call the provider.
        Attempted(Attempted) = NOTIFICATION_ATTEMPTED,
        /// The provider took it.
        Sent(AttemptEnded) = NOTIFICATION_SENT,
        /// The provider refused it, or nobody could be tried.
        Failed(AttemptEnded) = NOTIFICATION_FAILED,
        /// Nobody knows whether it was sent.
        Ambiguous(AttemptEnded) = NOTIFICATION_AMBIGUOUS,
    }
}
