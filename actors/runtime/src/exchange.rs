//! The exchange port: where messages of other services come from.

use crate::store::Recorded;
use async_trait::async_trait;
use shers_contract::routing::Pattern;
use std::sync::Arc;

/// What a consumer wants to hear.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Name of the queue: `<service>.<what>`; also the consumer's name in the inbox.
    pub name: &'static str,
    /// Topic patterns over kinds.
    pub patterns: Vec<Pattern>,
    /// Hears only what is published from now on, and settles nothing: a live view, not a duty.
    pub live_only: bool,
    /// Deliveries that may be unsettled at once.
    pub prefetch: usize,
}

/// How a delivery ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settlement {
    /// Dealt with.
    Done,
    /// Deliver it again, later.
    Retry,
    /// Give it up, with the reason, to the dead letters.
    Dead(String),
}

/// Takes settlements for one subscription.
pub trait Settle: Send + Sync {
    /// Records how the delivery with this tag ended.
    fn settle(&self, tag: u64, settlement: Settlement);
}

/// One delivery. Dropping it unsettled is Retry, so a panic becomes a redelivery.
pub struct Delivery {
    /// The message. Its position is the log's in one process, 0 from a broker.
    pub message: Recorded,
    /// 1 for the first delivery.
    pub attempt: u32,
    tag: u64,
    settle: Option<Arc<dyn Settle>>,
}

impl Delivery {
    /// A delivery that reports to `settle` under `tag`.
    #[must_use]
    pub fn new(message: Recorded, attempt: u32, tag: u64, settle: Arc<dyn Settle>) -> Self {
        Self { message, attempt, tag, settle: Some(settle) }
    }
    /// Says how it ended.
    pub fn settle(mut self, settlement: Settlement) {
        if let Some(settle) = self.settle.take() {
            settle.settle(self.tag, settlement);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle.settle(self.tag, Settlement::Retry);
        }
    }
}

/// Something of the exchange failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("exchange: {0}")]
pub struct ExchangeError(pub String);

/// Deliveries of one subscription.
#[async_trait]
pub trait Deliveries: Send {
    /// Waits for at least one delivery and gives up to `max` that are there.
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, ExchangeError>;
}

/// A message that was given up.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct DeadLetter {
    /// Id of the dead letter.
    pub id: String,
    /// Whose it was.
    pub consumer: String,
    /// Kind of the message.
    pub kind: String,
    /// Its id.
    pub message_id: String,
    /// Its stream.
    pub stream: String,
    /// Its position in the log (0 from a broker).
    pub position: crate::store::Position,
    /// Why it was given up.
    pub reason: String,
    /// When.
    pub at: shers_contract::Timestamp,
}

/// The exchange.
#[async_trait]
pub trait Exchange: Send + Sync + 'static {
    /// Opens a subscription, making what it needs.
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, ExchangeError>;
    /// Messages that were given up, newest first.
    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, ExchangeError>;
    /// Delivers a dead letter to its consumer once more; false when there is none with this id.
    async fn replay(&self, id: &str) -> Result<bool, ExchangeError>;
}
