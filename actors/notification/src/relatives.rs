//! What this service keeps of patients: the next of kin, in documents written with the inbox mark of the
//! message they came from.

use crate::model::plan::Relatives;
use shers_contract::{Envelope, PatientId, patient::Patient};
use shers_runtime::{Commit, CommitError, Deps, DocumentWrite, Failure, InboxMark, StoreError};

const COLLECTION: &str = "notification.contacts";

/// Keeps the next of kin of a patient.
pub(crate) async fn keep(
    deps: &Deps,
    patient: &Patient,
    envelope: &Envelope,
    consumer: &'static str,
) -> Result<(), Failure> {
    let doc = serde_json::to_string(&Relatives::of(patient))
        .map_err(|error| Failure::Dead(format!("writing the next of kin: {error}")))?;
    let document = DocumentWrite {
        collection: COLLECTION,
        id: patient.patient_id.as_str().to_owned(),
        tag: String::new(),
        rank: 0,
        doc: Some(doc),
    };
    let inbox = vec![InboxMark { consumer, message_id: envelope.id }];
    match deps.store.commit(Commit { inbox, documents: vec![document], ..Commit::default() }).await {
        Ok(_) | Err(CommitError::Repeated { .. }) => Ok(()),
        Err(error) => Err(Failure::Retry(error.to_string())),
    }
}

/// The next of kin of a patient; nobody for one who is not known.
pub(crate) async fn of(deps: &Deps, patient: &PatientId) -> Result<Relatives, StoreError> {
    let Some(document) = deps.store.document(COLLECTION, patient.as_str()).await? else {
        return Ok(Relatives::default());
    };
    serde_json::from_str(&document.doc)
        .map_err(|error| StoreError(format!("the next of kin do not parse: {}", error.classify_text())))
}

/// What is wrong with a document, without a word of what it says: it holds names and addresses.
trait ClassifyText {
    fn classify_text(&self) -> String;
}

impl ClassifyText for serde_json::Error {
    fn classify_text(&self) -> String {
        format!("{:?} error at line {} column {}", self.classify(), self.line(), self.column())
    }
}
