//! The unit's aggregate: its table of statuses, and what holds for any sequence of commands.

use proptest::prelude::*;
use serde_json::json;
use shers_contract::dispatch::{Assigned, DispatchEvent, UnitEvent, UnitProfile, UnitStatus};
use shers_contract::{DomainEvent, IncidentId, LatLon, Problem, Timestamp, UnitId};
use shers_dispatch::model::event::FleetEvent;
use shers_dispatch::model::transition::{allowed_after, from_fms};
use shers_dispatch::model::unit::{Report, Unit, UnitCommand};
use shers_runtime::Aggregate;

const START: Timestamp = Timestamp::from_ms(1_767_225_600_000);

fn profile() -> UnitProfile {
    serde_json::from_value(json!({"unit_id": "a"})).expect("valid")
}

fn report(status: UnitStatus) -> UnitCommand {
    UnitCommand::Report(Box::new(Report {
        status,
        at: START,
        location: None,
        incident_id: None,
        hospital: None,
        crew_chose: false,
        loaded_distance_m: None,
        disposition: None,
        reason: None,
        by: "crew".into(),
    }))
}

fn incident(n: u8) -> IncidentId {
    IncidentId::new(format!("i-{n}")).expect("valid")
}

fn assign(n: u8) -> UnitCommand {
    UnitCommand::Assign(Box::new(Assigned {
        incident_id: incident(n),
        unit_id: UnitId::new("a").expect("valid"),
        eta_s: 60,
        distance_m: 900,
        eta_source: "test".into(),
        reason: "closest".into(),
        candidates: Vec::new(),
        by: "dispatch".into(),
        from: None,
        to: LatLon::new(47.0, 9.5).expect("valid"),
        answer_by: Some(START.plus_ms(120_000)),
    }))
}

fn divert(from: u8, to: u8) -> UnitCommand {
    let UnitCommand::Assign(order) = assign(to) else { panic!("an assignment") };
    UnitCommand::Divert { order, from_incident: incident(from), min_remaining_ms: 30_000 }
}

fn release(n: u8) -> UnitCommand {
    UnitCommand::Release { incident_id: incident(n), reason: "test".into(), by: "anna".into(), reopen: true }
}

fn fold(unit: Unit, events: &[FleetEvent]) -> Unit {
    events.iter().fold(unit, |unit, event| unit.evolve(event, START))
}

fn after(commands: &[UnitCommand]) -> Unit {
    commands.iter().fold(Unit::default(), |unit, command| {
        let events = unit.decide(command, START).unwrap_or_else(|refusal| panic!("{command:?}: {refusal:?}"));
        fold(unit, &events)
    })
}

fn status(unit: &Unit) -> Option<UnitStatus> {
    unit.serving().and_then(|unit| unit.status())
}

/// A unit in each status a unit can rest in.
fn in_every_status() -> Vec<(UnitStatus, Unit)> {
    use UnitStatus::*;
    let register = UnitCommand::Register { profile: Box::new(profile()), by: "anna".into() };
    let ways: [(UnitStatus, &[UnitStatus]); 8] = [
        (Assigned, &[]),
        (Enroute, &[Enroute]),
        (OnScene, &[Enroute, OnScene]),
        (AtPatient, &[Enroute, OnScene, AtPatient]),
        (Onboard, &[Enroute, OnScene, Onboard]),
        (Arrived, &[Enroute, OnScene, Onboard, Arrived]),
        (HandedOver, &[Enroute, OnScene, Onboard, Arrived, HandedOver]),
        (Cancelled, &[Cancelled]),
    ];
    let mut all: Vec<(UnitStatus, Unit)> = ways
        .iter()
        .map(|(status, way)| {
            let mut commands = vec![register.clone(), assign(1)];
            commands.extend(way.iter().map(|status| report(*status)));
            (*status, after(&commands))
        })
        .collect();
    all.push((Available, after(std::slice::from_ref(&register))));
    all.push((AtPost, after(&[register.clone(), report(AtPost)])));
    all.push((OutOfService, after(&[register, report(OutOfService)])));
    all
}

#[test]
fn every_status_takes_exactly_the_reports_of_the_table() {
    for (current, unit) in in_every_status() {
        assert_eq!(status(&unit), Some(current));
        for next in UnitStatus::ALL {
            let decided = unit.decide(&report(next), START);
            match decided {
                Ok(events) if next == current => assert_eq!(events, [], "{current} repeated"),
                Ok(events) => {
                    assert!(allowed_after(current).contains(&next), "{current} → {next} was allowed");
                    assert_eq!(status(&fold(unit.clone(), &events)), Some(next));
                }
                Err(refusal) => {
                    assert!(!allowed_after(current).contains(&next), "{current} → {next} was refused");
                    let problem = Problem::from(refusal);
                    assert_eq!((problem.status, &problem.more["current_status"]), (409, &json!(current.as_str())));
                    assert_eq!(problem.more["allowed"].as_array().map(Vec::len), Some(allowed_after(current).len()));
                }
            }
        }
    }
}

#[test]
fn every_status_answers_assignment_release_and_retirement() {
    for (current, unit) in in_every_status() {
        let free = current.is_free();
        let busy = unit.serving().and_then(|unit| unit.incident()).is_some();
        assert_eq!(unit.decide(&assign(2), START).is_ok(), free, "assign when {current}");
        assert_eq!(unit.decide(&assign(1), START).is_ok(), free || busy, "assign again when {current}");
        use UnitStatus::{Assigned, AtPatient, Enroute, OnScene};
        let recallable = matches!(current, Assigned | Enroute | OnScene | AtPatient);
        assert_eq!(unit.decide(&release(1), START).is_ok(), recallable, "release when {current}");
        let retire = UnitCommand::Retire { by: "anna".into() };
        assert_eq!(unit.decide(&retire, START).is_ok(), !busy, "retire when {current}");
    }
}

#[test]
fn leaving_an_incident_says_whether_it_still_needs_a_unit() {
    use UnitStatus::*;
    let check = |from: UnitStatus, to: UnitStatus, reopen: Option<bool>| {
        let (_, unit) = in_every_status().into_iter().find(|(status, _)| *status == from).expect("there");
        let events = unit.decide(&report(to), START).expect("allowed");
        let said = events.iter().find_map(|event| match event {
            FleetEvent::Dispatch(DispatchEvent::Unassigned(end)) => Some(end.reopen),
            FleetEvent::Dispatch(_) | FleetEvent::Unit(_) => None,
        });
        assert_eq!(said, reopen, "{from} → {to}");
    };
    check(Enroute, Cancelled, Some(true));
    check(AtPatient, Cancelled, Some(false));
    check(Enroute, OutOfService, Some(true));
    check(Onboard, OutOfService, Some(true));
    check(HandedOver, OutOfService, None);
    check(HandedOver, Available, None);
    check(AtPost, OutOfService, None);
}

#[test]
fn the_turnaround_belongs_to_the_incident_and_nothing_after_it() {
    let (_, unit) = in_every_status().into_iter().find(|(s, _)| *s == UnitStatus::HandedOver).expect("there");
    let events = unit.decide(&report(UnitStatus::Available), START).expect("allowed");
    let free = fold(unit, &events);
    assert_eq!(free.correlation(&events[0]), Some(incident(1)));
    let events = free.decide(&report(UnitStatus::AtPost), START).expect("allowed");
    let at_post = fold(free, &events);
    assert_eq!(at_post.correlation(&events[0]), None);
}

#[test]
fn a_unit_off_shift_is_refused_and_a_patch_changes_only_what_it_names() {
    let shift = json!({"shift": {"from": "2026-01-01T10:00:00Z", "until": "2026-01-01T18:00:00Z"}, "contact": "12"});
    let register = UnitCommand::Register { profile: Box::new(profile()), by: "anna".into() };
    let unit = after(&[register, UnitCommand::Patch(shift)]);
    let noon = Timestamp::parse("2026-01-01T12:00:00Z").expect("valid");
    assert!(unit.decide(&assign(1), START).is_err());
    assert!(unit.decide(&assign(1), noon).is_ok());
    let patched = after_patch(&unit, json!({"contact": null, "kind": "doctor-car"})).expect("allowed");
    let profile = &patched.serving().expect("serving").profile;
    assert_eq!(
        (profile.contact.as_deref(), profile.kind.as_str(), profile.shift.is_some()),
        (None, "doctor-car", true)
    );
    for bad in [json!({"unit_id": "b"}), json!({"colour": "red"}), json!({"crew_level": "x"}), json!([1])] {
        assert_eq!(after_patch(&unit, bad.clone()).map_err(|p| p.status).err(), Some(422), "{bad}");
    }
}

fn after_patch(unit: &Unit, patch: serde_json::Value) -> Result<Unit, Problem> {
    let events = unit.decide(&UnitCommand::Patch(patch), START)?;
    Ok(fold(unit.clone(), &events))
}

#[test]
fn a_crew_that_does_not_set_out_in_time_is_replaced_and_a_late_timer_changes_nothing() {
    let (late, early) = (START.plus_ms(120_000), START.plus_ms(119_999));
    let mut deadlines = 0;
    for (current, unit) in in_every_status() {
        let deadline = unit.deadline();
        assert_eq!(deadline.is_some(), current == UnitStatus::Assigned, "a deadline when {current}");
        let passed = UnitCommand::TurnoutPassed { incident_id: incident(1) };
        assert_eq!(unit.decide(&passed, early).expect("never refused"), [], "too early when {current}");
        let events = unit.decide(&passed, late).expect("never refused");
        assert_eq!(events.is_empty(), current != UnitStatus::Assigned, "{current}");
        let other = UnitCommand::TurnoutPassed { incident_id: incident(2) };
        assert_eq!(unit.decide(&other, late).expect("never refused"), []);
        if let Some((at, command)) = deadline {
            deadlines += 1;
            assert_eq!((at, &command), (late, &passed));
            let [FleetEvent::Unit(UnitEvent::OutOfService(_)), FleetEvent::Dispatch(DispatchEvent::Unassigned(end))] =
                events.as_slice()
            else {
                panic!("{events:?}")
            };
            assert!(end.reopen && end.reason.contains("turnout"));
            assert!(fold(unit, &events).deadline().is_none());
        }
    }
    assert_eq!(deadlines, 1);
}

#[test]
fn a_unit_is_moved_to_a_sicker_patient_at_most_once_and_never_just_before_it_arrives() {
    for (current, unit) in in_every_status() {
        let moved = unit.decide(&divert(1, 2), START);
        let on_its_way = matches!(current, UnitStatus::Assigned | UnitStatus::Enroute);
        assert_eq!(moved.is_ok(), on_its_way, "moved when {current}");
        assert!(unit.decide(&divert(0, 2), START).is_err(), "from an incident it does not work for");
        assert!(unit.decide(&divert(1, 2), START.plus_ms(30_001)).is_err(), "29 s before it arrives");
        let Ok(events) = moved else { continue };
        let kinds: Vec<_> = events.iter().map(|event| event.kind().as_str()).collect();
        let wanted = [
            "dispatch.diverted",
            "dispatch.unassigned",
            "unit.status.reserved",
            "unit.status.assigned",
            "dispatch.assigned",
        ];
        assert_eq!(kinds, wanted);
        let unit = fold(unit, &events);
        let serving = unit.serving().expect("serving");
        assert_eq!((serving.incident(), status(&unit)), (Some(&incident(2)), Some(UnitStatus::Assigned)));
        assert_eq!(unit.decide(&divert(1, 2), START).expect("a repeat"), []);
        assert!(unit.decide(&divert(2, 0), START).is_err(), "not again");
    }
}

#[test]
fn fms_digits_mean_their_statuses() {
    for status in UnitStatus::ALL {
        if let Some(digit) = status.fms() {
            assert_eq!(from_fms(digit), Some(status));
        }
    }
    assert_eq!((from_fms(4), from_fms(5)), (Some(UnitStatus::OnScene), None));
}

fn any_command() -> impl Strategy<Value = UnitCommand> {
    prop_oneof![
        4 => proptest::sample::select(UnitStatus::ALL.to_vec()).prop_map(report),
        3 => (0_u8..3).prop_map(assign),
        1 => (0_u8..3).prop_map(release),
        2 => (0_u8..3, 0_u8..3).prop_map(|(from, to)| divert(from, to)),
        1 => Just(UnitCommand::Register { profile: Box::new(profile()), by: "anna".into() }),
        1 => Just(UnitCommand::Retire { by: "anna".into() }),
        1 => Just(UnitCommand::Patch(json!({"contact": "7"}))),
    ]
}

/// The incident of a unit, as its events tell it without the aggregate.
fn told(events: &[FleetEvent]) -> Option<IncidentId> {
    events.iter().fold(None, |at, event| match event {
        FleetEvent::Unit(
            event @ (UnitEvent::Available(_)
            | UnitEvent::AtPost(_)
            | UnitEvent::OutOfService(_)
            | UnitEvent::Cancelled(_)),
        ) => {
            let _ = event;
            None
        }
        FleetEvent::Dispatch(DispatchEvent::Assigned(order)) => Some(order.incident_id.clone()),
        FleetEvent::Unit(_) | FleetEvent::Dispatch(_) => at,
    })
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_invariants(commands in proptest::collection::vec(any_command(), 0..60)) {
        let mut unit = Unit::default();
        let mut log = Vec::new();
        for command in commands {
            let before = unit.clone();
            let own = before.serving().and_then(|unit| unit.incident().cloned());
            match before.decide(&command, START) {
                Err(_) => prop_assert_eq!(&unit, &before, "a refusal changes nothing"),
                Ok(events) => {
                    unit = fold(unit, &events);
                    log.extend(events.iter().cloned());
                    if !events.is_empty() && matches!(command, UnitCommand::Assign(_)) {
                        prop_assert!(own.is_none(), "only a free unit is assigned");
                    }
                    let again = unit.decide(&command, START);
                    let repeats = !matches!(command, UnitCommand::Release { .. });
                    prop_assert!(!repeats || again.is_ok_and(|events| events.is_empty()), "a repeat gives no events");
                }
            }
            let incident = unit.serving().and_then(|unit| unit.incident().cloned());
            prop_assert_eq!(&incident, &told(&log));
            prop_assert!(own.is_none() || incident.is_none() || own == incident || matches!(command, UnitCommand::Divert { .. }), "never from one incident to another");
        }
        prop_assert_eq!(unit, fold(Unit::default(), &log), "folding the events gives the state");
    }
}
