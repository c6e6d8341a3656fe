//! Limits that need memory: request rates, idempotency keys in hand, open streams.

use crate::problem::{Refused, too_many};
use shers_contract::Problem;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::Instant;

/// Principals remembered by the rate limit; beyond it those with a full bucket are forgotten.
const REMEMBERED: usize = 10_000;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One token bucket per principal.
pub(crate) struct Rates {
    per_s: f64,
    burst: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// `per_s` sustained, `burst` at once; 0 a second means no limit.
    pub(crate) fn new(per_s: u32, burst: u32) -> Self {
        Self { per_s: f64::from(per_s), burst: f64::from(burst.max(1)), buckets: Mutex::default() }
    }

    /// Takes one token of `subject`'s bucket.
    pub(crate) fn take(&self, subject: &str, now: Instant) -> Result<(), Refused> {
        if self.per_s <= 0.0 {
            return Ok(());
        }
        let mut buckets = lock(&self.buckets);
        if !buckets.contains_key(subject) {
            if buckets.len() >= REMEMBERED {
                buckets.retain(|_, b| self.filled(*b, now) < self.burst);
            }
            buckets.insert(subject.to_owned(), Bucket { tokens: self.burst, at: now });
        }
        let Some(bucket) = buckets.get_mut(subject) else { return Ok(()) };
        let tokens = self.filled(*bucket, now);
        if tokens < 1.0 {
            let wait_s = ((1.0 - tokens) / self.per_s).ceil().max(1.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at least 1, at most a bucket's filling time"
            )]
            let wait_s = wait_s as u64;
            return Err(too_many(format!("more than {} requests a second", self.per_s), wait_s));
        }
        *bucket = Bucket { tokens: tokens - 1.0, at: now };
        Ok(())
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        since.mul_add(self.per_s, bucket.tokens).min(self.burst)
    }
}

/// Idempotency keys whose requests are running.
#[derive(Default)]
pub(crate) struct InHand(Arc<Mutex<HashSet<String>>>);

/// Holds a key until the request is answered.
pub(crate) struct Held {
    keys: Arc<Mutex<HashSet<String>>>,
    key: String,
}

impl InHand {
    /// Holds `key`, or says that its request still runs.
    pub(crate) fn hold(&self, key: &str) -> Result<Held, Problem> {
        if lock(&self.0).insert(key.to_owned()) {
            return Ok(Held { keys: Arc::clone(&self.0), key: key.to_owned() });
        }
        Err(Problem::still_running())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.keys).remove(&self.key);
    }
}

/// Counts open streams, in all and per principal.
pub(crate) struct Streams {
    counts: Arc<Mutex<HashMap<String, usize>>>,
    total: usize,
    per_principal: usize,
}

/// One open stream; dropping it closes the count.
pub(crate) struct Seat {
    counts: Arc<Mutex<HashMap<String, usize>>>,
    subject: String,
}

impl Streams {
    pub(crate) fn new(total: usize, per_principal: usize) -> Self {
        Self { counts: Arc::default(), total, per_principal }
    }

    /// Takes a seat for `subject`, or says which limit is reached.
    pub(crate) fn seat(&self, subject: &str) -> Result<Seat, Refused> {
        let mut counts = lock(&self.counts);
        let all: usize = counts.values().sum();
        let own = counts.get(subject).copied().unwrap_or(0);
        if all >= self.total {
            return Err(too_many(format!("{} streams are open, which is the limit of this server", self.total), 5));
        }
        if own >= self.per_principal {
            return Err(too_many(format!("you have {own} streams open, which is the limit"), 5));
        }
        counts.insert(subject.to_owned(), own + 1);
        drop(counts);
        metrics::gauge!("shers_streams_open").increment(1.0);
        Ok(Seat { counts: Arc::clone(&self.counts), subject: subject.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        match counts.get_mut(&self.subject) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                counts.remove(&self.subject);
            }
        }
        metrics::gauge!("shers_streams_open").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_empties_and_fills_again_for_each_principal_alone() {
        let rates = Rates::new(2, 3);
        let now = Instant::now();
        let taken = |subject: &str, at| (0..5).filter(|_| rates.take(subject, at).is_ok()).count();
        assert_eq!(taken("a", now), 3);
        assert_eq!(taken("b", now), 3);
        assert_eq!(taken("a", now + Duration::from_secs(1)), 2);
        assert_eq!(taken("a", now + Duration::from_secs(60)), 3);
        let refused = rates.take("a", now + Duration::from_secs(60)).expect_err("empty");
        assert_eq!((refused.problem.status, refused.headers.len()), (429, 1));
    }

    #[test]
    fn a_key_in_hand_is_refused_until_its_request_ends() {
        let keys = InHand::default();
        let held = keys.hold("k").expect("free");
        assert_eq!(keys.hold("k").err().map(|p| p.status), Some(409));
        drop(held);
        assert!(keys.hold("k").is_ok());
    }

    #[test]
    fn seats_are_limited_per_principal_and_in_all_and_come_back() {
        let streams = Streams::new(3, 2);
        let seats: Vec<_> = ["a", "a", "b"].iter().map(|s| streams.seat(s).expect("free")).collect();
        assert!(streams.seat("c").is_err());
        drop(seats);
        let _one = (streams.seat("a").expect("free"), streams.seat("a").expect("free"));
        assert!(streams.seat("a").is_err());
        assert!(streams.seat("b").is_ok());
    }
}
