//! Bad input over the real HTTP interface: each gets a problem that says what is wrong, where, and what
//! would be right, and the good part of the request is kept.

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    Client, Server, Socket, Start, TOKEN,
    client::check_problem,
    run,
    server::data_dir,
    socket,
    world::{self, seconds_from_now},
};

const LIMIT: Duration = Duration::from_secs(90);

/// A server with a patient `p-1` and a unit `rtw-1`.
async fn house() -> (tempfile::TempDir, Server, Client) {
    let (kept, data) = data_dir();
    let server = Start::serve(&data).ready().await;
    let client = server.client();
    world::register_patient(&client, "p-1", &world::patient("pm_card_visa", "+41790001234")).await;
    client.post("/units", &world::unit("rtw-1")).await.expect(201);
    (kept, server, client)
}

/// Numbers of the readings that the house keeps of `p-1`, newest first.
async fn kept(client: &Client) -> Vec<u64> {
    let list = client.get("/patients/p-1/vitals").await.expect(200);
    list["items"].as_array().expect("items").iter().filter_map(|reading| reading["seq"].as_u64()).collect()
}

/// A good reading with some members replaced.
fn with(seq: u64, changes: &Value) -> Value {
    let mut reading = world::well("p-1", seq);
    for (name, value) in changes.as_object().expect("members") {
        reading[name] = value.clone();
    }
    reading
}

#[test]
fn malformed_bodies_say_where_they_break() {
    run(LIMIT, async {
        let (_kept, _server, client) = house().await;
        for (path, media_type, body, status, kind, words) in [
            (
                "/vitals",
                "application/json",
                "{\"patient_id\": \"p-1\",\n  oops}",
                400,
                "malformed-request",
                &["line 2"][..],
            ),
            ("/vitals", "application/json", "", 400, "malformed-request", &["empty"]),
            ("/vitals", "application/json", "17", 400, "malformed-request", &["reading"]),
            ("/vitals", "text/csv", "a,b", 415, "unsupported-media-type", &["application/json", "text/csv"]),
            ("/incidents", "application/json", "{\"priority\": 1", 400, "malformed-request", &["line 1"]),
            (
                "/incidents",
                "application/json",
                "{\"priority\": 9, \"summary\": \"x\"}",
                422,
                "invalid-value",
                &["1", "4", "9"],
            ),
            ("/units", "application/json", "{\"unit_id\": \"a b\"}", 422, "invalid-value", &["A-Z a-z 0-9"]),
            ("/units", "application/json", "{\"unit_id\": \"u\", \"colour\": 1}", 422, "invalid-value", &["colour"]),
            (
                "/units/rtw-1/status",
                "application/json",
                "{\"status\": \"flying\"}",
                422,
                "invalid-value",
                &["flying", "enroute"],
            ),
            ("/units/rtw-1/status", "application/json", "{}", 422, "invalid-value", &["status"]),
        ] {
            client.post_text(path, media_type, body).await.expect_problem(status, kind, words);
        }
        let lines = format!("{}\n{{broken\n{}\n", world::well("p-1", 1), world::well("p-1", 2));
        let answer = client.post_text("/vitals", "application/x-ndjson", lines).await.expect(202);
        assert_eq!((&answer["accepted"], &answer["refused"][0]["index"]), (&json!(2), &json!(1)), "{answer}");
        check_problem(&answer["refused"][0]["problem"], 400, "malformed-request", &["line 2"]);
        assert_eq!(kept(&client).await, [2, 1]);
    });
}

#[test]
fn a_batch_keeps_its_good_readings_and_explains_each_bad_one() {
    run(LIMIT, async {
        let (_kept, _server, client) = house().await;
        let mut expected = Vec::new();
        let mut seq = 0;
        for (what, changes, status, kind, field, words) in [
            ("impossible", json!({"heart_rate_bpm": 900}), 422, "invalid-value", "/heart_rate_bpm", &["20", "300"][..]),
            (
                "Fahrenheit",
                json!({"temperature_c": 98.6}),
                422,
                "invalid-value",
                "/temperature_c",
                &["Fahrenheit", "37.0"],
            ),
            ("kelvin", json!({"temperature_c": 310.2}), 422, "invalid-value", "/temperature_c", &["kelvin"]),
            ("a fraction", json!({"spo2_pct": 0.97}), 422, "invalid-value", "/spo2_pct", &["fraction", "97"]),
            (
                "kilopascal",
                json!({"systolic_mmhg": 16, "diastolic_mmhg": 10}),
                422,
                "invalid-value",
                "/systolic_mmhg",
                &["kilopascal"],
            ),
            (
                "swapped",
                json!({"systolic_mmhg": 80, "diastolic_mmhg": 120}),
                422,
                "invalid-value",
                "/diastolic_mmhg",
                &["swapped"],
            ),
            ("a word", json!({"spo2_pct": "good"}), 422, "invalid-value", "/spo2_pct", &[]),
            ("future", json!({"at": seconds_from_now(3600)}), 422, "invalid-value", "/at", &["5 min", "clock"]),
            ("past", json!({"at": seconds_from_now(-8 * 86_400)}), 422, "invalid-value", "/at", &["7 days"]),
            ("no time", json!({"at": "yesterday"}), 422, "invalid-value", "/at", &[]),
            (
                "stranger",
                json!({"patient_id": "nobody"}),
                422,
                "unknown-patient",
                "/patient_id",
                &["nobody", "PUT /api/v1/patients"],
            ),
            ("unknown member", json!({"heartrate": 70}), 422, "invalid-value", "/heartrate", &["heartrate"]),
        ] {
            let good: Vec<u64> = (seq + 1..=seq + 4).collect();
            seq += 5;
            let mut batch: Vec<Value> = good.iter().map(|n| world::well("p-1", *n)).collect();
            batch.insert(2, with(seq, &changes));
            let answer = client.post("/vitals", &json!(batch)).await.expect(202);
            assert_eq!(answer["accepted"], 4, "{what}: {answer}");
            assert_eq!(answer["refused"].as_array().map(Vec::len), Some(1), "{what}: {answer}");
            assert_eq!(answer["refused"][0]["index"], 2, "{what}: {answer}");
            let problem = &answer["refused"][0]["problem"];
            check_problem(problem, status, kind, words);
            assert_eq!(problem["field"], field, "{what}: {problem}");
            expected.extend(good);

            let alone = client.post("/vitals", &with(seq, &changes)).await;
            let problem = alone.expect_problem(422, "all-readings-refused", &["refused"]);
            assert_eq!(problem["refused"][0]["index"], 0, "{what}: {problem}");
        }
        let mut kept = kept(&client).await;
        kept.sort_unstable();
        assert_eq!(kept, expected, "every good reading is kept, and no bad one");
    });
}

#[test]
fn repeated_and_out_of_order_readings_are_taken_once_and_put_in_their_place() {
    run(LIMIT, async {
        let (_kept, _server, client) = house().await;
        let at = |seconds: i64| json!({"at": seconds_from_now(seconds)});
        let (early, late) = (with(1, &at(-60)), with(2, &at(-30)));
        for reading in [&late, &early, &late, &early] {
            let answer = client.post("/vitals", reading).await.expect(202);
            assert_eq!(answer, json!({"accepted": 1, "refused": []}));
        }
        assert_eq!(kept(&client).await, [2, 1], "once each, newest first");
    });
}

#[test]
fn unknown_things_are_not_found_and_say_what_was_asked_for() {
    run(LIMIT, async {
        let (_kept, _server, client) = house().await;
        for path in ["/patients/nobody", "/units/nobody", "/hospitals/nobody", "/incidents/nobody", "/bills/nobody"] {
            client.get(path).await.expect_problem(404, "not-found", &["nobody"]);
        }
        let status = json!({"status": "enroute"});
        client.post("/units/nobody/status", &status).await.expect_problem(404, "not-found", &["/api/v1/units"]);
        client.post("/incidents/nobody/acknowledge", &json!({})).await.expect_problem(404, "not-found", &[]);
        let call = json!({"patient_id": "nobody", "priority": 2, "summary": "help"});
        client.post("/incidents", &call).await.expect_problem(422, "invalid-value", &["nobody", "register"]);
        let place = json!({"location": {"lat": 47.1, "lon": 9.5}});
        client.post("/units/nobody/locations", &place).await.expect_problem(404, "not-found", &[]);
        client.get("/nothing-here").await.expect_problem(404, "not-found", &[]);
        client.get("/incidents?limit=many").await.expect_problem(400, "malformed-request", &["limit"]);
        client.get("/incidents?colour=red").await.expect_problem(400, "malformed-request", &["colour"]);
    });
}

#[test]
fn illegal_statuses_and_busy_units_are_refused_with_what_is_allowed() {
    run(LIMIT, async {
        let (_kept, _server, client) = house().await;
        world::hospital(&client, "landesspital").await;
        for patient in ["p-1", "p-2"] {
            world::register_patient(&client, patient, &world::patient("pm_card_visa", "+41790001234")).await;
            client.post("/vitals", &world::ill(patient, 1)).await.expect(202);
        }
        let served = |incident: &Value| incident["unit_id"].is_string() || incident["waiting_reason"].is_string();
        let first = world::incident_where(&client, "p-1", "it has a unit, or waits", served).await;
        let other = if first["unit_id"].is_string() { "p-2" } else { "p-1" };
        let waits = |incident: &Value| incident["waiting_reason"].is_string();
        let waiting = world::incident_where(&client, other, "one of the two waits", waits).await;

        world::report(&client, "rtw-1", "enroute").await;
        let status = json!({"status": "arrived"});
        let answer = client.post("/units/rtw-1/status", &status).await;
        let problem = answer.expect_problem(409, "illegal-status", &["arrived can't follow enroute", "on-scene"]);
        assert_eq!((&problem["allowed"][0], &problem["current_status"]), (&json!("on-scene"), &json!("enroute")));
        let id = waiting["incident_id"].as_str().expect("an id");
        let busy =
            client.post(&format!("/incidents/{id}/assignments"), &json!({"unit_id": "rtw-1", "reason": "now"})).await;
        busy.expect_problem(409, "conflict", &["enroute", "free when"]);
        let unknown = client.post(&format!("/incidents/{id}/assignments"), &json!({"unit_id": "nobody"})).await;
        unknown.expect_problem(404, "not-found", &["nobody"]);
        let chosen = json!({"status": "on-scene", "hospital_id": "nobody"});
        client.post("/units/rtw-1/status", &chosen).await.expect_problem(422, "invalid-value", &["nobody"]);
        let unit = client.get("/units/rtw-1").await.expect(200);
        assert_eq!(unit["status"], "enroute", "what was refused changed nothing: {unit}");
        world::report(&client, "rtw-1", "on-scene").await;
    });
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_next_request_is_served() {
    run(LIMIT, async {
        let (_kept, data) = data_dir();
        let server = Start::serve(&data).environment("SHERS_WEB__BODY_BYTES", "4096").ready().await;
        let client = server.client();
        world::register_patient(&client, "p-1", &world::patient("pm_card_visa", "+41790001234")).await;
        let many: Vec<Value> = (1..=50).map(|seq| world::well("p-1", seq)).collect();
        let answer = client.post("/vitals", &json!(many)).await;
        let problem = answer.expect_problem(413, "body-too-large", &["4096", "less at once"]);
        assert_eq!(problem["limit_bytes"], 4096);
        client.post("/vitals", &json!(many[..5])).await.expect(202);
        assert_eq!(kept(&client).await.len(), 5);
    });
}

#[test]
fn wrong_and_missing_tokens_are_refused_everywhere_but_at_health() {
    run(LIMIT, async {
        let (_kept, server, client) = house().await;
        let stranger = Client::new(server.address(), "a-token-that-nobody-knows-0123456789abcdef");
        for (method, path) in [(Method::GET, "/incidents"), (Method::POST, "/vitals"), (Method::GET, "/metrics")] {
            let answer = Client::send(stranger.request(method, path)).await.expect("an answer");
            assert!(answer.headers.contains_key("www-authenticate"), "{path}");
            answer.expect_problem(401, "unauthenticated", &["not known"]);
        }
        let bare = reqwest::Client::builder().no_proxy().build().expect("a client");
        let url = |path: &str| format!("http://{}{path}", server.address());
        let answer = Client::send(bare.get(url("/api/v1/incidents"))).await.expect("an answer");
        answer.expect_problem(401, "unauthenticated", &["Authorization: Bearer"]);
        let in_query = format!("/api/v1/incidents?token={TOKEN}");
        let answer = Client::send(bare.get(url(&in_query))).await.expect("an answer");
        answer.expect_problem(401, "unauthenticated", &["Authorization: Bearer"]);
        assert_eq!(Client::send(bare.get(url("/health/live"))).await.expect("an answer").status, 200);
        assert_eq!(client.get("/incidents").await.status, 200);

        let refused = Socket::connect(server.address(), "no-ticket").await.expect_err("refused before the upgrade");
        socket::refusal(*refused).expect_problem(401, "unauthenticated", &["ticket"]);
        let ticket = client.post("/stream-tickets", &json!({})).await.expect(201);
        let ticket = ticket["ticket"].as_str().expect("a ticket");
        let open = Socket::connect(server.address(), ticket).await.expect("once");
        let again = Socket::connect(server.address(), ticket).await.expect_err("not twice");
        socket::refusal(*again).expect_problem(401, "unauthenticated", &["used"]);
        drop(open);
    });
}
