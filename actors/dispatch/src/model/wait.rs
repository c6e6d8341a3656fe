//! An incident that waits for a unit, in stream `dispatch/<incident>`.
//!
//! States: idle → waiting → idle. The stream is open while it waits, so a restart finds the waiting list;
//! an incident that needs a unit again begins to wait in the same stream. A request that is told again
//! without change gives no events.

use shers_contract::{
    IncidentId, Problem, Timestamp, UnitId,
    api::Answer,
    dispatch::{Excluded, WaitEnded, WaitEvent, Waiting},
    incident::RequestDispatch,
};
use shers_runtime::{Aggregate, NoEffect};

/// Whether an incident waits.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Wait {
    /// It does not.
    #[default]
    Idle,
    /// For a unit.
    Waiting(Box<Waiting>),
}

/// What may be asked.
#[derive(Clone, PartialEq, Debug)]
pub enum WaitCommand {
    /// No unit can go, or the request changed.
    Wait {
        /// What is asked for.
        request: Box<RequestDispatch>,
        /// Why it waits, in a sentence.
        reason: String,
        /// Units that can't go.
        excluded: Vec<Excluded>,
        /// A person sends the unit.
        by_person: bool,
    },
    /// A unit goes, or none is needed.
    End {
        /// Which incident.
        incident_id: IncidentId,
        /// The unit that goes.
        unit_id: Option<UnitId>,
        /// Why, in a sentence.
        reason: String,
    },
}

/// It never refuses.
#[derive(Clone, PartialEq, Debug)]
pub enum WaitRefusal {}

impl From<WaitRefusal> for Problem {
    fn from(refusal: WaitRefusal) -> Self {
        match refusal {}
    }
}

impl Wait {
    /// What waits.
    #[must_use]
    pub const fn waiting(&self) -> Option<&Waiting> {
        match self {
            Self::Idle => None,
            Self::Waiting(waiting) => Some(waiting),
        }
    }
}

impl Aggregate for Wait {
    const CATEGORY: &'static str = "dispatch";
    type Command = WaitCommand;
    type Event = WaitEvent;
    type Refusal = WaitRefusal;
    type Effect = NoEffect;

    fn decide(&self, command: &WaitCommand, _now: Timestamp) -> Result<Vec<WaitEvent>, WaitRefusal> {
        Ok(match (self, command) {
            (Self::Waiting(waiting), WaitCommand::Wait { request, by_person, .. })
                if waiting.request == **request && waiting.by_person == *by_person =>
            {
                Vec::new()
            }
            (Self::Idle | Self::Waiting(_), WaitCommand::Wait { request, reason, excluded, by_person }) => {
                let (request, reason, excluded) = ((**request).clone(), reason.clone(), excluded.clone());
                vec![WaitEvent::Waiting(Waiting { request, reason, excluded, by_person: *by_person })]
            }
            (Self::Idle, WaitCommand::End { .. }) => Vec::new(),
            (Self::Waiting(_), WaitCommand::End { incident_id, unit_id, reason }) => {
                let (incident_id, unit_id, reason) = (incident_id.clone(), unit_id.clone(), reason.clone());
                vec![WaitEvent::Ended(WaitEnded { incident_id, unit_id, reason })]
            }
        })
    }

    fn evolve(self, event: &WaitEvent, _at: Timestamp) -> Self {
        match event {
            WaitEvent::Waiting(waiting) => Self::Waiting(Box::new(waiting.clone())),
            WaitEvent::Ended(_) => Self::Idle,
        }
    }

    fn correlation(&self, event: &WaitEvent) -> Option<IncidentId> {
        Some(match event {
            WaitEvent::Waiting(waiting) => waiting.request.incident_id.clone(),
            WaitEvent::Ended(ended) => ended.incident_id.clone(),
        })
    }

    fn is_closed(&self) -> bool {
        matches!(self, Self::Idle)
    }

    fn answer(&self, version: u64) -> Answer {
        Answer::ok(serde_json::to_value(self.waiting()).unwrap_or_default()).at_version(version)
    }
}
