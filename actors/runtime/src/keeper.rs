//! The Keeper: supervision of actors.
//!
//! actix's own `Supervisor` restarts only actors that stop by themselves; a panic closes the mailbox for
//! good and loses what was queued. The Keeper therefore polls the actor's [`ContextFut`] inside
//! `catch_unwind` and calls [`ContextFut::restart`], so that address and mailbox survive.
//!
//! - A death is followed by a restart: the first at once, later ones after an exponential back-off with
//!   jitter. More than [`KeeperOptions::max_restarts`] within [`KeeperOptions::window`] is quarantine: the
//!   address stays good, nothing is polled until a person releases the actor.
//! - State is rebuilt in the actor's `started()` and nowhere else; `restarting()` forgets everything.
//! - An endless loop cannot be caught here: a stuck process is restarted by its own supervisor.

use crate::clock::{Clock, Ids};
use crate::store::{Append, Commit, Expected, NewEvent, Store};
use actix::{Actor, ActorContext, Context, Supervised, dev::ContextFut};
use shers_contract::{
    DomainEvent, Problem, Timestamp,
    api::ActorAction,
    envelope::StreamName,
    supervision::{Cause, Supervised as SupervisedData, SupervisionEvent},
};
use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Limits of supervision.
#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// Restarts allowed within `window`; one more is quarantine.
    pub max_restarts: u32,
    /// The window.
    pub window: Duration,
    /// Back-off before the second restart in a row; the first is at once. Doubles each time.
    pub backoff: Duration,
    /// Longest back-off.
    pub max_backoff: Duration,
    /// A message that killed this many incarnations is poison: it is given up, the actor goes on.
    pub max_message_attempts: u32,
    /// Messages that may wait for one actor.
    pub mailbox: usize,
}

impl Default for KeeperOptions {
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window: Duration::from_secs(60),
            backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(30),
            max_message_attempts: 3,
            mailbox: 1024,
        }
    }
}

/// What an actor is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActorState {
    /// Alive.
    Running,
    /// Dead, waiting for its back-off.
    Restarting,
    /// Dead too often, waiting for a person.
    Quarantined,
}

/// One actor as the Keeper sees it.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ActorInfo {
    /// `category/id`.
    pub actor: String,
    /// What it is doing.
    pub state: ActorState,
    /// Which life this is, from 1.
    pub incarnation: u64,
    /// Restarts within the window.
    pub restarts: u32,
    /// How it died last.
    pub last_cause: Option<Cause>,
    /// What was said then.
    pub detail: Option<String>,
    /// When the back-off ends.
    pub back_at: Option<Timestamp>,
    /// Messages that wait.
    pub waiting: usize,
}

/// A question to the arbiter that holds a category's actors.
pub(crate) enum Control {
    /// At most so many actors, the troubled first.
    List(usize, oneshot::Sender<Vec<ActorInfo>>),
    /// Act on one.
    Act(String, ActorAction, oneshot::Sender<Result<(), Problem>>),
}

/// Handle of the process's supervision; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<KeeperShared>,
}

struct KeeperShared {
    categories: Mutex<BTreeMap<&'static str, mpsc::UnboundedSender<Control>>>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    node: String,
    exercise: bool,
}

impl Keeper {
    /// Supervision that writes what it does to `supervision/<node>`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        node: impl Into<String>,
        exercise: bool,
    ) -> Self {
        let categories = Mutex::new(BTreeMap::new());
        Self { shared: Arc::new(KeeperShared { categories, store, clock, ids, node: node.into(), exercise }) }
    }

    /// Registers the arbiter that holds a category's actors.
    pub(crate) fn register(&self, category: &'static str, control: mpsc::UnboundedSender<Control>) {
        self.shared.categories.lock().unwrap_or_else(PoisonError::into_inner).insert(category, control);
    }

    fn control(&self, category: &str) -> Option<mpsc::UnboundedSender<Control>> {
        self.shared.categories.lock().unwrap_or_else(PoisonError::into_inner).get(category).cloned()
    }

    /// The actors of this process, at most `per_category` of each, the troubled ones first.
    pub async fn list(&self, per_category: usize) -> Vec<ActorInfo> {
        let controls: Vec<_> =
            self.shared.categories.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut all = Vec::new();
        for control in controls {
            let (reply, answer) = oneshot::channel();
            if control.send(Control::List(per_category, reply)).is_ok() {
                all.extend(answer.await.unwrap_or_default());
            }
        }
        all
    }

    /// Acts on one actor.
    ///
    /// # Errors
    /// Not found, or a conflict with what the actor is doing.
    pub async fn act(&self, actor: &str, action: ActorAction) -> Result<(), Problem> {
        let not_found = || Problem::not_found("actor", actor);
        let (category, id) = actor.split_once('/').ok_or_else(not_found)?;
        let control = self.control(category).ok_or_else(not_found)?;
        let (reply, answer) = oneshot::channel();
        control.send(Control::Act(id.to_owned(), action, reply)).map_err(|_| not_found())?;
        answer.await.map_err(|_| Problem::unknown_outcome())?
    }

    /// Writes a supervision event and counts it. What happened is also in the log line, so a store that
    /// can't write now loses nothing that matters.
    fn record(&self, event: SupervisionEvent) {
        let (SupervisionEvent::Restarted(data)
        | SupervisionEvent::Quarantined(data)
        | SupervisionEvent::Released(data)) = &event;
        let kind = event.kind();
        tracing::warn!(actor = data.actor, kind = %kind, detail = data.detail, incarnation = data.incarnation, "supervision");
        let category = data.actor.split('/').next().unwrap_or("").to_owned();
        metrics::counter!("shers_supervision_total", "kind" => kind.as_str(), "category" => category).increment(1);
        let shared = Arc::clone(&self.shared);
        actix_rt::spawn(async move {
            let now = shared.clock.now();
            let new = NewEvent {
                id: shared.ids.uuid(now),
                kind,
                v: event.schema_version(),
                at: now,
                correlation_id: None,
                causation_id: None,
                traceparent: None,
                exercise: shared.exercise,
                data: event.to_data(),
            };
            let append = Append {
                stream: StreamName::new("supervision", &shared.node),
                expected: Expected::Any,
                events: vec![new],
                open: false,
            };
            if let Err(error) = shared.store.commit(Commit { appends: vec![append], ..Commit::default() }).await {
                tracing::error!(%error, "recording a supervision event");
            }
        });
    }
}

/// Text of a panic's payload.
#[must_use]
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}

/// State of one actor's supervision; shared between its future, its directory and the actor itself.
pub(crate) struct Watch {
    pub(crate) actor: String,
    pub(crate) state: ActorState,
    pub(crate) incarnation: u64,
    deaths: VecDeque<Timestamp>,
    pub(crate) last: Option<(Cause, String)>,
    pub(crate) back_at: Option<Timestamp>,
    /// Set by a handler that gives up, or by a person; the future sees it at the next poll.
    pub(crate) give_up: Option<(Cause, String)>,
    released: bool,
    /// The actor's story has ended (or never began); set at each commit and load.
    pub(crate) closed: std::cell::Cell<bool>,
    waker: Option<Waker>,
}

impl Watch {
    pub(crate) fn new(actor: String) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            actor,
            state: ActorState::Running,
            incarnation: 1,
            deaths: VecDeque::new(),
            last: None,
            back_at: None,
            give_up: None,
            released: false,
            closed: std::cell::Cell::new(false),
            waker: None,
        }))
    }
    pub(crate) fn info(&self, waiting: usize) -> ActorInfo {
        ActorInfo {
            actor: self.actor.clone(),
            state: self.state,
            incarnation: self.incarnation,
            restarts: u32::try_from(self.deaths.len()).unwrap_or(u32::MAX),
            last_cause: self.last.as_ref().map(|(cause, _)| *cause),
            detail: self.last.as_ref().map(|(_, detail)| detail.clone()),
            back_at: self.back_at,
            waiting,
        }
    }
    /// Ends this life at the next poll.
    pub(crate) fn end_life(&mut self, cause: Cause, detail: String) {
        self.give_up = Some((cause, detail));
        self.wake();
    }
    /// Lets a quarantined actor go on.
    pub(crate) fn release(&mut self) {
        self.released = true;
        self.wake();
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
        watch: Rc<RefCell<Watch>>,
        keeper: Keeper,
        options: Rc<KeeperOptions>,
    ) -> Self {
        Self { future: context.into_future(actor), watch, keeper, options, sleep: None }
    }

    /// Decides what follows a death, and says so.
    fn died(&mut self, cause: Cause, detail: String) {
        let now = self.keeper.shared.clock.now();
        let mut watch = self.watch.borrow_mut();
        let window = i64::try_from(self.options.window.as_millis()).unwrap_or(i64::MAX);
        while watch.deaths.front().is_some_and(|at| now.ms_since(*at) > window) {
            watch.deaths.pop_front();
        }
        if cause != Cause::Requested {
            watch.deaths.push_back(now);
        }
        let deaths = u32::try_from(watch.deaths.len()).unwrap_or(u32::MAX);
        watch.last = Some((cause, detail.clone()));
        if deaths > self.options.max_restarts {
            watch.state = ActorState::Quarantined;
            watch.back_at = None;
            self.keeper.record(SupervisionEvent::Quarantined(watch.data(Some(cause), &detail)));
            return;
        }
        let wait = self.backoff(deaths);
        watch.incarnation += 1;
        watch.state = ActorState::Restarting;
        watch.back_at = (!wait.is_zero()).then(|| now.plus(wait));
        self.keeper.record(SupervisionEvent::Restarted(watch.data(Some(cause), &detail)));
        self.sleep = Some(self.keeper.shared.clock.sleep(wait));
    }

    /// Zero for the first death in the window, then doubling, with up to a quarter of jitter.
    fn backoff(&self, deaths: u32) -> Duration {
        if deaths <= 1 {
            return Duration::ZERO;
        }
        let doubled = self.options.backoff.saturating_mul(1_u32.checked_shl(deaths - 2).unwrap_or(u32::MAX));
        let base = doubled.min(self.options.max_backoff);
        let jitter = u32::try_from(self.keeper.shared.ids.random() % 256).unwrap_or(0);
        base + base / 1024 * jitter
    }

    /// Begins the next life. `restarting()` runs inside, so a panic there is caught as well.
    fn revive(&mut self) {
        let future = &mut self.future;
        match catch_unwind(AssertUnwindSafe(|| future.restart())) {
            Ok(_) => {
                let mut watch = self.watch.borrow_mut();
                watch.state = ActorState::Running;
                watch.back_at = None;
            }
            Err(panic) => self.died(Cause::Panic, panic_text(&*panic)),
        }
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
                    let mut watch = this.watch.borrow_mut();
                    if !std::mem::take(&mut watch.released) {
                        return Poll::Pending;
                    }
                    watch.deaths.clear();
                    watch.incarnation += 1;
                    this.keeper.record(SupervisionEvent::Released(watch.data(None, "released by a person")));
                    drop(watch);
                    this.revive();
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
                    let asked = this.watch.borrow_mut().give_up.take();
                    match (polled, asked) {
                        (Err(panic), _) => this.died(Cause::Panic, panic_text(&*panic)),
                        (Ok(_), Some((cause, detail))) => this.died(cause, detail),
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
