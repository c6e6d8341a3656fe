//! What billing hears: patients, and the command to bill. One subscription for both, ordered by patient,
//! so that a bill sees its patient as registered before it.

use crate::model::{Bill, Command, Tariff};
use crate::payers;
use async_trait::async_trait;
use shers_contract::{
    DomainEvent, Envelope, Kind,
    incident::{IncidentEvent, StartBilling},
    routing::Pattern,
};
use shers_runtime::{Cause, Consumer, Deps, Directory, Failure, Recorded, Subscription};

/// Name of the subscription.
const NAME: &str = "billing.inbox";

/// The consumer.
pub(crate) struct Inbox {
    pub(crate) deps: Deps,
    pub(crate) bills: Directory<Bill>,
    pub(crate) tariff: Tariff,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) prefetch: usize,
}

impl Inbox {
    async fn start(&self, envelope: &Envelope, request: StartBilling) -> Result<(), Failure> {
        let id = request.incident_id.to_string();
        let order = self.tariff.order(request);
        let payer = payers::payer(&*self.deps.store, order.patient_id.as_ref()).await;
        let payer = payer.map_err(|error| Failure::Retry(error.to_string()))?;
        self.bills.deliver(&id, Command::Start { order, payer }, Cause::delivery(envelope, NAME)).await?;
        Ok(())
    }
}

/// The request in a `command.billing.start`.
fn start_billing(envelope: &Envelope) -> Result<Option<StartBilling>, Failure> {
    match IncidentEvent::from_envelope(envelope) {
        Some(Ok(IncidentEvent::StartBilling(request))) => Ok(Some(request)),
        Some(Err(error)) => Err(Failure::Dead(format!("{error}: {}", error.source))),
        Some(Ok(_)) | None => Ok(None),
    }
}

#[async_trait(?Send)]
impl Consumer for Inbox {
    fn subscription(&self) -> Subscription {
        Subscription { name: NAME, patterns: self.patterns.clone(), live_only: false, prefetch: self.prefetch }
    }

    fn order_key(&self, message: &Recorded) -> String {
        let envelope = &message.envelope;
        let patient = match start_billing(envelope) {
            Ok(Some(request)) => request.patient_id.map(|patient| patient.to_string()),
            Ok(None) | Err(_) => None,
        };
        patient.unwrap_or_else(|| envelope.stream.id().to_owned())
    }

    async fn handle(&self, message: &Recorded) -> Result<(), Failure> {
        let envelope = &message.envelope;
        if envelope.kind == Kind::COMMAND_BILLING_START {
            return match start_billing(envelope)? {
                Some(request) => self.start(envelope, request).await,
                None => Ok(()),
            };
        }
        payers::project(&*self.deps.store, envelope, NAME).await
    }
}
