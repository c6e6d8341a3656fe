//! Patients and devices: documents, and for patients the events that tell the other services.
//!
//! A patient's version is that of the stream `patient/<id>`; the document is written in the same commit as
//! the event, so the two never differ. Devices have no events; their versions are counted in the document,
//! under a lock that makes PUTs of devices follow one another.

use crate::Shared;
use crate::model::registry::{Versioned, put_patient};
use serde::{Serialize, de::DeserializeOwned};
use shers_contract::{
    DeviceId, DomainEvent, PatientId, Problem,
    api::{Answer, Call, Device, Reply},
    envelope::StreamName,
    patient::{Patient, PatientEvent},
};
use shers_runtime::{Append, Commit, CommitError, DocumentWrite, Expected, NewEvent};

/// Collection of patients.
pub(crate) const PATIENTS: &str = "wearable.patient";
/// Collection of devices.
pub(crate) const DEVICES: &str = "wearable.device";
/// Attempts of a PUT when others put the same patient at the same time.
const ATTEMPTS: usize = 5;

pub(crate) async fn put(shared: &Shared, call: &Call, patient: &Patient) -> Reply {
    for _ in 0..ATTEMPTS {
        let current: Option<Versioned<Patient>> = load(shared, PATIENTS, patient.patient_id.as_str()).await?;
        let version = current.as_ref().map_or(0, |c| c.version);
        let event = put_patient(current.as_ref(), patient, call.if_match, shared.clock.now())?;
        let Some(event) = event else { return Ok(shown(patient, version)?.at_version(version)) };
        match shared.store.commit(commit(shared, call, &event, version)?).await {
            Ok(_) => {
                shared.wearers.add(&patient.patient_id);
                let status = if version == 0 { 201 } else { 200 };
                return Ok(shown(patient, version + 1)?.with_status(status));
            }
            Err(CommitError::Conflict { .. }) => {}
            Err(CommitError::Unknown(_)) => return Err(Problem::unknown_outcome()),
            Err(error) => return Err(Problem::unavailable(error.to_string())),
        }
    }
    Err(Problem::conflict("others change this patient at the same time; read it again, then put it with If-Match"))
}

fn commit(shared: &Shared, call: &Call, event: &PatientEvent, version: u64) -> Result<Commit, Problem> {
    let patient = event.patient();
    let now = shared.clock.now();
    let event = NewEvent {
        id: shared.ids.uuid(now),
        kind: event.kind(),
        v: event.schema_version(),
        at: now,
        correlation_id: None,
        causation_id: Some(call.id),
        traceparent: Some(call.traceparent),
        exercise: call.exercise,
        data: event.to_data(),
    };
    let stored = Versioned { version: version + 1, body: patient.clone() };
    Ok(Commit {
        appends: vec![Append {
            stream: StreamName::new("patient", &patient.patient_id),
            expected: Expected::Version(version),
            events: vec![event],
            open: false,
        }],
        documents: vec![document(PATIENTS, patient.patient_id.as_str(), "", &stored)?],
        ..Commit::default()
    })
}

pub(crate) async fn get(shared: &Shared, id: &PatientId) -> Reply {
    match load::<Patient>(shared, PATIENTS, id.as_str()).await? {
        Some(stored) => shown(&stored.body, stored.version),
        None => Err(Problem::not_found("patient", id.as_str())),
    }
}

pub(crate) async fn put_device(shared: &Shared, device: &Device, if_match: Option<u64>) -> Reply {
    let _one_at_a_time = shared.devices.lock().await;
    let current: Option<Versioned<Device>> = load(shared, DEVICES, device.device_id.as_str()).await?;
    let version = current.as_ref().map_or(0, |c| c.version);
    if let Some(expected) = if_match.filter(|v| *v != version) {
        return Err(Problem::stale(expected, version));
    }
    if current.is_some_and(|stored| stored.body == *device) {
        return shown(device, version);
    }
    if load::<Patient>(shared, PATIENTS, device.patient_id.as_str()).await?.is_none() {
        let id = &device.patient_id;
        let detail = format!("there is no patient {id}; register with PUT /api/v1/patients/{id} first");
        return Err(Problem::new(422, "unknown-patient", detail).with("field", "/patient_id"));
    }
    if device.model.as_ref().is_some_and(|model| model.chars().count() > 200) {
        return Err(Problem::invalid("/model", "a model has at most 200 characters"));
    }
    let stored = Versioned { version: version + 1, body: device.clone() };
    let documents = vec![document(DEVICES, device.device_id.as_str(), device.patient_id.as_str(), &stored)?];
    match shared.store.commit(Commit { documents, ..Commit::default() }).await {
        Ok(_) => Ok(shown(device, version + 1)?.with_status(if version == 0 { 201 } else { 200 })),
        Err(CommitError::Unknown(_)) => Err(Problem::unknown_outcome()),
        Err(error) => Err(Problem::unavailable(error.to_string())),
    }
}

pub(crate) async fn get_device(shared: &Shared, id: &DeviceId) -> Reply {
    match load::<Device>(shared, DEVICES, id.as_str()).await? {
        Some(stored) => shown(&stored.body, stored.version),
        None => Err(Problem::not_found("device", id.as_str())),
    }
}

async fn load<T: DeserializeOwned>(
    shared: &Shared,
    collection: &str,
    id: &str,
) -> Result<Option<Versioned<T>>, Problem> {
    let document = shared.store.document(collection, id).await;
    let document = document.map_err(|error| Problem::unavailable(error.to_string()))?;
    document.map(|d| serde_json::from_str(&d.doc)).transpose().map_err(|error| {
        tracing::error!(collection, id, %error, "a stored document can't be read");
        Problem::new(500, "internal-error", "what is stored can't be read")
    })
}

fn document(collection: &'static str, id: &str, tag: &str, body: &impl Serialize) -> Result<DocumentWrite, Problem> {
    let doc = serde_json::to_string(body).map_err(unwritable)?;
    Ok(DocumentWrite { collection, id: id.to_owned(), tag: tag.to_owned(), rank: 0, doc: Some(doc) })
}

fn shown(body: &impl Serialize, version: u64) -> Reply {
    Ok(Answer::ok(serde_json::to_value(body).map_err(unwritable)?).at_version(version))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unwritable(error: serde_json::Error) -> Problem {
    Problem::new(500, "internal-error", error.to_string())
}
