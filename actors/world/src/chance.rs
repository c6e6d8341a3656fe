//! Chance from a seed (SplitMix64): the same seed gives the same choices for ever, on every machine.

use shers_contract::Timestamp;
use shers_runtime::Ids;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use uuid::Uuid;

/// A source of choices.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The choices of `seed` for one purpose; purposes do not disturb each other.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut state = seed.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(0x9E37_79B9_7F4A_7C15);
        for byte in purpose.bytes() {
            state = mixed(state ^ u64::from(byte));
        }
        Self(state)
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }
    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.bits() % n }
    }
    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }
    /// True `n` times in a thousand.
    pub fn in_thousand(&mut self, n: u64) -> bool {
        self.below(1000) < n
    }
    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(choices.len() as u64)).unwrap_or(0);
        choices.get(index)
    }
}

fn mixed(bits: u64) -> u64 {
    let z = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Chance that several owners on one thread share.
pub struct Shared(Mutex<Chance>);

impl Shared {
    /// See [`Chance::new`].
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(Mutex::new(Chance::new(seed, purpose)))
    }
    /// Makes choices.
    pub fn with<T>(&self, choose: impl FnOnce(&mut Chance) -> T) -> T {
        choose(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ids of a seed, in the order in which they are asked for.
pub struct SeededIds {
    seed: u64,
    next: AtomicU64,
}

impl SeededIds {
    /// The ids of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(0) }
    }
    fn next(&self) -> u64 {
        mixed(self.seed ^ mixed(self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Ids for SeededIds {
    fn uuid(&self, now: Timestamp) -> Uuid {
        let mut random = [0_u8; 10];
        for (to, from) in random.iter_mut().zip(self.next().to_be_bytes().into_iter().chain(self.next().to_be_bytes()))
        {
            *to = from;
        }
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.as_ms()).unwrap_or(0), &random).into_uuid()
    }
    fn random(&self) -> u64 {
        self.next().max(1)
    }
}
