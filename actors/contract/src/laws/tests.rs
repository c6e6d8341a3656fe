//! The laws see what is wrong: each case is a log with one thing wrong in it.

use super::*;
use crate::{
    Currency, Money,
    dispatch::{StatusChanged, UnitEvent, UnitProfile, UnitStatus},
    envelope::StreamName,
    incident::{CallReceived, CallSource, IncidentEvent, Opened, Priority},
};

const AT: Timestamp = Timestamp::from_ms(1_767_225_600_000);

/// A log being written.
#[derive(Default)]
struct Log {
    laws: Laws,
    position: u64,
    versions: BTreeMap<String, u64>,
    broken: Vec<&'static str>,
}

impl Log {
    fn write(&mut self, category: &str, id: &str, event: &impl DomainEvent) -> &mut Self {
        self.position += 1;
        let stream = StreamName::new(category, id);
        let version = self.versions.entry(stream.to_string()).or_default();
        *version += 1;
        let envelope = Envelope {
            id: Uuid::from_u128(u128::from(self.position)),
            kind: event.kind(),
            v: 1,
            stream,
            version: *version,
            at: AT,
            correlation_id: None,
            causation_id: Some(Uuid::from_u128(u128::from(self.position) << 64)),
            traceparent: None,
            exercise: false,
            data: event.to_data(),
        };
        self.broken.extend(self.laws.see(self.position, &envelope).iter().map(|breach| breach.law));
        self
    }
    fn open(&mut self, incident: &str, patient: &str) -> &mut Self {
        let opened = Opened {
            incident_id: IncidentId::new(incident).expect("id"),
            patient_id: PatientId::new(patient).ok(),
            priority: Priority::P1,
            location: None,
            call: CallReceived { source: CallSource::Manual, at: AT, summary: "a call".to_owned(), triage: None },
            needs: Vec::new(),
            acknowledge_by: AT,
            max_escalations: 0,
        };
        self.write("incident", incident, &IncidentEvent::Opened(opened))
    }
    fn unit(&mut self, previous: Option<UnitStatus>, status: UnitStatus, incident: Option<&str>) -> &mut Self {
        let unit_id = UnitId::new("u-1").expect("id");
        let change = StatusChanged {
            unit_id,
            previous,
            incident_id: incident.and_then(|id| IncidentId::new(id).ok()),
            hospital: None,
            by: "test".to_owned(),
            at: AT,
            location: None,
            loaded_distance_m: None,
            reason: None,
        };
        self.write("unit", "u-1", &UnitEvent::status(status, change))
    }
    fn registered(&mut self) -> &mut Self {
        let profile: UnitProfile = serde_json::from_str("{\"unit_id\":\"u-1\"}").expect("a profile");
        self.write("unit", "u-1", &UnitEvent::Registered(profile)).unit(None, UnitStatus::Available, None)
    }
}

#[test]
fn a_second_open_incident_of_a_patient_is_seen() {
    let mut log = Log::default();
    log.open("i-1", "p-1").open("i-2", "p-2");
    assert!(log.broken.is_empty(), "{:?}", log.broken);
    assert_eq!(log.open("i-3", "p-1").broken, ["one-open-incident-a-patient"]);
    assert_eq!(log.laws.open_incidents().len(), 3);
    assert!(log.laws.unsettled().iter().any(|owed| owed.law == "incident-ends"));
}

#[test]
fn a_unit_on_two_incidents_and_an_illegal_status_are_seen() {
    use UnitStatus::{Arrived, Assigned, Available, Enroute, Reserved};
    let mut log = Log::default();
    log.registered().unit(Some(Available), Reserved, Some("i-1")).unit(Some(Reserved), Assigned, Some("i-1"));
    assert!(log.broken.is_empty(), "{:?}", log.broken);
    assert_eq!(log.unit(Some(Assigned), Enroute, Some("i-2")).broken, ["one-incident-a-unit"]);
    assert_eq!(log.unit(Some(Enroute), Arrived, Some("i-2")).broken, ["one-incident-a-unit", "unit-legal"]);
}

#[test]
fn a_charge_without_a_bill_charged_twice_and_paid_back_too_much_is_seen() {
    let charge = Charge {
        key: "k".to_owned(),
        incident: IncidentId::new("i-1").expect("id"),
        amount: Money::new(100, Currency::CHF),
        charges: 2,
        refunded_minor: 300,
    };
    let laws: Vec<_> = check_ledger(&Laws::default(), &[charge]).iter().map(|breach| breach.law).collect();
    assert_eq!(laws, ["charge-has-bill", "one-charge", "refund-at-most-charge"]);
}
