//! The one generic actor around a pure aggregate: load, decide, commit, reply, one message at a time.
//!
//! While it waits for the store it takes no other message. Where each wait began is noted beside it
//! ([`Beside::step`]), so the directory's watchdog can tell a wait without an end from a slow one.

use crate::Deps;
use crate::aggregate::{Aggregate, Cause, Executed, Rejected};
use crate::directory::Directory;
use crate::kept::{Death, Watch};
use crate::store::{Append, Commit, CommitError, Expected, InboxMark, NewEvent, Recorded, SavedAnswer, StoreError};
use actix::{Actor, ActorFutureExt, Context, ContextFutureSpawner, Handler, Message, Supervised, WrapFuture};
use shers_contract::{
    DomainEvent, IncidentId, Problem, Timestamp, Traceparent, api::Answer, envelope::StreamName,
    supervision::Cause as DeathCause,
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

/// How often a command is decided again when somebody else wrote to its stream.
const MAX_CONFLICTS: u32 = 8;

pub(crate) type Outcome<A> = Result<Executed<A>, Rejected<<A as Aggregate>::Refusal>>;

/// A command on its way to an actor.
pub(crate) struct Execute<A: Aggregate> {
    command: A::Command,
    cause: Cause,
    reply: Option<oneshot::Sender<Outcome<A>>>,
    attempts: u32,
    conflicts: u32,
    /// Version of the stream when it was first tried: an event of it after that means it took effect.
    tried: Option<u64>,
    /// The store knows its inbox mark.
    repeated: bool,
}

impl<A: Aggregate> Execute<A> {
    pub(crate) fn new(command: A::Command, cause: Cause, reply: oneshot::Sender<Outcome<A>>) -> Self {
        Self { command, cause, reply: Some(reply), attempts: 0, conflicts: 0, tried: None, repeated: false }
    }
    /// Nobody waits for it any more, as when quarantine began: it was parked, or given up by its asker.
    fn is_withdrawn(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

impl<A: Aggregate> Message for Execute<A> {
    type Result = ();
}

/// Ends this life by a panic in a handler, as a defect would.
pub(crate) struct Crash;

impl Message for Crash {
    type Result = ();
}

/// What the stream's own events say of trace and exercise, for events to come.
#[derive(Clone, Default)]
pub(crate) struct Inherited {
    /// There was an event already.
    known: bool,
    correlation: Option<IncidentId>,
    traceparent: Option<Traceparent>,
    pub(crate) exercise: bool,
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
pub(crate) struct Loaded<A> {
    pub(crate) state: A,
    pub(crate) version: u64,
    pub(crate) inherited: Inherited,
}

impl<A: Aggregate> Default for Loaded<A> {
    fn default() -> Self {
        Self { state: A::default(), version: 0, inherited: Inherited::default() }
    }
}

impl<A: Aggregate> Loaded<A> {
    pub(crate) fn apply(&mut self, recorded: &Recorded) -> Result<(), LoadError> {
        let envelope = &recorded.envelope;
        if let Some(event) = A::Event::from_envelope(envelope) {
            let event = event.map_err(|error| LoadError::Stream(format!("{error}: {}", error.source)))?;
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

/// Why a state could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The store can't be read now.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream holds what this build does not understand.
    #[error("reading the stream: {0}")]
    Stream(String),
}

/// What the actor and its directory share.
pub(crate) struct Beside<A: Aggregate> {
    pub(crate) id: Rc<str>,
    hand: RefCell<Option<Execute<A>>>,
    /// State handed over at start, so that a bulk load reads the log once.
    preloaded: RefCell<Option<Loaded<A>>>,
    /// Messages that wait, the one in hand included.
    pub(crate) pending: Cell<usize>,
    /// Wakes the actor that queues for its turn to come back when a message comes.
    call: Notify,
    queues: Cell<bool>,
    /// Since when the actor waits for an answer of the store.
    pub(crate) step: Cell<Option<Timestamp>>,
    pub(crate) watch: Rc<RefCell<Watch>>,
}

impl<A: Aggregate> Beside<A> {
    pub(crate) fn new(id: Rc<str>, preloaded: Option<Loaded<A>>, watch: Rc<RefCell<Watch>>) -> Self {
        let (hand, preloaded) = (RefCell::new(None), RefCell::new(preloaded));
        let (pending, call, queues) = (Cell::new(0), Notify::new(), Cell::new(false));
        Self { id, hand, preloaded, pending, call, queues, step: Cell::new(None), watch }
    }
    /// A message begins to wait.
    pub(crate) fn one_more_waits(&self) {
        self.pending.set(self.pending.get() + 1);
        if self.queues.get() {
            self.call.notify_one();
        }
    }
    /// Resolves when a message waits.
    pub(crate) async fn called(&self) {
        self.queues.set(true);
        while self.pending.get() == 0 {
            self.call.notified().await;
        }
        self.queues.set(false);
    }
    /// Nothing waits and the actor took over its state.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.get() == 0 && self.preloaded.borrow().is_none()
    }
    /// The death to come is not the message's doing.
    pub(crate) fn excuse_message(&self) {
        if let Some(message) = self.hand.borrow_mut().as_mut() {
            message.attempts = message.attempts.saturating_sub(1);
        }
    }
    /// Which message may have taken effect after which version.
    fn tried(&self) -> Option<(u64, Uuid)> {
        self.hand.borrow().as_ref().and_then(|message| message.tried.map(|version| (version, message.cause.id)))
    }
}

/// The actor.
pub(crate) struct AggregateActor<A: Aggregate> {
    directory: Directory<A>,
    beside: Rc<Beside<A>>,
    loaded: Loaded<A>,
}

impl<A: Aggregate> AggregateActor<A> {
    pub(crate) fn new(directory: Directory<A>, beside: Rc<Beside<A>>) -> Self {
        Self { directory, beside, loaded: Loaded::default() }
    }
}

/// Reads a state from the log.
pub(crate) async fn load<A: Aggregate>(deps: &Deps, id: &str) -> Result<Loaded<A>, LoadError> {
    load_after(deps, id, None).await.map(|(loaded, _)| loaded)
}

/// Reads a state, and which events after a version a certain message caused.
async fn load_after<A: Aggregate>(
    deps: &Deps,
    id: &str,
    tried: Option<(u64, Uuid)>,
) -> Result<(Loaded<A>, Vec<A::Event>), LoadError> {
    let events = deps.store.read_stream(&StreamName::new(A::CATEGORY, id), 0).await?;
    let mut loaded = Loaded::default();
    let mut applied = Vec::new();
    for recorded in &events {
        let envelope = &recorded.envelope;
        loaded.apply(recorded)?;
        if tried.is_some_and(|(version, by)| envelope.version > version && envelope.causation_id == Some(by)) {
            applied.extend(A::Event::from_envelope(envelope).and_then(Result::ok));
        }
    }
    Ok((loaded, applied))
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
        self.beside.step.set(None);
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
    /// Reads the state from the log, then resumes. A failure ends this life: the next one reads again,
    /// after its back-off.
    fn reload(&mut self, ctx: &mut Context<Self>) {
        let directory = self.directory.clone();
        let beside = Rc::clone(&self.beside);
        async move {
            let _turn = directory.revival_turn(&beside).await;
            directory.begin_step(&beside);
            let loaded = load_after::<A>(directory.deps(), &beside.id, beside.tried()).await;
            directory.end_step(&beside);
            match loaded {
                Ok(loaded) => loaded,
                Err(error) => {
                    tracing::error!(actor.category = A::CATEGORY, actor.id = %beside.id, %error, "loading an actor");
                    let own = matches!(error, LoadError::Stream(_));
                    let death = Death { cause: DeathCause::Error, detail: error.to_string(), own };
                    beside.watch.borrow_mut().end_life(death);
                    // Not one message more in this life: its state is not the stream's.
                    std::future::pending().await
                }
            }
        }
        .into_actor(self)
        .map(|(loaded, applied), actor, ctx| {
            actor.directory.observe(&actor.beside.id, &loaded, &[]);
            actor.resume(loaded, applied, ctx);
        })
        .wait(ctx);
    }

    /// Takes over a state and runs the message in hand, if there is one and it did not take effect.
    fn resume(&mut self, loaded: Loaded<A>, applied: Vec<A::Event>, ctx: &mut Context<Self>) {
        self.directory.settle(&self.beside.id, &loaded);
        if !applied.is_empty() {
            let answer = loaded.state.answer(loaded.version);
            let executed = Executed { state: loaded.state.clone(), version: loaded.version, events: applied, answer };
            self.reply(Ok(executed));
        }
        self.take_over(loaded, ctx);
    }

    fn take_over(&mut self, loaded: Loaded<A>, ctx: &mut Context<Self>) {
        let mut watch = self.beside.watch.borrow_mut();
        watch.closed.set(loaded.version == 0 || loaded.state.is_closed());
        watch.well();
        drop(watch);
        self.loaded = loaded;
        self.work(ctx);
    }

    /// Takes the message in hand for one more attempt; none when there is nothing to do for it.
    fn attempt(&mut self) -> Option<(A::Command, Cause)> {
        let mut hand = self.beside.hand.borrow_mut();
        let message = hand.as_mut()?;
        if message.is_withdrawn() {
            *hand = None;
            return None;
        }
        message.attempts += 1;
        let given_up = message.attempts > self.directory.options().max_message_attempts + message.conflicts;
        if !given_up && !message.repeated {
            message.tried.get_or_insert(self.loaded.version);
            // The command leaves the slot's borrow before it is decided: a panic in there must find it free.
            return Some((message.command.clone(), message.cause.clone()));
        }
        let repeated = message.repeated;
        drop(hand);
        let detail = "this message ended every life of the actor that took it and was given up";
        let poison = Rejected::Problem(Problem::new(500, "poison-message", detail));
        if !repeated {
            metrics::counter!("shers_poison_messages_total", "category" => A::CATEGORY).increment(1);
        }
        self.reply(Err(if repeated { Rejected::Repeated } else { poison }));
        None
    }

    /// Decides the command in hand and commits what it gives.
    fn work(&mut self, ctx: &mut Context<Self>) {
        let Some(prepared) = self.attempt() else { return };
        match self.prepare(&prepared.0, &prepared.1) {
            Err(rejected) => self.reply(Err(rejected)),
            Ok(Prepared::Nothing(executed)) => self.reply(Ok(executed)),
            Ok(Prepared::Commit { commit, next, events, answer }) => {
                let store = std::sync::Arc::clone(&self.directory.deps().store);
                self.directory.begin_step(&self.beside);
                async move { store.commit(*commit).await }
                    .into_actor(self)
                    .map(move |committed, actor, ctx| {
                        actor.directory.end_step(&actor.beside);
                        match committed {
                            Ok(_) => actor.committed(*next, events, answer),
                            Err(error) => actor.not_committed(error, ctx),
                        }
                    })
                    .wait(ctx);
            }
        }
    }

    fn prepare(&mut self, command: &A::Command, cause: &Cause) -> Result<Prepared<A>, Rejected<A::Refusal>> {
        let deps = self.directory.deps();
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
            CommitError::Repeated { .. } => {
                let first = self.beside.hand.borrow_mut().as_mut().is_none_or(|message| {
                    message.repeated = true;
                    message.attempts + message.conflicts <= 1
                });
                if first {
                    self.reply(Err(Rejected::Repeated));
                } else {
                    // An attempt of before did commit, in a life that never heard of it.
                    self.reload(ctx);
                }
            }
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
