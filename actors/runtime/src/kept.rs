//! One actor's supervision: the future that keeps it alive, and what is known of its lives.
//!
//! States: running → restarting (dead, waiting for its back-off) → running …, or → quarantined until a
//! person releases it. A death that is the actor's own counts towards quarantine; one that is the
//! store's (it can't be read, or it never answers) only lengthens the back-off: an outage must not put a
//! whole house into quarantine.

use crate::keeper::{ActorInfo, ActorState, Keeper, KeeperOptions, panic_text};
use crate::parked::Quarantine;
use actix::{Actor, ActorContext, Context, Supervised, dev::ContextFut};
use shers_contract::{
    Timestamp,
    supervision::{Cause, Supervised as SupervisedData, SupervisionEvent},
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, Waker},
};
use tokio::sync::Notify;

/// How a life ended.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    pub(crate) cause: Cause,
    pub(crate) detail: String,
    /// The actor's own doing, or its message's; else the store's or a person's.
    pub(crate) own: bool,
}

/// State of one actor's supervision; shared between its future, its directory and the actor itself.
pub(crate) struct Watch {
    pub(crate) actor: String,
    pub(crate) state: ActorState,
    pub(crate) incarnation: u64,
    deaths: VecDeque<Timestamp>,
    /// Deaths in a row that were the store's.
    setbacks: u32,
    last: Option<(Cause, String)>,
    back_at: Option<Timestamp>,
    /// Set by whoever ends this life; the future sees it after the next poll.
    ending: Option<Death>,
    released: bool,
    /// The actor's story has ended (or never began); set at each commit and load.
    pub(crate) closed: Cell<bool>,
    /// Wakes those who wait for an answer when quarantine begins.
    pub(crate) shut: Rc<Notify>,
    waker: Option<Waker>,
}

impl Watch {
    pub(crate) fn new(actor: String, quarantined: Option<Quarantine>) -> Rc<RefCell<Self>> {
        let state = if quarantined.is_some() { ActorState::Quarantined } else { ActorState::Running };
        Rc::new(RefCell::new(Self {
            actor,
            state,
            incarnation: quarantined.as_ref().map_or(1, |q| q.incarnation),
            deaths: VecDeque::new(),
            setbacks: 0,
            last: quarantined.and_then(|q| q.cause.map(|cause| (cause, q.detail))),
            back_at: None,
            ending: None,
            released: false,
            closed: Cell::new(false),
            shut: Rc::new(Notify::new()),
            waker: None,
        }))
    }
    pub(crate) fn info(&self, waiting: usize, parked: usize) -> ActorInfo {
        ActorInfo {
            actor: self.actor.clone(),
            state: self.state,
            incarnation: self.incarnation,
            restarts: u32::try_from(self.deaths.len()).unwrap_or(u32::MAX),
            last_cause: self.last.as_ref().map(|(cause, _)| *cause),
            detail: self.last.as_ref().map(|(_, detail)| detail.clone()),
            back_at: self.back_at,
            waiting,
            parked,
            parent: None,
            supervises: None,
        }
    }
    /// Ends this life after the current poll.
    pub(crate) fn end_life(&mut self, death: Death) {
        self.ending = Some(death);
        self.wake();
    }
    /// Lets a quarantined actor go on.
    pub(crate) fn release(&mut self) {
        self.released = true;
        self.wake();
    }
    /// Notes a failure that did not end a life, such as an effect's.
    pub(crate) fn note(&mut self, cause: Cause, detail: String) {
        self.last = Some((cause, detail));
    }
    /// The store answered: its next failure is a first one again.
    pub(crate) fn well(&mut self) {
        self.setbacks = 0;
    }
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
    fn data(&self, cause: Option<Cause>, detail: &str) -> SupervisedData {
        SupervisedData {
            actor: self.actor.clone(),
            cause,
            detail: detail.to_owned(),
            incarnation: self.incarnation,
            restarts: u32::try_from(self.deaths.len()).unwrap_or(u32::MAX),
            back_at: self.back_at,
        }
    }
}

/// The future that keeps one actor alive. Ends when the actor stops by itself.
pub(crate) struct Kept<A: Actor<Context = Context<A>> + Supervised> {
    future: ContextFut<A, Context<A>>,
    category: &'static str,
    watch: Rc<RefCell<Watch>>,
    keeper: Keeper,
    options: Rc<KeeperOptions>,
    sleep: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

// The boxed sleep and the context are both `Unpin`.
impl<A: Actor<Context = Context<A>> + Supervised> Unpin for Kept<A> {}

impl<A: Actor<Context = Context<A>> + Supervised> Kept<A> {
    pub(crate) fn new(
        context: Context<A>,
        actor: A,
        category: &'static str,
        watch: Rc<RefCell<Watch>>,
        keeper: Keeper,
        options: Rc<KeeperOptions>,
    ) -> Self {
        Self { future: context.into_future(actor), category, watch, keeper, options, sleep: None }
    }

    /// Decides what follows a death, and says so.
    fn died(&mut self, death: Death) {
        let now = self.keeper.now();
        let Death { cause, detail, own } = death;
        self.keeper.count_death(self.category, cause);
        let mut watch = self.watch.borrow_mut();
        let window = i64::try_from(self.options.window.as_millis()).unwrap_or(i64::MAX);
        while watch.deaths.front().is_some_and(|at| now.ms_since(*at) > window) {
            watch.deaths.pop_front();
        }
        if own {
            watch.deaths.push_back(now);
            self.keeper.escalate(self.category, &watch.actor, now, &self.options);
        } else if cause != Cause::Requested {
            watch.setbacks += 1;
        }
        let deaths = u32::try_from(watch.deaths.len()).unwrap_or(u32::MAX);
        watch.last = Some((cause, detail.clone()));
        if own && deaths > self.options.max_restarts {
            watch.state = ActorState::Quarantined;
            watch.back_at = None;
            self.keeper.quarantine(watch.data(Some(cause), &detail), now);
            watch.shut.notify_waiters();
            return;
        }
        let failing = u32::from(self.keeper.category(self.category).0);
        let wait = self.keeper.backoff(deaths.saturating_add(watch.setbacks).saturating_add(failing), &self.options);
        metrics::histogram!("shers_actor_back_off_seconds", "category" => self.category).record(wait.as_secs_f64());
        watch.incarnation += 1;
        watch.state = ActorState::Restarting;
        watch.back_at = (!wait.is_zero()).then(|| now.plus(wait));
        // An outage of the store would fill the log with what everybody sees in the metrics.
        if own || cause != Cause::Error {
            self.keeper.record(SupervisionEvent::Restarted(watch.data(Some(cause), &detail)), None);
        }
        self.sleep = (!wait.is_zero()).then(|| -> Pin<Box<dyn Future<Output = ()>>> { self.keeper.sleep(wait) });
    }

    /// Begins the next life. `restarting()` runs inside, so a panic there is caught as well.
    fn revive(&mut self) {
        let future = &mut self.future;
        match catch_unwind(AssertUnwindSafe(|| future.restart())) {
            Ok(_) => {
                let mut watch = self.watch.borrow_mut();
                watch.state = ActorState::Running;
                watch.back_at = None;
                watch.ending = None;
            }
            Err(panic) => self.died(Death { cause: Cause::Panic, detail: panic_text(&*panic), own: true }),
        }
    }

    /// A person let it go on: what was parked is delivered again, in order.
    fn released(&mut self) {
        let mut watch = self.watch.borrow_mut();
        watch.deaths.clear();
        watch.setbacks = 0;
        watch.incarnation += 1;
        self.keeper.released(watch.data(None, "released by a person"));
        drop(watch);
        self.revive();
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Future for Kept<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        this.watch.borrow_mut().waker = Some(cx.waker().clone());
        loop {
            let state = this.watch.borrow().state;
            match state {
                ActorState::Quarantined => {
                    let released = std::mem::take(&mut this.watch.borrow_mut().released);
                    if !released {
                        return Poll::Pending;
                    }
                    this.released();
                }
                ActorState::Restarting => {
                    if let Some(sleep) = &mut this.sleep {
                        std::task::ready!(sleep.as_mut().poll(cx));
                        this.sleep = None;
                    }
                    this.revive();
                }
                ActorState::Running => {
                    let future = &mut this.future;
                    let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(cx)));
                    let asked = this.watch.borrow_mut().ending.take();
                    match (polled, asked) {
                        (Err(panic), _) => {
                            this.died(Death { cause: Cause::Panic, detail: panic_text(&*panic), own: true });
                        }
                        (Ok(_), Some(death)) => this.died(death),
                        (Ok(done), None) => return done,
                    }
                }
            }
        }
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Drop for Kept<A> {
    fn drop(&mut self) {
        // A live ContextFut polls its actor once more when dropped; a dead actor must not run again.
        self.future.ctx().terminate();
    }
}
