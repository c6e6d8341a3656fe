//! The embedded exchange: durable cursors over the log, with AMQP's topic patterns. Nothing is published
//! a second time, so there is no second store and no relay.
//!
//! A subscription's cursor is the highest position below which every message is settled. It is saved a
//! moment later than it moves: a crash repeats a few messages, and the inbox recognises them.

use crate::clock::Clock;
use crate::exchange::{DeadLetter, Deliveries, Delivery, Exchange, ExchangeError, Settle, Settlement, Subscription};
use crate::store::{Commit, DocumentWrite, Position, Recorded, Store};
use async_trait::async_trait;
use shers_contract::Kind;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, mpsc, watch};

/// Collection of dead letters.
pub const DEAD_LETTERS: &str = "dead-letters";
/// Events read from the log at once.
const READ_BATCH: usize = 1024;
/// Cursors are saved at most this often.
const CURSOR_SAVE_EVERY: Duration = Duration::from_millis(250);
/// Dead letters listed at most.
const DEAD_LETTERS_SHOWN: usize = 500;

/// The exchange of a single process.
pub struct LogExchange {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    replays: Mutex<HashMap<&'static str, mpsc::UnboundedSender<Recorded>>>,
}

impl LogExchange {
    /// An exchange over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, replays: Mutex::default() }
    }
}

#[async_trait]
impl Exchange for LogExchange {
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, ExchangeError> {
        let head = self.store.head();
        let position = if subscription.live_only {
            *head.borrow()
        } else {
            self.store.cursor(subscription.name).await.map_err(|error| ExchangeError(error.to_string()))?
        };
        let (replay, replayed) = mpsc::unbounded_channel();
        self.replays.lock().unwrap_or_else(PoisonError::into_inner).insert(subscription.name, replay);
        let state = Arc::new(Unsettled {
            name: subscription.name,
            inner: Mutex::new(Tags { read_to: position, next_tag: 1, ..Tags::default() }),
            changed: Notify::new(),
        });
        if !subscription.live_only {
            tokio::spawn(save_cursor(
                Arc::downgrade(&state),
                Arc::clone(&self.store),
                Arc::clone(&self.clock),
                position,
            ));
        }
        Ok(Box::new(LogDeliveries {
            store: Arc::clone(&self.store),
            head,
            position,
            subscription,
            wanted: HashMap::new(),
            buffer: VecDeque::new(),
            state,
            replayed,
        }))
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, ExchangeError> {
        let documents = self.store.documents(DEAD_LETTERS, &[], None, DEAD_LETTERS_SHOWN).await;
        let documents = documents.map_err(|error| ExchangeError(error.to_string()))?;
        Ok(documents.iter().filter_map(|document| serde_json::from_str(&document.doc).ok()).collect())
    }

    async fn replay(&self, id: &str) -> Result<bool, ExchangeError> {
        let failed = |error: &dyn std::fmt::Display| ExchangeError(error.to_string());
        let document = self.store.document(DEAD_LETTERS, id).await.map_err(|e| failed(&e))?;
        let Some(document) = document else { return Ok(false) };
        let letter: DeadLetter = serde_json::from_str(&document.doc).map_err(|e| failed(&e))?;
        let after = letter.position.saturating_sub(1);
        let found = self.store.read_after(after, 1).await.map_err(|e| failed(&e))?;
        let Some(recorded) = found.into_iter().find(|r| r.position == letter.position) else {
            return Err(ExchangeError("the message is no longer in the log".to_owned()));
        };
        let sent = {
            let replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
            replays.get(letter.consumer.as_str()).is_some_and(|replay| replay.send(recorded).is_ok())
        };
        if !sent {
            return Err(ExchangeError(format!("consumer {} is not running in this process", letter.consumer)));
        }
        let gone =
            DocumentWrite { collection: DEAD_LETTERS, id: id.to_owned(), tag: String::new(), rank: 0, doc: None };
        let commit = Commit { documents: vec![gone], ..Commit::default() };
        self.store.commit(commit).await.map_err(|e| failed(&e))?;
        Ok(true)
    }
}

struct LogDeliveries {
    store: Arc<dyn Store>,
    head: watch::Receiver<Position>,
    position: Position,
    subscription: Subscription,
    wanted: HashMap<Kind, bool>,
    buffer: VecDeque<(Recorded, u32)>,
    state: Arc<Unsettled>,
    replayed: mpsc::UnboundedReceiver<Recorded>,
}

impl LogDeliveries {
    fn wants(&mut self, kind: Kind) -> bool {
        let patterns = &self.subscription.patterns;
        *self.wanted.entry(kind).or_insert_with(|| patterns.iter().any(|p| p.matches(kind.as_str())))
    }

    /// Reads on until something wanted is buffered, or the end of the log is reached.
    async fn fill(&mut self) -> Result<(), ExchangeError> {
        while self.buffer.is_empty() && self.position < *self.head.borrow_and_update() {
            let events = self.store.read_after(self.position, READ_BATCH).await;
            let events = events.map_err(|error| ExchangeError(error.to_string()))?;
            let Some(last) = events.last() else { break };
            self.position = last.position;
            for recorded in events {
                if self.wants(recorded.envelope.kind) {
                    self.buffer.push_back((recorded, 1));
                }
            }
            if self.buffer.is_empty() {
                self.state.lock().read_to = self.position;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Deliveries for LogDeliveries {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, ExchangeError> {
        loop {
            while let Ok(recorded) = self.replayed.try_recv() {
                self.buffer.push_front((recorded, 1));
            }
            let again = std::mem::take(&mut self.state.lock().again);
            for item in again.into_iter().rev() {
                self.buffer.push_front(item);
            }
            if self.buffer.is_empty() {
                self.fill().await?;
            }
            let room = self.subscription.prefetch.saturating_sub(self.state.lock().open.len());
            let count = self.buffer.len().min(max).min(room);
            if count > 0 {
                return Ok(self.buffer.drain(..count).map(|(r, attempt)| self.state.give(r, attempt)).collect());
            }
            let state = Arc::clone(&self.state);
            let settled = state.changed.notified();
            tokio::select! {
                biased;
                changed = self.head.changed(), if self.buffer.is_empty() => {
                    changed.map_err(|_| ExchangeError("the log was closed".to_owned()))?;
                }
                Some(recorded) = self.replayed.recv() => self.buffer.push_front((recorded, 1)),
                () = settled => {}
            }
        }
    }
}

#[derive(Default)]
struct Tags {
    next_tag: u64,
    /// Delivered and unsettled.
    open: BTreeMap<u64, (Recorded, u32)>,
    /// To be delivered again.
    again: Vec<(Recorded, u32)>,
    /// Dead, to be written as dead letters before the cursor may pass them.
    dead: Vec<(Recorded, String)>,
    /// Read and judged up to here.
    read_to: Position,
}

struct Unsettled {
    name: &'static str,
    inner: Mutex<Tags>,
    changed: Notify,
}

impl Unsettled {
    fn lock(&self) -> std::sync::MutexGuard<'_, Tags> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn give(self: &Arc<Self>, recorded: Recorded, attempt: u32) -> Delivery {
        let mut tags = self.lock();
        let tag = tags.next_tag;
        tags.next_tag += 1;
        tags.read_to = tags.read_to.max(recorded.position);
        tags.open.insert(tag, (recorded.clone(), attempt));
        Delivery::new(recorded, attempt, tag, Arc::clone(self) as Arc<dyn Settle>)
    }
}

impl Settle for Unsettled {
    fn settle(&self, tag: u64, settlement: Settlement) {
        let mut tags = self.lock();
        if let Some((recorded, attempt)) = tags.open.remove(&tag) {
            match settlement {
                Settlement::Done => {}
                Settlement::Retry => tags.again.push((recorded, attempt + 1)),
                Settlement::Dead(reason) => tags.dead.push((recorded, reason)),
            }
        }
        drop(tags);
        self.changed.notify_one();
    }
}

/// Saves a subscription's cursor and its dead letters, in one commit, until the subscription is gone.
async fn save_cursor(
    state: std::sync::Weak<Unsettled>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    mut saved: Position,
) {
    loop {
        tokio::time::sleep(CURSOR_SAVE_EVERY).await;
        let Some(state) = state.upgrade() else { return };
        let (dead, position) = {
            let tags = state.lock();
            let dead = tags.dead.clone();
            let first_open = tags.open.values().chain(&tags.again).map(|(r, _)| r.position).min();
            (dead, first_open.map_or(tags.read_to, |p| p.saturating_sub(1).min(tags.read_to)))
        };
        if position == saved && dead.is_empty() {
            continue;
        }
        let documents = dead.iter().map(|(r, reason)| dead_letter(state.name, r, reason, clock.as_ref())).collect();
        let commit = Commit { documents, cursors: vec![(state.name.to_owned(), position)], ..Commit::default() };
        match store.commit(commit).await {
            Ok(_) => {
                saved = position;
                let mut tags = state.lock();
                tags.dead.drain(..dead.len());
                metrics::gauge!("shers_consumer_position", "consumer" => state.name).set(position as f64);
            }
            Err(error) => tracing::warn!(consumer = state.name, %error, "saving the cursor"),
        }
    }
}

pub(crate) fn dead_letter(consumer: &str, recorded: &Recorded, reason: &str, clock: &dyn Clock) -> DocumentWrite {
    let now = clock.now();
    let letter = DeadLetter {
        id: format!("{consumer}-{}", recorded.envelope.id),
        consumer: consumer.to_owned(),
        kind: recorded.envelope.kind.to_string(),
        message_id: recorded.envelope.id.to_string(),
        stream: recorded.envelope.stream.to_string(),
        position: recorded.position,
        reason: reason.to_owned(),
        at: now,
    };
    metrics::counter!("shers_dead_letters_total", "consumer" => consumer.to_owned()).increment(1);
    DocumentWrite {
        collection: DEAD_LETTERS,
        id: letter.id.clone(),
        tag: consumer.to_owned(),
        rank: -now.as_ms(),
        doc: serde_json::to_string(&letter).ok(),
    }
}
