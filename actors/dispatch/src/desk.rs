//! The desk: finds a unit for each request, or lets it wait, and serves the waiting.
//!
//! One decision at a time ([`Desk::turn`]), so that two requests don't reach for the same unit; should they
//! do so all the same, the unit's own refusal sends the second one to its next candidate. No borrow of the
//! book is held across an await.
//!
//! Crash windows: an assignment commits together with the mark of the request that asked for it, so a
//! redelivered request finds it done. A wait is in the log before its request is settled. Serving a waiting
//! incident commits with a mark derived from that episode of waiting, so one episode gives one unit.

use crate::book::{Bell, Book, Ground};
use crate::gateway::{EtaSource, one_decision};
use crate::model::case::Case;
use crate::model::desk::{Known, Recommendation};
use crate::model::diversion::Diversion;
use crate::model::mode::{Mode, asks_source, mode};
use crate::model::unit::{Unit, UnitCommand};
use crate::model::wait::{Wait, WaitCommand};
use crate::settings::Settings;
use shers_contract::{
    IncidentId, LatLon, UnitId, derived_uuid,
    dispatch::{Assigned, Candidate},
    incident::{Priority, RequestDispatch},
};
use shers_runtime::{Cause, Commit, CommitError, Deps, Directory, Failure, InboxMark, Rejected, StoreError};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Consumer name under which an episode of waiting is marked as served.
const WAITING: &str = "dispatch.waiting";
/// Who decides when no person does.
pub(crate) const DISPATCH: &str = "dispatch";
/// Events of an incident read at once.
const PAGE: usize = 500;

/// The desk.
pub(crate) struct Desk {
    pub deps: Deps,
    pub settings: Settings,
    pub eta: Arc<dyn EtaSource>,
    pub units: Directory<Unit>,
    pub waits: Directory<Wait>,
    pub book: Rc<RefCell<Book>>,
    pub bell: Rc<Bell>,
    pub ground: Rc<Ground>,
    pub turn: Mutex<()>,
}

/// How trying to assign ended.
enum Tried {
    /// This unit goes.
    Goes(UnitId),
    /// This message or wait was served before.
    Served,
    /// Every candidate refused, or there was none.
    Nobody,
}

impl Desk {
    /// Deals with `command.dispatch.request`.
    pub(crate) async fn request(&self, request: &RequestDispatch, cause: Cause) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        let known = self.book.borrow_mut().queue.learn(request, cause.traceparent, cause.exercise);
        one_decision(self.place(&known, cause)).await
    }

    /// Deals with an assignment that ended while the incident still needs a unit.
    pub(crate) async fn reopen(&self, incident: &IncidentId, cause: Cause) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        let case = self.case(incident).await.map_err(|error| Failure::Retry(error.to_string()))?;
        match case.request {
            Some(request) if !case.ended => {
                let known = self.book.borrow_mut().queue.learn(&request, case.traceparent, case.exercise);
                one_decision(self.place(&known, cause)).await
            }
            Some(_) | None => self.mark(&cause).await,
        }
    }

    /// Deals with `command.dispatch.cancel`: nobody waits, and who has no patient on board turns round.
    pub(crate) async fn cancel(&self, incident: &IncidentId, reason: &str, cause: Cause) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        self.end_wait(incident, None, reason, self.inner_cause(&cause)).await?;
        self.book.borrow_mut().queue.forget(incident);
        let mut units = self.book.borrow().fleet.recallable(incident);
        let last = units.pop();
        for (unit, cause) in
            units.iter().map(|unit| (unit, self.inner_cause(&cause))).chain(last.iter().map(|u| (u, cause.clone())))
        {
            let command = UnitCommand::Release {
                incident_id: incident.clone(),
                reason: reason.to_owned(),
                by: DISPATCH.to_owned(),
                reopen: false,
            };
            self.units.deliver(unit.as_str(), command, cause).await?;
        }
        Ok(())
    }

    /// Assigns the best unit, or lets the request wait. The caller has the turn.
    async fn place(&self, known: &Known, cause: Cause) -> Result<(), Failure> {
        let incident = &known.request.incident_id;
        if !self.at_work(incident).await.map_err(retry)?.is_empty() {
            return self.mark(&cause).await;
        }
        if self.bell.take() {
            // Whoever waited longer comes first to a unit that became free just now.
            self.serve_all(Some(incident)).await;
        }
        let mode = self.mode(&known.request).await.map_err(retry)?;
        let mut recommendation = self.recommendation(&known.request).await;
        match (self.diversion(known, &recommendation, None).await, self.settings.diversion, mode) {
            (Some(found), Diversion::Automatic, Mode::Automatic) => {
                if let Some(unit) = self.divert(known, &recommendation, found, &cause).await? {
                    let reason = format!("{unit} was moved here.");
                    return self.end_wait(incident, Some(unit), &reason, self.inner_cause(&cause)).await;
                }
            }
            (Some(found), Diversion::Automatic | Diversion::Advised | Diversion::Off, _) => {
                advise(&mut recommendation, &found.reason);
            }
            (None, _, _) => {}
        }
        if mode == Mode::Person {
            return self.wait(known, for_a_person(recommendation), mode, cause).await;
        }
        match self.try_assign(known, &recommendation, &cause).await? {
            Tried::Goes(unit) => {
                let reason = format!("{unit} goes.");
                self.end_wait(incident, Some(unit), &reason, self.inner_cause(&cause)).await
            }
            Tried::Served => Ok(()),
            Tried::Nobody => self.wait(known, recommendation, mode, cause).await,
        }
    }

    /// Lets it wait, for a unit or for a person.
    async fn wait(
        &self,
        known: &Known,
        recommendation: Recommendation,
        mode: Mode,
        cause: Cause,
    ) -> Result<(), Failure> {
        let incident = &known.request.incident_id;
        tracing::info!(incident.id = %incident, reason = recommendation.reason, "an incident waits for a unit");
        let command = WaitCommand::Wait {
            request: Box::new(known.request.clone()),
            reason: recommendation.reason,
            excluded: recommendation.excluded,
            by_person: mode == Mode::Person,
        };
        self.waits.deliver(incident.as_str(), command, cause).await.map(|_| ())
    }

    /// Who sends a unit to an incident.
    pub(crate) async fn mode(&self, request: &RequestDispatch) -> Result<Mode, StoreError> {
        let rules = &self.settings.by_person;
        let incident = &request.incident_id;
        let mut source = self.book.borrow().sources.get(incident).copied();
        if source.is_none() && asks_source(rules) {
            source = self.case(incident).await?.source;
            self.book.borrow_mut().sources.extend(source.map(|source| (incident.clone(), source)));
        }
        Ok(mode(rules, request, source))
    }

    /// Takes note of how urgent an incident is now. When it has no unit, its new request follows and is dealt with; a
    /// unit on its way goes on, and may be moved to a sicker patient once its own is less urgent.
    pub(crate) async fn reprioritise(&self, incident: &IncidentId, priority: Priority) {
        let _turn = self.turn.lock().await;
        if self.book.borrow_mut().queue.set_priority(incident, priority).is_some() {
            self.bell.ring();
        }
    }

    /// Serves the waiting, for ever: when the bell rings, and every now and then.
    pub(crate) async fn serve_for_ever(self: Rc<Self>) {
        loop {
            let heard = std::pin::pin!(self.bell.heard());
            futures::future::select(heard, self.deps.clock.sleep(self.settings.sweep())).await;
            let _turn = self.turn.lock().await;
            self.bell.take();
            self.serve_all(None).await;
            self.flag_the_stalled().await;
        }
    }

    /// Serves the waiting in order, save `except`. The caller has the turn. What fails stays waiting.
    pub(crate) async fn serve_all(&self, except: Option<&IncidentId>) {
        let order = self.book.borrow().queue.in_order();
        let order: Vec<IncidentId> = order.into_iter().filter(|incident| Some(incident) != except).collect();
        // One decision: a slow provider must not hold the turn for its time budget times all who wait.
        one_decision(async {
            let mut plans = self.plan_jointly(&self.automatic_among(&order).await).await;
            for incident in &order {
                if let Err(failure) = self.serve(incident, plans.remove(incident)).await {
                    tracing::warn!(incident.id = %incident, ?failure, "serving a waiting incident failed; it goes on waiting");
                }
            }
        })
        .await;
    }

    /// Those that dispatch serves by itself.
    async fn automatic_among(&self, order: &[IncidentId]) -> Vec<IncidentId> {
        let mut automatic = Vec::with_capacity(order.len());
        for incident in order {
            let known = self.book.borrow().queue.known(incident).cloned();
            let Some(known) = known else { continue };
            if matches!(self.mode(&known.request).await, Ok(Mode::Automatic)) {
                automatic.push(incident.clone());
            }
        }
        automatic
    }

    async fn serve(&self, incident: &IncidentId, plan: Option<Recommendation>) -> Result<(), Failure> {
        let (known, version) = {
            let book = self.book.borrow();
            let Some(known) = book.queue.known(incident).filter(|_| book.queue.waits(incident)).cloned() else {
                return Ok(());
            };
            let version = book.wait_versions.get(incident).copied().unwrap_or(0);
            (known, version)
        };
        let at_work = self.at_work(incident).await.map_err(retry)?;
        let cause = Cause {
            id: derived_uuid(&[WAITING, incident.as_str(), &version.to_string()]),
            consumer: Some(WAITING),
            traceparent: known.traceparent,
            exercise: known.exercise,
            idempotency: None,
            if_match: None,
        };
        if let Some(unit) = at_work.into_iter().next() {
            let reason = format!("{unit} goes already.");
            return self.end_wait(incident, Some(unit), &reason, self.inner_cause(&cause)).await;
        }
        let mode = self.mode(&known.request).await.map_err(retry)?;
        if mode == Mode::Person {
            return Ok(());
        }
        let recommendation = match plan {
            Some(plan) => plan,
            None => self.recommendation(&known.request).await,
        };
        if self.settings.diversion == Diversion::Automatic
            && let Some(found) = self.diversion(&known, &recommendation, None).await
            && let Some(unit) = self.divert(&known, &recommendation, found, &cause).await?
        {
            let reason = format!("{unit} was moved here.");
            return self.end_wait(incident, Some(unit), &reason, self.inner_cause(&cause)).await;
        }
        match self.try_assign(&known, &recommendation, &cause).await? {
            Tried::Nobody => Ok(()),
            Tried::Goes(unit) => {
                let reason = format!("{unit} came free and goes.");
                self.end_wait(incident, Some(unit), &reason, self.inner_cause(&cause)).await
            }
            Tried::Served => {
                // This episode had its unit, which is gone again: a new episode begins.
                self.end_wait(incident, None, "The unit that was sent is gone again.", self.inner_cause(&cause))
                    .await?;
                self.bell.ring();
                self.wait(&known, recommendation, mode, self.inner_cause(&cause)).await
            }
        }
    }

    /// Asks one candidate after the other.
    async fn try_assign(
        &self,
        known: &Known,
        recommendation: &Recommendation,
        cause: &Cause,
    ) -> Result<Tried, Failure> {
        let Some(to) = known.request.location else { return Ok(Tried::Nobody) };
        let mut unavailable = None;
        for candidate in recommendation.candidates.iter().take(self.settings.max_assign_attempts) {
            let from = self.whereabouts(&candidate.unit_id);
            let order = order(
                recommendation,
                candidate,
                (from, to),
                DISPATCH,
                recommendation.reason.clone(),
                self.settings.turnout_ms(),
            );
            let command = UnitCommand::Assign(Box::new(order));
            match self.units.execute(candidate.unit_id.as_str(), command, cause.clone()).await {
                Ok(_) => {
                    metrics::counter!("shers_dispatch_assigned_total", "by" => "desk").increment(1);
                    return Ok(Tried::Goes(candidate.unit_id.clone()));
                }
                Err(Rejected::Repeated) => return Ok(Tried::Served),
                // Busy since a moment ago: the next one.
                Err(Rejected::Refused(_)) => {}
                // Perhaps it did commit: the mark stops the next one from going too.
                Err(Rejected::Unavailable(why)) => unavailable = Some(why),
                Err(Rejected::Problem(problem)) => unavailable = Some(problem.detail),
            }
        }
        unavailable.map_or(Ok(Tried::Nobody), |why| Err(Failure::Retry(why)))
    }

    /// The units that work for an incident, by the log: the book hears of a commit a moment later than
    /// those who listen to the log, and in that moment a unit that is gone still stands in it.
    pub(crate) async fn at_work(&self, incident: &IncidentId) -> Result<Vec<UnitId>, StoreError> {
        let believed = self.book.borrow().fleet.at_work_for(incident);
        let mut at_work = Vec::with_capacity(believed.len());
        for unit in believed {
            let (state, _) = self.units.state(unit.as_str()).await?;
            if state.serving().and_then(|seen| seen.incident()) == Some(incident) {
                at_work.push(unit);
            }
        }
        Ok(at_work)
    }

    /// Where a unit is believed to be.
    pub(crate) fn whereabouts(&self, unit: &UnitId) -> Option<LatLon> {
        let book = self.book.borrow();
        let seen = book.fleet.unit(unit)?;
        book.fleet.whereabouts(seen, self.deps.clock.now(), self.settings.stale_ms()).ok()
    }

    /// Ends a wait, if there is one.
    pub(crate) async fn end_wait(
        &self,
        incident: &IncidentId,
        unit: Option<UnitId>,
        reason: &str,
        cause: Cause,
    ) -> Result<(), Failure> {
        if !self.book.borrow().queue.waits(incident) {
            return Ok(());
        }
        let command = WaitCommand::End { incident_id: incident.clone(), unit_id: unit, reason: reason.to_owned() };
        self.waits.deliver(incident.as_str(), command, cause).await.map(|_| ())
    }

    /// What the log says about an incident.
    pub(crate) async fn case(&self, incident: &IncidentId) -> Result<Case, StoreError> {
        let mut case = Case::default();
        let mut after = 0;
        loop {
            let page = self.deps.store.read_incident(incident, after, PAGE).await?;
            for recorded in &page {
                after = recorded.position;
                case = case.fold(incident, &recorded.envelope).map_err(|e| StoreError(format!("{e}: {}", e.source)))?;
            }
            if page.len() < PAGE {
                return Ok(case);
            }
        }
    }

    /// Reads trace and drill flag of the waiting back from their incidents.
    pub(crate) async fn recall_waiting(&self) -> Result<(), StoreError> {
        let waiting = self.book.borrow().queue.in_order();
        for incident in waiting {
            let case = self.case(&incident).await?;
            let mut book = self.book.borrow_mut();
            if let Some(known) = book.queue.known(&incident).cloned() {
                book.queue.restore(Known { traceparent: case.traceparent, exercise: case.exercise, ..known });
            }
        }
        Ok(())
    }

    /// Marks a message that needs no event as dealt with, so that a late repeat of it changes nothing.
    async fn mark(&self, cause: &Cause) -> Result<(), Failure> {
        let Some(consumer) = cause.consumer else { return Ok(()) };
        let commit = Commit { inbox: vec![InboxMark { consumer, message_id: cause.id }], ..Commit::default() };
        match self.deps.store.commit(commit).await {
            Ok(_) | Err(CommitError::Repeated { .. }) => Ok(()),
            Err(error) => Err(Failure::Retry(error.to_string())),
        }
    }

    /// A cause for a commit beside the main one: the same story, without the mark.
    pub(crate) fn inner_cause(&self, cause: &Cause) -> Cause {
        Cause {
            id: self.deps.ids.uuid(self.deps.clock.now()),
            consumer: None,
            idempotency: None,
            if_match: None,
            ..cause.clone()
        }
    }
}

/// Adds what a person could do better.
pub(crate) fn advise(recommendation: &mut Recommendation, gain: &str) {
    recommendation.reason = format!("{} A diversion is advised: {gain}", recommendation.reason);
}

/// Why it waits when a person sends the unit.
fn for_a_person(recommendation: Recommendation) -> Recommendation {
    let reason = format!("Units are sent to incidents of this kind by a person. {}", recommendation.reason);
    Recommendation { reason, ..recommendation }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn retry(error: StoreError) -> Failure {
    Failure::Retry(error.to_string())
}

/// The assignment of a candidate.
pub(crate) fn order(
    recommendation: &Recommendation,
    candidate: &Candidate,
    (from, to): (Option<LatLon>, LatLon),
    by: &str,
    reason: String,
    turnout_ms: i64,
) -> Assigned {
    Assigned {
        incident_id: recommendation.incident_id.clone(),
        unit_id: candidate.unit_id.clone(),
        eta_s: candidate.eta_s,
        distance_m: candidate.distance_m,
        eta_source: recommendation.eta_source.clone(),
        reason,
        candidates: recommendation.candidates.clone(),
        by: by.to_owned(),
        from,
        to,
        answer_by: Some(recommendation.computed_at.plus_ms(turnout_ms)),
    }
}
