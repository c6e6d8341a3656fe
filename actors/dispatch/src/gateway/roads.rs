//! Drive times from the road map in this process.

use super::{Driving, EtaError, EtaSource, Ranking, Standing, Travel, Trip};
use async_trait::async_trait;
use shers_contract::{LatLon, UnitId};
use shers_roads::{Eta, Nearest, RoadMap, Speed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Its name.
const BUILT_IN: &str = "built-in";

/// The built-in source.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    map: Arc<RoadMap>,
    units: Arc<Mutex<shers_roads::Standing<UnitId>>>,
}

impl BuiltIn {
    /// Answers from `map`.
    #[must_use]
    pub fn new(map: Arc<RoadMap>) -> Self {
        Self { map, units: Arc::default() }
    }

    fn units(&self) -> MutexGuard<'_, shers_roads::Standing<UnitId>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing for BuiltIn {
    fn clear(&self) {
        *self.units() = shers_roads::Standing::new();
    }
    fn stand(&self, unit: &UnitId, at: Option<LatLon>) {
        match at {
            Some(at) => self.map.stand(&mut self.units(), unit.clone(), at),
            None => self.units().leave(unit),
        }
    }
    fn off_road(&self) -> Vec<(UnitId, String)> {
        self.units().off_road().map(|(unit, why)| (unit.clone(), why.to_string())).collect()
    }
    fn rank(
        &self,
        to: LatLon,
        driving: Driving,
        keep: usize,
        fits: &mut dyn FnMut(&UnitId) -> bool,
    ) -> Result<Vec<(UnitId, Travel)>, EtaError> {
        let nearest = self.map.nearest_standing(&self.units(), to, speed(driving), keep, fits);
        let nearest = nearest.map_err(|error| EtaError::NoRoad(error.to_string()))?;
        Ok(nearest.found.into_iter().map(|found| (found.key, travel(&found.eta))).collect())
    }
}

const fn speed(driving: Driving) -> Speed {
    match driving {
        Driving::LightsAndSirens => Speed::LightsAndSirens,
        Driving::Normal => Speed::Normal,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float to integer cast saturates, and drives are neither negative nor longer than a century"
)]
fn travel(eta: &Eta) -> Travel {
    Travel { duration_s: eta.duration_s.ceil() as u32, distance_m: eta.distance_m.round() as u32 }
}

fn numbered(places: &[LatLon]) -> Vec<(usize, LatLon)> {
    places.iter().copied().enumerate().collect()
}

fn ranking(nearest: Nearest<usize>) -> Ranking {
    Ranking {
        best: nearest.found.iter().map(|found| (found.key, travel(&found.eta))).collect(),
        unreachable: nearest.refused.into_iter().map(|(index, why)| (index, why.to_string())).collect(),
        source: BUILT_IN,
    }
}

#[async_trait]
impl EtaSource for BuiltIn {
    fn name(&self) -> &'static str {
        BUILT_IN
    }
    async fn rank_from(&self, from: &[LatLon], to: LatLon, driving: Driving, keep: usize) -> Result<Ranking, EtaError> {
        let nearest = self.map.nearest_by_road(&numbered(from), to, speed(driving), keep);
        nearest.map(ranking).map_err(|error| EtaError::NoRoad(error.to_string()))
    }
    async fn rank_to(&self, from: LatLon, to: &[LatLon], driving: Driving, keep: usize) -> Result<Ranking, EtaError> {
        let nearest = self.map.nearest_targets(from, &numbered(to), speed(driving), keep);
        nearest.map(ranking).map_err(|error| EtaError::NoRoad(error.to_string()))
    }
    fn standing(&self) -> Option<&dyn Standing> {
        Some(self)
    }
    fn way(&self, from: LatLon, to: LatLon, driving: Driving) -> Option<Vec<LatLon>> {
        self.map.route(from, to, speed(driving)).ok().map(|route| route.geometry)
    }
    async fn travel(&self, from: LatLon, to: LatLon, driving: Driving) -> Result<Trip, EtaError> {
        let eta = self.map.eta(from, to, speed(driving));
        eta.map(|eta| Trip { travel: travel(&eta), source: BUILT_IN })
            .map_err(|error| EtaError::NoRoad(error.to_string()))
    }
}
