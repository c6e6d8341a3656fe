//! The service as a whole: requests, the waiting list, crews, people, restarts.

#[expect(dead_code, reason = "this binary does not use all of it")]
mod common;

use common::{World, incident_id, on_arbiter, place, request, unit_id};
use serde_json::json;
use shers_contract::api::{ActorAction, Request, UnitFix};
use shers_contract::incident::{IncidentEvent, RequestDispatch};
use shers_runtime::CommitError;
use shers_runtime::testing::MemoryStore;
use std::{sync::Arc, time::Duration};

fn pair(incident: &str, unit: &str) -> (String, String) {
    (incident.to_owned(), unit.to_owned())
}

#[test]
fn the_closest_free_unit_goes_and_the_sentence_names_the_runner_up() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("far", 9.0).await;
        world.unit("near", 2.0).await;
        world.unit("middle", 4.0).await;
        world.request(request("i-1", 1, Some(0.0), 0)).await;
        let assigned = world.until("dispatch.assigned", 1).await;
        assert_eq!(assigned[0]["unit_id"], "near");
        let reason = assigned[0]["reason"].as_str().expect("text");
        assert!(reason.contains("near is the closest of 3") && reason.contains("middle"), "{reason}");
        let kinds = world.store.kinds();
        let tail = &kinds[kinds.len() - 3..];
        assert_eq!(tail, ["unit.status.reserved", "unit.status.assigned", "dispatch.assigned"]);
    });
}

#[test]
fn a_unit_in_quarantine_is_not_sent_and_its_emergency_goes_to_another() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        world.unit("b", 5.0).await;
        // Its actor dies until nobody lets it live on without a person.
        while !world.deps.keeper.is_quarantined("unit/a") {
            // Between two lives it is not asked.
            let _ = world.deps.keeper.act("unit/a", ActorAction::Crash).await;
            world.deps.clock.sleep(Duration::from_millis(50)).await;
        }
        world.request(request("x", 1, Some(0.0), 0)).await;
        let assigned = world.until("dispatch.assigned", 1).await;
        assert_eq!(assigned[0]["unit_id"], "b", "{}", assigned[0]);
        assert!(assigned[0].to_string().contains("quarantine"), "the reason is said: {}", assigned[0]);
    });
}

#[test]
fn the_waiting_are_served_by_priority_then_age() {
    on_arbiter(async {
        let world = World::new().await;
        for (id, priority, age_s) in [("young-2", 2, 10), ("old-2", 2, 500), ("young-1", 1, 1), ("old-3", 3, 900)] {
            world.request(request(id, priority, Some(0.0), age_s)).await;
        }
        let waiting = world.until("dispatch.waiting", 4).await;
        assert_eq!(waiting[0]["reason"], "No unit can go: none is registered.");
        world.unit("a", 1.0).await;
        for (count, wanted) in [(1, "young-1"), (2, "old-2"), (3, "young-2"), (4, "old-3")] {
            let assigned = world.until("dispatch.assigned", count).await;
            assert_eq!(assigned[count - 1]["incident_id"], wanted);
            world.finish("a").await;
        }
        assert_eq!(world.until("dispatch.wait-ended", 4).await.len(), 4);
    });
}

#[test]
fn several_that_come_free_are_shared_out_together_and_the_sentence_says_so() {
    let store = MemoryStore::new();
    on_arbiter(async {
        let first = World::over(Arc::clone(&store), 0).await;
        let now = first.deps.clock.now();
        let shift = json!({"from": now.plus_ms(300_000), "until": now.plus_ms(9_000_000)});
        for (id, km) in [("a", 0.0), ("b", 2.0)] {
            first.unit_with(json!({"unit_id": id, "location": place(km), "shift": shift})).await;
        }
        first.request(request("i-1", 2, Some(0.9), 100)).await;
        first.request(request("i-2", 2, Some(-8.0), 50)).await;
        first.until("dispatch.waiting", 2).await;
    });
    on_arbiter(async {
        // Both shifts have begun. One by one, i-1 would take a, and b would go 10 km to i-2.
        let second = World::over(Arc::clone(&store), 400).await;
        let assigned = second.until("dispatch.assigned", 2).await;
        assert_eq!(second.assignments(), [pair("i-1", "b"), pair("i-2", "a")]);
        let reason = assigned[0]["reason"].as_str().expect("text");
        assert!(reason.contains("though a is closer"), "{reason}");
    });
}

#[test]
fn a_request_without_a_place_waits_and_is_served_when_a_call_brings_one() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        world.request(request("i-1", 2, None, 0)).await;
        let waiting = world.until("dispatch.waiting", 1).await;
        assert!(waiting[0]["reason"].as_str().expect("text").starts_with("location unknown"));
        world.request(request("i-1", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        world.until("dispatch.wait-ended", 1).await;
        assert_eq!(world.assignments(), [pair("i-1", "a")]);
    });
}

#[test]
fn a_further_request_for_an_incident_with_a_unit_changes_nothing() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        world.unit("b", 2.0).await;
        world.request(request("i-1", 3, Some(0.0), 0)).await;
        world.request(request("i-1", 1, Some(0.0), 0)).await;
        world.request(request("i-2", 1, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 2).await;
        assert_eq!(world.assignments(), [pair("i-1", "a"), pair("i-2", "b")]);
    });
}

#[test]
fn many_requests_at_once_never_put_a_unit_on_two_incidents() {
    on_arbiter(async {
        let world = World::new().await;
        for n in 0..20 {
            world.unit(&format!("u-{n}"), f64::from(n)).await;
        }
        for n in 0..30 {
            world.request(request(&format!("i-{n:02}"), 2, Some(0.0), n)).await;
        }
        world.until("dispatch.waiting", 10).await;
        let assigned = world.assignments();
        let units: std::collections::BTreeSet<_> = assigned.iter().map(|(_, unit)| unit.clone()).collect();
        assert_eq!((assigned.len(), units.len()), (20, 20));
    });
}

#[test]
fn cancelling_calls_the_unit_back_unless_the_patient_is_on_board() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        world.request(request("i-1", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        world.cancel("i-1").await;
        let ended = world.until("dispatch.unassigned", 1).await;
        assert_eq!((&ended[0]["reopen"], &ended[0]["reason"]), (&json!(false), &json!("false alarm")));
        world.request(request("i-2", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 2).await;
        for status in ["enroute", "on-scene", "onboard"] {
            world.status("a", status).await.expect(status);
        }
        world.cancel("i-2").await;
        world.request(request("i-3", 2, Some(0.0), 0)).await;
        world.until("dispatch.waiting", 1).await;
        assert_eq!(world.all("dispatch.unassigned").len(), 1);
    });
}

#[test]
fn a_unit_that_breaks_down_is_replaced_by_the_next_one() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        world.unit("b", 2.0).await;
        world.request(request("i-1", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        world.report("a", json!({"fms": 6, "reason": "flat tyre"})).await.expect("out of service");
        world.until("dispatch.assigned", 2).await;
        assert_eq!(world.assignments(), [pair("i-1", "a"), pair("i-1", "b")]);
    });
}

#[test]
fn a_unit_taken_off_by_a_person_is_not_sent_again_until_it_reports_available() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        world.request(request("i-1", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        world.ask(Request::Unassign(incident_id("i-1"), unit_id("a"), None)).await.expect("taken off");
        let waiting = world.until("dispatch.waiting", 1).await;
        assert_eq!(waiting[0]["excluded"][0]["reason"], "was taken off this incident");
        world.status("a", "available").await.expect("back");
        world.until("dispatch.assigned", 2).await;
    });
}

#[test]
fn a_person_needs_a_reason_to_override_and_can_not_take_a_busy_unit() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit_with(json!({"unit_id": "a", "location": place(1.0), "crew_level": "bls"})).await;
        let als = RequestDispatch { needs: vec!["als".into()], ..request("i-1", 2, Some(0.0), 0) };
        world.request(als).await;
        world.until("dispatch.waiting", 1).await;
        let shown = world.ask(Request::Recommend(incident_id("i-1"))).await.expect("shown").body;
        assert_eq!(shown["excluded"][0]["reason"], "lacks als");
        let send = |reason: Option<&str>| {
            world.ask(Request::Assign(incident_id("i-1"), unit_id("a"), reason.map(str::to_owned)))
        };
        assert_eq!(send(None).await.expect_err("no reason").status, 422);
        let answer = send(Some("nobody else there")).await.expect("sent");
        assert_eq!((answer.status, &answer.body["status"]), (201, &json!("assigned")));
        world.until("dispatch.wait-ended", 1).await;
        world.request(request("i-2", 2, Some(0.0), 0)).await;
        world.until("dispatch.waiting", 2).await;
        let busy = world.ask(Request::Assign(incident_id("i-2"), unit_id("a"), Some("now".into()))).await;
        let busy = busy.expect_err("busy");
        assert_eq!((busy.status, &busy.more["current_status"]), (409, &json!("assigned")));
        let unknown = world.ask(Request::Assign(incident_id("nobody"), unit_id("a"), None)).await;
        assert_eq!(unknown.expect_err("unknown").status, 404);
    });
}

#[test]
fn after_a_restart_assignments_and_the_waiting_list_are_back() {
    let store = MemoryStore::new();
    on_arbiter(async {
        let first = World::over(Arc::clone(&store), 0).await;
        first.unit("a", 1.0).await;
        first.request(request("i-1", 2, Some(0.0), 0)).await;
        first.request(request("i-3", 3, Some(0.0), 0)).await;
        first.request(request("i-2", 2, Some(0.0), 0)).await;
        first.until("dispatch.waiting", 2).await;
    });
    on_arbiter(async {
        let second = World::over(Arc::clone(&store), 60).await;
        let illegal = second.status("a", "arrived").await.expect_err("not before onboard");
        assert_eq!((illegal.status, &illegal.more["current_status"]), (409, &json!("assigned")));
        second.finish("a").await;
        second.until("dispatch.assigned", 2).await;
        assert_eq!(second.assignments(), [pair("i-1", "a"), pair("i-2", "a")]);
        second.finish("a").await;
        second.until("dispatch.assigned", 3).await;
    });
}

#[test]
fn a_unit_lost_just_before_a_crash_is_replaced_after_the_restart() {
    let store = MemoryStore::new();
    on_arbiter(async {
        let first = World::over(Arc::clone(&store), 0).await;
        first.unit("a", 1.0).await;
        first.request(request("i-1", 2, Some(0.0), 0)).await;
        first.until("dispatch.assigned", 1).await;
        // The process ends before its desk hears of it.
        let lost = first.report("a", json!({"status": "out-of-service"})).await.expect("out of service");
        assert_eq!(lost.body["incident_id"], json!(null));
    });
    on_arbiter(async {
        let second = World::over(Arc::clone(&store), 60).await;
        second.unit("b", 2.0).await;
        second.until("dispatch.assigned", 2).await;
        assert_eq!(second.assignments(), [pair("i-1", "a"), pair("i-1", "b")]);
    });
}

#[test]
fn a_redelivered_request_sends_nobody_even_after_the_first_unit_is_done() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        let id = world.deps.ids.uuid(world.deps.clock.now());
        world.publish_as(id, IncidentEvent::RequestDispatch(request("i-1", 2, Some(0.0), 0))).await;
        world.until("dispatch.assigned", 1).await;
        world.finish("a").await;
        world.publish_as(id, IncidentEvent::RequestDispatch(request("i-1", 2, Some(0.0), 0))).await;
        world.request(request("i-2", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 2).await;
        assert_eq!(world.assignments(), [pair("i-1", "a"), pair("i-2", "a")]);
    });
}

#[test]
fn two_people_who_send_one_unit_to_two_incidents_get_one_yes() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit_with(json!({"unit_id": "a", "location": place(1.0), "crew_level": "bls"})).await;
        for id in ["i-1", "i-2"] {
            let als = RequestDispatch { needs: vec!["als".into()], ..request(id, 2, Some(0.0), 0) };
            world.request(als).await;
        }
        world.until("dispatch.waiting", 2).await;
        let send = |id: &str| world.ask(Request::Assign(incident_id(id), unit_id("a"), Some("go".into())));
        let (one, two) = futures::join!(send("i-1"), send("i-2"));
        assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|sent| **sent).count(), 1);
        assert_eq!(world.assignments().len(), 1);
    });
}

#[test]
fn a_store_that_fails_for_a_moment_loses_no_request() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        world.request(request("i-1", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        let down = CommitError::Unavailable("disk full".into());
        let request = request("i-2", 2, Some(0.0), 0);
        world.request(request).await;
        world.store.fail_next([down.clone(), down]);
        world.until("dispatch.waiting", 1).await;
    });
}

#[test]
fn the_crew_is_told_the_nearest_open_hospital_and_may_choose_another() {
    on_arbiter(async {
        let world = World::new().await;
        for (id, km, state) in
            [("closed", 1.0, "closed"), ("diverting", 2.0, "diverting"), ("open", 5.0, "open"), ("far", 9.0, "open")]
        {
            let hospital = json!({"hospital_id": id, "name": id, "location": place(km), "state": state});
            world.ask(Request::PutHospital(serde_json::from_value(hospital).expect("valid"))).await.expect("put");
        }
        world.unit("a", 1.0).await;
        world.request(request("i-1", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        for status in ["enroute", "on-scene"] {
            world.status("a", status).await.expect(status);
        }
        let closed = world.report("a", json!({"status": "onboard", "hospital_id": "closed"})).await;
        assert_eq!(closed.expect_err("closed").status, 409);
        let onboard = world.status("a", "onboard").await.expect("onboard").body;
        assert_eq!(onboard["hospital"]["hospital_id"], "open");
        let other = world.report("a", json!({"status": "onboard", "hospital_id": "far"})).await.expect("changed").body;
        assert_eq!(other["hospital"]["hospital_id"], "far");
        world.status("a", "arrived").await.expect("arrived");
        world.status("a", "handed-over").await.expect("handed over");
        let handed_over = &world.all("unit.status.handed-over")[0];
        assert_eq!(handed_over["hospital"]["hospital_id"], "far");
        let metres = handed_over["loaded_distance_m"].as_u64().expect("a distance");
        assert!((8_990..=9_010).contains(&metres), "{metres}");
    });
}

#[test]
fn positions_are_kept_or_refused_and_survive_a_restart() {
    let store = MemoryStore::new();
    on_arbiter(async {
        let first = World::over(Arc::clone(&store), 0).await;
        first.unit("a", 50.0).await;
        first.unit("b", 5.0).await;
        let now = first.deps.clock.now();
        let fix = |km: f64, seconds: i64| UnitFix {
            at: Some(now.plus_ms(seconds * 1_000)),
            location: place(km),
            speed_mps: None,
            heading_deg: None,
        };
        let fixes = vec![fix(1.0, -10), fix(9.0, -5), fix(1.1, -20), fix(1.2, 9_000)];
        let answer = first.ask(Request::ReportLocations(unit_id("a"), fixes)).await.expect("some");
        assert_eq!((answer.status, &answer.body["accepted"]), (202, &json!(2)));
        let refused = answer.body["refused"].as_array().expect("list");
        let why: Vec<_> = refused.iter().map(|r| (r["index"].as_u64(), r["problem"]["type"].as_str())).collect();
        assert_eq!(why, [(Some(1), Some("/problems/impossible-speed")), (Some(3), Some("/problems/time-in-future"))]);
        let unknown = first.ask(Request::ReportLocations(unit_id("nobody"), vec![fix(1.0, 0)])).await;
        assert_eq!(unknown.expect_err("unknown").status, 404);
    });
    on_arbiter(async {
        let second = World::over(Arc::clone(&store), 120).await;
        second.request(request("i-1", 2, Some(0.0), 0)).await;
        let assigned = second.until("dispatch.assigned", 1).await;
        assert_eq!(assigned[0]["unit_id"], "a");
    });
}

#[test]
fn an_arrival_that_moves_much_is_announced() {
    let store = MemoryStore::new();
    on_arbiter(async {
        let first = World::over(Arc::clone(&store), 0).await;
        first.unit("a", 1.0).await;
        first.request(request("i-1", 2, Some(0.0), 0)).await;
        first.until("dispatch.assigned", 1).await;
    });
    on_arbiter(async {
        let second = World::over(Arc::clone(&store), 100).await;
        let fix = |km: f64| UnitFix { at: None, location: place(km), speed_mps: None, heading_deg: None };
        second.ask(Request::ReportLocations(unit_id("a"), vec![fix(4.0)])).await.expect("kept");
        let changed = second.until("dispatch.eta-changed", 1).await;
        assert_eq!((&changed[0]["leg"], &changed[0]["unit_id"]), (&json!("scene"), &json!("a")));
    });
}

#[test]
fn a_change_that_rests_on_an_older_state_of_a_unit_is_refused() {
    on_arbiter(async {
        let world = World::new().await;
        world.unit("a", 1.0).await;
        let patch = |capability: &str| Request::PatchUnit(unit_id("a"), json!({"capabilities": [capability]}));
        let first = world.ask_if(patch("als"), None).await.expect("changed");
        let version = first.version.expect("a version, for the ETag");
        world.ask_if(patch("paediatric"), Some(version)).await.expect("nobody was faster");
        let late = world.ask_if(patch("bariatric"), Some(version)).await.expect_err("somebody was");
        assert_eq!(late.status, 412, "{late}");
        let report = serde_json::from_value(json!({"status": "at-post"})).expect("a report");
        let stale = world.ask_if(Request::ReportStatus(unit_id("a"), report), Some(1)).await;
        assert_eq!(stale.expect_err("an old state").status, 412);
        let retire = world.ask_if(Request::RetireUnit(unit_id("a")), Some(version + 1)).await;
        retire.expect("it is as it was read");
    });
}
