//! The incident: from the first call to the closed bill.
//!
//! States: `Unopened` → `Open` → `Resolved` → `Closed`, or `Open` → `Cancelled`.
//!
//! Invariants:
//! - The priority never goes down by itself: only a person lowers it, one step at a time, with a reason.
//! - Only a person's acknowledgement (or the end) stops the escalations. That a unit was assigned does
//!   not: dispatch assigns by itself, and the deadline is there so that a person looks. A passed deadline
//!   raises the level, not the medical priority, which would push others back in the queue.
//! - At most one `command.billing.start`, and none before the end.
//! - A notification is ordered once for each incident, template and unit.
//! - `Closed` and `Cancelled` are final. The bill of a cancelled incident (when a unit had gone) lives in
//!   its own stream; how it ends changes nothing here, so the status stays `cancelled`.

use super::case::{Attention, Case, Phase, UnitWork};
use super::command::{BillOutcome, Command, NewCall, Refusal, UnitNews};
use super::{steps, view};
use shers_contract::{
    HospitalId, IncidentId, Timestamp, UnitId,
    api::Answer,
    incident::{Acknowledged, Closed, Disposition, Downgraded, Escalated, IncidentEvent},
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
    /// The status as in JSON: the word of the last event that changed who must act. An escalation raises
    /// the level and leaves the status.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::Unopened => "unopened",
            Self::Open(case) => match &case.attention {
                Attention::Acknowledged { .. } => "acknowledged",
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
            Self::Open(case)
            | Self::Resolved { case, .. }
            | Self::Closed { case, .. }
            | Self::Cancelled { case, .. } => Some(case),
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
            Self::Unopened => Ok(steps::open(call, now)),
            Self::Open(case) => Ok(steps::join(case, call)),
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
                let priority = steps::more_urgent(case.priority);
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
            Self::Resolved { .. } | Self::Closed { .. } | Self::Cancelled { .. } => {
                self.refuse("escalated", "it is over")
            }
        }
    }

    /// One step less urgent. Dispatch hears of it by the event, and by a new request as long as no unit goes.
    fn downgrade(&self, by: &str, reason: &str) -> Decision {
        match self {
            Self::Unopened => Err(Refusal::Unknown),
            Self::Open(case) => {
                let priority = steps::less_urgent(case.priority);
                if priority == case.priority {
                    return self.refuse("downgraded", "it has the lowest priority already; resolve or cancel it");
                }
                let (previous, reason, by) = (case.priority, reason.to_owned(), by.to_owned());
                let mut events = vec![IncidentEvent::Downgraded(Downgraded { reason, by, previous, priority })];
                if case.working_unit().is_none() {
                    events.push(IncidentEvent::RequestDispatch(Case { priority, ..Case::clone(case) }.request()));
                }
                Ok(events)
            }
            Self::Resolved { .. } | Self::Closed { .. } | Self::Cancelled { .. } => {
                self.refuse("downgraded", "it is over")
            }
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
            Self::Open(case) => Ok(steps::resolve(case, by, disposition, now)),
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
                Some(_) | None => Ok(steps::cancel(case, by, reason, now)),
            },
            Self::Cancelled { .. } => NOTHING_NEW,
            Self::Resolved { .. } | Self::Closed { .. } => self.refuse("cancelled", "care has ended already"),
        }
    }

    /// News of a unit after the end changes nothing: the unit's own stream tells it.
    fn follow(&self, unit_id: &UnitId, news: &UnitNews, now: Timestamp) -> Decision {
        match self {
            Self::Unopened => Err(Refusal::Unknown),
            Self::Open(case) => Ok(steps::follow(case, unit_id, news, now)),
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
            Command::Downgrade { by, reason } => self.downgrade(by, reason),
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
            (Self::Open(case), IncidentEvent::Resolved(resolved)) => {
                Self::Resolved { case, disposition: resolved.disposition, hospital_id: resolved.hospital_id.clone() }
            }
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
            | IncidentEvent::Downgraded(_)
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
            Self::Open(case)
            | Self::Resolved { case, .. }
            | Self::Closed { case, .. }
            | Self::Cancelled { case, .. } => Some(case),
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
        IncidentEvent::Downgraded(downgraded) => case.priority = downgraded.priority,
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
