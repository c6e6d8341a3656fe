//! Dispatch: the fleet, which unit goes where, and when it arrives.
//!
//! Takes `command.dispatch.*`, fleet requests and positions; owns units, the waiting list, hospitals and
//! stations; gives `unit.*`, `dispatch.*` and `hospital.updated`.
//!
//! Invariants:
//! - No unit is ever on two incidents: the unit's own aggregate refuses, and its stream's version check
//!   stands behind that.
//! - An incident that asked for a unit either has one or stands in the waiting list, which is in the log;
//!   the list is served by priority, then age.
//! - Every choice says why in one sentence, and names who computed the times.
//!
//! [`model`] is pure; [`gateway`] is the outside (drive times); the rest is shell and runs on one arbiter.

mod book;
mod consumer;
mod crew;
mod desk;
mod diversion;
mod door;
mod eta;
pub mod gateway;
mod joint;
pub mod model;
mod off_route;
mod orders;
mod recommending;
mod settings;
mod tracking;

pub use eta::{EtaSettings, EtaSettingsError, Provider};
pub use recommending::{Found, closest};
pub use settings::Settings;

use crate::book::{Bell, Book, Ground, hospital_observer, unit_observer, wait_observer};
use crate::consumer::DeskConsumer;
use crate::desk::Desk;
use crate::door::{Door, STATIONS};
use crate::gateway::EtaSource;
use crate::model::hospital::HospitalFile;
use crate::model::unit::Unit;
use crate::model::wait::Wait;
use crate::tracking::Journal;
use shers_contract::care::Station;
use shers_runtime::aggregate::Observer;
use shers_runtime::{
    Aggregate, ConsumerOptions, Deps, Directory, DirectoryOptions, Endpoint, KeeperOptions, NoEffect, StoreError,
    run_consumer, serve_local,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Stations read at once at start.
const PAGE: usize = 500;

/// Why the service can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it left behind can't be read.
    #[error("starting dispatch: reading its units, waiting list and positions")]
    Store(#[from] StoreError),
    /// Its settings of drive times mean no source.
    #[error("starting dispatch: choosing the source of drive times")]
    Eta(#[from] EtaSettingsError),
}

/// Starts the service on the current arbiter. `built_in` gives drive times when the settings name nobody
/// else, and whenever the one they name does not answer.
///
/// # Errors
/// When the store can't be read, or the settings of drive times mean no source.
pub async fn start(
    deps: Deps,
    settings: Settings,
    built_in: Arc<dyn EtaSource>,
) -> Result<Arc<dyn Endpoint>, StartError> {
    let eta = settings.eta.source(built_in, Arc::clone(&deps.clock))?;
    let book = Rc::new(RefCell::new(Book::default()));
    let bell = Rc::new(Bell::default());
    let ground =
        Rc::new(Ground { eta: Arc::clone(&eta), clock: Arc::clone(&deps.clock), stale_ms: settings.stale_ms() });
    if let Some(standing) = eta.standing() {
        // What an earlier life left there.
        standing.clear();
    }
    let units = directory::<Unit>(&deps, unit_observer(&book, &bell, &ground));
    let waits = directory::<Wait>(&deps, wait_observer(&book));
    let hospitals = directory::<HospitalFile>(&deps, hospital_observer(&book));
    let unit_count = units.load_open().await?;
    let waiting_count = waits.load_open().await?;
    let hospital_count = hospitals.load_open().await?;

    let (queue, time_limit) = (settings.queue, settings.time_limit());
    let journal = Journal::new(deps.clone(), settings.max_fixes_per_event);
    let desk =
        Rc::new(Desk { deps: deps.clone(), settings, eta, units, waits, book, bell, ground, turn: Mutex::new(()) });
    load_stations(&desk).await?;
    desk.ground.stand_all(&desk.book.borrow().fleet);
    desk.recall_positions().await?;
    desk.recall_waiting().await?;
    tracing::info!(units = unit_count, waiting = waiting_count, hospitals = hospital_count, "dispatch is ready");

    desk.bell.ring();
    let of = Rc::clone(&desk);
    deps.keeper.spawn("desk", "dispatch", move |_| Rc::clone(&of).serve_for_ever());
    let of = Rc::clone(&desk);
    deps.keeper.spawn("chore", "dispatch-positions", move |_| Rc::clone(&of).prune_for_ever());
    let consumer = Rc::new(DeskConsumer { desk: Rc::clone(&desk) });
    actix_rt::spawn(run_consumer(deps, consumer, ConsumerOptions::default()));
    Ok(serve_local(Rc::new(Door { desk, hospitals, journal }), queue, time_limit))
}

fn directory<A: Aggregate<Effect = NoEffect>>(deps: &Deps, observer: Observer<A>) -> Directory<A> {
    let options =
        DirectoryOptions { performer: Rc::new(()), observer: Some(observer), keeper: KeeperOptions::default() };
    Directory::new(deps.clone(), options)
}

async fn load_stations(desk: &Desk) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = desk.deps.store.documents(STATIONS, &[], after, PAGE).await?;
        let mut book = desk.book.borrow_mut();
        for document in &page {
            let station: Station = serde_json::from_str(&document.doc)
                .map_err(|error| StoreError(format!("station {}: {error}", document.id)))?;
            book.fleet.place_station(station.station_id, station.location);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some((last.rank, last.id.clone())),
            Some(_) | None => return Ok(()),
        }
    }
}

/// What this service hears of others, and reads of them from its own log.
#[must_use]
pub fn hears() -> Vec<shers_contract::routing::Pattern> {
    consumer::patterns()
}
