//! Whose a request is: which partition's owner answers it, where a service has partitions.

use crate::api::{Call, Request, Service};
use crate::{BillId, IncidentId, derived_uuid, routing};

/// Who answers a request of a service that has partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The owner of this partition.
    Partition(u16),
    /// Whoever runs the service.
    Anyone,
    /// Every partition's owner has to know; the first one's answer is the answer.
    Everyone,
}

/// Key of a payment's metadata that holds its bill.
pub const BILL_METADATA: &str = "shers_bill";

impl Call {
    /// Whose this call is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        match &self.request {
            Request::ActOnIncident(incident, _) => Owner::Partition(incident.partition()),
            Request::OpenIncident(call) => {
                let of_patient = call.patient_id.as_ref().map(|patient| routing::partition_of(patient.as_str()));
                Owner::Partition(of_patient.unwrap_or_else(|| self.incident_without_patient().partition()))
            }
            Request::RetryBill(bill) | Request::WriteOffBill(bill, _) => Owner::Partition(bill.incident().partition()),
            Request::PaymentWebhook { body, .. } => {
                Owner::Partition(bill_of(body).map_or(0, |bill| bill.incident().partition()))
            }
            Request::GetRules => Owner::Partition(0),
            Request::PutRules(_) => Owner::Everyone,
            _ => match self.request.service() {
                // One owner each: the fleet is one region, the read models are folded in one place.
                Service::Dispatch | Service::Stream => Owner::Partition(0),
                Service::Wearable
                | Service::Triage
                | Service::Incidents
                | Service::Notification
                | Service::Billing
                | Service::Insurance => Owner::Anyone,
            },
        }
    }

    /// The incident that this call opens when it names no patient. A repeat under the same idempotency key
    /// finds the first, even one that overtakes it.
    #[must_use]
    pub fn incident_without_patient(&self) -> IncidentId {
        let uuid = match &self.idempotency {
            Some(idempotency) => derived_uuid(&["incident-call", &idempotency.key, &idempotency.body_digest]),
            None => derived_uuid(&["incident-call", &self.id.to_string()]),
        };
        IncidentId::from_uuid(uuid)
    }
}

/// The bill that a payment provider's event is about, from the metadata that it carries back.
fn bill_of(body: &str) -> Option<BillId> {
    let event: serde_json::Value = serde_json::from_str(body).ok()?;
    let bill = event.pointer("/data/object/metadata")?.get(BILL_METADATA)?.as_str()?;
    BillId::new(bill).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PatientId, Traceparent, api::*, incident::Priority};
    use uuid::Uuid;

    fn owner(request: Request) -> Owner {
        let principal = Principal { subject: "a".into(), role: Role::Dispatcher };
        let traceparent = Traceparent { trace_id: 1, span_id: 1 };
        let id = Uuid::from_u128(7);
        let call = Call { id, principal, traceparent, exercise: false, idempotency: None, if_match: None, request };
        call.owner()
    }

    #[test]
    fn everything_of_a_patients_incident_has_the_patients_owner() {
        let patient = PatientId::new("p-17").expect("an id");
        let own = Owner::Partition(routing::partition_of("p-17"));
        let incident = IncidentId::of_patient(&patient, 3);
        let call = |patient_id| ManualCall {
            patient_id,
            location: None,
            priority: Priority::P2,
            summary: "fell".into(),
            needs: Vec::new(),
        };
        let webhook = format!(r#"{{"data":{{"object":{{"metadata":{{"shers_bill":"{}"}}}}}}}}"#, incident.bill());
        assert_eq!(owner(Request::OpenIncident(call(Some(patient)))), own);
        assert_eq!(owner(Request::ActOnIncident(incident.clone(), IncidentAction::Acknowledge)), own);
        assert_eq!(owner(Request::RetryBill(incident.bill())), own);
        assert_eq!(owner(Request::PaymentWebhook { body: webhook, signature: String::new() }), own);
        assert!(matches!(owner(Request::OpenIncident(call(None))), Owner::Partition(_)));
        assert_eq!(owner(Request::PutRules(serde_json::Value::Null)), Owner::Everyone);
        assert_eq!(owner(Request::Recommend(incident)), Owner::Partition(0));
        assert_eq!(owner(Request::GetKpis), Owner::Partition(0));
    }
}
