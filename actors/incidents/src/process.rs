//! The process manager: brings what other services say to the incident it is about.
//!
//! Which incident of a patient a call belongs to is found without any index: ids are derived from the
//! patient and an ordinal, and an incident that is over refuses further calls, so the next ordinal is
//! asked. The ordinals remembered here only save asking. Two owners that do this at once compute the
//! same id, and the log's version check refuses the second.

use crate::model::{Command, Incident, Refusal, intake, news};
use crate::projection;
use crate::settings::Settings;
use async_trait::async_trait;
use shers_contract::{
    DomainEvent, Envelope, IncidentId, PatientId,
    routing::Pattern,
    triage::{TriageEvent, TriageStatus},
};
use shers_runtime::{Cause, Consumer, Deps, Directory, Executed, Failure, Recorded, Rejected, Subscription};
use std::{cell::RefCell, collections::HashMap};

/// Name of the subscription and of this consumer in the inbox.
pub(crate) const CONSUMER: &str = "incidents.events";
const PREFETCH: usize = 1024;
const PATTERNS: [&str; 12] = [
    "patient.*",
    "triage.status.abnormal",
    "triage.status.emergency",
    "unit.registered",
    "unit.updated",
    "unit.status.*",
    "dispatch.assigned",
    "dispatch.unassigned",
    "dispatch.diverted",
    "billing.paid",
    "billing.failed",
    "billing.written-off",
];

pub(crate) fn patterns() -> Vec<Pattern> {
    PATTERNS.iter().filter_map(|text| Pattern::new(text).ok()).collect()
}

/// Finds the incident of a patient that takes a call.
pub(crate) struct Desk {
    pub(crate) deps: Deps,
    pub(crate) directory: Directory<Incident>,
    pub(crate) settings: Settings,
    ordinals: RefCell<HashMap<PatientId, u64>>,
}

impl Desk {
    pub(crate) fn new(deps: Deps, directory: Directory<Incident>, settings: Settings) -> Self {
        Self { deps, directory, settings, ordinals: RefCell::default() }
    }

    /// Gives a patient's call to the first incident of the patient that is not over.
    pub(crate) async fn receive(
        &self,
        patient: &PatientId,
        cause: &Cause,
        call: impl Fn(IncidentId) -> Command,
    ) -> Result<Executed<Incident>, Rejected<Refusal>> {
        let mut ordinal = self.ordinals.borrow().get(patient).copied().unwrap_or(1);
        loop {
            let id = IncidentId::of_patient(patient, ordinal);
            let outcome = self.directory.execute(id.as_str(), call(id.clone()), cause.clone()).await;
            if matches!(outcome, Err(Rejected::Refused(Refusal::Over { .. }))) {
                ordinal += 1;
                continue;
            }
            self.ordinals.borrow_mut().insert(patient.clone(), ordinal);
            return outcome;
        }
    }

    async fn take_triage(&self, status: &TriageStatus, envelope: &Envelope) -> Result<(), Failure> {
        let retry = |error: shers_runtime::StoreError| Failure::Retry(error.to_string());
        let home = match status.location {
            Some(_) => None,
            None => projection::patient(&self.deps, &status.patient_id).await.map_err(retry)?.and_then(|p| p.home),
        };
        let rule = self.settings.opening_rule();
        let call = |id: IncidentId| intake::triage_call(id, status, home, envelope.at, rule);
        match self.receive(&status.patient_id, &Cause::delivery(envelope, CONSUMER), call).await {
            // A call that is not noted again gives no event to commit the mark with. Without a mark it
            // would, delivered again after the incident's end, open another one.
            Ok(executed) if executed.events.is_empty() => {
                projection::mark(&self.deps, envelope, CONSUMER, Vec::new()).await
            }
            Ok(_) | Err(Rejected::Repeated) => Ok(()),
            Err(Rejected::Refused(refusal)) => Err(Failure::Dead(format!("the call was refused: {refusal:?}"))),
            Err(Rejected::Problem(problem)) => Err(Failure::Dead(problem.detail)),
            Err(Rejected::Unavailable(why)) => Err(Failure::Retry(why)),
        }
    }

    async fn take_news(&self, envelope: &Envelope) -> Result<(), Failure> {
        let read = news::of(envelope).map_err(|error| Failure::Dead(format!("{error}: {}", error.source)))?;
        let Some((incident_id, command)) = read else { return Ok(()) };
        let level = match news::assigned_unit(&command) {
            Some(unit) => {
                projection::crew_level(&self.deps, unit).await.map_err(|error| Failure::Retry(error.to_string()))?
            }
            None => None,
        };
        let command = news::with_level_of_care(command, level);
        self.directory.deliver(incident_id.as_str(), command, Cause::delivery(envelope, CONSUMER)).await.map(|_| ())
    }
}

/// Hears what concerns incidents.
pub(crate) struct Ear(pub(crate) std::rc::Rc<Desk>);

#[async_trait(?Send)]
impl Consumer for Ear {
    fn subscription(&self) -> Subscription {
        Subscription { name: CONSUMER, patterns: patterns(), live_only: false, prefetch: PREFETCH }
    }

    /// A patient's registration comes before the patient's emergency, an incident's news in their order.
    fn order_key(&self, message: &Recorded) -> String {
        let envelope = &message.envelope;
        match (envelope.stream.category(), &envelope.correlation_id) {
            ("patient" | "triage", _) => format!("patient/{}", envelope.stream.id()),
            (_, Some(incident_id)) => format!("incident/{incident_id}"),
            (_, None) => envelope.stream.as_str().to_owned(),
        }
    }

    async fn handle(&self, message: &Recorded) -> Result<(), Failure> {
        let envelope = &message.envelope;
        if let Some(event) = TriageEvent::from_envelope(envelope) {
            let event = event.map_err(|error| Failure::Dead(format!("{error}: {}", error.source)))?;
            return match &event {
                TriageEvent::Emergency(status) => self.0.take_triage(status, envelope).await,
                TriageEvent::Abnormal(status) if self.0.settings.open_on_abnormal => {
                    self.0.take_triage(status, envelope).await
                }
                TriageEvent::Abnormal(_) | TriageEvent::Normal(_) | TriageEvent::Insufficient(_) => Ok(()),
            };
        }
        if projection::keep(&self.0.deps, envelope, CONSUMER).await? {
            return Ok(());
        }
        self.0.take_news(envelope).await
    }
}
