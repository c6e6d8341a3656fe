//! What the service holds in memory on its arbiter: the fleet, the queue, hospitals. All of it is rebuilt
//! from the log at start; observers keep it up to date with every commit.

use crate::gateway::EtaSource;
use crate::model::desk::Queue;
use crate::model::fleet::Fleet;
use crate::model::hospital::HospitalFile;
use crate::model::unit::Unit;
use crate::model::wait::Wait;
use shers_contract::{HospitalId, IncidentId, LatLon, Timestamp, UnitId, care::Hospital, incident::CallSource};
use shers_runtime::{Clock, aggregate::Observer};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// The way a unit is expected to take.
pub(crate) struct Way {
    pub incident_id: IncidentId,
    pub to: LatLon,
    pub points: Vec<LatLon>,
}

/// The service's memory.
#[derive(Default)]
pub(crate) struct Book {
    pub fleet: Fleet,
    pub queue: Queue,
    pub hospitals: BTreeMap<HospitalId, Hospital>,
    /// Version of each waiting incident's stream: one episode of waiting is served once.
    pub wait_versions: HashMap<IncidentId, u64>,
    /// When each unit's arrival was last computed.
    pub eta_asked: HashMap<UnitId, Timestamp>,
    /// The way each driving unit is expected to take, with what it drives to.
    pub ways: HashMap<UnitId, Way>,
    /// Where the first call of an incident came from, as far as a rule asked for it.
    pub sources: HashMap<IncidentId, CallSource>,
}

/// Brings the fleet onto the map of the source of drive times, as far as that keeps where units stand.
pub(crate) struct Ground {
    pub eta: Arc<dyn EtaSource>,
    pub clock: Arc<dyn Clock>,
    pub stale_ms: i64,
}

impl Ground {
    /// A unit may have moved.
    pub(crate) fn stand(&self, fleet: &Fleet, unit: &UnitId) {
        if let Some(standing) = self.eta.standing() {
            standing.stand(unit, fleet.place_of(unit, self.clock.now(), self.stale_ms));
        }
    }

    /// Anybody may have moved.
    pub(crate) fn stand_all(&self, fleet: &Fleet) {
        for (unit, _) in fleet.units() {
            self.stand(fleet, unit);
        }
    }

    /// Moves those whose last fix went stale since.
    pub(crate) fn refresh(&self, fleet: &mut Fleet) {
        for unit in fleet.gone_stale(self.clock.now(), self.stale_ms) {
            self.stand(fleet, &unit);
        }
    }
}

/// Tells the desk that somebody may have become free.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Cell<bool>,
    notify: Notify,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rung.set(true);
        self.notify.notify_one();
    }
    /// Whether it rang since the last time somebody asked.
    pub(crate) fn take(&self) -> bool {
        self.rung.replace(false)
    }
    pub(crate) async fn heard(&self) {
        self.notify.notified().await;
    }
}

/// Keeps the fleet up to date and rings when a unit is free.
pub(crate) fn unit_observer(book: &Rc<RefCell<Book>>, bell: &Rc<Bell>, ground: &Rc<Ground>) -> Observer<Unit> {
    let (book, bell, ground) = (Rc::clone(book), Rc::clone(bell), Rc::clone(ground));
    Rc::new(move |id, unit, _version, _events| {
        let Ok(id) = UnitId::new(id) else { return };
        let mut book = book.borrow_mut();
        let left = book.fleet.unit(&id).and_then(|seen| seen.unit.incident().cloned());
        if book.fleet.see(&id, unit) {
            bell.ring();
        }
        ground.stand(&book.fleet, &id);
        // What is known of an incident that no unit works for any more can be read again when needed.
        if let Some(incident) = left.filter(|incident| book.fleet.at_work_for(incident).is_empty())
            && !book.queue.waits(&incident)
        {
            book.queue.forget(&incident);
            book.sources.remove(&incident);
        }
    })
}

/// Keeps the waiting list up to date.
pub(crate) fn wait_observer(book: &Rc<RefCell<Book>>) -> Observer<Wait> {
    let book = Rc::clone(book);
    Rc::new(move |id, wait, version, _events| {
        let Ok(id) = IncidentId::new(id) else { return };
        let mut book = book.borrow_mut();
        match wait.waiting() {
            Some(waiting) => {
                book.queue.wait(&waiting.request);
                book.wait_versions.insert(id, version);
            }
            None => {
                book.queue.end_wait(&id);
                book.wait_versions.remove(&id);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge; nobody has 2^52 incidents waiting")]
        metrics::gauge!("shers_dispatch_waiting").set(book.queue.len() as f64);
    })
}

/// Keeps the hospitals up to date.
pub(crate) fn hospital_observer(book: &Rc<RefCell<Book>>) -> Observer<HospitalFile> {
    let book = Rc::clone(book);
    Rc::new(move |_id, file, _version, _events| {
        if let Some(hospital) = file.hospital() {
            book.borrow_mut().hospitals.insert(hospital.hospital_id.clone(), hospital.clone());
        }
    })
}
