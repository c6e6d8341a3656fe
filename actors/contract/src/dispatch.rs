//! The fleet, its states, and which unit goes where.

use crate::incident::Disposition;
use crate::{HospitalId, IncidentId, LatLon, StationId, Timestamp, UnitId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Status of a unit. The German FMS digit and NEMSIS time are in the methods below.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitStatus {
    /// Held for an incident, not yet told.
    Reserved,
    /// Told (NEMSIS eTimes.03).
    Assigned,
    /// Driving to the scene (FMS 3, eTimes.05).
    Enroute,
    /// At the scene (eTimes.06).
    OnScene,
    /// With the patient (eTimes.07).
    AtPatient,
    /// Patient on board, left the scene (FMS 7, eTimes.09).
    Onboard,
    /// At the hospital (FMS 8, eTimes.11).
    Arrived,
    /// Patient handed over (eTimes.12).
    HandedOver,
    /// Free on the road (FMS 1, eTimes.13).
    Available,
    /// Free at its post (FMS 2, eTimes.15).
    AtPost,
    /// Not in service (FMS 6).
    OutOfService,
    /// Called off (eTimes.14); the unit is free.
    Cancelled,
}

impl UnitStatus {
    /// Every status.
    pub const ALL: [Self; 12] = [
        Self::Reserved,
        Self::Assigned,
        Self::Enroute,
        Self::OnScene,
        Self::AtPatient,
        Self::Onboard,
        Self::Arrived,
        Self::HandedOver,
        Self::Available,
        Self::AtPost,
        Self::OutOfService,
        Self::Cancelled,
    ];
    /// As in JSON and in kinds.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Assigned => "assigned",
            Self::Enroute => "enroute",
            Self::OnScene => "on-scene",
            Self::AtPatient => "at-patient",
            Self::Onboard => "onboard",
            Self::Arrived => "arrived",
            Self::HandedOver => "handed-over",
            Self::Available => "available",
            Self::AtPost => "at-post",
            Self::OutOfService => "out-of-service",
            Self::Cancelled => "cancelled",
        }
    }
    /// The FMS digit (German radio status), where there is one.
    #[must_use]
    pub const fn fms(self) -> Option<u8> {
        match self {
            Self::Available => Some(1),
            Self::AtPost => Some(2),
            Self::Enroute => Some(3),
            Self::OutOfService => Some(6),
            Self::Onboard => Some(7),
            Self::Arrived => Some(8),
            Self::Reserved | Self::Assigned | Self::OnScene | Self::AtPatient | Self::HandedOver | Self::Cancelled => {
                None
            }
        }
    }
    /// Whether a unit in this status may be given an incident.
    #[must_use]
    pub const fn is_free(self) -> bool {
        matches!(self, Self::Available | Self::AtPost | Self::Cancelled)
    }
}

impl fmt::Display for UnitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A unit as registered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitProfile {
    /// Id, the radio call sign.
    pub unit_id: UnitId,
    /// `ambulance`, `doctor-car`, `helicopter` …
    #[serde(default = "default_kind")]
    pub kind: String,
    /// Capabilities, such as `als`, `bls`, `paediatric`, `bariatric`.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Crew level, `als` or `bls`.
    #[serde(default = "default_level")]
    pub crew_level: String,
    /// Home station.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station_id: Option<StationId>,
    /// Position until the first fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LatLon>,
    /// Start and end of the shift; outside it the unit is not proposed. Null: always on shift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<Shift>,
    /// How to reach the crew, free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

fn default_kind() -> String {
    "ambulance".into()
}

fn default_level() -> String {
    "als".into()
}

/// A shift.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shift {
    /// Start.
    pub from: Timestamp,
    /// End.
    pub until: Timestamp,
}

/// Data of `unit.retired`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Retired {
    /// Which.
    pub unit_id: UnitId,
    /// By whom.
    pub by: String,
}

/// Data of `unit.status.*`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StatusChanged {
    /// Which.
    pub unit_id: UnitId,
    /// Status before; null right after registration.
    pub previous: Option<UnitStatus>,
    /// For which incident, if for one.
    pub incident_id: Option<IncidentId>,
    /// Where it goes with a patient, from Onboard on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hospital: Option<HospitalChoice>,
    /// Who said so: a principal's subject, or `dispatch`.
    pub by: String,
    /// When it happened by the crew's clock.
    pub at: Timestamp,
    /// Position then, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LatLon>,
    /// Loaded road distance, on arrival, in metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded_distance_m: Option<u32>,
    /// Why, where a person gave a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A hospital that was chosen, with the second best.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HospitalChoice {
    /// Chosen.
    pub hospital_id: HospitalId,
    /// Its name.
    pub name: String,
    /// Where.
    pub location: LatLon,
    /// Drive time in seconds.
    pub drive_s: u32,
    /// Road distance in metres.
    pub distance_m: u32,
    /// One sentence.
    pub reason: String,
    /// Seconds expected from arrival to hand-over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door_s: Option<u32>,
    /// The second best, if another one takes patients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<HospitalRunnerUp>,
}

/// The second best hospital.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HospitalRunnerUp {
    /// Which.
    pub hospital_id: HospitalId,
    /// Its name.
    pub name: String,
    /// Drive time in seconds.
    pub drive_s: u32,
    /// Road distance in metres.
    pub distance_m: u32,
    /// Seconds expected from arrival to hand-over.
    pub door_s: u32,
}

/// One GPS fix of one unit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fix {
    /// Which.
    pub unit_id: UnitId,
    /// When.
    pub at: Timestamp,
    /// Where.
    pub location: LatLon,
    /// Ground speed, metres per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f32>,
    /// Course over ground, degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heading_deg: Option<f32>,
}

/// Data of `unit.location.reported`: fixes that travel together, in the bounded journal
/// `positions/<partition>`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LocationsReported {
    /// The fixes.
    pub fixes: Vec<Fix>,
}

/// A unit considered for an incident.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub unit_id: UnitId,
    /// Road time in seconds.
    pub eta_s: u32,
    /// Road distance in metres.
    pub distance_m: u32,
}

/// A unit not considered, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Excluded {
    /// Which.
    pub unit_id: UnitId,
    /// Why, in a few words.
    pub reason: String,
}

/// Data of `dispatch.assigned`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Assigned {
    /// To which incident.
    pub incident_id: IncidentId,
    /// Which unit.
    pub unit_id: UnitId,
    /// Road time in seconds when it was assigned.
    pub eta_s: u32,
    /// Road distance in metres.
    pub distance_m: u32,
    /// Who computed it: `built-in`, `osrm`, `valhalla`, `google`.
    pub eta_source: String,
    /// One plain sentence: why this unit, the runner-up, what would change it.
    pub reason: String,
    /// The best few, best first.
    pub candidates: Vec<Candidate>,
    /// Who decided: a principal's subject, or `dispatch`.
    pub by: String,
    /// Where the unit was.
    pub from: Option<LatLon>,
    /// Where it goes.
    pub to: LatLon,
    /// The crew sets out before this time, or the next unit is sent. Null: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_by: Option<Timestamp>,
}

/// Data of `dispatch.unassigned`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Unassigned {
    /// From which incident.
    pub incident_id: IncidentId,
    /// Which unit.
    pub unit_id: UnitId,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// Whether the incident still needs a unit.
    pub reopen: bool,
    /// How the incident ended, when the crew that cleared at the scene said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disposition: Option<Disposition>,
}

/// Data of `dispatch.diverted`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Diverted {
    /// The sicker patient's incident.
    pub incident_id: IncidentId,
    /// The incident the unit was taken from.
    pub from_incident_id: IncidentId,
    /// Which unit.
    pub unit_id: UnitId,
    /// The gain, stated for both.
    pub reason: String,
}

/// Data of `dispatch.waiting`, in stream `dispatch/<incident>`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Waiting {
    /// The request that waits.
    pub request: crate::incident::RequestDispatch,
    /// Why, in a sentence.
    pub reason: String,
    /// The units that could not go, with reasons (at most a screenful).
    pub excluded: Vec<Excluded>,
    /// It waits for a person, who sends units to incidents of its kind.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_person: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Data of `dispatch.wait-ended`, in stream `dispatch/<incident>`: it closes the stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WaitEnded {
    /// Which incident waited.
    pub incident_id: IncidentId,
    /// The unit that goes; null when the incident no longer needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_id: Option<UnitId>,
    /// Why, in a sentence.
    pub reason: String,
}

/// Data of `dispatch.eta-changed`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EtaChanged {
    /// For which incident.
    pub incident_id: IncidentId,
    /// Which unit.
    pub unit_id: UnitId,
    /// `scene` or `hospital`.
    pub leg: String,
    /// Expected arrival.
    pub arrives_at: Timestamp,
    /// Who computed it.
    pub eta_source: String,
    /// What a dispatcher should look at, such as a unit that does not move. Null: just a new time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far from its expected route the unit was, in metres, when that is why the time was computed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_route_m: Option<u32>,
}

crate::domain_events! {
    /// The life of a unit, in stream `unit/<id>`; `Located` in the journal `positions/<partition>`.
    UnitEvent {
        /// Registered.
        Registered(UnitProfile) = UNIT_REGISTERED,
        /// Changed.
        Updated(UnitProfile) = UNIT_UPDATED,
        /// Taken out for good.
        Retired(Retired) = UNIT_RETIRED,
        /// Status.
        Reserved(StatusChanged) = UNIT_RESERVED,
        /// Status.
        Assigned(StatusChanged) = UNIT_ASSIGNED,
        /// Status.
        Enroute(StatusChanged) = UNIT_ENROUTE,
        /// Status.
        OnScene(StatusChanged) = UNIT_ON_SCENE,
        /// Status.
        AtPatient(StatusChanged) = UNIT_AT_PATIENT,
        /// Status.
        Onboard(StatusChanged) = UNIT_ONBOARD,
        /// Status.
        Arrived(StatusChanged) = UNIT_ARRIVED,
        /// Status.
        HandedOver(StatusChanged) = UNIT_HANDED_OVER,
        /// Status.
        Available(StatusChanged) = UNIT_AVAILABLE,
        /// Status.
        AtPost(StatusChanged) = UNIT_AT_POST,
        /// Status.
        OutOfService(StatusChanged) = UNIT_OUT_OF_SERVICE,
        /// Status.
        Cancelled(StatusChanged) = UNIT_CANCELLED,
        /// Positions.
        Located(LocationsReported) = UNIT_LOCATION_REPORTED,
    }
}

impl UnitEvent {
    /// The event that `status` was reached.
    #[must_use]
    pub fn status(status: UnitStatus, change: StatusChanged) -> Self {
        match status {
            UnitStatus::Reserved => Self::Reserved(change),
            UnitStatus::Assigned => Self::Assigned(change),
            UnitStatus::Enroute => Self::Enroute(change),
            UnitStatus::OnScene => Self::OnScene(change),
            UnitStatus::AtPatient => Self::AtPatient(change),
            UnitStatus::Onboard => Self::Onboard(change),
            UnitStatus::Arrived => Self::Arrived(change),
            UnitStatus::HandedOver => Self::HandedOver(change),
            UnitStatus::Available => Self::Available(change),
            UnitStatus::AtPost => Self::AtPost(change),
            UnitStatus::OutOfService => Self::OutOfService(change),
            UnitStatus::Cancelled => Self::Cancelled(change),
        }
    }
    /// The status this event reached, with its body, if it is one of `unit.status.*`.
    #[must_use]
    pub fn as_status(&self) -> Option<(UnitStatus, &StatusChanged)> {
        Some(match self {
            Self::Reserved(c) => (UnitStatus::Reserved, c),
            Self::Assigned(c) => (UnitStatus::Assigned, c),
            Self::Enroute(c) => (UnitStatus::Enroute, c),
            Self::OnScene(c) => (UnitStatus::OnScene, c),
            Self::AtPatient(c) => (UnitStatus::AtPatient, c),
            Self::Onboard(c) => (UnitStatus::Onboard, c),
            Self::Arrived(c) => (UnitStatus::Arrived, c),
            Self::HandedOver(c) => (UnitStatus::HandedOver, c),
            Self::Available(c) => (UnitStatus::Available, c),
            Self::AtPost(c) => (UnitStatus::AtPost, c),
            Self::OutOfService(c) => (UnitStatus::OutOfService, c),
            Self::Cancelled(c) => (UnitStatus::Cancelled, c),
            Self::Registered(_) | Self::Updated(_) | Self::Retired(_) | Self::Located(_) => return None,
        })
    }
}

crate::domain_events! {
    /// Decisions of dispatch. `Assigned`, `Unassigned`, `Diverted` and `EtaChanged` are appended to the
    /// unit's stream together with its status, so that neither can exist without the other; `Waiting`
    /// stands in `dispatch/<incident>`.
    DispatchEvent {
        /// A unit goes.
        Assigned(Assigned) = DISPATCH_ASSIGNED,
        /// It no longer goes.
        Unassigned(Unassigned) = DISPATCH_UNASSIGNED,
        /// It goes elsewhere.
        Diverted(Diverted) = DISPATCH_DIVERTED,
        /// No unit can go.
        Waiting(Waiting) = DISPATCH_WAITING,
        /// The expected arrival moved enough to matter.
        EtaChanged(EtaChanged) = DISPATCH_ETA_CHANGED,
    }
}

crate::domain_events! {
    /// The wait of an incident for a unit, in stream `dispatch/<incident>`. `Waiting` is the one of
    /// [`DispatchEvent`].
    WaitEvent {
        /// No unit can go, or what is asked for changed meanwhile.
        Waiting(Waiting) = DISPATCH_WAITING,
        /// A unit goes, or none is needed any more.
        Ended(WaitEnded) = DISPATCH_WAIT_ENDED,
    }
}
