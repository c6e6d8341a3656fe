//! Wearable: patients, their devices, and the readings those send.
//!
//! Gives `patient.{registered,updated}` (stream `patient/<id>`) and `wearable.reading.recorded`, many
//! readings an envelope, in the journals `readings/pNN` that keep a bounded history.
//!
//! Invariants:
//! - A 202 means durable. A bad reading never costs a good one of the same body.
//! - `POST /vitals` is read and checked on the caller's thread; one writer commits for all.
//! - A reading that is sent again is accepted and recorded once, as far back as the window of repeats
//!   reaches (per wearer, [`Settings::recent_per_patient`]). Out of order is in order here.
//! - Whatever can be decided without I/O is decided in [`model`].
//!
//! Collections: `wearable.patient`, `wearable.device`.

pub mod formats;
mod history;
mod intake;
pub mod model;
mod records;
mod wearers;
mod writer;

use crate::model::track::Bounds;
use crate::records::PATIENTS;
use crate::wearers::Wearers;
use crate::writer::{InTray, Submission, Writer};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use shers_contract::{
    PatientId, Problem,
    api::{Call, Reply, Request},
};
use shers_runtime::{Clock, Deps, Endpoint, Ids, Store, StoreError};
use std::{rc::Rc, sync::Arc};
use tokio::sync::mpsc;

/// Configuration of the service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Journals that readings are spread over by patient: 1 in one process, 16 behind a broker.
    pub partitions: u16,
    /// Readings in one body, at most.
    pub max_readings_per_body: usize,
    /// A reading further in the future is refused, seconds.
    pub future_limit_s: u32,
    /// A reading further in the past is refused, seconds.
    pub past_limit_s: u32,
    /// Readings in one envelope, at most.
    pub envelope_readings: usize,
    /// Readings in one commit, at most (a request is never split).
    pub commit_readings: usize,
    /// Requests that may wait to be written.
    pub queue: usize,
    /// Readings per patient among which a repeat is recognised.
    pub recent_per_patient: usize,
    /// Readings per patient in the history.
    pub history_per_patient: usize,
    /// Envelopes from which the history is found again after a restart, at most.
    pub recall_envelopes: usize,
    /// How long readings are kept, seconds.
    pub retention_s: u64,
    /// How often older ones are dropped, seconds.
    pub prune_every_s: u64,
    /// Readings on a page of the history when none is asked for.
    pub page_default: usize,
    /// Readings on a page of the history, at most.
    pub page_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            partitions: 1,
            max_readings_per_body: 10_000,
            future_limit_s: 5 * 60,
            past_limit_s: 7 * 24 * 3600,
            envelope_readings: 100,
            commit_readings: 5_000,
            queue: 4_096,
            recent_per_patient: 128,
            history_per_patient: 1_000,
            recall_envelopes: 20_000,
            retention_s: 24 * 3600,
            prune_every_s: 600,
            page_default: 50,
            page_max: 500,
        }
    }
}

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be read.
    #[error("loading patients and readings")]
    Store(#[from] StoreError),
}

/// What all threads share.
struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    settings: Settings,
    wearers: Arc<Wearers>,
    submit: mpsc::Sender<Submission>,
    devices: tokio::sync::Mutex<()>,
}

/// Patients read at once when starting.
const PATIENTS_PAGE: usize = 1_000;

/// Starts the service on the current arbiter. Its endpoint does most of the work on the caller's thread.
///
/// # Errors
/// [`StartError`] when the store can't be read.
pub async fn start(deps: Deps, settings: Settings) -> Result<Arc<dyn Endpoint>, StartError> {
    let bounds = Bounds { recent: settings.recent_per_patient, history: settings.history_per_patient };
    let wearers = Arc::new(Wearers::new(settings.partitions, bounds));
    let (submit, queue) = mpsc::channel(settings.queue.max(1));
    let writer = Writer {
        store: Arc::clone(&deps.store),
        clock: Arc::clone(&deps.clock),
        ids: Arc::clone(&deps.ids),
        wearers: Arc::clone(&wearers),
        envelope_readings: settings.envelope_readings,
        commit_readings: settings.commit_readings,
    };
    let keeper = deps.keeper;
    let shared = Arc::new(Shared {
        store: deps.store,
        clock: deps.clock,
        ids: deps.ids,
        settings,
        wearers,
        submit,
        devices: tokio::sync::Mutex::new(()),
    });
    load_patients(&shared).await?;
    let before = history::recall_newest(&shared).await?;
    actix_rt::spawn(history::recall_rest(Arc::clone(&shared), before));
    let of = Arc::clone(&shared);
    keeper.spawn("chore", "wearable-retention", move |_| history::prune(Arc::clone(&of)));
    // What waits outlives each life of the writer.
    let (writer, tray) = (Rc::new(writer), Rc::new(tokio::sync::Mutex::new(InTray::new(queue))));
    keeper.spawn("writer", "readings", move |life| {
        let (writer, tray) = (Rc::clone(&writer), Rc::clone(&tray));
        async move { writer.run(&mut *tray.lock().await, life).await }
    });
    Ok(Arc::new(Door { shared }))
}

async fn load_patients(shared: &Shared) -> Result<(), StartError> {
    let mut after = None;
    loop {
        let page = shared.store.documents(PATIENTS, &[], after, PATIENTS_PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some((last.rank, last.id.clone()));
        for id in page.iter().filter_map(|document| PatientId::new(&document.id).ok()) {
            shared.wearers.add(&id);
        }
    }
}

/// Answers on whatever thread asks.
struct Door {
    shared: Arc<Shared>,
}

impl Endpoint for Door {
    fn call(&self, mut call: Call) -> BoxFuture<'static, Reply> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let request = std::mem::replace(&mut call.request, Request::GetRules);
            match request {
                Request::RecordVitals { body, format } => intake::record_vitals(&shared, call, &body, format).await,
                Request::PutPatient(patient) => records::put(&shared, &call, &patient).await,
                Request::GetPatient(id) => records::get(&shared, &id).await,
                Request::GetVitals(id, page) => history::page(&shared, &id, &page).await,
                Request::PutDevice(device) => records::put_device(&shared, &device, call.if_match).await,
                Request::GetDevice(id) => records::get_device(&shared, &id).await,
                other => Err(Problem::not_found("such request at wearable", other.service().as_str())),
            }
        })
    }
}
