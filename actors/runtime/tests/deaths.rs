//! Each kind of death, on one small actor that can be told to fail, over a store that can be told to fail.

use async_trait::async_trait;
use shers_contract::{
    DomainEvent, IncidentId, Problem, Timestamp,
    api::{ActorAction, Answer},
    envelope::StreamName,
    incident::{Acknowledged, IncidentEvent},
    supervision::Cause as Death,
};
use shers_runtime::{
    ActorInfo, ActorState, Aggregate, Append, Cause, Commit, CommitError, Committed, Consumer, ConsumerOptions, Deps,
    Directory, DirectoryOptions, Document, Expected, Failure, KeeperOptions, NewEvent, Performer, Position, Recorded,
    Rejected, SavedAnswer, Store, StoreError, Subscription, run_consumer,
    testing::{MemoryStore, deps_over},
};
use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use uuid::Uuid;

/// A store whose answers can be made to fail, to hang and to be late.
struct Faulty {
    memory: Arc<MemoryStore>,
    fail_reads: AtomicU32,
    /// Commits to streams of actors that never come back; nothing of them is stored.
    hang_commits: AtomicU32,
    slow_commits_ms: AtomicU32,
    slow_reads_ms: AtomicU32,
    reading: AtomicU32,
    most_reading: AtomicU32,
}

fn faulty() -> Arc<Faulty> {
    Arc::new(Faulty {
        memory: MemoryStore::new(),
        fail_reads: 0.into(),
        hang_commits: 0.into(),
        slow_commits_ms: 0.into(),
        slow_reads_ms: 0.into(),
        reading: 0.into(),
        most_reading: 0.into(),
    })
}

fn take(left: &AtomicU32) -> bool {
    left.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok()
}

async fn late(ms: &AtomicU32) {
    let ms = ms.load(SeqCst);
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms.into())).await;
    }
}

#[async_trait]
impl Store for Faulty {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        if commit.appends.iter().any(|append| append.stream.category() == "tally") {
            if take(&self.hang_commits) {
                std::future::pending::<()>().await;
            }
            late(&self.slow_commits_ms).await;
        }
        self.memory.commit(commit).await
    }
    async fn read_stream(&self, stream: &StreamName, after: u64) -> Result<Vec<Recorded>, StoreError> {
        if take(&self.fail_reads) {
            return Err(StoreError("told to".to_owned()));
        }
        let reading = self.reading.fetch_add(1, SeqCst) + 1;
        self.most_reading.fetch_max(reading, SeqCst);
        late(&self.slow_reads_ms).await;
        self.reading.fetch_sub(1, SeqCst);
        self.memory.read_stream(stream, after).await
    }
    async fn read_open(&self, category: &str) -> Result<Vec<Recorded>, StoreError> {
        self.memory.read_open(category).await
    }
    async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.memory.read_after(after, limit).await
    }
    async fn read_back(&self, category: &str, before: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.memory.read_back(category, before, limit).await
    }
    async fn read_incident(&self, of: &IncidentId, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.memory.read_incident(of, after, limit).await
    }
    fn head(&self) -> tokio::sync::watch::Receiver<Position> {
        self.memory.head()
    }
    fn epoch(&self) -> String {
        self.memory.epoch()
    }
    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        self.memory.cursor(name).await
    }
    async fn answer(&self, key: &str) -> Result<Option<SavedAnswer>, StoreError> {
        self.memory.answer(key).await
    }
    async fn document(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.memory.document(collection, id).await
    }
    async fn documents(
        &self,
        collection: &str,
        tags: &[String],
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.memory.documents(collection, tags, after, limit).await
    }
    async fn prune(&self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError> {
        self.memory.prune(category, before).await
    }
}

/// Remembers who was counted; its effect is wanted once "effect" was.
#[derive(Default, Clone, Debug, PartialEq)]
struct Tally(Vec<String>);

#[derive(Clone, Debug)]
enum Command {
    Count(String),
    /// Panics in `decide` so often, then counts.
    Panics(Arc<AtomicU32>),
}

#[derive(Clone, Debug)]
struct No;

impl From<No> for Problem {
    fn from(_: No) -> Problem {
        Problem::conflict("no")
    }
}

fn counted(by: &str) -> IncidentEvent {
    IncidentEvent::Acknowledged(Acknowledged { by: by.to_owned() })
}

impl Aggregate for Tally {
    const CATEGORY: &'static str = "tally";
    type Command = Command;
    type Event = IncidentEvent;
    type Refusal = No;
    type Effect = u8;
    fn decide(&self, command: &Command, _: Timestamp) -> Result<Vec<IncidentEvent>, No> {
        match command {
            Command::Count(by) => Ok(vec![counted(by)]),
            Command::Panics(left) if take(left) => panic!("told to"),
            Command::Panics(_) => Ok(vec![counted("after all")]),
        }
    }
    fn evolve(mut self, event: &IncidentEvent, _: Timestamp) -> Self {
        if let IncidentEvent::Acknowledged(acknowledged) = event {
            self.0.push(acknowledged.by.clone());
        }
        self
    }
    fn correlation(&self, _: &IncidentEvent) -> Option<IncidentId> {
        None
    }
    fn effect(&self) -> Option<u8> {
        let counted = |what: &str| self.0.iter().any(|by| by == what);
        (counted("effect") && !counted("performed")).then_some(1)
    }
    fn answer(&self, version: u64) -> Answer {
        Answer::ok(serde_json::json!({"count": self.0.len()})).at_version(version)
    }
}

/// Panics the first time.
#[derive(Default)]
struct Performs(Cell<u32>);

#[async_trait(?Send)]
impl Performer<Tally> for Performs {
    async fn perform(&self, _: &str, _: bool, _: u8) -> Command {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() > 1, "told to");
        Command::Count("performed".to_owned())
    }
}

fn directory(deps: &Deps) -> Directory<Tally> {
    let performer = Rc::new(Performs::default());
    Directory::new(deps.clone(), DirectoryOptions { performer, observer: None, keeper: KeeperOptions::default() })
}

fn request(n: u128) -> Cause {
    Cause::internal(Uuid::from_u128(n), true)
}

fn count(by: &str) -> Command {
    Command::Count(by.to_owned())
}

fn run(test: impl std::future::Future<Output = ()>) {
    std::panic::set_hook(Box::new(|_| {}));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// The actor, its death, its neighbour's peace.
async fn check_died(deps: &Deps, incarnation: u64, restarts: u32, cause: Option<Death>) {
    let infos = deps.keeper.list(10).await;
    let of = |id: &str| infos.iter().find(|info| info.actor == id).cloned().expect("listed");
    let ActorInfo { state, incarnation: lived, restarts: came_back, last_cause, .. } = of("tally/a");
    assert_eq!((state, lived, came_back, last_cause), (ActorState::Running, incarnation, restarts, cause));
    assert_eq!((of("tally/b").incarnation, of("tally/b").last_cause), (1, None), "the neighbour is untouched");
}

#[test]
fn a_panic_in_a_handler_is_a_restart_and_the_message_takes_effect_once() {
    run(async {
        let deps = deps_over(faulty());
        let tally = directory(&deps);
        tally.execute("b", count("x"), request(1)).await.expect("neighbour");
        let done = tally.execute("a", Command::Panics(Arc::new(1.into())), request(2)).await.expect("retried");
        assert_eq!((done.state.0.len(), done.version), (1, 1));
        check_died(&deps, 2, 1, Some(Death::Panic)).await;
    });
}

#[test]
fn a_panic_after_the_commit_does_not_apply_the_message_again() {
    run(async {
        let deps = deps_over(faulty());
        let once = Rc::new(Cell::new(false));
        let observer: shers_runtime::aggregate::Observer<Tally> = Rc::new(move |id, _, _, events| {
            assert!(id != "a" || events.is_empty() || once.replace(true), "told to");
        });
        let options = DirectoryOptions {
            performer: Rc::new(Performs::default()),
            observer: Some(observer),
            keeper: KeeperOptions::default(),
        };
        let tally = Directory::<Tally>::new(deps.clone(), options);
        tally.execute("b", count("x"), request(1)).await.expect("neighbour");
        // No inbox mark, no idempotency key: the events' cause alone tells that it took effect.
        let done = tally.execute("a", count("x"), request(2)).await.expect("answered");
        assert_eq!((done.state.0.len(), done.version, done.events.len()), (1, 1, 1));
        check_died(&deps, 2, 1, Some(Death::Panic)).await;
    });
}

#[test]
fn a_panic_in_an_effect_is_tried_again_and_leaves_the_actor_alive() {
    run(async {
        let deps = deps_over(faulty());
        let tally = directory(&deps);
        tally.execute("b", count("x"), request(1)).await.expect("neighbour");
        tally.execute("a", count("effect"), request(2)).await.expect("executed");
        deps.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(tally.state("a").await.expect("state").0.0, ["effect", "performed"]);
        check_died(&deps, 1, 0, Some(Death::Panic)).await;
    });
}

#[test]
fn a_panic_on_another_arbiter_touches_nobody_here_or_there() {
    std::panic::set_hook(Box::new(|_| {}));
    actix_rt::System::new().block_on(async {
        let deps = deps_over(faulty());
        let (there, answer) = (deps.clone(), tokio::sync::oneshot::channel());
        let arbiter = actix_rt::Arbiter::new();
        arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                let tally = directory(&there);
                tally.execute("b", count("x"), request(1)).await.expect("neighbour");
                let done = tally.execute("a", Command::Panics(Arc::new(1.into())), request(2)).await;
                let still = tally.execute("b", count("y"), request(3)).await;
                let _ = answer.0.send((done.is_ok(), still.is_ok()));
            });
        });
        assert_eq!(answer.1.await, Ok((true, true)));
        check_died(&deps, 2, 1, Some(Death::Panic)).await;
        arbiter.stop();
    });
}

#[test]
fn an_error_at_load_backs_off_without_blame_and_the_message_waits_for_it() {
    run(async {
        let store = faulty();
        let deps = deps_over(store.clone());
        let tally = directory(&deps);
        tally.execute("b", count("x"), request(1)).await.expect("neighbour");
        store.fail_reads.store(8, SeqCst);
        let before = deps.clock.now();
        tally.execute("a", count("x"), request(2)).await.expect("the store came back");
        // 0, then 50 ms doubling: 50 · (2⁷ − 1) = 6,350 ms, and up to a quarter of jitter.
        let waited = deps.clock.now().ms_since(before);
        assert!((6_300..8_200).contains(&waited), "waited {waited} ms");
        check_died(&deps, 9, 0, Some(Death::Error)).await;
    });
}

#[test]
fn a_commit_that_never_returns_is_a_hang_and_one_that_is_slow_is_not() {
    run(async {
        let store = faulty();
        let deps = deps_over(store.clone());
        let tally = directory(&deps);
        tally.execute("b", count("x"), request(1)).await.expect("neighbour");
        store.slow_commits_ms.store(25_000, SeqCst);
        tally.execute("a", count("slow"), request(2)).await.expect("late, but there");
        check_died(&deps, 1, 0, None).await;
        store.slow_commits_ms.store(0, SeqCst);
        store.hang_commits.store(1, SeqCst);
        let before = deps.clock.now();
        let done = tally.execute("a", count("hung"), request(3)).await.expect("decided again");
        let waited = deps.clock.now().ms_since(before);
        assert!((30_000..38_000).contains(&waited), "waited {waited} ms");
        assert_eq!(done.state.0, ["slow", "hung"]);
        check_died(&deps, 2, 0, Some(Death::Hang)).await;
    });
}

/// Gives each event of `news/<id>` to the actor of that id; "poison" kills it.
struct Ear(Directory<Tally>);

#[async_trait(?Send)]
impl Consumer for Ear {
    fn subscription(&self) -> Subscription {
        let patterns = vec![shers_contract::routing::Pattern::new("incident.acknowledged").expect("pattern")];
        Subscription { name: "tally.ear", patterns, live_only: false, prefetch: 64 }
    }
    fn order_key(&self, message: &Recorded) -> String {
        message.envelope.stream.to_string()
    }
    async fn handle(&self, message: &Recorded) -> Result<(), Failure> {
        let envelope = &message.envelope;
        let Some(Ok(IncidentEvent::Acknowledged(news))) = IncidentEvent::from_envelope(envelope) else { return Ok(()) };
        if envelope.stream.category() != "news" {
            return Ok(());
        }
        let always = || Command::Panics(Arc::new(u32::MAX.into()));
        let command = if news.by == "poison" { always() } else { Command::Count(news.by) };
        self.0.deliver(envelope.stream.id(), command, Cause::delivery(envelope, "tally.ear")).await.map(|_| ())
    }
}

async fn tell(deps: &Deps, id: &str, by: &str) {
    let event = counted(by);
    let now = deps.clock.now();
    let new = NewEvent {
        id: deps.ids.uuid(now),
        kind: event.kind(),
        v: 1,
        at: now,
        correlation_id: None,
        causation_id: None,
        traceparent: None,
        exercise: true,
        data: event.to_data(),
    };
    let append =
        Append { stream: StreamName::new("news", id), expected: Expected::Any, events: vec![new], open: false };
    deps.store.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("told");
    deps.clock.sleep(Duration::from_secs(2)).await;
}

fn listen(deps: &Deps) -> (Directory<Tally>, tokio::task::JoinHandle<()>) {
    let tally = directory(deps);
    let ear = Rc::new(Ear(tally.clone()));
    (tally, actix_rt::spawn(run_consumer(deps.clone(), ear, ConsumerOptions::default())))
}

async fn counted_by(tally: &Directory<Tally>, id: &str) -> Vec<String> {
    tally.state(id).await.expect("state").0.0
}

#[test]
fn a_poisoned_message_goes_to_the_dead_letters_and_the_rest_of_its_stream_goes_on() {
    run(async {
        let deps = deps_over(faulty());
        let (tally, _ear) = listen(&deps);
        for by in ["one", "poison", "two"] {
            tell(&deps, "a", by).await;
        }
        assert_eq!(counted_by(&tally, "a").await, ["one", "two"]);
        let dead = deps.exchange.dead_letters().await.expect("dead letters");
        assert_eq!(dead.len(), 1);
        assert!(dead[0].reason.contains("ended every life"), "{}", dead[0].reason);
    });
}

/// Crashes `a` until it is in quarantine.
async fn quarantine(deps: &Deps) {
    for _ in 0..6 {
        deps.keeper.act("tally/a", ActorAction::Crash).await.expect("crashed");
        deps.clock.sleep(Duration::from_secs(3)).await;
    }
    assert!(deps.keeper.is_quarantined("tally/a"));
}

#[test]
fn messages_for_a_quarantined_actor_are_kept_through_a_restart_and_come_back_in_order() {
    run(async {
        let store = faulty();
        let deps = deps_over(store.clone());
        let (_, ear) = listen(&deps);
        tell(&deps, "a", "1").await;
        quarantine(&deps).await;
        tell(&deps, "a", "2").await;
        tell(&deps, "a", "3").await;
        ear.abort();

        let deps = deps_over(store.clone());
        let (tally, _ear) = listen(&deps);
        tally.load_open().await.expect("loaded");
        tell(&deps, "a", "4").await;
        tell(&deps, "b", "x").await;
        let info = deps.keeper.page("tally", None, 1).await.remove(0);
        assert_eq!((info.actor.as_str(), info.state, info.parked), ("tally/a", ActorState::Quarantined, 3));
        assert_eq!(counted_by(&tally, "b").await, ["x"], "a neighbour is not held up");
        assert_eq!(counted_by(&tally, "a").await, ["1"]);

        deps.keeper.act("tally/a", ActorAction::Release).await.expect("released");
        tell(&deps, "a", "5").await;
        assert_eq!(counted_by(&tally, "a").await, ["1", "2", "3", "4", "5"]);
        assert!(store.documents("parked", &[], None, 10).await.expect("read").is_empty());
        assert!(store.documents("quarantine", &[], None, 10).await.expect("read").is_empty());
    });
}

#[test]
fn what_is_parked_can_be_given_up_by_a_person() {
    run(async {
        let store = faulty();
        let deps = deps_over(store.clone());
        let (tally, _ear) = listen(&deps);
        tell(&deps, "a", "1").await;
        quarantine(&deps).await;
        tell(&deps, "a", "2").await;
        deps.keeper.act("tally/a", ActorAction::Discard).await.expect("discarded");
        assert_eq!(deps.exchange.dead_letters().await.expect("dead letters").len(), 1);
        deps.keeper.act("tally/a", ActorAction::Release).await.expect("released");
        tell(&deps, "a", "3").await;
        assert_eq!(counted_by(&tally, "a").await, ["1", "3"]);
    });
}

#[test]
fn what_comes_beyond_the_limit_of_parked_messages_is_a_dead_letter_and_can_be_replayed() {
    run(async {
        let deps = deps_over(faulty());
        deps.keeper.park_at_most(2);
        let (tally, _ear) = listen(&deps);
        tell(&deps, "a", "1").await;
        quarantine(&deps).await;
        for by in ["2", "3", "4"] {
            tell(&deps, "a", by).await;
        }
        let letters = deps.exchange.dead_letters().await.expect("dead letters");
        assert_eq!(letters.len(), 1);
        assert!(letters[0].reason.contains("2 messages are parked for tally/a"), "{}", letters[0].reason);
        deps.keeper.act("tally/a", ActorAction::Release).await.expect("released");
        tell(&deps, "a", "5").await;
        assert_eq!(counted_by(&tally, "a").await, ["1", "2", "3", "5"]);
        assert!(deps.exchange.replay(&letters[0].id).await.expect("replayed"));
        deps.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(counted_by(&tally, "a").await, ["1", "2", "3", "5", "4"]);
    });
}

#[test]
fn a_storm_of_restarts_reads_few_at_a_time_fails_its_category_and_lets_a_new_emergency_pass() {
    run(async {
        const ACTORS: u32 = 10_000;
        let store = faulty();
        let deps = deps_over(store.clone());
        let tally = directory(&deps);
        for n in 0..ACTORS {
            tally.execute(&format!("n{n}"), count("x"), request(u128::from(n) + 1)).await.expect("executed");
        }
        store.slow_reads_ms.store(1, SeqCst);
        store.most_reading.store(0, SeqCst);
        for n in 0..ACTORS {
            deps.keeper.act(&format!("tally/n{n}"), ActorAction::Crash).await.expect("crashed");
        }
        let before = deps.clock.now();
        tally.execute("new", count("emergency"), request(1 << 64)).await.expect("executed");
        let waited = deps.clock.now().ms_since(before);
        assert!(waited <= 5, "a new emergency waited {waited} ms");
        // The last in the queue of those that come back, but somebody waits for it.
        let last = format!("n{}", ACTORS - 1);
        tally.execute(&last, count("emergency"), request(1 << 65)).await.expect("executed");
        let waited = deps.clock.now().ms_since(before);
        // It has its back-off, as the category fails, but not their queue.
        assert!(waited <= 80, "an emergency of one that died waited {waited} ms behind the idle");
        assert!(!deps.keeper.health().is_ready(), "so many deaths are the category's own");
        deps.clock.sleep(Duration::from_secs(200)).await;
        let tree = deps.keeper.tree().await;
        let of_tally = tree.categories.iter().find(|of| of.category == "tally").expect("in the tree");
        assert_eq!((of_tally.running, of_tally.failing), (ACTORS as usize + 1, false));
        assert_eq!(of_tally.deaths_by_minute.iter().sum::<u32>(), ACTORS, "restarts over time are kept");
        assert!(store.most_reading.load(SeqCst) <= 34, "{} read at once", store.most_reading.load(SeqCst));
        assert!(deps.keeper.health().is_ready());
        let page = deps.keeper.page("tally", Some("n9998".to_owned()), 5).await;
        assert_eq!(page.iter().map(|info| info.actor.as_str()).collect::<Vec<_>>(), ["tally/n9999", "tally/new"]);
    });
}

#[test]
fn a_request_to_a_quarantined_actor_is_told_so() {
    run(async {
        let deps = deps_over(faulty());
        let tally = directory(&deps);
        tally.execute("a", count("1"), request(1)).await.expect("executed");
        quarantine(&deps).await;
        assert!(matches!(tally.execute("a", count("2"), request(2)).await, Err(Rejected::Unavailable(_))));
    });
}
