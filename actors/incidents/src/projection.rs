//! What this service keeps of patients and units: a patient's home, a unit's crew level. Written with
//! the inbox mark of the message it came from.

use serde::{Deserialize, Serialize};
use shers_contract::{DomainEvent, Envelope, LatLon, PatientId, UnitId, dispatch::UnitEvent, patient::PatientEvent};
use shers_runtime::{Commit, CommitError, Deps, DocumentWrite, Failure, InboxMark, StoreError};

const PATIENTS: &str = "incidents.patient";
const UNITS: &str = "incidents.unit";

/// What is kept of a patient.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct KnownPatient {
    /// Where the patient lives.
    pub(crate) home: Option<LatLon>,
}

#[derive(Serialize, Deserialize)]
struct KnownUnit {
    crew_level: String,
}

/// The document that a registration gives, if the message is one.
fn document(envelope: &Envelope) -> Result<Option<DocumentWrite>, Failure> {
    let dead = |error: shers_contract::DecodeError| Failure::Dead(format!("{error}: {}", error.source));
    if let Some(event) = PatientEvent::from_envelope(envelope) {
        let event = event.map_err(dead)?;
        let patient = event.patient();
        return write(PATIENTS, patient.patient_id.as_str(), &KnownPatient { home: patient.home }).map(Some);
    }
    match UnitEvent::from_envelope(envelope).transpose().map_err(dead)? {
        Some(UnitEvent::Registered(unit) | UnitEvent::Updated(unit)) => {
            write(UNITS, unit.unit_id.as_str(), &KnownUnit { crew_level: unit.crew_level }).map(Some)
        }
        _ => Ok(None),
    }
}

fn write(collection: &'static str, id: &str, doc: &impl Serialize) -> Result<DocumentWrite, Failure> {
    let doc = serde_json::to_string(doc).map_err(|error| Failure::Dead(format!("writing a document: {error}")))?;
    Ok(DocumentWrite { collection, id: id.to_owned(), tag: String::new(), rank: 0, doc: Some(doc) })
}

/// Keeps what a registration says. False when the message is none.
pub(crate) async fn keep(deps: &Deps, envelope: &Envelope, consumer: &'static str) -> Result<bool, Failure> {
    let Some(document) = document(envelope)? else { return Ok(false) };
    mark(deps, envelope, consumer, vec![document]).await.map(|()| true)
}

/// Notes that a message was dealt with, together with `documents`.
pub(crate) async fn mark(
    deps: &Deps,
    envelope: &Envelope,
    consumer: &'static str,
    documents: Vec<DocumentWrite>,
) -> Result<(), Failure> {
    let inbox = vec![InboxMark { consumer, message_id: envelope.id }];
    match deps.store.commit(Commit { inbox, documents, ..Commit::default() }).await {
        Ok(_) | Err(CommitError::Repeated { .. }) => Ok(()),
        Err(error) => Err(Failure::Retry(error.to_string())),
    }
}

/// What is known of a patient; `None` for one nobody registered.
pub(crate) async fn patient(deps: &Deps, id: &PatientId) -> Result<Option<KnownPatient>, StoreError> {
    let found = deps.store.document(PATIENTS, id.as_str()).await?;
    found.map(|document| read(&document.doc)).transpose()
}

/// A unit's crew level, when known.
pub(crate) async fn crew_level(deps: &Deps, id: &UnitId) -> Result<Option<String>, StoreError> {
    let found = deps.store.document(UNITS, id.as_str()).await?;
    found.map(|document| read(&document.doc).map(|unit: KnownUnit| unit.crew_level)).transpose()
}

fn read<T: serde::de::DeserializeOwned>(doc: &str) -> Result<T, StoreError> {
    serde_json::from_str(doc).map_err(|error| StoreError(format!("a document that does not parse: {error}")))
}
