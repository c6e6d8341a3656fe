//! Holds every event of the log against the laws that the simulation checks too ([`shers_contract::laws`]),
//! while the house runs.
//!
//! The auditor reads the log from its beginning, so that it knows every story whole, and keeps what it knows
//! in memory. A log longer than [`Settings::audit_events`](crate::Settings) is more than that: then it says
//! that it stopped (`shers_laws_watched` is 0) and judges nothing it does not know whole.
//!
//! A broken law is counted (`shers_laws_broken_total`), written to the log of the process, and shown with the
//! auditor in the supervision tree, where the dashboard makes an alarm of it. What is owed to somebody and not
//! yet given is a figure (`shers_laws_owed`): some is normal, growing is not.

use shers_contract::laws::Laws;
use shers_runtime::{Deps, Life, Position};
use std::{collections::BTreeMap, time::Duration};

/// Events read at once.
const PAGE: usize = 500;
/// Wait after a read that failed, and between two counts of what is owed.
const PAUSE: Duration = Duration::from_secs(5);

/// Watches for ever. A life that ends begins again from the beginning of the log.
pub(crate) async fn run(deps: Deps, max_events: u64, life: Life) {
    let mut laws = Laws::default();
    let mut at: Position = 0;
    let mut head = deps.store.head();
    metrics::gauge!("shers_laws_watched").set(1.0);
    loop {
        if laws.events >= max_events {
            metrics::gauge!("shers_laws_watched").set(0.0);
            tracing::warn!(max_events, "the log is longer than the auditor may remember; the laws are not watched");
            return std::future::pending().await;
        }
        match deps.store.read_after(at, PAGE).await {
            Ok(page) => {
                for recorded in &page {
                    at = recorded.position;
                    for breach in laws.see(recorded.position, &recorded.envelope) {
                        metrics::counter!("shers_laws_broken_total", "law" => breach.law).increment(1);
                        tracing::error!(law = breach.law, subject = breach.subject, "a law is broken");
                        life.note(format!("a law is broken: {}: {}", breach.law, breach.subject));
                    }
                }
                if page.len() == PAGE {
                    tokio::task::yield_now().await;
                    continue;
                }
            }
            Err(error) => tracing::warn!(%error, "the auditor can't read the log; trying again"),
        }
        count_owed(&laws);
        deps.clock.sleep(PAUSE.mul_f64(deps.clock.speed().max(1.0))).await;
        if *head.borrow_and_update() <= at && head.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge")]
fn count_owed(laws: &Laws) {
    let mut owed: BTreeMap<&'static str, usize> = BTreeMap::new();
    for breach in laws.unsettled() {
        *owed.entry(breach.law).or_default() += 1;
    }
    for law in Laws::OWED {
        metrics::gauge!("shers_laws_owed", "law" => law).set(owed.get(law).copied().unwrap_or(0) as f64);
    }
}
