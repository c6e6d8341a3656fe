//! Why a unit says no. Each refusal names the state and what would be right.

use super::transition::allowed_after;
use shers_contract::{
    IncidentId, Problem,
    dispatch::{Shift, UnitStatus},
};

/// Why a unit's command was refused.
#[derive(Clone, PartialEq, Debug)]
pub enum UnitRefusal {
    /// Nobody registered it.
    NotRegistered,
    /// It is registered, and differently.
    Exists,
    /// It was taken out for good.
    Retired,
    /// The status can't follow the current one.
    IllegalStatus {
        /// Where it stands.
        current: UnitStatus,
        /// What was reported.
        asked: UnitStatus,
    },
    /// The report is about another incident than the unit's.
    OtherIncident {
        /// The unit's status.
        status: UnitStatus,
        /// The unit's own, if it has one.
        own: Option<IncidentId>,
        /// The report's.
        asked: IncidentId,
    },
    /// It is at work.
    Busy {
        /// Its status.
        status: UnitStatus,
        /// For which incident.
        incident_id: IncidentId,
    },
    /// It is not in service.
    OutOfService,
    /// Its shift has not begun or is over.
    OffShift(Shift),
    /// It is not assigned to that incident.
    NotAssigned {
        /// Its status.
        status: UnitStatus,
        /// To which it is not assigned.
        incident_id: IncidentId,
    },
    /// It is not moved to another incident: it was moved before, or it has all but arrived.
    StaysOnItsWay {
        /// Its status.
        status: UnitStatus,
        /// Where it goes.
        incident_id: IncidentId,
    },
    /// It can't be called off: a patient is on board or was handed over.
    TooLate {
        /// Its status.
        status: UnitStatus,
    },
    /// A value can't be right.
    Invalid {
        /// JSON pointer.
        field: String,
        /// What is wrong and what would be right.
        detail: String,
    },
}

fn words(statuses: &[UnitStatus]) -> Vec<&'static str> {
    statuses.iter().map(|status| status.as_str()).collect()
}

fn in_state(detail: String, status: UnitStatus) -> Problem {
    Problem::conflict(detail).with("current_status", status.as_str()).with("allowed", words(allowed_after(status)))
}

fn illegal(current: UnitStatus, asked: UnitStatus) -> Problem {
    let next = words(allowed_after(current)).join(", ");
    let mut problem = in_state(format!("{asked} can't follow {current}; allowed now: {next}"), current);
    problem.kind = "/problems/illegal-status".to_owned();
    problem.title = "Illegal status".to_owned();
    problem.with("asked", asked.as_str())
}

impl From<UnitRefusal> for Problem {
    fn from(refusal: UnitRefusal) -> Self {
        match refusal {
            UnitRefusal::NotRegistered => {
                Self::new(404, "not-found", "there is no such unit; register it with POST /api/v1/units")
            }
            UnitRefusal::Exists => {
                Self::conflict("a unit with this id is registered with other data; change it with PATCH")
            }
            UnitRefusal::Retired => Self::conflict("the unit was retired for good; register its crew under another id")
                .with("current_status", "retired"),
            UnitRefusal::IllegalStatus { current, asked } => illegal(current, asked),
            UnitRefusal::OtherIncident { status, own: Some(own), asked } => {
                in_state(format!("the unit is {status} for incident {own}, not for {asked}"), status)
                    .with("incident_id", own.as_str())
            }
            UnitRefusal::OtherIncident { status, own: None, asked } => {
                in_state(format!("the unit is {status} and has no incident, so not {asked} either"), status)
            }
            UnitRefusal::Busy { status, incident_id } => in_state(
                format!(
                    "the unit is {status} for incident {incident_id}; it is free when it reports available or at-post"
                ),
                status,
            )
            .with("incident_id", incident_id.as_str()),
            UnitRefusal::OutOfService => in_state(
                "the unit is out of service; it is free when it reports available or at-post".to_owned(),
                UnitStatus::OutOfService,
            ),
            UnitRefusal::OffShift(shift) => {
                Self::conflict(format!("the unit is off shift; its shift is {} to {}", shift.from, shift.until))
            }
            UnitRefusal::NotAssigned { status, incident_id } => {
                in_state(format!("the unit is {status} and not assigned to incident {incident_id}"), status)
            }
            UnitRefusal::StaysOnItsWay { status, incident_id } => in_state(
                format!(
                    "the unit is {status} for incident {incident_id} and is not moved: it was moved before, or it has all but arrived"
                ),
                status,
            ),
            UnitRefusal::TooLate { status } => in_state(
                format!(
                    "the unit is {status}: the patient is on board or handed over, so it can't be taken off the incident"
                ),
                status,
            ),
            UnitRefusal::Invalid { field, detail } => Self::invalid(&field, detail),
        }
    }
}
