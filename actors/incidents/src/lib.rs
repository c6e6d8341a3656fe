//! The incidents service (events manager): opens an incident from triage's emergencies and from calls of
//! people, joins further calls of the same patient to it, escalates until somebody looks, sends its
//! commands to dispatch, notification and billing, and ends it.
//!
//! - [`model`] is pure: the incident's states and invariants.
//! - `process` brings other services' events to the incident, `endpoint` the requests of people.
//! - `projection` keeps the little that is needed of patients and units.
//!
//! Invariant of this crate: one open incident a patient, whatever is delivered twice or at once.

pub mod model;

mod endpoint;
mod process;
mod projection;
mod settings;

pub use settings::Settings;

use model::Incident;
use shers_contract::incident::IncidentEvent;
use shers_runtime::{
    ConsumerOptions, Deps, Directory, DirectoryOptions, Endpoint, KeeperOptions, StoreError, run_consumer, serve_local,
};
use std::{cell::RefCell, collections::HashSet, rc::Rc, sync::Arc};

/// The service could not start.
#[derive(Debug, thiserror::Error)]
#[error("loading the open incidents")]
pub struct StartError(#[from] StoreError);

/// Starts the service on the current arbiter.
///
/// # Errors
/// The store can't be read.
pub async fn start(deps: Deps, settings: Settings) -> Result<Arc<dyn Endpoint>, StartError> {
    let directory = Directory::new(
        deps.clone(),
        DirectoryOptions { performer: Rc::new(()), observer: Some(observer()), keeper: KeeperOptions::default() },
    );
    let open = directory.load_open().await?;
    tracing::info!(incidents.open = open, "incidents are loaded");
    let desk = Rc::new(process::Desk::new(deps.clone(), directory, settings.clone()));
    actix_rt::spawn(run_consumer(deps, Rc::new(process::Ear(Rc::clone(&desk))), ConsumerOptions::default()));
    let door = Rc::new(endpoint::Door(desk));
    Ok(serve_local(door, settings.max_waiting_requests, settings.request_limit()))
}

/// Counts incidents for the metrics.
fn observer() -> shers_runtime::aggregate::Observer<Incident> {
    let open: RefCell<HashSet<String>> = RefCell::default();
    Rc::new(move |id, incident, _version, events| {
        let opened = events.iter().filter(|event| matches!(event, IncidentEvent::Opened(_))).count();
        metrics::counter!("shers_incidents_opened_total").increment(u64::try_from(opened).unwrap_or(0));
        let mut open = open.borrow_mut();
        if incident.is_open() {
            open.insert(id.to_owned());
        } else {
            open.remove(id);
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
        metrics::gauge!("shers_incidents_open").set(open.len() as f64);
    })
}

/// What this service hears of others, and reads of them from its own log.
#[must_use]
pub fn hears() -> Vec<shers_contract::routing::Pattern> {
    process::patterns()
}
