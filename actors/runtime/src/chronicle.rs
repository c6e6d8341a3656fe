//! Writes what supervision did, in order, many at once: 10,000 deaths in one moment are a few commits.
//!
//! What happened is in the metrics and the log lines as well. An event that can't be written while the
//! store is away waits, up to a limit; a document (a quarantine's beginning or end) waits for ever.

use crate::clock::Clock;
use crate::store::{Append, Commit, DocumentWrite, Expected, NewEvent, Store};
use shers_contract::envelope::StreamName;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Entries in one commit.
const CHUNK: usize = 500;
/// Entries that may wait while the store can't write.
const WAITING_MAX: usize = 20_000;
/// Wait after a failed commit.
const RETRY: Duration = Duration::from_secs(1);

struct Entry {
    event: NewEvent,
    document: Option<DocumentWrite>,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    writing: bool,
}

/// The written story of supervision.
pub(crate) struct Chronicle {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    stream: StreamName,
    waiting: Mutex<Waiting>,
}

/// Lets another task write when the one that wrote goes with its arbiter.
struct Writing<'a>(&'a Chronicle);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.lock().writing = false;
    }
}

impl Chronicle {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, node: &str) -> Self {
        Self { store, clock, stream: StreamName::new("supervision", node), waiting: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event soon, and a document in the same commit.
    pub(crate) fn write(self: &Arc<Self>, event: NewEvent, document: Option<DocumentWrite>) {
        let mut waiting = self.lock();
        if waiting.entries.len() >= WAITING_MAX && document.is_none() {
            metrics::counter!("shers_supervision_unwritten_total").increment(1);
            return;
        }
        waiting.entries.push_back(Entry { event, document });
        if !std::mem::replace(&mut waiting.writing, true) {
            drop(waiting);
            actix_rt::spawn(Arc::clone(self).write_all());
        }
    }

    async fn write_all(self: Arc<Self>) {
        let guard = Writing(&self);
        loop {
            let entries: Vec<Entry> = {
                let mut waiting = self.lock();
                let count = waiting.entries.len().min(CHUNK);
                if count == 0 {
                    // In the same breath as the look, or a writer that comes now would wait for ever.
                    waiting.writing = false;
                    drop(waiting);
                    std::mem::forget(guard);
                    return;
                }
                waiting.entries.drain(..count).collect()
            };
            self.write_chunk(entries).await;
        }
    }

    async fn write_chunk(&self, entries: Vec<Entry>) {
        let (events, documents): (Vec<_>, Vec<_>) = entries.into_iter().map(|e| (e.event, e.document)).unzip();
        let append = Append { stream: self.stream.clone(), expected: Expected::Any, events, open: false };
        let documents = documents.into_iter().flatten().collect();
        let mut commit = Commit { appends: vec![append], documents, ..Commit::default() };
        while let Err(error) = self.store.commit(commit.clone()).await {
            tracing::error!(%error, "recording supervision");
            if matches!(error, crate::CommitError::Unknown(_)) {
                // Perhaps it is there: twice in the story would be worse than not at all.
                commit.appends.clear();
            }
            if commit.appends.is_empty() && commit.documents.is_empty() {
                return;
            }
            self.clock.sleep(RETRY).await;
        }
    }
}
