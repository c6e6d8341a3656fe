//! What may go wrong around one process: its network, what others publish, what others declared.

mod rig;

use futures::{StreamExt, future::BoxFuture};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
};
use rig::{Process, Proxy, broker, part, settings, start, unique, wait_until};
use shers_contract::{
    Kind,
    api::{Call, Reply, Service},
};
use shers_runtime::{
    Endpoint,
    testing::wire_suite::{Host, message, reading, until},
    wire::{Address, Wire},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Never answers.
struct Silent;

impl Endpoint for Silent {
    fn call(&self, _: Call) -> BoxFuture<'static, Reply> {
        Box::pin(std::future::pending())
    }
}

/// A channel without the bridge, in confirm mode.
async fn raw(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("connected");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    (connection, channel)
}

async fn publish_raw(channel: &Channel, exchange: &str, key: &str, body: &[u8]) {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default().with_message_id("m-1".into());
    let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.expect("sent");
    assert!(sent.await.expect("confirmed").is_ack());
}

async fn depth(channel: &Channel, queue: &str) -> u32 {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("the queue");
    found.message_count()
}

#[actix_rt::test]
async fn a_frozen_owner_loses_its_partitions_and_finds_back() {
    let Some(url) = broker("a frozen owner") else { return };
    let name = unique("frozen");
    let (one, two) = (Process::start(&url, |_| {}, &name).await, Process::start(&url, |_| {}, &name).await);
    let part = part(&name, &["unit.#"]);
    let mut zombie = Host::join(&one.port(), &part).await;
    until(&mut [&mut zombie], "all partitions", |h| h[0].owned.len() == 16).await;
    let mut other = Host::join(&two.port(), &part).await;
    two.wire.publish((1..=3).map(|n| message(Kind::UNIT_UPDATED, "p02", n)).collect()).await.expect("published");
    until(&mut [&mut zombie, &mut other], "three messages", |h| h[0].versions(2).len() == 3).await;
    one.proxy.freeze();
    // Frozen, not closed: only heartbeats tell either side.
    until(&mut [&mut zombie, &mut other], "the hand-over", |h| h[0].owned.is_empty() && h[1].owned.len() == 16).await;
    until(&mut [&mut other], "what was unsettled", |h| h[0].versions(2) == [1, 2, 3]).await;
    // Too late: these are the other's now.
    zombie.settle(2, 2).await;
    one.proxy.open();
    wait_until("the connection's return", || one.wire.trouble().is_none()).await;
    until(&mut [&mut zombie, &mut other], "two members", |h| h[1].members() == 2).await;
    assert!(zombie.owned.is_empty(), "it stands by, behind the other");
    drop(other);
    until(&mut [&mut zombie], "all again", |h| h[0].owned.len() == 16 && h[0].versions(2) == [1, 2, 3]).await;
    zombie.settle_all().await;
}

#[actix_rt::test]
async fn an_outage_is_an_error_within_the_limit_and_shows_as_trouble() {
    let Some(url) = broker("an outage") else { return };
    let name = unique("outage");
    let limit = Duration::from_millis(1_500);
    let process = Process::start(&url, |settings| settings.publish_ms = 1_500, &name).await;
    let part = part(&name, &["wearable.#"]);
    process.wire.declare(std::slice::from_ref(&part)).await.expect("declared");
    process.wire.publish(vec![reading(1, 1)]).await.expect("published");
    for (what, begin) in [("cut", Proxy::cut as fn(&Proxy)), ("frozen", Proxy::freeze)] {
        begin(&process.proxy);
        let asked = Instant::now();
        let said = process.wire.publish(vec![reading(1, 2)]).await.expect_err("nobody confirms");
        assert!(asked.elapsed() < limit * 20, "{what}: {said} after {:?}", asked.elapsed());
        wait_until("trouble", || process.wire.trouble().is_some()).await;
        process.proxy.open();
        wait_until("no trouble", || process.wire.trouble().is_none()).await;
        process.wire.publish(vec![reading(1, 3)]).await.expect("published again");
    }
}

#[actix_rt::test]
async fn what_is_no_message_arrives_with_its_reason_and_the_rest_goes_on() {
    let Some(url) = broker("unreadable bodies") else { return };
    let name = unique("unreadable");
    let process = Process::start(&url, |settings| settings.max_body_bytes = 4_096, &name).await;
    let part = part(&name, &["wearable.#"]);
    let mut host = Host::join(&process.port(), &part).await;
    until(&mut [&mut host], "all partitions", |h| h[0].owned.len() == 16).await;
    let (_connection, channel) = raw(&url).await;
    let (exchange, key) = (format!("{name}.events"), "wearable.reading.recorded.p04");
    let good = serde_json::to_string(&*reading(4, 1)).expect("JSON");
    let bodies = [
        ("not JSON".to_owned(), "not JSON"),
        ("{\"kind\": 7}".to_owned(), "not an envelope"),
        (good.replace("wearable.reading.recorded", "wearable.dream.recorded"), "unknown kind"),
        (good.replace("\"v\":1", "\"v\":7"), "schema version 7"),
        (format!("\"{}\"", "x".repeat(5_000)), "too large"),
        (String::new(), "not JSON"),
    ];
    for (body, _) in &bodies {
        publish_raw(&channel, &exchange, key, body.as_bytes()).await;
    }
    process.wire.publish(vec![reading(4, 2)]).await.expect("published");
    until(&mut [&mut host], "all of them", |h| h[0].got[&4].len() == bodies.len() + 1).await;
    for ((_, got), (body, want)) in host.got[&4].iter().zip(&bodies) {
        let reason = got.clone().expect_err(body);
        assert!(reason.contains(want), "{body}: {reason}");
    }
    assert_eq!(host.versions(4), [2], "the rest goes on");
    host.settle_all().await;
    drop(host);
    let mut again = Host::join(&process.port(), &part).await;
    until(&mut [&mut again], "all partitions", |h| h[0].owned.len() == 16).await;
    assert_eq!(again.count(), 0, "what was settled is gone, readable or not");
}

#[actix_rt::test]
async fn a_release_never_lets_newer_messages_overtake_unsettled_ones() {
    let Some(url) = broker("order over a release") else { return };
    let name = unique("overtake");
    let small = |settings: &mut shers_bridge::Settings| settings.prefetch = 5;
    let (one, two) = (Process::start(&url, small, &name).await, Process::start(&url, small, &name).await);
    let part = part(&name, &["unit.#"]);
    let mut a = Host::join(&one.port(), &part).await;
    until(&mut [&mut a], "all partitions", |h| h[0].owned.len() == 16).await;
    let mut b = Host::join(&two.port(), &part).await;
    one.wire.publish((1..=40).map(|n| message(Kind::UNIT_UPDATED, "p07", n)).collect()).await.expect("published");
    until(&mut [&mut a, &mut b], "as many as fit", |h| h[0].versions(7) == [1, 2, 3, 4, 5]).await;
    a.settle(7, 1).await;
    for round in 0..6 {
        let next = 3 + round;
        let (from, to) = if round % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        from.release(7).await;
        let want: Vec<u64> = (next..next + 5).collect();
        until(&mut [from, to], "the hand-over, in order", |h| {
            !h[0].owned.contains(&7) && h[1].owned.contains(&7) && h[1].versions(7).len() >= 5
        })
        .await;
        assert_eq!(to.versions(7), want, "round {round}");
        to.settle(7, 0).await;
        until(&mut [to], "one more in its place", |h| h[0].versions(7).len() == 6).await;
    }
}

#[actix_rt::test]
async fn the_broker_keeps_what_it_gave_up() {
    let Some(url) = broker("the broker's dead letters") else { return };
    let name = unique("dead");
    let process = Process::start(&url, |settings| settings.delivery_limit = 100, &name).await;
    let part = part(&name, &["wearable.#"]);
    process.wire.declare(std::slice::from_ref(&part)).await.expect("declared");
    process.wire.publish(vec![reading(0, 1)]).await.expect("published");
    let (_connection, channel) = raw(&url).await;
    let (queue, dead) = (part.queue(0), format!("{name}.dead"));
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
    let mut consumer = consuming.await.expect("subscribed");
    let give_back = BasicNackOptions { multiple: false, requeue: true };
    for round in 0..=100 {
        let next = tokio::time::timeout(Duration::from_secs(60), consumer.next()).await.expect("a delivery in time");
        let tag = next.expect("a delivery").expect("a delivery").delivery_tag;
        channel.basic_nack(tag, give_back).await.unwrap_or_else(|e| panic!("round {round}: {e}"));
    }
    let (_other, watching) = raw(&url).await;
    let arrived = async {
        while depth(&watching, &dead).await != 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrived).await.expect("the dead letter in time");
    assert_eq!(depth(&watching, &queue).await, 0);
}

#[actix_rt::test]
async fn a_house_that_can_not_be_declared_publishes_nothing_and_says_why() {
    let Some(url) = broker("a conflicting declaration") else { return };
    let name = unique("conflict");
    let part = part(&name, &["wearable.#"]);
    let first = Process::start(&url, |_| {}, &name).await;
    first.wire.declare(std::slice::from_ref(&part)).await.expect("declared");
    let other = |settings: &mut shers_bridge::Settings| {
        settings.delivery_limit = 777;
        settings.publish_ms = 2_000;
    };
    let second = Process::start(&url, other, &name).await;
    let said = second.wire.declare(std::slice::from_ref(&part)).await.expect_err("refused").to_string();
    assert!(said.contains(&part.queue(0)), "{said}");
    assert!(second.wire.publish(vec![reading(0, 1)]).await.is_err());
    wait_until("trouble that names the queue", || {
        second.wire.trouble().is_some_and(|why| why.contains(&part.queue(0)) && why.contains("x-delivery-limit"))
    })
    .await;
}

/// A replica that hands a partition on while its queue is at fault would be unready for ever.
#[actix_rt::test]
async fn a_fault_of_what_was_given_up_is_no_trouble_any_more() {
    let Some(url) = broker("a fault that is given up") else { return };
    let name = unique("given-up");
    let process = Process::start(&url, |_| {}, &name).await;
    process.wire.declare(&[part(&name, &["wearable.#"])]).await.expect("declared");
    let queue = format!("{name}.calls.billing.p05");
    let (_connection, channel) = raw(&url).await;
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await.expect("somebody else's");
    let address = Address { service: Service::Billing, partition: Some(5) };
    let answering = process.wire.answer(address, Arc::new(Silent)).await.expect("it tries");
    wait_until("trouble that names the queue", || process.wire.trouble().is_some_and(|why| why.contains(&queue))).await;
    drop(answering);
    wait_until("no trouble", || process.wire.trouble().is_none()).await;
}

#[actix_rt::test]
async fn a_deleted_queue_is_declared_again() {
    let Some(url) = broker("a deleted queue") else { return };
    let name = unique("deleted");
    let process = Process::start(&url, |_| {}, &name).await;
    let part = part(&name, &["wearable.#"]);
    let mut host = Host::join(&process.port(), &part).await;
    until(&mut [&mut host], "all partitions", |h| h[0].owned.len() == 16).await;
    let (_connection, channel) = raw(&url).await;
    channel.queue_delete(part.queue(9).as_str().into(), Default::default()).await.expect("deleted");
    until(&mut [&mut host], "the loss", |h| !h[0].owned.contains(&9)).await;
    until(&mut [&mut host], "all partitions again", |h| h[0].owned.len() == 16).await;
    process.wire.publish(vec![reading(9, 1)]).await.expect("published");
    until(&mut [&mut host], "a message", |h| h[0].versions(9) == [1]).await;
}

#[actix_rt::test]
async fn tls_trusts_the_authority_that_it_is_given_and_no_other() {
    let Some(dir) = rig::broker_dir("TLS") else { return };
    let url = std::fs::read_to_string(dir.join("tls-url")).expect("the broker speaks TLS");
    let name = unique("tls");
    let with = |ca_file| shers_bridge::Settings { ca_file, ..settings(url.trim(), &name) };
    let trusting = start(with(Some(dir.join("ca.pem"))));
    let part = part(&name, &["wearable.#"]);
    let port: Arc<dyn Wire> = Arc::clone(&trusting) as Arc<dyn Wire>;
    let mut host = Host::join(&port, &part).await;
    trusting.publish(vec![reading(3, 1)]).await.expect("published");
    until(&mut [&mut host], "a message over TLS", |h| h[0].versions(3) == [1]).await;
    let distrusting = start(with(None));
    let said = distrusting.declare(std::slice::from_ref(&part)).await.expect_err("no connection").to_string();
    wait_until("the reason", || distrusting.trouble().is_some_and(|why| why.to_lowercase().contains("cert"))).await;
    assert!(!said.contains("guest:guest"), "{said}");
}
