//! Whole decisions when the provider of drive times is bad, or the fleet is: dispatch decides within its time budget,
//! and says by whose times.

#[expect(dead_code, reason = "this binary does not use all of it")]
mod common;

use common::{World, incident_id, on_arbiter, request, unit_id};
use serde_json::{Value, json};
use shers_contract::LatLon;
use shers_contract::api::{Request, UnitFix};
use shers_contract::incident::RequestDispatch;
use shers_dispatch::gateway::BuiltIn;
use shers_dispatch::{EtaSettings, Provider, Settings};
use shers_roads::RoadMap;
use shers_runtime::testing::MemoryStore;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const BUDGET_MS: u64 = 200;
/// Far above any budget, and far below what a hanging provider would take: this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every connection with these bytes; `None` never answers.
async fn provider(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 65_536]).await;
                match answer {
                    Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    url
}

fn map() -> Arc<RoadMap> {
    Arc::new(RoadMap::built_in().expect("the built-in map"))
}

fn settings(provider: Provider, url: &str) -> Settings {
    // A key is a file's content; any text will do for a stand-in.
    let key = std::env::temp_dir().join(format!("shers-provider-key-{}", std::process::id()));
    std::fs::write(&key, "a key").expect("written");
    let eta = EtaSettings {
        provider,
        url: url.to_owned(),
        api_key_file: Some(key),
        time_budget_ms: BUDGET_MS,
        breaker_failures: 100,
        ..EtaSettings::default()
    };
    Settings { eta, ..Settings::default() }
}

fn at(lat: f64, lon: f64) -> LatLon {
    LatLon::new(lat, lon).expect("valid")
}

fn vaduz() -> LatLon {
    at(47.1392, 9.5217)
}

async fn city(world: &World) {
    for (id, location) in [("near", at(47.1410, 9.5230)), ("far", at(47.1652, 9.5087))] {
        world.unit_with(json!({"unit_id": id, "location": location})).await;
    }
}

fn asked(id: &str, location: LatLon) -> RequestDispatch {
    RequestDispatch { location: Some(location), ..request(id, 1, None, 0) }
}

#[test]
fn nonsense_429_errors_and_silence_from_every_provider_end_in_a_decision_by_the_built_in_times() {
    let answers: [(&str, Option<&'static str>); 6] = [
        ("silence", None),
        ("429", Some("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n")),
        ("500", Some("HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno")),
        ("no HTTP", Some("220 mail.example.com ESMTP\r\n")),
        ("no JSON", Some("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>")),
        (
            "lies",
            Some("HTTP/1.1 200 OK\r\ncontent-length: 44\r\n\r\n{\"code\":\"Ok\",\"durations\":[],\"distances\":[]}\n"),
        ),
    ];
    let map = map();
    for provider_kind in [Provider::Osrm, Provider::Valhalla, Provider::Google] {
        for (what, answer) in answers {
            let map = Arc::clone(&map);
            on_arbiter(async move {
                let url = provider(answer).await;
                let source = Arc::new(BuiltIn::new(map));
                let world = World::by(MemoryStore::new(), 0, settings(provider_kind, &url), source).await;
                city(&world).await;
                let started = Instant::now();
                world.request(asked("i-1", vaduz())).await;
                let assigned = world.until("dispatch.assigned", 1).await;
                assert!(started.elapsed() < PATIENCE, "{provider_kind:?}, {what}: {:?}", started.elapsed());
                let told = (&assigned[0]["unit_id"], &assigned[0]["eta_source"]);
                assert_eq!(told, (&json!("near"), &json!("built-in")), "{provider_kind:?}, {what}");
            });
        }
    }
}

#[test]
fn a_unit_in_the_sea_is_excluded_with_the_reason_and_the_others_are_ranked() {
    let map = map();
    on_arbiter(async move {
        let source = Arc::new(BuiltIn::new(map));
        let world = World::by(MemoryStore::new(), 0, Settings::default(), source).await;
        world.unit_with(json!({"unit_id": "at-sea", "location": at(44.0, 8.9)})).await;
        city(&world).await;
        world.request(asked("i-1", vaduz())).await;
        let assigned = world.until("dispatch.assigned", 1).await;
        assert_eq!(assigned[0]["unit_id"], "near");
        let reason = assigned[0]["reason"].as_str().expect("text");
        assert!(reason.contains("the closest of 2 suitable"), "{reason}");
        let shown = world.ask(Request::Recommend(incident_id("i-1"))).await.expect("shown").body;
        let why = excluded(&shown, "at-sea");
        assert!(why.contains("from the nearest road") && why.contains("the limit is 500 m"), "{why}");
        // It lands and is found; it sails again and is not.
        for (location, wanted) in [(at(47.1393, 9.5218), true), (at(44.0, 8.9), false)] {
            world.unit_with(json!({"unit_id": format!("boat-{wanted}"), "location": location})).await;
            let shown = world.ask(Request::Recommend(incident_id("i-1"))).await.expect("shown").body;
            let candidates = shown["candidates"].as_array().expect("a list");
            let found = candidates.iter().any(|c| c["unit_id"] == json!(format!("boat-{wanted}")));
            assert_eq!(found, wanted, "{shown}");
        }
    });
}

fn excluded(shown: &Value, unit: &str) -> String {
    let list = shown["excluded"].as_array().expect("a list");
    let of_unit = list.iter().find(|excluded| excluded["unit_id"] == json!(unit));
    of_unit.and_then(|excluded| excluded["reason"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn an_incident_in_the_sea_waits_and_says_why_whoever_is_asked() {
    let map = map();
    for provider_kind in [Provider::BuiltIn, Provider::Osrm] {
        let map = Arc::clone(&map);
        on_arbiter(async move {
            let url = provider(None).await;
            let source = Arc::new(BuiltIn::new(map));
            let world = World::by(MemoryStore::new(), 0, settings(provider_kind, &url), source).await;
            city(&world).await;
            world.request(asked("i-1", at(44.0, 8.9))).await;
            let waiting = world.until("dispatch.waiting", 1).await;
            let reason = waiting[0]["reason"].as_str().expect("text");
            assert!(reason.starts_with("No road leads to the incident: the destination is 3"), "{reason}");
        });
    }
}

#[test]
fn a_fleet_that_is_off_shift_out_of_service_busy_or_lost_is_told_unit_by_unit() {
    let map = map();
    on_arbiter(async move {
        let source = Arc::new(BuiltIn::new(map));
        let world = World::by(MemoryStore::new(), 0, Settings::default(), source).await;
        let now = world.deps.clock.now();
        let over = json!({"from": now.plus_ms(-9_000_000), "until": now.plus_ms(-1_000)});
        for id in ["off-1", "off-2"] {
            world.unit_with(json!({"unit_id": id, "location": vaduz(), "shift": over})).await;
        }
        world.request(asked("i-1", vaduz())).await;
        let waiting = world.until("dispatch.waiting", 1).await;
        assert_eq!(
            waiting[0]["reason"],
            "No unit can go: 2 off shift; the first suitable one that comes free is sent."
        );
        world.unit_with(json!({"unit_id": "broken", "location": vaduz()})).await;
        world.until("dispatch.assigned", 1).await;
        world.status("broken", "out-of-service").await.expect("told");
        world.unit_with(json!({"unit_id": "lost"})).await;
        world.unit_with(json!({"unit_id": "bls", "location": vaduz(), "crew_level": "bls"})).await;
        world.until("dispatch.assigned", 2).await;
        let needs = RequestDispatch { needs: vec!["als".into()], ..asked("i-2", vaduz()) };
        world.request(needs).await;
        world.until("dispatch.waiting", 3).await;
        let shown = world.ask(Request::Recommend(incident_id("i-2"))).await.expect("shown").body;
        for (unit, wanted) in [
            ("off-1", "off shift"),
            ("broken", "out of service"),
            ("lost", "position unknown"),
            ("bls", "assigned for incident i-1"),
        ] {
            assert_eq!(excluded(&shown, unit), wanted, "{shown}");
        }
        assert_eq!(shown["candidates"], json!([]));
    });
}

#[test]
fn a_position_that_goes_stale_takes_the_unit_off_the_map_and_its_post_puts_it_back() {
    let store = MemoryStore::new();
    let map = map();
    let start = |later_s| {
        let (store, map) = (Arc::clone(&store), Arc::clone(&map));
        async move { World::by(store, later_s, Settings::default(), Arc::new(BuiltIn::new(map))).await }
    };
    on_arbiter(async {
        let world = start(0).await;
        city(&world).await;
        world.status("near", "at-post").await.expect("told");
        for unit in ["near", "far"] {
            let fix = UnitFix { at: None, location: at(47.1652, 9.5087), speed_mps: None, heading_deg: None };
            world.ask(Request::ReportLocations(unit_id(unit), vec![fix])).await.expect("kept");
        }
    });
    on_arbiter(async {
        let world = start(3_030).await;
        world.request(asked("i-1", vaduz())).await;
        let assigned = world.until("dispatch.assigned", 1).await;
        assert_eq!(assigned[0]["unit_id"], "near");
        assert!(assigned[0]["eta_s"].as_u64().expect("seconds") < 60, "from its post: {}", assigned[0]);
        let shown = world.ask(Request::Recommend(incident_id("i-1"))).await.expect("shown").body;
        assert_eq!(excluded(&shown, "far"), "last position is 50 min old");
    });
}
