//! What is remembered of an incident: the fold of its events.

use shers_contract::{
    HospitalId, IncidentId, LatLon, NotificationId, PatientId, Timestamp, UnitId, derived_uuid,
    dispatch::UnitStatus,
    incident::{CallReceived, CallSource, Opened, Priority, RequestDispatch, UnitChanged},
    notification::{SendNotification, Template},
};

/// Whether a person has seen it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attention {
    /// Nobody yet.
    Awaited {
        /// When it escalates next, if it does.
        next_at: Option<Timestamp>,
        /// How often a deadline has escalated it.
        overdue: u8,
    },
    /// A dispatcher.
    Acknowledged {
        /// Who.
        by: String,
    },
}

/// How far a unit is in its work for the incident. Only grows, until it is released.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Told, not moving yet.
    Assigned,
    /// On its way or at the scene.
    Enroute,
    /// Has the patient on board.
    Onboard,
    /// At the hospital.
    Arrived,
}

/// A unit's work for the incident.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitWork {
    /// Which.
    pub unit_id: UnitId,
    /// How far; `None` when it no longer works for the incident.
    pub phase: Option<Phase>,
    /// It had been on its way at some time.
    pub went: bool,
    /// Road time to the scene in seconds, when it was assigned.
    pub eta_s: Option<u32>,
    /// Crew level.
    pub level_of_care: Option<String>,
    /// Where it brings the patient.
    pub hospital_id: Option<HospitalId>,
    /// Loaded road distance in metres.
    pub loaded_distance_m: Option<u32>,
}

/// What is remembered of an incident.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    /// The incident.
    pub incident_id: IncidentId,
    /// Who, when known.
    pub patient_id: Option<PatientId>,
    /// How urgent. Never goes down.
    pub priority: Priority,
    /// Where, when known.
    pub location: Option<LatLon>,
    /// What the first call said.
    pub summary: String,
    /// Capabilities a unit must have.
    pub needs: Vec<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it must be acknowledged.
    pub acknowledge_by: Timestamp,
    /// How often a passed deadline may escalate it.
    pub max_escalations: u8,
    /// Whether a person has seen it.
    pub attention: Attention,
    /// How often it was escalated, by deadlines and persons.
    pub level: u8,
    /// How many calls it has.
    pub calls: u32,
    /// The last call by each rule of triage.
    pub heard: Vec<(String, Timestamp)>,
    /// Units that work or worked for it, in the order of their first assignment.
    pub units: Vec<UnitWork>,
    /// Notifications that were ordered.
    pub told: Vec<NotificationId>,
    /// A bill was started.
    pub billed: bool,
}

impl Case {
    /// The case that `opened` begins.
    #[must_use]
    pub fn begin(opened: &Opened, at: Timestamp) -> Self {
        let mut case = Self {
            incident_id: opened.incident_id.clone(),
            patient_id: opened.patient_id.clone(),
            priority: opened.priority,
            location: opened.location,
            summary: opened.call.summary.clone(),
            needs: opened.needs.clone(),
            opened_at: at,
            acknowledge_by: opened.acknowledge_by,
            max_escalations: opened.max_escalations,
            attention: Attention::Awaited {
                next_at: (opened.max_escalations > 0).then_some(opened.acknowledge_by),
                overdue: 0,
            },
            level: 0,
            calls: 0,
            heard: Vec::new(),
            units: Vec::new(),
            told: Vec::new(),
            billed: false,
        };
        case.hear(&opened.call);
        case
    }

    /// Notes a call.
    pub fn hear(&mut self, call: &CallReceived) {
        self.calls = self.calls.saturating_add(1);
        let Some(rule) = rule_of(call) else { return };
        match self.heard.iter_mut().find(|(known, _)| known == rule) {
            Some((_, at)) => *at = (*at).max(call.at),
            None => self.heard.push((rule.to_owned(), call.at)),
        }
    }

    /// Whether a call by the same rule came less than `quiet_ms` before this one.
    #[must_use]
    pub fn heard_lately(&self, call: &CallReceived, quiet_ms: i64) -> bool {
        rule_of(call)
            .and_then(|rule| self.heard.iter().find(|(known, _)| known == rule))
            .is_some_and(|(_, at)| call.at.ms_since(*at) < quiet_ms)
    }

    /// Notes what a unit did.
    pub fn follow(&mut self, change: &UnitChanged) {
        let place = self.units.iter().position(|unit| unit.unit_id == change.unit_id).unwrap_or_else(|| {
            self.units.push(UnitWork {
                unit_id: change.unit_id.clone(),
                phase: None,
                went: false,
                eta_s: None,
                level_of_care: None,
                hospital_id: None,
                loaded_distance_m: None,
            });
            self.units.len() - 1
        });
        let Some(unit) = self.units.get_mut(place) else { return };
        unit.phase = phase_of(change.status);
        unit.went |= unit.phase.is_some_and(|phase| phase >= Phase::Enroute);
        unit.eta_s = change.eta_s.or(unit.eta_s);
        unit.level_of_care = change.level_of_care.clone().or(unit.level_of_care.take());
        unit.hospital_id = change.hospital_id.clone().or(unit.hospital_id.take());
        unit.loaded_distance_m = change.loaded_distance_m.or(unit.loaded_distance_m);
    }

    /// What is known of a unit's work.
    #[must_use]
    pub fn unit(&self, unit_id: &UnitId) -> Option<&UnitWork> {
        self.units.iter().find(|unit| unit.unit_id == *unit_id)
    }

    /// The unit that works for it now and is furthest with that.
    #[must_use]
    pub fn working_unit(&self) -> Option<&UnitWork> {
        self.units.iter().filter(|unit| unit.phase.is_some()).max_by_key(|unit| unit.phase)
    }

    /// A unit was on its way at some time: what cost money.
    #[must_use]
    pub fn a_unit_went(&self) -> bool {
        self.units.iter().any(|unit| unit.went)
    }

    /// The level of care to bill: that of `unit`, else of any that went, else what was asked for.
    #[must_use]
    pub fn level_of_care(&self, unit: Option<&UnitId>) -> String {
        let of = |work: &UnitWork| work.level_of_care.clone();
        unit.and_then(|id| self.unit(id))
            .and_then(of)
            .or_else(|| self.units.iter().filter(|work| work.went).find_map(of))
            .unwrap_or_else(|| if self.needs.iter().any(|need| need == "als") { "als" } else { "bls" }.to_owned())
    }

    /// The notification of `template` (about `unit`), unless nobody is to be told or it was ordered before.
    #[must_use]
    pub fn tell(&self, template: Template, unit: Option<&UnitId>) -> Option<SendNotification> {
        let patient_id = self.patient_id.clone()?;
        let notification_id = notification_id(&self.incident_id, template, unit);
        (!self.told.contains(&notification_id)).then(|| SendNotification {
            notification_id,
            incident_id: self.incident_id.clone(),
            patient_id,
            template,
            eta_min: None,
            hospital: None,
        })
    }

    /// What dispatch is asked for.
    #[must_use]
    pub fn request(&self) -> RequestDispatch {
        RequestDispatch {
            incident_id: self.incident_id.clone(),
            priority: self.priority,
            location: self.location,
            needs: self.needs.clone(),
            opened_at: self.opened_at,
        }
    }
}

/// The id of a notification: the same incident, template and unit always give the same one.
#[must_use]
pub fn notification_id(incident: &IncidentId, template: Template, unit: Option<&UnitId>) -> NotificationId {
    let unit = unit.map_or("", UnitId::as_str);
    NotificationId::from_uuid(derived_uuid(&["notification", incident.as_str(), template.as_str(), unit]))
}

/// The rule of triage behind a call; a person's call has none and is always noted.
fn rule_of(call: &CallReceived) -> Option<&str> {
    match call.source {
        CallSource::Triage => call.triage.as_ref().map(|triage| triage.rule.as_str()),
        CallSource::Manual => None,
    }
}

/// The phase that a stored status means.
fn phase_of(status: UnitStatus) -> Option<Phase> {
    match status {
        UnitStatus::Reserved | UnitStatus::Assigned => Some(Phase::Assigned),
        UnitStatus::Enroute | UnitStatus::OnScene | UnitStatus::AtPatient => Some(Phase::Enroute),
        UnitStatus::Onboard => Some(Phase::Onboard),
        UnitStatus::Arrived | UnitStatus::HandedOver => Some(Phase::Arrived),
        UnitStatus::Available | UnitStatus::AtPost | UnitStatus::OutOfService | UnitStatus::Cancelled => None,
    }
}
