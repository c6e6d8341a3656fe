//! The hub: tails the log once for all clients of this server.
//!
//! Invariants: the ring holds every event after `start` up to `end`, in order, none missing; `end` only
//! grows; whoever is woken by [`Hub::watch`] finds in the ring what it was woken for.

use super::filter::Filter;
use crate::settings::StreamSettings;
use serde::Serialize;
use shers_contract::{
    DomainEvent, Kind, LatLon, UnitId,
    dispatch::{LocationsReported, UnitEvent},
};
use shers_runtime::{Recorded, Store, StoreError};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};
use tokio::sync::watch;

/// Category of the journals that hold positions.
const POSITIONS: &str = "positions";
/// Batches of positions read at the start, to know where units were last seen.
const LOOK_BACK: usize = 512;
/// Wait after the log could not be read.
const BACKOFF: Duration = Duration::from_millis(250);

/// An event, serialised once for all.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Where it stands in the log.
    pub(crate) offset: u64,
    /// Its kind, as a set of one.
    pub(crate) kind: Filter,
    /// `[offset, kind, at, data, stream, correlation_id]`.
    pub(crate) text: Arc<str>,
    recorded: Recorded,
    object: OnceLock<Arc<str>>,
}

/// An event as a JSON object, for pages and server-sent events.
#[derive(Serialize)]
struct EventObject<'a> {
    offset: u64,
    #[serde(flatten)]
    head: EventHead<'a>,
    data: &'a serde_json::value::RawValue,
}

#[derive(Serialize)]
struct EventHead<'a> {
    id: uuid::Uuid,
    kind: Kind,
    v: u16,
    stream: &'a str,
    version: u64,
    at: shers_contract::Timestamp,
    correlation_id: Option<&'a shers_contract::IncidentId>,
    causation_id: Option<uuid::Uuid>,
    traceparent: Option<shers_contract::Traceparent>,
    exercise: bool,
}

impl Prepared {
    pub(crate) fn new(recorded: Recorded) -> Self {
        let e = &recorded.envelope;
        let item = (recorded.position, e.kind, e.at, &e.data, &e.stream, &e.correlation_id);
        let text = serde_json::to_string(&item).unwrap_or_default().into();
        Self { offset: recorded.position, kind: Filter::one(e.kind), text, recorded, object: OnceLock::new() }
    }

    /// The kind as text.
    pub(crate) fn kind_name(&self) -> &'static str {
        self.recorded.envelope.kind.as_str()
    }

    /// The event as a JSON object, made when first asked for.
    pub(crate) fn object(&self) -> Arc<str> {
        let make = || {
            let e = &self.recorded.envelope;
            let head = EventHead {
                id: e.id,
                kind: e.kind,
                v: e.v,
                stream: e.stream.as_str(),
                version: e.version,
                at: e.at,
                correlation_id: e.correlation_id.as_ref(),
                causation_id: e.causation_id,
                traceparent: e.traceparent,
                exercise: e.exercise,
            };
            let object = EventObject { offset: self.offset, head, data: &e.data };
            serde_json::to_string(&object).unwrap_or_default().into()
        };
        Arc::clone(self.object.get_or_init(make))
    }
}

/// The newest position of a unit.
#[derive(Clone, Debug)]
pub(crate) struct UnitPosition {
    /// Offset of the event that told it.
    pub(crate) offset: u64,
    /// When it was taken.
    pub(crate) at: shers_contract::Timestamp,
    /// Where.
    pub(crate) location: LatLon,
    /// The fix as JSON.
    pub(crate) text: Arc<str>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Arc<Prepared>>,
    bytes: usize,
    start: u64,
    end: u64,
}

/// What lies after an offset.
pub(crate) struct Pulled {
    /// What matches.
    pub(crate) events: Vec<Arc<Prepared>>,
    /// Everything up to here was looked at.
    pub(crate) to: u64,
    /// A frame's worth was found; there may be more.
    pub(crate) full: bool,
}

/// The hub of one server.
pub(crate) struct Hub {
    feed: Arc<dyn Store>,
    settings: StreamSettings,
    ring: RwLock<Ring>,
    units: RwLock<HashMap<UnitId, UnitPosition>>,
    end: watch::Sender<u64>,
    epoch: String,
}

impl Hub {
    /// A hub over `feed`, with an empty ring that begins at its head.
    pub(crate) fn new(feed: Arc<dyn Store>, settings: StreamSettings) -> Self {
        let head = *feed.head().borrow();
        let ring = Ring { start: head, end: head, ..Ring::default() };
        let epoch = feed.epoch();
        Self { feed, settings, ring: RwLock::new(ring), units: RwLock::default(), end: watch::Sender::new(head), epoch }
    }

    /// Identity of the log.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Offset up to which the ring is complete.
    pub(crate) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// Woken whenever the ring has grown.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Newest positions, while the guard is held.
    pub(crate) fn units(&self) -> RwLockReadGuard<'_, HashMap<UnitId, UnitPosition>> {
        self.units.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tails the log for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        self.load_positions().await;
        let mut head = self.feed.head();
        loop {
            let seen = *head.borrow_and_update();
            if self.end() >= seen {
                if head.changed().await.is_err() {
                    tracing::error!("the log has gone; the live stream ends");
                    return;
                }
                continue;
            }
            match self.feed.read_after(self.end(), self.settings.page_events).await {
                Ok(events) => {
                    let complete = events.len() < self.settings.page_events;
                    self.push(events, if complete { seen } else { 0 });
                }
                Err(error) => {
                    tracing::warn!(%error, "the live stream can't read the log");
                    tokio::time::sleep(BACKOFF).await;
                }
            }
        }
    }

    async fn load_positions(&self) {
        match self.feed.read_back(POSITIONS, self.end().saturating_add(1), LOOK_BACK).await {
            Ok(mut events) => {
                events.reverse();
                events.iter().for_each(|recorded| self.note_positions(recorded));
            }
            Err(error) => tracing::warn!(%error, "last positions can't be read"),
        }
    }

    /// Adds events that follow the ring's end. Everything up to `complete_to` has been read with them.
    pub(crate) fn push(&self, events: Vec<Recorded>, complete_to: u64) {
        for recorded in &events {
            self.note_positions(recorded);
        }
        let prepared: Vec<_> = events.into_iter().map(|recorded| Arc::new(Prepared::new(recorded))).collect();
        let mut ring = self.ring_mut();
        for event in prepared {
            if event.offset <= ring.end {
                continue;
            }
            ring.end = event.offset;
            ring.bytes += event.text.len();
            ring.events.push_back(event);
        }
        ring.end = ring.end.max(complete_to);
        while ring.events.len() > self.settings.ring_events || ring.bytes > self.settings.ring_bytes {
            let Some(gone) = ring.events.pop_front() else { break };
            ring.bytes -= gone.text.len();
            ring.start = gone.offset;
        }
        let end = ring.end;
        drop(ring);
        self.end.send_replace(end);
    }

    fn note_positions(&self, recorded: &Recorded) {
        if recorded.envelope.kind != Kind::UNIT_LOCATION_REPORTED {
            return;
        }
        let Some(Ok(UnitEvent::Located(LocationsReported { fixes }))) = UnitEvent::from_envelope(&recorded.envelope)
        else {
            return;
        };
        let mut units = self.units.write().unwrap_or_else(PoisonError::into_inner);
        for fix in fixes {
            let text = serde_json::to_string(&fix).unwrap_or_default().into();
            let position = UnitPosition { offset: recorded.position, at: fix.at, location: fix.location, text };
            match units.get_mut(&fix.unit_id) {
                // A late fix must not move a unit back.
                Some(known) if known.at > fix.at => {}
                Some(known) => *known = position,
                None => {
                    units.insert(fix.unit_id, position);
                }
            }
        }
    }

    /// What matches after `after`, at most a frame's worth; `None` when that lies before the ring.
    pub(crate) fn pull(&self, after: u64, filter: Filter) -> Option<Pulled> {
        let ring = self.ring();
        if after < ring.start {
            return None;
        }
        let first = ring.events.partition_point(|event| event.offset <= after);
        let mut pulled = Pulled { events: Vec::new(), to: after.max(ring.end), full: false };
        let mut bytes = 0;
        let mut before = after;
        for event in ring.events.range(first..) {
            if event.kind.meets(filter) {
                let over = bytes + event.text.len() > self.settings.frame_bytes;
                if pulled.events.len() >= self.settings.frame_events || (over && !pulled.events.is_empty()) {
                    return Some(Pulled { to: before, full: true, ..pulled });
                }
                bytes += event.text.len();
                pulled.events.push(Arc::clone(event));
            }
            before = event.offset;
        }
        pulled.full = pulled.events.len() >= self.settings.frame_events || bytes >= self.settings.frame_bytes;
        Some(pulled)
    }

    /// Whether more than `queue_events` or `queue_bytes` that match lie after `after`.
    pub(crate) fn overflows(&self, after: u64, filter: Filter) -> bool {
        let ring = self.ring();
        if after < ring.start {
            return true;
        }
        let first = ring.events.partition_point(|event| event.offset <= after);
        if ring.events.len() - first <= self.settings.queue_events && ring.bytes <= self.settings.queue_bytes {
            return false;
        }
        let (mut events, mut bytes) = (0, 0);
        for event in ring.events.range(first..).filter(|event| event.kind.meets(filter)) {
            events += 1;
            bytes += event.text.len();
            if events > self.settings.queue_events || bytes > self.settings.queue_bytes {
                return true;
            }
        }
        false
    }

    /// What matches in the next page of the log after `after`, for clients behind the ring.
    pub(crate) async fn page(&self, after: u64, filter: Filter) -> Result<Pulled, StoreError> {
        let seen = self.end();
        let events = self.feed.read_after(after, self.settings.page_events).await?;
        let full = events.len() >= self.settings.page_events;
        let last = events.last().map_or(after, |event| event.position);
        let events = events.into_iter().map(|e| Arc::new(Prepared::new(e))).filter(|e| e.kind.meets(filter)).collect();
        Ok(Pulled { events, to: if full { last } else { last.max(seen).max(after) }, full })
    }

    /// What matches after `after`, from the ring or from the log.
    pub(crate) async fn read(&self, after: u64, filter: Filter) -> Result<Pulled, StoreError> {
        match self.pull(after, filter) {
            Some(pulled) => Ok(pulled),
            None => self.page(after, filter).await,
        }
    }
}
