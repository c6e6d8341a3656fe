//! The recent end of the log in memory, so that those who follow it do not read and parse it each for
//! themselves. What other processes wrote is filled in by the follower, so the ring never has a hole.

use shers_contract::routing::{PARTITIONS, partition};
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
    events: VecDeque<(Recorded, u16)>,
    bytes: usize,
    /// Position of the last event that went into the ring.
    last: Position,
    /// The ring holds everything after this position.
    complete_after: Position,
    /// For each partition: the ring holds everything of it after this position, and its last event's.
    of_partition: Vec<Extent>,
}

#[derive(Clone, Copy)]
struct Extent {
    complete_after: Position,
    last: Position,
}

/// Events could not be added, for others come between.
#[derive(Debug)]
pub(super) struct Hole;

fn partition_of(recorded: &Recorded) -> u16 {
    partition(&recorded.envelope.stream, recorded.envelope.correlation_id.as_ref())
}

impl Tail {
    pub(super) fn new(last: Position, max_events: usize, max_bytes: usize) -> Self {
        let extent = Extent { complete_after: last, last };
        let of_partition = vec![extent; usize::from(PARTITIONS)];
        let ring = Ring { events: VecDeque::new(), bytes: 0, last, complete_after: last, of_partition };
        Self { ring: RwLock::new(ring), head: watch::Sender::new(last), max_events, max_bytes }
    }

    pub(super) fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// Position of the last event that is known.
    pub(super) fn last(&self) -> Position {
        *self.head.borrow()
    }

    /// Adds events that follow `before` in the log without a gap, and wakes the followers. Those that are
    /// there already are passed over.
    pub(super) fn extend(&self, before: Position, events: Vec<Recorded>) -> Result<(), Hole> {
        let Some(last) = events.last().map(|r| r.position) else { return Ok(()) };
        let last = {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            if before > ring.last {
                return Err(Hole);
            }
            for recorded in events {
                ring.push(recorded);
            }
            ring.shrink(self.max_events, self.max_bytes);
            ring.last.max(last)
        };
        self.raise(last);
        Ok(())
    }

    /// Forgets what it holds and goes on after `last`: readers that are behind read from the database.
    pub(super) fn skip_to(&self, last: Position) {
        {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            if last <= ring.last {
                return;
            }
            ring.events.clear();
            ring.bytes = 0;
            ring.last = last;
            ring.complete_after = last;
            ring.of_partition.fill(Extent { complete_after: last, last });
        }
        self.raise(last);
    }

    fn raise(&self, last: Position) {
        self.head.send_if_modified(|head| {
            let higher = last > *head;
            if higher {
                *head = last;
            }
            higher
        });
    }

    /// Events after `after`, of one partition or all, if the ring holds them all.
    pub(super) fn after(&self, of: Option<u16>, after: Position, limit: usize) -> Option<Vec<Recorded>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let extent = match of {
            None => Extent { complete_after: ring.complete_after, last: ring.last },
            Some(p) => *ring.of_partition.get(usize::from(p))?,
        };
        if after < extent.complete_after {
            return None;
        }
        if after >= extent.last {
            return Some(Vec::new());
        }
        let from = ring.events.partition_point(|(r, _)| r.position <= after);
        let wanted = ring.events.iter().skip(from).filter(|(_, p)| of.is_none_or(|of| of == *p));
        Some(wanted.take(limit).map(|(r, _)| r.clone()).collect())
    }

    /// Takes note of all that the database held of a partition after `after`, asked for when `seen` was the
    /// head: a reader that has read that far need not ask again for what lies before the ring.
    pub(super) fn learn(&self, of: u16, after: Position, found: &[Recorded], seen: Position) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let Some(extent) = ring.of_partition.get_mut(usize::from(of)) else { return };
        if extent.complete_after > seen {
            return;
        }
        let before_the_ring = found.iter().rev().map(|r| r.position).find(|p| *p <= extent.complete_after);
        let from = before_the_ring.unwrap_or(after);
        if from < extent.complete_after {
            if extent.last <= extent.complete_after {
                extent.last = from;
            }
            extent.complete_after = from;
        }
    }
}

impl Ring {
    fn push(&mut self, recorded: Recorded) {
        if recorded.position <= self.last {
            return;
        }
        let partition = partition_of(&recorded);
        self.last = recorded.position;
        if let Some(extent) = self.of_partition.get_mut(usize::from(partition)) {
            extent.last = recorded.position;
        }
        self.bytes += recorded.envelope.data.get().len();
        self.events.push_back((recorded, partition));
    }

    fn shrink(&mut self, max_events: usize, max_bytes: usize) {
        while self.events.len() > max_events || self.bytes > max_bytes {
            let Some((gone, partition)) = self.events.pop_front() else { break };
            self.bytes -= gone.envelope.data.get().len();
            self.complete_after = gone.position;
            if let Some(extent) = self.of_partition.get_mut(usize::from(partition)) {
                extent.complete_after = gone.position;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shers_runtime::testing::mirror_suite::message;

    fn recorded(position: Position, partition: u16) -> Recorded {
        Recorded { position, envelope: message(&format!("readings/p{partition:02}"), position, "x", None) }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// This process commits events of these partitions, after so many of others that it has not heard of.
        Commit { unheard: Vec<u16>, own: Vec<u16> },
        /// The follower reads what it has not.
        Fill,
        /// The follower is too far behind.
        Skip,
        /// A reader of one partition or all asks.
        Read { of: Option<u16>, after: u64, limit: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let partitions = || proptest::collection::vec(0..3_u16, 0..4);
        let step = prop_oneof![
            3 => (partitions(), partitions()).prop_map(|(unheard, own)| Step::Commit { unheard, own }),
            2 => Just(Step::Fill),
            1 => Just(Step::Skip),
            8 => (proptest::option::of(0..3_u16), 0..60_u64, 1..6_usize)
                .prop_map(|(of, after, limit)| Step::Read { of, after, limit }),
        ];
        proptest::collection::vec(step, 1..80)
    }

    fn select(log: &[Recorded], of: Option<u16>, after: Position, to: Position, limit: usize) -> Vec<Position> {
        let wanted = log.iter().filter(|r| r.position > after && r.position <= to);
        let wanted = wanted.filter(|r| of.is_none_or(|of| of == partition_of(r)));
        wanted.map(|r| r.position).take(limit).collect()
    }

    fn fill(tail: &Tail, log: &[Recorded]) {
        let from = tail.last();
        let missing = log.iter().filter(|r| r.position > from).cloned().collect();
        tail.extend(from, missing).expect("no hole");
    }

    proptest! {
        /// Whatever was committed, filled in, skipped and evicted: a reader gets what the log holds up to the
        /// head, from the ring or from the database, and the ring never answers for what it does not hold.
        #[test]
        fn the_ring_answers_as_the_database_would(steps in steps(), capacity in 0..8_usize) {
            let mut log: Vec<Recorded> = Vec::new();
            let tail = Tail::new(0, capacity, usize::MAX);
            for step in steps {
                match step {
                    Step::Commit { unheard, own } => {
                        let next = |log: &[Recorded], p| recorded(log.len() as u64 + 1, p);
                        for p in unheard {
                            log.push(next(&log, p));
                        }
                        let before = log.len();
                        for p in own {
                            log.push(next(&log, p));
                        }
                        if tail.extend(before as u64, log[before..].to_vec()).is_err() {
                            fill(&tail, &log);
                        }
                    }
                    Step::Fill => fill(&tail, &log),
                    Step::Skip => tail.skip_to(log.len() as u64),
                    Step::Read { of, after, limit } => {
                        let head = tail.last();
                        if let Some(read) = tail.after(of, after, limit) {
                            let read: Vec<_> = read.iter().map(|r| r.position).collect();
                            prop_assert_eq!(read, select(&log, of, after, head, limit));
                        } else if let Some(of) = of {
                            // The database answers, and may know more than the ring has heard.
                            let found = select(&log, Some(of), after, u64::MAX, limit);
                            if found.len() < limit {
                                let found: Vec<_> = found.iter().map(|p| log[*p as usize - 1].clone()).collect();
                                tail.learn(of, after, &found, head);
                            }
                        }
                    }
                }
            }
        }
    }
}
