//! Messages for the desk: requests, cancellations and changes of urgency from incidents, and dispatch's own news that an
//! assignment ended while the incident still needs a unit (so that a crash right after it forgets nobody).

use crate::desk::Desk;
use async_trait::async_trait;
use shers_contract::{
    DecodeError, DomainEvent, Envelope, Kind,
    dispatch::DispatchEvent,
    incident::{IncidentEvent, Priority},
    routing::Pattern,
};
use shers_runtime::{Cause, Consumer, Failure, Recorded, Subscription};
use std::rc::Rc;

/// Name of the queue and of the consumer in the inbox.
const DESK: &str = "dispatch.desk";

pub(crate) fn patterns() -> Vec<Pattern> {
    // `incident.*` also for what the desk later reads of an incident from its own log.
    let patterns = ["command.dispatch.*", "incident.*", Kind::DISPATCH_UNASSIGNED.as_str()];
    patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok()).collect()
}

/// The desk's consumer. All its messages are one sequence.
pub(crate) struct DeskConsumer {
    pub desk: Rc<Desk>,
}

fn dead(error: &DecodeError) -> Failure {
    Failure::Dead(format!("{error}: {}", error.source))
}

impl DeskConsumer {
    async fn reprioritise(&self, envelope: &Envelope, priority: Priority) -> Result<(), Failure> {
        if let Some(incident) = &envelope.correlation_id {
            self.desk.reprioritise(incident, priority).await;
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl Consumer for DeskConsumer {
    fn subscription(&self) -> Subscription {
        Subscription { name: DESK, patterns: patterns(), live_only: false, prefetch: 256 }
    }

    fn order_key(&self, _message: &Recorded) -> String {
        "desk".to_owned()
    }

    async fn handle(&self, message: &Recorded) -> Result<(), Failure> {
        let envelope = &message.envelope;
        let cause = Cause::delivery(envelope, DESK);
        if let Some(event) = DispatchEvent::from_envelope(envelope) {
            return match event.map_err(|error| dead(&error))? {
                DispatchEvent::Unassigned(end) if end.reopen => self.desk.reopen(&end.incident_id, cause).await,
                DispatchEvent::Unassigned(_)
                | DispatchEvent::Assigned(_)
                | DispatchEvent::Diverted(_)
                | DispatchEvent::Waiting(_)
                | DispatchEvent::EtaChanged(_) => Ok(()),
            };
        }
        match IncidentEvent::from_envelope(envelope).transpose().map_err(|error| dead(&error))? {
            Some(IncidentEvent::RequestDispatch(request)) => self.desk.request(&request, cause).await,
            Some(IncidentEvent::CancelDispatch(cancel)) => {
                self.desk.cancel(&cancel.incident_id, &cancel.reason, cause).await
            }
            Some(IncidentEvent::Escalated(change)) => self.reprioritise(envelope, change.priority).await,
            Some(IncidentEvent::Downgraded(change)) => self.reprioritise(envelope, change.priority).await,
            Some(_) | None => Ok(()),
        }
    }
}
