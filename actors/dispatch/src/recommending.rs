//! Who should go, and why: drive times of the whole fleet, put into a recommendation.
//!
//! A source that keeps where units stand is asked for the closest that may go; it never looks at the far ones, and its
//! answer is the one that asking for every drive would give. Any other source is told all who may go. A fleet of at most
//! `list_all_up_to` units is also gone through one by one, so that each unit that can't go is told with its reason; of a
//! larger one, those are told that are closer than the last candidate.

use crate::desk::Desk;
use crate::gateway::{Driving, EtaError, Standing};
use crate::model::desk::{Compared, Recommendation, Times, nowhere, recommend};
use crate::model::fleet::{Demand, Fleet, Unfit, excluded};
use shers_contract::{IncidentId, LatLon, UnitId, dispatch::Candidate, incident::RequestDispatch};
use std::collections::{BTreeMap, BTreeSet};

/// Fewer candidates than this, and the whole fleet is gone through for the reasons.
const ENOUGH: usize = 2;

/// Drive times, and the units that can't go.
pub type Found = (Times, Vec<(UnitId, Unfit)>);

/// The `keep` closest units of a fleet that may go, by a named source that keeps where everybody stands. A fleet of more
/// than `list_all_up_to` units is not gone through one by one.
///
/// # Errors
/// `to` is off the road network.
pub fn closest(
    fleet: &Fleet,
    (source, standing): (&str, &dyn Standing),
    demand: &Demand<'_>,
    to: LatLon,
    (keep, list_all_up_to): (usize, usize),
) -> Result<Found, EtaError> {
    let mut closer: Vec<(UnitId, Unfit)> = Vec::new();
    let mut fits = |unit: &UnitId| match fleet.may_go(unit, demand) {
        Ok(()) => true,
        Err(why) => {
            closer.extend(why.map(|why| (unit.clone(), why)));
            false
        }
    };
    let ranked = standing.rank(to, Driving::LightsAndSirens, keep, &mut fits)?;
    let best: Vec<Candidate> = ranked
        .into_iter()
        .map(|(unit_id, travel)| Candidate { unit_id, eta_s: travel.duration_s, distance_m: travel.distance_m })
        .collect();
    let (source, everybody) = (source.to_owned(), fleet.len());
    if everybody > list_all_up_to && best.len() >= ENOUGH {
        return Ok((Times { best, compared: Compared::Fleet(everybody), source }, closer));
    }
    let screened = fleet.screen(demand);
    let off: BTreeMap<UnitId, String> = standing.off_road().into_iter().collect();
    let lost = screened.fit.iter().filter_map(|(unit, _)| Some((unit.clone(), off.get(unit)?.clone())));
    let lost: Vec<(UnitId, Unfit)> = lost.map(|(unit, why)| (unit, Unfit::NoRoute(why))).collect();
    let compared = Compared::Suitable(screened.fit.len() - lost.len());
    // The closest first, then those of whom nobody knows how close they are.
    let told: BTreeSet<UnitId> = closer.iter().map(|(unit, _)| unit.clone()).collect();
    closer.extend(screened.unfit.into_iter().chain(lost).filter(|(unit, _)| !told.contains(unit)));
    Ok((Times { best, compared, source }, closer))
}

impl Desk {
    /// Who should go, and why.
    pub(crate) async fn recommendation(&self, request: &RequestDispatch) -> Recommendation {
        self.recommendation_among(request, self.settings.max_candidates.max(ENOUGH)).await
    }

    /// The same with the `keep` best candidates.
    pub(crate) async fn recommendation_among(&self, request: &RequestDispatch, keep: usize) -> Recommendation {
        self.recommendation_listing(request, keep, self.settings.max_excluded).await
    }

    /// The same with at most `max_excluded` units that can't go.
    pub(crate) async fn recommendation_listing(
        &self,
        request: &RequestDispatch,
        keep: usize,
        max_excluded: usize,
    ) -> Recommendation {
        let started = tokio::time::Instant::now();
        let now = self.deps.clock.now();
        let incident = request.incident_id.clone();
        let Some(to) = request.location else { return nowhere(incident, now) };
        let quarantined = self.deps.keeper.quarantined("unit");
        let quarantined = quarantined.iter().filter_map(|id| UnitId::new(id).ok()).collect();
        self.book.borrow_mut().fleet.quarantine(quarantined);
        let demand = Demand { needs: &request.needs, incident_id: &incident, now, stale_ms: self.settings.stale_ms() };
        let found = match self.eta.standing() {
            Some(standing) => self.ask_standing(standing, &demand, to, keep),
            None => self.ask_for_all(&demand, to, keep).await,
        };
        let (times, unfit) = match found {
            Ok(found) => found,
            Err(error) => return self.no_times(incident.clone(), &demand, max_excluded, &error),
        };
        metrics::histogram!("shers_recommend_seconds").record(started.elapsed().as_secs_f64());
        recommend(incident.clone(), times, &unfit, max_excluded, now)
    }

    /// The closest by a source that keeps where everybody stands.
    fn ask_standing(
        &self,
        standing: &dyn Standing,
        demand: &Demand<'_>,
        to: LatLon,
        keep: usize,
    ) -> Result<Found, EtaError> {
        self.ground.refresh(&mut self.book.borrow_mut().fleet);
        let book = self.book.borrow();
        closest(&book.fleet, (self.eta.name(), standing), demand, to, (keep, self.settings.list_all_up_to))
    }

    /// The closest by a source that has to be told everybody.
    async fn ask_for_all(&self, demand: &Demand<'_>, to: LatLon, keep: usize) -> Result<Found, EtaError> {
        let mut screened = self.book.borrow().fleet.screen(demand);
        let places: Vec<LatLon> = screened.fit.iter().map(|(_, place)| *place).collect();
        let ranking = self.eta.rank_from(&places, to, Driving::LightsAndSirens, keep).await?;
        let unit_at = |index: usize| screened.fit.get(index).map(|(id, _)| id.clone());
        let best = ranking.best.iter().filter_map(|(index, travel)| {
            let unit_id = unit_at(*index)?;
            Some(Candidate { unit_id, eta_s: travel.duration_s, distance_m: travel.distance_m })
        });
        let off: Vec<_> = ranking
            .unreachable
            .into_iter()
            .filter_map(|(index, why)| Some((unit_at(index)?, Unfit::NoRoute(why))))
            .collect();
        let compared = Compared::Suitable(places.len() - off.len());
        let times = Times { best: best.collect(), compared, source: ranking.source.to_owned() };
        screened.unfit.extend(off);
        Ok((times, screened.unfit))
    }

    fn no_times(
        &self,
        incident_id: IncidentId,
        demand: &Demand<'_>,
        max_excluded: usize,
        error: &EtaError,
    ) -> Recommendation {
        let reason = match error {
            EtaError::NoRoad(why) => format!("No road leads to the incident: {why}."),
            EtaError::Unavailable { .. } => format!("Drive times can't be had: {error}."),
        };
        let unfit = self.book.borrow().fleet.screen(demand).unfit;
        Recommendation {
            incident_id,
            candidates: Vec::new(),
            excluded: excluded(&unfit, max_excluded),
            reason,
            eta_source: self.eta.name().to_owned(),
            computed_at: self.deps.clock.now(),
        }
    }
}
