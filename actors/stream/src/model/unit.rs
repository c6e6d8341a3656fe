//! The unit document: the fleet board's line of one unit.

use super::{Event, Fact, Versions, doc::UNKNOWN};
use serde::{Deserialize, Serialize};
use shers_contract::{
    IncidentId, LatLon, StationId, Timestamp,
    dispatch::{DispatchEvent, Fix, HospitalChoice, Shift, StatusChanged, UnitEvent, UnitProfile, UnitStatus},
};

/// The document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct UnitDoc {
    /// Id, the radio call sign.
    pub unit_id: String,
    /// Its registration was heard of.
    #[serde(rename = "_registered")]
    pub registered: bool,
    /// `ambulance`, `doctor-car` …
    pub kind: String,
    /// Capabilities.
    pub capabilities: Vec<String>,
    /// `als` or `bls`.
    pub crew_level: String,
    /// Home station.
    pub station_id: Option<StationId>,
    /// Shift; null: always on shift.
    pub shift: Option<Shift>,
    /// How to reach the crew.
    pub contact: Option<String>,
    /// Status.
    pub status: UnitStatus,
    /// Its FMS digit, where there is one.
    pub fms: Option<u8>,
    /// Since when, by the crew's clock.
    pub status_at: Option<Timestamp>,
    /// The incident it is on.
    pub incident_id: Option<IncidentId>,
    /// Last known position.
    pub location: Option<LatLon>,
    /// When it was there.
    pub located_at: Option<Timestamp>,
    /// Ground speed then.
    pub speed_mps: Option<f32>,
    /// Course then.
    pub heading_deg: Option<f32>,
    /// Where it brings its patient.
    pub hospital: Option<HospitalChoice>,
    /// When it is expected there, or at the scene.
    pub eta_at: Option<Timestamp>,
    /// Taken out for good.
    pub retired: bool,
    /// Demo and drills.
    pub exercise: bool,
    /// Last change.
    pub updated_at: Timestamp,
    /// Version of the unit's stream.
    pub version: u64,
    /// Versions folded.
    #[serde(rename = "_versions")]
    pub versions: Versions,
}

impl UnitDoc {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn empty(id: &str) -> Self {
        Self {
            unit_id: id.to_owned(),
            registered: false,
            kind: String::new(),
            capabilities: Vec::new(),
            crew_level: String::new(),
            station_id: None,
            shift: None,
            contact: None,
            status: UnitStatus::OutOfService,
            fms: UnitStatus::OutOfService.fms(),
            status_at: None,
            incident_id: None,
            location: None,
            located_at: None,
            speed_mps: None,
            heading_deg: None,
            hospital: None,
            eta_at: None,
            retired: false,
            exercise: false,
            updated_at: Timestamp::default(),
            version: 0,
            versions: Versions::default(),
        }
    }

    /// Filter word: the status, or `retired`.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match (self.registered, self.retired) {
            (false, _) => UNKNOWN,
            (true, true) => "retired",
            (true, false) => self.status.as_str(),
        }
    }

    /// Folds `fact`. True when the document changed.
    pub fn fold(&mut self, fact: &Fact) -> bool {
        if !self.versions.admit(fact) {
            return false;
        }
        self.updated_at = self.updated_at.max(fact.at);
        if fact.is_of("unit", &self.unit_id) {
            self.version = fact.version;
        }
        match &fact.event {
            Event::Unit(UnitEvent::Registered(profile)) => {
                self.registered = true;
                self.exercise = fact.exercise;
                self.profile(profile, fact.at);
            }
            Event::Unit(UnitEvent::Updated(profile)) => self.profile(profile, fact.at),
            Event::Unit(UnitEvent::Retired(_)) => {
                self.retired = true;
                self.incident_id = None;
                self.hospital = None;
                self.eta_at = None;
            }
            Event::Unit(event) => {
                if let Some((status, change)) = event.as_status() {
                    self.reports(status, change);
                }
            }
            Event::Dispatch(event) => self.dispatched(event, fact.at),
            Event::Incident(_)
            | Event::WaitEnded(_)
            | Event::Hospital(_)
            | Event::Billing(_)
            | Event::Notification(_) => {}
        }
        true
    }

    /// Takes a fix, if it is newer than the one that is known. True when it was.
    pub fn located(&mut self, fix: &Fix) -> bool {
        if self.located_at.is_some_and(|known| fix.at <= known) {
            return false;
        }
        self.location = Some(fix.location);
        self.located_at = Some(fix.at);
        self.speed_mps = fix.speed_mps;
        self.heading_deg = fix.heading_deg;
        self.updated_at = self.updated_at.max(fix.at);
        true
    }

    fn profile(&mut self, profile: &UnitProfile, at: Timestamp) {
        self.kind.clone_from(&profile.kind);
        self.capabilities.clone_from(&profile.capabilities);
        self.crew_level.clone_from(&profile.crew_level);
        self.station_id.clone_from(&profile.station_id);
        self.shift = profile.shift;
        self.contact.clone_from(&profile.contact);
        // The profile's position holds until the first fix.
        if let (None, Some(location)) = (self.location, profile.location) {
            self.location = Some(location);
            self.located_at = Some(at);
        }
    }

    fn reports(&mut self, status: UnitStatus, change: &StatusChanged) {
        self.status = status;
        self.fms = status.fms();
        self.status_at = Some(change.at);
        let on_incident = !status.is_free() && status != UnitStatus::OutOfService;
        self.incident_id = if on_incident { change.incident_id.clone() } else { None };
        match status {
            UnitStatus::Onboard => {
                self.hospital.clone_from(&change.hospital);
                self.eta_at = change.hospital.as_ref().map(|h| change.at.plus_ms(i64::from(h.drive_s) * 1000));
            }
            UnitStatus::Arrived => {
                self.hospital = change.hospital.clone().or_else(|| self.hospital.take());
                self.eta_at = None;
            }
            UnitStatus::OnScene | UnitStatus::AtPatient | UnitStatus::HandedOver => self.eta_at = None,
            UnitStatus::Reserved | UnitStatus::Assigned | UnitStatus::Enroute => {}
            UnitStatus::Available | UnitStatus::AtPost | UnitStatus::OutOfService | UnitStatus::Cancelled => {
                self.hospital = None;
                self.eta_at = None;
            }
        }
        if let Some(location) = change.location {
            let unit_id = change.unit_id.clone();
            self.located(&Fix { unit_id, at: change.at, location, speed_mps: None, heading_deg: None });
        }
    }

    fn dispatched(&mut self, event: &DispatchEvent, at: Timestamp) {
        match event {
            DispatchEvent::Assigned(assigned) => {
                self.incident_id = Some(assigned.incident_id.clone());
                self.eta_at = Some(at.plus_ms(i64::from(assigned.eta_s) * 1000));
            }
            DispatchEvent::EtaChanged(eta) => self.eta_at = Some(eta.arrives_at),
            DispatchEvent::Unassigned(unassigned) => {
                if self.incident_id.as_ref() == Some(&unassigned.incident_id) {
                    self.incident_id = None;
                    self.eta_at = None;
                }
            }
            DispatchEvent::Diverted(_) | DispatchEvent::Waiting(_) => {}
        }
    }
}
