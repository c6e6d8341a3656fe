//! The recent end of the log in memory, so that those who follow it do not read and parse it each for
//! themselves.

use shers_runtime::store::{Position, Recorded};
use std::{
    collections::VecDeque,
    sync::{PoisonError, RwLock},
};
use tokio::sync::watch;

pub(super) struct Tail {
    ring: RwLock<Ring>,
    head: watch::Sender<Position>,
    max_events: usize,
    max_bytes: usize,
}

struct Ring {
    events: VecDeque<Recorded>,
    bytes: usize,
    /// The ring holds everything after this position.
    complete_after: Position,
}

impl Tail {
    pub(super) fn new(last: Position, max_events: usize, max_bytes: usize) -> Self {
        let ring = RwLock::new(Ring { events: VecDeque::new(), bytes: 0, complete_after: last });
        Self { ring, head: watch::Sender::new(last), max_events, max_bytes }
    }

    pub(super) fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// Adds what was just committed and wakes the followers.
    pub(super) fn extend(&self, events: Vec<Recorded>) {
        let Some(last) = events.last().map(|r| r.position) else { return };
        {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            for recorded in events {
                ring.bytes += recorded.envelope.data.get().len();
                ring.events.push_back(recorded);
            }
            while ring.events.len() > self.max_events || ring.bytes > self.max_bytes {
                let Some(gone) = ring.events.pop_front() else { break };
                ring.bytes -= gone.envelope.data.get().len();
                ring.complete_after = gone.position;
            }
        }
        self.head.send_replace(last);
    }

    /// Holds nothing up to `last`, which was committed without being added here: who follows reads it from
    /// the database.
    pub(super) fn restart(&self, last: Position) {
        {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            ring.events.clear();
            ring.bytes = 0;
            ring.complete_after = last;
        }
        self.head.send_replace(last);
    }

    /// Events after `after`, if the ring holds them all.
    pub(super) fn after(&self, after: Position, limit: usize) -> Option<Vec<Recorded>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if after < ring.complete_after {
            return None;
        }
        let from = ring.events.partition_point(|r| r.position <= after);
        Some(ring.events.iter().skip(from).take(limit).cloned().collect())
    }
}
