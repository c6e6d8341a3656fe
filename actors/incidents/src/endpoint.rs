//! Requests of people: manual calls, and what is done to an incident.

use crate::model::intake;
use crate::process::Desk;
use crate::projection::{self, KnownPatient};
use async_trait::async_trait;
use shers_contract::{
    IncidentId, PatientId, Problem,
    api::{Call, ManualCall, Reply, Request},
};
use shers_runtime::{Cause, LocalEndpoint, Rejected, StoreError};
use std::{rc::Rc, time::Duration};

/// Time between two looks for a patient whose registration may still be on its way.
const PATIENT_LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Door(pub(crate) Rc<Desk>);

#[async_trait(?Send)]
impl LocalEndpoint for Door {
    async fn call(&self, call: Call) -> Reply {
        match call.request.clone() {
            Request::OpenIncident(manual) => self.open(&call, &manual).await,
            Request::ActOnIncident(id, action) => {
                let command = intake::act(action, &call.principal.subject, self.0.settings.text_limits())?;
                self.0.directory.answer(&call, id.as_str(), command).await
            }
            _ => Err(Problem::new(500, "misrouted-request", "the incidents service does not answer this request")),
        }
    }
}

impl Door {
    /// Opens an incident, or joins the open one of the patient.
    async fn open(&self, call: &Call, manual: &ManualCall) -> Reply {
        intake::check_manual(manual, self.0.settings.text_limits())?;
        let rule = self.0.settings.opening_rule();
        let now = self.0.deps.clock.now();
        let Some(patient_id) = &manual.patient_id else {
            let id = call.incident_without_patient();
            let command = intake::manual_call(id.clone(), manual, None, now, rule);
            return self.0.directory.answer(call, id.as_str(), command).await;
        };
        let patient = self.patient(patient_id).await.map_err(|error| Problem::unavailable(error.to_string()))?;
        let Some(patient) = patient else {
            let detail =
                format!("there is no patient {patient_id:?}; register the patient, or call without patient_id");
            return Err(Problem::invalid("/patient_id", detail));
        };
        let command = |id: IncidentId| intake::manual_call(id, manual, patient.home, now, rule);
        match self.0.receive(patient_id, &Cause::call(call), command).await {
            Ok(executed) => Ok(executed.answer),
            Err(Rejected::Refused(refusal)) => Err(refusal.into()),
            Err(Rejected::Problem(problem)) => Err(problem),
            Err(Rejected::Repeated) => Err(Problem::conflict("this was done before")),
            Err(Rejected::Unavailable(why)) => Err(Problem::unavailable(why)),
        }
    }

    /// Looks for a patient, and again for a moment when there is none yet.
    async fn patient(&self, id: &PatientId) -> Result<Option<KnownPatient>, StoreError> {
        let mut waited = Duration::ZERO;
        loop {
            let found = projection::patient(&self.0.deps, id).await?;
            if found.is_some() || waited >= Duration::from_millis(self.0.settings.patient_wait_ms) {
                return Ok(found);
            }
            tokio::time::sleep(PATIENT_LOOK).await;
            waited += PATIENT_LOOK;
        }
    }
}
