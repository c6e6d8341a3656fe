//! Fakes of the ports, for tests and the simulation, and the suites that every implementation passes.

mod memory_mirror;
pub mod mirror_suite;
mod wire;
pub mod wire_suite;

pub use wire::{MemoryBroker, MemoryWire};

use crate::Deps;
use crate::clock::{Clock, Ids, ScaledClock};
use crate::keeper::Keeper;
use crate::log_exchange::LogExchange;
use crate::store::{
    Commit, CommitError, Committed, Document, Expected, InboxMark, Position, Recorded, SavedAnswer, Store, StoreError,
};
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

/// Saved answers are kept this long.
const KEEP_ANSWERS_MS: i64 = 24 * 3_600_000;

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
    /// Positions of what was copied into the log.
    copies: HashSet<Position>,
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
    /// The next commits fail with these errors, one each; nothing of them is stored. Commits that only move
    /// cursors are not counted.
    pub fn fail_next(&self, errors: impl IntoIterator<Item = CommitError>) {
        self.lock().faults.extend(errors);
    }
    /// Everything in the log.
    #[must_use]
    pub fn all(&self) -> Vec<Recorded> {
        self.lock().events.clone()
    }
    /// Every document with its collection, sorted by collection and id.
    #[must_use]
    pub fn all_documents(&self) -> Vec<(&'static str, Document)> {
        self.lock().documents.iter().map(|((collection, _), document)| (*collection, document.clone())).collect()
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
            if let Expected::Version(expected) = append.expected
                && expected != actual
            {
                return Err(CommitError::Conflict { stream: append.stream.clone(), expected, actual });
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
        // Cursors are saved in the background, whenever; a fault is meant for what a test does.
        let only_cursors = !commit.cursors.is_empty()
            && commit.appends.is_empty()
            && commit.documents.is_empty()
            && commit.answer.is_none();
        if !only_cursors && let Some(fault) = inner.faults.pop_front() {
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
        let mut events: Vec<Recorded> = inner.events.iter().filter(wanted).cloned().collect();
        // A copy may have come after a later one of its stream.
        events.sort_by_key(|r| r.envelope.version);
        Ok(events)
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
    async fn read_incident(
        &self,
        incident: &IncidentId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
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
        let documents: &BTreeMap<(&str, String), Document> = &inner.documents;
        Ok(documents.get(&(collection, id.to_owned())).cloned())
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
        inner.answers.retain(|_, answer| answer.at.plus_ms(KEEP_ANSWERS_MS) >= before);
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

/// The suite that every implementation of [`Store`] passes. `store` must be empty.
///
/// # Panics
/// When the store does not keep the port's promises.
#[expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test suite says what is wrong by panicking")]
pub mod store_suite {
    use super::{Arc, Commit, CommitError, Expected, InboxMark, SavedAnswer, Store, StreamName, TEST_START, Uuid};
    use crate::store::{Append, DocumentWrite, NewEvent};
    use shers_contract::{
        DomainEvent, IncidentId,
        api::Answer,
        incident::{Acknowledged, IncidentEvent},
    };

    /// An event that says `text`.
    #[must_use]
    pub fn event(text: &str, incident: Option<&IncidentId>) -> NewEvent {
        let event = IncidentEvent::Acknowledged(Acknowledged { by: text.to_owned() });
        NewEvent {
            id: shers_contract::derived_uuid(&["suite", text]),
            kind: event.kind(),
            v: 1,
            at: TEST_START,
            correlation_id: incident.cloned(),
            causation_id: Some(Uuid::from_u128(1)),
            traceparent: shers_contract::Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            exercise: true,
            data: event.to_data(),
        }
    }

    /// An append to `stream`.
    #[must_use]
    pub fn append(stream: &str, expected: Expected, texts: &[&str], open: bool) -> Commit {
        let (category, id) = stream.split_once('/').unwrap_or((stream, ""));
        let events = texts.iter().map(|text| event(text, None)).collect();
        let append = Append { stream: StreamName::new(category, id), expected, events, open };
        Commit { appends: vec![append], ..Commit::default() }
    }

    /// Runs the whole suite.
    pub async fn run(store: Arc<dyn Store>) {
        versions(&store).await;
        inbox(&store).await;
        all_or_nothing(&store).await;
        open_streams(&store).await;
        reading(&store).await;
        documents(&store).await;
        answers(&store).await;
        concurrent(&store).await;
        pruning(&store).await;
    }

    async fn versions(store: &Arc<dyn Store>) {
        let done = store.commit(append("t/a", Expected::Version(0), &["1", "2"], true)).await.expect("first");
        assert_eq!(done.versions, [2]);
        let stale = store.commit(append("t/a", Expected::Version(1), &["x"], true)).await;
        assert!(matches!(stale, Err(CommitError::Conflict { expected: 1, actual: 2, .. })), "{stale:?}");
        let any = store.commit(append("t/a", Expected::Any, &["3"], true)).await.expect("any");
        assert_eq!(any.versions, [3]);
        let read = store.read_stream(&StreamName::new("t", "a"), 1).await.expect("read");
        assert_eq!(read.iter().map(|r| r.envelope.version).collect::<Vec<_>>(), [2, 3]);
        let first = &read[0].envelope;
        let want = event("2", None);
        assert_eq!((first.id, first.kind, first.at, first.v), (want.id, want.kind, want.at, 1));
        assert_eq!((first.causation_id, first.traceparent), (want.causation_id, want.traceparent));
        assert_eq!((first.data.get(), first.exercise), (want.data.get(), true));
    }

    async fn inbox(store: &Arc<dyn Store>) {
        let mark = InboxMark { consumer: "suite", message_id: Uuid::from_u128(7) };
        let marked =
            |stream: &str| Commit { inbox: vec![mark.clone()], ..append(stream, Expected::Version(0), &["m"], true) };
        store.commit(marked("t/marked")).await.expect("first");
        let again = store.commit(marked("t/other")).await;
        assert!(matches!(again, Err(CommitError::Repeated { consumer: "suite", .. })), "{again:?}");
        assert!(store.read_stream(&StreamName::new("t", "other"), 0).await.expect("read").is_empty());
    }

    async fn all_or_nothing(store: &Arc<dyn Store>) {
        let mut two = append("t/two", Expected::Version(0), &["x"], true);
        two.appends.extend(append("t/a", Expected::Version(99), &["x"], true).appends);
        two.documents.push(document("two", 0, Some("{}")));
        assert!(store.commit(two).await.is_err());
        assert!(store.read_stream(&StreamName::new("t", "two"), 0).await.expect("read").is_empty());
        assert_eq!(store.document("suite", "two").await.expect("read"), None);
    }

    async fn open_streams(store: &Arc<dyn Store>) {
        store.commit(append("o/1", Expected::Version(0), &["o1"], true)).await.expect("open");
        store.commit(append("o/2", Expected::Version(0), &["o2"], true)).await.expect("open");
        store.commit(append("o/1", Expected::Version(1), &["o3"], true)).await.expect("open");
        store.commit(append("o/2", Expected::Version(1), &["o4"], false)).await.expect("closed");
        let open = store.read_open("o").await.expect("read");
        let seen: Vec<_> = open.iter().map(|r| (r.envelope.stream.as_str().to_owned(), r.envelope.version)).collect();
        assert_eq!(seen, [("o/1".to_owned(), 1), ("o/1".to_owned(), 2)]);
    }

    async fn reading(store: &Arc<dyn Store>) {
        let incident = IncidentId::new("inc-1").expect("id");
        let before = *store.head().borrow();
        let mut commit = append("r/1", Expected::Version(0), &[], true);
        commit.appends[0].events = vec![event("c1", Some(&incident)), event("c2", None)];
        let done = store.commit(commit).await.expect("written");
        assert_eq!(*store.head().borrow(), done.last_position);
        let after = store.read_after(before, 10).await.expect("read");
        assert_eq!(after.len(), 2);
        assert!(after.windows(2).all(|w| w[0].position < w[1].position));
        let of = store.read_incident(&incident, 0, 10).await.expect("read");
        assert_eq!(of.iter().map(|r| r.position).collect::<Vec<_>>(), [after[0].position]);
        assert_eq!(of[0].envelope.correlation_id, Some(incident));
        let back = store.read_back("r", u64::MAX >> 1, 1).await.expect("read");
        assert_eq!(back[0].position, done.last_position);
        let cursor = Commit { cursors: vec![("suite".to_owned(), 5)], ..Commit::default() };
        store.commit(cursor).await.expect("cursor");
        assert_eq!((store.cursor("suite").await.expect("read"), store.cursor("none").await.expect("read")), (5, 0));
    }

    fn document(id: &str, rank: i64, doc: Option<&str>) -> DocumentWrite {
        let tag = if rank % 2 == 0 { "even" } else { "odd" };
        DocumentWrite { collection: "suite", id: id.to_owned(), tag: tag.to_owned(), rank, doc: doc.map(str::to_owned) }
    }

    async fn documents(store: &Arc<dyn Store>) {
        let all = (0..5).map(|n| document(&format!("d{n}"), n, Some("{}"))).collect();
        store.commit(Commit { documents: all, ..Commit::default() }).await.expect("written");
        let changed = vec![document("d0", 9, Some("{\"x\":1}")), document("d4", 4, None)];
        store.commit(Commit { documents: changed, ..Commit::default() }).await.expect("written");
        let ids = |found: Vec<crate::store::Document>| found.into_iter().map(|d| d.id).collect::<Vec<_>>();
        assert_eq!(ids(store.documents("suite", &[], None, 10).await.expect("read")), ["d1", "d2", "d3", "d0"]);
        assert_eq!(ids(store.documents("suite", &["even".to_owned()], None, 10).await.expect("read")), ["d2"]);
        assert_eq!(ids(store.documents("suite", &[], Some((2, "d2".to_owned())), 1).await.expect("read")), ["d3"]);
    }

    async fn answers(store: &Arc<dyn Store>) {
        let answer = SavedAnswer {
            key: "k".to_owned(),
            body_digest: "d".to_owned(),
            at: TEST_START,
            answer: Answer::ok(serde_json::json!({"n": 1})).with_status(201).at_version(3),
        };
        let commit = Commit { answer: Some(answer.clone()), ..Commit::default() };
        store.commit(commit.clone()).await.expect("saved");
        assert!(matches!(store.commit(commit).await, Err(CommitError::Answered)));
        assert_eq!(store.answer("k").await.expect("read"), Some(answer));
    }

    /// Old events of a journal and old answers go, the rest stays.
    async fn pruning(store: &Arc<dyn Store>) {
        let day_ms = 24 * 3_600_000;
        let mut journal = append("journal/p00", Expected::Any, &["j1", "j2"], false);
        journal.appends[0].events[1].at = TEST_START.plus_ms(3 * day_ms);
        let done = store.commit(journal).await.expect("written");
        store.commit(append("other/1", Expected::Any, &["o"], true)).await.expect("written");
        let pruned = store.prune("journal", TEST_START.plus_ms(2 * day_ms)).await.expect("pruned");
        assert_eq!(pruned, (1, done.last_position - 1));
        let left = store.read_stream(&StreamName::new("journal", "p00"), 0).await.expect("read");
        assert_eq!(left.iter().map(|r| r.envelope.version).collect::<Vec<_>>(), [2], "versions stay");
        assert_eq!(store.read_stream(&StreamName::new("other", "1"), 0).await.expect("read").len(), 1);
        assert_eq!(store.answer("k").await.expect("read"), None, "an answer of two days ago");
    }

    /// Many writers of one stream: every version is given out once, and nobody's loss harms another.
    async fn concurrent(store: &Arc<dyn Store>) {
        let writes = (0..200).map(|n| {
            let store = Arc::clone(store);
            async move {
                let stream = format!("c/{}", n % 10);
                let expected = if n % 3 == 0 { Expected::Version(0) } else { Expected::Any };
                store.commit(append(&stream, expected, &["e"], true)).await.is_ok()
            }
        });
        let wrote = futures::future::join_all(writes).await.into_iter().filter(|ok| *ok).count();
        let mut stored = 0;
        for n in 0..10 {
            let events = store.read_stream(&StreamName::new("c", n.to_string()), 0).await.expect("read");
            let versions: Vec<u64> = events.iter().map(|r| r.envelope.version).collect();
            assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
            stored += versions.len();
        }
        assert_eq!(stored, wrote);
    }
}
