//! What may be asked of an incident, and why it says no.

use serde_json::json;
use shers_contract::{
    HospitalId, IncidentId, LatLon, PatientId, Problem, UnitId,
    incident::{CallReceived, Disposition, Priority},
};

/// Limits in force when a call is received; what must outlive the call goes into `incident.opened`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpeningRule {
    /// A dispatcher has so long to acknowledge, in milliseconds; also the time between escalations.
    pub acknowledge_within_ms: i64,
    /// How often a passed deadline escalates.
    pub max_escalations: u8,
    /// A further call of triage by the same rule within so many milliseconds of the last is not noted again.
    pub join_quiet_ms: i64,
}

/// A call that opens an incident, or joins it when it is open.
#[derive(Clone, PartialEq, Debug)]
pub struct NewCall {
    /// The incident.
    pub incident_id: IncidentId,
    /// Who, when known.
    pub patient_id: Option<PatientId>,
    /// How urgent.
    pub priority: Priority,
    /// Where, when known.
    pub location: Option<LatLon>,
    /// As it was received.
    pub call: CallReceived,
    /// Capabilities a unit must have.
    pub needs: Vec<String>,
    /// Limits.
    pub rule: OpeningRule,
}

/// What a unit did for the incident.
#[derive(Clone, PartialEq, Debug)]
pub enum UnitNews {
    /// It was assigned.
    Assigned {
        /// Road time to the scene in seconds.
        eta_s: u32,
        /// Crew level, when known.
        level_of_care: Option<String>,
    },
    /// It drives to the scene.
    Enroute,
    /// It is at the scene or with the patient.
    OnScene,
    /// The patient is on board.
    Onboard {
        /// Where it goes.
        hospital_id: Option<HospitalId>,
    },
    /// It is at the hospital.
    Arrived {
        /// Which.
        hospital_id: Option<HospitalId>,
        /// The hospital's name.
        hospital: Option<String>,
        /// Loaded road distance in metres.
        distance_m: Option<u32>,
    },
    /// The patient was handed over.
    HandedOver {
        /// To which hospital.
        hospital_id: Option<HospitalId>,
        /// Loaded road distance in metres.
        distance_m: Option<u32>,
    },
    /// It no longer works for the incident.
    Released,
    /// Its crew cleared at the scene and says how the incident ended.
    Cleared {
        /// How.
        disposition: Disposition,
    },
}

/// How the bill ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BillOutcome {
    /// Settled.
    Paid,
    /// Not settled.
    Failed,
    /// Given up.
    WrittenOff,
}

impl BillOutcome {
    /// As in `incident.closed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "PAID",
            Self::Failed => "FAILED",
            Self::WrittenOff => "WRITTEN-OFF",
        }
    }
}

/// What may be asked of an incident.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Somebody called for help.
    ReceiveCall(Box<NewCall>),
    /// A dispatcher has seen it.
    Acknowledge {
        /// Who.
        by: String,
    },
    /// A person makes it more urgent.
    Escalate {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A person makes it less urgent.
    Downgrade {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The time to acknowledge has passed.
    Overdue,
    /// A person says that care has ended.
    Resolve {
        /// Who.
        by: String,
        /// How it ended.
        disposition: Disposition,
    },
    /// A person closes it without waiting for the bill.
    Close {
        /// Who.
        by: String,
    },
    /// A person calls it off.
    Cancel {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A unit did something for it.
    FollowUnit {
        /// Which.
        unit_id: UnitId,
        /// What.
        news: UnitNews,
    },
    /// Its bill has ended.
    EndBill(BillOutcome),
}

/// Why an incident says no. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such incident.
    Unknown,
    /// The call comes after the end: it belongs to the patient's next incident.
    Over {
        /// Status of the incident.
        status: &'static str,
    },
    /// The status does not allow it.
    NotAllowed {
        /// What was asked, as a verb.
        action: &'static str,
        /// Status of the incident.
        status: &'static str,
        /// What would be right.
        instead: &'static str,
    },
    /// A unit has the patient on board.
    PatientOnBoard {
        /// Which unit.
        unit_id: UnitId,
        /// Status of the incident.
        status: &'static str,
    },
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => {
                Problem::new(404, "not-found", "there is no incident with this id; GET /api/v1/incidents lists them")
            }
            Refusal::Over { status } => Problem::conflict(format!(
                "the incident is {status}, so no further call can join it; a new call opens a new incident"
            ))
            .with("current_status", status),
            Refusal::NotAllowed { action, status, instead } => {
                Problem::conflict(format!("an incident that is {status} cannot be {action}; {instead}"))
                    .with("current_status", status)
            }
            Refusal::PatientOnBoard { unit_id, status } => Problem::conflict(format!(
                "unit {unit_id} has the patient on board, so the incident cannot be cancelled; resolve it instead"
            ))
            .with("current_status", status)
            .with("unit_id", json!(unit_id)),
        }
    }
}
