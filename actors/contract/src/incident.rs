//! Incidents: what is being handled, from the first call to the closed bill.

use crate::dispatch::UnitStatus;
use crate::notification::SendNotification;
use crate::triage::TriageStatus;
use crate::{HospitalId, IncidentId, LatLon, PatientId, Timestamp, UnitId};
use serde::{Deserialize, Serialize};

/// Priority, 1 most urgent (NHS ARP categories 1 to 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// Life-threatening.
    pub const P1: Self = Self(1);
    /// Emergency.
    pub const P2: Self = Self(2);
    /// Urgent.
    pub const P3: Self = Self(3);
    /// Less urgent.
    pub const P4: Self = Self(4);
    /// As a number, 1 to 4.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = String;
    fn try_from(n: u8) -> Result<Self, String> {
        if (1..=4).contains(&n) { Ok(Self(n)) } else { Err(format!("a priority is 1 (most urgent) to 4, got {n}")) }
    }
}

impl From<Priority> for u8 {
    fn from(p: Priority) -> u8 {
        p.0
    }
}

/// Where a call came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallSource {
    /// Triage of a wearable's readings.
    Triage,
    /// A person at the dispatch centre.
    Manual,
}

/// A request for help as received.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CallReceived {
    /// Where from.
    pub source: CallSource,
    /// When.
    pub at: Timestamp,
    /// One sentence: what is the matter.
    pub summary: String,
    /// Triage's explanation, if it came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triage: Option<TriageStatus>,
}

/// Data of `incident.opened`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// The incident.
    pub incident_id: IncidentId,
    /// Who, when known.
    pub patient_id: Option<PatientId>,
    /// How urgent.
    pub priority: Priority,
    /// Where, when known.
    pub location: Option<LatLon>,
    /// The first call.
    pub call: CallReceived,
    /// Capabilities a unit must have.
    pub needs: Vec<String>,
    /// A dispatcher must acknowledge before this time, or it escalates.
    pub acknowledge_by: Timestamp,
    /// How often a passed deadline may escalate it: the rule in force when it was opened.
    #[serde(default)]
    pub max_escalations: u8,
}

/// Data of `incident.call-joined`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CallJoined {
    /// The further call.
    pub call: CallReceived,
    /// Priority after it (never lower than before).
    pub priority: Priority,
    /// A position, when the call brought a newer one.
    pub location: Option<LatLon>,
}

/// Data of `incident.acknowledged`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who acknowledged it (a principal's subject).
    pub by: String,
}

/// Data of `incident.escalated`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Escalated {
    /// 1, 2, 3 …
    pub level: u8,
    /// Why, in a sentence.
    pub reason: String,
    /// Who, or null when a deadline passed.
    pub by: Option<String>,
    /// Priority after it.
    pub priority: Priority,
    /// When it escalates again, if nobody acts.
    pub next_at: Option<Timestamp>,
}

/// Data of `incident.downgraded`. Only a person says that somebody is less ill than was thought.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Downgraded {
    /// Why, in a sentence.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Priority before it.
    pub previous: Priority,
    /// Priority after it.
    pub priority: Priority,
}

/// Data of `incident.unit-changed`: what the incident must remember of a unit's work for it, taken from
/// dispatch's and the unit's own events.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct UnitChanged {
    /// Which unit.
    pub unit_id: UnitId,
    /// `assigned`, `enroute`, `onboard` or `arrived`; `available` when it no longer works for the incident.
    pub status: UnitStatus,
    /// Road time to the scene in seconds, on assignment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u32>,
    /// Crew level, `als` or `bls`, on assignment and when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level_of_care: Option<String>,
    /// Where the patient goes, from `onboard` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hospital_id: Option<HospitalId>,
    /// Loaded road distance in metres, on arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded_distance_m: Option<u32>,
}

/// How an incident ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// Handed over at a hospital.
    Transported,
    /// Treated on scene, not transported.
    TreatedOnScene,
    /// The patient refused.
    Refused,
    /// Nobody there, or nothing wrong.
    FalseAlarm,
    /// Ended otherwise.
    Other,
}

/// Data of `incident.resolved`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Resolved {
    /// How.
    pub disposition: Disposition,
    /// By whom; null when the hand-over did it.
    pub by: Option<String>,
    /// The unit that handed over.
    pub unit_id: Option<UnitId>,
    /// Where to.
    pub hospital_id: Option<HospitalId>,
}

/// Data of `incident.closed`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Closed {
    /// How the bill ended: `PAID`, `FAILED`, `WRITTEN-OFF`, or null when there was none.
    pub bill: Option<String>,
    /// Who, when a person closed it.
    pub by: Option<String>,
}

/// Data of `incident.cancelled`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cancelled {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Data of `command.dispatch.request`. Sent again with more urgent data when an incident worsens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RequestDispatch {
    /// For which incident.
    pub incident_id: IncidentId,
    /// How urgent.
    pub priority: Priority,
    /// Where to; null: a person must find out first.
    pub location: Option<LatLon>,
    /// Capabilities a unit must have.
    pub needs: Vec<String>,
    /// When the incident was opened, for age.
    pub opened_at: Timestamp,
}

/// Data of `command.dispatch.cancel`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CancelDispatch {
    /// For which incident.
    pub incident_id: IncidentId,
    /// Why.
    pub reason: String,
}

/// Data of `command.billing.start`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StartBilling {
    /// For which incident.
    pub incident_id: IncidentId,
    /// Who is billed; null when never identified.
    pub patient_id: Option<PatientId>,
    /// A patient was transported.
    pub transported: bool,
    /// Loaded distance in metres.
    pub distance_m: u32,
    /// `als` or `bls`.
    pub level_of_care: String,
    /// How it ended.
    pub disposition: Disposition,
    /// Service date.
    pub served_at: Timestamp,
}

crate::domain_events! {
    /// The life of an incident and the commands it sends, in stream `incident/<id>`.
    IncidentEvent {
        /// Opened.
        Opened(Opened) = INCIDENT_OPENED,
        /// A further call joined it.
        CallJoined(CallJoined) = INCIDENT_CALL_JOINED,
        /// A dispatcher saw it.
        Acknowledged(Acknowledged) = INCIDENT_ACKNOWLEDGED,
        /// Made more urgent, by a person or a deadline.
        Escalated(Escalated) = INCIDENT_ESCALATED,
        /// Made less urgent, by a person.
        Downgraded(Downgraded) = INCIDENT_DOWNGRADED,
        /// A unit began, went on with or ended its work for it.
        UnitChanged(UnitChanged) = INCIDENT_UNIT_CHANGED,
        /// Care ended; the bill is next.
        Resolved(Resolved) = INCIDENT_RESOLVED,
        /// All done.
        Closed(Closed) = INCIDENT_CLOSED,
        /// Called off.
        Cancelled(Cancelled) = INCIDENT_CANCELLED,
        /// Tell the next of kin.
        SendNotification(SendNotification) = COMMAND_NOTIFICATION_SEND,
        /// Find a unit.
        RequestDispatch(RequestDispatch) = COMMAND_DISPATCH_REQUEST,
        /// Stop finding one, call back the one that goes.
        CancelDispatch(CancelDispatch) = COMMAND_DISPATCH_CANCEL,
        /// Bill it.
        StartBilling(StartBilling) = COMMAND_BILLING_START,
    }
}
