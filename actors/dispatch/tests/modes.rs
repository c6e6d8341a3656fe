//! Who sends a unit: dispatch by itself, or a person, by rules per kind of incident.

#[expect(dead_code, reason = "this binary does not use all of it")]
mod common;

use common::{World, incident_id, on_arbiter, place, request, unit_id};
use serde_json::{Value, json};
use shers_contract::api::Request;
use shers_contract::incident::{
    CallReceived, CallSource, Downgraded, Escalated, IncidentEvent, Opened, Priority, RequestDispatch,
};
use shers_dispatch::Settings;
use shers_dispatch::model::mode::{ByPerson, Mode, mode};
use shers_runtime::testing::MemoryStore;

fn rule(body: Value) -> ByPerson {
    serde_json::from_value(body).expect("a rule")
}

fn settings(rules: &[Value]) -> Settings {
    Settings { by_person: rules.iter().cloned().map(rule).collect(), ..Settings::default() }
}

#[test]
fn a_rule_fits_what_it_names_and_asks_nothing_else() {
    let check = |rules: &[Value], priority: u8, needs: &[&str], source: Option<CallSource>, wanted: Mode| {
        let rules: Vec<ByPerson> = rules.iter().cloned().map(rule).collect();
        let needs = needs.iter().map(|need| (*need).to_owned()).collect();
        let request = RequestDispatch { needs, ..request("i", priority, Some(0.0), 0) };
        assert_eq!(mode(&rules, &request, source), wanted, "{rules:?} {request:?} {source:?}");
    };
    let (manual, triage) = (Some(CallSource::Manual), Some(CallSource::Triage));
    check(&[], 3, &[], manual, Mode::Automatic);
    check(&[json!({})], 1, &[], triage, Mode::Person);
    check(&[json!({"priorities": [3, 4]})], 3, &[], triage, Mode::Person);
    check(&[json!({"priorities": [3, 4]})], 2, &[], triage, Mode::Automatic);
    check(&[json!({"source": "manual"})], 2, &[], manual, Mode::Person);
    check(&[json!({"source": "manual"})], 2, &[], triage, Mode::Automatic);
    check(&[json!({"source": "manual"})], 2, &[], None, Mode::Automatic);
    check(&[json!({"needs": ["bariatric", "neonatal"]})], 1, &["als", "neonatal"], triage, Mode::Person);
    check(&[json!({"needs": ["bariatric"], "priorities": [4]})], 3, &["bariatric"], triage, Mode::Automatic);
    check(&[json!({"priorities": [4]}), json!({"needs": ["bariatric"]})], 3, &["bariatric"], triage, Mode::Person);
    assert!(serde_json::from_value::<ByPerson>(json!({"priority": [3]})).is_err(), "an unknown name is refused");
}

#[test]
fn an_incident_of_such_a_kind_waits_for_a_person_with_a_recommendation_at_hand() {
    on_arbiter(async {
        let world = World::with(MemoryStore::new(), 0, settings(&[json!({"priorities": [3, 4]})])).await;
        world.unit("a", 1.0).await;
        world.unit("b", 2.0).await;
        world.request(request("mild", 3, Some(0.0), 0)).await;
        let waiting = world.until("dispatch.waiting", 1).await;
        let reason = waiting[0]["reason"].as_str().expect("text");
        assert!(
            reason.starts_with("Units are sent to incidents of this kind by a person. a is the closest"),
            "{reason}"
        );
        assert_eq!(waiting[0]["by_person"], json!(true));
        // Others are served beside it, and a unit that comes free does not go by itself.
        world.request(request("sick", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        world.finish("a").await;
        let shown = world.ask(Request::Recommend(incident_id("mild"))).await.expect("shown").body;
        assert_eq!((&shown["assignment"], &shown["waits"]), (&json!("person"), &json!(true)));
        assert_eq!(shown["candidates"][0]["crew_level"], json!("als"), "what each offers is shown");
        assert_eq!(world.assignments().len(), 1);
        let best = shown["candidates"][0]["unit_id"].as_str().expect("text").to_owned();
        world.ask(Request::Assign(incident_id("mild"), unit_id(&best), None)).await.expect("sent");
        let ended = world.until("dispatch.wait-ended", 1).await;
        assert_eq!(ended[0]["reason"], json!(format!("{best} was sent by a person.")));
        // Taken off, it waits for a person again.
        world.ask(Request::Unassign(incident_id("mild"), unit_id(&best), None)).await.expect("taken off");
        let again = world.until("dispatch.waiting", 2).await;
        assert_eq!(again[1]["by_person"], json!(true));
        assert_eq!(world.assignments().len(), 2);
    });
}

#[test]
fn one_that_escalates_out_of_the_rule_is_served_at_once_and_one_downgraded_into_it_waits() {
    on_arbiter(async {
        let world = World::with(MemoryStore::new(), 0, settings(&[json!({"priorities": [3, 4]})])).await;
        world.unit("a", 1.0).await;
        world.request(request("i", 3, Some(0.0), 0)).await;
        world.until("dispatch.waiting", 1).await;
        let priority = Priority::P2;
        let escalated =
            Escalated { level: 1, reason: "worse".into(), by: Some("anna".into()), priority, next_at: None };
        world.publish(&incident_id("i"), IncidentEvent::Escalated(escalated)).await;
        world.request(request("i", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 1).await;
        world.request(request("j", 2, Some(0.0), 0)).await;
        let waiting = world.until("dispatch.waiting", 2).await;
        assert!(waiting[1]["by_person"].is_null(), "{waiting:?}");
        let (reason, by, previous) = ("better".into(), "anna".into(), Priority::P2);
        let downgraded = Downgraded { reason, by, previous, priority: Priority::P3 };
        world.publish(&incident_id("j"), IncidentEvent::Downgraded(downgraded)).await;
        world.request(request("j", 3, Some(0.0), 0)).await;
        let waiting = world.until("dispatch.waiting", 3).await;
        assert_eq!((&waiting[2]["by_person"], &waiting[2]["request"]["priority"]), (&json!(true), &json!(3)));
        world.finish("a").await;
        world.request(request("k", 2, Some(0.0), 0)).await;
        world.until("dispatch.assigned", 2).await;
        assert_eq!(world.assignments()[1].0, "k", "j waits for a person");
    });
}

#[test]
fn where_the_first_call_came_from_is_read_from_the_incident() {
    on_arbiter(async {
        let world = World::with(MemoryStore::new(), 0, settings(&[json!({"source": "manual"})])).await;
        world.unit("a", 1.0).await;
        world.unit("b", 1.0).await;
        for (id, source) in [("called", CallSource::Manual), ("worn", CallSource::Triage)] {
            let asked = request(id, 2, Some(0.0), 0);
            let call = CallReceived { source, at: asked.opened_at, summary: "a fall".into(), triage: None };
            let opened = Opened {
                incident_id: incident_id(id),
                patient_id: None,
                priority: Priority::P2,
                location: Some(place(0.0)),
                call,
                needs: Vec::new(),
                acknowledge_by: asked.opened_at.plus_ms(60_000),
                max_escalations: 3,
            };
            world.publish(&incident_id(id), IncidentEvent::Opened(opened)).await;
            world.request(asked).await;
        }
        world.until("dispatch.assigned", 1).await;
        let waiting = world.until("dispatch.waiting", 1).await;
        assert_eq!(waiting[0]["request"]["incident_id"], json!("called"));
        assert_eq!(world.assignments(), [("worn".to_owned(), "a".to_owned())]);
    });
}
