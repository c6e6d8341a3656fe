//! Builders of facts for tests.

use super::{Event, Fact};
use shers_contract::{
    DomainEvent, IncidentId, LatLon, Money, PatientId, Timestamp, UnitId,
    billing::{BillingEvent, CoverageVerified, Failed, Paid, Pending, Step, Stuck, WrittenOff},
    dispatch::{
        Assigned, DispatchEvent, HospitalChoice, StatusChanged, Unassigned, UnitEvent, UnitProfile, UnitStatus, Waiting,
    },
    incident::{
        Acknowledged, CallReceived, CallSource, Cancelled, Closed, Disposition, Escalated, IncidentEvent, Opened,
        Priority, RequestDispatch, Resolved,
    },
};

/// Where these tests begin: 2026-01-01T00:00:00Z.
pub(crate) const START_MS: i64 = 1_767_225_600_000;

/// Seconds after the beginning.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(START_MS + seconds * 1000)
}

pub(crate) fn incident(id: &str) -> IncidentId {
    IncidentId::new(id).expect("an id")
}

pub(crate) fn unit(id: &str) -> UnitId {
    UnitId::new(id).expect("an id")
}

fn place() -> LatLon {
    LatLon::new(47.14, 9.52).expect("on earth")
}

/// A fact of `stream` at `version`, `seconds` after the beginning.
pub(crate) fn fact(stream: &str, version: u64, seconds: i64, event: Event) -> Fact {
    let kind = match &event {
        Event::Incident(e) => e.kind(),
        Event::Unit(e) => e.kind(),
        Event::Dispatch(e) => e.kind(),
        Event::WaitEnded(_) => shers_contract::Kind::DISPATCH_WAIT_ENDED,
        Event::Hospital(e) => e.kind(),
        Event::Billing(e) => e.kind(),
        Event::Notification(e) => e.kind(),
    };
    Fact { stream: stream.to_owned(), version, at: at(seconds), correlation_id: None, exercise: false, kind, event }
}

pub(crate) fn opened(id: &str, priority: Priority, seconds: i64) -> IncidentEvent {
    IncidentEvent::Opened(Opened {
        incident_id: incident(id),
        patient_id: Some(PatientId::new("p-1").expect("an id")),
        priority,
        location: Some(place()),
        call: CallReceived { source: CallSource::Manual, at: at(seconds), summary: "fell".into(), triage: None },
        needs: vec!["als".into()],
        acknowledge_by: at(seconds + 60),
        max_escalations: 3,
    })
}

pub(crate) fn acknowledged() -> IncidentEvent {
    IncidentEvent::Acknowledged(Acknowledged { by: "d".into() })
}

pub(crate) fn escalated(level: u8) -> IncidentEvent {
    let reason = "nobody acknowledged".into();
    IncidentEvent::Escalated(Escalated { level, reason, by: None, priority: Priority::P1, next_at: Some(at(500)) })
}

pub(crate) fn resolved() -> IncidentEvent {
    let disposition = Disposition::Transported;
    IncidentEvent::Resolved(Resolved { disposition, by: None, unit_id: None, hospital_id: None })
}

pub(crate) fn closed() -> IncidentEvent {
    IncidentEvent::Closed(Closed { bill: Some("PAID".into()), by: None })
}

pub(crate) fn cancelled() -> IncidentEvent {
    IncidentEvent::Cancelled(Cancelled { by: "d".into(), reason: "mistake".into() })
}

pub(crate) fn registered(id: &str) -> UnitEvent {
    UnitEvent::Registered(UnitProfile {
        unit_id: unit(id),
        kind: "ambulance".into(),
        capabilities: vec!["als".into()],
        crew_level: "als".into(),
        station_id: None,
        location: Some(place()),
        shift: None,
        contact: None,
    })
}

/// `unit` says `status` about `incident`, `seconds` after the beginning.
pub(crate) fn status(id: &str, status: UnitStatus, about: Option<&str>, seconds: i64) -> UnitEvent {
    let hospital = HospitalChoice {
        door_s: None,
        next: None,
        hospital_id: "h-1".parse().expect("an id"),
        name: "Spital".into(),
        location: place(),
        drive_s: 300,
        distance_m: 4_000,
        reason: "nearest".into(),
    };
    let loaded = matches!(status, UnitStatus::Onboard | UnitStatus::Arrived | UnitStatus::HandedOver);
    UnitEvent::status(
        status,
        StatusChanged {
            unit_id: unit(id),
            previous: None,
            incident_id: about.map(incident),
            hospital: loaded.then_some(hospital),
            by: "crew".into(),
            at: at(seconds),
            location: None,
            loaded_distance_m: None,
            reason: None,
        },
    )
}

pub(crate) fn assigned(id: &str, to: &str) -> DispatchEvent {
    DispatchEvent::Assigned(Assigned {
        incident_id: incident(to),
        unit_id: unit(id),
        eta_s: 240,
        distance_m: 3_000,
        eta_source: "built-in".into(),
        reason: "nearest".into(),
        candidates: vec![],
        by: "dispatch".into(),
        from: None,
        to: place(),
        answer_by: None,
    })
}

pub(crate) fn unassigned(id: &str, from: &str) -> DispatchEvent {
    let (reason, by) = ("breakdown".into(), "d".into());
    DispatchEvent::Unassigned(Unassigned {
        incident_id: incident(from),
        unit_id: unit(id),
        reason,
        by,
        reopen: true,
        disposition: None,
    })
}

pub(crate) fn waiting(id: &str) -> DispatchEvent {
    let request = RequestDispatch {
        incident_id: incident(id),
        priority: Priority::P1,
        location: None,
        needs: vec![],
        opened_at: at(0),
    };
    DispatchEvent::Waiting(Waiting { request, reason: "all are busy".into(), excluded: vec![], by_person: false })
}

fn chf(minor: i64) -> Money {
    Money::new(minor, shers_contract::Currency::CHF)
}

pub(crate) fn pending(id: &str, step: Step) -> BillingEvent {
    BillingEvent::Pending(Pending::at(incident(id).bill(), step, 1))
}

pub(crate) fn covered(id: &str) -> BillingEvent {
    BillingEvent::CoverageVerified(CoverageVerified {
        bill_id: incident(id).bill(),
        incident_id: incident(id),
        insurer: chf(900),
        patient: chf(100),
        reason: "10 % copay".into(),
        response_id: None,
    })
}

pub(crate) fn paid(id: &str) -> BillingEvent {
    BillingEvent::Paid(Paid {
        bill_id: incident(id).bill(),
        incident_id: incident(id),
        payment_id: Some("pi_1".into()),
        provider: "sandbox-payment".into(),
        charged: chf(100),
    })
}

pub(crate) fn failed(id: &str) -> BillingEvent {
    let (code, reason) = ("card-declined".into(), "declined".into());
    BillingEvent::Failed(Failed { bill_id: incident(id).bill(), incident_id: incident(id), code, reason })
}

pub(crate) fn stuck(id: &str) -> BillingEvent {
    let (step, reason) = (Step::Compensate, "refund refused".into());
    BillingEvent::Stuck(Stuck { bill_id: incident(id).bill(), incident_id: incident(id), step, reason })
}

pub(crate) fn written_off(id: &str) -> BillingEvent {
    let (by, reason) = ("a".into(), "goodwill".into());
    BillingEvent::WrittenOff(WrittenOff { bill_id: incident(id).bill(), incident_id: incident(id), by, reason })
}

/// One emergency from the call to the paid bill, as the log would hold it, with a second unit's detour.
pub(crate) fn story() -> Vec<Fact> {
    use UnitStatus as S;
    let mut facts = vec![
        fact("unit/u-1", 1, 0, Event::Unit(registered("u-1"))),
        fact("unit/u-2", 1, 0, Event::Unit(registered("u-2"))),
        fact("incident/i-1", 1, 10, Event::Incident(opened("i-1", Priority::P2, 8))),
        fact("dispatch/i-1", 1, 11, Event::Dispatch(waiting("i-1"))),
        fact("unit/u-2", 2, 12, Event::Unit(status("u-2", S::Reserved, Some("i-1"), 12))),
        fact("unit/u-2", 3, 12, Event::Unit(status("u-2", S::Assigned, Some("i-1"), 12))),
        fact("unit/u-2", 4, 12, Event::Dispatch(assigned("u-2", "i-1"))),
        fact("unit/u-2", 5, 20, Event::Dispatch(unassigned("u-2", "i-1"))),
        fact("unit/u-2", 6, 20, Event::Unit(status("u-2", S::Cancelled, Some("i-1"), 20))),
        fact("incident/i-1", 2, 30, Event::Incident(escalated(1))),
        fact("incident/i-1", 3, 40, Event::Incident(acknowledged())),
        fact("unit/u-1", 2, 50, Event::Unit(status("u-1", S::Reserved, Some("i-1"), 50))),
        fact("unit/u-1", 3, 50, Event::Unit(status("u-1", S::Assigned, Some("i-1"), 50))),
        fact("unit/u-1", 4, 50, Event::Dispatch(assigned("u-1", "i-1"))),
    ];
    let drive = [
        (S::Enroute, 100),
        (S::OnScene, 340),
        (S::AtPatient, 400),
        (S::Onboard, 1_000),
        (S::Arrived, 1_300),
        (S::HandedOver, 1_500),
    ];
    for (version, (reached, seconds)) in (5..).zip(drive) {
        facts.push(fact("unit/u-1", version, seconds, Event::Unit(status("u-1", reached, Some("i-1"), seconds))));
    }
    facts.extend([
        fact("incident/i-1", 4, 1_500, Event::Incident(resolved())),
        fact("bill/i-1", 1, 1_501, Event::Billing(pending("i-1", Step::Eligibility))),
        fact("bill/i-1", 2, 1_502, Event::Billing(covered("i-1"))),
        fact("bill/i-1", 3, 1_503, Event::Billing(pending("i-1", Step::CreatePayment))),
        fact("bill/i-1", 4, 1_504, Event::Billing(paid("i-1"))),
        fact("incident/i-1", 5, 1_505, Event::Incident(closed())),
        fact("unit/u-1", 11, 1_600, Event::Unit(status("u-1", S::Available, Some("i-1"), 1_600))),
    ]);
    facts
}
