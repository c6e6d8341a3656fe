//! What every service stands on: the ports, the one generic aggregate actor and its Keeper, supervised tasks,
//! consumers, the embedded exchange, and [`host`], which runs services behind a broker.
//!
//! Invariants of this crate:
//! - A service sees the world through [`Deps`] only: store, exchange, clock, ids. Which implementation
//!   stands behind a port is decided once, in the binary.
//! - An event is durable before anyone hears of it: a reply, a delivery or an effect follows the commit.
//! - At least once on the wire, once in effect: events and the mark of the message that caused them
//!   commit together, so a repeat is recognised ([`CommitError::Repeated`]).
//! - Correctness rests on the version check of the store, not on there being one actor.

mod actor;
pub mod aggregate;
mod chronicle;
pub mod clock;
pub mod consumer;
mod directory;
pub mod endpoint;
pub mod exchange;
pub mod host;
pub mod keeper;
mod kept;
pub mod log_exchange;
pub mod mirror;
pub mod overseer;
mod oversight;
pub mod parked;
pub mod store;
mod tasks;
pub mod testing;
mod tree;
pub mod wire;

pub use aggregate::{Aggregate, Cause, DirectoryOptions, Executed, NoEffect, Performer, Rejected};
pub use clock::{Clock, Ids, ScaledClock, SystemIds};
pub use consumer::{Consumer, ConsumerOptions, Failure, run_consumer};
pub use directory::Directory;
pub use endpoint::{Endpoint, LocalEndpoint, serve_local};
pub use exchange::{DeadLetter, Deliveries, Delivery, Exchange, Subscription};
pub use keeper::{ActorInfo, ActorState, CategoryInfo, Health, Keeper, KeeperOptions, SupervisionTree};
pub use store::{
    Append, Commit, CommitError, Committed, Document, DocumentWrite, Expected, InboxMark, NewEvent, Position, Recorded,
    SavedAnswer, Store, StoreError,
};
pub use tasks::Life;

use std::sync::Arc;

/// Everything a service may know of the outside.
#[derive(Clone)]
pub struct Deps {
    /// The event log, inbox, cursors, answers and documents of this service.
    pub store: Arc<dyn Store>,
    /// Where messages come from.
    pub exchange: Arc<dyn Exchange>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn Ids>,
    /// Supervision of this process's actors.
    pub keeper: Keeper,
}
