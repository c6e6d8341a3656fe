//! The broker in memory keeps the wire's promises.

use async_trait::async_trait;
use shers_runtime::{
    testing::{MemoryBroker, MemoryWire, wire_suite},
    wire::{Unreadable, Wire, fair_share},
};
use std::sync::Arc;

struct Rig(MemoryBroker);
struct Process(Arc<MemoryWire>);

#[async_trait]
impl wire_suite::Rig for Rig {
    async fn process(&self) -> Box<dyn wire_suite::Process> {
        Box::new(Process(self.0.wire()))
    }
    fn prefix(&self) -> String {
        "memory".to_owned()
    }
}

#[async_trait]
impl wire_suite::Process for Process {
    fn wire(&self) -> Arc<dyn Wire> {
        Arc::clone(&self.0) as Arc<dyn Wire>
    }
    async fn cut(&self) {
        self.0.cut();
    }
    async fn mend(&self) {
        self.0.mend();
    }
}

#[tokio::test]
async fn the_broker_in_memory_passes_the_suite() {
    wire_suite::run(&Rig(MemoryBroker::new())).await;
}

#[tokio::test]
async fn a_stopped_broker_takes_every_partition_away_and_gives_them_back() {
    let broker = MemoryBroker::new();
    let wire: Arc<dyn Wire> = broker.wire_with_prefetch(2);
    let part = wire_suite::part("triage".to_owned(), &["wearable.#"], 16);
    let mut host = wire_suite::Host::join(&wire, &part).await;
    wire.publish((1..=3).map(|n| wire_suite::reading(0, n)).collect()).await.expect("published");
    wire_suite::until(&mut [&mut host], "what the prefetch allows", |h| h[0].versions(0) == [1, 2]).await;
    broker.stop();
    wire_suite::until(&mut [&mut host], "nothing owned", |h| h[0].owned.is_empty()).await;
    assert!(wire.publish(vec![wire_suite::reading(0, 4)]).await.is_err());
    broker.start();
    wire_suite::until(&mut [&mut host], "all again", |h| h[0].owned.len() == 16 && h[0].count() == 2).await;
    host.settle_all().await;
    wire_suite::until(&mut [&mut host], "the third", |h| h[0].versions(0) == [1, 2, 3]).await;
    host.settle_all().await;
    assert_eq!(broker.depth("triage", 0), 0);
}

#[tokio::test]
async fn what_is_no_message_arrives_with_its_reason() {
    let broker = MemoryBroker::new();
    let wire: Arc<dyn Wire> = broker.wire();
    let part = wire_suite::part("triage".to_owned(), &["wearable.#"], 16);
    let mut host = wire_suite::Host::join(&wire, &part).await;
    let reason = "not JSON".to_owned();
    let bad = Unreadable { reason, routing_key: "x.y.p02".to_owned(), message_id: None, body: b"{".to_vec() };
    broker.inject("triage", 2, bad);
    wire_suite::until(&mut [&mut host], "the unreadable one", |h| h[0].count() == 1).await;
    assert_eq!(host.got[&2][0].1, Err("not JSON".to_owned()));
}

#[test]
fn a_fair_share_is_rounded_up_and_never_nothing() {
    for (partitions, members, want) in
        [(16, 1, 16), (16, 2, 8), (16, 3, 6), (16, 16, 1), (16, 40, 1), (1, 3, 1), (16, 0, 16)]
    {
        assert_eq!(fair_share(partitions, members), want, "{partitions} among {members}");
    }
}
