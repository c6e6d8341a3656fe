//! The adapters to providers of drive times against small stand-ins: right answers, nonsense, 429, silence.

use serde_json::{Value, json};
use shers_contract::LatLon;
use shers_dispatch::gateway::{
    Driving, EtaError, EtaSource, Google, Matrix, Osrm, Ranking, Remote, RemoteLimits, Resilient, StraightLine, Trip,
    Valhalla, one_decision,
};
use shers_dispatch::model::breaker::{Breaker, BreakerLimits};
use shers_dispatch::{EtaSettings, Provider};
use shers_runtime::clock::ScaledClock;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: RemoteLimits = RemoteLimits { chunk: 99, concurrent: 2, max_places: 1_000, siren_factor: 0.5 };
const BREAKER: BreakerLimits = BreakerLimits { failures: 2, pause_ms: 600_000 };

/// What a request looked like: first line, headers in lower case, body.
#[derive(Clone, Default, Debug)]
struct Seen {
    line: String,
    headers: String,
    body: Value,
}

/// A server that answers every request as `answer` says; `None` hangs.
struct StandIn {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Answer = Arc<dyn Fn(&Seen) -> Option<(u16, String)> + Send + Sync>;

impl StandIn {
    async fn start(answer: impl Fn(&Seen) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer): (_, Answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, Arc::clone(&log), Arc::clone(&answer)));
            }
        });
        Self { url, seen }
    }
    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

async fn talk(mut stream: TcpStream, log: Arc<Mutex<Vec<Seen>>>, answer: Answer) {
    let mut bytes = Vec::new();
    let request = loop {
        let mut buffer = [0; 65_536];
        let Ok(n @ 1..) = stream.read(&mut buffer).await else { return };
        bytes.extend_from_slice(&buffer[..n]);
        if let Some(request) = parsed(&bytes) {
            break request;
        }
    };
    log.lock().expect("not poisoned").push(request.clone());
    let Some((status, body)) = answer(&request) else { return std::future::pending().await };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

fn parsed(bytes: &[u8]) -> Option<Seen> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (line, headers) = head.split_once("\r\n")?;
    let headers = headers.to_ascii_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let complete = body.len() >= length;
    complete.then(|| Seen { line: line.into(), headers, body: serde_json::from_str(body).unwrap_or_default() })
}

fn place(km: f64) -> LatLon {
    LatLon::new(47.0 + km / 111.195, 9.5).expect("valid")
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("ends in time") });
}

fn osrm(url: &str) -> Osrm {
    Osrm::new(url, Duration::from_secs(5), 500.0).expect("a client")
}
fn valhalla(url: &str) -> Valhalla {
    Valhalla::new(url, Duration::from_secs(5), 500).expect("a client")
}
fn google(url: &str) -> Google {
    Google::new(url, "secret-key".into(), Duration::from_secs(5)).expect("a client")
}

async fn rank<M: Matrix>(matrix: M, count: u32) -> Result<(Vec<usize>, Vec<usize>, u32), EtaError> {
    let from: Vec<LatLon> = (0..count).map(|n| place(f64::from(n) + 1.0)).collect();
    let source = Remote::new(matrix, LIMITS);
    let ranking = source.rank_from(&from, place(0.0), Driving::LightsAndSirens, 2).await?;
    let best: Vec<usize> = ranking.best.iter().map(|(index, _)| *index).collect();
    let off = ranking.unreachable.iter().map(|(index, _)| *index).collect();
    assert_eq!(ranking.source, source.name());
    Ok((best, off, ranking.best.first().map_or(0, |(_, travel)| travel.duration_s)))
}

#[test]
fn osrm_is_asked_for_a_table_and_a_place_off_the_network_is_unreachable() {
    run(async {
        let table = json!({
            "code": "Ok", "durations": [[90.0], [30.0], [null], [5.0]], "distances": [[900.0], [300.0], [null], [50.0]],
            "sources": [{"distance": 1.0}, {"distance": 2.0}, {"distance": 1.0}, {"distance": 9_000.0}],
            "destinations": [{"distance": 3.0}],
        });
        let server = StandIn::start(move |_| Some((200, table.to_string()))).await;
        assert_eq!(rank(osrm(&server.url), 4).await.expect("an answer"), (vec![1, 0], vec![2, 3], 15));
        let line = server.seen()[0].line.clone();
        assert!(line.starts_with("GET /table/v1/driving/9.500000,47.000000;9.500000,47.0089"), "{line}");
        assert!(line.contains("?sources=1;2;3;4&destinations=0&annotations=duration,distance"), "{line}");
    });
}

#[test]
fn osrm_and_valhalla_are_asked_for_a_route_when_there_is_one_drive() {
    run(async {
        let server = StandIn::start(|seen| {
            let body = if seen.line.contains("/route/v1/driving/") {
                json!({"code": "Ok", "routes": [{"duration": 61.2, "distance": 700.4}], "waypoints": [{}, {}]})
            } else {
                json!({"trip": {"status": 0, "summary": {"time": 61.2, "length": 0.7004}}})
            };
            Some((200, body.to_string()))
        })
        .await;
        for source in [
            Arc::new(Remote::new(osrm(&server.url), LIMITS)) as Arc<dyn EtaSource>,
            Arc::new(Remote::new(valhalla(&server.url), LIMITS)),
        ] {
            let trip = source.travel(place(0.0), place(1.0), Driving::Normal).await.expect("an answer");
            assert_eq!((trip.travel.duration_s, trip.travel.distance_m, trip.source), (62, 700, source.name()));
        }
        assert!(server.seen()[1].line.starts_with("POST /route"));
    });
}

#[test]
fn valhalla_cells_are_put_where_they_belong() {
    run(async {
        let cell = |from: u32, time: Value| json!({"from_index": from, "to_index": 0, "time": time, "distance": 1.5});
        let table = json!({"sources_to_targets": [[cell(2, json!(10))], [cell(0, json!(40))], [cell(1, json!(null))]]});
        let server = StandIn::start(move |_| Some((200, table.to_string()))).await;
        assert_eq!(rank(valhalla(&server.url), 3).await.expect("an answer"), (vec![2, 0], vec![1], 5));
        let seen = &server.seen()[0];
        assert!(seen.line.starts_with("POST /sources_to_targets"));
        assert_eq!((&seen.body["costing"], seen.body["sources"].as_array().map(Vec::len)), (&json!("auto"), Some(3)));
    });
}

#[test]
fn google_gets_its_field_mask_and_its_elements_come_in_any_order_without_zeros() {
    run(async {
        let elements = json!([
            {"originIndex": 2, "status": {}, "condition": "ROUTE_NOT_FOUND"},
            {"originIndex": 1, "destinationIndex": 0, "status": {}, "condition": "ROUTE_EXISTS", "duration": "20s", "distanceMeters": 300},
            {"condition": "ROUTE_EXISTS", "duration": "100.5s", "distanceMeters": 900},
        ]);
        let server = StandIn::start(move |_| Some((200, elements.to_string()))).await;
        assert_eq!(rank(google(&server.url), 3).await.expect("an answer"), (vec![1, 0], vec![2], 10));
        let seen = &server.seen()[0];
        assert!(seen.line.starts_with("POST /distanceMatrix/v2:computeRouteMatrix"), "{}", seen.line);
        assert!(seen.headers.contains("x-goog-api-key: secret-key"));
        let mask = seen.headers.lines().find(|line| line.starts_with("x-goog-fieldmask")).expect("a field mask");
        for field in ["originindex", "destinationindex", "status", "condition", "distancemeters", "duration"] {
            assert!(mask.contains(field), "{field} in {mask}");
        }
        assert_eq!(seen.body["travelMode"], "DRIVE");
        assert_eq!(seen.body["origins"][0]["waypoint"]["location"]["latLng"]["longitude"], 9.5);
        assert!(!format!("{:?}", google(&server.url)).contains("secret"), "a key is never printed");
    });
}

#[test]
fn many_places_are_asked_about_in_calls_of_the_provider_s_size() {
    run(async {
        let server = StandIn::start(|seen| {
            let origins = seen.body["origins"].as_array().map_or(0, Vec::len);
            let element = |n: usize| json!({"originIndex": n, "condition": "ROUTE_EXISTS", "duration": "20s"});
            Some((200, json!((0..origins).rev().map(element).collect::<Vec<_>>()).to_string()))
        })
        .await;
        let from: Vec<LatLon> = (0..700).map(|n| place(f64::from(n) / 100.0)).collect();
        let limits = RemoteLimits { chunk: 625, ..LIMITS };
        let source = Remote::new(google(&server.url), limits);
        let ranking = source.rank_from(&from, place(0.0), Driving::Normal, 1_000).await.expect("an answer");
        assert_eq!(ranking.best.len(), 700);
        let mut sizes: Vec<usize> =
            server.seen().iter().map(|seen| seen.body["origins"].as_array().map_or(0, Vec::len)).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [75, 625]);
    });
}

#[test]
fn nonsense_from_any_provider_is_a_failure_and_never_a_ranking() {
    let answers = [
        (200, "<html>welcome</html>".to_owned()),
        (200, "{}".to_owned()),
        (200, "[]".to_owned()),
        (200, json!({"code": "Ok", "durations": [[1]], "distances": [[1]], "sources": [{}], "destinations": [{}]}).to_string()),
        (200, json!({"code": "Ok", "durations": [[-5.0], [1.0]], "distances": [[1], [1]], "sources": [{}, {}], "destinations": [{}]}).to_string()),
        (200, json!({"code": "Ok", "durations": [[1, 2], []], "distances": [[1], [1]], "sources": [{}, {}], "destinations": [{}]}).to_string()),
        (200, json!({"sources_to_targets": [[{"from_index": 7, "to_index": 0, "time": 1, "distance": 1}]]}).to_string()),
        (200, json!([{"condition": "ROUTE_EXISTS", "duration": "1s"}, {"condition": "ROUTE_EXISTS", "duration": "2s"}]).to_string()),
        (200, json!([{"status": {"code": 8}}, {"originIndex": 1, "condition": "ROUTE_EXISTS", "duration": "2s"}]).to_string()),
        (200, json!([{"condition": "ROUTE_EXISTS", "duration": "1e9s"}, {"originIndex": 1, "condition": "ROUTE_EXISTS", "duration": "2s"}]).to_string()),
        (429, "slow down".to_owned()),
        (500, "secret-key leaked".to_owned()),
        (302, String::new()),
    ];
    run(async {
        for (status, body) in answers {
            let server = StandIn::start({
                let body = body.clone();
                move |_| Some((status, body.clone()))
            })
            .await;
            let results = [
                rank(osrm(&server.url), 2).await,
                rank(valhalla(&server.url), 2).await,
                rank(google(&server.url), 2).await,
            ];
            for result in results {
                let Err(EtaError::Unavailable { why, .. }) = result else { panic!("{status} {body}: {result:?}") };
                assert!(!why.contains("secret") && !why.contains("127.0.0.1"), "{why}");
            }
        }
    });
}

fn resilient(url: &str, budget_ms: u64) -> Resilient {
    let clock = Arc::new(ScaledClock::real());
    let first = Arc::new(Remote::new(osrm(url), LIMITS));
    Resilient::new(first, Arc::new(StraightLine::default()), clock, Duration::from_millis(budget_ms), BREAKER)
}

#[test]
fn a_provider_that_fails_or_hangs_is_replaced_within_the_budget_and_then_left_alone() {
    let answers: [Option<(u16, String)>; 3] = [None, Some((429, String::new())), Some((200, "no".into()))];
    run(async {
        for answer in answers {
            let server = StandIn::start(move |_| answer.clone()).await;
            let source = resilient(&server.url, 50);
            for round in 0..4 {
                let started = tokio::time::Instant::now();
                let ranking = source.rank_from(&[place(2.0), place(1.0)], place(0.0), Driving::Normal, 2).await;
                let ranking = ranking.expect("the fallback answers");
                assert_eq!((ranking.source, ranking.best[0].0), ("straight-line", 1), "round {round}");
                assert!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
            }
            assert_eq!(server.seen().len(), 2, "the breaker opened after two failures");
            assert!(matches!(source.breaker(), Breaker::Open { .. }));
        }
    });
}

/// The times are virtual: nothing here waits, and nothing else moves the clock.
#[tokio::test(start_paused = true)]
async fn a_decision_gives_a_hanging_provider_its_budget_once_however_much_it_asks() {
    struct Hanging;
    #[async_trait::async_trait]
    impl EtaSource for Hanging {
        fn name(&self) -> &'static str {
            "hanging"
        }
        async fn rank_from(&self, _: &[LatLon], _: LatLon, _: Driving, _: usize) -> Result<Ranking, EtaError> {
            std::future::pending().await
        }
        async fn rank_to(&self, _: LatLon, _: &[LatLon], _: Driving, _: usize) -> Result<Ranking, EtaError> {
            std::future::pending().await
        }
        async fn travel(&self, _: LatLon, _: LatLon, _: Driving) -> Result<Trip, EtaError> {
            std::future::pending().await
        }
    }
    let budget = Duration::from_millis(800);
    let patient = BreakerLimits { failures: 1_000, ..BREAKER };
    let clock = Arc::new(ScaledClock::real());
    let source = Resilient::new(Arc::new(Hanging), Arc::new(StraightLine::default()), clock, budget, patient);
    let from = [place(2.0), place(1.0)];
    let ask = async || {
        let ranking = source.rank_from(&from, place(0.0), Driving::Normal, 2).await.expect("the fallback answers");
        assert_eq!((ranking.source, ranking.best[0].0), ("straight-line", 1));
    };
    let spent = async |decision: std::pin::Pin<Box<dyn Future<Output = ()> + '_>>| {
        let began = tokio::time::Instant::now();
        decision.await;
        began.elapsed()
    };
    let many = async || {
        for _ in 0..5 {
            ask().await;
        }
        // A decision within it is a part of it.
        one_decision(ask()).await;
        futures::future::join_all((0..5).map(|_| ask())).await;
    };
    let close = |spent: Duration, wanted: Duration| spent >= wanted && spent < wanted + Duration::from_millis(20);
    let one = spent(Box::pin(one_decision(many()))).await;
    assert!(close(one, budget), "{one:?} for one decision");
    let each = spent(Box::pin(async {
        ask().await;
        ask().await;
    }))
    .await;
    assert!(close(each, 2 * budget), "{each:?} for two questions that belong to no decision");
}

#[test]
fn a_provider_that_answers_is_named_and_one_that_nobody_listens_for_is_not() {
    run(async {
        let table = json!({
            "code": "Ok", "durations": [[9.0], [30.0]], "distances": [[90.0], [300.0]],
            "sources": [{}, {}], "destinations": [{}],
        });
        let server = StandIn::start(move |_| Some((200, table.to_string()))).await;
        let from = [place(2.0), place(1.0)];
        let ranking = resilient(&server.url, 2_000).rank_from(&from, place(0.0), Driving::Normal, 2).await;
        let ranking = ranking.expect("an answer");
        assert_eq!((ranking.source, ranking.best[0].0), ("osrm", 0));
        let nobody = resilient("http://127.0.0.1:1", 2_000).rank_from(&from, place(0.0), Driving::Normal, 2).await;
        assert_eq!(nobody.expect("an answer").source, "straight-line");
    });
}

#[test]
fn settings_without_address_or_key_are_refused_and_built_in_needs_neither() {
    let source = |eta: EtaSettings| {
        let made = eta.source(Arc::new(StraightLine::default()), Arc::new(ScaledClock::real()));
        made.map(|source| source.name()).map_err(|error| error.to_string())
    };
    let settings: EtaSettings = serde_json::from_value(json!({"provider": "built-in"})).expect("valid");
    assert_eq!(source(settings), Ok("straight-line"));
    let no_url = source(EtaSettings { provider: Provider::Osrm, ..EtaSettings::default() });
    assert!(no_url.expect_err("no address").contains("http://"));
    let google =
        EtaSettings { provider: Provider::Google, api_key_env: "NOT_SET_ANYWHERE".into(), ..EtaSettings::default() };
    assert!(source(google.clone()).expect_err("no key").contains("NOT_SET_ANYWHERE"));
    let file = std::env::temp_dir().join(format!("shers-key-{}", std::process::id()));
    std::fs::write(&file, "a key\n").expect("written");
    assert_eq!(source(EtaSettings { api_key_file: Some(file.clone()), ..google }), Ok("google"));
    std::fs::remove_file(file).expect("removed");
    assert!(serde_json::from_value::<EtaSettings>(json!({"api_key": "x"})).is_err(), "no key in the configuration");
}
