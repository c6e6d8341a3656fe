//! A store that takes its time, refuses, and loses its answers, over the one in memory.

use crate::chance::Shared;
use crate::faults::{Dial, Life};
use async_trait::async_trait;
use shers_contract::{IncidentId, Timestamp, envelope::StreamName};
use shers_runtime::{
    Commit, CommitError, Committed, Document, Position, Recorded, SavedAnswer, Store, StoreError, testing::MemoryStore,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// See the module.
pub struct FaultyStore {
    inner: Arc<MemoryStore>,
    life: Arc<Life>,
    dial: Arc<Dial>,
    chance: Arc<Shared>,
    /// One channel for each listener: tokio's watch wakes several listeners of one channel in an order of
    /// its own chance, which no seed reaches.
    heads: Mutex<Vec<watch::Sender<Position>>>,
}

/// What becomes of a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    Refused,
    LostBefore,
    LostAfter,
}

impl FaultyStore {
    /// The store of one life.
    #[must_use]
    pub fn new(inner: Arc<MemoryStore>, life: Arc<Life>, dial: Arc<Dial>, chance: Arc<Shared>) -> Self {
        Self { inner, life, dial, chance, heads: Mutex::default() }
    }

    /// Time passes; a dead process waits for ever.
    async fn wait(&self, longest_ms: u64) {
        let ms = self.chance.with(|chance| chance.below(longest_ms + 1));
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        if !self.life.is_on() {
            std::future::pending::<()>().await;
        }
    }

    /// Commits for good and tells every listener, in the order in which they came.
    async fn store(&self, commit: Commit) -> Result<Committed, CommitError> {
        let committed = self.inner.commit(commit).await?;
        let head = *self.inner.head().borrow();
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.retain(|listener| listener.receiver_count() > 0);
        for listener in heads.iter() {
            listener.send_if_modified(|known| std::mem::replace(known, head) != head);
        }
        Ok(committed)
    }

    fn fate(&self) -> Fate {
        let faults = self.dial.now();
        let worse = if self.dial.is_out() { 600 } else { 0 };
        self.chance.with(|chance| {
            if chance.in_thousand(faults.commit_refused + worse) {
                Fate::Refused
            } else if !chance.in_thousand(faults.commit_unknown + worse / 4) {
                Fate::Good
            } else if chance.in_thousand(500) {
                Fate::LostBefore
            } else {
                Fate::LostAfter
            }
        })
    }

    async fn before_read(&self) -> Result<(), StoreError> {
        self.wait(1).await;
        let worse = if self.dial.is_out() { 200 } else { 0 };
        let fails = self.dial.now().read_fails + worse;
        if self.chance.with(|chance| chance.in_thousand(fails)) {
            return Err(StoreError("the world has it fail".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.wait(4).await;
        match self.fate() {
            Fate::Refused => return Err(CommitError::Unavailable("the world refuses".to_owned())),
            Fate::LostBefore => {
                self.wait(200).await;
                return Err(CommitError::Unknown("the world lost the commit".to_owned()));
            }
            Fate::LostAfter => {
                self.store(commit).await?;
                self.wait(200).await;
                return Err(CommitError::Unknown("the world lost the answer".to_owned()));
            }
            Fate::Good => {}
        }
        let committed = self.store(commit).await;
        // Others may hear of it before the one who wrote it, and the process may die in between.
        self.wait(3).await;
        committed
    }
    async fn read_stream(&self, stream: &StreamName, after_version: u64) -> Result<Vec<Recorded>, StoreError> {
        self.before_read().await?;
        self.inner.read_stream(stream, after_version).await
    }
    async fn read_open(&self, category: &str) -> Result<Vec<Recorded>, StoreError> {
        self.before_read().await?;
        self.inner.read_open(category).await
    }
    async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.before_read().await?;
        self.inner.read_after(after, limit).await
    }
    async fn read_back(&self, category: &str, before: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.before_read().await?;
        self.inner.read_back(category, before, limit).await
    }
    async fn read_incident(
        &self,
        incident: &IncidentId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        self.before_read().await?;
        self.inner.read_incident(incident, after, limit).await
    }
    fn head(&self) -> watch::Receiver<Position> {
        let (listener, head) = watch::channel(*self.inner.head().borrow());
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
        head
    }
    fn epoch(&self) -> String {
        self.inner.epoch()
    }
    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        self.before_read().await?;
        self.inner.cursor(name).await
    }
    async fn answer(&self, key: &str) -> Result<Option<SavedAnswer>, StoreError> {
        self.before_read().await?;
        self.inner.answer(key).await
    }
    async fn document(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.before_read().await?;
        self.inner.document(collection, id).await
    }
    async fn documents(
        &self,
        collection: &str,
        tags: &[String],
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.before_read().await?;
        self.inner.documents(collection, tags, after, limit).await
    }
    async fn prune(&self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError> {
        self.before_read().await?;
        self.inner.prune(category, before).await
    }
}
