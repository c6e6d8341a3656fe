//! The events stream's read side: it hears everything and keeps the documents that lists and single reads
//! are answered from. Live delivery to clients reads the same log and is the web layer's.
//!
//! One [`Projector`](projector) folds all events into documents on the service's arbiter; queries only
//! read the store, so they run on whatever thread asks. Invariants:
//! - The documents are a function of the log: delete them and the cursors, and they come again.
//! - A repeat changes nothing (see [`model`]); documents and the projector's position commit together.
//! - A query answers with at least what was in the log when it was asked, or after
//!   `freshness_wait_ms` with what there is.

mod auditor;
mod cache;
pub mod model;
mod projector;
mod queries;
mod retention;

use model::area::Areas;
use model::kpi::Targets;
use projector::Projector;
use serde::{Deserialize, Serialize};
use shers_runtime::{Deps, Endpoint, StoreError};
use std::{rc::Rc, sync::Arc};

/// Settings of the service. Times are real time, also when the clock of a demo runs faster, save where it
/// says otherwise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Deliveries that are folded into one commit, at most.
    pub batch: usize,
    /// Documents kept in memory, at most. One takes 1 to 4 kB.
    pub cache_documents: usize,
    /// A unit's position is written at most this often, in milliseconds.
    pub location_write_interval_ms: u64,
    /// How long a query waits for the read models to catch up with the log, in milliseconds.
    pub freshness_wait_ms: u64,
    /// Items of a page when none are asked for.
    pub default_page: usize,
    /// Items of a page, at most.
    pub max_page: usize,
    /// Ended incidents, settled bills and notifications leave the read models after so many days (of the
    /// house's clock). The log keeps them.
    pub retention_days: u32,
    /// How often the old are looked for, in seconds.
    pub retention_interval_s: u64,
    /// The auditor watches over the laws of a log of at most so many events, in memory; 0: not at all. It
    /// needs the whole log in one order, which a service behind a broker does not have.
    pub audit_events: u64,
    /// Figures are made from so many of the newest incidents, at most.
    pub kpi_window: usize,
    /// Targets of the figures.
    pub targets: Targets,
    /// Areas they are reported for.
    pub areas: Areas,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch: 512,
            cache_documents: 8_192,
            location_write_interval_ms: 1_000,
            freshness_wait_ms: 500,
            default_page: 100,
            max_page: 500,
            retention_days: 30,
            retention_interval_s: 3_600,
            audit_events: 500_000,
            kpi_window: 10_000,
            targets: Targets::default(),
            areas: Areas::default(),
        }
    }
}

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its position could not be read.
    #[error("reading the position of the read models")]
    Store(#[from] StoreError),
}

/// Starts the service on the current arbiter and returns its door.
///
/// # Errors
/// The store can't be read.
pub async fn start(deps: Deps, settings: Settings) -> Result<Arc<dyn Endpoint>, StartError> {
    // Whatever the exchange has seen settled is in the documents, also events that changed none.
    let position = deps.store.cursor(projector::POSITION).await?;
    let position = position.max(deps.store.cursor(projector::SUBSCRIPTION).await?);
    let store = Arc::clone(&deps.store);
    let projector = Rc::new(Projector::new(deps.clone(), settings.clone(), position));
    let followed = projector.position();
    let (keeper, audited) = (deps.keeper.clone(), deps);
    let of = Rc::clone(&projector);
    if settings.audit_events > 0 {
        let (of, max_events) = (audited, settings.audit_events);
        keeper.spawn("auditor", "laws", move |life| auditor::run(of.clone(), max_events, life));
    }
    keeper.spawn("projector", "stream", move |life| projector::run(Rc::clone(&of), life));
    let of = Rc::clone(&projector);
    keeper.spawn("chore", "stream-positions", move |_| projector::write_positions(Rc::clone(&of)));
    keeper.spawn("chore", "stream-retention", move |_| retention::run(Rc::clone(&projector)));
    Ok(Arc::new(queries::Queries::new(store, followed, settings)))
}

#[cfg(test)]
mod tests;
