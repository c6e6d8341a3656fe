//! The live stream as a client sees it: websocket, tickets, pages, server-sent events.

#[expect(dead_code, reason = "each test binary uses its part")]
mod common;

use common::{Heard, House, PATIENCE, house, house_with, settings, tokens};
use futures::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use shers_contract::{
    DomainEvent, LatLon, UnitId,
    api::{Answer, Principal, Role},
    dispatch::{Fix, LocationsReported, UnitEvent},
    envelope::StreamName,
};
use shers_runtime::{Append, Commit, Expected, NewEvent, Store, testing::TEST_START};
use shers_web::{Authentication, Settings, StreamSettings, TokenDigest};
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::Message;

fn quick(stream: StreamSettings) -> House {
    house_with(Settings { stream, ..settings() }, tokens(), false, |_| async { Ok(Answer::ok(json!({}))) }.boxed())
}

/// Names of the events in a `d` frame; each was appended with its name in `data.by`.
fn names(frame: &Value) -> Vec<String> {
    frame["ev"].as_array().expect("events").iter().map(|e| e[3]["by"].as_str().expect("a name").to_owned()).collect()
}

fn numbered(prefix: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{prefix}{n}")).collect()
}

fn sub(id: &str, topics: &[&str], from: Option<(&str, u64)>) -> Value {
    let mut frame = json!({"t": "sub", "id": id, "topics": topics, "lane": "log"});
    if let Some((epoch, offset)) = from {
        frame["from"] = json!({"epoch": epoch, "offset": offset});
    }
    frame
}

#[actix_web::test]
async fn a_client_that_comes_back_loses_nothing_and_hears_nothing_twice() {
    // A ring of 40 events: the first part of the way back is read from the log, the rest from the ring.
    let house = quick(StreamSettings { ring_events: 40, page_events: 16, ..StreamSettings::default() });
    let (mut socket, hello) = house.connected().await;
    let epoch = hello["epoch"].as_str().expect("an epoch").to_owned();
    socket.say(sub("main", &["incident.#"], None)).await;
    assert_eq!(socket.frame().await, json!({"t": "live", "id": "main", "offset": 0}));
    let mut heard = Vec::new();
    let mut offset = 0;
    for round in 0..4 {
        house.tell_many(&format!("r{round}-"), 25).await;
        while heard.len() < 25 * (round + 1) {
            let frame = socket.next_of("d").await;
            assert_eq!(frame["from"], offset, "deliveries join without a seam");
            offset = frame["to"].as_u64().expect("an offset");
            heard.extend(names(&frame));
        }
    }
    // Away while 100 more happen, then back from where it was.
    drop(socket);
    house.tell_many("away-", 100).await;
    let (mut socket, _) = house.connected().await;
    socket.say(sub("main", &["incident.#"], Some((&epoch, offset)))).await;
    assert_eq!(socket.frame().await["t"], "behind");
    let mut live = false;
    while heard.len() < 200 || !live {
        let frame = socket.frame().await;
        match frame["t"].as_str() {
            Some("d") => {
                assert_eq!(frame["from"], offset);
                offset = frame["to"].as_u64().expect("an offset");
                heard.extend(names(&frame));
            }
            Some("live") => live = true,
            _ => {}
        }
    }
    let mut want: Vec<_> = (0..4).flat_map(|round| numbered(&format!("r{round}-"), 0..25)).collect();
    want.extend(numbered("away-", 0..100));
    assert_eq!(heard, want);
}

#[actix_web::test]
async fn a_filter_lets_through_what_it_names_and_the_heartbeat_moves_the_rest_on() {
    let house = quick(StreamSettings { heartbeat_ms: 50, ..StreamSettings::default() });
    let (mut socket, _) = house.connected().await;
    socket.say(sub("units", &["unit.#"], None)).await;
    assert_eq!(socket.frame().await["t"], "live");
    let last = house.tell(&["not for it"]).await;
    loop {
        let frame = socket.frame().await;
        assert_eq!(frame["t"], "hb", "{frame}");
        if frame["head"] == last {
            break;
        }
    }
}

/// What the clients need lies outside the hub's lives.
#[actix_web::test]
async fn a_hub_that_dies_is_back_and_its_clients_miss_nothing() {
    let house = house_with(settings(), tokens(), true, |_| async { Ok(Answer::ok(json!({}))) }.boxed());
    let (mut socket, _) = house.connected().await;
    socket.say(sub("a", &["incident.#"], None)).await;
    assert_eq!(socket.frame().await["t"], "live");
    for round in ["first", "second"] {
        let asked = house.post("/api/v1/actors/live-stream/hub/crash", "administrator", json!({})).await;
        assert_eq!(asked.status, 204, "{asked:?}");
        house.tell(&[round]).await;
        let frame = socket.frame().await;
        assert_eq!((frame["t"].as_str(), names(&frame)), (Some("d"), vec![round.to_owned()]), "{frame}");
    }
    let actors = house.get("/api/v1/actors", "administrator").await.json();
    let hub = actors["items"].as_array().expect("actors").iter().find(|a| a["actor"] == "live-stream/hub").cloned();
    let hub = hub.expect("the hub stands in the tree");
    assert_eq!((&hub["incarnation"], &hub["last_cause"]), (&json!(3), &json!("panic")), "{hub}");
}

#[actix_web::test]
async fn one_event_is_one_item_with_all_that_stands_in_its_envelope() {
    let house = house().await;
    let (mut socket, hello) = house.connected().await;
    assert_eq!(hello["head"], 0);
    assert_eq!(hello["limits"]["inbound_bytes"], 16 * 1024);
    socket.say(sub("a", &["#"], None)).await;
    socket.next_of("live").await;
    let offset = house.tell(&["x"]).await;
    let want = json!([offset, "incident.acknowledged", TEST_START.to_string(), {"by": "x"}, "incident/i-1", null]);
    assert_eq!(socket.next_of("d").await, json!({"t": "d", "id": "a", "from": 0, "to": offset, "ev": [want]}));
}

#[actix_web::test]
async fn offsets_of_another_log_are_a_gap() {
    let house = house().await;
    house.tell(&["x"]).await;
    let (mut socket, _) = house.connected().await;
    for from in [("elsewhere", 0), ("memory", 99)] {
        socket.say(sub("a", &["#"], Some(from))).await;
        assert_eq!(socket.frame().await, json!({"t": "gap", "id": "a", "after": from.1, "next": 2, "why": "epoch"}));
        assert_eq!(socket.frame().await, json!({"t": "live", "id": "a", "offset": 1}));
    }
}

#[actix_web::test]
async fn a_client_too_slow_gets_a_gap_and_at_last_is_cut_off() {
    let limits = StreamSettings { queue_events: 10, max_gaps: 2, ..StreamSettings::default() };
    let house = quick(limits);
    let (mut socket, _) = house.connected().await;
    socket.say(sub("a", &["#"], None)).await;
    socket.next_of("live").await;
    // Eleven at once are more than the ten that may wait.
    for round in 0..2u64 {
        let last = house.tell_many(&format!("{round}-"), 11).await;
        let want = json!({"t": "gap", "id": "a", "after": round * 12, "next": last + 1, "why": "slow"});
        assert_eq!(socket.frame().await, want);
        house.tell(&[&format!("after {round}")]).await;
        let frame = socket.frame().await;
        assert_eq!((&frame["from"], names(&frame)), (&json!(last), vec![format!("after {round}")]));
    }
    house.tell_many("2-", 11).await;
    assert_eq!(socket.frame().await["t"], "gap");
    assert_eq!(socket.hear().await, Heard::Closed(4408));
}

#[actix_web::test]
async fn a_client_that_stops_reading_makes_nothing_grow_and_does_not_hold_up_others() {
    let limits = StreamSettings { ring_events: 300, queue_events: 200, ..StreamSettings::default() };
    let house = quick(limits);
    let (mut stalled, _) = house.connected().await;
    let (mut reading, _) = house.connected().await;
    for socket in [&mut stalled, &mut reading] {
        socket.say(sub("a", &["#"], None)).await;
        socket.next_of("live").await;
    }
    let long = "x".repeat(2_000);
    let mut offset = 0;
    // Some 12 MB: more than any socket buffer between the two.
    for round in 0..60 {
        let last = house.tell_many(&format!("{round}{long}"), 100).await;
        while offset < last {
            let frame = reading.next_of("d").await;
            assert_eq!(frame["from"], offset);
            offset = frame["to"].as_u64().expect("an offset");
        }
    }
    let gap = stalled.next_of("gap").await;
    assert_eq!(gap["why"], "slow");
}

#[actix_web::test]
async fn a_ticket_opens_one_socket_and_a_bad_one_none() {
    let house = house().await;
    let ticket = house.ticket().await;
    assert_eq!(ticket.len(), 43, "256 bits, base64url without padding");
    let _socket = house.socket(&ticket, None).await.expect("open");
    for bad in [ticket.as_str(), "guessed"] {
        assert_eq!(house.socket(bad, None).await.err(), Some(401), "{bad}");
    }
    assert_eq!(house.get("/api/v1/stream", "viewer").await.problem().status, 426);
}

#[actix_web::test]
async fn pages_of_other_origins_may_not_open_the_stream() {
    let others = Settings { origins: vec!["https://dispatch.example".into()], ..settings() };
    let house = house_with(others, tokens(), false, |_| async { Ok(Answer::ok(json!({}))) }.boxed());
    let own = format!("http://{}", house.addr);
    for (origin, want) in [
        (own.as_str(), None),
        ("https://dispatch.example", None),
        ("https://evil.example", Some(403)),
        ("null", Some(403)),
    ] {
        let ticket = house.ticket().await;
        assert_eq!(house.socket(&ticket, Some(origin)).await.err(), want, "{origin}");
    }
}

#[actix_web::test]
async fn open_streams_are_limited_and_their_seats_come_back() {
    let house = quick(StreamSettings { connections_per_principal: 1, ..StreamSettings::default() });
    let (mut socket, _) = house.connected().await;
    let ticket = house.ticket().await;
    assert_eq!(house.socket(&ticket, None).await.err(), Some(429));
    socket.0.close(None).await.expect("closed");
    assert!(matches!(socket.hear().await, Heard::Closed(_)));
    let again = async {
        loop {
            let ticket = house.ticket().await;
            if house.socket(&ticket, None).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the seat comes back");
}

#[actix_web::test]
async fn what_a_client_says_is_checked() {
    let house = house().await;
    let (mut socket, _) = house.connected().await;
    let state =
        |topics: &str, hz: f64| json!({"t": "sub", "id": "s", "topics": [topics], "lane": "state", "max_hz": hz});
    for (frame, word) in [
        (sub("a", &["NO!"], None), "topic pattern"),
        (sub("", &["#"], None), "an id is"),
        (sub("a", &[], None), "patterns"),
        (state("incident.#", 1.0), "unit.location.reported"),
        (state("#", 1_000.0), "max_hz"),
        (json!({"t": "unsub", "id": "none"}), "no such"),
    ] {
        socket.say(frame).await;
        let error = socket.frame().await;
        assert_eq!(error["t"], "err", "{error}");
        assert!(error["detail"].as_str().expect("text").contains(word), "{error}");
    }
    for bad in [
        Message::text("{"),
        Message::text(r#"{"t":"sub","oops":1}"#),
        Message::binary(vec![1]),
        Message::text("x".repeat(17_000)),
    ] {
        let (mut socket, _) = house.connected().await;
        socket.0.send(bad).await.expect("sent");
        let closed = loop {
            if let Heard::Closed(code) = socket.hear().await {
                break code;
            }
        };
        assert_eq!(closed, 4400);
    }
}

#[actix_web::test]
async fn a_server_that_is_stopped_says_so_to_its_streams() {
    let mut house = house().await;
    let (mut socket, _) = house.connected().await;
    house.stop.take().expect("running").send(()).expect("told");
    assert_eq!(socket.hear().await, Heard::Closed(4503));
    house.server.await.expect("joined").expect("stopped well");
}

/// Appends positions, one batch.
async fn locate(house: &House, fixes: &[(&str, f64, f64, i64)]) -> u64 {
    let fix = |(unit, lat, lon, s): &(&str, f64, f64, i64)| Fix {
        unit_id: UnitId::new(unit).expect("an id"),
        at: TEST_START.plus_ms(s * 1_000),
        location: LatLon::new(*lat, *lon).expect("on earth"),
        speed_mps: None,
        heading_deg: None,
    };
    let event = UnitEvent::Located(LocationsReported { fixes: fixes.iter().map(fix).collect() });
    let new = NewEvent {
        id: shers_contract::derived_uuid(&["fix", &format!("{fixes:?}")]),
        kind: event.kind(),
        v: 1,
        at: TEST_START,
        correlation_id: None,
        causation_id: None,
        traceparent: None,
        exercise: true,
        data: event.to_data(),
    };
    let append =
        Append { stream: StreamName::new("positions", "p00"), expected: Expected::Any, events: vec![new], open: false };
    house.store.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("stored").last_position
}

fn lats(frame: &Value) -> Vec<(String, f64)> {
    let fixes =
        frame["ev"].as_array().expect("items").iter().flat_map(|item| item[3]["fixes"].as_array().expect("fixes"));
    let mut all: Vec<_> = fixes
        .map(|f| (f["unit_id"].as_str().expect("a unit").to_owned(), f["location"]["lat"].as_f64().expect("lat")))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[actix_web::test]
async fn the_state_lane_gives_the_newest_position_of_each_unit_in_its_box() {
    let house = house().await;
    locate(&house, &[("u-1", 47.1, 9.5, 1), ("u-2", 47.2, 9.5, 1), ("u-1", 47.3, 9.5, 2), ("far", 10.0, 10.0, 1)])
        .await;
    let (mut socket, _) = house.connected().await;
    socket.say(json!({"t": "sub", "id": "pos", "topics": ["unit.location.#"], "lane": "state", "max_hz": 10.0, "bbox": [9.0, 47.0, 10.0, 48.0]})).await;
    let first = socket.next_of("snap").await;
    assert_eq!(lats(&first), [("u-1".to_owned(), 47.3), ("u-2".to_owned(), 47.2)]);
    assert_eq!(socket.frame().await["t"], "live");
    // A late fix does not move a unit back; leaving the box is told once.
    locate(&house, &[("u-1", 47.9, 9.5, 1), ("u-2", 40.0, 9.5, 3)]).await;
    assert_eq!(lats(&socket.next_of("st").await), [("u-2".to_owned(), 40.0)]);
    locate(&house, &[("u-2", 41.0, 9.5, 4), ("u-1", 47.4, 9.5, 4)]).await;
    assert_eq!(lats(&socket.next_of("st").await), [("u-1".to_owned(), 47.4)]);
}

#[actix_web::test]
async fn pages_of_events_follow_each_other_and_end() {
    let house = house().await;
    house.tell_many("e", 150).await;
    let (mut after, mut heard) = (0, Vec::new());
    loop {
        let page = house
            .get(&format!("/api/v1/events?after={after}&pattern=incident.*,unit.%23&limit=64"), "viewer")
            .await
            .json();
        let items = page["items"].as_array().expect("items");
        heard.extend(items.iter().map(|e| e["data"]["by"].as_str().expect("a name").to_owned()));
        assert!(items.iter().all(|e| e["stream"] == "incident/i-1" && e["exercise"] == true && e["v"] == 1));
        let Some(next) = page["next"].as_str() else {
            assert_eq!(page["head"], 150);
            break;
        };
        after = next.parse().expect("an offset");
    }
    assert_eq!(heard, numbered("e", 0..150));
    let none = house.get("/api/v1/events?pattern=unit.%23", "viewer").await.json();
    assert_eq!(none, json!({"items": [], "next": null, "head": 150}));
}

/// Reads server-sent events until `count` have come: their ids and names.
async fn listen(house: &House, last_id: Option<&str>, count: usize) -> Vec<(String, String)> {
    let mut request = house.request("GET", "/api/v1/events", "viewer").header("accept", "text/event-stream");
    if let Some(id) = last_id {
        request = request.header("last-event-id", id);
    }
    let mut body = request.send().await.expect("an answer").bytes_stream();
    let (mut text, mut heard) = (String::new(), Vec::new());
    while heard.len() < count {
        text.push_str(std::str::from_utf8(&body.next().await.expect("more").expect("good")).expect("text"));
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned);
            if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                let data: Value = serde_json::from_str(&data).expect("JSON");
                heard.push((id, data["data"]["by"].as_str().expect("a name").to_owned()));
            }
            text = rest.to_owned();
        }
    }
    heard
}

#[actix_web::test]
async fn server_sent_events_go_on_after_the_last_one_heard() {
    let house = quick(StreamSettings { ring_events: 20, page_events: 8, ..StreamSettings::default() });
    house.tell_many("a", 30).await;
    let first = listen(&house, Some("0"), 12).await;
    assert_eq!(first.iter().take(12).map(|e| e.1.clone()).collect::<Vec<_>>(), numbered("a", 0..12));
    house.tell_many("b", 30).await;
    let second = listen(&house, Some(&first[11].0), 48).await;
    let want: Vec<_> = numbered("a", 12..30).into_iter().chain(numbered("b", 0..30)).collect();
    assert_eq!(second.into_iter().map(|e| e.1).collect::<Vec<_>>(), want);
}

#[actix_web::test]
async fn a_token_of_a_device_opens_no_stream() {
    let device = Principal { subject: "watch".into(), role: Role::Device };
    let auth = Authentication::Tokens(vec![(TokenDigest::of("device"), device)]);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let house =
        house_with(Settings { listen, ..settings() }, auth, false, |_| async { Ok(Answer::ok(json!({}))) }.boxed());
    for (method, path) in [("POST", "/api/v1/stream-tickets"), ("GET", "/api/v1/events")] {
        assert_eq!(house.send(house.request(method, path, "device")).await.problem().status, 403, "{path}");
    }
}
