//! What must not be lost while an actor is in quarantine: that it is, and the messages for it.
//!
//! A consumer whose message met a quarantined actor parks it: the whole envelope becomes a document, and
//! only then is the delivery settled, so nothing behind it waits. The message's inbox mark is *not* set by
//! that: it commits with the message's effect, as ever. So a message that is delivered again, by the
//! exchange or by a release, takes effect once, whatever died in between.
//!
//! A release delivers the parked messages again in the order in which they came. Until the last of a
//! consumer is dealt with, a new one for the same actor parks behind it ([`Parking::must_wait`]).
//!
//! At most [`PARKED_MAX`] are parked for one actor; what comes beyond that goes to the dead letters.
//!
//! Quarantine and parked messages are documents, so a restart of the process finds them as they were.

use crate::clock::Clock;
use crate::log_exchange::dead_letter;
use crate::store::{Commit, CommitError, DocumentWrite, Recorded, Store, StoreError};
use serde::{Deserialize, Serialize};
use shers_contract::{Envelope, Timestamp, supervision::Cause};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Collection of parked messages.
pub const PARKED: &str = "parked";
/// Collection of actors in quarantine.
pub const QUARANTINE: &str = "quarantine";
/// Documents read at once.
const PAGE: usize = 500;
/// Messages parked for one actor, at most, unless told otherwise. One more becomes a dead letter: to hold it back would stall its
/// neighbours, and a dead letter is durable and can be replayed as well.
pub const PARKED_MAX: usize = 10_000;
/// Wait after a commit that failed.
const RETRY: Duration = Duration::from_millis(500);

/// Why and since when an actor is in quarantine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    pub(crate) actor: String,
    pub(crate) cause: Option<Cause>,
    pub(crate) detail: String,
    pub(crate) incarnation: u64,
    pub(crate) at: Timestamp,
}

/// A parked message as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    actor: String,
    consumer: String,
    position: u64,
    at: Timestamp,
    envelope: Envelope,
}

/// Where a parked message is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    pub(crate) actor: String,
    pub(crate) consumer: String,
    pub(crate) message_id: Uuid,
    rank: i64,
}

impl Ticket {
    fn document_id(&self) -> String {
        format!("{}/{}/{}", self.actor, self.consumer, self.message_id)
    }
    fn gone(&self) -> DocumentWrite {
        DocumentWrite {
            collection: PARKED,
            id: self.document_id(),
            tag: self.actor.clone(),
            rank: self.rank,
            doc: None,
        }
    }
}

#[derive(Default)]
struct Table {
    quarantined: BTreeMap<String, Quarantine>,
    /// Of each actor, in the order in which they came.
    parked: BTreeMap<String, Vec<Ticket>>,
    consumers: BTreeMap<String, mpsc::UnboundedSender<Ticket>>,
    last_rank: i64,
}

impl Table {
    fn add(&mut self, ticket: Ticket) {
        self.last_rank = self.last_rank.max(ticket.rank);
        let of = self.parked.entry(ticket.actor.clone()).or_default();
        if !of.iter().any(|known| (&known.consumer, known.message_id) == (&ticket.consumer, ticket.message_id)) {
            let at = of.partition_point(|known| known.rank <= ticket.rank);
            of.insert(at, ticket);
        }
    }
    fn remove(&mut self, ticket: &Ticket) {
        if let Some(of) = self.parked.get_mut(&ticket.actor) {
            of.retain(|known| known.message_id != ticket.message_id || known.consumer != ticket.consumer);
            if of.is_empty() {
                self.parked.remove(&ticket.actor);
            }
        }
    }
    /// Sends what is parked to its consumers, where they run and the actor may take it.
    fn send(&self, wanted: impl Fn(&Ticket) -> bool) {
        let of_the_free = self.parked.iter().filter(|(actor, _)| !self.quarantined.contains_key(*actor));
        for ticket in of_the_free.flat_map(|(_, tickets)| tickets).filter(|ticket| wanted(ticket)) {
            if let Some(consumer) = self.consumers.get(&ticket.consumer) {
                // A consumer that is gone gets them when it comes back.
                let _ = consumer.send(ticket.clone());
            }
        }
    }
}

/// Quarantined actors and parked messages of a store.
pub(crate) struct Parking {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
    /// Actors in quarantine or with parked messages; mostly none, and then nobody needs to look closer.
    troubled: AtomicUsize,
    /// Messages parked for one actor, at most.
    most: AtomicUsize,
    recovered: AtomicBool,
    recovering: tokio::sync::Mutex<()>,
}

impl Parking {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            table: Mutex::default(),
            troubled: AtomicUsize::new(0),
            most: AtomicUsize::new(PARKED_MAX),
            recovered: AtomicBool::new(false),
            recovering: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn limit(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.lock();
        let result = change(&mut table);
        self.troubled.store(table.quarantined.len() + table.parked.len(), Ordering::Release);
        metrics::gauge!("shers_parked_messages").set(table.parked.values().map(Vec::len).sum::<usize>() as f64);
        metrics::gauge!("shers_quarantined_actors").set(table.quarantined.len() as f64);
        result
    }

    /// Reads what an earlier process left. Cheap once done.
    pub(crate) async fn recover(&self) -> Result<(), StoreError> {
        if self.recovered.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one = self.recovering.lock().await;
        if self.recovered.load(Ordering::Acquire) {
            return Ok(());
        }
        let quarantined = self.read_all(QUARANTINE).await?;
        let parked = self.read_all(PARKED).await?;
        self.change(|table| {
            for document in &quarantined {
                if let Ok(quarantine) = serde_json::from_str::<Quarantine>(&document.doc) {
                    table.quarantined.insert(document.id.clone(), quarantine);
                }
            }
            for document in &parked {
                if let Ok(stored) = serde_json::from_str::<Stored>(&document.doc) {
                    table.add(Ticket {
                        actor: stored.actor,
                        consumer: stored.consumer,
                        message_id: stored.envelope.id,
                        rank: document.rank,
                    });
                }
            }
        });
        self.recovered.store(true, Ordering::Release);
        Ok(())
    }

    async fn read_all(&self, collection: &str) -> Result<Vec<crate::store::Document>, StoreError> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|d: &crate::store::Document| (d.rank, d.id.clone()));
            let page = self.store.documents(collection, &[], after, PAGE).await?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Notes a quarantine and gives the document to keep it with.
    pub(crate) fn quarantine(&self, quarantine: Quarantine) -> DocumentWrite {
        let document = DocumentWrite {
            collection: QUARANTINE,
            id: quarantine.actor.clone(),
            tag: String::new(),
            rank: quarantine.at.as_ms(),
            doc: serde_json::to_string(&quarantine).ok(),
        };
        self.change(|table| table.quarantined.insert(quarantine.actor.clone(), quarantine));
        document
    }

    /// Ends a quarantine and sends what is parked; gives the document's end.
    pub(crate) fn release(&self, actor: &str) -> DocumentWrite {
        self.change(|table| {
            table.quarantined.remove(actor);
            table.send(|ticket| ticket.actor == actor);
        });
        DocumentWrite { collection: QUARANTINE, id: actor.to_owned(), tag: String::new(), rank: 0, doc: None }
    }

    pub(crate) fn quarantine_of(&self, actor: &str) -> Option<Quarantine> {
        if self.troubled.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().quarantined.get(actor).cloned()
    }

    /// Ids of a category's quarantined actors.
    pub(crate) fn quarantined_of(&self, category: &str) -> Vec<String> {
        if self.troubled.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let table = self.lock();
        let of = table.quarantined.keys().filter_map(|actor| actor.split_once('/'));
        of.filter(|(of, _)| *of == category).map(|(_, id)| id.to_owned()).collect()
    }

    pub(crate) fn quarantined_count(&self) -> usize {
        self.lock().quarantined.len()
    }

    pub(crate) fn parked_count(&self, actor: &str) -> usize {
        if self.troubled.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.lock().parked.get(actor).map_or(0, Vec::len)
    }

    /// Why one more message for an actor can't be parked, if it can't.
    pub(crate) fn refuses(&self, actor: &str) -> Option<String> {
        let most = self.most.load(Ordering::Relaxed);
        let full = self.parked_count(actor) >= most;
        full.then(|| format!("{most} messages are parked for {actor} already, which is the limit"))
    }

    /// Whether a consumer's message for `actor` must wait behind what is parked already.
    pub(crate) fn must_wait(&self, category: &str, id: &str, consumer: &str, message_id: Uuid) -> bool {
        if self.troubled.load(Ordering::Acquire) == 0 {
            return false;
        }
        let table = self.lock();
        let first = table.parked.get(&format!("{category}/{id}"));
        let first = first.and_then(|tickets| tickets.iter().find(|ticket| ticket.consumer == consumer));
        first.is_some_and(|ticket| ticket.message_id != message_id)
    }

    /// Where a consumer's parked messages come back; those whose actor is free come at once.
    pub(crate) fn register(&self, consumer: &'static str) -> mpsc::UnboundedReceiver<Ticket> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.change(|table| {
            table.consumers.insert(consumer.to_owned(), sender);
            table.send(|ticket| ticket.consumer == consumer);
        });
        receiver
    }

    /// Parks a message durably, however long that takes. `moved` is where it was parked before.
    pub(crate) async fn park(&self, actor: String, consumer: &'static str, message: &Recorded, moved: Option<&Ticket>) {
        if moved.is_some_and(|ticket| ticket.actor == actor) {
            return;
        }
        let message_id = message.envelope.id;
        // In the table before it is in the store: what comes meanwhile parks behind it.
        let ticket = self.change(|table| {
            let known = table.parked.get(&actor).and_then(|of| {
                of.iter().find(|known| known.consumer == consumer && known.message_id == message_id).cloned()
            });
            let rank = table.last_rank + 1;
            let ticket = known.unwrap_or(Ticket { actor, consumer: consumer.to_owned(), message_id, rank });
            table.add(ticket.clone());
            ticket
        });
        let stored = Stored {
            actor: ticket.actor.clone(),
            consumer: ticket.consumer.clone(),
            position: message.position,
            at: self.clock.now(),
            envelope: (*message.envelope).clone(),
        };
        let document = DocumentWrite { doc: serde_json::to_string(&stored).ok(), ..ticket.gone() };
        self.commit(moved.map(Ticket::gone).into_iter().chain([document]).collect()).await;
        metrics::counter!("shers_messages_parked_total", "consumer" => consumer).increment(1);
        self.change(|table| {
            if let Some(moved) = moved {
                table.remove(moved);
            }
            // Released meanwhile: nobody else will send it.
            table.send(|other| *other == ticket);
        });
    }

    /// The message of a ticket; `None` when it is gone.
    pub(crate) async fn message(&self, ticket: &Ticket) -> Result<Option<Recorded>, StoreError> {
        let document = self.store.document(PARKED, &ticket.document_id()).await?;
        let stored = document.and_then(|document| serde_json::from_str::<Stored>(&document.doc).ok());
        Ok(stored.map(|stored| Recorded { position: stored.position, envelope: Arc::new(stored.envelope) }))
    }

    /// Takes a dealt-with message away, however long that takes; to the dead letters if there is a reason.
    pub(crate) async fn done(&self, ticket: &Ticket, message: &Recorded, dead: Option<&str>) {
        let letter = dead.map(|reason| dead_letter(&ticket.consumer, message, reason, self.clock.as_ref()));
        self.commit(letter.into_iter().chain([ticket.gone()]).collect()).await;
        self.change(|table| table.remove(ticket));
    }

    /// Takes a ticket without a message out of the table.
    pub(crate) fn forget(&self, ticket: &Ticket) {
        self.change(|table| table.remove(ticket));
    }

    /// Gives up everything that is parked for an actor. Returns how many messages that were.
    pub(crate) async fn discard(&self, actor: &str, reason: &str) -> Result<usize, StoreError> {
        let tickets = self.lock().parked.get(actor).cloned().unwrap_or_default();
        for ticket in &tickets {
            match self.message(ticket).await? {
                Some(message) => self.done(ticket, &message, Some(reason)).await,
                None => self.forget(ticket),
            }
        }
        Ok(tickets.len())
    }

    async fn commit(&self, documents: Vec<DocumentWrite>) {
        let commit = Commit { documents, ..Commit::default() };
        while let Err(error) = self.store.commit(commit.clone()).await {
            // Writing a document twice is as good as once, so an unknown outcome is tried again too.
            let error: CommitError = error;
            tracing::error!(%error, "keeping a parked message");
            self.clock.sleep(RETRY).await;
        }
    }
}
