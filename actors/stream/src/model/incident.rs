//! The incident document: lifecycle, who goes, the times, and where the bill stands.
//!
//! `status` is the word of the last lifecycle kind (opened, acknowledged, resolved, closed, cancelled);
//! an escalation raises `escalation_level` and leaves the status, as who must act does not change.
//! `unit_status` is the assigned unit's own word. `times` belong to the present assignment: another unit
//! begins them anew, save the call's.

use super::{Event, Fact, Versions, doc::UNKNOWN};
use serde::{Deserialize, Serialize};
use shers_contract::{
    HospitalId, IncidentId, LatLon, PatientId, Timestamp, UnitId,
    billing::{BillState, BillingEvent, Step},
    dispatch::{Assigned, DispatchEvent, HospitalChoice, StatusChanged, UnitStatus},
    incident::{Disposition, IncidentEvent, Priority},
    triage::TriageStatus,
};

/// Lifecycle of an incident.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Only foreign events are known yet.
    Unknown,
    /// Nobody has acknowledged it.
    Opened,
    /// A dispatcher has seen it.
    Acknowledged,
    /// Care ended; the bill is open.
    Resolved,
    /// All done.
    Closed,
    /// Called off.
    Cancelled,
}

impl Status {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => UNKNOWN,
            Self::Opened => "opened",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }
    /// Nothing more will happen to the patient.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Closed | Self::Cancelled)
    }
}

/// Milestones, by the crew's clock; null while not reached.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// The first call.
    pub call: Option<Timestamp>,
    /// The unit was told.
    pub assigned: Option<Timestamp>,
    /// It drives.
    pub enroute: Option<Timestamp>,
    /// At the scene.
    pub on_scene: Option<Timestamp>,
    /// With the patient.
    pub at_patient: Option<Timestamp>,
    /// Left the scene with the patient.
    pub onboard: Option<Timestamp>,
    /// At the hospital.
    pub arrived: Option<Timestamp>,
    /// Handed over.
    pub handed_over: Option<Timestamp>,
    /// Free again.
    pub available: Option<Timestamp>,
    /// Back at its post.
    pub at_post: Option<Timestamp>,
    /// Called off.
    pub cancelled: Option<Timestamp>,
}

impl Times {
    fn slot(&mut self, status: UnitStatus) -> Option<&mut Option<Timestamp>> {
        Some(match status {
            UnitStatus::Assigned => &mut self.assigned,
            UnitStatus::Enroute => &mut self.enroute,
            UnitStatus::OnScene => &mut self.on_scene,
            UnitStatus::AtPatient => &mut self.at_patient,
            UnitStatus::Onboard => &mut self.onboard,
            UnitStatus::Arrived => &mut self.arrived,
            UnitStatus::HandedOver => &mut self.handed_over,
            UnitStatus::Available => &mut self.available,
            UnitStatus::AtPost => &mut self.at_post,
            UnitStatus::Cancelled => &mut self.cancelled,
            UnitStatus::Reserved | UnitStatus::OutOfService => return None,
        })
    }
}

/// Where the bill stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BillSummary {
    /// PENDING, PAID or FAILED.
    pub state: BillState,
    /// Step of the saga.
    pub step: Option<Step>,
    /// `stuck`, or null.
    pub attention: Option<String>,
}

/// The document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IncidentDoc {
    /// Id.
    pub incident_id: String,
    /// Lifecycle.
    pub status: Status,
    /// How urgent; 4 until known.
    pub priority: Priority,
    /// Who, when known.
    pub patient_id: Option<PatientId>,
    /// Where, when known.
    pub location: Option<LatLon>,
    /// One sentence.
    pub summary: String,
    /// When it was opened.
    pub opened_at: Option<Timestamp>,
    /// When a dispatcher saw it.
    pub acknowledged_at: Option<Timestamp>,
    /// By when one must.
    pub acknowledge_by: Option<Timestamp>,
    /// 0, 1, 2 …
    pub escalation_level: u8,
    /// Triage's last explanation among the calls.
    pub triage: Option<Box<TriageStatus>>,
    /// How many calls were joined in it.
    pub calls: u32,
    /// Capabilities a unit must have.
    pub needs: Vec<String>,
    /// The unit that goes.
    pub unit_id: Option<UnitId>,
    /// Its status, as it concerns this incident.
    pub unit_status: Option<UnitStatus>,
    /// When it is expected at the scene, or at the hospital from Onboard on.
    pub eta_at: Option<Timestamp>,
    /// Why this unit.
    pub assignment: Option<Box<Assigned>>,
    /// Why no unit goes.
    pub waiting_reason: Option<String>,
    /// It waits for a person, who sends units to incidents of its kind.
    #[serde(default)]
    pub waits_for_person: bool,
    /// Where the patient is brought.
    pub hospital: Option<HospitalChoice>,
    /// Where the patient was handed over.
    pub hospital_id: Option<HospitalId>,
    /// How the care ended.
    pub disposition: Option<Disposition>,
    /// When the care ended.
    pub resolved_at: Option<Timestamp>,
    /// Where the bill stands.
    pub bill: Option<BillSummary>,
    /// When it was closed or cancelled.
    pub closed_at: Option<Timestamp>,
    /// Why it was called off.
    pub cancel_reason: Option<String>,
    /// Milestones.
    pub times: Times,
    /// Demo and drills.
    pub exercise: bool,
    /// Last change.
    pub updated_at: Timestamp,
    /// Version of the incident's own stream.
    pub version: u64,
    /// Versions folded.
    #[serde(rename = "_versions")]
    pub versions: Versions,
}

/// A priority's share of a rank: above any instant in milliseconds for the next 3,000 years.
const PRIORITY_SPAN: i64 = 100_000_000_000_000;
/// Ended incidents stand behind all open ones, newest first.
const ENDED_RANK: i64 = 10 * PRIORITY_SPAN;

/// The rank of an incident that ended (or was last heard of) at `at`. Greater is older.
#[must_use]
pub fn ended_rank(at: Timestamp) -> i64 {
    ENDED_RANK.saturating_sub(at.as_ms())
}

impl IncidentDoc {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn empty(id: &str) -> Self {
        Self {
            incident_id: id.to_owned(),
            status: Status::Unknown,
            priority: Priority::P4,
            patient_id: None,
            location: None,
            summary: String::new(),
            opened_at: None,
            acknowledged_at: None,
            acknowledge_by: None,
            escalation_level: 0,
            triage: None,
            calls: 0,
            needs: Vec::new(),
            unit_id: None,
            unit_status: None,
            eta_at: None,
            assignment: None,
            waiting_reason: None,
            waits_for_person: false,
            hospital: None,
            hospital_id: None,
            disposition: None,
            resolved_at: None,
            bill: None,
            closed_at: None,
            cancel_reason: None,
            times: Times::default(),
            exercise: false,
            updated_at: Timestamp::default(),
            version: 0,
            versions: Versions::default(),
        }
    }

    /// Filter word: the status.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        self.status.as_str()
    }

    /// Sort key: open ones by priority, then age; resolved ones behind them by age; ended ones last,
    /// newest first.
    #[must_use]
    pub fn rank(&self) -> i64 {
        let opened_ms = self.opened_at.map_or(0, Timestamp::as_ms);
        match self.status {
            Status::Opened | Status::Acknowledged => i64::from(self.priority.get()) * PRIORITY_SPAN + opened_ms,
            Status::Resolved => 5 * PRIORITY_SPAN + opened_ms,
            Status::Closed | Status::Cancelled | Status::Unknown => {
                ended_rank(self.closed_at.unwrap_or(self.updated_at))
            }
        }
    }

    /// Folds `fact`. True when the document changed.
    pub fn fold(&mut self, fact: &Fact) -> bool {
        if !self.versions.admit(fact) {
            return false;
        }
        self.updated_at = self.updated_at.max(fact.at);
        if fact.is_of("incident", &self.incident_id) {
            self.version = fact.version;
        }
        match &fact.event {
            Event::Incident(event) => self.lifecycle(event, fact),
            Event::Unit(event) => {
                if let Some((status, change)) = event.as_status() {
                    self.unit_reports(status, change);
                }
            }
            Event::Dispatch(event) => self.dispatched(event, fact.at),
            Event::WaitEnded(_) => self.waits_no_more(),
            Event::Billing(event) => self.billed(event),
            Event::Hospital(_) | Event::Notification(_) => {}
        }
        true
    }

    fn lifecycle(&mut self, event: &IncidentEvent, fact: &Fact) {
        match event {
            IncidentEvent::Opened(opened) => {
                self.status = Status::Opened;
                self.exercise = fact.exercise;
                self.priority = opened.priority;
                self.patient_id.clone_from(&opened.patient_id);
                self.location = opened.location;
                self.summary.clone_from(&opened.call.summary);
                self.opened_at = Some(fact.at);
                self.acknowledge_by = Some(opened.acknowledge_by);
                self.triage = opened.call.triage.clone().map(Box::new);
                self.calls = 1;
                self.needs.clone_from(&opened.needs);
                self.times.call = Some(opened.call.at);
            }
            IncidentEvent::CallJoined(joined) => {
                self.calls += 1;
                self.priority = joined.priority;
                self.location = joined.location.or(self.location);
                if let Some(triage) = &joined.call.triage {
                    self.triage = Some(Box::new(triage.clone()));
                }
            }
            IncidentEvent::Acknowledged(_) => {
                self.status = Status::Acknowledged;
                self.acknowledged_at = Some(fact.at);
                self.acknowledge_by = None;
            }
            IncidentEvent::Escalated(escalated) => {
                self.escalation_level = escalated.level;
                self.priority = escalated.priority;
                self.acknowledge_by = escalated.next_at;
            }
            IncidentEvent::Downgraded(downgraded) => self.priority = downgraded.priority,
            IncidentEvent::Resolved(resolved) => {
                self.status = Status::Resolved;
                self.disposition = Some(resolved.disposition);
                self.hospital_id.clone_from(&resolved.hospital_id);
                self.resolved_at = Some(fact.at);
                self.nothing_awaited();
            }
            IncidentEvent::Closed(_) => {
                self.status = Status::Closed;
                self.closed_at = Some(fact.at);
                self.nothing_awaited();
            }
            IncidentEvent::Cancelled(cancelled) => {
                self.status = Status::Cancelled;
                self.closed_at = Some(fact.at);
                self.cancel_reason = Some(cancelled.reason.clone());
                self.nothing_awaited();
            }
            // What the incident remembers of its unit, the unit has said itself; and what comes of the
            // commands that go out under the incident's name tells itself.
            IncidentEvent::UnitChanged(_)
            | IncidentEvent::RequestDispatch(_)
            | IncidentEvent::SendNotification(_)
            | IncidentEvent::CancelDispatch(_)
            | IncidentEvent::StartBilling(_) => {}
        }
    }

    fn waits_no_more(&mut self) {
        self.waiting_reason = None;
        self.waits_for_person = false;
    }

    fn nothing_awaited(&mut self) {
        self.acknowledge_by = None;
        self.waits_no_more();
        self.eta_at = None;
    }

    /// Whether what `unit` says concerns this incident now.
    fn is_mine(&self, unit: &UnitId) -> bool {
        self.unit_id.as_ref().is_none_or(|mine| mine == unit)
    }

    fn unit_reports(&mut self, status: UnitStatus, change: &StatusChanged) {
        let begins = matches!(status, UnitStatus::Reserved | UnitStatus::Assigned);
        if begins && self.unit_id.as_ref() != Some(&change.unit_id) {
            self.release();
            self.times = Times { call: self.times.call, ..Times::default() };
            self.unit_id = Some(change.unit_id.clone());
        }
        if !self.is_mine(&change.unit_id) {
            return;
        }
        if let Some(slot) = self.times.slot(status) {
            *slot = Some(change.at);
        }
        if status == UnitStatus::Cancelled {
            self.release();
            return;
        }
        self.unit_id = Some(change.unit_id.clone());
        self.unit_status = Some(status);
        self.waits_no_more();
        match status {
            UnitStatus::Onboard => {
                self.hospital.clone_from(&change.hospital);
                self.eta_at = change.hospital.as_ref().map(|h| change.at.plus_ms(i64::from(h.drive_s) * 1000));
            }
            UnitStatus::Arrived => {
                self.hospital = change.hospital.clone().or_else(|| self.hospital.take());
                self.eta_at = None;
            }
            UnitStatus::OnScene
            | UnitStatus::AtPatient
            | UnitStatus::HandedOver
            | UnitStatus::Available
            | UnitStatus::AtPost
            | UnitStatus::OutOfService => self.eta_at = None,
            UnitStatus::Reserved | UnitStatus::Assigned | UnitStatus::Enroute | UnitStatus::Cancelled => {}
        }
    }

    /// No unit goes any more.
    fn release(&mut self) {
        self.unit_id = None;
        self.unit_status = None;
        self.assignment = None;
        self.eta_at = None;
        self.hospital = None;
    }

    fn dispatched(&mut self, event: &DispatchEvent, at: Timestamp) {
        match event {
            DispatchEvent::Assigned(assigned) => {
                self.unit_id = Some(assigned.unit_id.clone());
                self.eta_at = Some(at.plus_ms(i64::from(assigned.eta_s) * 1000));
                self.assignment = Some(Box::new(assigned.clone()));
                self.waits_no_more();
            }
            DispatchEvent::Unassigned(unassigned) => {
                if self.is_mine(&unassigned.unit_id) {
                    self.release();
                }
            }
            DispatchEvent::Diverted(diverted) => {
                let loses = diverted.from_incident_id.as_str() == self.incident_id;
                if loses && self.is_mine(&diverted.unit_id) {
                    self.release();
                    self.waiting_reason = Some(diverted.reason.clone());
                }
            }
            DispatchEvent::Waiting(waiting) => {
                if self.unit_id.is_none() && !self.status.is_ended() {
                    self.waiting_reason = Some(waiting.reason.clone());
                    self.waits_for_person = waiting.by_person;
                }
            }
            DispatchEvent::EtaChanged(eta) => {
                if self.is_mine(&eta.unit_id) {
                    self.eta_at = Some(eta.arrives_at);
                }
            }
        }
    }

    fn billed(&mut self, event: &BillingEvent) {
        let before = self.bill.take();
        let step_before = before.as_ref().and_then(|b| b.step);
        let state_before = before.as_ref().map_or(BillState::Pending, |b| b.state);
        let attention_before = before.and_then(|b| b.attention);
        let (state, step, attention) = match event {
            BillingEvent::Pending(p) => (BillState::Pending, Some(p.step), None),
            BillingEvent::Paid(_) => (BillState::Paid, Some(Step::Settled), None),
            BillingEvent::Failed(_) | BillingEvent::WrittenOff(_) => (BillState::Failed, Some(Step::Settled), None),
            BillingEvent::Stuck(s) => (BillState::Pending, Some(s.step), Some("stuck".to_owned())),
            BillingEvent::CoverageVerified(_) | BillingEvent::Compensated(_) => {
                (state_before, step_before, attention_before)
            }
        };
        self.bill = Some(BillSummary { state, step, attention });
    }

    /// The incident's id as a type; `None` for a text that is no id.
    #[must_use]
    pub fn id(&self) -> Option<IncidentId> {
        IncidentId::new(&self.incident_id).ok()
    }
}
