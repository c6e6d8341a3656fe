//! The gateway with the real nginx: who gets which request, what it refuses, what it never repeats and
//! never logs; and the whole story through it.

mod support;

use serde_json::{Value, json};
use shers_contract::api::Service;
use shers_web::routes::{self, Operation, Route};
use std::time::Duration;
use support::{
    Client, Start, TOKEN,
    client::Answer,
    gateway::{BEHIND, Gateway, free_port},
    run,
    server::data_dir,
    story::{self, PHONE},
    stub::{PLAY, Stub},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const LIMIT: Duration = Duration::from_secs(120);

/// A stand-in for each service, and a gateway before them.
async fn stubs(more: &[(&str, &str)]) -> (Vec<Stub>, Gateway) {
    let mut stubs = Vec::new();
    for service in BEHIND {
        stubs.push(Stub::start(service).await);
    }
    let behind: Vec<_> = BEHIND.iter().zip(&stubs).map(|(service, stub)| (*service, stub.address.clone())).collect();
    let gateway = Gateway::start(&behind, more).await;
    (stubs, gateway)
}

/// Which service answers an operation; `None`: the gateway itself.
fn answered_by(operation: Operation) -> Option<Service> {
    use Operation as Do;
    Some(match operation {
        Do::RecordVitals | Do::GetPatient | Do::PutPatient | Do::GetVitals | Do::GetDevice | Do::PutDevice => {
            Service::Wearable
        }
        Do::GetRules | Do::PutRules => Service::Triage,
        Do::OpenIncident | Do::Acknowledge | Do::Cancel | Do::Resolve | Do::Close | Do::Escalate | Do::Downgrade => {
            Service::Incidents
        }
        Do::Recommend
        | Do::Assign
        | Do::Unassign
        | Do::RegisterUnit
        | Do::PatchUnit
        | Do::RetireUnit
        | Do::ReportStatus
        | Do::ReportLocations
        | Do::Osmand
        | Do::PutHospital
        | Do::GetStation
        | Do::PutStation => Service::Dispatch,
        Do::RetryBill | Do::WriteOffBill | Do::PaymentWebhook => Service::Billing,
        Do::GetPlan | Do::PutPlan | Do::Eligibility => Service::Insurance,
        Do::Metrics => return None,
        _ => Service::Stream,
    })
}

async fn ask(client: &Client, method: &str, path: &str) -> Answer {
    let method = method.parse().expect("a method");
    let request = client.request(method, path.strip_prefix("/api/v1").unwrap_or(path));
    Client::send(request).await.expect("an answer")
}

fn path_of(route: &Route) -> String {
    route.path.replace("{id}", "x-1").replace("{unit}", "rtw-1")
}

#[test]
fn every_route_of_the_table_reaches_a_process_of_the_service_that_answers_it() {
    run(LIMIT, async {
        let (_stubs, gateway) = stubs(&[]).await;
        let client = gateway.client();
        let mut reached = std::collections::BTreeSet::new();
        for route in routes::all() {
            let answer = ask(&client, route.method, &path_of(&route)).await;
            match answered_by(route.operation) {
                Some(service) => {
                    assert_eq!(answer.body["service"], service.as_str(), "{} {}", route.method, route.path);
                    assert_eq!(answer.body["path"], path_of(&route), "as it was asked");
                    reached.insert(service);
                }
                None => drop(answer.expect_problem(404, "not-found", &["each process"])),
            }
        }
        assert_eq!(reached.len(), BEHIND.len(), "{reached:?}");
        for page in ["/", "/dashboard/main.js", "/nowhere"] {
            let request = reqwest::Client::new().get(format!("http://{}{page}", gateway.address()));
            assert_eq!(Client::send(request).await.expect("an answer").body["service"], "stream", "{page}");
        }
    });
}

#[test]
fn what_it_says_itself_is_a_problem_with_an_id_and_safe_headers() {
    run(LIMIT, async {
        let (_stubs, gateway) = stubs(&[("SHERS_GATEWAY_BODY", "10k")]).await;
        let mut raw = TcpStream::connect(gateway.address()).await.expect("open");
        let head = "POST /api/v1/vitals HTTP/1.1\r\nhost: a\r\ncontent-length: 10241\r\nconnection: close\r\n\r\n";
        raw.write_all(head.as_bytes()).await.expect("sent");
        let mut text = String::new();
        raw.read_to_string(&mut text).await.expect("an answer before the body");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with("HTTP/1.1 413"), "{head}");
        let problem: Value = serde_json::from_str(body).expect("JSON");
        support::client::check_problem(&problem, 413, "body-too-large", &["10k"]);
        let lower = head.to_ascii_lowercase();
        let id = problem["instance"].as_str().and_then(|urn| urn.strip_prefix("urn:uuid:")).expect("an id");
        for line in [
            "content-type: application/problem+json",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            &format!("x-request-id: {id}"),
        ] {
            assert!(lower.contains(line), "{line} in {head}");
        }
        assert!(!lower.contains("nginx/"), "no version: {head}");
    });
}

#[test]
fn an_address_that_asks_too_often_is_told_to_wait() {
    run(LIMIT, async {
        let limits = [("SHERS_GATEWAY_REQUESTS_PER_S", "1"), ("SHERS_GATEWAY_REQUEST_BURST", "3")];
        let (_stubs, gateway) = stubs(&limits).await;
        let client = gateway.client();
        let answers = futures::future::join_all((0..40).map(|_| client.try_get("/kpis"))).await;
        let mut refused = answers.into_iter().map(|a| a.expect("an answer")).filter(|a| a.status != 200);
        let refused = refused.next().expect("forty at once are more than four");
        assert_eq!(refused.headers.get("retry-after").and_then(|v| v.to_str().ok()), Some("1"));
        refused.expect_problem(429, "too-many-requests", &["1 times a second"]);
    });
}

#[test]
fn a_command_that_was_sent_is_never_sent_again_and_one_that_was_not_finds_another_replica() {
    run(LIMIT, async {
        let (one, two) = (Stub::start("one").await, Stub::start("two").await);
        let behind: Vec<_> =
            BEHIND.iter().map(|service| (*service, format!("{} {}", one.address, two.address))).collect();
        let gateway = Gateway::start(&behind, &[]).await;
        let client = gateway.client();
        let answer = client.try_post("/vitals", &json!({}), &[(PLAY, "hang-up")]).await.expect("an answer");
        answer.expect_problem(504, "outcome-unknown", &["wearable", "same Idempotency-Key"]);
        assert_eq!(one.count() + two.count(), 1, "sent once");

        let gone = format!("127.0.0.1:{}", free_port());
        let behind: Vec<_> = BEHIND.iter().map(|service| (*service, format!("{gone} {}", one.address))).collect();
        let gateway = Gateway::start(&behind, &[]).await;
        for _ in 0..20 {
            gateway.client().post("/vitals", &json!({})).await.expect(200);
        }
        let gateway = Gateway::before(&gone).await;
        let answer = gateway.client().post("/vitals", &json!({})).await;
        answer.expect_problem(503, "unavailable", &["nothing was done"]);
    });
}

#[test]
fn server_sent_events_leave_as_they_come() {
    run(LIMIT, async {
        let (stubs, gateway) = stubs(&[]).await;
        let request = gateway.client().request(reqwest::Method::GET, "/events").header(PLAY, "drip");
        let mut response = request.send().await.expect("a stream");
        let first = response.chunk().await.expect("it goes on").expect("an event");
        assert_eq!(&first[..], b"data: first\n\n", "while the stream is open");
        stubs[BEHIND.len() - 1].go_on.notify_one();
        let second = response.chunk().await.expect("it goes on").expect("an event");
        assert_eq!(&second[..], b"data: second\n\n");
    });
}

#[test]
fn what_a_client_claims_about_its_way_is_dropped_unless_its_proxy_is_trusted() {
    run(LIMIT, async {
        let claimed = [("x-forwarded-for", "203.0.113.9")];
        for (more, believed) in
            [(vec![], "127.0.0.1"), (vec![("SHERS_GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8")], "203.0.113.9")]
        {
            let (_stubs, gateway) = stubs(&more).await;
            let answer = gateway.client().try_post("/vitals", &json!({}), &claimed).await.expect("an answer");
            assert_eq!(answer.expect(200)["headers"]["x-forwarded-for"], believed);
        }
    });
}

#[test]
fn its_log_holds_no_token_no_query_and_nobodys_id() {
    run(LIMIT, async {
        let (_stubs, gateway) = stubs(&[]).await;
        let client = gateway.client();
        client.get("/patients/wearer-0815/vitals?limit=secret-of-query").await.expect(200);
        let hang_up = client.request(reqwest::Method::GET, "/osmand?id=watch-4711&lat=47.1").header(PLAY, "hang-up");
        assert_eq!(Client::send(hang_up).await.expect("an answer").status, 504);
        let log = gateway.logged();
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).expect("a line is JSON");
            assert!(line["request"].as_str().is_some_and(|id| id.len() == 36), "{line}");
        }
        assert!(log.contains("/api/v1/patients/-/vitals") && log.contains("\"service\":\"dispatch\""), "{log}");
        for secret in [TOKEN, "Bearer", "wearer-0815", "secret-of-query", "watch-4711", "47.1"] {
            assert!(!log.contains(secret), "{secret} stands in {log}");
        }
    });
}

#[test]
fn the_whole_story_passes_through_it() {
    run(LIMIT, async {
        let (_kept, data) = data_dir();
        let mut server = Start::serve(&data).ready().await;
        let gateway = Gateway::before(server.address()).await;
        story::play(&gateway.client()).await;
        let page = reqwest::Client::new().get(format!("http://{}/", gateway.address())).send().await.expect("a page");
        let policies: Vec<_> = page.headers().get_all("content-security-policy").iter().collect();
        assert_eq!(policies.len(), 1, "the page's own policy stands alone: {policies:?}");
        assert!(policies[0].to_str().is_ok_and(|policy| policy.contains("script-src 'self'")), "{policies:?}");
        assert!(server.terminate(Duration::from_secs(20)).await.success());
        let log = gateway.logged();
        for secret in [TOKEN, "shers.v1", PHONE, "p-1"] {
            assert!(!log.contains(secret), "{secret} stands in the gateway's log");
        }
    });
}
