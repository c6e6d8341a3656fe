//! What may go wrong on the way, and how each case goes on.

#[expect(dead_code, reason = "this binary does not use all of it")]
mod common;

use common::{World, on_arbiter, place, request, unit_id};
use serde_json::json;
use shers_contract::api::{Request, UnitFix};
use shers_runtime::testing::MemoryStore;
use std::sync::Arc;

fn pair(incident: &str, unit: &str) -> (String, String) {
    (incident.to_owned(), unit.to_owned())
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
        let refused = json!({"status": "cancelled", "reason": "the patient refuses transport"});
        world.report("a", refused).await.expect("cancelled");
        let ended = world.until("dispatch.unassigned", 1).await;
        assert_eq!(ended[0]["reopen"], false);
        assert_eq!(ended[0]["reason"], "the patient refuses transport");
    });
}
