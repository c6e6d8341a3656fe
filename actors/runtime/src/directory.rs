//! Actors of one category on one arbiter.
//!
//! [`Directory::execute`] finds or starts the actor of an id and sends it a command. The command sits, with
//! its reply channel, in a slot beside the actor while it is in hand: if the actor dies, the next
//! incarnation runs it first. The events carry the cause, so it cannot take effect twice.
//!
//! A message for an actor in quarantine is not taken; a consumer that brought it parks it.

use crate::actor::{AggregateActor, Beside, Crash, Execute, LoadError, Loaded, Outcome, load};
use crate::aggregate::{Aggregate, Cause, DirectoryOptions, Executed, Observer, Performer, Rejected};
use crate::consumer;
use crate::keeper::{ActorState, Control, KeeperOptions};
use crate::kept::{Death, Kept, Watch};
use crate::store::StoreError;
use crate::tasks::Life;
use crate::{Deps, Failure};
use actix::{AsyncContext, Context};
use futures::FutureExt;
use shers_contract::{
    Problem, Timestamp,
    api::{ActorAction, Call, Idempotency, Reply},
    supervision::Cause as DeathCause,
};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

/// Wait before the first repeat of an effect that panicked or whose end was not taken.
const EFFECT_RETRY: Duration = Duration::from_millis(100);
/// Longest wait between attempts to hand in the end of an effect.
const EFFECT_RETRY_MAX: Duration = Duration::from_secs(10);

/// An effect and whether it is for exercise.
type Wanted<A> = (<A as Aggregate>::Effect, bool);

pub(crate) struct Slot<A: Aggregate> {
    addr: actix::Addr<AggregateActor<A>>,
    pub(crate) beside: Rc<Beside<A>>,
}

pub(crate) struct Inner<A: Aggregate> {
    deps: Deps,
    performer: Rc<dyn Performer<A>>,
    observer: Option<Observer<A>>,
    options: Rc<KeeperOptions>,
    /// By id, so that whatever walks them does so in the same order each time.
    pub(crate) slots: RefCell<BTreeMap<Rc<str>, Slot<A>>>,
    /// Turns of those that read their state again.
    pub(crate) revivals: Semaphore,
    /// Turns of those among them for which messages wait.
    pub(crate) urgent_revivals: Semaphore,
    /// When any actor was last answered by the store.
    pub(crate) answered_at: Cell<Timestamp>,
    deadlines: RefCell<Deadlines<A::Command>>,
    deadline_changed: Notify,
    /// What each state wants done outside, and whether in exercise.
    wanted: RefCell<HashMap<Rc<str>, Wanted<A>>>,
    /// Whose effect is under way, from its start until its end is committed.
    performing: RefCell<HashSet<Rc<str>>>,
}

/// Armed deadlines of a category, soonest first.
struct Deadlines<C> {
    order: BTreeSet<(Timestamp, Rc<str>)>,
    of: BTreeMap<Rc<str>, (Timestamp, C)>,
}

impl<C: Clone> Deadlines<C> {
    /// Replaces the deadline of `id`; true when the soonest one may have changed.
    fn set(&mut self, id: &Rc<str>, deadline: Option<(Timestamp, C)>) -> bool {
        let before = self.order.first().cloned();
        if let Some((at, _)) = self.of.remove(id) {
            self.order.remove(&(at, Rc::clone(id)));
        }
        if let Some((at, command)) = deadline {
            self.order.insert((at, Rc::clone(id)));
            self.of.insert(Rc::clone(id), (at, command));
        }
        self.order.first() != before.as_ref()
    }
    fn soonest(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }
    /// Takes the soonest one that is due.
    fn take_due(&mut self, now: Timestamp) -> Option<(Rc<str>, C)> {
        let (at, _) = self.order.first()?;
        if *at > now {
            return None;
        }
        let (_, id) = self.order.pop_first()?;
        self.of.remove(&id).map(|(_, command)| (id, command))
    }
}

/// The actors of one category. Cheap to clone; lives on one arbiter.
pub struct Directory<A: Aggregate> {
    pub(crate) inner: Rc<Inner<A>>,
}

impl<A: Aggregate> Clone for Directory<A> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<A: Aggregate> Directory<A> {
    /// A directory on the current arbiter.
    #[must_use]
    pub fn new(deps: Deps, options: DirectoryOptions<A>) -> Self {
        let answered_at = Cell::new(deps.clock.now());
        let directory = Self {
            inner: Rc::new(Inner {
                deps,
                performer: options.performer,
                observer: options.observer,
                slots: RefCell::default(),
                revivals: Semaphore::new(options.keeper.max_revivals),
                urgent_revivals: Semaphore::new(options.keeper.max_revivals),
                answered_at,
                options: Rc::new(options.keeper),
                deadlines: RefCell::new(Deadlines { order: BTreeSet::new(), of: BTreeMap::new() }),
                deadline_changed: Notify::new(),
                wanted: RefCell::default(),
                performing: RefCell::default(),
            }),
        };
        directory.clone().keep_house();
        directory
    }

    /// Starts what a directory needs to live, each a task under the Keeper.
    fn keep_house(self) {
        let keeper = self.inner.deps.keeper.clone();
        let limits = KeeperOptions::clone(&self.inner.options);
        // The first registration is made before anybody can ask.
        let (control, questions) = mpsc::unbounded_channel();
        keeper.register(A::CATEGORY, control);
        let mut first = Some(questions);
        let (directory, asked, question_limits) = (self.clone(), keeper.clone(), limits.clone());
        let questions = async move {
            let answering = |_| {
                let directory = directory.clone();
                let questions = first.take().unwrap_or_else(|| {
                    let (control, questions) = mpsc::unbounded_channel();
                    directory.inner.deps.keeper.register(A::CATEGORY, control);
                    questions
                });
                directory.answer_questions(questions).map(Ok)
            };
            asked.keep("directory", A::CATEGORY, question_limits, answering).await;
        };
        actix_rt::spawn(questions);
        let (directory, asked, deadline_limits) = (self.clone(), keeper.clone(), limits.clone());
        actix_rt::spawn(async move {
            let firing = |_| directory.clone().run_deadlines().map(Ok);
            asked.keep("deadlines", A::CATEGORY, deadline_limits, firing).await;
        });
        actix_rt::spawn(async move {
            let watching = |_| self.clone().watch_for_hangs().map(Ok);
            keeper.keep("watchdog", A::CATEGORY, limits, watching).await;
        });
    }

    pub(crate) fn deps(&self) -> &Deps {
        &self.inner.deps
    }
    pub(crate) fn options(&self) -> &KeeperOptions {
        &self.inner.options
    }

    /// Starts an actor for every open stream of the category, with its deadline armed and its effect
    /// under way. Returns how many there are. A stream that can't be folded is its own actor's trouble.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn load_open(&self) -> Result<usize, StoreError> {
        self.inner.deps.keeper.parking().recover().await?;
        let events = self.inner.deps.store.read_open(A::CATEGORY).await?;
        let mut count = 0;
        for of_stream in events.chunk_by(|a, b| a.envelope.stream == b.envelope.stream) {
            let Some(first) = of_stream.first() else { continue };
            let folded = catch_unwind(AssertUnwindSafe(|| {
                let mut loaded = Loaded::default();
                of_stream.iter().try_for_each(|recorded| loaded.apply(recorded)).map(|()| loaded)
            }));
            // Without a state the actor reads its stream itself, and dies of it under the Keeper's eyes.
            let loaded = folded.ok().and_then(Result::ok);
            self.start_loaded(first.envelope.stream.id(), loaded);
            count += 1;
        }
        for id in self.inner.deps.keeper.parking().quarantined_of(A::CATEGORY) {
            self.slot(&id);
        }
        Ok(count)
    }

    fn start_loaded(&self, id: &str, loaded: Option<Loaded<A>>) {
        if self.inner.slots.borrow().contains_key(id) {
            return;
        }
        let id: Rc<str> = id.into();
        if let Some(loaded) = &loaded {
            self.observe(&id, loaded, &[]);
            // One in quarantine does nothing, neither in time nor outside, until it is released.
            if self.inner.deps.keeper.quarantine_of(&actor_name::<A>(&id)).is_none() {
                self.settle(&id, loaded);
            }
        }
        self.start(&id, loaded);
    }

    pub(crate) fn observe(&self, id: &str, loaded: &Loaded<A>, events: &[A::Event]) {
        if let Some(observer) = &self.inner.observer {
            observer(id, &loaded.state, loaded.version, events);
        }
    }

    /// Starts the actor of an id under the Keeper.
    fn start(&self, id: &Rc<str>, preloaded: Option<Loaded<A>>) -> (actix::Addr<AggregateActor<A>>, Rc<Beside<A>>) {
        let name = actor_name::<A>(id);
        let quarantined = self.inner.deps.keeper.quarantine_of(&name);
        // What is released later reads what is true then.
        let preloaded = preloaded.filter(|_| quarantined.is_none());
        let watch = Watch::new(name, quarantined);
        let beside = Rc::new(Beside::new(Rc::clone(id), preloaded, Rc::clone(&watch)));
        let actor = AggregateActor::new(self.clone(), Rc::clone(&beside));
        let mut context = Context::new();
        context.set_mailbox_capacity(self.inner.options.mailbox);
        let addr = context.address();
        let keeper = self.inner.deps.keeper.clone();
        let kept = Kept::new(context, actor, A::CATEGORY, watch, keeper, Rc::clone(&self.inner.options));
        actix_rt::spawn(kept);
        let slot = Slot { addr: addr.clone(), beside: Rc::clone(&beside) };
        self.inner.slots.borrow_mut().insert(Rc::clone(id), slot);
        (addr, beside)
    }

    /// Asks the actor of `id` to execute a command.
    ///
    /// # Errors
    /// See [`Rejected`].
    pub async fn execute(&self, id: &str, command: A::Command, cause: Cause) -> Outcome<A> {
        if let Some(idempotency) = &cause.idempotency
            && let Some(saved) = self.saved_answer(idempotency).await?
        {
            return Ok(saved);
        }
        let parking = self.inner.deps.keeper.parking();
        parking.recover().await.map_err(|error| Rejected::Unavailable(error.to_string()))?;
        let (addr, beside) = self.slot(id);
        let shut = Rc::clone(&beside.watch.borrow().shut);
        let shut = shut.notified();
        let quarantine = beside.watch.borrow().state == ActorState::Quarantined;
        if quarantine || consumer::must_wait(parking, A::CATEGORY, id) {
            return Err(quarantined::<A>(id));
        }
        let (reply, outcome) = oneshot::channel();
        beside.one_more_waits();
        let outcome = match addr.try_send(Execute::new(command, cause, reply)) {
            Ok(()) => tokio::select! {
                biased;
                outcome = outcome => {
                    outcome.unwrap_or_else(|_| Err(Rejected::Unavailable("the actor went away".to_owned())))
                }
                // The message stays where it is and is passed over when its turn comes.
                () = shut => Err(quarantined::<A>(id)),
            },
            Err(_) => Err(Rejected::Unavailable(format!("too many messages wait for {}/{id}", A::CATEGORY))),
        };
        beside.pending.set(beside.pending.get().saturating_sub(1));
        self.passivate_if_done(id);
        outcome
    }

    fn slot(&self, id: &str) -> (actix::Addr<AggregateActor<A>>, Rc<Beside<A>>) {
        if let Some(slot) = self.inner.slots.borrow().get(id) {
            return (slot.addr.clone(), Rc::clone(&slot.beside));
        }
        self.start(&id.into(), None)
    }

    /// Lets an actor go whose story has ended and for whom nothing waits.
    fn passivate_if_done(&self, id: &str) {
        let done = self
            .inner
            .slots
            .borrow()
            .get(id)
            .is_some_and(|slot| slot.beside.is_idle() && slot.beside.watch.borrow().state == ActorState::Running);
        let closed = done
            && !self.inner.deadlines.borrow().of.contains_key(id)
            && !self.inner.performing.borrow().contains(id)
            && self.inner.closed_or_new(id);
        if closed {
            self.inner.slots.borrow_mut().remove(id);
            self.inner.wanted.borrow_mut().remove(id);
        }
    }

    /// Executes for a consumer: a refusal is logged and final, a repeat is done.
    ///
    /// # Errors
    /// Retry when the store or the actor is unavailable; a message for one in quarantine is parked then.
    pub async fn deliver(&self, id: &str, command: A::Command, cause: Cause) -> Result<Option<Executed<A>>, Failure> {
        let message_id = cause.id;
        match self.execute(id, command, cause).await {
            Ok(executed) => Ok(Some(executed)),
            Err(Rejected::Repeated) => Ok(None),
            Err(Rejected::Refused(refusal)) => {
                let problem: Problem = refusal.into();
                tracing::info!(actor.category = A::CATEGORY, actor.id = id, message.id = %message_id, refusal = problem.detail, "a message was refused");
                Ok(None)
            }
            Err(Rejected::Problem(problem)) => Err(Failure::Dead(problem.detail)),
            Err(Rejected::Unavailable(why)) => Err(Failure::Retry(why)),
        }
    }

    /// Executes for a REST caller.
    ///
    /// # Errors
    /// The problem to show.
    pub async fn answer(&self, call: &Call, id: &str, command: A::Command) -> Reply {
        match self.execute(id, command, Cause::call(call)).await {
            Ok(executed) => Ok(executed.answer),
            Err(Rejected::Refused(refusal)) => Err(refusal.into()),
            Err(Rejected::Problem(problem)) => Err(problem),
            Err(Rejected::Repeated) => Err(Problem::conflict("this was done before")),
            Err(Rejected::Unavailable(why)) => Err(Problem::unavailable(why)),
        }
    }

    /// State and version of an id; version 0 when nothing ever happened to it.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn state(&self, id: &str) -> Result<(A, u64), StoreError> {
        let loaded = load::<A>(&self.inner.deps, id).await.map_err(|error| match error {
            LoadError::Store(error) => error,
            LoadError::Stream(_) => StoreError(error.to_string()),
        })?;
        Ok((loaded.state, loaded.version))
    }

    /// The answer saved under an idempotency key, or a problem when the key was used for another body.
    async fn saved_answer(&self, idempotency: &Idempotency) -> Result<Option<Executed<A>>, Rejected<A::Refusal>> {
        let saved = self.inner.deps.store.answer(&idempotency.key).await;
        let saved = saved.map_err(|error| Rejected::Unavailable(error.to_string()))?;
        let Some(saved) = saved else { return Ok(None) };
        if saved.body_digest != idempotency.body_digest {
            return Err(Rejected::Problem(Problem::new(
                422,
                "idempotency-key-reused",
                "this Idempotency-Key was used for another body; use a new key for a new request",
            )));
        }
        Ok(Some(Executed { state: A::default(), version: 0, events: Vec::new(), answer: saved.answer }))
    }

    /// Arms the deadline and starts the effect that a state asks for.
    pub(crate) fn settle(&self, id: &Rc<str>, loaded: &Loaded<A>) {
        if self.inner.deadlines.borrow_mut().set(id, loaded.state.deadline()) {
            self.inner.deadline_changed.notify_one();
        }
        let mut wanted = self.inner.wanted.borrow_mut();
        match loaded.state.effect() {
            Some(effect) => wanted.insert(Rc::clone(id), (effect, loaded.inherited.exercise)),
            None => wanted.remove(id),
        };
        drop(wanted);
        self.perform_wanted(id);
    }

    /// Starts the wanted effect of an id, unless one is under way.
    fn perform_wanted(&self, id: &Rc<str>) {
        let wanted = self.inner.wanted.borrow().get(id).cloned();
        if let Some((effect, exercise)) = wanted
            && self.inner.performing.borrow_mut().insert(Rc::clone(id))
        {
            actix_rt::spawn(self.clone().run_effect(Rc::clone(id), effect, exercise));
        }
    }

    /// Performs one effect, hands its end to the aggregate, however long that takes, and starts what the
    /// state wants then. An actor that dies meanwhile does not make the effect run twice.
    async fn run_effect(self, id: Rc<str>, effect: A::Effect, exercise: bool) {
        let Some(command) = self.perform(&id, &effect, exercise).await else {
            self.inner.performing.borrow_mut().remove(&id);
            return;
        };
        let changed = self.hand_in(&id, command, exercise).await;
        self.inner.performing.borrow_mut().remove(&id);
        let same = self.inner.wanted.borrow().get(&id).is_some_and(|(wanted, _)| *wanted == effect);
        if same && !changed {
            tracing::error!(actor.category = A::CATEGORY, actor.id = %id, "an effect's end changed nothing; it is not repeated");
        } else {
            self.perform_wanted(&id);
        }
        self.passivate_if_done(&id);
    }

    /// Performs an effect as a worker under the Keeper. One that dies of it is noted with the actor too.
    async fn perform(&self, id: &str, effect: &A::Effect, exercise: bool) -> Option<A::Command> {
        let done = RefCell::new(None);
        let keeper = &self.inner.deps.keeper;
        let limits = KeeperOptions::clone(&self.inner.options);
        let life = |life: Life| {
            let slots = self.inner.slots.borrow();
            if let (Some((cause, detail)), Some(slot)) = (life.last_death(), slots.get(id)) {
                slot.beside.watch.borrow_mut().note(cause, format!("its effect died and is tried again: {detail}"));
            }
            let (performing, done) = (self.inner.performer.perform(id, exercise, effect.clone()), &done);
            async move {
                done.replace(Some(performing.await));
                Ok(())
            }
        };
        keeper.keep("worker", worker::<A>(id), limits, life).await;
        done.into_inner()
    }

    /// Executes the end of an effect until it is taken or refused. True when it changed the state.
    async fn hand_in(&self, id: &str, command: A::Command, exercise: bool) -> bool {
        let deps = &self.inner.deps;
        let mut wait = EFFECT_RETRY;
        loop {
            let cause = Cause::internal(deps.ids.uuid(deps.clock.now()), exercise);
            match self.execute(id, command.clone(), cause).await {
                Ok(executed) => return !executed.events.is_empty(),
                Err(Rejected::Repeated) => return true,
                Err(Rejected::Refused(refusal)) => {
                    tracing::error!(actor.category = A::CATEGORY, actor.id = %id, ?refusal, "the end of an effect was refused");
                    return false;
                }
                Err(Rejected::Problem(problem)) => {
                    tracing::error!(actor.category = A::CATEGORY, actor.id = %id, %problem, "the end of an effect was refused");
                    return false;
                }
                Err(Rejected::Unavailable(why)) => {
                    tracing::warn!(actor.category = A::CATEGORY, actor.id = %id, why, "the end of an effect waits");
                }
            }
            deps.clock.sleep(wait).await;
            wait = (wait * 2).min(EFFECT_RETRY_MAX);
        }
    }

    /// Fires deadlines as they come due.
    async fn run_deadlines(self) {
        loop {
            let clock = &self.inner.deps.clock;
            let now = clock.now();
            let due = self.inner.deadlines.borrow_mut().take_due(now);
            if let Some((id, command)) = due {
                actix_rt::spawn(self.clone().fire(id, command));
                continue;
            }
            let soonest = self.inner.deadlines.borrow().soonest();
            let changed = self.inner.deadline_changed.notified();
            match soonest {
                None => changed.await,
                Some(at) => {
                    let sleep = clock.sleep_until(at);
                    futures::future::select(std::pin::pin!(changed), sleep).await;
                }
            }
        }
    }

    async fn fire(self, id: Rc<str>, command: A::Command) {
        let deps = &self.inner.deps;
        let cause = Cause::internal(deps.ids.uuid(deps.clock.now()), false);
        match self.execute(&id, command.clone(), cause).await {
            Ok(_) | Err(Rejected::Repeated) => {}
            Err(Rejected::Refused(refusal)) => {
                tracing::error!(actor.category = A::CATEGORY, actor.id = %id, ?refusal, "a deadline's command was refused");
            }
            Err(Rejected::Problem(problem)) => {
                tracing::error!(actor.category = A::CATEGORY, actor.id = %id, %problem, "a deadline's command failed");
            }
            Err(Rejected::Unavailable(why)) => {
                tracing::warn!(actor.category = A::CATEGORY, actor.id = %id, why, "a deadline is tried again");
                let again = deps.clock.now().plus(EFFECT_RETRY_MAX / 10);
                let mut deadlines = self.inner.deadlines.borrow_mut();
                if !deadlines.of.contains_key(&id) && deadlines.set(&id, Some((again, command))) {
                    self.inner.deadline_changed.notify_one();
                }
            }
        }
    }

    async fn answer_questions(self, mut questions: mpsc::UnboundedReceiver<Control>) {
        while let Some(question) = questions.recv().await {
            match question {
                Control::List(limit, reply) => {
                    let _ = reply.send(self.list(limit));
                }
                Control::Page(after, limit, reply) => {
                    let _ = reply.send(self.page(after.as_deref(), limit));
                }
                Control::Count(reply) => {
                    let _ = reply.send(self.count());
                }
                Control::Act(id, ActorAction::Discard, reply) => {
                    actix_rt::spawn(self.clone().discard(id, reply));
                }
                Control::Act(id, action, reply) => {
                    let _ = reply.send(self.act(&id, action));
                }
            }
        }
    }

    fn act(&self, id: &str, action: ActorAction) -> Result<(), Problem> {
        let actor = || actor_name::<A>(id);
        if self.inner.deps.keeper.quarantine_of(&actor()).is_some() {
            // One that nobody asked for since the process began.
            self.slot(id);
        }
        let slots = self.inner.slots.borrow();
        let slot = slots.get(id).ok_or_else(|| Problem::not_found("actor", &actor()))?;
        let mut watch = slot.beside.watch.borrow_mut();
        match (action, watch.state) {
            (ActorAction::Release, ActorState::Quarantined) => watch.release(),
            (ActorAction::Release, ActorState::Running | ActorState::Restarting) => {
                return Err(Problem::conflict(format!("{} is not in quarantine", actor())));
            }
            (ActorAction::Restart | ActorAction::Crash, ActorState::Quarantined) => {
                return Err(Problem::conflict(format!("{} is in quarantine; release it", actor())));
            }
            (ActorAction::Restart, _) => watch.end_life(Death {
                cause: DeathCause::Requested,
                detail: "a person asked for a restart".to_owned(),
                own: false,
            }),
            (ActorAction::Discard, _) => {}
            (ActorAction::Crash, _) => {
                slot.addr.try_send(Crash).map_err(|_| Problem::unavailable("too many messages wait for this actor"))?
            }
        }
        Ok(())
    }
}

impl<A: Aggregate> Inner<A> {
    /// Whether the actor said at its last commit or load that nothing can happen any more.
    fn closed_or_new(&self, id: &str) -> bool {
        self.slots.borrow().get(id).is_some_and(|slot| slot.beside.watch.borrow().closed.get())
    }
}

pub(crate) fn actor_name<A: Aggregate>(id: &str) -> String {
    format!("{}/{id}", A::CATEGORY)
}

/// Name of the worker that performs an actor's effect.
fn worker<A: Aggregate>(id: &str) -> String {
    format!("{}-{id}", A::CATEGORY)
}

/// Refuses a message for an actor in quarantine; the consumer that brought it learns whom to park it for.
fn quarantined<A: Aggregate>(id: &str) -> Rejected<A::Refusal> {
    let actor = actor_name::<A>(id);
    let why = format!("{actor} is in quarantine until a person releases it");
    consumer::stopped_by(actor);
    Rejected::Unavailable(why)
}
