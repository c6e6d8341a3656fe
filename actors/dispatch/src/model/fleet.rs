//! What the desk sees of the fleet, and which units may be sent to an incident.

use super::hospital::Heading;
use super::transition::carries_patient;
use super::unit::{Duty, FreeSpot, Leg, Serving, Unit};
use shers_contract::{
    IncidentId, LatLon, StationId, Timestamp, UnitId,
    dispatch::{Excluded, UnitProfile},
};
use std::collections::{BTreeMap, BTreeSet};

/// A position with its time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Position {
    /// When.
    pub at: Timestamp,
    /// Where.
    pub location: LatLon,
}

/// One unit as the desk sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// Its state.
    pub unit: Serving,
    /// Its last fix.
    pub fix: Option<Position>,
    /// Where and since when it stands, as far as its fixes tell.
    pub still: Option<Position>,
}

/// A unit on its way that does not move.
#[derive(Clone, PartialEq, Debug)]
pub struct Stalled {
    /// Which.
    pub unit_id: UnitId,
    /// For which incident.
    pub incident_id: IncidentId,
    /// Where it stands.
    pub at: LatLon,
    /// Where it should go.
    pub to: LatLon,
    /// What is seen, in a sentence.
    pub reason: String,
}

/// A unit on its way that could turn to another patient.
#[derive(Clone, PartialEq, Debug)]
pub struct Movable {
    /// Which.
    pub unit_id: UnitId,
    /// For which incident it is on its way.
    pub incident_id: IncidentId,
    /// Where it is.
    pub at: LatLon,
    /// Seconds until its expected arrival.
    pub remaining_s: u32,
}

/// A unit that stays within this many metres stands.
const STILL_M: f64 = 50.0;

/// The fleet.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    units: BTreeMap<UnitId, Seen>,
    at_work: BTreeMap<IncidentId, BTreeSet<UnitId>>,
    stations: BTreeMap<StationId, LatLon>,
    /// Fixes that are believed to say where their unit is, the oldest first.
    fresh: BTreeSet<(Timestamp, UnitId)>,
    /// Units whose actor is in quarantine: nobody would hear of an order to them.
    quarantined: BTreeSet<UnitId>,
}

/// Why a unit can't be sent.
#[derive(Clone, PartialEq, Debug)]
pub enum Unfit {
    /// It is busy.
    Busy(String),
    /// It is not in service.
    OutOfService,
    /// Its shift has not begun or is over.
    OffShift,
    /// It was taken off this very incident and has not reported available since.
    TakenOff,
    /// It lacks what is needed.
    Lacks(String),
    /// Nobody knows where it is.
    NoPosition,
    /// Its last position is too old, in whole minutes.
    Stale(i64),
    /// No road leads from there to the scene.
    NoRoute(String),
    /// Its actor is in quarantine until a person releases it.
    Quarantined,
}

impl Unfit {
    /// As a unit's reason.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Busy(what) => what.clone(),
            Self::OutOfService => "out of service".to_owned(),
            Self::OffShift => "off shift".to_owned(),
            Self::TakenOff => "was taken off this incident".to_owned(),
            Self::Lacks(need) => format!("lacks {need}"),
            Self::NoPosition => "position unknown".to_owned(),
            Self::Stale(minutes) => format!("last position is {minutes} min old"),
            Self::NoRoute(why) => why.clone(),
            Self::Quarantined => "in quarantine until a person releases it".to_owned(),
        }
    }
    /// The group it counts to in a sentence.
    #[must_use]
    pub fn group(&self) -> String {
        match self {
            Self::Busy(_) => "busy".to_owned(),
            Self::Stale(_) => "without a fresh position".to_owned(),
            Self::NoPosition => "without a known position".to_owned(),
            Self::NoRoute(_) => "off the road network".to_owned(),
            Self::Lacks(need) => format!("without {need}"),
            Self::TakenOff => "taken off this incident before".to_owned(),
            Self::Quarantined => "in quarantine".to_owned(),
            Self::OutOfService | Self::OffShift => self.text(),
        }
    }
}

/// Units sorted into those that may be sent and those that may not.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Screened {
    /// May be sent, from where.
    pub fit: Vec<(UnitId, LatLon)>,
    /// May not, and why.
    pub unfit: Vec<(UnitId, Unfit)>,
}

/// What is asked of a unit.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Capabilities.
    pub needs: &'a [String],
    /// For which incident.
    pub incident_id: &'a IncidentId,
    /// Now.
    pub now: Timestamp,
    /// A position older than this says nothing, in milliseconds.
    pub stale_ms: i64,
}

impl Fleet {
    /// Takes over a unit's new state. Returns whether it may have become free to be sent.
    pub fn see(&mut self, id: &UnitId, unit: &Unit) -> bool {
        let before = self.units.get(id).and_then(|seen| seen.unit.incident().cloned());
        if let Some(incident) = before {
            self.left(&incident, id);
        }
        let Some(serving) = unit.serving() else {
            if let Some(fix) = self.units.remove(id).and_then(|seen| seen.fix) {
                self.fresh.remove(&(fix.at, id.clone()));
            }
            return false;
        };
        if let Some(incident) = serving.incident() {
            self.at_work.entry(incident.clone()).or_default().insert(id.clone());
        }
        let free = matches!(serving.duty, Duty::Free { .. });
        let (fix, still) = self.units.get(id).map_or((None, None), |seen| (seen.fix, seen.still));
        self.units.insert(id.clone(), Seen { unit: serving.clone(), fix, still });
        free
    }

    fn left(&mut self, incident: &IncidentId, id: &UnitId) {
        if let Some(units) = self.at_work.get_mut(incident) {
            units.remove(id);
            if units.is_empty() {
                self.at_work.remove(incident);
            }
        }
    }

    /// Takes over a fix, if it is newer than the last one.
    pub fn locate(&mut self, id: &UnitId, position: Position) {
        if let Some(seen) = self.units.get_mut(id)
            && seen.fix.is_none_or(|fix| fix.at < position.at)
        {
            if let Some(old) = seen.fix.replace(position) {
                self.fresh.remove(&(old.at, id.clone()));
            }
            self.fresh.insert((position.at, id.clone()));
            if seen.still.is_none_or(|still| still.location.distance_m(&position.location) > STILL_M) {
                seen.still = Some(position);
            }
        }
    }

    /// Takes over where a station is.
    pub fn place_station(&mut self, id: StationId, location: LatLon) {
        self.stations.insert(id, location);
    }

    /// The units whose last fix went stale since this was last asked: they stand elsewhere now, or nowhere.
    pub fn gone_stale(&mut self, now: Timestamp, stale_ms: i64) -> Vec<UnitId> {
        let mut stale = Vec::new();
        while let Some((_, id)) = self.fresh.first().filter(|(at, _)| now.ms_since(*at) > stale_ms) {
            stale.push(id.clone());
            self.fresh.pop_first();
        }
        stale
    }

    /// Where a unit is believed to be, if anywhere.
    #[must_use]
    pub fn place_of(&self, id: &UnitId, now: Timestamp, stale_ms: i64) -> Option<LatLon> {
        self.whereabouts(self.units.get(id)?, now, stale_ms).ok()
    }

    /// How many units there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Units on their way that have not moved for `limit_ms`, or were not heard of, and are not flagged yet.
    /// A unit that never sent a fix says nothing either way.
    #[must_use]
    pub fn stalled(&self, now: Timestamp, limit_ms: i64) -> Vec<Stalled> {
        let stalled = |(id, seen): (&UnitId, &Seen)| {
            let (mission, leg) = seen.unit.mission()?;
            let to = mission.order.as_ref()?.to;
            let (fix, still) = (seen.fix?, seen.still?);
            let since = still.at.max(seen.unit.since);
            if !matches!(leg, Leg::Enroute) || mission.stalled || now.ms_since(since) < limit_ms {
                return None;
            }
            let minutes = now.ms_since(since) / 60_000;
            let silent = now.ms_since(fix.at) >= limit_ms;
            let what = if silent { "has sent no position" } else { "has not moved" };
            let reason = format!("{id} {what} for {minutes} min on its way; ask the crew, or send another unit.");
            let (unit_id, incident_id) = (id.clone(), mission.incident_id.clone());
            Some(Stalled { unit_id, incident_id, at: fix.location, to, reason })
        };
        self.units.iter().filter_map(stalled).collect()
    }

    /// Units that have not arrived at their scene, were not moved before and offer what is needed.
    #[must_use]
    pub fn movable(&self, needs: &[String], now: Timestamp, stale_ms: i64) -> Vec<Movable> {
        let movable = |(id, seen): (&UnitId, &Seen)| {
            let (mission, leg) = seen.unit.mission()?;
            let before_scene = matches!(leg, Leg::Assigned | Leg::Enroute) && !mission.diverted;
            let offers_all = needs.iter().all(|need| offers(&seen.unit.profile, need));
            let expected = mission.expected.filter(|_| before_scene && offers_all && seen.unit.on_shift(now))?;
            let at = self.whereabouts(seen, now, stale_ms).ok()?;
            let remaining_s = u32::try_from(expected.arrives_at.ms_since(now) / 1_000).unwrap_or(0);
            Some(Movable { unit_id: id.clone(), incident_id: mission.incident_id.clone(), at, remaining_s })
        };
        self.units.iter().filter_map(movable).collect()
    }

    /// How many units have or fetch a patient for each hospital, `except` one.
    #[must_use]
    pub fn heading(&self, except: &UnitId) -> Heading {
        let mut heading = Heading::new();
        for (_, seen) in self.units.iter().filter(|(id, _)| *id != except) {
            let Some((_, leg)) = seen.unit.mission() else { continue };
            let Some(hospital) = leg.hospital().filter(|_| !matches!(leg, Leg::HandedOver(..))) else { continue };
            *heading.entry(hospital.hospital_id.clone()).or_default() += 1;
        }
        heading
    }

    /// One unit.
    #[must_use]
    pub fn unit(&self, id: &UnitId) -> Option<&Seen> {
        self.units.get(id)
    }

    /// All units, by id.
    pub fn units(&self) -> impl Iterator<Item = (&UnitId, &Seen)> {
        self.units.iter()
    }

    /// The units at work for an incident.
    #[must_use]
    pub fn at_work_for(&self, incident: &IncidentId) -> Vec<UnitId> {
        self.at_work.get(incident).map(|units| units.iter().cloned().collect()).unwrap_or_default()
    }

    /// The units of an incident that can still be called off.
    #[must_use]
    pub fn recallable(&self, incident: &IncidentId) -> Vec<UnitId> {
        let mut units = self.at_work_for(incident);
        units.retain(|id| {
            let leg = self.units.get(id).and_then(|seen| seen.unit.status());
            leg.is_some_and(|status| {
                !carries_patient(status) && status != shers_contract::dispatch::UnitStatus::HandedOver
            })
        });
        units
    }

    /// Where a unit is believed to be: its fresh fix; else, for one at its post or one that never sent a
    /// fix, its registered location or its station.
    ///
    /// # Errors
    /// Why it can't be sent from anywhere.
    pub fn whereabouts(&self, seen: &Seen, now: Timestamp, stale_ms: i64) -> Result<LatLon, Unfit> {
        let station = seen.unit.profile.station_id.as_ref().and_then(|id| self.stations.get(id)).copied();
        let post = seen.unit.profile.location.or(station);
        let at_post = matches!(seen.unit.duty, Duty::Free { spot: FreeSpot::AtPost, .. });
        match (seen.fix, post) {
            (Some(fix), _) if now.ms_since(fix.at) <= stale_ms => Ok(fix.location),
            (Some(_), Some(post)) if at_post => Ok(post),
            (Some(fix), None) if at_post => Ok(fix.location),
            (Some(fix), _) => Err(Unfit::Stale(now.ms_since(fix.at) / 60_000)),
            (None, Some(post)) => Ok(post),
            (None, None) => Err(Unfit::NoPosition),
        }
    }

    /// Sorts all units.
    #[must_use]
    pub fn screen(&self, demand: &Demand<'_>) -> Screened {
        let mut screened = Screened::default();
        for (id, seen) in &self.units {
            match self.fitness(id, seen, demand) {
                Ok(from) => screened.fit.push((id.clone(), from)),
                Err(unfit) => screened.unfit.push((id.clone(), unfit)),
            }
        }
        screened
    }

    /// Whether one unit may be sent.
    ///
    /// # Errors
    /// Why not; `None` for a unit that nobody knows.
    pub fn may_go(&self, id: &UnitId, demand: &Demand<'_>) -> Result<(), Option<Unfit>> {
        let seen = self.units.get(id).ok_or(None)?;
        self.fitness(id, seen, demand).map(|_| ()).map_err(Some)
    }

    /// Says whose actors are in quarantine now.
    pub fn quarantine(&mut self, units: BTreeSet<UnitId>) {
        self.quarantined = units;
    }

    fn fitness(&self, id: &UnitId, seen: &Seen, demand: &Demand<'_>) -> Result<LatLon, Unfit> {
        match &seen.unit.duty {
            Duty::Busy { mission, leg } => {
                return Err(Unfit::Busy(format!("{} for incident {}", leg.status(), mission.incident_id)));
            }
            Duty::OutOfService | Duty::New => return Err(Unfit::OutOfService),
            Duty::Free { spot: FreeSpot::Cancelled, after: Some(incident) } if incident == demand.incident_id => {
                return Err(Unfit::TakenOff);
            }
            Duty::Free { .. } => {}
        }
        if self.quarantined.contains(id) {
            return Err(Unfit::Quarantined);
        }
        if !seen.unit.on_shift(demand.now) {
            return Err(Unfit::OffShift);
        }
        if let Some(need) = demand.needs.iter().find(|need| !offers(&seen.unit.profile, need)) {
            return Err(Unfit::Lacks(need.clone()));
        }
        self.whereabouts(seen, demand.now, demand.stale_ms)
    }
}

/// Whether a unit has a capability: its own, or its crew's level (who can do advanced life support can do
/// basic life support).
#[must_use]
pub fn offers(profile: &UnitProfile, need: &str) -> bool {
    let level = profile.crew_level.as_str();
    profile.capabilities.iter().any(|c| c == need) || level == need || (need == "bls" && level == "als")
}

/// As in events, at most `limit`.
#[must_use]
pub fn excluded(unfit: &[(UnitId, Unfit)], limit: usize) -> Vec<Excluded> {
    unfit.iter().take(limit).map(|(id, why)| Excluded { unit_id: id.clone(), reason: why.text() }).collect()
}
