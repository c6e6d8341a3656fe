//! Positions: believed or refused, kept in a bounded journal, and turned into arrival times.
//!
//! Fixes of concurrent requests travel together: while one commit is under way the next ones gather. A
//! request is answered when its fixes are durable, and the fleet sees them only then.

use crate::desk::Desk;
use crate::gateway::Driving;
use crate::model::fleet::Position;
use crate::model::positions::{self, Sorted};
use crate::model::unit::{EtaLeg, UnitCommand};
use crate::orders::unreadable;
use serde_json::{Value, json};
use shers_contract::{
    DomainEvent, IncidentId, LatLon, Problem, Traceparent, UnitId,
    api::{Answer, Call, Reply, UnitFix},
    dispatch::{Fix, LocationsReported, UnitEvent},
    envelope::StreamName,
};
use shers_runtime::store::Expected;
use shers_runtime::{Append, Cause, Commit, CommitError, Deps, NewEvent, StoreError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Category of the journal.
pub(crate) const POSITIONS: &str = "positions";
/// Its one partition: the whole fleet has one owner.
const PARTITION: &str = "p00";
/// Events of the journal read at once at start.
const PAGE: usize = 500;

/// A drive under way.
pub(crate) struct DriveNow {
    pub incident_id: IncidentId,
    pub leg: EtaLeg,
    pub from: LatLon,
    pub to: LatLon,
    pub driving: Driving,
}

/// Fixes on their way into the journal.
struct Pending {
    fixes: Vec<Fix>,
    cause: Uuid,
    traceparent: Traceparent,
    exercise: bool,
    done: oneshot::Sender<Result<(), CommitError>>,
}

/// The journal's writer.
pub(crate) struct Journal {
    deps: Deps,
    max_fixes: usize,
    pending: RefCell<Vec<Pending>>,
    writing: Cell<bool>,
}

impl Journal {
    pub(crate) fn new(deps: Deps, max_fixes: usize) -> Rc<Self> {
        Rc::new(Self { deps, max_fixes: max_fixes.max(1), pending: RefCell::default(), writing: Cell::new(false) })
    }

    /// Resolves when the fixes are durable.
    async fn append(self: &Rc<Self>, call: &Call, fixes: Vec<Fix>) -> Result<(), Problem> {
        let (done, outcome) = oneshot::channel();
        let pending = Pending { fixes, cause: call.id, traceparent: call.traceparent, exercise: call.exercise, done };
        self.pending.borrow_mut().push(pending);
        if !self.writing.replace(true) {
            actix_rt::spawn(Rc::clone(self).write());
        }
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(CommitError::Unknown(_))) | Err(_) => Err(Problem::unknown_outcome()),
            Ok(Err(error)) => {
                tracing::error!(%error, "writing positions");
                Err(Problem::unavailable("positions can't be stored now; try again"))
            }
        }
    }

    async fn write(self: Rc<Self>) {
        loop {
            let batch = std::mem::take(&mut *self.pending.borrow_mut());
            if batch.is_empty() {
                self.writing.set(false);
                return;
            }
            let append = Append {
                stream: StreamName::new(POSITIONS, PARTITION),
                expected: Expected::Any,
                events: [false, true].into_iter().flat_map(|exercise| self.events(&batch, exercise)).collect(),
                open: false,
            };
            let outcome = self.deps.store.commit(Commit { appends: vec![append], ..Commit::default() }).await;
            for pending in batch {
                // The asker may have gone; the fixes are kept all the same.
                let _ = pending.done.send(outcome.clone().map(|_| ()));
            }
        }
    }

    /// The batch as events; drills stay apart from the real world.
    fn events(&self, batch: &[Pending], exercise: bool) -> Vec<NewEvent> {
        let of: Vec<&Pending> = batch.iter().filter(|pending| pending.exercise == exercise).collect();
        let fixes: Vec<Fix> = of.iter().flat_map(|pending| pending.fixes.iter().cloned()).collect();
        let first = of.first();
        let now = self.deps.clock.now();
        let chunks = fixes.chunks(self.max_fixes);
        chunks
            .map(|fixes| {
                let event = UnitEvent::Located(LocationsReported { fixes: fixes.to_vec() });
                NewEvent {
                    id: self.deps.ids.uuid(now),
                    kind: event.kind(),
                    v: event.schema_version(),
                    at: now,
                    correlation_id: None,
                    causation_id: first.map(|pending| pending.cause),
                    traceparent: first.map(|pending| pending.traceparent.child(self.deps.ids.random())),
                    exercise,
                    data: event.to_data(),
                }
            })
            .collect()
    }
}

impl Desk {
    /// `POST /units/{id}/locations` and `/osmand`.
    pub(crate) async fn report_locations(
        self: &Rc<Self>,
        journal: &Rc<Journal>,
        call: &Call,
        unit: &UnitId,
        fixes: Vec<UnitFix>,
    ) -> Reply {
        let now = self.deps.clock.now();
        if fixes.is_empty() {
            return Err(Problem::invalid("", "give at least one position"));
        }
        if fixes.len() > self.settings.max_fixes_per_request {
            let limit = self.settings.max_fixes_per_request;
            return Err(Problem::new(413, "too-many-positions", format!("at most {limit} positions a request")));
        }
        let seen = self.book.borrow().fleet.unit(unit).map(|seen| seen.fix);
        let Some(last) = seen else {
            self.unit_state(unit).await?;
            return Err(Problem::conflict(format!("unit {unit} was retired; its positions are not kept")));
        };
        let fixes = fixes.into_iter().map(|fix| fix.of_unit(unit.clone(), now)).collect();
        let Sorted { believed, accepted, refused } = positions::sort(fixes, last, now, &self.settings.fix_limits());
        if !believed.is_empty() {
            journal.append(call, believed.clone()).await?;
            self.saw(&believed);
            actix_rt::spawn(Rc::clone(self).refresh_eta(unit.clone()));
        }
        let refused: Vec<Value> =
            refused.iter().map(|(index, problem)| json!({"index": index, "problem": problem})).collect();
        if accepted == 0 {
            return Err(Problem::new(422, "all-refused", "no position of this request can be right; see \"refused\"")
                .with("accepted", 0)
                .with("refused", refused));
        }
        Ok(Answer::ok(json!({"accepted": accepted, "refused": refused})).with_status(202))
    }

    /// Takes fixes over into the fleet.
    pub(crate) fn saw(&self, fixes: &[Fix]) {
        let mut book = self.book.borrow_mut();
        for fix in fixes {
            book.fleet.locate(&fix.unit_id, Position { at: fix.at, location: fix.location });
            self.ground.stand(&book.fleet, &fix.unit_id);
        }
        if !book.queue.is_empty() {
            // Somebody waits, and a unit's position may have been what was missing.
            self.bell.ring();
        }
    }

    /// Computes the arrival of a driving unit again, and lets the unit say so when it moved enough.
    async fn refresh_eta(self: Rc<Self>, unit: UnitId) {
        let now = self.deps.clock.now();
        let Some(drive) = self.drive_of(&unit) else { return };
        let off_route_m = self.off_route(&unit, &drive);
        if !self.may_ask_eta(&unit, off_route_m.is_some()) {
            return;
        }
        let DriveNow { incident_id, leg, from, to, driving } = drive;
        let trip = match self.eta.travel(from, to, driving).await {
            Ok(trip) => trip,
            Err(error) => {
                tracing::debug!(unit.id = %unit, %error, "no drive time from here; the last one stands");
                return;
            }
        };
        let command = UnitCommand::NoteEta {
            incident_id,
            leg,
            arrives_at: now.plus_ms(i64::from(trip.travel.duration_s) * 1_000),
            eta_source: trip.source.to_owned(),
            off_route_m,
            change_ms: self.settings.eta_change_ms(),
            interval_ms: self.settings.eta_interval_ms(),
        };
        let cause = Cause::internal(self.deps.ids.uuid(now), false);
        if let Err(failure) = self.units.deliver(unit.as_str(), command, cause).await {
            tracing::debug!(unit.id = %unit, ?failure, "an arrival time was not noted; the next one will be");
        }
    }

    /// Flags the units on their way that don't move: in `dispatch.eta-changed`, with a reason.
    pub(crate) async fn flag_the_stalled(&self) {
        let now = self.deps.clock.now();
        let stalled = self.book.borrow().fleet.stalled(now, self.settings.not_moving_ms());
        for stalled in stalled {
            let trip = self.eta.travel(stalled.at, stalled.to, Driving::LightsAndSirens).await;
            // Without a drive time the flag still goes out; it then promises nothing before now.
            let (drive_s, source) = trip.map_or((0, "none"), |trip| (trip.travel.duration_s, trip.source));
            let command = UnitCommand::NoteStall {
                incident_id: stalled.incident_id,
                reason: stalled.reason,
                arrives_at: now.plus_ms(i64::from(drive_s) * 1_000),
                eta_source: source.to_owned(),
            };
            let cause = Cause::internal(self.deps.ids.uuid(now), false);
            if let Err(failure) = self.units.deliver(stalled.unit_id.as_str(), command, cause).await {
                tracing::debug!(unit.id = %stalled.unit_id, ?failure, "a unit that stands was not flagged; it is tried again");
            }
        }
    }

    /// Where a unit drives, if it drives.
    fn drive_of(&self, unit: &UnitId) -> Option<DriveNow> {
        let book = self.book.borrow();
        let seen = book.fleet.unit(unit)?;
        let (mission, leg) = seen.unit.mission()?;
        let (leg, to) = leg.destination(mission)?;
        let driving = match leg {
            EtaLeg::Scene => Driving::LightsAndSirens,
            EtaLeg::Hospital => Driving::Normal,
        };
        Some(DriveNow { incident_id: mission.incident_id.clone(), leg, from: seen.fix?.location, to, driving })
    }

    /// Whether its arrival is computed now: not a moment after the last time, unless it left its way.
    fn may_ask_eta(&self, unit: &UnitId, left_its_way: bool) -> bool {
        let now = self.deps.clock.now();
        let mut book = self.book.borrow_mut();
        let lately = book.eta_asked.get(unit).is_some_and(|at| now.ms_since(*at) < self.settings.eta_interval_ms());
        if lately && !left_its_way {
            return false;
        }
        book.eta_asked.insert(unit.clone(), now);
        true
    }

    /// Reads the positions that still say something back from the journal.
    pub(crate) async fn recall_positions(&self) -> Result<(), StoreError> {
        let oldest = self.deps.clock.now().plus_ms(-self.settings.stale_ms());
        let mut before = u64::try_from(i64::MAX).unwrap_or(u64::MAX);
        loop {
            let page = self.deps.store.read_back(POSITIONS, before, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            before = last.position;
            let over = last.envelope.at < oldest || page.len() < PAGE;
            for recorded in &page {
                if let Some(Ok(UnitEvent::Located(located))) = UnitEvent::from_envelope(&recorded.envelope) {
                    self.saw(&located.fixes);
                }
            }
            if over {
                return Ok(());
            }
        }
    }

    /// Drops old positions, for ever.
    pub(crate) async fn prune_for_ever(self: Rc<Self>) {
        loop {
            self.deps.clock.sleep(self.settings.prune_interval()).await;
            let before = self.deps.clock.now().plus_ms(-self.settings.retention_ms());
            match self.deps.store.prune(POSITIONS, before).await {
                Ok((0, _)) => {}
                Ok((gone, _)) => tracing::debug!(gone, "old positions dropped"),
                Err(error) => {
                    let problem = unreadable(&error);
                    tracing::warn!(%problem, "dropping old positions failed; it is tried again");
                }
            }
        }
    }
}
