//! The kinds of message: `<service>.<thing>.<what>`, two or three kebab-case words.

use serde::{Deserialize, Serialize, de::Error as _};
use std::fmt;

/// A known kind. Copying it copies a pointer; comparing two compares texts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Kind(&'static str);

macro_rules! kinds {
    ($($name:ident = $text:literal,)*) => {
        impl Kind {
            $(#[doc = concat!("`", $text, "`")] pub const $name: Kind = Kind($text);)*
            /// Every kind there is, in the order of the design's list.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];
            /// The kind with this text, or `None` for one nobody here knows.
            #[must_use]
            pub fn parse(text: &str) -> Option<Kind> {
                match text { $($text => Some(Kind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    PATIENT_REGISTERED = "patient.registered",
    PATIENT_UPDATED = "patient.updated",
    READING_RECORDED = "wearable.reading.recorded",
    TRIAGE_NORMAL = "triage.status.normal",
    TRIAGE_ABNORMAL = "triage.status.abnormal",
    TRIAGE_EMERGENCY = "triage.status.emergency",
    TRIAGE_INSUFFICIENT = "triage.status.insufficient",
    INCIDENT_OPENED = "incident.opened",
    INCIDENT_CALL_JOINED = "incident.call-joined",
    INCIDENT_ACKNOWLEDGED = "incident.acknowledged",
    INCIDENT_ESCALATED = "incident.escalated",
    INCIDENT_DOWNGRADED = "incident.downgraded",
    INCIDENT_UNIT_CHANGED = "incident.unit-changed",
    INCIDENT_RESOLVED = "incident.resolved",
    INCIDENT_CLOSED = "incident.closed",
    INCIDENT_CANCELLED = "incident.cancelled",
    COMMAND_NOTIFICATION_SEND = "command.notification.send",
    COMMAND_DISPATCH_REQUEST = "command.dispatch.request",
    COMMAND_DISPATCH_CANCEL = "command.dispatch.cancel",
    COMMAND_BILLING_START = "command.billing.start",
    UNIT_REGISTERED = "unit.registered",
    UNIT_UPDATED = "unit.updated",
    UNIT_RETIRED = "unit.retired",
    UNIT_RESERVED = "unit.status.reserved",
    UNIT_ASSIGNED = "unit.status.assigned",
    UNIT_ENROUTE = "unit.status.enroute",
    UNIT_ON_SCENE = "unit.status.on-scene",
    UNIT_AT_PATIENT = "unit.status.at-patient",
    UNIT_ONBOARD = "unit.status.onboard",
    UNIT_ARRIVED = "unit.status.arrived",
    UNIT_HANDED_OVER = "unit.status.handed-over",
    UNIT_AVAILABLE = "unit.status.available",
    UNIT_AT_POST = "unit.status.at-post",
    UNIT_OUT_OF_SERVICE = "unit.status.out-of-service",
    UNIT_CANCELLED = "unit.status.cancelled",
    UNIT_LOCATION_REPORTED = "unit.location.reported",
    DISPATCH_ASSIGNED = "dispatch.assigned",
    DISPATCH_UNASSIGNED = "dispatch.unassigned",
    DISPATCH_DIVERTED = "dispatch.diverted",
    DISPATCH_WAITING = "dispatch.waiting",
    DISPATCH_WAIT_ENDED = "dispatch.wait-ended",
    DISPATCH_ETA_CHANGED = "dispatch.eta-changed",
    HOSPITAL_UPDATED = "hospital.updated",
    NOTIFICATION_QUEUED = "notification.queued",
    NOTIFICATION_ATTEMPTED = "notification.attempted",
    NOTIFICATION_SENT = "notification.sent",
    NOTIFICATION_FAILED = "notification.failed",
    NOTIFICATION_AMBIGUOUS = "notification.ambiguous",
    BILLING_PENDING = "billing.pending",
    BILLING_COVERAGE_VERIFIED = "billing.coverage-verified",
    BILLING_PAID = "billing.paid",
    BILLING_FAILED = "billing.failed",
    BILLING_COMPENSATED = "billing.compensated",
    BILLING_STUCK = "billing.stuck",
    BILLING_WRITTEN_OFF = "billing.written-off",
    SUPERVISION_RESTARTED = "supervision.restarted",
    SUPERVISION_QUARANTINED = "supervision.quarantined",
    SUPERVISION_RELEASED = "supervision.released",
}

impl Kind {
    /// The kind as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Kind::parse(&text).ok_or_else(|| D::Error::custom(format!("unknown kind {text:?}")))
    }
}
