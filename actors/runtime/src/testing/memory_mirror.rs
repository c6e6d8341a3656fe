//! The store in memory as a log with copies, seen by partition.

use super::{Memory, MemoryStore};
use crate::mirror::{Mirror, PartitionView, Partitioned};
use crate::store::{CommitError, Position, Recorded, Store, StoreError};
use async_trait::async_trait;
use shers_contract::{Envelope, routing};
use std::{collections::HashSet, sync::Arc};

fn of_partition(recorded: &Recorded, partition: u16) -> bool {
    let envelope = &recorded.envelope;
    routing::partition(&envelope.stream, envelope.correlation_id.as_ref()) == partition
}

impl Memory {
    /// Adds the copies that are not there yet; says how many.
    fn copy(&mut self, messages: Vec<Arc<Envelope>>) -> usize {
        let mut there: HashSet<_> =
            self.events.iter().map(|r| (r.envelope.stream.clone(), r.envelope.version)).collect();
        let before = self.events.len();
        for envelope in messages {
            if !there.insert((envelope.stream.clone(), envelope.version)) {
                continue;
            }
            self.last += 1;
            let version = self.versions.entry(envelope.stream.clone()).or_default();
            *version = envelope.version.max(*version);
            self.copies.insert(self.last);
            self.events.push(Recorded { position: self.last, envelope });
        }
        self.events.len() - before
    }
}

#[async_trait]
impl Partitioned for MemoryStore {
    async fn read_after_of(&self, partition: u16, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let all = self.read_after(after, usize::MAX).await?;
        Ok(all.into_iter().filter(|r| of_partition(r, partition)).take(limit).collect())
    }
    async fn read_open_of(&self, partition: u16, category: &str) -> Result<Vec<Recorded>, StoreError> {
        let all = self.read_open(category).await?;
        Ok(all.into_iter().filter(|r| of_partition(r, partition)).collect())
    }
    async fn read_back_of(
        &self,
        partition: u16,
        category: &str,
        before: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        let all = self.read_back(category, before, usize::MAX).await?;
        Ok(all.into_iter().filter(|r| of_partition(r, partition)).take(limit).collect())
    }
}

#[async_trait]
impl Mirror for MemoryStore {
    async fn import(&self, messages: Vec<Arc<Envelope>>) -> Result<usize, CommitError> {
        let mut inner = self.lock();
        if let Some(fault) = inner.faults.pop_front() {
            return Err(fault);
        }
        let new = inner.copy(messages);
        let last = inner.last;
        drop(inner);
        self.head.send_if_modified(|head| std::mem::replace(head, last) != last);
        Ok(new)
    }
    async fn read_own_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let inner = self.lock();
        let own = |r: &&Recorded| r.position > after && !inner.copies.contains(&r.position);
        Ok(inner.events.iter().filter(own).take(limit).cloned().collect())
    }
    fn of_partition(self: Arc<Self>, partition: u16) -> Arc<dyn Store> {
        Arc::new(PartitionView::new(self, partition))
    }
    fn whole(self: Arc<Self>) -> Arc<dyn Store> {
        self
    }
}
