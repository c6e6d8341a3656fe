//! What a unit answers to each command in each state.

use super::event::FleetEvent;
use super::refusal::UnitRefusal;
use super::transition::{allowed_after, carries_patient, is_at_scene, is_before_scene, may_follow};
use super::unit::{Duty, EtaLeg, Leg, Mission, Report, Serving, Unit, UnitCommand};
use serde_json::Value;
use shers_contract::{
    IncidentId, Timestamp, UnitId,
    dispatch::{
        Assigned, DispatchEvent, Diverted, EtaChanged, Retired, StatusChanged, Unassigned, UnitEvent, UnitProfile,
        UnitStatus,
    },
};

type Decision = Result<Vec<FleetEvent>, UnitRefusal>;

/// Longest text in a profile, in characters.
const MAX_TEXT: usize = 200;
/// Most capabilities of a unit.
const MAX_CAPABILITIES: usize = 64;

/// Decides a command.
///
/// # Errors
/// The refusal, which changes nothing.
pub fn decide(unit: &Unit, command: &UnitCommand, now: Timestamp) -> Decision {
    match (unit, command) {
        (Unit::Unknown, UnitCommand::Register { profile, by }) => register(profile, by, now),
        (
            Unit::Unknown,
            UnitCommand::Patch(_)
            | UnitCommand::Retire { .. }
            | UnitCommand::Report(_)
            | UnitCommand::Assign(_)
            | UnitCommand::Release { .. }
            | UnitCommand::Divert { .. }
            | UnitCommand::TurnoutPassed { .. }
            | UnitCommand::NoteStall { .. }
            | UnitCommand::NoteEta { .. },
        ) => Err(UnitRefusal::NotRegistered),
        (Unit::Serving(unit), UnitCommand::Register { profile, .. }) => {
            if unit.profile == **profile {
                Ok(Vec::new())
            } else {
                Err(UnitRefusal::Exists)
            }
        }
        (Unit::Serving(unit), UnitCommand::Patch(patch)) => update(unit, patch),
        (Unit::Serving(unit), UnitCommand::Retire { by }) => retire(unit, by),
        (Unit::Serving(unit), UnitCommand::Report(report)) => report_status(unit, report),
        (Unit::Serving(unit), UnitCommand::Assign(order)) => assign(unit, order, now),
        (Unit::Serving(unit), UnitCommand::Release { incident_id, reason, by, reopen }) => {
            release(unit, incident_id, reason, by, *reopen, now)
        }
        (
            Unit::Serving(unit),
            UnitCommand::NoteEta { incident_id, leg, arrives_at, eta_source, off_route_m, change_ms, interval_ms },
        ) => {
            let Some((mission, at_leg)) = unit.mission() else { return Ok(Vec::new()) };
            let drives_there = at_leg.destination(mission).is_some_and(|(to, _)| to == *leg);
            let news = mission.incident_id == *incident_id
                && drives_there
                && (off_route_m.is_some() || worth_saying(mission, *leg, *arrives_at, now, *change_ms, *interval_ms));
            let said = || eta_changed(unit, mission, *leg, *arrives_at, (eta_source, None, *off_route_m));
            Ok(news.then(said).into_iter().collect())
        }
        (Unit::Serving(unit), UnitCommand::Divert { order, from_incident, min_remaining_ms }) => {
            divert(unit, order, from_incident, *min_remaining_ms, now)
        }
        (Unit::Serving(unit), UnitCommand::TurnoutPassed { incident_id }) => turnout_passed(unit, incident_id, now),
        (Unit::Serving(unit), UnitCommand::NoteStall { incident_id, reason, arrives_at, eta_source }) => {
            let stalls = unit.mission().filter(|(mission, leg)| {
                mission.incident_id == *incident_id && matches!(leg, Leg::Enroute) && !mission.stalled
            });
            let told = stalls.map(|(mission, _)| {
                let leg = EtaLeg::Scene;
                eta_changed(unit, mission, leg, *arrives_at, (eta_source, Some(reason.clone()), None))
            });
            Ok(told.into_iter().collect())
        }
        (
            Unit::Retired(_),
            UnitCommand::Retire { .. }
            | UnitCommand::NoteEta { .. }
            | UnitCommand::TurnoutPassed { .. }
            | UnitCommand::NoteStall { .. },
        ) => Ok(Vec::new()),
        (
            Unit::Retired(_),
            UnitCommand::Register { .. }
            | UnitCommand::Patch(_)
            | UnitCommand::Report(_)
            | UnitCommand::Assign(_)
            | UnitCommand::Divert { .. }
            | UnitCommand::Release { .. },
        ) => Err(UnitRefusal::Retired),
    }
}

/// Checks a profile.
///
/// # Errors
/// The first value that can't be right.
pub fn check_profile(profile: &UnitProfile) -> Result<(), UnitRefusal> {
    let invalid = |field: &str, detail: String| Err(UnitRefusal::Invalid { field: field.to_owned(), detail });
    if !matches!(profile.crew_level.as_str(), "als" | "bls") {
        return invalid("/crew_level", format!("a crew is \"als\" or \"bls\", got {:?}", profile.crew_level));
    }
    if profile.kind.is_empty() || profile.kind.chars().count() > MAX_TEXT {
        return invalid("/kind", format!("a kind is 1 to {MAX_TEXT} characters, such as \"ambulance\""));
    }
    if profile.contact.as_ref().is_some_and(|contact| contact.chars().count() > MAX_TEXT) {
        return invalid("/contact", format!("at most {MAX_TEXT} characters"));
    }
    let bad = |c: &String| c.is_empty() || c.chars().count() > MAX_TEXT;
    if profile.capabilities.len() > MAX_CAPABILITIES || profile.capabilities.iter().any(bad) {
        return invalid("/capabilities", format!("at most {MAX_CAPABILITIES} words of 1 to {MAX_TEXT} characters"));
    }
    if let Some(shift) = profile.shift.filter(|shift| shift.from >= shift.until) {
        return invalid("/shift", format!("a shift ends after it begins, got {} to {}", shift.from, shift.until));
    }
    Ok(())
}

fn register(profile: &UnitProfile, by: &str, now: Timestamp) -> Decision {
    check_profile(profile)?;
    let first = StatusChanged {
        unit_id: profile.unit_id.clone(),
        previous: None,
        incident_id: None,
        hospital: None,
        by: by.to_owned(),
        at: now,
        location: profile.location,
        loaded_distance_m: None,
        reason: None,
    };
    Ok(vec![FleetEvent::Unit(UnitEvent::Registered(profile.clone())), FleetEvent::Unit(UnitEvent::Available(first))])
}

fn update(unit: &Serving, patch: &Value) -> Decision {
    let unreadable = |error: serde_json::Error| UnitRefusal::Invalid {
        field: String::new(),
        detail: format!("the patched unit is not a unit: {error}"),
    };
    if !patch.is_object() {
        let detail = "a merge patch of a unit is a JSON object with the members to change".to_owned();
        return Err(UnitRefusal::Invalid { field: String::new(), detail });
    }
    let mut value = serde_json::to_value(&unit.profile).map_err(unreadable)?;
    merge(&mut value, patch);
    let profile: UnitProfile = serde_json::from_value(value).map_err(unreadable)?;
    if profile.unit_id != unit.profile.unit_id {
        let detail = format!("a unit keeps its id {}; register another one instead", unit.profile.unit_id);
        return Err(UnitRefusal::Invalid { field: "/unit_id".to_owned(), detail });
    }
    check_profile(&profile)?;
    Ok(if profile == unit.profile { Vec::new() } else { vec![FleetEvent::Unit(UnitEvent::Updated(profile))] })
}

/// RFC 7396: null removes, objects merge, everything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

fn retire(unit: &Serving, by: &str) -> Decision {
    if let Some((mission, leg)) = unit.mission() {
        return Err(busy(mission, leg));
    }
    let retired = Retired { unit_id: unit.profile.unit_id.clone(), by: by.to_owned() };
    Ok(vec![FleetEvent::Unit(UnitEvent::Retired(retired))])
}

fn busy(mission: &Mission, leg: &Leg) -> UnitRefusal {
    UnitRefusal::Busy { status: leg.status(), incident_id: mission.incident_id.clone() }
}

fn report_status(unit: &Serving, report: &Report) -> Decision {
    // A unit in the middle of its registration is never asked; out of service is the cautious reading.
    let current = unit.status().unwrap_or(UnitStatus::OutOfService);
    let own = unit.incident();
    if let Some(asked) = report.incident_id.as_ref().filter(|asked| own != Some(*asked)) {
        return Err(UnitRefusal::OtherIncident { status: current, own: own.cloned(), asked: asked.clone() });
    }
    if report.status == current {
        return Ok(change_of_hospital(unit, report).into_iter().collect());
    }
    if !may_follow(current, report.status) {
        return Err(UnitRefusal::IllegalStatus { current, asked: report.status });
    }
    if report.disposition.is_some() && !(report.status == UnitStatus::Cancelled && is_at_scene(current)) {
        return Err(UnitRefusal::Invalid {
            field: "/disposition".to_owned(),
            detail: format!(
                "a crew says how an incident ended with \"cancelled\" at the scene; this is {} when {current}",
                report.status
            ),
        });
    }
    let mut events = vec![FleetEvent::Unit(UnitEvent::status(report.status, change(unit, report)))];
    events.extend(end_of_assignment(unit, report).map(|end| FleetEvent::Dispatch(DispatchEvent::Unassigned(end))));
    Ok(events)
}

/// A crew under way that repeats Onboard with another hospital changes its destination.
fn change_of_hospital(unit: &Serving, report: &Report) -> Option<FleetEvent> {
    let Some((_, Leg::Onboard(current))) = unit.mission() else { return None };
    let wanted = report.hospital.as_ref().filter(|_| report.crew_chose)?;
    let differs = current.as_ref().is_none_or(|current| current.hospital_id != wanted.hospital_id);
    differs.then(|| FleetEvent::Unit(UnitEvent::Onboard(change(unit, report))))
}

fn change(unit: &Serving, report: &Report) -> StatusChanged {
    let leg = unit.mission().map(|(_, leg)| leg);
    let with_patient = matches!(
        report.status,
        UnitStatus::AtPatient | UnitStatus::Onboard | UnitStatus::Arrived | UnitStatus::HandedOver
    );
    let chosen = leg.and_then(Leg::hospital).cloned();
    let hospital = match report.status {
        UnitStatus::AtPatient | UnitStatus::Onboard => report.hospital.clone().or(chosen),
        _ if report.crew_chose => report.hospital.clone().or(chosen),
        _ => chosen.or_else(|| report.hospital.clone()),
    };
    let keeps_incident =
        with_patient || matches!(report.status, UnitStatus::Enroute | UnitStatus::OnScene | UnitStatus::Cancelled);
    StatusChanged {
        unit_id: unit.profile.unit_id.clone(),
        previous: unit.status(),
        incident_id: unit.incident().filter(|_| keeps_incident).cloned(),
        hospital: hospital.filter(|_| with_patient),
        by: report.by.clone(),
        // A crew's clock may lag; times of one unit never run backwards.
        at: report.at.max(unit.since),
        location: report.location,
        loaded_distance_m: match report.status {
            UnitStatus::Arrived => report.loaded_distance_m,
            UnitStatus::HandedOver => leg.and_then(Leg::loaded_distance_m),
            _ => None,
        },
        reason: report.reason.clone(),
    }
}

/// The end of an assignment that a status brings: out of service always, called off before the hand-over.
fn end_of_assignment(unit: &Serving, report: &Report) -> Option<Unassigned> {
    let (mission, leg) = unit.mission()?;
    let status = leg.status();
    if status == UnitStatus::HandedOver {
        return None;
    }
    let reopen = match report.status {
        UnitStatus::OutOfService => true,
        UnitStatus::Cancelled => is_before_scene(status),
        _ => return None,
    };
    let given = report.reason.clone();
    Some(Unassigned {
        incident_id: mission.incident_id.clone(),
        unit_id: unit.profile.unit_id.clone(),
        reason: given.unwrap_or_else(|| format!("the crew reported {} when {status}", report.status)),
        by: report.by.clone(),
        reopen,
        disposition: report.disposition.filter(|_| report.status == UnitStatus::Cancelled && !reopen),
    })
}

fn assign(unit: &Serving, order: &Assigned, now: Timestamp) -> Decision {
    match &unit.duty {
        Duty::Busy { mission, .. } if mission.incident_id == order.incident_id => return Ok(Vec::new()),
        Duty::Busy { mission, leg } => return Err(busy(mission, leg)),
        Duty::OutOfService | Duty::New => return Err(UnitRefusal::OutOfService),
        Duty::Free { .. } => {}
    }
    if let Some(shift) = unit.profile.shift.filter(|_| !unit.on_shift(now)) {
        return Err(UnitRefusal::OffShift(shift));
    }
    Ok(sent(unit, order, now))
}

/// Reservation, assignment and decision.
fn sent(unit: &Serving, order: &Assigned, now: Timestamp) -> Vec<FleetEvent> {
    let status = |previous: Option<UnitStatus>| StatusChanged {
        unit_id: unit.profile.unit_id.clone(),
        previous,
        incident_id: Some(order.incident_id.clone()),
        hospital: None,
        by: order.by.clone(),
        at: now.max(unit.since),
        location: order.from,
        loaded_distance_m: None,
        reason: None,
    };
    let order = Assigned { unit_id: unit.profile.unit_id.clone(), ..order.clone() };
    vec![
        FleetEvent::Unit(UnitEvent::Reserved(status(unit.status()))),
        FleetEvent::Unit(UnitEvent::Assigned(status(Some(UnitStatus::Reserved)))),
        FleetEvent::Dispatch(DispatchEvent::Assigned(order)),
    ]
}

/// From one incident to a sicker patient's, in one append: it is never on two, and the other is told.
fn divert(unit: &Serving, order: &Assigned, from: &IncidentId, min_remaining_ms: i64, now: Timestamp) -> Decision {
    let status = unit.status().unwrap_or(UnitStatus::OutOfService);
    let Some((mission, leg)) = unit.mission() else {
        return Err(UnitRefusal::NotAssigned { status, incident_id: from.clone() });
    };
    if mission.incident_id == order.incident_id {
        return Ok(Vec::new());
    }
    if mission.incident_id != *from {
        return Err(UnitRefusal::NotAssigned { status, incident_id: from.clone() });
    }
    let remaining_ms = mission.expected.map_or(0, |expected| expected.arrives_at.ms_since(now));
    if !matches!(leg, Leg::Assigned | Leg::Enroute) || mission.diverted || remaining_ms < min_remaining_ms {
        return Err(UnitRefusal::StaysOnItsWay { status, incident_id: from.clone() });
    }
    let (unit_id, reason) = (unit.profile.unit_id.clone(), order.reason.clone());
    let end = Unassigned {
        incident_id: from.clone(),
        unit_id: unit_id.clone(),
        reason: reason.clone(),
        by: order.by.clone(),
        reopen: true,
        disposition: None,
    };
    let diverted = Diverted { incident_id: order.incident_id.clone(), from_incident_id: from.clone(), unit_id, reason };
    let mut events = vec![
        FleetEvent::Dispatch(DispatchEvent::Diverted(diverted)),
        FleetEvent::Dispatch(DispatchEvent::Unassigned(end)),
    ];
    events.extend(sent(unit, order, now));
    Ok(events)
}

/// A crew that does not answer can't be reached, so it is out of service until it reports; its incident
/// needs the next unit.
fn turnout_passed(unit: &Serving, incident_id: &IncidentId, now: Timestamp) -> Decision {
    let Some((mission, Leg::Reserved | Leg::Assigned)) = unit.mission() else { return Ok(Vec::new()) };
    let by = mission.order.as_ref().and_then(|order| order.answer_by);
    if mission.incident_id != *incident_id || by.is_none_or(|by| now < by) {
        return Ok(Vec::new());
    }
    let report = Report {
        status: UnitStatus::OutOfService,
        at: now,
        location: None,
        incident_id: None,
        hospital: None,
        crew_chose: false,
        loaded_distance_m: None,
        disposition: None,
        reason: Some(format!("{} did not set out within the turnout limit", unit.profile.unit_id)),
        by: "dispatch".to_owned(),
    };
    report_status(unit, &report)
}

fn release(unit: &Serving, incident_id: &IncidentId, reason: &str, by: &str, reopen: bool, now: Timestamp) -> Decision {
    let status = unit.status().unwrap_or(UnitStatus::OutOfService);
    if unit.incident() != Some(incident_id) {
        return Err(UnitRefusal::NotAssigned { status, incident_id: incident_id.clone() });
    }
    if carries_patient(status) || !allowed_after(status).contains(&UnitStatus::Cancelled) {
        return Err(UnitRefusal::TooLate { status });
    }
    let unit_id: UnitId = unit.profile.unit_id.clone();
    let change = StatusChanged {
        unit_id: unit_id.clone(),
        previous: Some(status),
        incident_id: Some(incident_id.clone()),
        hospital: None,
        by: by.to_owned(),
        at: now.max(unit.since),
        location: None,
        loaded_distance_m: None,
        reason: Some(reason.to_owned()),
    };
    let end = Unassigned {
        incident_id: incident_id.clone(),
        unit_id,
        reason: reason.to_owned(),
        by: by.to_owned(),
        reopen,
        disposition: None,
    };
    Ok(vec![FleetEvent::Unit(UnitEvent::Cancelled(change)), FleetEvent::Dispatch(DispatchEvent::Unassigned(end))])
}

fn worth_saying(
    mission: &Mission,
    leg: EtaLeg,
    arrives_at: Timestamp,
    now: Timestamp,
    change_ms: i64,
    interval_ms: i64,
) -> bool {
    mission.expected.filter(|expected| expected.leg == leg).is_none_or(|expected| {
        now.ms_since(expected.said_at) >= interval_ms && arrives_at.ms_since(expected.arrives_at).abs() > change_ms
    })
}

fn eta_changed(
    unit: &Serving,
    mission: &Mission,
    leg: EtaLeg,
    arrives_at: Timestamp,
    (eta_source, reason, off_route_m): (&str, Option<String>, Option<u32>),
) -> FleetEvent {
    FleetEvent::Dispatch(DispatchEvent::EtaChanged(EtaChanged {
        incident_id: mission.incident_id.clone(),
        unit_id: unit.profile.unit_id.clone(),
        leg: leg.as_str().to_owned(),
        arrives_at,
        eta_source: eta_source.to_owned(),
        reason,
        off_route_m,
    }))
}
