//! The suite that every implementation of [`Wire`] passes.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test suite says what is wrong by panicking")]

use super::TEST_START;
use crate::{
    endpoint::Endpoint,
    wire::{Address, Happening, Membership, Part, Wire, fair_share},
};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde_json::{json, value::to_raw_value};
use shers_contract::{
    Envelope, Kind, Problem, Traceparent,
    api::{Answer, Call, Principal, Reply, Request, Role, Service},
    derived_uuid,
    envelope::StreamName,
    routing::{PARTITIONS, Pattern},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long anything may take before the suite says that it never comes. Generous: machines are busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A broker to run the suite on.
#[async_trait]
pub trait Rig: Sync {
    /// One more process.
    async fn process(&self) -> Box<dyn Process>;
    /// Begins the names of the suite's parts, for a broker that remembers earlier runs.
    fn prefix(&self) -> String;
}

/// A process of the suite.
#[async_trait]
pub trait Process: Send + Sync {
    /// Its wire.
    fn wire(&self) -> Arc<dyn Wire>;
    /// Cuts it off from the broker without a word.
    async fn cut(&self);
    /// Lets it reach the broker again.
    async fn mend(&self);
}

/// Runs everything, one after the other.
///
/// # Panics
/// When the wire does not keep the port's promises.
pub async fn run(rig: &dyn Rig) {
    order_and_settlement(rig).await;
    waits_for_who_comes_later(rig).await;
    release_redelivers(rig).await;
    loss_and_return(rig).await;
    shares(rig).await;
    leadership(rig).await;
    refuses(rig).await;
    calls(rig).await;
}

/// A message of a journal's partition; `n` is its version.
#[must_use]
pub fn reading(partition: u16, n: u64) -> Arc<Envelope> {
    message(Kind::READING_RECORDED, &format!("p{partition:02}"), n)
}

/// A message of any kind.
#[must_use]
pub fn message(kind: Kind, id: &str, n: u64) -> Arc<Envelope> {
    let stream = StreamName::new("readings", id);
    Arc::new(Envelope {
        id: derived_uuid(&["wire-suite", kind.as_str(), id, &n.to_string()]),
        kind,
        v: 1,
        stream,
        version: n,
        at: TEST_START,
        correlation_id: None,
        causation_id: None,
        traceparent: Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        exercise: true,
        data: to_raw_value(&json!({"n": n})).expect("JSON"),
    })
}

/// A part of the suite.
#[must_use]
pub fn part(name: String, patterns: &[&str], partitions: u16) -> Part {
    let patterns = patterns.iter().map(|text| Pattern::new(text).expect("a pattern")).collect();
    Part { name, patterns, partitions }
}

/// Something that arrived: its tag, and its version or the reason why it is unreadable.
pub type Got = (u64, Result<u64, String>);

/// A host that keeps book of what happened to its membership.
pub struct Host {
    membership: Box<dyn Membership>,
    /// Partitions it owns.
    pub owned: BTreeSet<u16>,
    /// What arrived in each partition since it was last gained.
    pub got: BTreeMap<u16, Vec<Got>>,
    /// How many partitions it keeps when it sees others.
    keep: usize,
    releasing: BTreeSet<u16>,
}

impl Host {
    /// Joins.
    pub async fn join(wire: &Arc<dyn Wire>, part: &Part) -> Self {
        let membership = wire.join(part.clone()).await.expect("joined");
        let (owned, releasing) = (BTreeSet::new(), BTreeSet::new());
        Self { membership, owned, got: BTreeMap::new(), keep: usize::MAX, releasing }
    }

    fn record(&mut self, happening: Happening) {
        match happening {
            Happening::Gained(p) => {
                assert!(self.owned.insert(p), "{p} was gained twice");
                self.got.insert(p, Vec::new());
            }
            Happening::Lost(p) => {
                self.releasing.remove(&p);
                assert!(self.owned.remove(&p), "{p} was lost without being owned");
            }
            Happening::Arrived { partition, messages } => {
                assert!(self.owned.contains(&partition), "a message of {partition}, which is not owned");
                let got = self.got.entry(partition).or_default();
                for arrival in messages {
                    assert!(got.last().is_none_or(|(tag, _)| *tag < arrival.tag), "tags grow");
                    let what = arrival.message.map(|envelope| envelope.version).map_err(|bad| bad.reason);
                    got.push((arrival.tag, what));
                }
            }
        }
    }

    /// The versions that arrived in a partition since it was gained.
    #[must_use]
    pub fn versions(&self, partition: u16) -> Vec<u64> {
        let got = self.got.get(&partition).into_iter().flatten();
        got.filter_map(|(_, what)| what.clone().ok()).collect()
    }

    /// How many messages arrived in what is owned.
    #[must_use]
    pub fn count(&self) -> usize {
        self.owned.iter().map(|p| self.got.get(p).map_or(0, Vec::len)).sum()
    }

    /// Settles a partition up to its `index`th arrival.
    pub async fn settle(&mut self, partition: u16, index: usize) {
        let tag = self.got[&partition][index].0;
        self.membership.settle(partition, tag).await;
    }

    /// Settles all that arrived.
    pub async fn settle_all(&mut self) {
        let last = self.got.iter().filter_map(|(p, got)| got.last().map(|(tag, _)| (*p, *tag)));
        for (partition, tag) in last.collect::<Vec<_>>() {
            self.membership.settle(partition, tag).await;
        }
    }

    /// Gives a partition back.
    pub async fn release(&mut self, partition: u16) {
        self.membership.release(partition).await;
    }

    /// Lets one thing happen, if it does within a moment.
    pub async fn happen(&mut self) {
        if let Ok(happening) = tokio::time::timeout(Duration::from_millis(20), self.membership.next()).await {
            self.record(happening);
        }
    }

    /// Forgets what arrived.
    pub fn forget(&mut self) {
        self.got.values_mut().for_each(Vec::clear);
    }

    /// Gives back what it owns above `keep`, unless that is under way. A released partition may come to a member
    /// that has enough, which passes it on: so hosts do this as often as something happens.
    async fn balance(&mut self) {
        let mut surplus = self.owned.len().saturating_sub(self.releasing.len()).saturating_sub(self.keep);
        for partition in self.owned.difference(&self.releasing.clone()).copied().collect::<Vec<_>>() {
            if surplus == 0 {
                break;
            }
            surplus -= 1;
            self.releasing.insert(partition);
            self.membership.release(partition).await;
        }
    }

    /// Members that it sees.
    #[must_use]
    pub fn members(&self) -> usize {
        self.membership.members()
    }
}

/// Lets things happen to hosts until `done`.
///
/// # Panics
/// When it does not come to that in time; says what `what` was.
pub async fn until(hosts: &mut [&mut Host], what: &str, done: impl Fn(&[&mut Host]) -> bool) {
    let in_time = async {
        while !done(hosts) {
            for host in hosts.iter_mut() {
                host.balance().await;
            }
            let nexts =
                hosts.iter_mut().enumerate().map(|(n, host)| host.membership.next().map(move |h| (n, h)).boxed());
            // What is known of the other members changes without a happening.
            let first = futures::future::select_all(nexts).map(|(first, ..)| first);
            if let Ok((n, happening)) = tokio::time::timeout(Duration::from_millis(100), first).await {
                hosts[n].record(happening);
            }
        }
    };
    if tokio::time::timeout(PATIENCE, in_time).await.is_err() {
        let owned: Vec<_> = hosts.iter().map(|h| (h.owned.clone(), h.count(), h.members())).collect();
        assert!(done(hosts), "{what} did not come within {PATIENCE:?}; owned, messages, members: {owned:?}");
    }
}

async fn publish(wire: &Arc<dyn Wire>, batch: Vec<Arc<Envelope>>) {
    wire.publish(batch).await.expect("published");
}

async fn order_and_settlement(rig: &dyn Rig) {
    let (one, two) = (rig.process().await, rig.process().await);
    let split = part(format!("{}-order", rig.prefix()), &["wearable.#"], PARTITIONS);
    let whole = part(format!("{}-whole", rig.prefix()), &["wearable.reading.*", "patient.*"], 1);
    let other = part(format!("{}-other", rig.prefix()), &["patient.*"], 1);
    one.wire().declare(&[split.clone(), whole.clone(), other.clone()]).await.expect("declared");
    let mut a = Host::join(&one.wire(), &split).await;
    let mut b = Host::join(&one.wire(), &whole).await;
    let batch: Vec<_> = (1..=10).flat_map(|n| (0..PARTITIONS).map(move |p| reading(p, n))).collect();
    let count = batch.len();
    publish(&two.wire(), batch).await;
    until(&mut [&mut a, &mut b], "every message at both", |h| h.iter().all(|h| h.count() >= count)).await;
    for partition in 0..PARTITIONS {
        assert_eq!(a.versions(partition), (1..=10).collect::<Vec<_>>(), "order of partition {partition}");
    }
    let want: Vec<u64> = (1..=10).flat_map(|n| std::iter::repeat_n(n, PARTITIONS.into())).collect();
    assert_eq!(b.versions(0), want, "a part with one partition takes every word, in order");
    a.settle_all().await;
    b.settle_all().await;
    drop((a, b));

    let mut a = Host::join(&two.wire(), &split).await;
    let mut c = Host::join(&two.wire(), &other).await;
    publish(&one.wire(), vec![reading(5, 11), message(Kind::PATIENT_UPDATED, "p06", 1)]).await;
    until(&mut [&mut a, &mut c], "the marker", |h| !h[0].versions(5).is_empty() && h[1].count() > 0).await;
    assert_eq!((a.count(), a.versions(5)), (1, vec![11]), "what was settled does not come again");
    assert_eq!(c.versions(0), [1], "a queue gets what its patterns say and nothing else");
    a.settle_all().await;
}

async fn waits_for_who_comes_later(rig: &dyn Rig) {
    let process = rig.process().await;
    let late = part(format!("{}-late", rig.prefix()), &["hospital.*"], PARTITIONS);
    process.wire().declare(std::slice::from_ref(&late)).await.expect("declared");
    publish(&process.wire(), vec![message(Kind::HOSPITAL_UPDATED, "p09", 1)]).await;
    let mut host = Host::join(&process.wire(), &late).await;
    until(&mut [&mut host], "what was published before it joined", |h| h[0].count() == 1).await;
    assert_eq!(host.versions(9), [1]);
    host.settle_all().await;
}

async fn release_redelivers(rig: &dyn Rig) {
    let process = rig.process().await;
    let part = part(format!("{}-release", rig.prefix()), &["unit.#"], PARTITIONS);
    let mut host = Host::join(&process.wire(), &part).await;
    publish(&process.wire(), (1..=10).map(|n| message(Kind::UNIT_UPDATED, "p03", n)).collect()).await;
    until(&mut [&mut host], "ten messages", |h| h[0].versions(3).len() == 10).await;
    let old = host.got[&3][9].0;
    host.settle(3, 3).await;
    let rest: Vec<u64> = (5..=10).collect();
    for _ in 0..2 {
        host.membership.release(3).await;
        until(&mut [&mut host], "the loss", |h| !h[0].owned.contains(&3)).await;
        until(&mut [&mut host], "the rest again", |h| h[0].owned.contains(&3) && h[0].versions(3).len() == 6).await;
        assert_eq!(host.versions(3), rest, "in the queue's order");
        assert!(host.got[&3][0].0 > old, "tags are never used twice");
        host.membership.settle(3, old).await;
    }
    host.settle_all().await;
}

async fn loss_and_return(rig: &dyn Rig) {
    let (one, two) = (rig.process().await, rig.process().await);
    let part = part(format!("{}-loss", rig.prefix()), &["dispatch.*"], PARTITIONS);
    let all = |h: &Host| h.owned.len() == usize::from(PARTITIONS);
    let mut a = Host::join(&one.wire(), &part).await;
    until(&mut [&mut a], "all partitions", |h| all(h[0])).await;
    let mut b = Host::join(&two.wire(), &part).await;
    publish(&two.wire(), (1..=5).map(|n| message(Kind::DISPATCH_WAITING, "p11", n)).collect()).await;
    until(&mut [&mut a, &mut b], "five messages", |h| h[0].versions(11).len() == 5).await;
    a.settle(11, 1).await;
    until(&mut [&mut a, &mut b], "both members", |h| h[0].members() == 2).await;
    one.cut().await;
    until(&mut [&mut a, &mut b], "the other takes over", |h| h[0].owned.is_empty() && all(h[1])).await;
    until(&mut [&mut b], "what was unsettled", |h| h[0].versions(11).ends_with(&[3, 4, 5])).await;
    b.settle_all().await;
    assert!(one.wire().publish(vec![message(Kind::DISPATCH_WAITING, "p00", 1)]).await.is_err());
    assert!(one.wire().trouble().is_some());
    let reply = one.wire().ask(at(Service::Triage, None), call(), Duration::from_secs(5)).await;
    assert!(matches!(reply.as_ref().map_err(|p| p.status), Err(503)), "{reply:?}");
    one.mend().await;
    until(&mut [&mut a, &mut b], "no trouble", |_| one.wire().trouble().is_none()).await;
    drop(b);
    until(&mut [&mut a], "the returned one takes over", |h| all(h[0])).await;
    publish(&one.wire(), vec![message(Kind::DISPATCH_WAITING, "p11", 6)]).await;
    until(&mut [&mut a], "the next message", |h| h[0].versions(11) == [6]).await;
    a.settle_all().await;
}

async fn shares(rig: &dyn Rig) {
    let processes = [rig.process().await, rig.process().await, rig.process().await];
    let part = part(format!("{}-share", rig.prefix()), &["notification.*"], PARTITIONS);
    let mut a = Host::join(&processes[0].wire(), &part).await;
    until(&mut [&mut a], "all partitions", |h| h[0].owned.len() == 16).await;
    assert_eq!(a.members(), 1);
    let mut b = Host::join(&processes[1].wire(), &part).await;
    until(&mut [&mut a, &mut b], "both members", |h| h[0].members() == 2).await;
    a.keep = fair_share(PARTITIONS, 2);
    until(&mut [&mut a, &mut b], "two halves", |h| h.iter().all(|h| h.owned.len() == 8)).await;
    assert!(a.owned.is_disjoint(&b.owned));
    let mut c = Host::join(&processes[2].wire(), &part).await;
    let three = |h: &[&mut Host]| h[0].members() == 3 && h[1].members() == 3;
    until(&mut [&mut a, &mut b, &mut c], "three members", three).await;
    for host in [&mut a, &mut b, &mut c] {
        host.keep = fair_share(PARTITIONS, 3);
    }
    let fair = |h: &[&mut Host]| {
        h.iter().all(|h| h.owned.len() <= h.keep) && h.iter().map(|h| h.owned.len()).sum::<usize>() == 16
    };
    until(&mut [&mut a, &mut b, &mut c], "three shares", fair).await;
    let all: BTreeSet<u16> = [&a, &b, &c].iter().flat_map(|h| h.owned.iter().copied()).collect();
    assert_eq!(all.len(), 16, "every partition has one owner");
    processes[2].cut().await;
    for host in [&mut a, &mut b] {
        host.keep = fair_share(PARTITIONS, 2);
    }
    let gone = |h: &[&mut Host]| h[2].owned.is_empty() && h[0].owned.len() == 8 && h[1].owned.len() == 8;
    until(&mut [&mut a, &mut b, &mut c], "the share of the one that was cut off", gone).await;
}

async fn leadership(rig: &dyn Rig) {
    let (one, two) = (rig.process().await, rig.process().await);
    let part = part(format!("relay.{}", rig.prefix()), &[], 1);
    let mut a = Host::join(&one.wire(), &part).await;
    until(&mut [&mut a], "the lead", |h| h[0].owned.contains(&0)).await;
    let mut b = Host::join(&two.wire(), &part).await;
    until(&mut [&mut a, &mut b], "both members", |h| h[0].members() == 2).await;
    assert!(b.owned.is_empty(), "one leads");
    a.membership.release(0).await;
    until(&mut [&mut a, &mut b], "the other leads", |h| h[0].owned.is_empty() && h[1].owned.contains(&0)).await;
}

async fn refuses(rig: &dyn Rig) {
    let process = rig.process().await;
    for (name, partitions) in [("Upper", 16), ("", 1), ("a..b", 1), ("three", 3)] {
        assert!(process.wire().join(part(name.to_owned(), &[], partitions)).await.is_err(), "{name:?} {partitions}");
    }
    let nobody = process.wire().publish(vec![message(Kind::BILLING_PAID, "p00", 1)]).await;
    let said = nobody.expect_err("no queue takes it").to_string();
    assert!(said.contains("billing.paid"), "{said}");
}

fn at(service: Service, partition: Option<u16>) -> Address {
    Address { service, partition }
}

/// A call of the suite.
#[must_use]
pub fn call() -> Call {
    Call {
        id: derived_uuid(&["wire-suite", "call"]),
        principal: Principal { subject: "suite".to_owned(), role: Role::Dispatcher },
        traceparent: Traceparent { trace_id: 1, span_id: 2 },
        exercise: true,
        idempotency: None,
        if_match: Some(7),
        request: Request::GetKpis,
    }
}

struct Door(&'static str);

impl Endpoint for Door {
    fn call(&self, call: Call) -> BoxFuture<'static, Reply> {
        let name = self.0;
        Box::pin(async move {
            match name {
                "silent" => std::future::pending().await,
                "refusing" => Err(Problem::stale(3, 4)),
                _ => Ok(Answer::ok(json!({"by": name, "request": call.request})).with_status(201).at_version(3)),
            }
        })
    }
}

/// Asks until `want` is what comes, for a broker that needs a moment.
async fn ask_until(wire: &Arc<dyn Wire>, to: Address, want: impl Fn(&Reply) -> bool) -> Reply {
    let answered = async {
        loop {
            let reply = wire.ask(to, call(), Duration::from_secs(20)).await;
            if want(&reply) {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("the wanted reply in time")
}

fn by(reply: &Reply) -> Option<&str> {
    reply.as_ref().ok().and_then(|answer| answer.body["by"].as_str())
}

async fn calls(rig: &dyn Rig) {
    let (one, two) = (rig.process().await, rig.process().await);
    let to = at(Service::Billing, Some(4));
    let nobody = |reply: &Reply| matches!(reply, Err(problem) if problem.status == 503);
    // Something on this broker may still be dying from an earlier run, so ask until it is quiet.
    let _ = ask_until(&two.wire(), to, nobody).await;
    let first = one.wire().answer(to, Arc::new(Door("first"))).await.expect("answers");
    let reply = ask_until(&two.wire(), to, |reply| reply.is_ok()).await.expect("an answer");
    let request = serde_json::to_value(Request::GetKpis).expect("JSON");
    let want = Answer::ok(json!({"by": "first", "request": request})).with_status(201).at_version(3);
    assert_eq!(reply, want, "a call and its reply pass unchanged");
    let _ = ask_until(&two.wire(), at(Service::Billing, Some(5)), nobody).await;
    let _ = ask_until(&two.wire(), at(Service::Billing, None), nobody).await;

    let second = two.wire().answer(to, Arc::new(Door("second"))).await.expect("answers");
    let _ = ask_until(&one.wire(), to, |reply| by(reply) == Some("second")).await;
    drop(second);
    let _ = ask_until(&one.wire(), to, |reply| by(reply) == Some("first")).await;
    drop(first);
    let _ = ask_until(&one.wire(), to, nobody).await;

    let any = at(Service::Billing, None);
    let _refusing = one.wire().answer(any, Arc::new(Door("refusing"))).await.expect("answers");
    let refused = ask_until(&one.wire(), any, |reply| !nobody(reply)).await;
    assert_eq!(refused, Err(Problem::stale(3, 4)), "a problem passes unchanged");

    let silent = at(Service::Triage, Some(1));
    let _silent = two.wire().answer(silent, Arc::new(Door("silent"))).await.expect("answers");
    let limit = Duration::from_millis(300);
    let unknown = async {
        loop {
            match one.wire().ask(silent, call(), limit).await {
                Err(problem) if problem.status == 503 => tokio::time::sleep(Duration::from_millis(20)).await,
                other => return other,
            }
        }
    };
    let reply = tokio::time::timeout(PATIENCE, unknown).await.expect("a reply in time");
    assert_eq!(reply, Err(Problem::unknown_outcome()), "no answer in time is unknown");
}
