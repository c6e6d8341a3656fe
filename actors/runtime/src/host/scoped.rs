//! A partition's view of the log in which some document collections are the partition's own: what supervision
//! keeps of its actors, and what a service folds of its own wearers.

use crate::store::{Commit, CommitError, Committed, Document, Position, Recorded, SavedAnswer, Store, StoreError};
use async_trait::async_trait;
use shers_contract::{IncidentId, Timestamp, envelope::StreamName};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The view.
pub(super) struct Scoped {
    store: Arc<dyn Store>,
    own: BTreeMap<&'static str, &'static str>,
}

impl Scoped {
    /// `store` with its own version of `collections` for `partition`.
    pub(super) fn new(store: Arc<dyn Store>, partition: u16, collections: &[&'static str]) -> Self {
        let own = collections.iter().map(|collection| (*collection, own_name(collection, partition))).collect();
        Self { store, own }
    }

    fn name<'a>(&self, collection: &'a str) -> &'a str {
        self.own.get(collection).copied().unwrap_or(collection)
    }
}

/// `<collection>.pNN`, the same text each time: collections have static names, and there are only so many.
fn own_name(collection: &'static str, partition: u16) -> &'static str {
    static NAMES: Mutex<BTreeMap<(&'static str, u16), &'static str>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names
        .entry((collection, partition))
        .or_insert_with(|| Box::leak(format!("{collection}.p{partition:02}").into_boxed_str()))
}

#[async_trait]
impl Store for Scoped {
    async fn commit(&self, mut commit: Commit) -> Result<Committed, CommitError> {
        for document in &mut commit.documents {
            if let Some(own) = self.own.get(document.collection) {
                document.collection = own;
            }
        }
        self.store.commit(commit).await
    }
    async fn read_stream(&self, stream: &StreamName, after_version: u64) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_stream(stream, after_version).await
    }
    async fn read_open(&self, category: &str) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_open(category).await
    }
    async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_after(after, limit).await
    }
    async fn read_back(&self, category: &str, before: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_back(category, before, limit).await
    }
    async fn read_incident(
        &self,
        incident: &IncidentId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_incident(incident, after, limit).await
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.store.head()
    }
    fn epoch(&self) -> String {
        self.store.epoch()
    }
    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        self.store.cursor(name).await
    }
    async fn answer(&self, key: &str) -> Result<Option<SavedAnswer>, StoreError> {
        self.store.answer(key).await
    }
    async fn document(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.store.document(self.name(collection), id).await
    }
    async fn documents(
        &self,
        collection: &str,
        tags: &[String],
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.store.documents(self.name(collection), tags, after, limit).await
    }
    async fn prune(&self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError> {
        self.store.prune(category, before).await
    }
}
