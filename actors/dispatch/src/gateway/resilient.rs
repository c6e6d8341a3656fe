//! A source that always answers in time: it asks one source and, when that one fails, is slow or is left
//! alone by its circuit breaker, another. The answer names who really gave it.

use super::{Driving, EtaError, EtaSource, Ranking, Trip};
use crate::model::breaker::{Breaker, BreakerLimits};
use async_trait::async_trait;
use shers_contract::LatLon;
use shers_runtime::Clock;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

tokio::task_local! {
    /// When the decision began that this task is making.
    static DECISION: Instant;
}

/// Makes one decision: however many questions it asks, one after the other or at once, the first source of a
/// [`Resilient`] gets its time budget once for all of them. A decision within a decision is a part of it.
pub async fn one_decision<T>(decision: impl Future<Output = T>) -> T {
    let began = DECISION.try_with(|began| *began).unwrap_or_else(|_| Instant::now());
    DECISION.scope(began, decision).await
}

/// The first source, with the second behind it.
pub struct Resilient {
    first: Arc<dyn EtaSource>,
    fallback: Arc<dyn EtaSource>,
    clock: Arc<dyn Clock>,
    budget: Duration,
    limits: BreakerLimits,
    breaker: Mutex<Breaker>,
}

impl Resilient {
    /// Gives `first` the `budget` (real time), for a question or for all of [`one_decision`], then asks `fallback`.
    #[must_use]
    pub fn new(
        first: Arc<dyn EtaSource>,
        fallback: Arc<dyn EtaSource>,
        clock: Arc<dyn Clock>,
        budget: Duration,
        limits: BreakerLimits,
    ) -> Self {
        Self { first, fallback, clock, budget, limits, breaker: Mutex::default() }
    }

    /// How the breaker stands.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        *self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_ask(&self) -> bool {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let (goes, next) = breaker.ask(self.clock.now(), &self.limits);
        *breaker = next;
        goes
    }

    fn settle(&self, failed: bool) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.is_open();
        *breaker = if failed { breaker.failed(self.clock.now(), &self.limits) } else { breaker.succeeded() };
        if breaker.is_open() && !before {
            tracing::warn!(source = self.first.name(), "left alone for a while after failing again and again");
        }
    }

    /// The first source's answer, if it has one in time.
    async fn first_try<T>(&self, question: impl Future<Output = Result<T, EtaError>> + Send) -> Option<T> {
        let source = self.first.name();
        let left = DECISION.try_with(|began| self.budget.saturating_sub(began.elapsed())).unwrap_or(self.budget);
        if left.is_zero() {
            // It says nothing of the source what others before it have used up, so the breaker hears nothing.
            metrics::counter!("shers_eta_fallback_total", "source" => source, "why" => "budget").increment(1);
            return None;
        }
        if !self.may_ask() {
            metrics::counter!("shers_eta_fallback_total", "source" => source, "why" => "breaker").increment(1);
            return None;
        }
        let why = match tokio::time::timeout(left, question).await {
            Ok(Ok(answer)) => {
                self.settle(false);
                return Some(answer);
            }
            // It answers, only not about this place: the fallback may know it.
            Ok(Err(EtaError::NoRoad(_))) => {
                self.settle(false);
                return None;
            }
            Ok(Err(EtaError::Unavailable { why, .. })) => why,
            Err(_) => "no answer within the time budget".to_owned(),
        };
        self.settle(true);
        metrics::counter!("shers_eta_fallback_total", "source" => source, "why" => "failed").increment(1);
        tracing::warn!(source, why, fallback = self.fallback.name(), "drive times come from the fallback");
        None
    }
}

#[async_trait]
impl EtaSource for Resilient {
    fn name(&self) -> &'static str {
        self.first.name()
    }
    async fn rank_from(&self, from: &[LatLon], to: LatLon, driving: Driving, keep: usize) -> Result<Ranking, EtaError> {
        if from.is_empty() {
            return self.fallback.rank_from(from, to, driving, keep).await;
        }
        match self.first_try(self.first.rank_from(from, to, driving, keep)).await {
            Some(ranking) => Ok(ranking),
            None => self.fallback.rank_from(from, to, driving, keep).await,
        }
    }
    async fn rank_to(&self, from: LatLon, to: &[LatLon], driving: Driving, keep: usize) -> Result<Ranking, EtaError> {
        if to.is_empty() {
            return self.fallback.rank_to(from, to, driving, keep).await;
        }
        match self.first_try(self.first.rank_to(from, to, driving, keep)).await {
            Some(ranking) => Ok(ranking),
            None => self.fallback.rank_to(from, to, driving, keep).await,
        }
    }
    /// The fallback's: what others draw is theirs.
    fn way(&self, from: LatLon, to: LatLon, driving: Driving) -> Option<Vec<LatLon>> {
        self.fallback.way(from, to, driving)
    }
    async fn travel(&self, from: LatLon, to: LatLon, driving: Driving) -> Result<Trip, EtaError> {
        match self.first_try(self.first.travel(from, to, driving)).await {
            Some(trip) => Ok(trip),
            None => self.fallback.travel(from, to, driving).await,
        }
    }
}
