//! The recommendation with its sentence, and the order of the waiting.

use super::fleet::{Unfit, excluded};
use serde::Serialize;
use shers_contract::{
    IncidentId, LatLon, Timestamp, Traceparent, UnitId,
    dispatch::{Candidate, Excluded},
    incident::{Priority, RequestDispatch},
};
use std::collections::{BTreeMap, BTreeSet};

/// Which unit to send, and why.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Recommendation {
    /// For which incident.
    pub incident_id: IncidentId,
    /// The best few, best first. Empty: no unit can go.
    pub candidates: Vec<Candidate>,
    /// The others, with reasons (at most a screenful).
    pub excluded: Vec<Excluded>,
    /// One plain sentence.
    pub reason: String,
    /// Who computed the times.
    pub eta_source: String,
    /// When.
    pub computed_at: Timestamp,
}

/// Drive times as they were found.
#[derive(Clone, PartialEq, Debug)]
pub struct Times {
    /// The best few, best first.
    pub best: Vec<Candidate>,
    /// Among whom.
    pub compared: Compared,
    /// Who computed them.
    pub source: String,
}

/// Among whom the best were found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// So many units that may go.
    Suitable(usize),
    /// A whole fleet of so many; how many of them may go was not counted.
    Fleet(usize),
}

impl Compared {
    fn text(self) -> String {
        match self {
            Self::Suitable(count) => format!("the closest of {count} suitable free units by road"),
            Self::Fleet(count) => format!("the closest suitable free unit of a fleet of {count} by road"),
        }
    }
}

/// Puts a recommendation together.
#[must_use]
pub fn recommend(
    incident_id: IncidentId,
    times: Times,
    unfit: &[(UnitId, Unfit)],
    max_excluded: usize,
    computed_at: Timestamp,
) -> Recommendation {
    let reason = match times.best.as_slice() {
        [] => nobody(unfit),
        [only] => alone(only, unfit),
        [first, second, ..] => closest(first, second, times.compared),
    };
    Recommendation {
        incident_id,
        reason,
        candidates: times.best,
        excluded: excluded(unfit, max_excluded),
        eta_source: times.source,
        computed_at,
    }
}

/// A recommendation for an incident that nobody knows the place of.
#[must_use]
pub fn nowhere(incident_id: IncidentId, computed_at: Timestamp) -> Recommendation {
    Recommendation {
        incident_id,
        candidates: Vec::new(),
        excluded: Vec::new(),
        reason: "location unknown: a unit is sent as soon as a call brings a location.".to_owned(),
        eta_source: "none".to_owned(),
        computed_at,
    }
}

fn closest(first: &Candidate, second: &Candidate, compared: Compared) -> String {
    let lead_s = second.eta_s.saturating_sub(first.eta_s);
    let change = if lead_s == 0 {
        format!("both take the same time, so any delay of {} would make it {}", first.unit_id, second.unit_id)
    } else {
        format!("it would be {} if {} lost more than {}", second.unit_id, first.unit_id, duration_text(lead_s))
    };
    format!(
        "{} is {}: {} ({}); next is {} with {} ({}); {change}.",
        first.unit_id,
        compared.text(),
        duration_text(first.eta_s),
        distance_text(first.distance_m),
        second.unit_id,
        duration_text(second.eta_s),
        distance_text(second.distance_m),
    )
}

fn alone(only: &Candidate, unfit: &[(UnitId, Unfit)]) -> String {
    let others = if unfit.is_empty() { "there is no other unit".to_owned() } else { counts(unfit) };
    format!(
        "{} is the only suitable free unit: {} ({}) by road; {others}; another one that comes free closer would change it.",
        only.unit_id,
        duration_text(only.eta_s),
        distance_text(only.distance_m),
    )
}

fn nobody(unfit: &[(UnitId, Unfit)]) -> String {
    if unfit.is_empty() {
        return "No unit can go: none is registered.".to_owned();
    }
    format!("No unit can go: {}; the first suitable one that comes free is sent.", counts(unfit))
}

/// `2 busy, 1 out of service`.
fn counts(unfit: &[(UnitId, Unfit)]) -> String {
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for (_, why) in unfit {
        *groups.entry(why.group()).or_default() += 1;
    }
    groups.iter().map(|(group, count)| format!("{count} {group}")).collect::<Vec<_>>().join(", ")
}

/// `4 min 10 s`, `50 s`.
#[must_use]
pub fn duration_text(seconds: u32) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// `850 m`, `3.2 km`.
#[must_use]
pub fn distance_text(metres: u32) -> String {
    if metres < 1_000 { format!("{metres} m") } else { format!("{:.1} km", f64::from(metres) / 1_000.0) }
}

/// A request that the desk knows, waiting or served.
#[derive(Clone, PartialEq, Debug)]
pub struct Known {
    /// What is asked for.
    pub request: RequestDispatch,
    /// Trace of the incident.
    pub traceparent: Option<Traceparent>,
    /// Demo and drills.
    pub exercise: bool,
}

/// Place in the queue: priority, then age, then id.
pub type Rank = (Priority, Timestamp, IncidentId);

/// The place of a request.
#[must_use]
pub fn rank(request: &RequestDispatch) -> Rank {
    (request.priority, request.opened_at, request.incident_id.clone())
}

/// The requests the desk knows, and which of them wait.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    known: BTreeMap<IncidentId, Known>,
    waiting: BTreeSet<Rank>,
}

impl Queue {
    /// Takes over what a request says now. A request never lowers the priority (only [`Self::set_priority`] does) and a
    /// location is never forgotten.
    pub fn learn(&mut self, request: &RequestDispatch, traceparent: Option<Traceparent>, exercise: bool) -> Known {
        let old = self.known.get(&request.incident_id).cloned();
        let waited = self.remove_rank(&request.incident_id);
        let known = match old {
            None => Known { request: request.clone(), traceparent, exercise },
            Some(old) => Known {
                request: RequestDispatch {
                    priority: request.priority.min(old.request.priority),
                    location: request.location.or(old.request.location),
                    opened_at: request.opened_at.min(old.request.opened_at),
                    ..request.clone()
                },
                traceparent: traceparent.or(old.traceparent),
                exercise: exercise || old.exercise,
            },
        };
        self.known.insert(request.incident_id.clone(), known.clone());
        if waited {
            self.waiting.insert(rank(&known.request));
        }
        known
    }

    /// A person or a deadline changed how urgent it is. Gives what is known now, if that changed.
    pub fn set_priority(&mut self, incident: &IncidentId, priority: Priority) -> Option<Known> {
        let known = self.known.get(incident).filter(|known| known.request.priority != priority).cloned()?;
        let waited = self.remove_rank(incident);
        let known = Known { request: RequestDispatch { priority, ..known.request.clone() }, ..known };
        if waited {
            self.waiting.insert(rank(&known.request));
        }
        self.known.insert(incident.clone(), known.clone());
        Some(known)
    }

    /// Puts back what was read from the log.
    pub fn restore(&mut self, known: Known) {
        let waited = self.remove_rank(&known.request.incident_id);
        if waited {
            self.waiting.insert(rank(&known.request));
        }
        self.known.insert(known.request.incident_id.clone(), known);
    }

    /// It waits.
    pub fn wait(&mut self, request: &RequestDispatch) {
        self.remove_rank(&request.incident_id);
        self.waiting.insert(rank(request));
        let known = Known { request: request.clone(), traceparent: None, exercise: false };
        self.known.entry(request.incident_id.clone()).and_modify(|k| k.request = request.clone()).or_insert(known);
    }

    /// It waits no longer.
    pub fn end_wait(&mut self, incident: &IncidentId) {
        self.remove_rank(incident);
    }

    /// Nobody needs a unit there any more.
    pub fn forget(&mut self, incident: &IncidentId) {
        self.remove_rank(incident);
        self.known.remove(incident);
    }

    fn remove_rank(&mut self, incident: &IncidentId) -> bool {
        self.known.get(incident).is_some_and(|known| self.waiting.remove(&rank(&known.request)))
    }

    /// What is known of an incident.
    #[must_use]
    pub fn known(&self, incident: &IncidentId) -> Option<&Known> {
        self.known.get(incident)
    }

    /// Whether an incident waits.
    #[must_use]
    pub fn waits(&self, incident: &IncidentId) -> bool {
        self.known.get(incident).is_some_and(|known| self.waiting.contains(&rank(&known.request)))
    }

    /// The waiting, most urgent first, then oldest.
    #[must_use]
    pub fn in_order(&self) -> Vec<IncidentId> {
        self.waiting.iter().map(|(_, _, incident)| incident.clone()).collect()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Where an incident is: what the newest request says, else where its unit was sent.
#[must_use]
pub fn scene(known: Option<&Known>, sent_to: Option<LatLon>) -> Option<LatLon> {
    known.and_then(|known| known.request.location).or(sent_to)
}
