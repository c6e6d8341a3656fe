//! The wearers this process knows: looked up on every thread, for every reading.

use crate::model::track::{Bounds, Track};
use shers_contract::{PatientId, routing::partition_of};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

/// A wearer, shared by all threads.
pub(crate) struct Wearer {
    pub(crate) id: PatientId,
    pub(crate) partition: u16,
    track: Mutex<Track>,
}

impl Wearer {
    /// Its memory. Held for moments only; the writer is the one that changes it.
    pub(crate) fn track(&self) -> MutexGuard<'_, Track> {
        self.track.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Map = HashMap<Box<str>, Arc<Wearer>>;

/// All of them, by the text of their ids.
pub(crate) struct Wearers {
    map: RwLock<Map>,
    partitions: u16,
    pub(crate) bounds: Bounds,
}

impl Wearers {
    pub(crate) fn new(partitions: u16, bounds: Bounds) -> Self {
        Self { map: RwLock::default(), partitions: partitions.max(1), bounds }
    }
    /// Locked for reading, for a whole body at once.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Wearer>> {
        self.read().get(id).cloned()
    }
    /// The wearer with this id, known from now on.
    pub(crate) fn add(&self, id: &PatientId) -> Arc<Wearer> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let wearer = map.entry(id.as_str().into()).or_insert_with(|| {
            let partition = partition_of(id.as_str()) % self.partitions;
            Arc::new(Wearer { id: id.clone(), partition, track: Mutex::default() })
        });
        Arc::clone(wearer)
    }
    /// Forgets what the journal has dropped.
    pub(crate) fn forget_through(&self, position: u64) {
        let all: Vec<Arc<Wearer>> = self.read().values().cloned().collect();
        for wearer in all {
            wearer.track().forget_through(position);
        }
    }
}
