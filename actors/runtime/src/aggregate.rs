//! The one generic aggregate actor.
//!
//! A service writes a pure [`Aggregate`]; a [`Directory`](crate::Directory) gives it actors: one per id, started when first
//! asked for, rebuilt from the log in `started()` and nowhere else, kept alive by the Keeper, passivated
//! when idle. Timers and effects are state: after every commit the actor looks at
//! [`Aggregate::deadline`] and [`Aggregate::effect`] and arms or performs what they say, so a restart
//! finds them again.

use crate::keeper::KeeperOptions;
use async_trait::async_trait;
use shers_contract::{
    DomainEvent, Envelope, IncidentId, Problem, Timestamp, Traceparent,
    api::{Answer, Call, Idempotency},
};
use std::{fmt::Debug, rc::Rc};
use uuid::Uuid;

/// A pure state machine whose state is the fold of its events.
pub trait Aggregate: Default + Clone + Send + Unpin + 'static {
    /// Category of its streams, such as `incident`.
    const CATEGORY: &'static str;
    /// What may be asked of it.
    type Command: Clone + Debug + Send + Unpin + 'static;
    /// What happens to it.
    type Event: DomainEvent;
    /// Why it says no.
    type Refusal: Into<Problem> + Debug + Clone + Send + 'static;
    /// What it wants done outside the house; [`NoEffect`] when nothing ever.
    type Effect: Clone + PartialEq + Debug + Unpin + 'static;

    /// Decides. May refuse; a repeat of what already happened gives no events.
    ///
    /// # Errors
    /// The refusal, which changes nothing.
    fn decide(&self, command: &Self::Command, now: Timestamp) -> Result<Vec<Self::Event>, Self::Refusal>;
    /// Folds one event (that happened `at`). May not refuse.
    #[must_use]
    fn evolve(self, event: &Self::Event, at: Timestamp) -> Self;
    /// The incident it belongs to, for `correlation_id`, after `event` (an event may name another than
    /// the state, as when a unit is released).
    fn correlation(&self, event: &Self::Event) -> Option<IncidentId>;
    /// The next deadline and the command that it gives.
    fn deadline(&self) -> Option<(Timestamp, Self::Command)> {
        None
    }
    /// What is to be done outside now. The same value means the same doing: it is started once per
    /// incarnation. The claim for it is in the log by then.
    fn effect(&self) -> Option<Self::Effect> {
        None
    }
    /// Nothing can happen any more: the actor goes and its stream is closed.
    fn is_closed(&self) -> bool {
        false
    }
    /// What a REST request that led here is answered with.
    fn answer(&self, version: u64) -> Answer;
}

/// For aggregates that do nothing outside.
#[derive(Clone, PartialEq, Debug)]
pub enum NoEffect {}

/// Does effects and tells how they ended, as a command for the aggregate. Never fails: an unknown
/// outcome is an outcome.
#[async_trait(?Send)]
pub trait Performer<A: Aggregate>: 'static {
    /// Performs `effect` for the aggregate `id`.
    async fn perform(&self, id: &str, exercise: bool, effect: A::Effect) -> A::Command;
}

#[async_trait(?Send)]
impl<A: Aggregate<Effect = NoEffect>> Performer<A> for () {
    async fn perform(&self, _id: &str, _exercise: bool, effect: NoEffect) -> A::Command {
        match effect {}
    }
}

/// Why a command is executed: what its events will say of their cause.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Message or request; the events' `causation_id`.
    pub id: Uuid,
    /// Set when it is a delivery: its inbox mark commits with the events.
    pub consumer: Option<&'static str>,
    /// Trace.
    pub traceparent: Option<Traceparent>,
    /// Demo and drills.
    pub exercise: bool,
    /// Set when the client sent an idempotency key: the answer commits with the events.
    pub idempotency: Option<Idempotency>,
    /// Set when the client sent `If-Match`.
    pub if_match: Option<u64>,
}

impl Cause {
    /// A delivery to `consumer`.
    #[must_use]
    pub fn delivery(envelope: &Envelope, consumer: &'static str) -> Self {
        Self {
            id: envelope.id,
            consumer: Some(consumer),
            traceparent: envelope.traceparent,
            exercise: envelope.exercise,
            idempotency: None,
            if_match: None,
        }
    }
    /// A request.
    #[must_use]
    pub fn call(call: &Call) -> Self {
        Self {
            id: call.id,
            consumer: None,
            traceparent: Some(call.traceparent),
            exercise: call.exercise,
            idempotency: call.idempotency.clone(),
            if_match: call.if_match,
        }
    }
    /// Something inside: a deadline or an effect's end.
    #[must_use]
    pub fn internal(id: Uuid, exercise: bool) -> Self {
        Self { id, consumer: None, traceparent: None, exercise, idempotency: None, if_match: None }
    }
}

/// A command was executed.
#[derive(Clone, Debug)]
pub struct Executed<A: Aggregate> {
    /// State afterwards.
    pub state: A,
    /// Version afterwards.
    pub version: u64,
    /// What happened; empty when nothing had to.
    pub events: Vec<A::Event>,
    /// The answer for a REST caller (a saved one, when the idempotency key was used before).
    pub answer: Answer,
}

/// A command was not executed.
#[derive(Clone, Debug)]
pub enum Rejected<R> {
    /// The aggregate said no.
    Refused(R),
    /// The message was dealt with before: nothing to do.
    Repeated,
    /// `If-Match`, idempotency key: what to tell the client.
    Problem(Problem),
    /// The store can't be reached, or the actor waits in quarantine; nothing is known to have happened.
    Unavailable(String),
}

/// Called on the actor's thread after each commit, with what was committed.
pub type Observer<A> = Rc<dyn Fn(&str, &A, u64, &[<A as Aggregate>::Event])>;

/// How a directory runs its actors.
pub struct DirectoryOptions<A: Aggregate> {
    /// Does effects.
    pub performer: Rc<dyn Performer<A>>,
    /// Hears of each commit and each load.
    pub observer: Option<Observer<A>>,
    /// Supervision.
    pub keeper: KeeperOptions,
}
