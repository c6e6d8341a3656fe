//! What the log says about an incident, as far as dispatch cares: the newest request and whether help is
//! still wanted.

use shers_contract::{
    DecodeError, DomainEvent, Envelope, IncidentId, Traceparent,
    incident::{CallSource, IncidentEvent, RequestDispatch},
};

/// The fold of an incident's events.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Case {
    /// What is asked for; missing when nobody ever asked.
    pub request: Option<RequestDispatch>,
    /// Where the first call came from.
    pub source: Option<CallSource>,
    /// Resolved, closed, cancelled or called off.
    pub ended: bool,
    /// Trace of the newest request.
    pub traceparent: Option<Traceparent>,
    /// Demo and drills.
    pub exercise: bool,
}

impl Case {
    /// Folds one envelope; those of other kinds leave it as it is.
    ///
    /// # Errors
    /// An incident's event that this build can't read.
    pub fn fold(self, incident: &IncidentId, envelope: &Envelope) -> Result<Self, DecodeError> {
        match IncidentEvent::from_envelope(envelope) {
            None => Ok(self),
            Some(event) => Ok(self.with(incident, &event?, envelope)),
        }
    }

    fn with(mut self, incident: &IncidentId, event: &IncidentEvent, envelope: &Envelope) -> Self {
        let asks = match event {
            IncidentEvent::Opened(opened) => Some(RequestDispatch {
                incident_id: incident.clone(),
                priority: opened.priority,
                location: opened.location,
                needs: opened.needs.clone(),
                opened_at: opened.call.at,
            }),
            IncidentEvent::RequestDispatch(request) => Some(request.clone()),
            IncidentEvent::CallJoined(_)
            | IncidentEvent::Acknowledged(_)
            | IncidentEvent::Escalated(_)
            | IncidentEvent::Downgraded(_)
            | IncidentEvent::Resolved(_)
            | IncidentEvent::Closed(_)
            | IncidentEvent::Cancelled(_)
            | IncidentEvent::SendNotification(_)
            | IncidentEvent::UnitChanged(_)
            | IncidentEvent::CancelDispatch(_)
            | IncidentEvent::StartBilling(_) => None,
        };
        if let IncidentEvent::Opened(opened) = event {
            self.source = Some(opened.call.source);
        }
        let changed = if let IncidentEvent::Escalated(escalated) = event {
            Some(escalated.priority)
        } else if let IncidentEvent::Downgraded(downgraded) = event {
            Some(downgraded.priority)
        } else {
            None
        };
        if let (Some(priority), Some(request)) = (changed, &mut self.request) {
            request.priority = priority;
        }
        self.ended |= matches!(
            event,
            IncidentEvent::Resolved(_)
                | IncidentEvent::Closed(_)
                | IncidentEvent::Cancelled(_)
                | IncidentEvent::CancelDispatch(_)
        );
        if let Some(asks) = asks {
            let location = asks.location.or(self.request.and_then(|before| before.location));
            self.request = Some(RequestDispatch { location, ..asks });
            self.traceparent = envelope.traceparent;
            self.exercise = envelope.exercise;
        }
        self
    }
}
