//! The mirror port: a service's log that also holds copies of what other services said to it.
//!
//! In one process all services share one log, and a cursor over it is the exchange. Behind a broker each
//! service has a log of its own; what it subscribed to is copied into it, so that the service reads one log in
//! both ways of running. A copy keeps its envelope unchanged: id, stream, version, time, trace.

use crate::store::{Commit, CommitError, Committed, Document, Position, Recorded, SavedAnswer, Store, StoreError};
use async_trait::async_trait;
use shers_contract::{Envelope, IncidentId, Timestamp, envelope::StreamName};
use std::sync::Arc;
use tokio::sync::watch;

/// A store that takes copies and can be seen by partition.
#[async_trait]
pub trait Mirror: Store {
    /// Copies messages into the log, durably, in order, in one commit. One that is there already (same stream
    /// and version) is passed over. Returns how many were new.
    async fn import(&self, messages: Vec<Arc<Envelope>>) -> Result<usize, CommitError>;
    /// This service's own events after a position, in order, copies left out: what the relay publishes. Never
    /// skips one that commits late.
    async fn read_own_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError>;
    /// The same log seen by the owner of one partition ([`shers_contract::routing::partition`]): `read_after`,
    /// `read_open` and `read_back` give its events only, and its cursors are its own. Streams, incidents,
    /// documents, answers and commits are those of the whole log.
    fn of_partition(self: Arc<Self>, partition: u16) -> Arc<dyn Store>;
    /// The whole log as a store.
    fn whole(self: Arc<Self>) -> Arc<dyn Store>;
}

/// What a store offers beneath a [`PartitionView`]: its reads, kept to one partition.
#[async_trait]
pub trait Partitioned: Store {
    /// [`Store::read_after`] of one partition.
    async fn read_after_of(&self, partition: u16, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError>;
    /// [`Store::read_open`] of one partition.
    async fn read_open_of(&self, partition: u16, category: &str) -> Result<Vec<Recorded>, StoreError>;
    /// [`Store::read_back`] of one partition.
    async fn read_back_of(
        &self,
        partition: u16,
        category: &str,
        before: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError>;
}

/// A log seen by the owner of one partition: what [`Mirror::of_partition`] gives.
pub struct PartitionView<S> {
    log: Arc<S>,
    partition: u16,
}

impl<S: Partitioned> PartitionView<S> {
    /// The view of `partition` on `log`.
    #[must_use]
    pub fn new(log: Arc<S>, partition: u16) -> Self {
        Self { log, partition }
    }

    /// The name under which the log keeps a cursor of this view.
    fn cursor_name(&self, name: &str) -> String {
        format!("p{:02}/{name}", self.partition)
    }
}

#[async_trait]
impl<S: Partitioned> Store for PartitionView<S> {
    async fn commit(&self, mut commit: Commit) -> Result<Committed, CommitError> {
        for (name, _) in &mut commit.cursors {
            *name = self.cursor_name(name);
        }
        self.log.commit(commit).await
    }
    async fn read_stream(&self, stream: &StreamName, after_version: u64) -> Result<Vec<Recorded>, StoreError> {
        self.log.read_stream(stream, after_version).await
    }
    async fn read_open(&self, category: &str) -> Result<Vec<Recorded>, StoreError> {
        self.log.read_open_of(self.partition, category).await
    }
    async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.log.read_after_of(self.partition, after, limit).await
    }
    async fn read_back(&self, category: &str, before: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.log.read_back_of(self.partition, category, before, limit).await
    }
    async fn read_incident(
        &self,
        incident: &IncidentId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        self.log.read_incident(incident, after, limit).await
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.log.head()
    }
    fn epoch(&self) -> String {
        self.log.epoch()
    }
    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        self.log.cursor(&self.cursor_name(name)).await
    }
    async fn answer(&self, key: &str) -> Result<Option<SavedAnswer>, StoreError> {
        self.log.answer(key).await
    }
    async fn document(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.log.document(collection, id).await
    }
    async fn documents(
        &self,
        collection: &str,
        tags: &[String],
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.log.documents(collection, tags, after, limit).await
    }
    async fn prune(&self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError> {
        self.log.prune(category, before).await
    }
}
