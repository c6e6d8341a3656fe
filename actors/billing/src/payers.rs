//! Who pays: billing's own projection of the patients, documents `billing.payer`.

use serde::{Deserialize, Serialize};
use shers_contract::{DomainEvent, Envelope, PatientId, billing::Payer, patient::PatientEvent};
use shers_runtime::{Commit, CommitError, DocumentWrite, Failure, InboxMark, Store, StoreError};

/// Collection of the projection.
pub(crate) const COLLECTION: &str = "billing.payer";

/// A document of the projection.
#[derive(Serialize, Deserialize)]
struct PayerDocument {
    /// Version of the patient's stream it was taken from: an older event must not replace a newer one.
    version: u64,
    #[serde(flatten)]
    payer: Payer,
}

/// Cover and card of a patient; nothing for one who is not known or has neither.
pub(crate) async fn payer(store: &dyn Store, patient: Option<&PatientId>) -> Result<Payer, StoreError> {
    let Some(patient) = patient else { return Ok(Payer::default()) };
    Ok(read(store, patient).await?.map(|document| document.payer).unwrap_or_default())
}

async fn read(store: &dyn Store, patient: &PatientId) -> Result<Option<PayerDocument>, StoreError> {
    let document = store.document(COLLECTION, patient.as_str()).await?;
    document
        .map(|document| serde_json::from_str(&document.doc))
        .transpose()
        .map_err(|error| StoreError(format!("document {patient} of {COLLECTION}: {error}")))
}

/// Takes over what a patient event says.
pub(crate) async fn project(store: &dyn Store, envelope: &Envelope, consumer: &'static str) -> Result<(), Failure> {
    let event = match PatientEvent::from_envelope(envelope) {
        None => return Ok(()),
        Some(Err(error)) => return Err(Failure::Dead(format!("{error}: {}", error.source))),
        Some(Ok(event)) => event,
    };
    let patient = event.patient();
    let before = read(store, &patient.patient_id).await.map_err(|error| Failure::Retry(error.to_string()))?;
    if before.is_some_and(|before| before.version >= envelope.version) {
        return Ok(());
    }
    let payer = Payer { coverage: patient.coverage.clone(), payment_method: patient.payment_method.clone() };
    let doc = serde_json::to_string(&PayerDocument { version: envelope.version, payer });
    let doc = doc.map_err(|error| Failure::Dead(error.to_string()))?;
    let commit = Commit {
        inbox: vec![InboxMark { consumer, message_id: envelope.id }],
        documents: vec![DocumentWrite {
            collection: COLLECTION,
            id: patient.patient_id.to_string(),
            tag: String::new(),
            rank: 0,
            doc: Some(doc),
        }],
        ..Commit::default()
    };
    match store.commit(commit).await {
        Ok(_) | Err(CommitError::Repeated { .. }) => Ok(()),
        Err(error) => Err(Failure::Retry(error.to_string())),
    }
}
