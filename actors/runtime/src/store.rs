//! The store port: event log, inbox, cursors, saved answers and read-model documents of one schema.
//!
//! One [`Commit`] is one transaction. An implementation groups concurrent commits into one disk sync;
//! within a group each commit stands or falls alone.

use async_trait::async_trait;
use serde_json::value::RawValue;
use shers_contract::{IncidentId, Kind, Timestamp, Traceparent, api::Answer, envelope::StreamName};
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;

/// Position of an event in the log. Grows; gaps are possible. 0 is before the first event.
pub type Position = u64;

/// An event to append.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// UUIDv7 of this event.
    pub id: Uuid,
    /// Kind.
    pub kind: Kind,
    /// Schema version of `data`.
    pub v: u16,
    /// When.
    pub at: Timestamp,
    /// Incident.
    pub correlation_id: Option<IncidentId>,
    /// Cause.
    pub causation_id: Option<Uuid>,
    /// Trace.
    pub traceparent: Option<Traceparent>,
    /// Demo and drills.
    pub exercise: bool,
    /// Body.
    pub data: Box<RawValue>,
}

/// Which version a stream must have for an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Exactly this many events so far.
    Version(u64),
    /// Whatever is there: journals that nobody decides from.
    Any,
}

/// Events for one stream.
#[derive(Clone, Debug)]
pub struct Append {
    /// Which stream.
    pub stream: StreamName,
    /// Its version before.
    pub expected: Expected,
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// Whether the thing still lives afterwards: [`Store::read_open`] reads only open streams.
    pub open: bool,
}

/// The mark that a consumer has dealt with a message.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct InboxMark {
    /// Name of the consumer's subscription.
    pub consumer: &'static str,
    /// The message.
    pub message_id: Uuid,
}

/// A document of a read model to write, or to delete when `doc` is `None`.
#[derive(Clone, Debug)]
pub struct DocumentWrite {
    /// Collection.
    pub collection: &'static str,
    /// Id within it.
    pub id: String,
    /// Text to filter lists by (a status).
    pub tag: String,
    /// Lists are sorted by this, ascending, then by id.
    pub rank: i64,
    /// JSON, or `None` to delete.
    pub doc: Option<String>,
}

/// A stored document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// Id within the collection.
    pub id: String,
    /// Text to filter by.
    pub tag: String,
    /// Sort key.
    pub rank: i64,
    /// JSON.
    pub doc: String,
}

/// The answer to a request with an idempotency key.
#[derive(Clone, PartialEq, Debug)]
pub struct SavedAnswer {
    /// `<subject> <route> <client's key>`.
    pub key: String,
    /// Digest of the request's body.
    pub body_digest: String,
    /// When it was saved (kept 24 h).
    pub at: Timestamp,
    /// What was answered.
    pub answer: Answer,
}

/// One transaction.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Events.
    pub appends: Vec<Append>,
    /// Marks; if one is there already the whole commit is refused as a repeat.
    pub inbox: Vec<InboxMark>,
    /// Documents.
    pub documents: Vec<DocumentWrite>,
    /// Cursors to move.
    pub cursors: Vec<(String, Position)>,
    /// Answer to keep.
    pub answer: Option<SavedAnswer>,
}

/// What a commit did.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// Position of the last event appended; 0 when there was none.
    pub last_position: Position,
    /// Version of each appended stream afterwards, in the order of the appends.
    pub versions: Vec<u64>,
}

/// Why a commit did not happen. Nothing of it is stored, save under `Unknown`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A stream has another version: somebody else wrote; load again and decide again.
    #[error("stream {stream} is at version {actual}, not {expected}")]
    Conflict {
        /// Which.
        stream: StreamName,
        /// What the writer believed.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// A message was dealt with before.
    #[error("{consumer} has dealt with message {message_id} before")]
    Repeated {
        /// Who.
        consumer: &'static str,
        /// Which.
        message_id: Uuid,
    },
    /// An answer is stored under this key already.
    #[error("an answer is stored under this idempotency key already")]
    Answered,
    /// The store can't write now; nothing was stored.
    #[error("writing to the log: {0}")]
    Unavailable(String),
    /// Nobody knows whether it was stored.
    #[error("writing to the log, outcome unknown: {0}")]
    Unknown(String),
}

/// Reading failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("reading the store: {0}")]
pub struct StoreError(pub String);

/// An event as stored.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Where.
    pub position: Position,
    /// What.
    pub envelope: Arc<shers_contract::Envelope>,
}

/// The store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Does the whole commit durably, or nothing.
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError>;
    /// Events of one stream after `after_version`, in order.
    async fn read_stream(&self, stream: &StreamName, after_version: u64) -> Result<Vec<Recorded>, StoreError>;
    /// Events of all open streams of a category, ordered by stream, then version.
    async fn read_open(&self, category: &str) -> Result<Vec<Recorded>, StoreError>;
    /// Events after a position, in order; at most `limit`. Never skips one that commits late.
    async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError>;
    /// Events of a category before a position, newest first; at most `limit`.
    async fn read_back(&self, category: &str, before: Position, limit: usize) -> Result<Vec<Recorded>, StoreError>;
    /// Events of an incident after a position, in order; at most `limit`.
    async fn read_incident(
        &self,
        incident: &IncidentId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError>;
    /// Position of the last event that every reader can see; changes wake the receiver.
    fn head(&self) -> watch::Receiver<Position>;
    /// Identity of this log: another one means that offsets of before have no meaning.
    fn epoch(&self) -> String;
    /// A cursor; 0 when it was never set.
    async fn cursor(&self, name: &str) -> Result<Position, StoreError>;
    /// The answer stored under a key.
    async fn answer(&self, key: &str) -> Result<Option<SavedAnswer>, StoreError>;
    /// One document.
    async fn document(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError>;
    /// Documents sorted by rank, then id, after `after`, with one of the `tags` (all when empty).
    async fn documents(
        &self,
        collection: &str,
        tags: &[String],
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError>;
    /// Drops events of a journal category older than `before`, old answers and old inbox marks.
    /// Returns how many events went, and the last position that was dropped.
    async fn prune(&self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError>;
}
