//! Messages for the desk: requests and cancellations from incidents, and dispatch's own news that an
//! assignment ended while the incident still needs a unit (so that a crash right after it forgets nobody).

use crate::desk::Desk;
use async_trait::async_trait;
use shers_contract::{
    DecodeError, DomainEvent, Kind, dispatch::DispatchEvent, incident::IncidentEvent, routing::Pattern,
};
use shers_runtime::{Cause, Consumer, Failure, Recorded, Subscription};
use std::rc::Rc;

/// Name of the queue and of the consumer in the inbox.
const DESK: &str = "dispatch.desk";

/// The desk's consumer. All its messages are one sequence.
pub(crate) struct DeskConsumer {
    pub desk: Rc<Desk>,
}

fn dead(error: &DecodeError) -> Failure {
    Failure::Dead(format!("{error}: {}", error.source))
}

#[async_trait(?Send)]
impl Consumer for DeskConsumer {
    fn subscription(&self) -> Subscription {
        let patterns = ["command.dispatch.*", Kind::DISPATCH_UNASSIGNED.as_str()];
        Subscription {
            name: DESK,
            patterns: patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok()).collect(),
            live_only: false,
            prefetch: 256,
        }
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
            Some(_) | None => Ok(()),
        }
    }
}
