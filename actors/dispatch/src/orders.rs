//! What a dispatcher orders by hand: see the recommendation, send a unit, take one off.

use crate::desk::{Desk, advise, order};
use crate::gateway::Driving;
use crate::model::desk::{Known, Recommendation};
use crate::model::unit::{Unit, UnitCommand};
use serde_json::{Value, json};
use shers_contract::{
    IncidentId, LatLon, Problem, UnitId,
    api::{Answer, Call, Reply},
    dispatch::{Assigned, Candidate},
};
use shers_runtime::{Aggregate, Cause, Rejected, StoreError};

/// Longest reason a person may give, in characters.
const MAX_REASON: usize = 500;

/// Whether a unit works for it.
fn known_is_served(desk: &Desk, incident: &IncidentId) -> bool {
    !desk.book.borrow().fleet.at_work_for(incident).is_empty()
}

pub(crate) fn unreadable(error: &StoreError) -> Problem {
    tracing::error!(%error, "reading the store for a request");
    Problem::unavailable("the store can't be read now; nothing was done, try again")
}

/// A reason as given: trimmed, empty counts as none.
pub(crate) fn checked_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    let reason = reason.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if reason.as_ref().is_some_and(|text| text.chars().count() > MAX_REASON) {
        return Err(Problem::invalid("/reason", format!("a reason has at most {MAX_REASON} characters")));
    }
    Ok(reason)
}

impl Desk {
    /// `GET /incidents/{id}/recommendations`.
    pub(crate) async fn show_recommendation(&self, incident: &IncidentId) -> Reply {
        let (known, _) = self.known_case(incident).await?;
        let mode = self.mode(&known.request).await.map_err(|error| unreadable(&error))?;
        let (keep, excluded) = (self.settings.max_candidates.max(2), self.settings.list_all_up_to);
        let mut recommendation = self.recommendation_listing(&known.request, keep, excluded).await;
        let served = !self.book.borrow().fleet.at_work_for(incident).is_empty();
        let found = if served { None } else { self.diversion(&known, &recommendation, None).await };
        if let Some(found) = &found {
            advise(&mut recommendation, &found.reason);
        }
        let diversion = found.map(|found| {
            json!({
                "unit_id": found.candidate.unit_id,
                "from_incident_id": found.from_incident,
                "eta_s": found.candidate.eta_s,
                "reason": found.reason,
            })
        });
        let mut body = serde_json::to_value(&recommendation).unwrap_or_default();
        if let Value::Object(members) = &mut body {
            members.insert("candidates".to_owned(), self.shown_candidates(&recommendation));
            members.insert("needs".to_owned(), json!(known.request.needs));
            members.insert("assignment".to_owned(), json!(mode.as_str()));
            members.insert("waits".to_owned(), json!(self.book.borrow().queue.waits(incident)));
            members.insert("diversion".to_owned(), json!(diversion));
        }
        Ok(Answer::ok(body))
    }

    /// The candidates with what they offer.
    fn shown_candidates(&self, recommendation: &Recommendation) -> Value {
        let book = self.book.borrow();
        let shown = |candidate: &Candidate| {
            let profile = book.fleet.unit(&candidate.unit_id).map(|seen| &seen.unit.profile);
            json!({
                "unit_id": candidate.unit_id,
                "eta_s": candidate.eta_s,
                "distance_m": candidate.distance_m,
                "kind": profile.map(|profile| &profile.kind),
                "crew_level": profile.map(|profile| &profile.crew_level),
                "capabilities": profile.map(|profile| &profile.capabilities),
            })
        };
        recommendation.candidates.iter().map(shown).collect()
    }

    /// `POST /incidents/{id}/assignments`. Sending another unit than the recommended one, or a further
    /// one, asks for a reason.
    pub(crate) async fn assign(
        &self,
        call: &Call,
        incident: &IncidentId,
        unit: &UnitId,
        reason: Option<String>,
    ) -> Reply {
        let reason = checked_reason(reason)?;
        let _turn = self.turn.lock().await;
        let (known, ended) = self.known_case(incident).await?;
        let unit_state = self.unit_state(unit).await?;
        if let Some(seen) = unit_state.serving().filter(|seen| seen.incident() == Some(incident)) {
            // It goes already: the saved answer or its present state.
            let again = seen.mission().and_then(|(mission, _)| mission.order.clone());
            return match again {
                Some(order) => self.send(call, unit, order).await,
                None => Err(Problem::conflict("the unit is just being assigned")),
            };
        }
        if ended {
            return Err(Problem::conflict(format!("incident {incident} has ended; no unit is sent to it")));
        }
        let Some(to) = known.request.location else {
            return Err(Problem::conflict(format!(
                "the location of incident {incident} is unknown; a unit can't be sent before a call brings one"
            )));
        };
        let recommendation = self.recommendation(&known.request).await;
        if unit_state.serving().is_some_and(|seen| seen.mission().is_some()) && !known_is_served(self, incident) {
            return self.move_by_hand(call, &known, unit, reason, &recommendation).await;
        }
        let order = self.manual_order(call, (unit, &unit_state), reason, &recommendation, to).await?;
        let answer = self.send(call, unit, order).await?;
        metrics::counter!("shers_dispatch_assigned_total", "by" => "person").increment(1);
        let (why, cause) = (format!("{unit} was sent by a person."), self.inner_cause(&Cause::call(call)));
        if let Err(failure) = self.end_wait(incident, Some(unit.clone()), &why, cause).await {
            // The next look through the waiting list finds the unit at work and ends the wait.
            tracing::warn!(incident.id = %incident, ?failure, "ending a wait failed; it is tried again");
            self.bell.ring();
        }
        Ok(answer)
    }

    /// Moves a unit that is on its way to another patient, when that was advised. Otherwise the unit's own refusal says
    /// what it does.
    async fn move_by_hand(
        &self,
        call: &Call,
        known: &Known,
        unit: &UnitId,
        reason: Option<String>,
        recommendation: &Recommendation,
    ) -> Reply {
        let by = call.principal.subject.as_str();
        let found = self.diversion(known, recommendation, Some(unit)).await;
        let command = found.and_then(|found| self.move_command(known, recommendation, &found, (by, reason.as_deref())));
        let Some(command) = command else {
            let to = known.request.location.unwrap_or(LatLon { lat: 0.0, lon: 0.0 });
            let draft = Candidate { unit_id: unit.clone(), eta_s: 0, distance_m: 0 };
            let draft = order(recommendation, &draft, (None, to), by, String::new(), 0);
            return self.send(call, unit, draft).await;
        };
        let answer = self.units.answer(call, unit.as_str(), command).await?.with_status(201);
        let (why, cause) = (format!("{unit} was moved here by a person."), self.inner_cause(&Cause::call(call)));
        if let Err(failure) = self.end_wait(&known.request.incident_id, Some(unit.clone()), &why, cause).await {
            tracing::warn!(incident.id = %known.request.incident_id, ?failure, "ending a wait failed; it is tried again");
            self.bell.ring();
        }
        Ok(answer)
    }

    async fn send(&self, call: &Call, unit: &UnitId, order: Assigned) -> Reply {
        let command = UnitCommand::Assign(Box::new(order));
        self.units.answer(call, unit.as_str(), command).await.map(|answer| answer.with_status(201))
    }

    /// The order a person gives. The unit's own refusal comes before questions of reason and route.
    async fn manual_order(
        &self,
        call: &Call,
        (unit, state): (&UnitId, &Unit),
        reason: Option<String>,
        recommendation: &Recommendation,
        to: LatLon,
    ) -> Result<Assigned, Problem> {
        let from = self.whereabouts(unit);
        let by = call.principal.subject.as_str();
        let listed = recommendation.candidates.iter().find(|candidate| candidate.unit_id == *unit).cloned();
        let draft = listed.clone().unwrap_or(Candidate { unit_id: unit.clone(), eta_s: 0, distance_m: 0 });
        let text = self.order_reason(unit, by, reason, recommendation);
        let draft =
            order(recommendation, &draft, (from, to), by, text.clone().unwrap_or_default(), self.settings.turnout_ms());
        state.decide(&UnitCommand::Assign(Box::new(draft.clone())), self.deps.clock.now())?;
        text?;
        if listed.is_some() {
            return Ok(draft);
        }
        let Some(from) = from else {
            return Err(Problem::conflict(format!(
                "the position of {unit} is unknown or too old; post one to /api/v1/units/{unit}/locations"
            )));
        };
        let trip = self.eta.travel(from, to, Driving::LightsAndSirens).await;
        let trip = trip.map_err(|error| Problem::conflict(format!("there is no drive time for {unit}: {error}")))?;
        Ok(Assigned {
            eta_s: trip.travel.duration_s,
            distance_m: trip.travel.distance_m,
            eta_source: trip.source.to_owned(),
            ..draft
        })
    }

    fn order_reason(
        &self,
        unit: &UnitId,
        by: &str,
        reason: Option<String>,
        recommendation: &Recommendation,
    ) -> Result<String, Problem> {
        let others = self.book.borrow().fleet.at_work_for(&recommendation.incident_id);
        let best = recommendation.candidates.first().map(|candidate| &candidate.unit_id);
        let instead = match (others.first(), best) {
            (Some(other), _) => format!("in addition to {other}"),
            (None, Some(best)) if best == unit => {
                let given = reason.map(|reason| format!(" {by}: {reason}")).unwrap_or_default();
                return Ok(format!("{}{given}", recommendation.reason));
            }
            (None, Some(best)) => format!("instead of {best}"),
            (None, None) => "though no unit was recommended".to_owned(),
        };
        match reason {
            Some(reason) => Ok(format!("{by} sent {unit} {instead}: {reason}")),
            None => Err(Problem::new(
                422,
                "reason-required",
                format!("to send {unit} {instead}, give a reason; {}", recommendation.reason),
            )
            .with("field", "/reason")
            .with("recommended", best.map(UnitId::as_str))),
        }
    }

    /// `DELETE /incidents/{id}/assignments/{unit}`. The incident gets its next unit, unless it has ended or
    /// another one goes.
    pub(crate) async fn unassign(
        &self,
        call: &Call,
        incident: &IncidentId,
        unit: &UnitId,
        reason: Option<String>,
    ) -> Reply {
        let reason = checked_reason(reason)?;
        let _turn = self.turn.lock().await;
        let (_, ended) = self.known_case(incident).await?;
        let at_work = self.at_work(incident).await.map_err(|error| unreadable(&error))?;
        let others = at_work.iter().any(|other| other != unit);
        let command = UnitCommand::Release {
            incident_id: incident.clone(),
            reason: reason.unwrap_or_else(|| "taken off by a dispatcher".to_owned()),
            by: call.principal.subject.clone(),
            reopen: !ended && !others,
        };
        match self.units.execute(unit.as_str(), command, Cause::call(call)).await {
            Ok(executed) => Ok(executed.answer),
            Err(Rejected::Refused(refusal)) => Err(refusal.into()),
            Err(Rejected::Problem(problem)) => Err(problem),
            Err(Rejected::Repeated) => Err(Problem::conflict("this was done before")),
            Err(Rejected::Unavailable(why)) => Err(Problem::unavailable(why)),
        }
    }

    /// A unit's state, of one that exists.
    pub(crate) async fn unit_state(&self, unit: &UnitId) -> Result<Unit, Problem> {
        let (state, version) = self.units.state(unit.as_str()).await.map_err(|error| unreadable(&error))?;
        if version == 0 { Err(Problem::not_found("unit", unit.as_str())) } else { Ok(state) }
    }

    /// What is known of an incident, and whether it has ended.
    async fn known_case(&self, incident: &IncidentId) -> Result<(Known, bool), Problem> {
        let case = self.case(incident).await.map_err(|error| unreadable(&error))?;
        let in_book = self.book.borrow().queue.known(incident).cloned();
        let read =
            case.request.map(|request| Known { request, traceparent: case.traceparent, exercise: case.exercise });
        let known = in_book.or(read).ok_or_else(|| Problem::not_found("incident", incident.as_str()))?;
        Ok((known, case.ended))
    }
}
