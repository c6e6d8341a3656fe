//! Long-lived tasks under the Keeper: each kind of death, the limit, the tree above them; and several
//! directories of one category in one process.

use shers_contract::{
    DomainEvent, Problem, Timestamp,
    api::{ActorAction, Answer},
    incident::{Acknowledged, IncidentEvent},
    supervision::Cause as Death,
};
use shers_runtime::{
    ActorInfo, ActorState, Aggregate, Cause, Consumer, ConsumerOptions, Deps, Directory, DirectoryOptions, Expected,
    Failure, KeeperOptions, Life, NoEffect, Recorded, Subscription, run_consumer,
    testing::{MemoryStore, deps_over, store_suite as suite},
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};
use uuid::Uuid;

fn run(test: impl std::future::Future<Output = ()>) {
    std::panic::set_hook(Box::new(|_| {}));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// How a life of the task goes.
#[derive(Clone, Copy)]
enum Goes {
    Panics,
    PanicsBeforeItsFuture,
    Errs,
    /// With something in hand.
    Hangs,
    Lives,
    IsOver,
}

/// Runs a task whose lives go as told, the last one for ever, and counts them.
fn task(deps: &Deps, lives: &'static [Goes]) -> Rc<Cell<usize>> {
    let (keeper, begun) = (deps.keeper.clone(), Rc::new(Cell::new(0)));
    let count = Rc::clone(&begun);
    let life = move |life: Life| {
        let goes = lives[count.get().min(lives.len() - 1)];
        count.set(count.get() + 1);
        assert!(!matches!(goes, Goes::PanicsBeforeItsFuture), "told to");
        async move {
            match goes {
                Goes::Panics | Goes::PanicsBeforeItsFuture => panic!("told to"),
                Goes::Errs => return Err("told to".to_owned()),
                Goes::Hangs => life.begin(3),
                Goes::Lives => life.end(),
                Goes::IsOver => return Ok(()),
            }
            std::future::pending().await
        }
    };
    actix_rt::spawn(async move { keeper.keep("task", "t", KeeperOptions::default(), life).await });
    begun
}

async fn info(deps: &Deps) -> Option<ActorInfo> {
    deps.keeper.list(10).await.into_iter().find(|info| info.actor == "task/t")
}

fn check(lives: &'static [Goes], after: Duration, incarnation: u64, cause: Option<Death>) {
    run(async move {
        let store = MemoryStore::new();
        let deps = deps_over(store.clone());
        let begun = task(&deps, lives);
        tokio::time::sleep(after).await;
        let info = info(&deps).await.expect("in the tree");
        assert_eq!((info.state, info.incarnation, info.last_cause), (ActorState::Running, incarnation, cause));
        assert_eq!(begun.get() as u64, incarnation);
        assert_eq!(info.parent.as_deref(), Some("task/*"));
        let restarted = store.kinds().iter().filter(|kind| **kind == "supervision.restarted").count();
        assert_eq!(restarted as u64, incarnation - 1, "each restart is written");
    });
}

const SOON: Duration = Duration::from_secs(1);

#[test]
fn a_task_that_panics_lives_again() {
    check(&[Goes::Panics, Goes::Lives], SOON, 2, Some(Death::Panic));
}

#[test]
fn a_task_that_panics_before_it_has_a_future_lives_again() {
    check(&[Goes::PanicsBeforeItsFuture, Goes::Lives], SOON, 2, Some(Death::Panic));
}

#[test]
fn a_task_that_gives_an_error_lives_again() {
    check(&[Goes::Errs, Goes::Errs, Goes::Lives], SOON, 3, Some(Death::Error));
}

#[test]
fn a_task_that_makes_no_progress_with_work_in_hand_lives_again() {
    check(&[Goes::Hangs, Goes::Lives], Duration::from_secs(60), 2, Some(Death::Hang));
}

#[test]
fn a_task_with_nothing_in_hand_does_not_hang() {
    check(&[Goes::Lives], Duration::from_secs(3_600), 1, None);
}

#[test]
fn a_task_whose_work_is_over_leaves_the_tree() {
    run(async {
        let deps = deps_over(MemoryStore::new());
        task(&deps, &[Goes::IsOver]);
        tokio::time::sleep(SOON).await;
        assert_eq!(info(&deps).await, None);
    });
}

#[test]
fn a_person_ends_a_life_and_crashes_another() {
    run(async {
        let deps = deps_over(MemoryStore::new());
        let begun = task(&deps, &[Goes::Lives]);
        tokio::time::sleep(SOON).await;
        for (action, cause) in [(ActorAction::Restart, Death::Requested), (ActorAction::Crash, Death::Panic)] {
            deps.keeper.act("task/t", action).await.expect("done");
            tokio::time::sleep(SOON).await;
            assert_eq!(info(&deps).await.and_then(|info| info.last_cause), Some(cause));
        }
        assert_eq!(begun.get(), 3);
        let refused = deps.keeper.act("task/t", ActorAction::Release).await.expect_err("not in quarantine");
        assert_eq!(refused.status, 409);
    });
}

#[test]
fn a_task_that_keeps_dying_fails_its_category_goes_on_trying_and_is_well_again_after_a_window() {
    run(async {
        // Ten deaths, then it lives.
        const LIVES: [Goes; 11] = {
            let mut lives = [Goes::Panics; 11];
            lives[10] = Goes::Lives;
            lives
        };
        let deps = deps_over(MemoryStore::new());
        let begun = task(&deps, &LIVES);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(deps.keeper.health().failing, ["task"], "its parent knows");
        let seen = info(&deps).await.expect("in the tree");
        assert_eq!(seen.state, ActorState::Restarting, "it waits for its back-off, and for nobody");
        assert!(seen.back_at.is_some());
        let survey = deps.keeper.survey(10).await;
        let of = |actor: &str| survey.iter().find(|info| info.actor == actor).expect("in the survey");
        assert_eq!((of("task/*").state, of("task/*").parent.as_deref()), (ActorState::Restarting, Some("test")));
        assert_eq!(of("test").parent, None);
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert_eq!(begun.get(), 11);
        assert!(deps.keeper.health().is_ready(), "nothing died for a window");
    });
}

/// Notes what it was told; a message "panics" panics, outside of what a consumer catches, the first time.
struct Ear {
    heard: Rc<RefCell<Vec<String>>>,
    deaf: Cell<bool>,
}

#[async_trait::async_trait(?Send)]
impl Consumer for Ear {
    fn subscription(&self) -> Subscription {
        let patterns = vec![shers_contract::routing::Pattern::new("incident.#").expect("pattern")];
        Subscription { name: "ear", patterns, live_only: false, prefetch: 64 }
    }
    fn order_key(&self, message: &Recorded) -> String {
        assert!(!self.deaf.replace(false), "told to");
        message.envelope.stream.to_string()
    }
    async fn handle(&self, message: &Recorded) -> Result<(), Failure> {
        self.heard.borrow_mut().push(message.envelope.stream.to_string());
        Ok(())
    }
}

#[test]
fn a_consumer_that_dies_with_its_batch_in_hand_gets_it_again() {
    run(async {
        let store = MemoryStore::new();
        let deps = deps_over(store.clone());
        let heard = Rc::new(RefCell::new(Vec::new()));
        let ear = Rc::new(Ear { heard: Rc::clone(&heard), deaf: Cell::new(true) });
        actix_rt::spawn(run_consumer(deps.clone(), ear, ConsumerOptions::default()));
        for stream in ["incident/a", "incident/b"] {
            let commit = suite::append(stream, Expected::Version(0), &["x"], true);
            shers_runtime::Store::commit(&*store, commit).await.expect("stored");
        }
        tokio::time::sleep(SOON).await;
        assert_eq!(*heard.borrow(), ["incident/a", "incident/b"]);
        let infos = deps.keeper.list(10).await;
        let ear = infos.iter().find(|info| info.actor == "consumer/ear").expect("in the tree");
        assert_eq!((ear.incarnation, ear.last_cause), (2, Some(Death::Panic)));
    });
}

#[derive(Default, Clone, Debug)]
struct Note(usize);

#[derive(Clone, Debug)]
struct No;

impl From<No> for Problem {
    fn from(_: No) -> Problem {
        Problem::conflict("no")
    }
}

impl Aggregate for Note {
    const CATEGORY: &'static str = "note";
    type Command = ();
    type Event = IncidentEvent;
    type Refusal = No;
    type Effect = NoEffect;
    fn decide(&self, (): &(), _: Timestamp) -> Result<Vec<IncidentEvent>, No> {
        Ok(vec![IncidentEvent::Acknowledged(Acknowledged { by: "x".to_owned() })])
    }
    fn evolve(self, event: &IncidentEvent, _: Timestamp) -> Self {
        assert_eq!(event.schema_version(), 1);
        Self(self.0 + 1)
    }
    fn correlation(&self, _: &IncidentEvent) -> Option<shers_contract::IncidentId> {
        None
    }
    fn answer(&self, version: u64) -> Answer {
        Answer::ok(serde_json::json!({"count": self.0})).at_version(version)
    }
}

#[test]
fn directories_of_one_category_are_one_to_a_person_and_may_go_away() {
    run(async {
        let deps = deps_over(MemoryStore::new());
        let options = || DirectoryOptions { performer: Rc::new(()), observer: None, keeper: KeeperOptions::default() };
        let note = |n: u128| Cause::internal(Uuid::from_u128(n), true);
        let here = Directory::<Note>::new(deps.clone(), options());
        // The second lives on a thread of its own, as a partition does.
        let (told, wait) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (others, of_other) = (deps.clone(), options);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let there = Directory::<Note>::new(others, of_other());
                there.execute("there", (), note(1)).await.expect("executed");
                told.send(()).expect("awaited");
                stopped.await.expect("told to stop");
            });
        });
        wait.await.expect("told");
        here.execute("here", (), note(2)).await.expect("executed");

        let page = deps.keeper.page("note", None, 10).await;
        assert_eq!(page.iter().map(|info| &*info.actor).collect::<Vec<_>>(), ["note/here", "note/there"]);
        let notes = |tree: shers_runtime::SupervisionTree| {
            tree.categories.iter().find(|of| of.category == "note").map_or(0, |of| of.running)
        };
        assert_eq!(notes(deps.keeper.tree().await), 2);
        for actor in ["note/here", "note/there"] {
            deps.keeper.act(actor, ActorAction::Restart).await.expect("found");
        }
        assert_eq!(deps.keeper.act("note/nobody", ActorAction::Restart).await.expect_err("nobody").status, 404);

        stop.send(()).expect("it waits");
        tokio::task::spawn_blocking(move || thread.join()).await.expect("joined").expect("ended well");
        assert_eq!(notes(deps.keeper.tree().await), 1, "who is gone is forgotten");
        assert_eq!(deps.keeper.act("note/there", ActorAction::Restart).await.expect_err("gone").status, 404);
        deps.keeper.act("note/here", ActorAction::Restart).await.expect("found");
    });
}
