//! What may go wrong on the way, and how each case goes on.

#[expect(dead_code, reason = "this binary does not use all of it")]
mod common;

use common::{World, on_arbiter, place, request, unit_id};
use serde_json::json;
use shers_contract::LatLon;
use shers_contract::api::{Request, UnitFix};
use shers_contract::incident::RequestDispatch;
use shers_dispatch::Settings;
use shers_dispatch::gateway::BuiltIn;
use shers_roads::{RoadMap, Speed};
use shers_runtime::testing::{MemoryStore, TEST_START};
use std::sync::Arc;

fn pair(incident: &str, unit: &str) -> (String, String) {
    (incident.to_owned(), unit.to_owned())
}

fn at(lat: f64, lon: f64) -> LatLon {
    LatLon::new(lat, lon).expect("valid")
}

fn fix(km: f64) -> UnitFix {
    UnitFix { at: None, location: place(km), speed_mps: None, heading_deg: None }
}

#[test]
fn a_crew_that_does_not_answer_is_replaced_by_the_next_one() {
    let store = MemoryStore::new();
    on_arbiter(async {
        let first = World::over(Arc::clone(&store), 0).await;
        first.unit("a", 1.0).await;
        first.unit("b", 2.0).await;
        first.request(request("i-1", 2, Some(0.0), 0)).await;
        let assigned = first.until("dispatch.assigned", 1).await;
        assert!(assigned[0]["answer_by"].is_string());
    });
    on_arbiter(async {
        let second = World::over(Arc::clone(&store), 200).await;
        let ended = second.until("dispatch.unassigned", 1).await;
        assert_eq!((&ended[0]["reopen"], &ended[0]["by"]), (&json!(true), &json!("dispatch")));
        second.until("dispatch.assigned", 2).await;
        assert_eq!(second.assignments(), [pair("i-1", "a"), pair("i-1", "b")]);
        second.status("a", "available").await.expect("it answers after all");
    });
}

#[test]
fn a_unit_on_its_way_that_stands_is_flagged_once() {
    let store = MemoryStore::new();
    on_arbiter(async {
        let first = World::over(Arc::clone(&store), 0).await;
        first.unit("a", 3.0).await;
        first.request(request("i-1", 2, Some(0.0), 0)).await;
        first.until("dispatch.assigned", 1).await;
        first.status("a", "enroute").await.expect("sets out");
        first.ask(Request::ReportLocations(unit_id("a"), vec![fix(3.0)])).await.expect("kept");
    });
    for later_s in [400, 800] {
        on_arbiter(async {
            let world = World::over(Arc::clone(&store), later_s).await;
            world.ask(Request::ReportLocations(unit_id("a"), vec![fix(3.01)])).await.expect("kept");
            let flagged = || world.all("dispatch.eta-changed").into_iter().filter(|e| e["reason"].is_string());
            let mut told = world.until("dispatch.eta-changed", 1).await;
            while flagged().count() == 0 {
                told = world.until("dispatch.eta-changed", told.len() + 1).await;
            }
            let flags: Vec<_> = flagged().collect();
            assert_eq!(flags.len(), 1, "{flags:?}");
            let reason = flags[0]["reason"].as_str().expect("text");
            assert!(reason.starts_with("a has ") && reason.contains("6 min"), "{reason}");
        });
    }
}

#[test]
fn an_incident_that_escalates_while_it_waits_is_served_before_older_ones() {
    on_arbiter(async {
        let world = World::new().await;
        world.request(request("old", 2, Some(0.0), 900)).await;
        world.request(request("worse", 3, Some(0.0), 10)).await;
        world.until("dispatch.waiting", 2).await;
        world.request(request("worse", 1, Some(0.0), 10)).await;
        world.until("dispatch.waiting", 3).await;
        world.unit("a", 1.0).await;
        world.until("dispatch.assigned", 1).await;
        assert_eq!(world.assignments(), [pair("worse", "a")]);
    });
}

#[test]
fn a_patient_who_refuses_transport_ends_the_assignment_and_asks_for_no_other_unit() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        world.request(request("i-1", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        for status in ["enroute", "on-scene", "at-patient"] {
            world.status("a", status).await.expect(status);
        }
        let refused = json!({
            "status": "cancelled", "reason": "the patient refuses transport", "disposition": "refused",
        });
        world.report("a", refused).await.expect("cancelled");
        let ended = world.until("dispatch.unassigned", 1).await;
        assert_eq!((&ended[0]["reopen"], &ended[0]["disposition"]), (&json!(false), &json!("refused")));
        assert_eq!(ended[0]["reason"], "the patient refuses transport");
    });
}

#[test]
fn how_an_incident_ended_is_said_at_the_scene_and_nowhere_else() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        world.request(request("i-1", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        for status in ["enroute", "cancelled"] {
            let said = world.report("a", json!({"status": status, "disposition": "refused"})).await;
            let problem = said.expect_err("not at the scene");
            assert_eq!((problem.status, problem.more["field"].clone()), (422, json!("/disposition")), "{problem}");
        }
        assert_eq!(world.all("dispatch.unassigned").len(), 0);
    });
}

#[test]
fn a_unit_that_leaves_its_way_is_noticed_once_and_its_arrival_computed_from_where_it_is() {
    let map = Arc::new(RoadMap::built_in().expect("the built-in map"));
    on_arbiter(async move {
        let source = Arc::new(BuiltIn::new(Arc::clone(&map)));
        let world = World::by(MemoryStore::new(), 0, Settings::default(), source).await;
        let (vaduz, schaan) = (at(47.1392, 9.5217), at(47.1652, 9.5087));
        world.unit_with(json!({"unit_id": "a", "location": vaduz})).await;
        world.request(RequestDispatch { location: Some(schaan), ..request("i-1", 2, None, 0) }).await;
        world.until("dispatch.assigned", 1).await;
        world.status("a", "enroute").await.expect("sets out");
        let way = map.route(vaduz, schaan, Speed::LightsAndSirens).expect("a road");
        let mut later_s = 0;
        let mut fix = |location: LatLon| {
            later_s += 60;
            UnitFix {
                at: Some(TEST_START.plus_ms(later_s * 1_000 - 300_000)),
                location,
                speed_mps: None,
                heading_deg: None,
            }
        };
        // On its way; then Triesen, the other way, and on from there by what is now expected of it.
        let triesen = at(47.1075, 9.5270);
        let back = map.route(triesen, schaan, Speed::LightsAndSirens).expect("a road");
        let seen = [vaduz, way.position_at(20.0), way.position_at(40.0), triesen, back.position_at(15.0)];
        for location in seen {
            world.ask(Request::ReportLocations(unit_id("a"), vec![fix(location)])).await.expect("kept");
        }
        let mut changes = world.until("dispatch.eta-changed", 1).await;
        while !changes.iter().any(|change| change["off_route_m"].is_number()) {
            changes = world.until("dispatch.eta-changed", changes.len() + 1).await;
        }
        let off: Vec<_> = changes.iter().filter(|change| change["off_route_m"].is_number()).collect();
        assert_eq!(off.len(), 1, "{changes:?}");
        assert!(off[0]["off_route_m"].as_u64().expect("metres") > 1_000, "{off:?}");
        assert!(off[0]["reason"].is_null(), "it moves, so it is not flagged as standing");
    });
}
