//! The events that each step of an open incident gives. Which steps a state allows is decided in
//! [`super::incident`].

use super::case::{Case, Phase, UnitWork};
use super::command::{NewCall, UnitNews};
use shers_contract::{
    HospitalId, Timestamp, UnitId,
    dispatch::UnitStatus,
    incident::{
        CallJoined, CancelDispatch, Cancelled, Disposition, IncidentEvent, Opened, Priority, Resolved, StartBilling,
        UnitChanged,
    },
    notification::{SendNotification, Template},
};

/// Opens it: next of kin are told and a unit is asked for in the same append.
pub(super) fn open(call: &NewCall, now: Timestamp) -> Vec<IncidentEvent> {
    let opened = Opened {
        incident_id: call.incident_id.clone(),
        patient_id: call.patient_id.clone(),
        priority: call.priority,
        location: call.location,
        call: call.call.clone(),
        needs: call.needs.clone(),
        acknowledge_by: now.plus_ms(call.rule.acknowledge_within_ms),
        max_escalations: call.rule.max_escalations,
    };
    let case = Case::begin(&opened, now);
    let mut events = vec![IncidentEvent::Opened(opened)];
    events.extend(case.tell(Template::EmergencyDetected, None).map(IncidentEvent::SendNotification));
    events.push(IncidentEvent::RequestDispatch(case.request()));
    events
}

/// Joins a further call. Dispatch hears again when that makes the incident more urgent or first says
/// where it is, as long as no unit works for it.
pub(super) fn join(case: &Case, call: &NewCall) -> Vec<IncidentEvent> {
    let priority = case.priority.min(call.priority);
    let found = case.location.is_none() && call.location.is_some();
    if priority == case.priority && !found && case.heard_lately(&call.call, call.rule.join_quiet_ms) {
        return Vec::new();
    }
    let location = call.location.filter(|location| Some(*location) != case.location);
    let mut events = vec![IncidentEvent::CallJoined(CallJoined { call: call.call.clone(), priority, location })];
    if (priority < case.priority || found) && case.working_unit().is_none() {
        let worse = Case { priority, location: location.or(case.location), ..case.clone() };
        events.push(IncidentEvent::RequestDispatch(worse.request()));
    }
    events
}

/// Ends it by a person's word. Whatever dispatch still does for it is called off, unless a crew has the
/// patient on board: that crew ends its own run.
pub(super) fn resolve(case: &Case, by: &str, disposition: Disposition, now: Timestamp) -> Vec<IncidentEvent> {
    let working = case.working_unit();
    let loaded = working.filter(|unit| unit.phase >= Some(Phase::Onboard));
    let mut events = vec![IncidentEvent::Resolved(Resolved {
        disposition,
        by: Some(by.to_owned()),
        unit_id: working.map(|unit| unit.unit_id.clone()),
        hospital_id: loaded.and_then(|unit| unit.hospital_id.clone()),
    })];
    if loaded.is_none() {
        events.push(call_back(case, "the incident was resolved"));
    }
    let transported = disposition == Disposition::Transported;
    let distance_m = loaded.and_then(|unit| unit.loaded_distance_m).filter(|_| transported);
    let unit_id = working.map(|unit| unit.unit_id.clone());
    events.extend(start_billing(case, unit_id.as_ref(), distance_m, disposition, now));
    events
}

/// Calls it off.
pub(super) fn cancel(case: &Case, by: &str, reason: &str, now: Timestamp) -> Vec<IncidentEvent> {
    let mut events = vec![
        IncidentEvent::Cancelled(Cancelled { by: by.to_owned(), reason: reason.to_owned() }),
        call_back(case, reason),
    ];
    if !case.told.is_empty() {
        events.extend(case.tell(Template::Cancelled, None).map(IncidentEvent::SendNotification));
    }
    if case.a_unit_went() {
        events.extend(start_billing(case, None, None, Disposition::Other, now));
    }
    events
}

/// Follows a unit's work. Only what is remembered becomes an event: a repeat, or a step that says
/// nothing new, gives none.
pub(super) fn follow(case: &Case, unit_id: &UnitId, news: &UnitNews, now: Timestamp) -> Vec<IncidentEvent> {
    let known = case.unit(unit_id);
    let phase = known.and_then(|unit| unit.phase);
    match news {
        UnitNews::Assigned { eta_s, level_of_care } if phase.is_none() => {
            vec![IncidentEvent::UnitChanged(UnitChanged {
                eta_s: Some(*eta_s),
                level_of_care: level_of_care.clone(),
                ..changed(unit_id, UnitStatus::Assigned)
            })]
        }
        UnitNews::Enroute if phase < Some(Phase::Enroute) => {
            let mut events = vec![IncidentEvent::UnitChanged(changed(unit_id, UnitStatus::Enroute))];
            let eta_min = known.and_then(|unit| unit.eta_s).map(|eta_s| eta_s.div_ceil(60).max(1));
            let notice = case.tell(Template::UnitEnroute, Some(unit_id));
            events.extend(notice.map(|n| IncidentEvent::SendNotification(SendNotification { eta_min, ..n })));
            events
        }
        UnitNews::OnScene if phase < Some(Phase::Enroute) => {
            vec![IncidentEvent::UnitChanged(changed(unit_id, UnitStatus::Enroute))]
        }
        UnitNews::Onboard { hospital_id } if phase < Some(Phase::Onboard) => {
            vec![IncidentEvent::UnitChanged(UnitChanged {
                hospital_id: hospital_id.clone(),
                ..changed(unit_id, UnitStatus::Onboard)
            })]
        }
        UnitNews::Arrived { hospital_id, hospital, distance_m } if phase < Some(Phase::Arrived) => {
            let mut events = vec![IncidentEvent::UnitChanged(UnitChanged {
                hospital_id: hospital_id.clone(),
                loaded_distance_m: *distance_m,
                ..changed(unit_id, UnitStatus::Arrived)
            })];
            let notice = case.tell(Template::ArrivedAtHospital, Some(unit_id));
            events.extend(
                notice.map(|n| IncidentEvent::SendNotification(SendNotification { hospital: hospital.clone(), ..n })),
            );
            events
        }
        // Its status came first and has freed it already, so only whether it ever worked for this one counts.
        UnitNews::Cleared { disposition } if known.is_some() => cleared(case, unit_id, *disposition, now),
        UnitNews::HandedOver { hospital_id, distance_m } => {
            hand_over(case, unit_id, hospital_id.clone(), *distance_m, now)
        }
        UnitNews::Released if phase.is_some() => {
            vec![IncidentEvent::UnitChanged(changed(unit_id, UnitStatus::Available))]
        }
        UnitNews::Assigned { .. }
        | UnitNews::Enroute
        | UnitNews::OnScene
        | UnitNews::Onboard { .. }
        | UnitNews::Arrived { .. }
        | UnitNews::Cleared { .. }
        | UnitNews::Released => Vec::new(),
    }
}

/// The crew is free again. When nobody else works for it, its word ends the incident: a patient who refuses
/// transport needs no further unit.
fn cleared(case: &Case, unit_id: &UnitId, disposition: Disposition, now: Timestamp) -> Vec<IncidentEvent> {
    let works = |unit: &UnitWork| unit.phase.is_some();
    let mut events = Vec::new();
    if case.unit(unit_id).is_some_and(works) {
        events.push(IncidentEvent::UnitChanged(changed(unit_id, UnitStatus::Available)));
    }
    if case.units.iter().any(|unit| unit.unit_id != *unit_id && works(unit)) {
        return events;
    }
    events.push(IncidentEvent::Resolved(Resolved {
        disposition,
        by: None,
        unit_id: Some(unit_id.clone()),
        hospital_id: None,
    }));
    events.push(call_back(case, "the crew cleared at the scene"));
    events.extend(start_billing(case, Some(unit_id), None, disposition, now));
    events
}

/// Ends it by the hand-over. Other units that still work for it are called back.
fn hand_over(
    case: &Case,
    unit_id: &UnitId,
    hospital_id: Option<HospitalId>,
    distance_m: Option<u32>,
    now: Timestamp,
) -> Vec<IncidentEvent> {
    let known = case.unit(unit_id);
    let hospital_id = hospital_id.or_else(|| known.and_then(|unit| unit.hospital_id.clone()));
    let distance_m = known.and_then(|unit| unit.loaded_distance_m).or(distance_m);
    let disposition = Disposition::Transported;
    let mut events =
        vec![IncidentEvent::Resolved(Resolved { disposition, by: None, unit_id: Some(unit_id.clone()), hospital_id })];
    if case.units.iter().any(|unit| unit.unit_id != *unit_id && unit.phase.is_some()) {
        events.push(call_back(case, "the patient was handed over"));
    }
    events.extend(start_billing(case, Some(unit_id), distance_m, disposition, now));
    events
}

/// Starts the bill, once.
fn start_billing(
    case: &Case,
    unit: Option<&UnitId>,
    distance_m: Option<u32>,
    disposition: Disposition,
    now: Timestamp,
) -> Option<IncidentEvent> {
    (!case.billed).then(|| {
        IncidentEvent::StartBilling(StartBilling {
            incident_id: case.incident_id.clone(),
            patient_id: case.patient_id.clone(),
            transported: disposition == Disposition::Transported,
            distance_m: distance_m.unwrap_or(0),
            level_of_care: case.level_of_care(unit),
            disposition,
            served_at: now,
        })
    })
}

fn call_back(case: &Case, reason: &str) -> IncidentEvent {
    IncidentEvent::CancelDispatch(CancelDispatch { incident_id: case.incident_id.clone(), reason: reason.to_owned() })
}

fn changed(unit_id: &UnitId, status: UnitStatus) -> UnitChanged {
    UnitChanged {
        unit_id: unit_id.clone(),
        status,
        eta_s: None,
        level_of_care: None,
        hospital_id: None,
        loaded_distance_m: None,
    }
}

/// One step less urgent; the least urgent stays.
pub(super) fn less_urgent(priority: Priority) -> Priority {
    Priority::try_from(priority.get().saturating_add(1)).unwrap_or(Priority::P4)
}

/// One step more urgent; the most urgent stays.
pub(super) fn more_urgent(priority: Priority) -> Priority {
    Priority::try_from(priority.get().saturating_sub(1)).unwrap_or(Priority::P1)
}
