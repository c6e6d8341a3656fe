//! The wire port: how the log of one service reaches the others, who owns which partition, and how a request
//! reaches the owner of its stream. Only the distributed way of running knows it; a service never does.
//!
//! A process *joins* a [`Part`]: a fixed number of partitions, each one queue with a single active consumer.
//! The broker chooses who owns a partition and moves it when its owner goes. An owner copies what arrives into
//! its service's log ([`crate::mirror::Mirror::import`]) and settles it after that commit; the service itself
//! then reads its own log, as it does in one process.

use crate::endpoint::Endpoint;
use async_trait::async_trait;
use shers_contract::{
    Envelope,
    api::{Call, Reply, Service},
    routing::{PARTITIONS, Pattern},
};
use std::{sync::Arc, time::Duration};

/// Something on the way to the broker or back failed. After a publish it means "unknown: leave it in the outbox".
#[derive(Debug, Clone, thiserror::Error)]
#[error("wire: {0}")]
pub struct WireError(pub String);

/// What a process takes part in.
#[derive(Clone, Debug)]
pub struct Part {
    /// Name of its queues, `<name>.pNN`: a service's name, or `relay.<service>` for the relay's leadership.
    pub name: String,
    /// What its queues are bound to, over kinds. Empty: nothing arrives, ownership is all that is wanted.
    pub patterns: Vec<Pattern>,
    /// 1: one queue takes every partition word. Else [`shers_contract::routing::PARTITIONS`]: queue `pNN` takes
    /// its own word only.
    pub partitions: u16,
}

impl Part {
    /// Whether its queues can be declared.
    ///
    /// # Errors
    /// [`WireError`] with what would be right.
    pub fn check(&self) -> Result<(), WireError> {
        let word =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if self.name.len() > MAX_PART_NAME || !self.name.split('.').all(word) {
            let name = self.name.chars().take(MAX_PART_NAME).collect::<String>();
            return Err(WireError(format!(
                "a part's name is words of a-z 0-9 - between dots, at most {MAX_PART_NAME} characters (got {name:?})"
            )));
        }
        if self.partitions != 1 && self.partitions != PARTITIONS {
            let got = self.partitions;
            return Err(WireError(format!("a part has 1 or {PARTITIONS} partitions ({} has {got})", self.name)));
        }
        Ok(())
    }
    /// The name of the queue of one partition.
    #[must_use]
    pub fn queue(&self, partition: u16) -> String {
        format!("{}.p{partition:02}", self.name)
    }
}

/// Longest name of a part, in bytes.
pub const MAX_PART_NAME: usize = 100;

/// How many partitions a member may keep when `members` share a part of `partitions`: what it owns above that it
/// releases.
#[must_use]
pub fn fair_share(partitions: u16, members: usize) -> usize {
    usize::from(partitions).div_ceil(members.max(1))
}

/// One message of an owned partition.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// What to name when it is settled. Grows within a partition as long as the membership lives, so a tag of an
    /// earlier ownership settles nothing of a later one.
    pub tag: u64,
    /// The message, or why it is none and what came instead.
    pub message: Result<Arc<Envelope>, Unreadable>,
}

/// A delivery that is no message of this house.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Why: not JSON, an unknown kind, a version from the future, too large.
    pub reason: String,
    /// Its routing key.
    pub routing_key: String,
    /// The broker's message id, when it carried one.
    pub message_id: Option<String>,
    /// The body, cut to what may be kept.
    pub body: Vec<u8>,
}

/// What happens to a member.
#[derive(Clone, Debug)]
pub enum Happening {
    /// This process owns the partition from now on.
    Gained(u16),
    /// It does not any more: released, taken by another, or the broker is out of reach.
    Lost(u16),
    /// Messages of an owned partition, in the queue's order.
    Arrived {
        /// Which partition.
        partition: u16,
        /// Oldest first.
        messages: Vec<Arrival>,
    },
}

/// A process's membership in a part; dropping it leaves the part. Loss of broker, channel or network is mended inside: it shows as
/// [`Happening::Lost`], and later as [`Happening::Gained`].
#[async_trait]
pub trait Membership: Send {
    /// Waits for the next thing that happens. Nothing is lost when the wait is given up.
    async fn next(&mut self) -> Happening;
    /// Settles everything of a partition up to and including `tag`. Without effect when it is no longer owned.
    async fn settle(&mut self, partition: u16, tag: u64);
    /// Gives a partition back, behind the other members; what is unsettled is delivered to the next owner.
    async fn release(&mut self, partition: u16);
    /// How many members the part was seen to have lately, this one included.
    fn members(&self) -> usize;
}

/// Who is to answer a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// Which service.
    pub service: Service,
    /// The owner of this partition; `None`: whichever replica.
    pub partition: Option<u16>,
}

/// The broker.
#[async_trait]
pub trait Wire: Send + Sync + 'static {
    /// Makes the queues of parts, without taking part, now and again after every reconnection. Every process
    /// declares the parts of the whole house before it publishes, else a message could pass by a service that
    /// was not started yet. An error says that it is not done yet; it is tried again with the next connection.
    async fn declare(&self, parts: &[Part]) -> Result<(), WireError>;
    /// Publishes in order; resolves when the broker has confirmed every message. A message that no queue takes is
    /// an error: of the parts of the house at least one subscribes to everything.
    async fn publish(&self, batch: Vec<Arc<Envelope>>) -> Result<(), WireError>;
    /// Takes part; declares what it needs. An error is a fault of `part`; a broker out of reach is none: the
    /// membership then begins when it is back.
    async fn join(&self, part: Part) -> Result<Box<dyn Membership>, WireError>;
    /// Asks whoever is at `to`, in one round trip. Without an answer within `limit` the reply is
    /// [`shers_contract::Problem::unknown_outcome`]; when nobody is there it is 503.
    async fn ask(&self, to: Address, call: Call, limit: Duration) -> Reply;
    /// Answers calls at an address until the returned guard is dropped. When several processes answer at the
    /// same partition, the latest is asked first, so a former owner that does not know yet is passed by.
    async fn answer(&self, at: Address, door: Arc<dyn Endpoint>) -> Result<Box<dyn Send>, WireError>;
    /// Why the broker can't be used now; `None` when it can.
    fn trouble(&self) -> Option<String>;
}
