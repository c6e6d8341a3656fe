//! Long-lived tasks under the Keeper: consumers, projectors, writers, gateways' workers, websocket sessions.
//!
//! A task is not an actor with a mailbox: it is a future that is made anew for each life. What it must not
//! lose lies outside it (a durable cursor, a queue it borrows, a claim in the log), so ending a life is no
//! more than dropping its future.
//!
//! - Panic, returned error, hang and request are told apart and counted as for actors.
//! - The first restart is at once, later ones after the back-off.
//! - A task is never put into quarantine: who carries everybody's messages may not wait for a person. One
//!   that dies more than [`KeeperOptions::max_restarts`] times within the window makes its category fail
//!   instead, which its own parent shows and `/health/ready` says, and goes on at the longest back-off.
//! - A task says what it has in hand ([`Life::begin`], [`Life::progress`], [`Life::end`]). One that has
//!   something and makes no progress for [`KeeperOptions::hang_after`] hangs.

use crate::clock::Clock;
use crate::keeper::{ActorInfo, ActorState, Keeper, KeeperOptions, lock, panic_text};
use futures::FutureExt;
use shers_contract::{
    Problem, Timestamp,
    api::ActorAction,
    supervision::{Cause, Supervised as SupervisedData, SupervisionEvent},
};
use std::{
    collections::VecDeque,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// What is known of a task; shared with whoever asks, from any thread.
pub(crate) struct TaskWatch {
    pub(crate) category: &'static str,
    pub(crate) name: String,
    lives: Mutex<Lives>,
    restart: Notify,
    crash: Notify,
    in_hand: AtomicUsize,
    moved_at_ms: AtomicI64,
}

struct Lives {
    state: ActorState,
    incarnation: u64,
    deaths: VecDeque<Timestamp>,
    last: Option<(Cause, String)>,
    back_at: Option<Timestamp>,
}

/// How a task says what it does.
#[derive(Clone)]
pub struct Life {
    watch: Arc<TaskWatch>,
    clock: Arc<dyn Clock>,
}

impl Life {
    /// It takes `count` things in hand.
    pub fn begin(&self, count: usize) {
        self.watch.in_hand.store(count, Ordering::Relaxed);
        self.progress();
    }
    /// It got on with what it has in hand.
    pub fn progress(&self) {
        self.watch.moved_at_ms.store(self.clock.now().as_ms(), Ordering::Relaxed);
    }
    /// Says what a person must see in the tree, although it ends no life.
    pub fn note(&self, what: String) {
        lock(&self.watch.lives).last = Some((Cause::Error, what));
    }
    /// How the life before ended, if there was one.
    #[must_use]
    pub fn last_death(&self) -> Option<(Cause, String)> {
        lock(&self.watch.lives).last.clone()
    }
    /// It has nothing in hand.
    pub fn end(&self) {
        self.watch.in_hand.store(0, Ordering::Relaxed);
    }
}

/// Takes the task out of the tree when its supervision ends, however that ends.
struct Enlisted {
    keeper: Keeper,
    watch: Arc<TaskWatch>,
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.keeper.dismiss(&self.watch);
    }
}

/// How a life of a task ended.
enum Ended {
    /// Its work is over.
    Over,
    /// It died.
    Died(Cause, String),
}

impl TaskWatch {
    fn new(category: &'static str, id: &str) -> Self {
        let lives =
            Lives { state: ActorState::Running, incarnation: 1, deaths: VecDeque::new(), last: None, back_at: None };
        Self {
            category,
            name: format!("{category}/{id}"),
            lives: Mutex::new(lives),
            restart: Notify::new(),
            crash: Notify::new(),
            in_hand: AtomicUsize::new(0),
            moved_at_ms: AtomicI64::new(0),
        }
    }

    pub(crate) fn info(&self) -> ActorInfo {
        let lives = lock(&self.lives);
        ActorInfo {
            actor: self.name.clone(),
            state: lives.state,
            incarnation: lives.incarnation,
            restarts: u32::try_from(lives.deaths.len()).unwrap_or(u32::MAX),
            last_cause: lives.last.as_ref().map(|(cause, _)| *cause),
            detail: lives.last.as_ref().map(|(_, detail)| detail.clone()),
            back_at: lives.back_at,
            waiting: self.in_hand.load(Ordering::Relaxed),
            parked: 0,
            parent: None,
            supervises: None,
        }
    }

    pub(crate) fn state(&self) -> (ActorState, usize) {
        (lock(&self.lives).state, self.in_hand.load(Ordering::Relaxed))
    }

    pub(crate) fn act(&self, action: ActorAction) -> Result<(), Problem> {
        match action {
            // A permit stays until it is taken, so a life that begins just now sees it too.
            ActorAction::Restart => self.restart.notify_one(),
            ActorAction::Crash => self.crash.notify_one(),
            ActorAction::Release | ActorAction::Discard => {
                return Err(Problem::conflict(format!("{} is not in quarantine", self.name)));
            }
        }
        Ok(())
    }

    /// Whether it has something in hand and did not move for so long.
    fn hangs(&self, now: Timestamp, patience: Duration) -> bool {
        let moved_at = Timestamp::from_ms(self.moved_at_ms.load(Ordering::Relaxed));
        self.in_hand.load(Ordering::Relaxed) > 0 && moved_at.plus(patience) <= now
    }
}

impl Keeper {
    /// Keeps a task alive: `life` makes the future of each life. Returns when a life says that its work is
    /// over. To be awaited on an arbiter (what supervision does is written from there).
    pub async fn keep<F, Fut>(&self, category: &'static str, id: impl AsRef<str>, limits: KeeperOptions, mut life: F)
    where
        F: FnMut(Life) -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        let watch = Arc::new(TaskWatch::new(category, id.as_ref()));
        self.enlist(&watch);
        let enlisted = Enlisted { keeper: self.clone(), watch };
        let watch = &enlisted.watch;
        loop {
            let handle = Life { watch: Arc::clone(watch), clock: self.clock() };
            let ended = self.one_life(watch, &limits, async { life(handle).await }).await;
            watch.in_hand.store(0, Ordering::Relaxed);
            let (cause, detail) = match ended {
                Ended::Over => return,
                Ended::Died(cause, detail) => (cause, detail),
            };
            let wait = self.task_died(watch, &limits, cause, &detail);
            if !wait.is_zero() {
                tokio::select! {
                    biased;
                    // A person need not wait for the back-off.
                    () = watch.restart.notified() => {}
                    () = self.sleep(wait) => {}
                }
            }
            let mut lives = lock(&watch.lives);
            lives.state = ActorState::Running;
            lives.back_at = None;
        }
    }

    /// Keeps an endless task alive on the current arbiter, with the default limits.
    pub fn spawn<F, Fut>(&self, category: &'static str, id: &'static str, mut life: F)
    where
        F: FnMut(Life) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let keeper = self.clone();
        actix_rt::spawn(async move {
            keeper.keep(category, id, KeeperOptions::default(), |handle| life(handle).map(Ok)).await;
        });
    }

    async fn one_life(
        &self,
        watch: &TaskWatch,
        limits: &KeeperOptions,
        life: impl Future<Output = Result<(), String>>,
    ) -> Ended {
        let living = async {
            tokio::select! {
                biased;
                () = watch.crash.notified() => panic!("crash asked for by a person"),
                ended = life => ended,
            }
        };
        let mut living = std::pin::pin!(AssertUnwindSafe(living).catch_unwind());
        let patience = limits.hang_after.mul_f64(self.clock().speed().max(1.0));
        loop {
            tokio::select! {
                biased;
                ended = &mut living => return match ended {
                    Ok(Ok(())) => Ended::Over,
                    Ok(Err(why)) => Ended::Died(Cause::Error, why),
                    Err(panic) => Ended::Died(Cause::Panic, panic_text(&*panic)),
                },
                () = watch.restart.notified() => {
                    return Ended::Died(Cause::Requested, "a person asked for a restart".to_owned());
                }
                () = self.sleep(patience / 4) => {
                    let now = self.now();
                    if watch.hangs(now, patience) {
                        let detail = format!("no progress for {} s with work in hand", patience.as_secs());
                        return Ended::Died(Cause::Hang, detail);
                    }
                    let died = lock(&watch.lives).deaths.back().copied();
                    if died.is_some_and(|at| at.plus(limits.window) <= now) {
                        lock(&watch.lives).deaths.clear();
                        self.recover_category(watch.category, now, limits.window);
                    }
                }
            }
        }
    }

    /// Notes a death; says how long the next life waits.
    fn task_died(&self, watch: &TaskWatch, limits: &KeeperOptions, cause: Cause, detail: &str) -> Duration {
        let now = self.now();
        self.count_death(watch.category, cause);
        let mut lives = lock(&watch.lives);
        while lives.deaths.front().is_some_and(|at| at.plus(limits.window) <= now) {
            lives.deaths.pop_front();
        }
        if cause != Cause::Requested {
            lives.deaths.push_back(now);
            // So many are remembered as the limit can ask for.
            while lives.deaths.len() > usize::try_from(limits.max_restarts).unwrap_or(usize::MAX).saturating_add(1) {
                lives.deaths.pop_front();
            }
        }
        let deaths = u32::try_from(lives.deaths.len()).unwrap_or(u32::MAX);
        let beyond = deaths > limits.max_restarts;
        let wait = if beyond { limits.max_backoff } else { self.backoff(deaths, limits) };
        lives.incarnation += 1;
        lives.state = ActorState::Restarting;
        lives.back_at = (!wait.is_zero()).then(|| now.plus(wait));
        lives.last = Some((cause, detail.to_owned()));
        let data = SupervisedData {
            actor: watch.name.clone(),
            cause: Some(cause),
            detail: detail.to_owned(),
            incarnation: lives.incarnation,
            restarts: deaths,
            back_at: lives.back_at,
        };
        drop(lives);
        if cause != Cause::Requested {
            self.escalate(watch.category, &watch.name, now, limits);
        }
        if beyond {
            self.fail_category(watch.category, format!("{} died {deaths} times", watch.name), 1);
        }
        self.record(SupervisionEvent::Restarted(data), None);
        wait
    }
}
