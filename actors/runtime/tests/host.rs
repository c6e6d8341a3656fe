//! Hosting behind a broker in memory: instances by partition, copies before acknowledgements, the relay, and
//! requests that find their owner.

use futures::future::BoxFuture;
use shers_contract::{
    IncidentId, Kind, Problem, Traceparent,
    api::{Answer, Call, HouseRequest, IncidentAction, Principal, Reply, Request, Role, Service},
    envelope::StreamName,
    routing::{PARTITIONS, Pattern},
};
use shers_runtime::{
    Append, Commit, Endpoint, Expected, NewEvent, Store,
    host::{self, Doors, Factory, Ground, Host, Plan, RelayOptions, Router},
    log_exchange::DEAD_LETTERS,
    testing::{MemoryBroker, MemoryStore, deps_over, wire_suite::message},
    wire::{Unreadable, Wire},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which instances run, by replica; an instance that ended is gone from it.
type Running = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

/// Answers with the name of its replica.
struct Named(String);

impl Endpoint for Named {
    fn call(&self, _call: Call) -> BoxFuture<'static, Reply> {
        let name = self.0.clone();
        Box::pin(async move { Ok(Answer::ok(name.into())) })
    }
}

/// Counts an instance for as long as something of it lives on its arbiter.
struct Alive(Running, String);

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(count) = self.0.lock().expect("lock").get_mut(&self.1) {
            count.pop();
        }
    }
}

fn factory(running: &Running, replica: &str) -> Factory {
    let (running, replica) = (Arc::clone(running), replica.to_owned());
    host::starting(move |_deps| {
        let (running, replica) = (Arc::clone(&running), replica.clone());
        async move {
            running.lock().expect("lock").entry(replica.clone()).or_default().push(1);
            let alive = Alive(running, replica.clone());
            // As a service's consumers do: it lives until its arbiter ends.
            actix_rt::spawn(async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            });
            Ok::<Arc<dyn Endpoint>, shers_runtime::StoreError>(Arc::new(Named(replica)))
        }
    })
}

fn ground(store: &Arc<MemoryStore>, wire: Arc<dyn Wire>, replica: &str) -> Ground {
    let deps = deps_over(store.clone());
    Ground {
        mirror: store.clone(),
        wire,
        clock: deps.clock,
        ids: deps.ids,
        replica: replica.to_owned(),
        exercise: true,
        doors: Doors::default(),
    }
}

fn plan(running: &Running, replica: &str) -> Plan {
    Plan {
        service: Service::Incidents,
        partitions: PARTITIONS,
        patterns: vec![Pattern::new("triage.#").expect("a pattern")],
        own_collections: &[],
        start: factory(running, replica),
    }
}

/// One process that hosts incidents.
struct Process {
    ground: Ground,
    stop: watch::Sender<bool>,
    ended: tokio::task::JoinHandle<()>,
}

impl Process {
    fn start(store: &Arc<MemoryStore>, broker: &MemoryBroker, running: &Running, replica: &str) -> Self {
        let ground = ground(store, broker.wire(), replica);
        let (stop, stopped) = watch::channel(false);
        let host = Host::new(ground.clone(), plan(running, replica));
        let ended = actix_rt::spawn(host.run(stopped));
        Self { ground, stop, ended }
    }
    fn router(&self) -> Router {
        Router { doors: self.ground.doors.clone(), wire: Arc::clone(&self.ground.wire), limit: PATIENCE }
    }
    async fn end(self) {
        self.stop.send(true).expect("it runs");
        self.ended.await.expect("it ends");
    }
}

/// Waits until `done` of what runs where.
async fn until(running: &Running, what: &str, done: impl Fn(&BTreeMap<String, usize>) -> bool) {
    let counts = || running.lock().expect("lock").iter().map(|(name, of)| (name.clone(), of.len())).collect();
    let waiting = async {
        while !done(&counts()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}: {:?}", counts());
}

fn all_of(counts: &BTreeMap<String, usize>) -> usize {
    counts.values().sum()
}

fn call(request: Request) -> Call {
    Call {
        id: uuid::Uuid::from_u128(1),
        principal: Principal { subject: "a".into(), role: Role::Dispatcher },
        traceparent: Traceparent { trace_id: 1, span_id: 1 },
        exercise: true,
        idempotency: None,
        if_match: None,
        request,
    }
}

#[actix_rt::test]
async fn replicas_share_the_partitions_and_take_over_from_one_that_leaves() {
    let (store, broker, running) = (MemoryStore::new(), MemoryBroker::new(), Running::default());
    let first = Process::start(&store, &broker, &running, "first");
    until(&running, "alone, it owns everything", |c| c.get("first") == Some(&16)).await;
    let second = Process::start(&store, &broker, &running, "second");
    until(&running, "two share", |c| c.get("first") == Some(&8) && c.get("second") == Some(&8)).await;
    let third = Process::start(&store, &broker, &running, "third");
    let shared = |c: &BTreeMap<String, usize>| all_of(c) == 16 && c.len() == 3 && c.values().all(|n| *n <= 6);
    until(&running, "three share without a stop", shared).await;
    third.end().await;
    until(&running, "one that leaves gives its share back", |c| c.get("third") == Some(&0) && all_of(c) == 16).await;
    // Whoever is asked: the owner answers.
    let router = second.router();
    for n in 0..40 {
        let incident = IncidentId::of_patient(&format!("p-{n}").parse().expect("an id"), 1);
        let reply = router.call(call(Request::ActOnIncident(incident, IncidentAction::Acknowledge))).await;
        let name = reply.expect("an owner answers").body;
        assert!(name == "first" || name == "second", "{name}");
    }
    let router = Router { limit: Duration::from_millis(300), ..router };
    let house = router.call(call(Request::House(Service::Incidents, HouseRequest::DeadLetters))).await;
    assert!(house.is_err(), "nobody runs incidents without a partition: {house:?}");
    second.end().await;
    first.end().await;
    until(&running, "nothing is left running", |c| all_of(c) == 0).await;
}

#[actix_rt::test]
async fn what_arrives_is_copied_before_it_is_settled_and_what_is_no_message_becomes_a_dead_letter() {
    let (store, broker, running) = (MemoryStore::new(), MemoryBroker::new(), Running::default());
    let process = Process::start(&store, &broker, &running, "one");
    until(&running, "it owns everything", |c| c.get("one") == Some(&16)).await;
    let wire = broker.wire();
    let sent: Vec<_> = (1..=50).map(|n| message(Kind::TRIAGE_EMERGENCY, "p-1", n)).collect();
    store.fail_next([shers_runtime::CommitError::Unavailable("disk".into())]);
    wire.publish(sent.clone()).await.expect("published");
    // The same once more, as after a lost confirm.
    wire.publish(sent).await.expect("published");
    let bad = Unreadable {
        reason: "not JSON".into(),
        routing_key: "triage.status.emergency.p03".into(),
        message_id: Some("m-1".into()),
        body: b"}{".to_vec(),
    };
    broker.inject("incidents", 3, bad.clone());
    broker.inject("incidents", 3, bad);
    let settled = async {
        while (0..PARTITIONS).any(|p| broker.depth("incidents", p) > 0) || store.all().len() < 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("every queue runs empty");
    assert_eq!(store.all().len(), 50, "each message once");
    let letters = store.documents(DEAD_LETTERS, &[], None, 10).await.expect("readable");
    assert_eq!(letters.len(), 1, "the same letter twice is one");
    assert!(letters[0].doc.contains("not JSON") && letters[0].doc.contains("triage.status.emergency.p03"));
    process.end().await;
}

async fn append(store: &MemoryStore, n: u64) {
    let of = message(Kind::TRIAGE_EMERGENCY, "p-1", n);
    let event = NewEvent {
        id: of.id,
        kind: of.kind,
        v: of.v,
        at: of.at,
        correlation_id: None,
        causation_id: None,
        traceparent: None,
        exercise: true,
        data: of.data.clone(),
    };
    let stream = StreamName::new("triage", "p-1");
    let append = Append { stream, expected: Expected::Any, events: vec![event], open: false };
    store.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("appended");
}

#[actix_rt::test]
async fn the_relay_publishes_the_services_own_events_through_outages_and_changes_of_its_leader() {
    let (own, other) = (MemoryStore::new(), MemoryStore::new());
    let (broker, running) = (MemoryBroker::new(), Running::default());
    let hearer = Process::start(&other, &broker, &running, "hearer");
    until(&running, "somebody hears", |c| c.get("hearer") == Some(&16)).await;
    let relay = |replica: &str| {
        let (stop, stopped) = watch::channel(false);
        let ground = ground(&own, broker.wire(), replica);
        let options = RelayOptions { batch: 7, save_every: Duration::from_millis(1) };
        (stop, actix_rt::spawn(host::relay(ground, Service::Triage, options, stopped)))
    };
    let (stop_first, first) = relay("first");
    let (stop_second, second) = relay("second");
    for n in 1..=20 {
        append(&own, n).await;
    }
    broker.stop();
    for n in 21..=40 {
        append(&own, n).await;
    }
    broker.start();
    stop_first.send(true).expect("it runs");
    first.await.expect("it ends");
    for n in 41..=60 {
        append(&own, n).await;
    }
    let heard = async {
        while other.all().len() < 60 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("heard {} of 60", other.all().len()));
    let versions: Vec<u64> = other.all().iter().map(|recorded| recorded.envelope.version).collect();
    assert_eq!(versions, (1..=60).collect::<Vec<_>>(), "in order, once");
    stop_second.send(true).expect("it runs");
    second.await.expect("it ends");
    hearer.end().await;
}

#[actix_rt::test]
async fn a_request_waits_for_the_next_owner_and_says_so_when_none_comes() {
    let (store, broker, running) = (MemoryStore::new(), MemoryBroker::new(), Running::default());
    let ground = ground(&store, broker.wire(), "asker");
    let request = || call(Request::ActOnIncident("i-1".parse().expect("an id"), IncidentAction::Acknowledge));
    let short = Router { doors: Doors::default(), wire: Arc::clone(&ground.wire), limit: Duration::from_millis(300) };
    let nobody: Problem = short.call(request()).await.expect_err("nobody is there");
    assert_eq!(nobody.status, 503);
    let long = Router { limit: PATIENCE, ..short };
    let asked = actix_rt::spawn(async move { long.call(request()).await });
    let process = Process::start(&store, &broker, &running, "late");
    assert_eq!(asked.await.expect("it ends").expect("answered").body, "late");
    process.end().await;
}
