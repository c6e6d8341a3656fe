//! What holds whatever happens: a unit is on one incident at most, the choice is never worse than the closest idle unit
//! unless a stated rule says so, and the same input in the same order gives the same decisions.

#[expect(dead_code, reason = "this binary does not use all of it")]
mod common;

use common::{World, incident_id, place, request, unit_id};
use proptest::prelude::*;
use serde_json::{Value, json};
use shers_contract::api::Request;
use shers_contract::incident::{Downgraded, IncidentEvent, Priority};
use shers_dispatch::Settings;
use shers_dispatch::gateway::{Driving, StraightLine};
use shers_dispatch::model::diversion::Diversion;
use shers_runtime::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const UNITS: usize = 5;
const STATUSES: [&str; 9] = [
    "enroute",
    "on-scene",
    "at-patient",
    "onboard",
    "arrived",
    "handed-over",
    "available",
    "cancelled",
    "out-of-service",
];

/// What somebody does.
#[derive(Clone, Debug)]
enum Deed {
    Call { incident: usize, priority: u8, km: f64 },
    CallOff { incident: usize },
    Downgrade { incident: usize, priority: u8 },
    Report { unit: usize, status: usize },
    Send { incident: usize, unit: usize },
    TakeOff { incident: usize, unit: usize },
}

fn deed() -> impl Strategy<Value = Deed> {
    let incident = || 0_usize..7;
    prop_oneof![
        4 => (incident(), 1_u8..=4, -20.0..20.0_f64).prop_map(|(incident, priority, km)| Deed::Call { incident, priority, km }),
        1 => incident().prop_map(|incident| Deed::CallOff { incident }),
        1 => (incident(), 2_u8..=4).prop_map(|(incident, priority)| Deed::Downgrade { incident, priority }),
        8 => (0..UNITS, 0..STATUSES.len()).prop_map(|(unit, status)| Deed::Report { unit, status }),
        2 => (incident(), 0..UNITS).prop_map(|(incident, unit)| Deed::Send { incident, unit }),
        1 => (incident(), 0..UNITS).prop_map(|(incident, unit)| Deed::TakeOff { incident, unit }),
    ]
}

fn priority(n: u8) -> Priority {
    Priority::try_from(n).expect("valid")
}

impl Deed {
    /// Does it; what is refused is refused.
    async fn done(&self, world: &World) {
        let (incident, unit) = (|n: &usize| incident_id(&format!("i-{n}")), |n: &usize| unit_id(&format!("u-{n}")));
        let why = || Some("the test says so".to_owned());
        match self {
            Self::Call { incident, priority, km } => {
                world.request(request(&format!("i-{incident}"), *priority, Some(*km), 0)).await;
            }
            Self::CallOff { incident } => world.cancel(&format!("i-{incident}")).await,
            Self::Downgrade { incident: n, priority: to } => {
                let (reason, by, previous) = ("better".into(), "anna".into(), Priority::P1);
                let event = IncidentEvent::Downgraded(Downgraded { reason, by, previous, priority: priority(*to) });
                world.publish(&incident(n), event).await;
            }
            Self::Report { unit, status } => drop(world.status(&format!("u-{unit}"), STATUSES[*status]).await),
            Self::Send { incident: i, unit: u } => {
                drop(world.ask(Request::Assign(incident(i), unit(u), why())).await);
            }
            Self::TakeOff { incident: i, unit: u } => {
                drop(world.ask(Request::Unassign(incident(i), unit(u), why())).await);
            }
        }
    }
}

/// Ends when nothing is written any more: on virtual time the wait ends only when everybody has nothing to do.
async fn settled(world: &World) {
    let mut head = world.store.head();
    loop {
        head.borrow_and_update();
        if tokio::time::timeout(Duration::from_millis(30), head.changed()).await.is_err() {
            return;
        }
    }
}

async fn fleet(diversion: Diversion) -> World {
    let settings = Settings { diversion, ..Settings::default() };
    let world = World::frozen(settings).await;
    for n in 0..UNITS {
        world.unit(&format!("u-{n}"), f64::from(u32::try_from(n).expect("few")) * 7.0 - 14.0).await;
    }
    world
}

/// All events of units, in order: unit, kind, body.
fn told(world: &World) -> Vec<(String, String, Value)> {
    let events = world.store.all();
    let of_units = events.iter().filter(|event| event.envelope.stream.category() == "unit");
    of_units
        .map(|event| {
            let data = serde_json::from_str(event.envelope.data.get()).expect("JSON");
            (event.envelope.stream.id().to_owned(), event.envelope.kind.as_str().to_owned(), data)
        })
        .collect()
}

/// Walks through the log: who is on what, and whether anybody ever was on two.
fn check_one_incident_each(world: &World) -> Result<(), TestCaseError> {
    let mut on: BTreeMap<String, String> = BTreeMap::new();
    for (unit, kind, data) in told(world) {
        let incident = data["incident_id"].as_str().map(str::to_owned);
        match kind.as_str() {
            "dispatch.unassigned" => {
                on.remove(&unit);
            }
            "dispatch.assigned" => {
                let before = on.insert(unit.clone(), incident.expect("an incident"));
                prop_assert_eq!(before, None, "{} was on another incident", unit);
            }
            "unit.status.available" | "unit.status.at-post" => {
                on.remove(&unit);
            }
            "unit.status.enroute" | "unit.status.on-scene" | "unit.status.onboard" | "unit.status.arrived" => {
                prop_assert_eq!(on.get(&unit).cloned(), incident, "{} reports for another incident", unit);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Each incident that dispatch served by itself has one unit at a time.
fn check_one_unit_each(world: &World) -> Result<(), TestCaseError> {
    let mut units: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (unit, kind, data) in told(world) {
        let incident = data["incident_id"].as_str().unwrap_or_default().to_owned();
        if kind == "dispatch.assigned" {
            let there = units.entry(incident.clone()).or_default();
            prop_assert!(
                data["by"] != json!("dispatch") || there.is_empty(),
                "{} got {} beside {:?}",
                incident,
                unit,
                there
            );
            there.insert(unit);
        } else if kind == "dispatch.unassigned" || kind == "unit.status.handed-over" {
            units.values_mut().for_each(|there| {
                there.remove(&unit);
            });
        }
    }
    Ok(())
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new()
        .block_on(async { tokio::time::timeout(Duration::from_secs(120), test).await.expect("ends") })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_unit_is_ever_on_two_incidents_whatever_is_asked_at_once(
        deeds in proptest::collection::vec(deed(), 1..60),
        together in 1_usize..6,
        diverts in any::<bool>(),
    ) {
        run(async {
            let world = fleet(if diverts { Diversion::Automatic } else { Diversion::Off }).await;
            for some in deeds.chunks(together) {
                futures::future::join_all(some.iter().map(|deed| deed.done(&world))).await;
            }
            settled(&world).await;
            check_one_incident_each(&world)?;
            check_one_unit_each(&world)
        })?;
    }

    #[test]
    fn the_same_input_in_the_same_order_gives_the_same_decisions(
        deeds in proptest::collection::vec(deed(), 1..30),
        diverts in any::<bool>(),
    ) {
        let once = || run(async {
            let world = fleet(if diverts { Diversion::Automatic } else { Diversion::Off }).await;
            for deed in &deeds {
                deed.done(&world).await;
                settled(&world).await;
            }
            told(&world)
        });
        prop_assert_eq!(once(), once());
    }

    #[test]
    fn the_unit_that_goes_is_the_closest_idle_one_unless_several_wait_or_one_is_moved(
        units in proptest::collection::vec((-30.0..30.0_f64, any::<bool>()), 1..12),
        km in -30.0..30.0_f64,
    ) {
        run(async {
            let world = World::new().await;
            for (n, (at_km, _)) in units.iter().enumerate() {
                world.unit(&format!("u-{n:02}"), *at_km).await;
            }
            for (n, (_, idle)) in units.iter().enumerate() {
                if !idle {
                    world.status(&format!("u-{n:02}"), "out-of-service").await.expect("told");
                }
            }
            world.request(request("i-1", 2, Some(km), 0)).await;
            let drive = |at_km: f64| StraightLine::default().drive(place(at_km), place(km), Driving::LightsAndSirens);
            let idle = units.iter().enumerate().filter(|(_, (_, idle))| *idle);
            let closest = idle.map(|(n, (at_km, _))| (drive(*at_km), n)).min();
            match closest {
                Some((travel, n)) => {
                    let assigned = world.until("dispatch.assigned", 1).await;
                    prop_assert_eq!(&assigned[0]["unit_id"], &json!(format!("u-{n:02}")));
                    prop_assert_eq!(&assigned[0]["eta_s"], &json!(travel.duration_s));
                }
                None => {
                    world.until("dispatch.waiting", 1).await;
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn whoever_goes_though_another_was_closer_goes_by_a_rule_that_is_told(
        deeds in proptest::collection::vec(deed(), 1..40),
    ) {
        run(async {
            let world = fleet(Diversion::Automatic).await;
            for deed in &deeds {
                deed.done(&world).await;
            }
            settled(&world).await;
            for (_, kind, data) in told(&world) {
                if kind != "dispatch.assigned" || data["by"] != json!("dispatch") {
                    continue;
                }
                let closest = data["candidates"].as_array().into_iter().flatten().map(|c| c["eta_s"].as_u64()).min();
                let reason = data["reason"].as_str().unwrap_or_default();
                let by_rule = ["though", "sooner than", "no free unit can go"].iter().any(|rule| reason.contains(rule));
                let as_close = closest.flatten().is_none_or(|closest| data["eta_s"].as_u64() <= Some(closest));
                prop_assert!(as_close || by_rule, "{}", data);
            }
            Ok(())
        })?;
    }
}
