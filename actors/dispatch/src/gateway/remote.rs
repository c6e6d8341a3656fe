//! What all providers over HTTP have in common: places are asked about in chunks, each chunk is checked, and
//! the exact ranking is made here, so that a provider that answers nonsense is a provider that fails.

use super::{Driving, EtaError, EtaSource, Ranking, Travel, Trip};
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use shers_contract::LatLon;

/// No drive to an emergency or a hospital takes longer; whoever says so is wrong.
const MAX_DRIVE_S: f64 = 86_400.0;
/// Nor is it longer than this.
const MAX_DRIVE_M: f64 = 5_000_000.0;

/// Limits on what is asked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RemoteLimits {
    /// Places in one call.
    pub chunk: usize,
    /// Calls under way at once.
    pub concurrent: usize,
    /// Places in one decision; above it the provider is not asked.
    pub max_places: usize,
    /// Time with lights and sirens as a share of the provider's car time.
    pub siren_factor: f64,
}

/// A drive as a provider tells it: seconds and metres, or why there is none.
pub type Told = Result<(f64, f64), String>;

/// A provider's table of drive times, with one place on one side.
#[async_trait]
pub trait Matrix: Send + Sync + 'static {
    /// Its name in events.
    fn name(&self) -> &'static str;
    /// Drives from every one of `from` to `to`, in that order.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn many_to_one(&self, from: &[LatLon], to: LatLon) -> Result<Vec<Told>, String>;
    /// Drives from `from` to every one of `to`, in that order.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn one_to_many(&self, from: LatLon, to: &[LatLon]) -> Result<Vec<Told>, String>;
    /// One drive, where the provider has a cheaper or better way to ask for it.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn one(&self, from: LatLon, to: LatLon) -> Result<Told, String> {
        let drives = self.many_to_one(&[from], to).await?;
        drives.into_iter().next().ok_or_else(|| "it answered nothing".to_owned())
    }
}

/// A provider over HTTP as a source of drive times.
pub struct Remote<M> {
    matrix: M,
    limits: RemoteLimits,
}

/// Which side has many places.
#[derive(Clone, Copy)]
enum Side {
    From,
    To,
}

impl<M: Matrix> Remote<M> {
    /// Asks `matrix` within `limits`.
    #[must_use]
    pub const fn new(matrix: M, limits: RemoteLimits) -> Self {
        Self { matrix, limits }
    }

    fn unavailable(&self, why: String) -> EtaError {
        EtaError::Unavailable { source_name: self.matrix.name().to_owned(), why }
    }

    async fn ask(&self, chunk: Vec<LatLon>, one: LatLon, side: Side) -> Result<Vec<Told>, String> {
        let told = match side {
            Side::From => self.matrix.many_to_one(&chunk, one).await?,
            Side::To => self.matrix.one_to_many(one, &chunk).await?,
        };
        if told.len() == chunk.len() { Ok(told) } else { Err(miscounted(chunk.len(), told.len())) }
    }

    async fn rank(
        &self,
        many: &[LatLon],
        one: LatLon,
        side: Side,
        driving: Driving,
        keep: usize,
    ) -> Result<Ranking, EtaError> {
        if many.len() > self.limits.max_places {
            let (asked, limit) = (many.len(), self.limits.max_places);
            return Err(self.unavailable(format!("{asked} places are more than it is asked about ({limit})")));
        }
        let chunks = many.chunks(self.limits.chunk.max(1)).map(|chunk| self.ask(chunk.to_vec(), one, side).boxed());
        let chunks: Vec<BoxFuture<'_, Result<Vec<Told>, String>>> = chunks.collect();
        let told: Result<Vec<Vec<Told>>, String> =
            stream::iter(chunks).buffered(self.limits.concurrent.max(1)).try_collect().await;
        let told = told.map_err(|why| self.unavailable(why))?;
        let mut ranking = Ranking { source: self.matrix.name(), ..Ranking::default() };
        for (index, told) in told.into_iter().flatten().enumerate() {
            match told {
                Ok(drive) => {
                    let travel = self.travel(drive, driving).map_err(|why| self.unavailable(why))?;
                    ranking.best.push((index, travel));
                }
                Err(why) => ranking.unreachable.push((index, why)),
            }
        }
        ranking.best.sort_by_key(|(index, travel)| (*travel, *index));
        ranking.best.truncate(keep);
        Ok(ranking)
    }

    /// A believable drive in our units.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are checked to be in range")]
    fn travel(&self, (seconds, metres): (f64, f64), driving: Driving) -> Result<Travel, String> {
        if !(0.0..=MAX_DRIVE_S).contains(&seconds) || !(0.0..=MAX_DRIVE_M).contains(&metres) {
            return Err("it answered a drive that can't be".to_owned());
        }
        let factor = match driving {
            Driving::LightsAndSirens => self.limits.siren_factor.clamp(0.1, 1.0),
            Driving::Normal => 1.0,
        };
        Ok(Travel { duration_s: (seconds * factor).ceil() as u32, distance_m: metres.round() as u32 })
    }
}

fn miscounted(asked: usize, answered: usize) -> String {
    format!("it answered {answered} drives where {asked} were asked")
}

#[async_trait]
impl<M: Matrix> EtaSource for Remote<M> {
    fn name(&self) -> &'static str {
        self.matrix.name()
    }
    async fn rank_from(&self, from: &[LatLon], to: LatLon, driving: Driving, keep: usize) -> Result<Ranking, EtaError> {
        self.rank(from, to, Side::From, driving, keep).await
    }
    async fn rank_to(&self, from: LatLon, to: &[LatLon], driving: Driving, keep: usize) -> Result<Ranking, EtaError> {
        self.rank(to, from, Side::To, driving, keep).await
    }
    async fn travel(&self, from: LatLon, to: LatLon, driving: Driving) -> Result<Trip, EtaError> {
        let told = self.matrix.one(from, to).await.map_err(|why| self.unavailable(why))?;
        let drive = told.map_err(EtaError::NoRoad)?;
        let travel = self.travel(drive, driving).map_err(|why| self.unavailable(why))?;
        Ok(Trip { travel, source: self.matrix.name() })
    }
}
