//! What goes wrong, how often, and whether the process lives.
//!
//! One [`Life`] stands for one process. When it ends nothing of it may touch the world any more, although
//! some of its futures may still be polled: its store never answers again.

use std::sync::atomic::{AtomicBool, Ordering};

/// How often things go wrong, in a thousand occasions each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A commit is refused; nothing is stored.
    pub commit_refused: u64,
    /// A commit's outcome is unknown; half of these are stored.
    pub commit_unknown: u64,
    /// A read fails.
    pub read_fails: u64,
    /// An outage of the store begins, for each second of the city; most commits fail while it lasts.
    pub outage: u64,
    /// A delivery comes again, later.
    pub repeated: u64,
    /// A delivery waits, and what belongs to the same story behind it; others overtake it.
    pub delayed: u64,
    /// The settlement of a delivery is lost, so that it comes again.
    pub settlement_lost: u64,
    /// A gateway hangs, lies or refuses.
    pub gateway: u64,
    /// An actor is killed, for each second of the city.
    pub crash: u64,
    /// The process is killed, for each second of the city.
    pub restart: u64,
}

impl Faults {
    /// Everything goes well.
    pub const NONE: Self = Self {
        commit_refused: 0,
        commit_unknown: 0,
        read_fails: 0,
        outage: 0,
        repeated: 0,
        delayed: 0,
        settlement_lost: 0,
        gateway: 0,
        crash: 0,
        restart: 0,
    };
}

/// One life of the process.
#[derive(Debug)]
pub struct Life(AtomicBool);

impl Default for Life {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Life {
    /// Whether the process lives.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
    /// Ends it.
    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Faults as they are set now, for all who do wrong.
#[derive(Debug)]
pub struct Dial(std::sync::Mutex<(Faults, bool)>);

impl Dial {
    /// A dial set to `faults`.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self(std::sync::Mutex::new((faults, false)))
    }
    /// The faults in force.
    #[must_use]
    pub fn now(&self) -> Faults {
        self.lock().0
    }
    /// Whether the store is out.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.lock().1
    }
    /// Sets other faults.
    pub fn set(&self, faults: Faults) {
        self.lock().0 = faults;
    }
    /// Begins or ends an outage of the store.
    pub fn set_out(&self, out: bool) {
        self.lock().1 = out;
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, (Faults, bool)> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
