//! The incident: from the first call to the closed bill.
//!
//! States: `Unopened` → `Open` → `Resolved` → `Closed`, or `Open` → `Cancelled`.
//!
//! Invariants:
//! - The priority never goes down by itself; nothing lowers it at all.
//! - Only a person's acknowledgement (or the end) stops the escalations. That a unit was assigned does
//!   not: dispatch assigns by itself, and the deadline is there so that a person looks. A passed deadline
//!   raises the level, not the medical priority, which would push others back in the queue.
//! - At most one `command.billing.start`, and none before the end.
//! - A notification is ordered once for each incident, template and unit.
//! - `Closed` and `Cancelled` are final. The bill of a cancelled incident (when a unit had gone) lives in
//!   its own stream; how it ends changes nothing here, so the status stays `cancelled`.

use super::case::{Attention, Case, Phase, UnitWork};
use super::command::{BillOutcome, Command, NewCall, Refusal, UnitNews};
use super::view;
use shers_contract::{
    HospitalId, IncidentId, Timestamp, UnitId,
    api::Answer,
    dispatch::UnitStatus,
    incident::{
        Acknowledged, CallJoined, CancelDispatch, Cancelled, Closed, Disposition, Escalated, IncidentEvent, Opened, Priority,
        Resolved, StartBilling, UnitChanged,
    },
    notification::{SendNotification, Template},
};
use shers_runtime::{Aggregate, NoEffect};

/// An incident.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Incident {
    /// Nothing has happened yet.
    #[default]
    Unopened,
    /// Being handled.
    Open(Box<Case>),
    /// Care has ended, the bill has not.
    Resolved {
        /// What is remembered.
        case: Box<Case>,
        /// How it ended.
        disposition: Disposition,
        /// Where the patient was handed over.
        hospital_id: Option<HospitalId>,
    },
    /// All done.
    Closed {
        /// What is remembered.
        case: Box<Case>,
        /// How the bill ended.
        bill: Option<String>,
    },
    /// Called off.
    Cancelled {
        /// What is remembered.
        case: Box<Case>,
        /// Why.
        reason: String,
    },
}

type Decision = Result<Vec<IncidentEvent>, Refusal>;

/// The answer when what is asked has happened before.
const NOTHING_NEW: Decision = Ok(Vec::new());

impl Incident {
    /// The status as in JSON.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::Unopened => "unopened",
            Self::Open(case) => match &case.attention {
                Attention::Acknowledged { .. } => "acknowledged",
                Attention::Awaited { .. } if case.level > 0 => "escalated",
                Attention::Awaited { .. } => "opened",
            },
            Self::Resolved { .. } => "resolved",
            Self::Closed { .. } => "closed",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// What is remembered of it, once it was opened.
    #[must_use]
    pub fn case(&self) -> Option<&Case> {
        match self {
            Self::Unopened => None,
            Self::Open(case) | Self::Resolved { case, .. } | Self::Closed { case, .. } | Self::Cancelled { case, .. } => {
                Some(case)
            }
        }
    }

    /// Whether a further call joins it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    fn refuse(&self, action: &'static str, instead: &'static str) -> Decision {
        Err(Refusal::NotAllowed { action, status: self.status(), instead })
    }

    fn receive(&self, call: &NewCall, now: Timestamp) -> Decision {
        match self {
            Self::Unopened => Ok(open(call, now)),
            Self::Open(case) => Ok(join(case, call)),
            Self::Resolved { .. } | Self::Closed { .. } | Self::Cancelled { .. } => {
                Err(Refusal::Over { status: self.status() })
            }
        }
    }

    fn acknowledge(&self, by: &str) -> Decision {
        match self {
            Self::Unopened => Err(Refusal::Unknown),
            Self::Open(case) => match case.attention {
                Attention::Acknowledged { .. } => NOTHING_NEW,
                Attention::Awaited { .. } => Ok(vec![IncidentEvent::Acknowledged(Acknowledged { by: by.to_owned() })]),
            },
            Self::Resolved { .. } | Self::Closed { .. } | Self::Cancelled { .. } => {
                self.refuse("acknowledged", "it is over")
            }
        }
    }

    fn escalate(&self, by: &str, reason: &str) -> Decision {
        match self {
            Self::Unopened => Err(Refusal::Unknown),
            Self::Open(case) => {
                let priority = more_urgent(case.priority);
                let next_at = match case.attention {
                    Attention::Awaited { next_at, .. } => next_at,
                    Attention::Acknowledged { .. } => None,
                };
                let mut events = vec![IncidentEvent::Escalated(Escalated {
                    level: case.level.saturating_add(1),
                    reason: reason.to_owned(),
                    by: Some(by.to_owned()),
                    priority,
                    next_at,
                })];
                if priority < case.priority && case.working_unit().is_none() {
                    let worse = Case { priority, ..Case::clone(case) };
                    events.push(IncidentEvent::RequestDispatch(worse.request()));
                }
                Ok(events)
            }
            Self::Resolved { .. } | Self::Closed { .. } | Self::Cancelled { .. } => self.refuse("escalated", "it is over"),
        }
    }

    /// A deadline that is not (or no longer) due gives nothing: it may come late or twice.
    fn overdue(&self, now: Timestamp) -> Decision {
        let Self::Open(case) = self else { return NOTHING_NEW };
        let Attention::Awaited { next_at: Some(due), overdue } = case.attention else { return NOTHING_NEW };
        if now < due {
            return NOTHING_NEW;
        }
        let every_ms = case.acknowledge_by.ms_since(case.opened_at).max(1);
        let next_at = (overdue.saturating_add(1) < case.max_escalations).then(|| now.plus_ms(every_ms));
        Ok(vec![IncidentEvent::Escalated(Escalated {
            level: case.level.saturating_add(1),
            reason: format!("Nobody has acknowledged it for {} s.", now.ms_since(case.opened_at) / 1000),
            by: None,
            priority: case.priority,
            next_at,
        })])
    }

    fn resolve(&self, by: &str, disposition: Disposition, now: Timestamp) -> Decision {
        match self {
            Self::Unopened => Err(Refusal::Unknown),
            Self::Open(case) => Ok(resolve(case, by, disposition, now)),
            Self::Resolved { disposition: known, .. } if *known == disposition => NOTHING_NEW,
            Self::Resolved { .. } | Self::Closed { .. } | Self::Cancelled { .. } => {
                self.refuse("resolved", "how it ended is recorded already")
            }
        }
    }

    fn close(&self, by: &str) -> Decision {
        match self {
            Self::Unopened => Err(Refusal::Unknown),
            Self::Open(_) => self.refuse("closed", "resolve or cancel it first"),
            Self::Resolved { .. } => Ok(vec![IncidentEvent::Closed(Closed { bill: None, by: Some(by.to_owned()) })]),
            Self::Closed { .. } => NOTHING_NEW,
            Self::Cancelled { .. } => self.refuse("closed", "it is final already"),
        }
    }

    fn cancel(&self, by: &str, reason: &str, now: Timestamp) -> Decision {
        match self {
            Self::Unopened => Err(Refusal::Unknown),
            Self::Open(case) => match case.working_unit() {
                Some(UnitWork { unit_id, phase: Some(Phase::Onboard | Phase::Arrived), .. }) => {
                    Err(Refusal::PatientOnBoard { unit_id: unit_id.clone(), status: self.status() })
                }
                Some(_) | None => Ok(cancel(case, by, reason, now)),
            },
            Self::Cancelled { .. } => NOTHING_NEW,
            Self::Resolved { .. } | Self::Closed { .. } => self.refuse("cancelled", "care has ended already"),
        }
    }

    /// News of a unit after the end changes nothing: the unit's own stream tells it.
    fn follow(&self, unit_id: &UnitId, news: &UnitNews, now: Timestamp) -> Decision {
        match self {
            Self::Unopened => Err(Refusal::Unknown),
            Self::Open(case) => Ok(follow(case, unit_id, news, now)),
            Self::Resolved { .. } | Self::Closed { .. } | Self::Cancelled { .. } => NOTHING_NEW,
        }
    }

    fn end_bill(&self, outcome: BillOutcome) -> Decision {
        match self {
            Self::Unopened => Err(Refusal::Unknown),
            Self::Resolved { .. } => {
                Ok(vec![IncidentEvent::Closed(Closed { bill: Some(outcome.as_str().to_owned()), by: None })])
            }
            Self::Open(_) | Self::Closed { .. } | Self::Cancelled { .. } => NOTHING_NEW,
        }
    }
}

impl Aggregate for Incident {
    const CATEGORY: &'static str = "incident";
    type Command = Command;
    type Event = IncidentEvent;
    type Refusal = Refusal;
    type Effect = NoEffect;

    fn decide(&self, command: &Command, now: Timestamp) -> Decision {
        match command {
            Command::ReceiveCall(call) => self.receive(call, now),
            Command::Acknowledge { by } => self.acknowledge(by),
            Command::Escalate { by, reason } => self.escalate(by, reason),
            Command::Overdue => self.overdue(now),
            Command::Resolve { by, disposition } => self.resolve(by, *disposition, now),
            Command::Close { by } => self.close(by),
            Command::Cancel { by, reason } => self.cancel(by, reason, now),
            Command::FollowUnit { unit_id, news } => self.follow(unit_id, news, now),
            Command::EndBill(outcome) => self.end_bill(*outcome),
        }
    }

    fn evolve(self, event: &IncidentEvent, at: Timestamp) -> Self {
        match (self, event) {
            (Self::Unopened, IncidentEvent::Opened(opened)) => Self::Open(Box::new(Case::begin(opened, at))),
            (Self::Open(case), IncidentEvent::Resolved(resolved)) => Self::Resolved {
                case,
                disposition: resolved.disposition,
                hospital_id: resolved.hospital_id.clone(),
            },
            (Self::Open(case), IncidentEvent::Cancelled(cancelled)) => {
                Self::Cancelled { case, reason: cancelled.reason.clone() }
            }
            (Self::Resolved { case, .. }, IncidentEvent::Closed(closed)) => {
                Self::Closed { case, bill: closed.bill.clone() }
            }
            (mut state, event) => {
                if let Some(case) = state.case_mut() {
                    note(case, event);
                }
                state
            }
        }
    }

    fn correlation(&self, event: &IncidentEvent) -> Option<IncidentId> {
        match event {
            IncidentEvent::Opened(opened) => Some(opened.incident_id.clone()),
            IncidentEvent::CallJoined(_)
            | IncidentEvent::Acknowledged(_)
            | IncidentEvent::Escalated(_)
            | IncidentEvent::UnitChanged(_)
            | IncidentEvent::Resolved(_)
            | IncidentEvent::Closed(_)
            | IncidentEvent::Cancelled(_)
            | IncidentEvent::SendNotification(_)
            | IncidentEvent::RequestDispatch(_)
            | IncidentEvent::CancelDispatch(_)
            | IncidentEvent::StartBilling(_) => self.case().map(|case| case.incident_id.clone()),
        }
    }

    fn deadline(&self) -> Option<(Timestamp, Command)> {
        match self {
            Self::Open(case) => match case.attention {
                Attention::Awaited { next_at, .. } => next_at.map(|at| (at, Command::Overdue)),
                Attention::Acknowledged { .. } => None,
            },
            Self::Unopened | Self::Resolved { .. } | Self::Closed { .. } | Self::Cancelled { .. } => None,
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Cancelled { .. })
    }

    fn answer(&self, version: u64) -> Answer {
        view::answer(self, version)
    }
}

impl Incident {
    fn case_mut(&mut self) -> Option<&mut Case> {
        match self {
            Self::Unopened => None,
            Self::Open(case) | Self::Resolved { case, .. } | Self::Closed { case, .. } | Self::Cancelled { case, .. } => {
                Some(case)
            }
        }
    }
}

/// Folds an event that does not change which state it is.
fn note(case: &mut Case, event: &IncidentEvent) {
    match event {
        IncidentEvent::CallJoined(joined) => {
            case.hear(&joined.call);
            case.priority = case.priority.min(joined.priority);
            case.location = joined.location.or(case.location);
        }
        IncidentEvent::Acknowledged(acknowledged) => {
            case.attention = Attention::Acknowledged { by: acknowledged.by.clone() };
        }
        IncidentEvent::Escalated(escalated) => {
            case.level = escalated.level;
            case.priority = case.priority.min(escalated.priority);
            if let Attention::Awaited { next_at, overdue } = &mut case.attention {
                *next_at = escalated.next_at;
                *overdue = overdue.saturating_add(u8::from(escalated.by.is_none()));
            }
        }
        IncidentEvent::UnitChanged(change) => case.follow(change),
        IncidentEvent::SendNotification(send) => case.told.push(send.notification_id.clone()),
        IncidentEvent::StartBilling(_) => case.billed = true,
        IncidentEvent::RequestDispatch(_)
        | IncidentEvent::CancelDispatch(_)
        | IncidentEvent::Opened(_)
        | IncidentEvent::Resolved(_)
        | IncidentEvent::Closed(_)
        | IncidentEvent::Cancelled(_) => {}
    }
}

/// Opens it: next of kin are told and a unit is asked for in the same append.
fn open(call: &NewCall, now: Timestamp) -> Vec<IncidentEvent> {
    let opened = Opened {
        incident_id: call.incident_id.clone(),
        patient_id: call.patient_id.clone(),
        priority: call.priority,
        location: call.location,
        call: call.call.clone(),
        needs: call.needs.clone(),
        acknowledge_by: now.plus_ms(call.rule.acknowledge_within_ms),
        max_escalations: call.rule.max_escalations,
    };
    let case = Case::begin(&opened, now);
    let mut events = vec![IncidentEvent::Opened(opened)];
    events.extend(case.tell(Template::EmergencyDetected, None).map(IncidentEvent::SendNotification));
    events.push(IncidentEvent::RequestDispatch(case.request()));
    events
}

/// Joins a further call. Dispatch hears again when that makes the incident more urgent or first says
/// where it is, as long as no unit works for it.
fn join(case: &Case, call: &NewCall) -> Vec<IncidentEvent> {
    let priority = case.priority.min(call.priority);
    let found = case.location.is_none() && call.location.is_some();
    if priority == case.priority && !found && case.heard_lately(&call.call, call.rule.join_quiet_ms) {
        return Vec::new();
    }
    let location = call.location.filter(|location| Some(*location) != case.location);
    let mut events = vec![IncidentEvent::CallJoined(CallJoined { call: call.call.clone(), priority, location })];
    if (priority < case.priority || found) && case.working_unit().is_none() {
        let worse = Case { priority, location: location.or(case.location), ..case.clone() };
        events.push(IncidentEvent::RequestDispatch(worse.request()));
    }
    events
}

/// Ends it by a person's word. Whatever dispatch still does for it is called off, unless a crew has the
/// patient on board: that crew ends its own run.
fn resolve(case: &Case, by: &str, disposition: Disposition, now: Timestamp) -> Vec<IncidentEvent> {
    let working = case.working_unit();
    let loaded = working.filter(|unit| unit.phase >= Some(Phase::Onboard));
    let mut events = vec![IncidentEvent::Resolved(Resolved {
        disposition,
        by: Some(by.to_owned()),
        unit_id: working.map(|unit| unit.unit_id.clone()),
        hospital_id: loaded.and_then(|unit| unit.hospital_id.clone()),
    })];
    if loaded.is_none() {
        events.push(call_back(case, "the incident was resolved"));
    }
    let transported = disposition == Disposition::Transported;
    let distance_m = loaded.and_then(|unit| unit.loaded_distance_m).filter(|_| transported);
    let unit_id = working.map(|unit| unit.unit_id.clone());
    events.extend(start_billing(case, unit_id.as_ref(), distance_m, disposition, now));
    events
}

/// Calls it off.
fn cancel(case: &Case, by: &str, reason: &str, now: Timestamp) -> Vec<IncidentEvent> {
    let mut events = vec![
        IncidentEvent::Cancelled(Cancelled { by: by.to_owned(), reason: reason.to_owned() }),
        call_back(case, reason),
    ];
    if !case.told.is_empty() {
        events.extend(case.tell(Template::Cancelled, None).map(IncidentEvent::SendNotification));
    }
    if case.a_unit_went() {
        events.extend(start_billing(case, None, None, Disposition::Other, now));
    }
    events
}

/// Follows a unit's work. Only what is remembered becomes an event: a repeat, or a step that says
/// nothing new, gives none.
fn follow(case: &Case, unit_id: &UnitId, news: &UnitNews, now: Timestamp) -> Vec<IncidentEvent> {
    let known = case.unit(unit_id);
    let phase = known.and_then(|unit| unit.phase);
    match news {
        UnitNews::Assigned { eta_s, level_of_care } if phase.is_none() => {
            vec![IncidentEvent::UnitChanged(UnitChanged {
                eta_s: Some(*eta_s),
                level_of_care: level_of_care.clone(),
                ..changed(unit_id, UnitStatus::Assigned)
            })]
        }
        UnitNews::Enroute if phase < Some(Phase::Enroute) => {
            let mut events = vec![IncidentEvent::UnitChanged(changed(unit_id, UnitStatus::Enroute))];
            let eta_min = known.and_then(|unit| unit.eta_s).map(|eta_s| eta_s.div_ceil(60).max(1));
            let notice = case.tell(Template::UnitEnroute, Some(unit_id));
            events.extend(notice.map(|n| IncidentEvent::SendNotification(SendNotification { eta_min, ..n })));
            events
        }
        UnitNews::OnScene if phase < Some(Phase::Enroute) => {
            vec![IncidentEvent::UnitChanged(changed(unit_id, UnitStatus::Enroute))]
        }
        UnitNews::Onboard { hospital_id } if phase < Some(Phase::Onboard) => {
            vec![IncidentEvent::UnitChanged(UnitChanged {
                hospital_id: hospital_id.clone(),
                ..changed(unit_id, UnitStatus::Onboard)
            })]
        }
        UnitNews::Arrived { hospital_id, hospital, distance_m } if phase < Some(Phase::Arrived) => {
            let mut events = vec![IncidentEvent::UnitChanged(UnitChanged {
                hospital_id: hospital_id.clone(),
                loaded_distance_m: *distance_m,
                ..changed(unit_id, UnitStatus::Arrived)
            })];
            let notice = case.tell(Template::ArrivedAtHospital, Some(unit_id));
            events.extend(
                notice.map(|n| IncidentEvent::SendNotification(SendNotification { hospital: hospital.clone(), ..n })),
            );
            events
        }
        UnitNews::HandedOver { hospital_id, distance_m } => {
            hand_over(case, unit_id, hospital_id.clone(), *distance_m, now)
        }
        UnitNews::Released if phase.is_some() => {
            vec![IncidentEvent::UnitChanged(changed(unit_id, UnitStatus::Available))]
        }
        UnitNews::Assigned { .. }
        | UnitNews::Enroute
        | UnitNews::OnScene
        | UnitNews::Onboard { .. }
        | UnitNews::Arrived { .. }
        | UnitNews::Released => Vec::new(),
    }
}

/// Ends it by the hand-over. Other units that still work for it are called back.
fn hand_over(
    case: &Case,
    unit_id: &UnitId,
    hospital_id: Option<HospitalId>,
    distance_m: Option<u32>,
    now: Timestamp,
) -> Vec<IncidentEvent> {
    let known = case.unit(unit_id);
    let hospital_id = hospital_id.or_else(|| known.and_then(|unit| unit.hospital_id.clone()));
    let distance_m = known.and_then(|unit| unit.loaded_distance_m).or(distance_m);
    let disposition = Disposition::Transported;
    let mut events = vec![IncidentEvent::Resolved(Resolved {
        disposition,
        by: None,
        unit_id: Some(unit_id.clone()),
        hospital_id,
    })];
    if case.units.iter().any(|unit| unit.unit_id != *unit_id && unit.phase.is_some()) {
        events.push(call_back(case, "the patient was handed over"));
    }
    events.extend(start_billing(case, Some(unit_id), distance_m, disposition, now));
    events
}

/// Starts the bill, once.
fn start_billing(
    case: &Case,
    unit: Option<&UnitId>,
    distance_m: Option<u32>,
    disposition: Disposition,
    now: Timestamp,
) -> Option<IncidentEvent> {
    (!case.billed).then(|| {
        IncidentEvent::StartBilling(StartBilling {
            incident_id: case.incident_id.clone(),
            patient_id: case.patient_id.clone(),
            transported: disposition == Disposition::Transported,
            distance_m: distance_m.unwrap_or(0),
            level_of_care: case.level_of_care(unit),
            disposition,
            served_at: now,
        })
    })
}

fn call_back(case: &Case, reason: &str) -> IncidentEvent {
    IncidentEvent::CancelDispatch(CancelDispatch { incident_id: case.incident_id.clone(), reason: reason.to_owned() })
}

fn changed(unit_id: &UnitId, status: UnitStatus) -> UnitChanged {
    UnitChanged {
        unit_id: unit_id.clone(),
        status,
        eta_s: None,
        level_of_care: None,
        hospital_id: None,
        loaded_distance_m: None,
    }
}

/// One step more urgent; the most urgent stays.
fn more_urgent(priority: Priority) -> Priority {
    Priority::try_from(priority.get().saturating_sub(1)).unwrap_or(Priority::P1)
}
