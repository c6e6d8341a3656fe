//! What the tests of the real binary share: starting and ending it, asking it over HTTP and the
//! websocket, a small world of patients and units, and waiting for conditions with a deadline.
//!
//! No process outlives its [`Server`]: dropping it kills and reaps. Nothing here waits for a fixed time;
//! [`eventually`] looks again until a condition holds, and fails at its deadline with what was last seen.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]

pub mod client;
pub mod cluster;
pub mod driver;
pub mod gateway;
pub mod invariants;
pub mod ledger;
pub mod server;
pub mod socket;
pub mod story;
pub mod stub;
pub mod world;

pub use client::{Answer, Client};
pub use ledger::Event;
pub use server::{Server, Start};
pub use socket::Socket;

use std::time::{Duration, Instant};

/// The administrator's token of every server here.
pub const TOKEN: &str = "token-for-tests-0123456789abcdef0123456789abcdef";
/// Longest wait for anything that should come soon.
pub const SOON: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks at `probe` until it gives `Ok`; fails with the last `Err` after `limit`.
pub async fn eventually_within<T>(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(last) if Instant::now() >= deadline => panic!("{what}: not within {limit:?}; last seen: {last}"),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// [`eventually_within`] the usual time.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    eventually_within(SOON, what, probe).await
}

/// Runs a test on its own runtime, at most so long.
pub fn run<T>(limit: Duration, test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(limit, test).await.expect("the test ends in time") })
}

/// The seed of a seeded test: `SHERS_SEED`, or `default`. Printed, so that a failure can be replayed.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("SHERS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    println!("seed {seed} (replay with SHERS_SEED={seed})");
    seed
}

/// SplitMix64: enough randomness to choose moments, the same on every machine.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }
}
