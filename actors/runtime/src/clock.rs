//! Time and ids as ports.

use futures::future::BoxFuture;
use shers_contract::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// Time. The only place where the house asks what time it is.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Resolves when `at` is reached, at once when it is past.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
    /// Resolves after `duration` of this clock's time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now().plus(duration))
    }
    /// How many seconds of this clock pass in one real second.
    fn speed(&self) -> f64 {
        1.0
    }
}

/// Ids and randomness.
pub trait Ids: Send + Sync + 'static {
    /// A UUIDv7 at `now`.
    fn uuid(&self, now: Timestamp) -> Uuid;
    /// 64 random bits, not zero.
    fn random(&self) -> u64;
}

/// The real clock, or a faster one for demo and drills. Driven by tokio's clock, so a test that pauses
/// that one owns this one too.
pub struct ScaledClock {
    started_at: Timestamp,
    started: tokio::time::Instant,
    speed: f64,
}

impl ScaledClock {
    /// A clock that shows `started_at` now and runs `speed` times as fast as the real one.
    #[must_use]
    pub fn new(started_at: Timestamp, speed: f64) -> Self {
        Self { started_at, started: tokio::time::Instant::now(), speed }
    }
    /// The real time at normal speed.
    #[must_use]
    pub fn real() -> Self {
        Self::new(system_now(), 1.0)
    }
}

/// The system's time. Everything else asks a [`Clock`].
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock that the others ask")]
pub fn system_now() -> Timestamp {
    Timestamp::from_ms(jiff::Timestamp::now().as_millisecond())
}

impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        if (self.speed - 1.0).abs() < f64::EPSILON {
            return self.started_at.plus(self.started.elapsed());
        }
        self.started_at.plus(self.started.elapsed().mul_f64(self.speed))
    }
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let wait = at.until_from(self.now()).div_f64(self.speed);
        Box::pin(tokio::time::sleep(wait))
    }
    fn speed(&self) -> f64 {
        self.speed
    }
}

/// Ids from the operating system's randomness.
pub struct SystemIds;

impl Ids for SystemIds {
    fn uuid(&self, now: Timestamp) -> Uuid {
        let mut random = [0u8; 10];
        // Without the system's randomness nothing here is safe; a zero filler still gives a unique time.
        let _ = getrandom::fill(&mut random);
        let ms = u64::try_from(now.as_ms()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }
    fn random(&self) -> u64 {
        getrandom::u64().unwrap_or(1).max(1)
    }
}
