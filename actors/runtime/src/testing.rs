//! Fakes of the ports, for tests and the simulation, and the suites that every implementation passes.

use crate::clock::{Clock, Ids, ScaledClock};
use crate::keeper::Keeper;
use crate::log_exchange::LogExchange;
use crate::store::{
    Commit, CommitError, Committed, Document, Expected, InboxMark, Position, Recorded, SavedAnswer, Store, StoreError,
};
use crate::Deps;
use async_trait::async_trait;
use shers_contract::{Envelope, IncidentId, Timestamp, derived_uuid, envelope::StreamName};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;
use uuid::Uuid;

/// A store in memory. Behaves as the real ones do, save that nothing survives the process.
pub struct MemoryStore {
    inner: Mutex<Memory>,
    head: watch::Sender<Position>,
}

#[derive(Default)]
struct Memory {
    events: Vec<Recorded>,
    last: Position,
    versions: HashMap<StreamName, u64>,
    open: BTreeSet<StreamName>,
    inbox: HashSet<InboxMark>,
    documents: BTreeMap<(&'static str, String), Document>,
    cursors: HashMap<String, Position>,
    answers: HashMap<String, SavedAnswer>,
    faults: VecDeque<CommitError>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { inner: Mutex::default(), head: watch::Sender::new(0) }
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
    /// The next commits fail with these errors, one each; nothing of them is stored.
    pub fn fail_next(&self, errors: impl IntoIterator<Item = CommitError>) {
        self.lock().faults.extend(errors);
    }
    /// Everything in the log.
    #[must_use]
    pub fn all(&self) -> Vec<Recorded> {
        self.lock().events.clone()
    }
    /// The kinds in the log, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        self.lock().events.iter().map(|r| r.envelope.kind.as_str()).collect()
    }
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn check(&self, commit: &Commit) -> Result<(), CommitError> {
        for mark in &commit.inbox {
            if self.inbox.contains(mark) {
                return Err(CommitError::Repeated { consumer: mark.consumer, message_id: mark.message_id });
            }
        }
        if commit.answer.as_ref().is_some_and(|answer| self.answers.contains_key(&answer.key)) {
            return Err(CommitError::Answered);
        }
        for append in &commit.appends {
            let actual = self.versions.get(&append.stream).copied().unwrap_or(0);
            if let Expected::Version(expected) = append.expected {
                if expected != actual {
                    return Err(CommitError::Conflict { stream: append.stream.clone(), expected, actual });
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, commit: Commit) -> Committed {
        let mut committed = Committed::default();
        for append in commit.appends {
            let mut version = self.versions.get(&append.stream).copied().unwrap_or(0);
            for event in append.events {
                version += 1;
                self.last += 1;
                let envelope = Envelope {
                    id: event.id,
                    kind: event.kind,
                    v: event.v,
                    stream: append.stream.clone(),
                    version,
                    at: event.at,
                    correlation_id: event.correlation_id,
                    causation_id: event.causation_id,
                    traceparent: event.traceparent,
                    exercise: event.exercise,
                    data: event.data,
                };
                self.events.push(Recorded { position: self.last, envelope: Arc::new(envelope) });
            }
            if append.open {
                self.open.insert(append.stream.clone());
            } else {
                self.open.remove(&append.stream);
            }
            self.versions.insert(append.stream, version);
            committed.versions.push(version);
            committed.last_position = self.last;
        }
        self.inbox.extend(commit.inbox);
        for write in commit.documents {
            let key = (write.collection, write.id.clone());
            match write.doc {
                Some(doc) => {
                    self.documents.insert(key, Document { id: write.id, tag: write.tag, rank: write.rank, doc });
                }
                None => {
                    self.documents.remove(&key);
                }
            }
        }
        self.cursors.extend(commit.cursors);
        if let Some(answer) = commit.answer {
            self.answers.insert(answer.key.clone(), answer);
        }
        committed
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let mut inner = self.lock();
        if let Some(fault) = inner.faults.pop_front() {
            return Err(fault);
        }
        inner.check(&commit)?;
        let committed = inner.apply(commit);
        let last = inner.last;
        drop(inner);
        self.head.send_if_modified(|head| std::mem::replace(head, last) != last);
        Ok(committed)
    }
    async fn read_stream(&self, stream: &StreamName, after_version: u64) -> Result<Vec<Recorded>, StoreError> {
        let inner = self.lock();
        let wanted = |r: &&Recorded| r.envelope.stream == *stream && r.envelope.version > after_version;
        Ok(inner.events.iter().filter(wanted).cloned().collect())
    }
    async fn read_open(&self, category: &str) -> Result<Vec<Recorded>, StoreError> {
        let inner = self.lock();
        let open = |r: &&Recorded| r.envelope.stream.category() == category && inner.open.contains(&r.envelope.stream);
        let mut events: Vec<Recorded> = inner.events.iter().filter(open).cloned().collect();
        events.sort_by(|a, b| {
            (a.envelope.stream.as_str(), a.envelope.version).cmp(&(b.envelope.stream.as_str(), b.envelope.version))
        });
        Ok(events)
    }
    async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let inner = self.lock();
        let from = inner.events.partition_point(|r| r.position <= after);
        Ok(inner.events.iter().skip(from).take(limit).cloned().collect())
    }
    async fn read_back(&self, category: &str, before: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let inner = self.lock();
        let to = inner.events.partition_point(|r| r.position < before);
        let newest_first = inner.events.iter().take(to).rev();
        Ok(newest_first.filter(|r| r.envelope.stream.category() == category).take(limit).cloned().collect())
    }
    async fn read_incident(&self, incident: &IncidentId, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let inner = self.lock();
        let of = |r: &&Recorded| r.position > after && r.envelope.correlation_id.as_ref() == Some(incident);
        Ok(inner.events.iter().filter(of).take(limit).cloned().collect())
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }
    fn epoch(&self) -> String {
        "memory".to_owned()
    }
    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        Ok(self.lock().cursors.get(name).copied().unwrap_or(0))
    }
    async fn answer(&self, key: &str) -> Result<Option<SavedAnswer>, StoreError> {
        Ok(self.lock().answers.get(key).cloned())
    }
    async fn document(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let inner = self.lock();
        let found = inner.documents.iter().find(|((c, i), _)| *c == collection && i == id);
        Ok(found.map(|(_, document)| document.clone()))
    }
    async fn documents(
        &self,
        collection: &str,
        tags: &[String],
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let inner = self.lock();
        let mut found: Vec<Document> = inner
            .documents
            .iter()
            .filter(|((c, _), d)| *c == collection && (tags.is_empty() || tags.contains(&d.tag)))
            .map(|(_, d)| d.clone())
            .filter(|d| after.as_ref().is_none_or(|(rank, id)| (d.rank, &d.id) > (*rank, id)))
            .collect();
        found.sort_by(|a, b| (a.rank, &a.id).cmp(&(b.rank, &b.id)));
        found.truncate(limit);
        Ok(found)
    }
    async fn prune(&self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError> {
        let mut inner = self.lock();
        let old = |r: &Recorded| r.envelope.stream.category() == category && r.envelope.at < before;
        let last = inner.events.iter().filter(|r| old(r)).map(|r| r.position).max().unwrap_or(0);
        let count = inner.events.len();
        inner.events.retain(|r| !old(r));
        let gone = u64::try_from(count - inner.events.len()).unwrap_or(0);
        Ok((gone, last))
    }
}

/// Ids that are the same in every run.
#[derive(Default)]
pub struct CountingIds {
    next: AtomicU64,
}

impl Ids for CountingIds {
    fn uuid(&self, _now: Timestamp) -> Uuid {
        derived_uuid(&["test", &self.next.fetch_add(1, Ordering::Relaxed).to_string()])
    }
    fn random(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
    }
}

/// Where tests begin: 2026-01-01T00:00:00Z.
pub const TEST_START: Timestamp = Timestamp::from_ms(1_767_225_600_000);

/// Dependencies over one store, with counting ids and a clock that starts at [`TEST_START`] and follows
/// tokio's, which a test may pause. Call inside a runtime.
#[must_use]
pub fn deps_over(store: Arc<dyn Store>) -> Deps {
    deps_at(store, TEST_START)
}

/// The same, with the clock starting elsewhere (as after a restart).
#[must_use]
pub fn deps_at(store: Arc<dyn Store>, start: Timestamp) -> Deps {
    let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(start, 1.0));
    let ids: Arc<dyn Ids> = Arc::new(CountingIds { next: AtomicU64::new(store.head().borrow().wrapping_mul(1_000)) });
    let exchange = Arc::new(LogExchange::new(Arc::clone(&store), Arc::clone(&clock)));
    let keeper = Keeper::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&ids), "test", true);
    Deps { store, exchange, clock, ids, keeper }
}
