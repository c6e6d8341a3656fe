//! Readings and what triage makes of them: each recorded once, no emergency lost on the way to an incident.

use super::{Breach, Laws, Seen, breach, fresh, read};
use crate::{
    Envelope, PatientId,
    triage::{Class, TriageEvent},
    vitals::WearableEvent,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What is owed to the patients.
#[derive(Clone, Debug, Default)]
pub(super) struct Wards {
    class: BTreeMap<PatientId, Class>,
    /// Pressed the button while triage said something else, and triage has not answered.
    pressed: BTreeMap<PatientId, u64>,
    /// Emergencies that no incident has answered.
    owed: BTreeMap<Uuid, PatientId>,
}

impl Wards {
    /// An incident took the call of this message.
    pub(super) fn answered(&mut self, cause: Option<Uuid>) {
        if let Some(cause) = cause {
            self.owed.remove(&cause);
        }
    }
    /// An incident was opened: what the patient was owed is given.
    pub(super) fn opened(&mut self, patient: &PatientId, cause: Option<Uuid>) {
        self.answered(cause);
        self.owed.retain(|_, owed| owed != patient);
    }
    pub(super) fn unsettled(&self) -> Vec<Breach> {
        let lost = self.owed.iter().map(|(id, patient)| {
            breach("no-incident-lost", format!("triage/{patient}"), format!("no incident took emergency {id}"))
        });
        let pressed = self.pressed.iter().map(|(patient, seq)| {
            breach("no-incident-lost", format!("triage/{patient}"), format!("nobody heard the SOS of reading {seq}"))
        });
        lost.chain(pressed).collect()
    }
}

pub(super) fn see(laws: &mut Laws, envelope: &Envelope) -> Seen {
    if let Some(WearableEvent::Recorded(batch)) = read::<WearableEvent>(envelope)? {
        let mut broken = Vec::new();
        for reading in &batch.readings {
            let Some(seq) = reading.seq else { continue };
            let count = laws.readings.entry((reading.patient_id.clone(), seq)).or_default();
            *count += 1;
            if *count > 1 {
                let what = format!("reading {seq} was recorded {count} times");
                broken.push(breach("reading-once", format!("patient/{}", reading.patient_id), what));
            }
            let open = laws.wards.class.get(&reading.patient_id) == Some(&Class::Emergency);
            if reading.sos && !open && fresh(reading.at, batch.received_at) {
                laws.wards.pressed.insert(reading.patient_id.clone(), seq);
            }
        }
        return Ok(broken);
    }
    let Some(event) = read::<TriageEvent>(envelope)? else { return Ok(Vec::new()) };
    let status = event.status();
    let patient = &status.patient_id;
    let mut broken = Vec::new();
    let before = laws.wards.class.insert(patient.clone(), status.class);
    if before.is_some() && status.previous != before {
        let what = format!("{:?} after {:?}, and it was {before:?}", status.class, status.previous);
        broken.push(breach("triage-legal", &envelope.stream, what));
    }
    if status.class == Class::Emergency {
        laws.wards.pressed.remove(patient);
        if laws.open_of(patient).next().is_none() {
            laws.wards.owed.insert(envelope.id, patient.clone());
        }
    }
    Ok(broken)
}
