//! What is remembered of one wearer's readings: which were seen lately, and where they lie in the journal.
//!
//! A reading is a repeat when one with the same fingerprint was recorded lately: same device, counter and
//! time; or, without a counter, the same time and the same values. (The time belongs to it because a
//! device's counter begins again after a reset.) A repeat is accepted and not recorded again.
//!
//! Both memories are bounded: the window of repeats by count, the history by count and by what the
//! journal still keeps.

use shers_contract::{Timestamp, vitals::Reading};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Recognises a repeat. `json` is the reading as it is written.
#[must_use]
pub fn fingerprint(reading: &Reading, json: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    match (&reading.device_id, reading.seq) {
        (Some(device), Some(seq)) => (device.as_str(), seq, reading.at).hash(&mut hasher),
        (None, _) | (_, None) => json.hash(&mut hasher),
    }
    hasher.finish()
}

/// Where a recorded reading lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When it was measured.
    pub at: Timestamp,
    /// Which reading of the envelope.
    pub fingerprint: u64,
    /// Position of its envelope, if the commit's positions have no gap.
    pub position: u64,
    /// Last position of its commit.
    pub last: u64,
    /// Envelopes in that commit.
    pub span: u32,
}

/// Bounds of the memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Readings in which a repeat is looked for.
    pub recent: usize,
    /// Readings in the history.
    pub history: usize,
}

/// One wearer's memory.
#[derive(Clone, Debug, Default)]
pub struct Track {
    recent: VecDeque<u64>,
    history: VecDeque<Entry>,
}

impl Track {
    /// Whether it was seen lately.
    #[must_use]
    pub fn has_seen(&self, fingerprint: u64) -> bool {
        let (front, back) = self.recent.as_slices();
        // Mostly the newest: a retry follows soon.
        back.contains(&fingerprint) || front.contains(&fingerprint)
    }

    /// Notes that it is being recorded.
    pub fn see(&mut self, fingerprint: u64, bounds: Bounds) {
        while self.recent.len() >= bounds.recent.max(1) {
            self.recent.pop_front();
        }
        self.recent.push_back(fingerprint);
    }

    /// It was not recorded after all.
    pub fn unsee(&mut self, fingerprint: u64) {
        if let Some(index) = self.recent.iter().rposition(|f| *f == fingerprint) {
            self.recent.remove(index);
        }
    }

    /// It is recorded: the newest of them stay in the history, in the order of their times.
    pub fn record(&mut self, entry: Entry, bounds: Bounds) {
        let index = self.history.iter().rposition(|e| e.at <= entry.at).map_or(0, |i| i + 1);
        if self.history.len() >= bounds.history.max(1) {
            if index == 0 {
                return;
            }
            self.history.pop_front();
            self.history.insert(index - 1, entry);
        } else {
            self.history.insert(index, entry);
        }
    }

    /// Takes in what the journal says of before a restart, newest first.
    pub fn remember(&mut self, entry: Entry, bounds: Bounds) {
        if self.history.iter().any(|e| e.at == entry.at && e.fingerprint == entry.fingerprint) {
            return;
        }
        if self.recent.len() < bounds.recent {
            self.recent.push_front(entry.fingerprint);
        }
        self.record(entry, bounds);
    }

    /// Forgets what the journal has dropped.
    pub fn forget_through(&mut self, position: u64) {
        self.history.retain(|entry| entry.last > position);
    }

    /// A page, newest first, with the cursor of the next one.
    #[must_use]
    pub fn page(&self, after: Option<Cursor>, limit: usize) -> (Vec<Entry>, Option<Cursor>) {
        let after = after.unwrap_or(Cursor { at: Timestamp::from_ms(i64::MAX), given: 0 });
        let mut skip = after.given;
        let older = self.history.iter().rev().filter(|entry| {
            if entry.at == after.at && skip > 0 {
                skip -= 1;
                return false;
            }
            entry.at <= after.at
        });
        let mut entries: Vec<Entry> = older.take(limit.saturating_add(1)).copied().collect();
        if entries.len() <= limit {
            return (entries, None);
        }
        entries.truncate(limit);
        let next = entries.last().map(|last| {
            let here = entries.iter().filter(|e| e.at == last.at).count();
            let before = if last.at == after.at { after.given } else { 0 };
            Cursor { at: last.at, given: before + here }
        });
        (entries, next)
    }
}

/// Where a page of the history ended: a time, and how many readings of just that time were given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    at: Timestamp,
    given: usize,
}

impl Cursor {
    /// Reads the text of a cursor.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (at, given) = text.split_once('_')?;
        Some(Self { at: Timestamp::from_ms(at.parse().ok()?), given: given.parse().ok()? })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.at.as_ms(), self.given)
    }
}
