//! The outside of dispatch: who knows how long a drive takes.
//!
//! [`EtaSource`] is the port. [`BuiltIn`] answers from the road map in the process, where
//! it also keeps who [stands](Standing) where; [`StraightLine`] is the
//! fake, whose answers anybody can compute. [`Osrm`], [`Valhalla`] and [`Google`] ask others over HTTP;
//! [`Resilient`] asks one of them and, when it fails or is slow, the built-in one.

mod google;
mod http;
mod osrm;
mod remote;
mod resilient;
mod roads;
mod straight_line;
mod valhalla;

pub use google::{Google, MAX_ELEMENTS as GOOGLE_MAX_ELEMENTS};
pub use http::ClientError;
pub use osrm::Osrm;
pub use remote::{Matrix, Remote, RemoteLimits};
pub use resilient::{Resilient, one_decision};
pub use roads::BuiltIn;
pub use straight_line::StraightLine;
pub use valhalla::Valhalla;

use async_trait::async_trait;
use shers_contract::{LatLon, UnitId};

/// How a unit drives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driving {
    /// To an emergency, with priority.
    LightsAndSirens,
    /// With the traffic.
    Normal,
}

/// Time and length of a drive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Travel {
    /// Seconds, rounded up.
    pub duration_s: u32,
    /// Metres by road.
    pub distance_m: u32,
}

/// Places ranked by drive time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ranking {
    /// Indexes into the places asked about, shortest drive first, at most as many as asked for.
    pub best: Vec<(usize, Travel)>,
    /// Those that no road leads from or to, with the reason.
    pub unreachable: Vec<(usize, String)>,
    /// Who really answered.
    pub source: &'static str,
}

/// One drive, with who computed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trip {
    /// Time and length.
    pub travel: Travel,
    /// Who really answered.
    pub source: &'static str,
}

/// Why there is no drive time.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum EtaError {
    /// The one place that all drives share is off the road network.
    #[error("{0}")]
    NoRoad(String),
    /// The source can't be asked now.
    #[error("asking {source_name} for drive times: {why}")]
    Unavailable {
        /// Which source.
        source_name: String,
        /// Why.
        why: String,
    },
}

/// Units as they stand on a source's own map, kept from one question to the next, so that a question costs by how far
/// the nearest are and not by how many there are.
pub trait Standing: Send + Sync {
    /// Nobody stands anywhere.
    fn clear(&self);
    /// A unit stands here now, or nowhere.
    fn stand(&self, unit: &UnitId, at: Option<LatLon>);
    /// Units that stand too far from any road, with the reason.
    fn off_road(&self) -> Vec<(UnitId, String)>;
    /// The `keep` of those who fit that reach `to` soonest, in order: the answer that asking for every single drive
    /// would give. `fits` is asked at most once for each unit, the closest first, until there are enough.
    ///
    /// # Errors
    /// `to` is off the road network.
    fn rank(
        &self,
        to: LatLon,
        driving: Driving,
        keep: usize,
        fits: &mut dyn FnMut(&UnitId) -> bool,
    ) -> Result<Vec<(UnitId, Travel)>, EtaError>;
}

/// Knows how long a drive takes. The ranking is exact: the same as asking for every single drive.
#[async_trait]
pub trait EtaSource: Send + Sync + 'static {
    /// How it is named in events: `built-in`, `osrm` …
    fn name(&self) -> &'static str;
    /// The `keep` places from which `to` is reached soonest.
    async fn rank_from(&self, from: &[LatLon], to: LatLon, driving: Driving, keep: usize) -> Result<Ranking, EtaError>;
    /// The `keep` places reached soonest from `from`.
    async fn rank_to(&self, from: LatLon, to: &[LatLon], driving: Driving, keep: usize) -> Result<Ranking, EtaError>;
    /// Where units stand, for a source that keeps that.
    fn standing(&self) -> Option<&dyn Standing> {
        None
    }
    /// The way that a unit is expected to take, for a source that may draw it; only to notice that it takes another.
    fn way(&self, _from: LatLon, _to: LatLon, _driving: Driving) -> Option<Vec<LatLon>> {
        None
    }
    /// One drive.
    async fn travel(&self, from: LatLon, to: LatLon, driving: Driving) -> Result<Trip, EtaError> {
        let ranking = self.rank_from(&[from], to, driving, 1).await?;
        let unreachable = || ranking.unreachable.first().map_or_else(String::new, |(_, why)| why.clone());
        let trip = ranking.best.first().map(|(_, travel)| Trip { travel: *travel, source: ranking.source });
        trip.ok_or_else(|| EtaError::NoRoad(unreachable()))
    }
}
