//! Actors of one category on one arbiter.
//!
//! [`Directory::execute`] finds or starts the actor of an id and sends it a command. The command sits, with
//! its reply channel, in a slot beside the actor while it is in hand: if the actor dies, the next
//! incarnation runs it first. The events carry the cause, so it cannot take effect twice.

use crate::aggregate::{Aggregate, Cause, DirectoryOptions, Executed, Observer, Performer, Rejected};
use crate::keeper::{ActorInfo, ActorState, Control, KeeperOptions, Kept, Watch, panic_text};
use crate::store::{Append, Commit, CommitError, Expected, InboxMark, NewEvent, Recorded, SavedAnswer, StoreError};
use crate::{Deps, Failure};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, ContextFutureSpawner, Handler, Message, Supervised, WrapFuture,
};
use futures::FutureExt;
use shers_contract::{
    DomainEvent, IncidentId, Problem, Timestamp, Traceparent,
    api::{ActorAction, Answer, Call, Idempotency, Reply},
    envelope::StreamName,
    supervision::Cause as DeathCause,
};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    panic::AssertUnwindSafe,
    rc::Rc,
    time::Duration,
};
use tokio::sync::{Notify, mpsc, oneshot};

/// How often a command is decided again when somebody else wrote to its stream.
const MAX_CONFLICTS: u32 = 8;
/// Wait between attempts to load an actor's events.
const LOAD_RETRY: Duration = Duration::from_millis(100);
/// Longest wait between attempts to hand in the end of an effect.
const EFFECT_RETRY_MAX: Duration = Duration::from_secs(10);

/// An effect and whether it is for exercise.
type Wanted<A> = (<A as Aggregate>::Effect, bool);
type Outcome<A> = Result<Executed<A>, Rejected<<A as Aggregate>::Refusal>>;

/// A command on its way to an actor.
struct Execute<A: Aggregate> {
    command: A::Command,
    cause: Cause,
    reply: Option<oneshot::Sender<Outcome<A>>>,
    attempts: u32,
    conflicts: u32,
}

impl<A: Aggregate> Message for Execute<A> {
    type Result = ();
}

/// Ends this life by a panic in a handler, as a defect would.
struct Crash;

impl Message for Crash {
    type Result = ();
}

/// What the stream's own events say of trace and exercise, for events to come.
#[derive(Clone, Default)]
struct Inherited {
    /// There was an event already.
    known: bool,
    correlation: Option<IncidentId>,
    traceparent: Option<Traceparent>,
    exercise: bool,
}

impl Inherited {
    /// Trace and exercise of an event with `correlation` caused by `cause`; remembered for the next one.
    /// What comes from inside (a deadline, the end of an effect) has no trace and says nothing of exercise.
    fn of(&mut self, correlation: Option<&IncidentId>, cause: &Cause) -> (Option<Traceparent>, bool) {
        let from_inside = cause.traceparent.is_none();
        if !self.known || (self.correlation.as_ref() != correlation && !from_inside) {
            self.traceparent = cause.traceparent;
            self.exercise = cause.exercise;
        }
        self.known = true;
        self.correlation = correlation.cloned();
        self.traceparent = self.traceparent.or(cause.traceparent);
        self.exercise |= cause.exercise;
        (self.traceparent, self.exercise)
    }
}

/// Folded state of one stream.
#[derive(Clone)]
struct Loaded<A> {
    state: A,
    version: u64,
    inherited: Inherited,
}

impl<A: Aggregate> Default for Loaded<A> {
    fn default() -> Self {
        Self { state: A::default(), version: 0, inherited: Inherited::default() }
    }
}

impl<A: Aggregate> Loaded<A> {
    fn apply(&mut self, recorded: &Recorded) -> Result<(), StoreError> {
        let envelope = &recorded.envelope;
        if let Some(event) = A::Event::from_envelope(envelope) {
            let event = event.map_err(|error| StoreError(format!("{error}: {}", error.source)))?;
            self.state = std::mem::take(&mut self.state).evolve(&event, envelope.at);
        }
        self.version = envelope.version;
        self.inherited = Inherited {
            known: true,
            correlation: envelope.correlation_id.clone(),
            traceparent: envelope.traceparent,
            exercise: envelope.exercise,
        };
        Ok(())
    }
}

/// What the actor and its directory share.
struct Beside<A: Aggregate> {
    id: Rc<str>,
    hand: RefCell<Option<Execute<A>>>,
    /// State handed over at start, so that a bulk load reads the log once.
    preloaded: RefCell<Option<Loaded<A>>>,
    pending: Cell<usize>,
    watch: Rc<RefCell<Watch>>,
}

struct AggregateActor<A: Aggregate> {
    directory: Directory<A>,
    beside: Rc<Beside<A>>,
    loaded: Loaded<A>,
}

struct Slot<A: Aggregate> {
    addr: actix::Addr<AggregateActor<A>>,
    beside: Rc<Beside<A>>,
}

struct Inner<A: Aggregate> {
    deps: Deps,
    performer: Rc<dyn Performer<A>>,
    observer: Option<Observer<A>>,
    options: Rc<KeeperOptions>,
    slots: RefCell<HashMap<Rc<str>, Slot<A>>>,
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
    inner: Rc<Inner<A>>,
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
        let (control, questions) = mpsc::unbounded_channel();
        deps.keeper.register(A::CATEGORY, control);
        let directory = Self {
            inner: Rc::new(Inner {
                deps,
                performer: options.performer,
                observer: options.observer,
                options: Rc::new(options.keeper),
                slots: RefCell::default(),
                deadlines: RefCell::new(Deadlines { order: BTreeSet::new(), of: BTreeMap::new() }),
                deadline_changed: Notify::new(),
                wanted: RefCell::default(),
                performing: RefCell::default(),
            }),
        };
        actix_rt::spawn(directory.clone().answer_questions(questions));
        actix_rt::spawn(directory.clone().run_deadlines());
        directory
    }

    /// Starts an actor for every open stream of the category, with its deadline armed and its effect
    /// under way. Returns how many there are.
    ///
    /// # Errors
    /// The store can't be read, or holds an event that this build does not understand.
    pub async fn load_open(&self) -> Result<usize, StoreError> {
        let events = self.inner.deps.store.read_open(A::CATEGORY).await?;
        let mut count = 0;
        let mut current: Option<(StreamName, Loaded<A>)> = None;
        for recorded in &events {
            let stream = &recorded.envelope.stream;
            if current.as_ref().is_none_or(|(name, _)| name != stream) {
                if let Some((name, loaded)) = current.take() {
                    self.start_loaded(name.id(), loaded);
                }
                current = Some((stream.clone(), Loaded::default()));
                count += 1;
            }
            if let Some((_, loaded)) = &mut current {
                loaded.apply(recorded)?;
            }
        }
        if let Some((name, loaded)) = current {
            self.start_loaded(name.id(), loaded);
        }
        Ok(count)
    }

    fn start_loaded(&self, id: &str, loaded: Loaded<A>) {
        if self.inner.slots.borrow().contains_key(id) {
            return;
        }
        let id: Rc<str> = id.into();
        self.settle(&id, &loaded);
        self.observe(&id, &loaded, &[]);
        self.start(&id, Some(loaded));
    }

    fn observe(&self, id: &str, loaded: &Loaded<A>, events: &[A::Event]) {
        if let Some(observer) = &self.inner.observer {
            observer(id, &loaded.state, loaded.version, events);
        }
    }

    /// Starts the actor of an id under the Keeper.
    fn start(&self, id: &Rc<str>, preloaded: Option<Loaded<A>>) -> actix::Addr<AggregateActor<A>> {
        let watch = Watch::new(format!("{}/{id}", A::CATEGORY));
        let beside = Rc::new(Beside {
            id: Rc::clone(id),
            hand: RefCell::new(None),
            preloaded: RefCell::new(preloaded),
            pending: Cell::new(0),
            watch: Rc::clone(&watch),
        });
        let actor = AggregateActor { directory: self.clone(), beside: Rc::clone(&beside), loaded: Loaded::default() };
        let mut context = Context::new();
        context.set_mailbox_capacity(self.inner.options.mailbox);
        let addr = context.address();
        let kept = Kept::new(context, actor, watch, self.inner.deps.keeper.clone(), Rc::clone(&self.inner.options));
        actix_rt::spawn(kept);
        self.inner.slots.borrow_mut().insert(Rc::clone(id), Slot { addr: addr.clone(), beside });
        addr
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
        let (reply, outcome) = oneshot::channel();
        let message = Execute { command, cause, reply: Some(reply), attempts: 0, conflicts: 0 };
        let (addr, beside) = self.slot(id);
        if beside.watch.borrow().state == ActorState::Quarantined {
            return Err(Rejected::Unavailable(format!(
                "{}/{id} is in quarantine until a person releases it",
                A::CATEGORY
            )));
        }
        beside.pending.set(beside.pending.get() + 1);
        let sent = addr.try_send(message);
        let outcome = match sent {
            Ok(()) => outcome.await.unwrap_or_else(|_| Err(Rejected::Unavailable("the actor went away".to_owned()))),
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
        let id: Rc<str> = id.into();
        let addr = self.start(&id, None);
        let slots = self.inner.slots.borrow();
        let beside = slots.get(&id).map(|slot| Rc::clone(&slot.beside));
        // The slot was inserted by `start` just now, on this very thread.
        (addr, beside.unwrap_or_else(|| Rc::new(Beside::orphan(&id))))
    }

    /// Lets an actor go whose story has ended and for whom nothing waits.
    fn passivate_if_done(&self, id: &str) {
        let done = self.inner.slots.borrow().get(id).is_some_and(|slot| {
            slot.beside.pending.get() == 0
                && slot.beside.preloaded.borrow().is_none()
                && slot.beside.watch.borrow().state == ActorState::Running
        });
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
    /// Retry when the store or the actor is unavailable.
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
        let loaded = load::<A>(&self.inner.deps, id).await?;
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
    fn settle(&self, id: &Rc<str>, loaded: &Loaded<A>) {
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
        let command = self.perform(&id, &effect, exercise).await;
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

    async fn perform(&self, id: &str, effect: &A::Effect, exercise: bool) -> A::Command {
        let mut wait = LOAD_RETRY;
        loop {
            let performing = AssertUnwindSafe(self.inner.performer.perform(id, exercise, effect.clone()));
            match performing.catch_unwind().await {
                Ok(command) => return command,
                Err(panic) => {
                    let detail = panic_text(&*panic);
                    tracing::error!(actor.category = A::CATEGORY, actor.id = %id, detail, "an effect panicked; trying again");
                }
            }
            self.inner.deps.clock.sleep(wait).await;
            wait = (wait * 2).min(EFFECT_RETRY_MAX);
        }
    }

    /// Executes the end of an effect until it is taken or refused. True when it changed the state.
    async fn hand_in(&self, id: &str, command: A::Command, exercise: bool) -> bool {
        let deps = &self.inner.deps;
        let mut wait = LOAD_RETRY;
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
                Control::Act(id, action, reply) => {
                    let _ = reply.send(self.act(&id, action));
                }
            }
        }
    }

    fn list(&self, limit: usize) -> Vec<ActorInfo> {
        let slots = self.inner.slots.borrow();
        let mut infos: Vec<ActorInfo> =
            slots.values().map(|slot| slot.beside.watch.borrow().info(slot.beside.pending.get())).collect();
        infos.sort_by(|a, b| {
            let rank = |i: &ActorInfo| (i.state == ActorState::Running, std::cmp::Reverse(i.incarnation));
            rank(a).cmp(&rank(b)).then_with(|| a.actor.cmp(&b.actor))
        });
        infos.truncate(limit);
        infos
    }

    fn act(&self, id: &str, action: ActorAction) -> Result<(), Problem> {
        let slots = self.inner.slots.borrow();
        let actor = || format!("{}/{id}", A::CATEGORY);
        let slot = slots.get(id).ok_or_else(|| Problem::not_found("actor", &actor()))?;
        let mut watch = slot.beside.watch.borrow_mut();
        match (action, watch.state) {
            (ActorAction::Release, ActorState::Quarantined) => watch.release(),
            (ActorAction::Release, ActorState::Running | ActorState::Restarting) => {
                return Err(Problem::conflict(format!("{} is not in quarantine", actor())));
            }
            (_, ActorState::Quarantined) => {
                return Err(Problem::conflict(format!("{} is in quarantine; release it", actor())));
            }
            (ActorAction::Restart, _) => {
                watch.end_life(DeathCause::Requested, "a person asked for a restart".to_owned())
            }
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
        self.slots.borrow().get(id).is_some_and(|slot| slot.beside.closed())
    }
}

impl<A: Aggregate> Beside<A> {
    fn orphan(id: &Rc<str>) -> Self {
        Self {
            id: Rc::clone(id),
            hand: RefCell::new(None),
            preloaded: RefCell::new(None),
            pending: Cell::new(0),
            watch: Watch::new(String::new()),
        }
    }
    fn closed(&self) -> bool {
        self.watch.borrow().closed.get()
    }
}

async fn load<A: Aggregate>(deps: &Deps, id: &str) -> Result<Loaded<A>, StoreError> {
    let events = deps.store.read_stream(&StreamName::new(A::CATEGORY, id), 0).await?;
    let mut loaded = Loaded::default();
    for recorded in &events {
        loaded.apply(recorded)?;
    }
    Ok(loaded)
}

impl<A: Aggregate> Actor for AggregateActor<A> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let preloaded = self.beside.preloaded.borrow_mut().take();
        if let Some(loaded) = preloaded {
            // Its deadline and effect were seen to when it was loaded, and may be past by now.
            self.take_over(loaded, ctx);
        } else {
            self.reload(ctx);
        }
    }
}

impl<A: Aggregate> Supervised for AggregateActor<A> {
    fn restarting(&mut self, _ctx: &mut Self::Context) {
        self.loaded = Loaded::default();
    }
}

impl<A: Aggregate> Handler<Execute<A>> for AggregateActor<A> {
    type Result = ();

    fn handle(&mut self, message: Execute<A>, ctx: &mut Self::Context) {
        *self.beside.hand.borrow_mut() = Some(message);
        self.work(ctx);
    }
}

impl<A: Aggregate> Handler<Crash> for AggregateActor<A> {
    type Result = ();

    #[expect(clippy::panic, reason = "asked for by a person in exercise mode, to see supervision at work")]
    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("crash asked for by a person");
    }
}

impl<A: Aggregate> AggregateActor<A> {
    /// Reads the state from the log, again and again until it can be read, then resumes.
    fn reload(&mut self, ctx: &mut Context<Self>) {
        let deps = self.directory.inner.deps.clone();
        let id = Rc::clone(&self.beside.id);
        async move {
            loop {
                match load::<A>(&deps, &id).await {
                    Ok(loaded) => return loaded,
                    Err(error) => {
                        tracing::error!(actor.category = A::CATEGORY, actor.id = %id, %error, "loading an actor");
                        deps.clock.sleep(LOAD_RETRY).await;
                    }
                }
            }
        }
        .into_actor(self)
        .map(|loaded, actor, ctx| {
            actor.directory.observe(&actor.beside.id, &loaded, &[]);
            actor.resume(loaded, ctx);
        })
        .wait(ctx);
    }

    /// Takes over a state and runs the message in hand, if there is one.
    fn resume(&mut self, loaded: Loaded<A>, ctx: &mut Context<Self>) {
        self.directory.settle(&self.beside.id, &loaded);
        self.take_over(loaded, ctx);
    }

    fn take_over(&mut self, loaded: Loaded<A>, ctx: &mut Context<Self>) {
        self.beside.watch.borrow().closed.set(loaded.version == 0 || loaded.state.is_closed());
        self.loaded = loaded;
        self.work(ctx);
    }

    /// Decides the command in hand and commits what it gives.
    fn work(&mut self, ctx: &mut Context<Self>) {
        let prepared = {
            let mut hand = self.beside.hand.borrow_mut();
            let Some(message) = hand.as_mut() else { return };
            message.attempts += 1;
            if message.attempts > self.directory.inner.options.max_message_attempts + message.conflicts {
                let detail = "this message ended every life of the actor that took it and was given up";
                let problem = Problem::new(500, "poison-message", detail);
                drop(hand);
                self.reply(Err(Rejected::Problem(problem)));
                return;
            }
            // The command leaves the slot's borrow before it is decided: a panic in there must find it free.
            (message.command.clone(), message.cause.clone())
        };
        match self.prepare(&prepared.0, &prepared.1) {
            Err(rejected) => self.reply(Err(rejected)),
            Ok(Prepared::Nothing(executed)) => self.reply(Ok(executed)),
            Ok(Prepared::Commit { commit, next, events, answer }) => {
                let store = std::sync::Arc::clone(&self.directory.inner.deps.store);
                async move { store.commit(*commit).await }
                    .into_actor(self)
                    .map(move |committed, actor, ctx| match committed {
                        Ok(_) => actor.committed(*next, events, answer),
                        Err(error) => actor.not_committed(error, ctx),
                    })
                    .wait(ctx);
            }
        }
    }

    fn prepare(&mut self, command: &A::Command, cause: &Cause) -> Result<Prepared<A>, Rejected<A::Refusal>> {
        let deps = &self.directory.inner.deps;
        let version = self.loaded.version;
        if let Some(expected) = cause.if_match.filter(|expected| *expected != version) {
            return Err(Rejected::Problem(Problem::stale(expected, version)));
        }
        let now = deps.clock.now();
        let events = self.loaded.state.decide(command, now).map_err(Rejected::Refused)?;
        if events.is_empty() {
            let answer = self.loaded.state.answer(version);
            return Ok(Prepared::Nothing(Executed { state: self.loaded.state.clone(), version, events, answer }));
        }
        let mut next = self.loaded.clone();
        let mut appended = Vec::with_capacity(events.len());
        for event in &events {
            next.state = std::mem::take(&mut next.state).evolve(event, now);
            next.version += 1;
            let correlation_id = next.state.correlation(event);
            let (traceparent, exercise) = next.inherited.of(correlation_id.as_ref(), cause);
            appended.push(NewEvent {
                id: deps.ids.uuid(now),
                kind: event.kind(),
                v: event.schema_version(),
                at: now,
                correlation_id,
                causation_id: Some(cause.id),
                traceparent: traceparent.map(|t| t.child(deps.ids.random())),
                exercise,
                data: event.to_data(),
            });
        }
        let answer = next.state.answer(next.version);
        let saved = cause.idempotency.as_ref().map(|idempotency| SavedAnswer {
            key: idempotency.key.clone(),
            body_digest: idempotency.body_digest.clone(),
            at: now,
            answer: answer.clone(),
        });
        let append = Append {
            stream: StreamName::new(A::CATEGORY, &*self.beside.id),
            expected: Expected::Version(version),
            events: appended,
            open: !next.state.is_closed(),
        };
        let inbox = cause.consumer.map(|consumer| InboxMark { consumer, message_id: cause.id });
        let commit =
            Commit { appends: vec![append], inbox: inbox.into_iter().collect(), answer: saved, ..Commit::default() };
        Ok(Prepared::Commit { commit: Box::new(commit), next: Box::new(next), events, answer })
    }

    fn committed(&mut self, next: Loaded<A>, events: Vec<A::Event>, answer: Answer) {
        self.loaded = next;
        self.beside.watch.borrow().closed.set(self.loaded.state.is_closed());
        self.directory.settle(&self.beside.id, &self.loaded);
        self.directory.observe(&self.beside.id, &self.loaded, &events);
        for event in &events {
            let incident = self.loaded.state.correlation(event);
            let (kind, incident) = (event.kind(), incident.as_ref().map(tracing::field::display));
            tracing::debug!(actor.category = A::CATEGORY, actor.id = %self.beside.id, %kind, incident.id = incident, "event");
        }
        let executed = Executed { state: self.loaded.state.clone(), version: self.loaded.version, events, answer };
        self.reply(Ok(executed));
    }

    fn not_committed(&mut self, error: CommitError, ctx: &mut Context<Self>) {
        match error {
            CommitError::Conflict { .. } | CommitError::Answered | CommitError::Unknown(_) => {
                let again = self.beside.hand.borrow_mut().as_mut().is_some_and(|message| {
                    message.conflicts += 1;
                    message.conflicts <= MAX_CONFLICTS
                });
                if matches!(error, CommitError::Answered) || !again {
                    self.reply(Err(Rejected::Unavailable(error.to_string())));
                }
                // Whoever wrote knows more: read again, then decide again.
                self.reload(ctx);
            }
            CommitError::Repeated { .. } => self.reply(Err(Rejected::Repeated)),
            CommitError::Unavailable(_) => self.reply(Err(Rejected::Unavailable(error.to_string()))),
        }
    }

    fn reply(&mut self, outcome: Outcome<A>) {
        let message = self.beside.hand.borrow_mut().take();
        if let Some(reply) = message.and_then(|mut message| message.reply.take()) {
            // Nobody may wait any more; the outcome is in the log.
            let _ = reply.send(outcome);
        }
    }
}

/// A decided command.
enum Prepared<A: Aggregate> {
    /// It changes nothing.
    Nothing(Executed<A>),
    /// It gives events.
    Commit { commit: Box<Commit>, next: Box<Loaded<A>>, events: Vec<A::Event>, answer: Answer },
}
