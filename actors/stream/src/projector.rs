//! The projector: takes deliveries of everything, many at once, folds them in memory, and commits all
//! changed documents with its position in one transaction. Then it settles.
//!
//! A document is taken out of the cache while it is changed and put back after the commit, so a failed
//! commit leaves nothing half done: the same batch is folded again from the store.

use crate::Settings;
use crate::cache::Cache;
use crate::model::{Collection, Doc, DocKey, Fact, incident::IncidentDoc, kpi::KpiDoc};
use shers_contract::{
    DomainEvent, Kind, Timestamp,
    dispatch::{Fix, UnitEvent},
    routing::Pattern,
};
use shers_runtime::{
    Commit, CommitError, Delivery, Deps, DocumentWrite, Life, Position, StoreError, Subscription, exchange::Settlement,
};
use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};
use tokio::sync::{Mutex, Notify, watch};

/// Name of the subscription.
pub(crate) const SUBSCRIPTION: &str = "stream.read-models";
/// Name of the cursor that says up to where documents are written. The exchange keeps its own.
pub(crate) const POSITION: &str = "stream.read-models.position";

const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    /// A document could not be read.
    #[error("reading a document")]
    Read(#[from] StoreError),
    /// The documents could not be written.
    #[error("writing documents")]
    Write(#[from] CommitError),
}

/// What is in memory, behind one lock that is held from the first read to the end of the commit, so that
/// two writers never overtake each other.
pub(crate) struct Inner {
    cache: Cache,
    /// Newest fix of each unit since positions were last written.
    fixes: HashMap<String, Fix>,
    fixes_written_at: Timestamp,
}

/// The projector.
pub(crate) struct Projector {
    pub(crate) deps: Deps,
    pub(crate) settings: Settings,
    inner: Mutex<Inner>,
    position: watch::Sender<Position>,
    fixes_wait: Notify,
}

/// Documents that a batch changes.
#[derive(Default)]
struct Changes {
    docs: BTreeMap<DocKey, Touched>,
}

struct Touched {
    doc: Doc,
    changed: bool,
}

impl Projector {
    /// A projector whose documents are written up to `position`.
    pub(crate) fn new(deps: Deps, settings: Settings, position: Position) -> Self {
        let inner = Inner {
            cache: Cache::new(settings.cache_documents),
            fixes: HashMap::new(),
            fixes_written_at: Timestamp::from_ms(i64::MIN / 2),
        };
        Self {
            deps,
            settings,
            inner: Mutex::new(inner),
            position: watch::Sender::new(position),
            fixes_wait: Notify::new(),
        }
    }

    /// Up to where documents are written.
    pub(crate) fn position(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    /// A stretch of real time on the house's clock.
    pub(crate) fn real(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.deps.clock.speed().max(f64::MIN_POSITIVE))
    }

    fn write_interval(&self) -> Duration {
        self.real(Duration::from_millis(self.settings.location_write_interval_ms))
    }

    /// Folds a batch and commits. On an error nothing is changed, neither here nor in the store.
    async fn project(&self, facts: &[Fact], fixes: &[Fix], last: Position) -> Result<(), ProjectError> {
        let mut inner = self.inner.lock().await;
        for fix in fixes {
            keep_newest(&mut inner.fixes, fix);
        }
        let now = self.deps.clock.now();
        let due = now.ms_since(inner.fixes_written_at) >= millis(self.write_interval());
        let mut changes = Changes::default();
        for fact in facts {
            for key in fact.touches() {
                let touched = self.touch(&mut changes, &mut inner.cache, key).await?;
                touched.changed |= touched.doc.fold(fact);
            }
        }
        if due {
            self.fold_fixes(&mut changes, &mut inner).await?;
        }
        self.fold_kpis(&mut changes, &mut inner.cache).await?;
        self.commit(changes, &mut inner.cache, last).await?;
        if due {
            inner.fixes.clear();
            inner.fixes_written_at = now;
        }
        let waiting = !inner.fixes.is_empty();
        drop(inner);
        if waiting {
            self.fixes_wait.notify_one();
        }
        Ok(())
    }

    /// The document, read if it is not in memory.
    async fn touch<'a>(
        &self,
        changes: &'a mut Changes,
        cache: &mut Cache,
        key: DocKey,
    ) -> Result<&'a mut Touched, ProjectError> {
        use std::collections::btree_map::Entry;
        match changes.docs.entry(key) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let doc = match cache.take(entry.key()) {
                    Some(doc) => doc,
                    None => self.load(entry.key()).await?,
                };
                Ok(entry.insert(Touched { doc, changed: false }))
            }
        }
    }

    async fn load(&self, key: &DocKey) -> Result<Doc, ProjectError> {
        let Some(stored) = self.deps.store.document(key.collection.as_str(), &key.id).await? else {
            return Ok(Doc::empty(key));
        };
        Ok(Doc::read(key.collection, &stored.doc).unwrap_or_else(|error| {
            // A document of another build's form: what follows is folded into a new one.
            tracing::error!(document.collection = key.collection.as_str(), document.id = %key.id, %error, "document is unreadable");
            Doc::empty(key)
        }))
    }

    async fn fold_fixes(&self, changes: &mut Changes, inner: &mut Inner) -> Result<(), ProjectError> {
        for (unit_id, fix) in &inner.fixes {
            let key = DocKey { collection: Collection::Unit, id: unit_id.clone() };
            let touched = self.touch(changes, &mut inner.cache, key).await?;
            if let Doc::Unit(unit) = &mut touched.doc {
                touched.changed |= unit.located(fix);
            }
        }
        Ok(())
    }

    /// Brings the figures of changed incidents up to date.
    async fn fold_kpis(&self, changes: &mut Changes, cache: &mut Cache) -> Result<(), ProjectError> {
        let touched = changes.docs.values().filter(|t| t.changed);
        let fresh: Vec<KpiDoc> = touched.filter_map(|t| incident(&t.doc)).map(KpiDoc::of).collect();
        for kpi in fresh {
            let key = DocKey { collection: Collection::Kpi, id: kpi.incident_id.clone() };
            let touched = self.touch(changes, cache, key).await?;
            let kpi = Doc::Kpi(Box::new(kpi));
            touched.changed = touched.doc != kpi;
            touched.doc = kpi;
        }
        Ok(())
    }

    async fn commit(&self, changes: Changes, cache: &mut Cache, last: Position) -> Result<(), ProjectError> {
        let position = (*self.position.borrow()).max(last);
        let mut documents = Vec::new();
        for (key, touched) in changes.docs.iter().filter(|(_, t)| t.changed) {
            match touched.doc.stored() {
                Ok(stored) => documents.push(DocumentWrite {
                    collection: key.collection.as_str(),
                    id: key.id.clone(),
                    tag: stored.tag.to_owned(),
                    rank: stored.rank,
                    doc: Some(stored.json),
                }),
                Err(error) => {
                    tracing::error!(document.collection = key.collection.as_str(), %error, "document can't be written");
                }
            }
        }
        if !documents.is_empty() {
            let written = documents.len();
            let cursors = vec![(POSITION.to_owned(), position)];
            self.deps.store.commit(Commit { documents, cursors, ..Commit::default() }).await?;
            metrics::counter!("shers_projection_documents_total").increment(u64::try_from(written).unwrap_or(u64::MAX));
        }
        for (key, touched) in changes.docs {
            cache.put(key, touched.doc);
        }
        self.position.send_if_modified(|known| std::mem::replace(known, position) != position);
        Ok(())
    }

    /// Commits deletions, with nothing folded meanwhile.
    pub(crate) async fn delete(&self, keys: Vec<DocKey>) -> Result<(), ProjectError> {
        let mut inner = self.inner.lock().await;
        let gone = |key: &DocKey| DocumentWrite {
            collection: key.collection.as_str(),
            id: key.id.clone(),
            tag: String::new(),
            rank: 0,
            doc: None,
        };
        let documents = keys.iter().map(gone).collect();
        self.deps.store.commit(Commit { documents, ..Commit::default() }).await?;
        for key in &keys {
            inner.cache.take(key);
        }
        Ok(())
    }

    /// Deals with one batch of deliveries, however often that must be tried.
    async fn take(&self, batch: Vec<Delivery>, life: &Life) {
        let mut facts = Vec::new();
        let mut fixes = Vec::new();
        let mut dead: HashMap<usize, String> = HashMap::new();
        let mut last = 0;
        for (index, delivery) in batch.iter().enumerate() {
            let envelope = &delivery.message.envelope;
            // A broker's deliveries have no position: then freshness can't be told, and nobody waits.
            last = last.max(if delivery.message.position == 0 { Position::MAX } else { delivery.message.position });
            if envelope.kind == Kind::UNIT_LOCATION_REPORTED {
                if let Some(Ok(UnitEvent::Located(located))) = UnitEvent::from_envelope(envelope) {
                    fixes.extend(located.fixes);
                }
                continue;
            }
            match Fact::read(envelope) {
                Ok(Some(fact)) => facts.push(fact),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(message.id = %envelope.id, kind = %envelope.kind, %error, "event is unreadable");
                    dead.insert(index, error.to_string());
                }
            }
        }
        let mut wait = FIRST_BACKOFF;
        while let Err(error) = self.project(&facts, &fixes, last).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "folding a batch failed; it is tried again");
            // To fail and try again is not to hang.
            life.progress();
            self.deps.clock.sleep(self.real(wait)).await;
            wait = (wait * 2).min(MAX_BACKOFF);
        }
        for (index, delivery) in batch.into_iter().enumerate() {
            delivery.settle(dead.remove(&index).map_or(Settlement::Done, Settlement::Dead));
        }
        self.report_lag();
    }

    /// Events in the log that no document shows yet.
    fn report_lag(&self) {
        let behind = self.deps.store.head().borrow().saturating_sub(*self.position.borrow());
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("shers_projection_lag").set(behind as f64);
    }
}

fn incident(doc: &Doc) -> Option<&IncidentDoc> {
    match doc {
        Doc::Incident(incident) => Some(incident),
        Doc::Unit(_) | Doc::Hospital(_) | Doc::Bill(_) | Doc::Notification(_) | Doc::Kpi(_) => None,
    }
}

fn keep_newest(fixes: &mut HashMap<String, Fix>, fix: &Fix) {
    match fixes.get_mut(fix.unit_id.as_str()) {
        Some(known) if known.at >= fix.at => {}
        Some(known) => known.clone_from(fix),
        None => {
            fixes.insert(fix.unit_id.as_str().to_owned(), fix.clone());
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Follows the exchange for ever. Subscribes again when it fails. What a life that ended had in hand comes
/// again: it is settled only after the commit.
pub(crate) async fn run(projector: Rc<Projector>, life: Life) {
    let mut wait = FIRST_BACKOFF;
    loop {
        let subscription = Subscription {
            name: SUBSCRIPTION,
            patterns: vec![Pattern::all()],
            live_only: false,
            prefetch: projector.settings.batch.max(1),
        };
        match projector.deps.exchange.subscribe(subscription).await {
            Ok(mut deliveries) => {
                wait = FIRST_BACKOFF;
                loop {
                    match deliveries.next(projector.settings.batch.max(1)).await {
                        Ok(batch) => {
                            life.begin(batch.len());
                            projector.take(batch, &life).await;
                            life.end();
                        }
                        Err(error) => {
                            tracing::warn!(consumer = SUBSCRIPTION, %error, "subscription lost");
                            break;
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(consumer = SUBSCRIPTION, %error, "subscribing failed"),
        }
        projector.deps.clock.sleep(projector.real(wait)).await;
        wait = (wait * 2).min(MAX_BACKOFF);
    }
}

/// Writes positions that wait, when no event comes that would carry them along.
pub(crate) async fn write_positions(projector: Rc<Projector>) {
    loop {
        projector.fixes_wait.notified().await;
        projector.deps.clock.sleep(projector.write_interval()).await;
        if let Err(error) = projector.project(&[], &[], 0).await {
            tracing::warn!(%error, "writing positions failed; it is tried again");
            projector.fixes_wait.notify_one();
        }
    }
}
