//! Triage: consumes readings, keeps one monitor per wearer, and says when a wearer's class changes
//! (`triage.status.*`, stream `triage/<patient>`), with everything needed to understand why.
//!
//! Invariants:
//! - Everything that is decided is decided in [`model`], from readings and the time they were received.
//! - An announcement commits together with the mark of the message that caused it and with the monitor
//!   as it is then, so an announcement happens once, also across a crash.
//! - Messages that announce nothing commit nothing. What they taught is found again after a restart:
//!   from the monitors' documents and the journal of readings up to the consumer's cursor.
//! - If a commit fails, every monitor it touched is put back before the messages are tried again.
//!
//! Collections: `triage.monitor` (one document per wearer), `triage.patient` (which score applies),
//! `triage.rules` (the thresholds in force).

mod desk;
mod endpoint;
pub mod model;
mod rebuild;

use crate::desk::{Desk, Job};
use serde::{Deserialize, Serialize};
use shers_runtime::{ConsumerOptions, Deps, Endpoint, StoreError, run_consumer, serve_local};
use std::{rc::Rc, sync::Arc, time::Duration};

/// Collections with one document a wearer: behind a broker each partition has its own, for its own wearers.
pub const COLLECTIONS_OF_WEARERS: &[&str] = &[desk::MONITORS, desk::SUBJECTS];

/// Configuration of the service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Readings folded before their announcements are committed, at most (a message is never split).
    pub group_readings: usize,
    /// Messages taken from the exchange at once.
    pub batch_messages: usize,
    /// Attempts before a message goes to the dead letters.
    pub max_attempts: u32,
    /// How often values past their life are looked for where no reading arrives, seconds.
    pub sweep_every_s: u64,
    /// How often the monitors that changed are stored, seconds. A restart reads the journal from there.
    pub snapshot_every_s: u64,
    /// Documents in one commit of a snapshot, at most.
    pub snapshot_chunk: usize,
    /// Envelopes of the journal read at a restart, at most.
    pub rebuild_envelopes: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// How long a request may wait for its answer, seconds.
    pub time_limit_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            group_readings: 4_000,
            batch_messages: 256,
            max_attempts: 8,
            sweep_every_s: 30,
            snapshot_every_s: 120,
            snapshot_chunk: 500,
            rebuild_envelopes: 50_000,
            queue: 256,
            time_limit_s: 10,
        }
    }
}

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be read.
    #[error("loading what triage knew before")]
    Store(#[from] StoreError),
    /// A stored document is not what this build writes.
    #[error("reading document {id:?} of {collection}")]
    Document {
        /// Where.
        collection: &'static str,
        /// Which.
        id: String,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
}

/// Starts triage on the current arbiter: loads the monitors, then consumes in the background.
///
/// # Errors
/// [`StartError`] when the store can't be read, or holds what this build can't understand.
pub async fn start(deps: Deps, settings: Settings) -> Result<Arc<dyn Endpoint>, StartError> {
    let state = rebuild::load(&deps, &settings).await?;
    let desk = Rc::new(Desk::new(deps.clone(), settings.clone(), state));
    let options = ConsumerOptions {
        batch: settings.batch_messages,
        max_attempts: settings.max_attempts,
        ..ConsumerOptions::default()
    };
    actix_rt::spawn(run_consumer(deps, Rc::clone(&desk) as Rc<dyn shers_runtime::Consumer>, options));
    every(&desk, "triage-sweep", settings.sweep_every_s, || Job::Sweep);
    every(&desk, "triage-snapshot", settings.snapshot_every_s, || Job::Snapshot);
    let time_limit = Duration::from_secs(settings.time_limit_s);
    Ok(serve_local(Rc::new(endpoint::Door { desk }), settings.queue, time_limit))
}

/// Gives the desk a chore again and again.
fn every(desk: &Rc<Desk>, name: &'static str, seconds: u64, chore: impl Fn() -> Job + 'static) {
    let keeper = desk.deps.keeper.clone();
    let (desk, chore) = (Rc::clone(desk), Rc::new(chore));
    keeper.spawn("chore", name, move |_| {
        let (desk, chore) = (Rc::clone(&desk), Rc::clone(&chore));
        async move {
            loop {
                desk.deps.clock.sleep(Duration::from_secs(seconds)).await;
                // The commit that failed is tried again with the next round.
                if let Err(failure) = desk.take(chore()).await {
                    tracing::warn!(?failure, "a chore of triage failed");
                }
            }
        }
    });
}

/// What this service hears of others, and reads of them from its own log.
#[must_use]
pub fn hears() -> Vec<shers_contract::routing::Pattern> {
    desk::patterns()
}
