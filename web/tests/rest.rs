//! REST as a client sees it: who may do what, what is said of mistakes, what reaches the services.

#[expect(dead_code, reason = "each test binary uses its part")]
mod common;

use common::{house, house_with, settings, tokens};
use futures::FutureExt;
use serde_json::json;
use shers_contract::api::{Answer, Request, Role, VitalsFormat};
use shers_web::{
    ServeError, Settings,
    routes::{self, Access},
};
use std::{collections::BTreeSet, sync::Arc};

#[actix_web::test]
async fn every_route_has_a_decision_and_holds_to_it() {
    // In exercise mode, where crashing an actor is forbidden to nobody who has the role.
    let house = house_with(settings(), tokens(), true, |_| async { Ok(Answer::ok(json!({}))) }.boxed());
    let roles = [
        ("device", Role::Device),
        ("viewer", Role::Viewer),
        ("dispatcher", Role::Dispatcher),
        ("administrator", Role::Administrator),
    ];
    for route in routes::all() {
        let path = route.path.replace("{id}", "x-1").replace("{unit}", "u-1");
        let name = format!("{} {path}", route.method);
        let nobody = house.send(house.request(route.method, &path, "")).await;
        match route.access {
            Access::Public => assert_ne!(nobody.status, 401, "{name}"),
            // It is no websocket handshake, so it does not get to the ticket.
            Access::Ticket => assert_eq!(nobody.problem().status, 426, "{name}"),
            Access::Roles(allowed) => {
                assert_eq!(nobody.problem().status, 401, "{name}");
                assert!(nobody.header("www-authenticate").starts_with("Bearer"), "{name}");
                for (token, role) in roles {
                    let got = house.send(house.request(route.method, &path, token)).await;
                    let refused = matches!(got.status, 401 | 403);
                    assert_eq!(refused, !allowed.contains(&role), "{name} as {token}: {got:?}");
                }
            }
        }
    }
    let device: BTreeSet<_> = routes::all()
        .filter(|r| matches!(r.access, Access::Roles(allowed) if allowed.contains(&Role::Device)))
        .map(|r| r.path)
        .collect();
    let feeding = ["/api/openapi.json", "/api/v1/units/{id}/locations", "/api/v1/vitals", "/osmand"];
    assert_eq!(device.into_iter().collect::<Vec<_>>(), feeding, "a device posts readings and positions, no more");
}

#[actix_web::test]
async fn the_openapi_document_lists_exactly_the_routes() {
    let document = shers_web::openapi_document();
    let listed: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, item)| item.as_object().expect("item").keys().map(move |m| (m.to_uppercase(), path.clone())))
        .collect();
    let table: BTreeSet<_> = routes::all().map(|r| (r.method.to_owned(), r.path.to_owned())).collect();
    assert_eq!(listed, table);
    assert_eq!(table.len(), routes::all().count(), "no row stands twice");
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(document["components"]["schemas"][name].is_object(), "there is no schema {name}");
    }
    let ids: BTreeSet<_> =
        text.match_indices("\"operationId\":\"").map(|(at, _)| text[at + 15..].split('"').next()).collect();
    assert_eq!(ids.len(), table.len(), "operation ids are unique");
    let house = house().await;
    assert_eq!(house.get("/api/openapi.json", "viewer").await.json(), document);
}

#[actix_web::test]
async fn every_mistake_gets_a_problem_that_says_what_and_where() {
    let house = house_with(Settings { body_bytes: 2_000, ..settings() }, tokens(), false, |_| {
        async { Ok(Answer::ok(json!({}))) }.boxed()
    });
    let json_type = Some("application/json");
    let long = "x".repeat(3_000);
    for (method, path, content_type, body, status, word) in [
        ("GET", "/api/v1/nothing", None, "", 404, "openapi.json"),
        ("GET", "/nothing", None, "", 404, "openapi.json"),
        ("GET", "/dashboard/none.js", None, "", 404, "none.js"),
        ("DELETE", "/api/v1/incidents", None, "", 405, "POST"),
        ("POST", "/api/v1/incidents", json_type, "{\"priority\": 1,\n x}", 400, "line 2 column 2"),
        ("POST", "/api/v1/incidents", json_type, "", 400, "empty"),
        ("POST", "/api/v1/incidents", json_type, "{\"priority\": 9, \"summary\": \"x\"}", 422, "1 (most urgent) to 4"),
        ("POST", "/api/v1/incidents", json_type, "{\"priority\": 1}", 422, "summary"),
        ("POST", "/api/v1/incidents", json_type, "{\"priority\": 1, \"summary\": \"x\", \"sumary\": 1}", 422, "sumary"),
        ("POST", "/api/v1/incidents", Some("text/plain"), "x", 415, "application/json"),
        ("POST", "/api/v1/incidents", None, "{}", 415, "application/json"),
        ("POST", "/api/v1/vitals", json_type, long.as_str(), 413, "2000 bytes"),
        ("POST", "/api/v1/incidents/i-1/acknowledge", json_type, "{\"a\": 1}", 422, "empty object"),
        ("POST", "/api/v1/incidents/i-1/cancel", json_type, "{\"reason\": \" \"}", 422, "reason"),
        (
            "POST",
            "/api/v1/units/u-1/locations",
            json_type,
            "[{\"location\": {\"lat\": 95, \"lon\": 1}}]",
            422,
            "-90 to 90",
        ),
        ("POST", "/api/v1/units/u-1/locations", json_type, "[]", 422, "at least one"),
        ("PUT", "/api/v1/patients/p-1", json_type, "{\"patient_id\": \"p-2\"}", 422, "p-2"),
        ("GET", "/api/v1/incidents?limit=0", None, "", 400, "limit must be 1 to"),
        ("GET", "/api/v1/incidents?limit=many", None, "", 400, "whole number"),
        ("GET", "/api/v1/incidents?state=x", None, "", 400, "limit, cursor, status"),
        ("GET", "/api/v1/incidents?limit=1&limit=2", None, "", 400, "twice"),
        ("GET", "/api/v1/incidents/a%20b", None, "", 400, "an id is"),
        ("GET", "/api/v1/events?pattern=NO!", None, "", 400, "topic pattern"),
        ("GET", "/osmand?id=u-1&lat=x&lon=1", None, "", 400, "lat must be a number"),
        ("POST", "/webhooks/stripe", json_type, "{}", 400, "Stripe-Signature"),
        ("POST", "/api/v1/actors/incident%2Fx/restart", None, "", 404, "incident/x"),
        ("POST", "/api/v1/actors/incident/x/crash", None, "", 403, "exercise"),
        ("POST", "/api/v1/dead-letters/9/replay", None, "", 404, "dead letter"),
    ] {
        let mut request = house.request(method, path, "administrator");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let got = house.send(request.body(body.to_owned())).await;
        let problem = got.problem();
        assert_eq!(problem.status, status, "{method} {path}: {problem:?}");
        assert!(problem.detail.contains(word), "{method} {path}: {} lacks {word:?}", problem.detail);
    }
    assert!(house.fake.asked.lock().expect("lock").is_empty(), "no mistake reaches a service");
}

#[actix_web::test]
async fn a_request_reaches_its_service_with_caller_trace_key_and_version() {
    let house = house().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = house.request("POST", "/api/v1/incidents/i-1/cancel", "dispatcher");
    let request = request.header("idempotency-key", "k-1").header("if-match", "\"4\"").header("traceparent", trace);
    let got = house.send(request.json(&json!({"reason": "found well"}))).await;
    assert_eq!((got.status, got.header("etag"), got.json()), (200, "\"7\"", json!({"good": true})));
    let call = house.fake.asked.lock().expect("lock").pop().expect("asked");
    assert_eq!(call.principal.subject, "dispatcher");
    assert_eq!(call.if_match, Some(4));
    let idempotency = call.idempotency.expect("a key");
    assert_eq!(idempotency.key, "dispatcher POST /api/v1/incidents/i-1/cancel k-1");
    assert_eq!(idempotency.body_digest.len(), 64);
    assert_eq!(got.header("traceparent"), call.traceparent.to_string());
    assert!(got.header("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert_ne!(got.header("traceparent"), trace, "the request is a span of its own");
    assert_eq!(got.header("x-request-id"), call.id.to_string());
    let Request::ActOnIncident(id, _) = call.request else { panic!("{:?}", call.request) };
    assert_eq!(id.as_str(), "i-1");
}

#[actix_web::test]
async fn vitals_reach_the_service_as_they_came() {
    let house = house().await;
    for (content_type, format) in [
        ("application/json", VitalsFormat::Json),
        ("application/json; charset=utf-8", VitalsFormat::Json),
        ("application/x-ndjson", VitalsFormat::Ndjson),
    ] {
        let request = house.request("POST", "/api/v1/vitals", "device").header("content-type", content_type);
        house.send(request.body("not even {json")).await;
        let call = house.fake.asked.lock().expect("lock").pop().expect("asked");
        assert_eq!(call.request, Request::RecordVitals { body: "not even {json".into(), format });
    }
    let request = house.request("POST", "/api/v1/vitals", "device").header("content-type", "application/json");
    let problem = house.send(request.body(vec![b'a', 0xff])).await.problem();
    assert!(problem.detail.contains("byte 1"), "{problem:?}");
}

#[actix_web::test]
async fn a_tracker_reports_for_its_unit_with_basic_authentication() {
    let house = house().await;
    let url = format!("http://{}/osmand?id=u-1&lat=47.1&lon=9.5&timestamp=1767225600&speed=10&batt=80", house.addr);
    let got = house.send(house.http.get(url).basic_auth("u-1", Some("device"))).await;
    assert_eq!(got.status, 200);
    let call = house.fake.asked.lock().expect("lock").pop().expect("asked");
    let Request::ReportLocations(unit, fixes) = call.request else { panic!("{:?}", call.request) };
    assert_eq!((unit.as_str(), fixes.len()), ("u-1", 1));
    assert_eq!(fixes[0].location.lat.to_string(), "47.1");
}

#[actix_web::test]
async fn a_repeat_while_the_first_still_runs_is_told_so() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let inside = Arc::new(tokio::sync::Semaphore::new(0));
    let (open, arrived) = (gate.clone(), inside.clone());
    let house = house_with(settings(), tokens(), false, move |_| {
        let (gate, inside) = (gate.clone(), inside.clone());
        async move {
            inside.add_permits(1);
            gate.acquire().await.expect("open").forget();
            Ok(Answer::ok(json!({})))
        }
        .boxed()
    });
    let retry =
        |token: &str, key: &str| house.request("POST", "/api/v1/bills/b-1/retry", token).header("idempotency-key", key);
    let first = actix_rt::spawn(retry("dispatcher", "k").send());
    arrived.acquire().await.expect("arrived").forget();
    let second = house.send(retry("dispatcher", "k")).await.problem();
    assert_eq!((second.status, second.kind.as_str()), (409, "/problems/still-running"));
    // The key is the principal's own.
    open.add_permits(2);
    assert_eq!(house.send(retry("administrator", "k")).await.status, 200);
    assert_eq!(first.await.expect("joined").expect("answered").status(), 200);
    open.add_permits(1);
    assert_eq!(house.send(retry("dispatcher", "k")).await.status, 200, "free again");
    for bad in ["", "a b", &"x".repeat(129)] {
        assert_eq!(house.send(retry("dispatcher", bad)).await.problem().status, 400, "{bad:?}");
    }
}

#[actix_web::test]
async fn a_principal_that_asks_too_often_is_told_when_to_come_back() {
    let house = house_with(Settings { requests_per_s: 1, request_burst: 3, ..settings() }, tokens(), false, |_| {
        async { Ok(Answer::ok(json!({}))) }.boxed()
    });
    let mut refused = None;
    for _ in 0..5 {
        let got = house.get("/api/v1/kpis", "viewer").await;
        if got.status == 429 {
            refused = Some(got);
        }
    }
    let refused = refused.expect("a limit");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.problem().status, 429);
    assert_eq!(house.get("/api/v1/kpis", "dispatcher").await.status, 200, "others are not held up");
}

#[actix_web::test]
async fn the_page_comes_with_a_strict_policy_and_data_with_a_stricter_one() {
    let house = house().await;
    let page = house.get("/", "").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let script = house.get("/dashboard/vendor/preact.js", "").await;
    assert_eq!((script.status, script.header("content-type")), (200, "text/javascript; charset=utf-8"));
    for got in [&page, &script] {
        let policy = got.header("content-security-policy");
        assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    let again = house.request("GET", "/dashboard/vendor/preact.js", "").header("if-none-match", script.header("etag"));
    let again = house.send(again).await;
    assert_eq!((again.status, again.text.len()), (304, 0));
    let head = house.send(house.request("HEAD", "/", "")).await;
    assert_eq!((head.status, head.text.len()), (200, 0));
    let data = house.get("/api/v1/map/info", "viewer").await;
    assert_eq!(data.json()["attribution"], "nobody");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ] {
        assert_eq!(data.header(name), value);
    }
    let map = house.get("/api/v1/map", "viewer").await;
    assert_eq!((map.text.as_str(), map.header("content-type")), ("roads", "application/octet-stream"));
}

#[actix_web::test]
async fn health_is_open_and_readiness_knows_its_services() {
    let house = house().await;
    assert_eq!(house.get("/health/live", "").await.json()["status"], "live");
    let ready = house.get("/health/ready", "").await.json();
    assert_eq!(ready["services"].as_array().map(Vec::len), Some(8));
    assert!(house.get("/metrics", "viewer").await.header("content-type").starts_with("text/plain; version=0.0.4"));
}

#[actix_web::test]
async fn an_address_in_use_is_said_clearly_and_impossible_settings_too() {
    let house = house().await;
    let deps = common::web_deps(&house.store, &house.fake, false);
    let taken = shers_web::bind(deps.clone(), Settings { listen: house.addr, ..settings() }, tokens());
    match taken.err().expect("taken") {
        error @ ServeError::InUse { .. } => assert!(error.to_string().contains("--listen")),
        error => panic!("{error}"),
    }
    let mut broken = Settings { body_bytes: 0, ..settings() };
    broken.stream.state_hz = 0.0;
    match shers_web::bind(deps, broken, tokens()).err().expect("refused") {
        ServeError::Settings(problems) => assert_eq!(problems.len(), 2, "{problems:?}"),
        error => panic!("{error}"),
    }
}

#[actix_web::test]
async fn a_server_that_is_stopped_finishes_what_it_has_in_hand() {
    let (entered, inside) = tokio::sync::oneshot::channel::<()>();
    let entered = std::sync::Mutex::new(Some(entered));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let open = gate.clone();
    let mut house = house_with(settings(), tokens(), false, move |_| {
        let gate = gate.clone();
        if let Some(entered) = entered.lock().expect("lock").take() {
            let _ = entered.send(());
        }
        async move {
            gate.acquire().await.expect("open").forget();
            Ok(Answer::ok(json!({})))
        }
        .boxed()
    });
    let asking = actix_rt::spawn(house.request("GET", "/api/v1/kpis", "viewer").send());
    inside.await.expect("inside");
    house.stop.take().expect("running").send(()).expect("told");
    open.add_permits(1);
    assert_eq!(asking.await.expect("joined").expect("answered").status(), 200);
    house.server.await.expect("joined").expect("stopped well");
}
