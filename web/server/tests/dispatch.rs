//! What a dispatch centre does, through the real binary over HTTP: a person assigns, downgrades and overrides, a crew
//! comes back without the patient, somebody else was faster, and the figures afterwards.

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{
    Client, Start, eventually, run,
    server::data_dir,
    world::{self, HOME},
};

const LIMIT: Duration = Duration::from_secs(180);

/// Calls of people are assigned by people; rests on nothing else.
const BY_PERSON: &str = "[[dispatch.by_person]]\nsource = \"manual\"\n";

async fn call(client: &Client, summary: &str, priority: u8) -> String {
    let body = json!({"priority": priority, "summary": summary, "location": {"lat": HOME.0, "lon": HOME.1}});
    let opened = client.post("/incidents", &body).await.expect(201);
    opened["incident_id"].as_str().expect("an id").to_owned()
}

async fn incident(client: &Client, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let incident = client.get(&format!("/incidents/{id}")).await.expect(200);
        if wanted(&incident) { Ok(incident) } else { Err(incident.to_string()) }
    })
    .await
}

#[test]
fn a_person_assigns_overrides_and_downgrades_and_a_patient_who_refuses_ends_the_incident() {
    run(LIMIT, async {
        let (kept, data) = data_dir();
        let config = kept.path().join("shers.toml");
        std::fs::write(&config, BY_PERSON).expect("written");
        let server = Start::serve(&data).arguments(&["--config", config.to_str().expect("utf-8")]).ready().await;
        let client = server.client();
        world::hospital(&client, "landesspital").await;
        for unit in ["rtw-1", "rtw-2"] {
            world::free_unit(&client, unit).await;
        }
        let id = call(&client, "a fall on the stairs", 2).await;
        let waits = incident(&client, &id, "it waits for a person", |i| i["waits_for_person"] == json!(true)).await;
        assert!(waits["waiting_reason"].as_str().is_some_and(|why| why.contains("by a person")), "{waits}");

        let path = format!("/incidents/{id}/recommendations");
        let shown = client.get(&path).await.expect(200);
        assert_eq!((&shown["assignment"], &shown["waits"]), (&json!("person"), &json!(true)), "{shown}");
        assert_eq!(shown["candidates"][0]["capabilities"], json!(["als", "bls"]), "{shown}");
        let second = shown["candidates"][1]["unit_id"].as_str().expect("a second unit").to_owned();

        client.post(&format!("/incidents/{id}/downgrade"), &json!({"reason": "walking again"})).await.expect(200);
        incident(&client, &id, "it is less urgent", |i| i["priority"] == json!(3)).await;

        let path = format!("/incidents/{id}/assignments");
        let refused = client.post(&path, &json!({"unit_id": second})).await;
        refused.expect_problem(422, "reason-required", &["give a reason"]);
        let why = json!({"unit_id": second, "reason": "it knows the house"});
        client.post(&path, &why).await.expect(201);
        let served = incident(&client, &id, "the unit goes", |i| i["unit_id"] == json!(second)).await;
        let reason = served["assignment"]["reason"].as_str().expect("a reason");
        assert!(reason.contains("instead of") && reason.contains("it knows the house"), "{reason}");

        for status in ["enroute", "on-scene", "at-patient"] {
            world::report(&client, &second, status).await;
        }
        let left = json!({"status": "cancelled", "reason": "stays at home", "disposition": "refused"});
        client.post(&format!("/units/{second}/status"), &left).await.expect(200);
        let ended = incident(&client, &id, "the incident ends", |i| i["disposition"].is_string()).await;
        assert_eq!(ended["disposition"], json!("refused"), "{ended}");
        let timeline = client.get(&format!("/incidents/{id}/timeline?limit=200")).await.expect(200);
        let kinds: Vec<&str> =
            timeline["items"].as_array().expect("a list").iter().filter_map(|item| item["kind"].as_str()).collect();
        for kind in ["incident.downgraded", "dispatch.waiting", "dispatch.assigned", "dispatch.unassigned"] {
            assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
        }
        figures(&client, &id).await;
    });
}

async fn figures(client: &Client, id: &str) {
    let nemsis = client.get(&format!("/incidents/{id}/nemsis")).await.expect(200);
    let times = nemsis["eTimes"].as_object().expect("times");
    assert!(times.values().all(|at| at.as_str().is_some_and(|at| at.ends_with("+00:00"))), "{nemsis}");
    assert!(times.contains_key("eTimes.06") && nemsis["not_recorded"].is_array(), "{nemsis}");
    let kpis = client.get("/kpis").await.expect(200);
    assert_eq!(kpis["intervals"]["by_category"]["3"]["turnout_time"]["count"], json!(1), "{kpis}");
    let areas = kpis["intervals"]["by_area"].as_object().expect("areas");
    assert_eq!(areas.len(), 1, "{kpis}");
}

#[test]
fn a_change_of_a_unit_that_rests_on_an_older_state_is_refused_over_http() {
    run(LIMIT, async {
        let (_kept, data) = data_dir();
        let server = Start::serve(&data).ready().await;
        let client = server.client();
        client.post("/units", &world::unit("rtw-1")).await.expect(201);
        let read = client.request(reqwest::Method::GET, "/units/rtw-1").send().await.expect("an answer");
        let tag = read.headers().get("etag").expect("an ETag").clone();
        let change = |contact: &'static str| {
            let patch = client.request(reqwest::Method::PATCH, "/units/rtw-1").header("if-match", &tag);
            patch.json(&json!({"contact": contact})).send()
        };
        assert_eq!(change("channel 4").await.expect("an answer").status().as_u16(), 200);
        assert_eq!(change("channel 5").await.expect("an answer").status().as_u16(), 412);
    });
}
