//! Looks for a unit on its way that should turn to a sicker patient.

use crate::desk::{DISPATCH, Desk, order};
use crate::gateway::Driving;
use crate::model::desk::{Known, Recommendation};
use crate::model::diversion::{Diversion, DiversionLimits, Move, Sicker, gain};
use crate::model::unit::UnitCommand;
use shers_contract::{IncidentId, LatLon, UnitId, dispatch::Candidate};
use shers_runtime::{Cause, Failure, Rejected};

/// Units on their way that are looked at, the closest first.
const LOOKED_AT: usize = 3;

/// A move that pays.
pub(crate) struct Found {
    pub candidate: Candidate,
    pub from_incident: IncidentId,
    source: &'static str,
    /// The gain, stated for both.
    pub reason: String,
}

impl Desk {
    /// The best move that pays, if moving is wanted at all; `only` of one unit, when a person named it.
    pub(crate) async fn diversion(
        &self,
        known: &Known,
        recommendation: &Recommendation,
        only: Option<&UnitId>,
    ) -> Option<Found> {
        if self.settings.diversion == Diversion::Off {
            return None;
        }
        let to = known.request.location?;
        let now = self.deps.clock.now();
        let limits = DiversionLimits {
            min_remaining_s: self.settings.diversion_min_remaining_s,
            min_gain_s: self.settings.diversion_min_gain_s,
        };
        let mut movable = {
            let book = self.book.borrow();
            book.fleet.movable(&known.request.needs, now, self.settings.stale_ms())
        };
        movable.retain(|unit| only.is_none_or(|only| unit.unit_id == *only));
        let places: Vec<LatLon> = movable.iter().map(|unit| unit.at).collect();
        let ranking = self.eta.rank_from(&places, to, Driving::LightsAndSirens, LOOKED_AT).await.ok()?;
        let wanted = Sicker {
            incident_id: known.request.incident_id.clone(),
            priority: known.request.priority,
            best_free_s: recommendation.candidates.first().map(|candidate| candidate.eta_s),
        };
        for (index, travel) in &ranking.best {
            let Some(unit) = movable.get(*index) else { continue };
            let Some(other) = self.request_of(&unit.incident_id).await else { continue };
            if other.request.priority <= wanted.priority {
                continue;
            }
            let replacement = self.recommendation_among(&other.request, 2).await;
            let offer = Move {
                unit_id: unit.unit_id.clone(),
                from_incident: unit.incident_id.clone(),
                from_priority: other.request.priority,
                remaining_s: unit.remaining_s,
                eta_s: travel.duration_s,
                replacement_s: replacement.candidates.first().map(|candidate| candidate.eta_s),
            };
            if let Some(reason) = gain(&wanted, &offer, &limits) {
                let (unit_id, eta_s, distance_m) = (offer.unit_id, travel.duration_s, travel.distance_m);
                let candidate = Candidate { unit_id, eta_s, distance_m };
                return Some(Found { candidate, from_incident: offer.from_incident, source: ranking.source, reason });
            }
        }
        None
    }

    async fn request_of(&self, incident: &IncidentId) -> Option<Known> {
        let known = self.book.borrow().queue.known(incident).cloned();
        if known.is_some() {
            return known;
        }
        let case = self.case(incident).await.ok()?;
        Some(Known { request: case.request?, traceparent: case.traceparent, exercise: case.exercise })
    }

    /// The command that moves the unit, and who says so: dispatch, or a person with a reason.
    pub(crate) fn move_command(
        &self,
        known: &Known,
        recommendation: &Recommendation,
        found: &Found,
        (by, reason): (&str, Option<&str>),
    ) -> Option<UnitCommand> {
        let to = known.request.location?;
        let (from, turnout_ms) = (self.whereabouts(&found.candidate.unit_id), self.settings.turnout_ms());
        let said = reason.map_or_else(|| found.reason.clone(), |reason| format!("{} {by}: {reason}", found.reason));
        let mut order = order(recommendation, &found.candidate, (from, to), by, said, turnout_ms);
        order.eta_source = found.source.to_owned();
        Some(UnitCommand::Divert {
            order: Box::new(order),
            from_incident: found.from_incident.clone(),
            min_remaining_ms: i64::from(self.settings.diversion_min_remaining_s) * 1_000,
        })
    }

    /// Moves the unit. `None` when it refused or the message was dealt with before.
    pub(crate) async fn divert(
        &self,
        known: &Known,
        recommendation: &Recommendation,
        found: Found,
        cause: &Cause,
    ) -> Result<Option<UnitId>, Failure> {
        let Some(command) = self.move_command(known, recommendation, &found, (DISPATCH, None)) else {
            return Ok(None);
        };
        let unit = found.candidate.unit_id;
        match self.units.execute(unit.as_str(), command, cause.clone()).await {
            Ok(_) => Ok(Some(unit)),
            Err(Rejected::Refused(_) | Rejected::Repeated) => Ok(None),
            Err(Rejected::Unavailable(why)) => Err(Failure::Retry(why)),
            Err(Rejected::Problem(problem)) => Err(Failure::Retry(problem.detail)),
        }
    }
}
