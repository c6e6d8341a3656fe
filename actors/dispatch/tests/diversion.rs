//! A unit on its way and a sicker patient.

#[expect(dead_code, reason = "this binary does not use all of it")]
mod common;

use common::{World, incident_id, on_arbiter, request, unit_id};
use serde_json::json;
use shers_contract::api::Request;
use shers_contract::incident::Priority;
use shers_contract::incident::{Downgraded, IncidentEvent};
use shers_contract::{IncidentId, UnitId};
use shers_dispatch::Settings;
use shers_dispatch::model::diversion::{Diversion, DiversionLimits, Move, Sicker, gain};
use shers_runtime::testing::MemoryStore;

fn pays(from: u8, to: u8, remaining_s: u32, eta_s: u32, replacement_s: Option<u32>, best_free_s: Option<u32>) -> bool {
    let priority = |n| Priority::try_from(n).expect("valid");
    let incident = |id: &str| IncidentId::new(id).expect("valid");
    let wanted = Sicker { incident_id: incident("sick"), priority: priority(to), best_free_s };
    let offer = Move {
        unit_id: UnitId::new("a").expect("valid"),
        from_incident: incident("other"),
        from_priority: priority(from),
        remaining_s,
        eta_s,
        replacement_s,
    };
    let told = gain(&wanted, &offer, &DiversionLimits { min_remaining_s: 120, min_gain_s: 120 });
    assert!(told.as_ref().is_none_or(|text| text.contains("sick") && text.contains("other")), "stated for both");
    told.is_some()
}

#[test]
fn a_move_pays_by_the_stated_rule_and_not_otherwise() {
    assert!(pays(3, 1, 500, 60, Some(600), Some(400)));
    assert!(!pays(2, 2, 500, 60, Some(600), Some(400)), "not to one as urgent");
    assert!(!pays(1, 3, 500, 60, Some(600), Some(400)), "not to one less urgent");
    assert!(!pays(3, 1, 119, 60, Some(200), Some(400)), "not just before it arrives");
    assert!(!pays(3, 1, 500, 300, Some(600), Some(400)), "not for a small gain");
    assert!(!pays(2, 1, 200, 60, Some(2_000), Some(400)), "not when the other loses more");
    assert!(!pays(3, 1, 500, 60, None, Some(400)), "not when only the other would be without a unit");
    assert!(pays(3, 1, 500, 60, None, None), "rather the sicker one than the other");
}

fn settings(diversion: Diversion) -> Settings {
    Settings { diversion, ..Settings::default() }
}

#[test]
fn off_advised_and_automatic_do_what_they_say_and_the_other_patient_gets_the_next_unit() {
    for diversion in [Diversion::Off, Diversion::Advised, Diversion::Automatic] {
        on_arbiter(async {
            let world = World::with(MemoryStore::new(), 0, settings(diversion)).await;
            world.unit("a", 1.0).await;
            world.request(request("mild", 3, Some(12.0), 0)).await;
            world.until("dispatch.assigned", 1).await;
            world.status("a", "enroute").await.expect("sets out");
            world.unit("b", 14.0).await;
            world.request(request("sick", 1, Some(0.0), 0)).await;
            let assigned = if diversion == Diversion::Automatic {
                world.until("dispatch.assigned", 3).await
            } else {
                world.until("dispatch.assigned", 2).await
            };
            let text = |n: usize, name: &str| assigned[n][name].as_str().unwrap_or_default().to_owned();
            assert_eq!(text(1, "incident_id"), "sick");
            let advised = text(1, "reason").contains("A diversion is advised: a is at sick");
            match diversion {
                Diversion::Off | Diversion::Advised => {
                    assert_eq!((text(1, "unit_id"), advised), ("b".to_owned(), diversion == Diversion::Advised));
                    assert_eq!(world.all("dispatch.diverted").len(), 0);
                }
                Diversion::Automatic => {
                    assert_eq!(text(1, "unit_id"), "a");
                    assert_eq!((text(2, "incident_id"), text(2, "unit_id")), ("mild".to_owned(), "b".to_owned()));
                    let diverted = &world.all("dispatch.diverted")[0];
                    assert_eq!(diverted["from_incident_id"], json!("mild"));
                    let reason = diverted["reason"].as_str().expect("text");
                    assert!(reason.contains("sooner") && reason.contains("later"), "{reason}");
                }
            }
        });
    }
}

#[test]
fn an_incident_that_waits_gets_a_unit_that_becomes_movable_at_the_next_look() {
    on_arbiter(async {
        let world = World::with(MemoryStore::new(), 0, settings(Diversion::Automatic)).await;
        world.unit("a", 1.0).await;
        world.request(request("first", 2, Some(14.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        world.status("a", "enroute").await.expect("sets out");
        world.request(request("second", 2, Some(0.0), 0)).await;
        world.until("dispatch.waiting", 1).await;
        // Equals are not robbed. The first turns out to be less urgent, and the look through the list finds that.
        let downgraded = Downgraded {
            reason: "less ill than was thought".into(),
            by: "anna".into(),
            previous: Priority::P2,
            priority: Priority::P3,
        };
        world.publish(&incident_id("first"), IncidentEvent::Downgraded(downgraded)).await;
        let assigned = world.until("dispatch.assigned", 2).await;
        assert_eq!((&assigned[1]["incident_id"], &assigned[1]["unit_id"]), (&json!("second"), &json!("a")));
        assert_eq!(world.all("dispatch.diverted")[0]["from_incident_id"], json!("first"));
        let ended = world.until("dispatch.wait-ended", 1).await;
        assert_eq!(ended[0]["reason"], "a was moved here.");
        let waiting = world.until("dispatch.waiting", 2).await;
        assert_eq!(waiting[1]["request"]["incident_id"], json!("first"), "who lost its unit waits");
    });
}

#[test]
fn a_person_carries_out_a_move_that_was_advised_and_no_other() {
    on_arbiter(async {
        let world = World::with(MemoryStore::new(), 0, settings(Diversion::Advised)).await;
        world.unit("a", 1.0).await;
        world.request(request("mild", 3, Some(12.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        world.status("a", "enroute").await.expect("sets out");
        world.request(request("equal", 3, Some(0.0), 0)).await;
        world.until("dispatch.waiting", 1).await;
        let send =
            |incident: &str| Request::Assign(incident_id(incident), unit_id("a"), Some("the radio says so".into()));
        let refused = world.ask(send("equal")).await.expect_err("it does not pay");
        assert_eq!(refused.status, 409, "{refused}");
        world.request(request("sick", 1, Some(0.0), 0)).await;
        world.until("dispatch.waiting", 2).await;
        let shown = world.ask(Request::Recommend(incident_id("sick"))).await.expect("shown").body;
        assert_eq!(
            (&shown["diversion"]["unit_id"], &shown["diversion"]["from_incident_id"], &shown["waits"]),
            (&json!("a"), &json!("mild"), &json!(true)),
        );
        world.ask(send("sick")).await.expect("moved");
        let assigned = world.until("dispatch.assigned", 2).await;
        let reason = assigned[1]["reason"].as_str().expect("text");
        assert!(reason.contains("waits for the next unit") && reason.ends_with("anna: the radio says so"), "{reason}");
        assert_eq!((&assigned[1]["by"], world.all("dispatch.diverted").len()), (&json!("anna"), 1));
    });
}
