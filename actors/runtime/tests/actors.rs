//! The generic aggregate actor and the Keeper, on one small aggregate that can be told to fail.

use shers_contract::{
    DomainEvent, IncidentId, Problem, Timestamp,
    api::{ActorAction, Answer, Idempotency},
    incident::{Acknowledged, Escalated, IncidentEvent, Priority},
};
use shers_runtime::{
    Aggregate, Append, Cause, Commit, CommitError, Deps, Directory, DirectoryOptions, Expected, KeeperOptions,
    NewEvent, Performer, Rejected, Store,
    testing::{MemoryStore, TEST_START, deps_at, deps_over},
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// Counts; rings ten seconds after the first count; closes at 100.
#[derive(Default, Clone, Debug, PartialEq)]
struct Counter {
    count: u32,
    rings: u8,
    first_at: Option<Timestamp>,
    sent: bool,
}

#[derive(Clone, Debug)]
enum Command {
    Add(u32),
    Ring,
    Sent,
    PanicOnce(Arc<std::sync::atomic::AtomicU32>),
    Refuse,
}

#[derive(Clone, Debug, PartialEq)]
struct No;

impl From<No> for Problem {
    fn from(_: No) -> Problem {
        Problem::conflict("no")
    }
}

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Command = Command;
    type Event = IncidentEvent;
    type Refusal = No;
    type Effect = u32;

    fn decide(&self, command: &Command, _now: Timestamp) -> Result<Vec<IncidentEvent>, No> {
        let added = |n: u32| (0..n).map(|i| IncidentEvent::Acknowledged(Acknowledged { by: i.to_string() })).collect();
        match command {
            Command::Add(n) => Ok(added(*n)),
            Command::Ring if self.rings > 0 => Ok(Vec::new()),
            Command::Ring => Ok(vec![escalated(1)]),
            Command::Sent => Ok(vec![escalated(2)]),
            Command::PanicOnce(left) => {
                if left.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                    left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                    panic!("told to");
                }
                Ok(added(1))
            }
            Command::Refuse => Err(No),
        }
    }
    fn evolve(mut self, event: &IncidentEvent, at: Timestamp) -> Self {
        match event {
            IncidentEvent::Escalated(e) if e.level == 2 => self.sent = true,
            IncidentEvent::Escalated(_) => self.rings += 1,
            _ => {
                self.count += 1;
                self.first_at.get_or_insert(at);
            }
        }
        self
    }
    fn correlation(&self, _: &IncidentEvent) -> Option<IncidentId> {
        None
    }
    fn deadline(&self) -> Option<(Timestamp, Command)> {
        self.first_at.filter(|_| self.rings == 0).map(|at| (at.plus_ms(10_000), Command::Ring))
    }
    fn effect(&self) -> Option<u32> {
        (self.count == 7 && !self.sent).then_some(self.count)
    }
    fn is_closed(&self) -> bool {
        self.count >= 100
    }
    fn answer(&self, version: u64) -> Answer {
        Answer::ok(serde_json::json!({"count": self.count})).at_version(version)
    }
}

fn escalated(level: u8) -> IncidentEvent {
    IncidentEvent::Escalated(Escalated {
        level,
        reason: String::new(),
        by: None,
        priority: Priority::P1,
        next_at: None,
    })
}

/// Says that it sent, and counts how often it was asked to.
#[derive(Default)]
struct Sends(Cell<u32>);

#[async_trait::async_trait(?Send)]
impl Performer<Counter> for Sends {
    async fn perform(&self, _: &str, _: bool, _: u32) -> Command {
        self.0.set(self.0.get() + 1);
        Command::Sent
    }
}

fn directory(deps: &Deps) -> (Directory<Counter>, Rc<Sends>) {
    let sends = Rc::new(Sends::default());
    let performer: Rc<dyn Performer<Counter>> = Rc::clone(&sends) as Rc<dyn Performer<Counter>>;
    let options = DirectoryOptions { performer, observer: None, keeper: KeeperOptions::default() };
    (Directory::new(deps.clone(), options), sends)
}

fn cause(n: u128) -> Cause {
    Cause { consumer: Some("test"), ..Cause::internal(Uuid::from_u128(n), true) }
}

/// Runs on one thread with tokio's clock paused.
fn run(test: impl std::future::Future<Output = ()>) {
    std::panic::set_hook(Box::new(|_| {}));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never: {what}");
}

#[test]
fn a_command_commits_its_events_and_a_repeated_message_has_no_effect() {
    run(async {
        let store = MemoryStore::new();
        let (counter, _) = directory(&deps_over(store.clone()));
        let done = counter.execute("a", Command::Add(2), cause(1)).await.expect("executed");
        assert_eq!((done.state.count, done.version, done.events.len()), (2, 2, 2));
        assert!(matches!(counter.execute("a", Command::Add(2), cause(1)).await, Err(Rejected::Repeated)));
        assert!(matches!(counter.execute("a", Command::Refuse, cause(2)).await, Err(Rejected::Refused(No))));
        assert_eq!(counter.state("a").await.expect("state").0.count, 2);
    });
}

#[test]
fn a_panic_restarts_the_actor_and_the_message_in_hand_takes_effect_once() {
    run(async {
        let store = MemoryStore::new();
        let deps = deps_over(store.clone());
        let (counter, _) = directory(&deps);
        counter.execute("a", Command::Add(3), cause(1)).await.expect("executed");
        let once = Arc::new(1.into());
        let done = counter.execute("a", Command::PanicOnce(once), cause(2)).await.expect("retried");
        assert_eq!((done.state.count, done.version), (4, 4));
        let infos = deps.keeper.list(10).await;
        assert_eq!((infos[0].actor.as_str(), infos[0].incarnation, infos[0].restarts), ("counter/a", 2, 1));
        eventually("the restart is recorded", || store.kinds().contains(&"supervision.restarted")).await;
    });
}

#[test]
fn a_poisoned_message_is_given_up_and_its_actor_goes_on() {
    run(async {
        let (counter, _) = directory(&deps_over(MemoryStore::new()));
        let always = Arc::new(1_000.into());
        let given_up = counter.execute("a", Command::PanicOnce(always), cause(1)).await;
        assert!(matches!(given_up, Err(Rejected::Problem(p)) if p.status == 500));
        assert_eq!(counter.execute("a", Command::Add(1), cause(2)).await.expect("goes on").state.count, 1);
    });
}

#[test]
fn too_many_deaths_quarantine_the_actor_until_a_person_releases_it() {
    run(async {
        let store = MemoryStore::new();
        let deps = deps_over(store.clone());
        let (counter, _) = directory(&deps);
        counter.execute("a", Command::Add(1), cause(1)).await.expect("executed");
        for _ in 0..6 {
            deps.keeper.act("counter/a", ActorAction::Crash).await.expect("crashed");
            deps.clock.sleep(Duration::from_secs(2)).await;
        }
        eventually("quarantined", || store.kinds().contains(&"supervision.quarantined")).await;
        assert!(matches!(counter.execute("a", Command::Add(1), cause(2)).await, Err(Rejected::Unavailable(_))));
        counter.execute("b", Command::Add(1), cause(3)).await.expect("a neighbour is untouched");
        deps.keeper.act("counter/a", ActorAction::Release).await.expect("released");
        assert_eq!(counter.execute("a", Command::Add(1), cause(4)).await.expect("goes on").state.count, 2);
    });
}

#[test]
fn a_deadline_fires_at_its_time_also_after_a_restart_of_the_process() {
    run(async {
        let store = MemoryStore::new();
        let deps = deps_over(store.clone());
        let (counter, _) = directory(&deps);
        counter.execute("a", Command::Add(1), cause(1)).await.expect("executed");
        deps.clock.sleep(Duration::from_secs(9)).await;
        assert_eq!(counter.state("a").await.expect("state").0.rings, 0);
        // Another process comes at the same time of day; the old one is a zombie whose write is refused.
        let deps = deps_at(store.clone(), TEST_START.plus_ms(9_000));
        let (again, _) = directory(&deps);
        assert_eq!(again.load_open().await.expect("loaded"), 1);
        deps.clock.sleep(Duration::from_millis(1_100)).await;
        eventually("rang", || store.kinds().contains(&"incident.escalated")).await;
        assert_eq!(again.state("a").await.expect("state").0.rings, 1);
    });
}

#[test]
fn an_effect_is_performed_once_and_its_end_comes_back_as_a_command() {
    run(async {
        let store = MemoryStore::new();
        let (counter, sends) = directory(&deps_over(store.clone()));
        counter.execute("a", Command::Add(7), cause(1)).await.expect("executed");
        eventually("sent", || store.kinds().contains(&"incident.escalated")).await;
        assert_eq!((sends.0.get(), counter.state("a").await.expect("state").0.sent), (1, true));
    });
}

#[test]
fn an_idempotency_key_gives_the_first_answer_again_and_refuses_another_body() {
    run(async {
        let (counter, _) = directory(&deps_over(MemoryStore::new()));
        let keyed = |n, digest: &str| Cause {
            idempotency: Some(Idempotency { key: "k".into(), body_digest: digest.into() }),
            ..Cause::internal(Uuid::from_u128(n), true)
        };
        let first = counter.execute("a", Command::Add(1), keyed(1, "x")).await.expect("executed").answer;
        let again = counter.execute("a", Command::Add(1), keyed(2, "x")).await.expect("replayed").answer;
        assert_eq!(first, again);
        let other = counter.execute("a", Command::Add(1), keyed(3, "y")).await;
        assert!(matches!(other, Err(Rejected::Problem(p)) if p.status == 422));
        assert_eq!(counter.state("a").await.expect("state").1, 1);
    });
}

#[test]
fn a_second_owners_write_is_noticed_and_decided_again() {
    run(async {
        let store = MemoryStore::new();
        let deps = deps_over(store.clone());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (counter, _) = directory(&deps);
        counter.execute("a", Command::Add(1), cause(1)).await.expect("executed");
        let event = IncidentEvent::Acknowledged(Acknowledged { by: "the other owner".into() });
        let new = NewEvent {
            id: Uuid::from_u128(9),
            kind: event.kind(),
            v: 1,
            at: deps.clock.now(),
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            exercise: true,
            data: event.to_data(),
        };
        let stream = shers_contract::envelope::StreamName::new("counter", "a");
        let append = Append { stream, expected: Expected::Version(1), events: vec![new], open: true };
        store.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("written");
        let done = counter.execute("a", Command::Add(1), cause(2)).await.expect("decided again");
        seen.borrow_mut().push(done.version);
        assert_eq!((done.state.count, done.version), (3, 3));
    });
}

#[test]
fn a_commit_that_fails_changes_nothing_and_the_next_one_works() {
    run(async {
        let store = MemoryStore::new();
        let (counter, _) = directory(&deps_over(store.clone()));
        store.fail_next([CommitError::Unavailable("disk full".into())]);
        assert!(matches!(counter.execute("a", Command::Add(1), cause(1)).await, Err(Rejected::Unavailable(_))));
        store.fail_next([CommitError::Unknown("who knows".into())]);
        let done = counter.execute("a", Command::Add(1), cause(1)).await.expect("tried again");
        assert_eq!((done.state.count, store.all().len()), (1, 1));
    });
}

#[test]
fn an_effect_found_at_load_runs_once_and_exercise_outlives_deadlines_and_restarts() {
    run(async {
        let store = MemoryStore::new();
        let hang = DirectoryOptions { performer: Rc::new(Never), observer: None, keeper: KeeperOptions::default() };
        let first = Directory::<Counter>::new(deps_over(store.clone()), hang);
        first.execute("a", Command::Add(7), cause(1)).await.expect("executed");
        let deps = deps_at(store.clone(), TEST_START.plus_ms(1_000));
        let (again, sends) = directory(&deps);
        assert_eq!(again.load_open().await.expect("loaded"), 1);
        deps.clock.sleep(Duration::from_secs(30)).await;
        assert_eq!((sends.0.get(), again.state("a").await.expect("state").0.rings), (1, 1));
        let own = store.all().into_iter().filter(|r| r.envelope.stream.category() == "counter");
        assert!(own.clone().count() == 9 && own.into_iter().all(|r| r.envelope.exercise));
    });
}

/// Never comes back.
struct Never;

#[async_trait::async_trait(?Send)]
impl Performer<Counter> for Never {
    async fn perform(&self, _: &str, _: bool, _: u32) -> Command {
        std::future::pending().await
    }
}
