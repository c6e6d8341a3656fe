//! Hears patients and commands. Both come in one subscription, in order within a patient: a patient's
//! contacts are known before a command about that patient is dealt with.

use crate::gateway::sandbox::Sandbox;
use crate::model::{Command, Notification, quiet::Told};
use crate::relatives;
use crate::settings::Settings;
use async_trait::async_trait;
use shers_contract::{
    DomainEvent, Envelope,
    incident::IncidentEvent,
    notification::{Queued, SendNotification},
    patient::PatientEvent,
    routing::Pattern,
};
use shers_runtime::{
    Cause, Commit, Consumer, Deps, Directory, DocumentWrite, Failure, Recorded, StoreError, Subscription,
};

/// Name of the subscription and of this consumer in the inbox.
const CONSUMER: &str = "notification.commands";
const PREFETCH: usize = 1024;
const PATTERNS: [&str; 2] = ["patient.*", "command.notification.send"];

pub(crate) fn patterns() -> Vec<Pattern> {
    PATTERNS.iter().filter_map(|text| Pattern::new(text).ok()).collect()
}

pub(crate) struct Ear {
    pub(crate) deps: Deps,
    pub(crate) directory: Directory<Notification>,
    pub(crate) settings: Settings,
    /// Name of the provider of messages that are no exercise.
    pub(crate) live: &'static str,
}

#[async_trait(?Send)]
impl Consumer for Ear {
    fn subscription(&self) -> Subscription {
        Subscription { name: CONSUMER, patterns: patterns(), live_only: false, prefetch: PREFETCH }
    }

    fn order_key(&self, message: &Recorded) -> String {
        let envelope = &message.envelope;
        match command(envelope) {
            Ok(Some(request)) => request.patient_id.as_str().to_owned(),
            Ok(None) | Err(_) => envelope.stream.id().to_owned(),
        }
    }

    async fn handle(&self, message: &Recorded) -> Result<(), Failure> {
        let envelope = &message.envelope;
        if let Some(event) = PatientEvent::from_envelope(envelope) {
            // What serde says of a body that does not parse may quote it: personal data stays out of it.
            let event = event.map_err(|error| Failure::Dead(error.to_string()))?;
            return relatives::keep(&self.deps, event.patient(), envelope, CONSUMER).await;
        }
        match command(envelope)? {
            Some(request) => self.queue(request, envelope).await,
            None => Ok(()),
        }
    }
}

impl Ear {
    async fn queue(&self, request: SendNotification, envelope: &Envelope) -> Result<(), Failure> {
        let relatives = relatives::of(&self.deps, &request.patient_id).await;
        let relatives = relatives.map_err(|error| Failure::Retry(error.to_string()))?;
        let quiet = self.quiet(&request).await.map_err(|error| Failure::Retry(error.to_string()))?;
        let plan = if quiet.is_some() { Vec::new() } else { relatives.plan(self.settings.max_targets) };
        let provider = if envelope.exercise { Sandbox::NAME } else { self.live };
        let id = request.notification_id.clone();
        let queued = Queued { request, plan, policy: self.settings.policy(provider), quiet };
        let cause = Cause::delivery(envelope, CONSUMER);
        self.directory.deliver(id.as_str(), Command::Queue(Box::new(queued)), cause).await.map(|_| ())
    }
}

/// What relatives were told lately, by patient.
const TOLD: &str = "notification.told";

impl Ear {
    /// Why nobody is to be told now, if so; else notes that it is being told. The note is there before the
    /// notification: a command that comes again in between finds itself noted and is no repetition.
    async fn quiet(&self, request: &SendNotification) -> Result<Option<String>, StoreError> {
        let patient = request.patient_id.as_str();
        let stored = self.deps.store.document(TOLD, patient).await?;
        let told: Told = match &stored {
            Some(document) => serde_json::from_str(&document.doc).map_err(|error| StoreError(error.to_string()))?,
            None => Told::default(),
        };
        let now = self.deps.clock.now();
        let quiet = told.quiet(request, now, self.settings.quiet());
        if quiet.is_some() || told.has(&request.notification_id) {
            return Ok(quiet);
        }
        let doc = serde_json::to_string(&told.and(request, now)).map_err(|error| StoreError(error.to_string()))?;
        let document = DocumentWrite {
            collection: TOLD,
            id: patient.to_owned(),
            tag: String::new(),
            rank: now.as_ms(),
            doc: Some(doc),
        };
        let commit = Commit { documents: vec![document], ..Commit::default() };
        self.deps.store.commit(commit).await.map_err(|error| StoreError(error.to_string()))?;
        Ok(None)
    }
}

/// The command in a message, if it is one for this service.
fn command(envelope: &Envelope) -> Result<Option<SendNotification>, Failure> {
    let event = IncidentEvent::from_envelope(envelope).transpose();
    match event.map_err(|error| Failure::Dead(format!("{error}: {}", error.source)))? {
        Some(IncidentEvent::SendNotification(request)) => Ok(Some(request)),
        _ => Ok(None),
    }
}
