//! Response times: intervals of one incident, and fractiles with the share within target over many.
//!
//! Definitions follow NEMSIS: call processing = assigned − call, turnout = enroute − assigned,
//! travel = on scene − enroute, response = on scene − call, scene = left scene − on scene,
//! transport = at destination − left scene, offload = handed over − at destination. A mean alone hides the
//! late ones, so none is given: median, 90th centile, and share within target.

use super::{
    area::Areas,
    doc::UNKNOWN,
    incident::{IncidentDoc, Status, Times},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shers_contract::{LatLon, Timestamp, billing::BillState, incident::Priority};
use std::collections::BTreeMap;

/// Targets in seconds, and the figures' sources. A target of null measures without judging.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targets {
    /// Call to assigned.
    pub call_processing_s: Option<u32>,
    /// Assigned to driving. NFPA 1710: 60 s.
    pub turnout_s: Option<u32>,
    /// Driving to on scene. NFPA 1710, advanced life support: 480 s.
    pub travel_s: Option<u32>,
    /// Call to on scene, for priorities 1 to 4. NHS England's 90th centiles: 15, 40, 120 and 180 minutes.
    pub response_s: [u32; 4],
    /// On scene to leaving it.
    pub scene_s: Option<u32>,
    /// Leaving the scene to the hospital.
    pub transport_s: Option<u32>,
    /// At the hospital to handed over.
    pub offload_s: Option<u32>,
}

impl Default for Targets {
    fn default() -> Self {
        Self {
            call_processing_s: Some(60),
            turnout_s: Some(60),
            travel_s: Some(480),
            response_s: [900, 2_400, 7_200, 10_800],
            scene_s: Some(1_200),
            transport_s: None,
            offload_s: Some(900),
        }
    }
}

/// Intervals of one incident in milliseconds; null while an end is missing, or when the two clocks
/// disagree so that it would be negative.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Intervals {
    /// Assigned − call.
    pub call_processing_ms: Option<i64>,
    /// Enroute − assigned.
    pub turnout_ms: Option<i64>,
    /// On scene − enroute.
    pub travel_ms: Option<i64>,
    /// On scene − call.
    pub response_ms: Option<i64>,
    /// Left scene − on scene.
    pub scene_ms: Option<i64>,
    /// At destination − left scene.
    pub transport_ms: Option<i64>,
    /// Handed over − at destination.
    pub offload_ms: Option<i64>,
}

impl Intervals {
    /// The intervals between milestones.
    #[must_use]
    pub fn of(times: &Times) -> Self {
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| Some(to?.ms_since(from?)).filter(|ms| *ms >= 0);
        Self {
            call_processing_ms: between(times.call, times.assigned),
            turnout_ms: between(times.assigned, times.enroute),
            travel_ms: between(times.enroute, times.on_scene),
            response_ms: between(times.call, times.on_scene),
            scene_ms: between(times.on_scene, times.onboard),
            transport_ms: between(times.onboard, times.arrived),
            offload_ms: between(times.arrived, times.handed_over),
        }
    }
}

/// The small document from which figures are made, one for each incident.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KpiDoc {
    /// Which incident.
    pub incident_id: String,
    /// Its status.
    pub status: Status,
    /// How urgent.
    pub priority: Priority,
    /// No unit goes although one is wanted.
    pub waiting: bool,
    /// State of its bill.
    pub bill: Option<BillState>,
    /// The bill waits for a person.
    pub stuck: bool,
    /// When the call came.
    pub call_at: Option<Timestamp>,
    /// Where, for its area.
    #[serde(default)]
    pub location: Option<LatLon>,
    /// Its intervals.
    pub intervals: Intervals,
}

impl KpiDoc {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn empty(id: &str) -> Self {
        Self {
            incident_id: id.to_owned(),
            status: Status::Unknown,
            priority: Priority::P4,
            waiting: false,
            bill: None,
            stuck: false,
            call_at: None,
            location: None,
            intervals: Intervals::default(),
        }
    }

    /// What matters of `incident`.
    #[must_use]
    pub fn of(incident: &IncidentDoc) -> Self {
        Self {
            incident_id: incident.incident_id.clone(),
            status: incident.status,
            priority: incident.priority,
            waiting: incident.waiting_reason.is_some(),
            bill: incident.bill.as_ref().map(|b| b.state),
            stuck: incident.bill.as_ref().is_some_and(|b| b.attention.is_some()),
            call_at: incident.times.call,
            location: incident.location,
            intervals: Intervals::of(&incident.times),
        }
    }

    /// Filter word: `open` until the incident ends.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self.status {
            Status::Unknown => UNKNOWN,
            Status::Opened | Status::Acknowledged | Status::Resolved => "open",
            Status::Closed | Status::Cancelled => "ended",
        }
    }

    /// Sort key: newest call first.
    #[must_use]
    pub fn rank(&self) -> i64 {
        self.call_at.map_or(0, Timestamp::as_ms).saturating_neg()
    }
}

/// The nearest-rank fractile of sorted values: the smallest that at least `percent` of them do not exceed.
#[must_use]
pub fn fractile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Whole seconds with one decimal, as people read them.
#[expect(clippy::cast_precision_loss, reason = "durations are far below 2^52 ms")]
fn seconds(ms: i64) -> f64 {
    (ms as f64 / 100.0).round() / 10.0
}

/// Fractiles of `(interval, its own target)` pairs.
fn figures(mut measured: Vec<(i64, Option<u32>)>, target_s: Option<u32>) -> Value {
    let within = measured.iter().filter(|(ms, target)| target.is_some_and(|t| *ms <= i64::from(t) * 1000)).count();
    let judged = measured.iter().filter(|(_, target)| target.is_some()).count();
    measured.sort_unstable_by_key(|(ms, _)| *ms);
    let sorted: Vec<i64> = measured.into_iter().map(|(ms, _)| ms).collect();
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let share = (judged > 0).then(|| (within as f64 / judged as f64 * 10_000.0).round() / 10_000.0);
    json!({
        "count": sorted.len(),
        "p50_s": fractile(&sorted, 50).map(seconds),
        "p90_s": fractile(&sorted, 90).map(seconds),
        "target_s": target_s,
        "within_target": share,
    })
}

/// The target of a response, by priority.
fn response_target(targets: &Targets, priority: Priority) -> Option<u32> {
    targets.response_s.get(usize::from(priority.get()).saturating_sub(1)).copied()
}

/// The categories: priorities 1 to 4 (NHS ARP).
const CATEGORIES: [Priority; 4] = [Priority::P1, Priority::P2, Priority::P3, Priority::P4];

/// Fractiles of every interval over `incidents`.
fn all_intervals<'a>(incidents: impl Iterator<Item = &'a KpiDoc> + Clone, targets: &Targets) -> Map<String, Value> {
    type Pick = fn(&Intervals) -> Option<i64>;
    let all = |pick: Pick, target: Option<u32>| {
        figures(incidents.clone().filter_map(|i| Some((pick(&i.intervals)?, target))).collect(), target)
    };
    let response = incidents
        .clone()
        .filter_map(|i| Some((i.intervals.response_ms?, response_target(targets, i.priority))))
        .collect::<Vec<_>>();
    // One target, when all measured share it.
    let first = response.first().and_then(|(_, target)| *target);
    let shared = first.filter(|first| response.iter().all(|(_, target)| *target == Some(*first)));
    [
        ("call_processing_time", all(|i| i.call_processing_ms, targets.call_processing_s)),
        ("turnout_time", all(|i| i.turnout_ms, targets.turnout_s)),
        ("travel_time", all(|i| i.travel_ms, targets.travel_s)),
        ("response_time", figures(response, shared)),
        ("scene_time", all(|i| i.scene_ms, targets.scene_s)),
        ("transport_time", all(|i| i.transport_ms, targets.transport_s)),
        ("offload_time", all(|i| i.offload_ms, targets.offload_s)),
    ]
    .into_iter()
    .map(|(name, figures)| (name.to_owned(), figures))
    .collect()
}

/// The same for each category that has incidents.
fn by_category<'a>(incidents: impl Iterator<Item = &'a KpiDoc> + Clone, targets: &Targets) -> Value {
    let of = |category: Priority| {
        let own = incidents.clone().filter(move |i| i.priority == category);
        own.clone().next().map(|_| (category.get().to_string(), Value::Object(all_intervals(own, targets))))
    };
    Value::Object(CATEGORIES.into_iter().filter_map(of).collect())
}

/// Fractiles of every interval over `incidents`: together, per category, and per area with its categories. Areas that
/// have targets of their own are judged by those.
#[must_use]
pub fn intervals(incidents: &[KpiDoc], targets: &Targets, areas: &Areas) -> Value {
    let mut body = all_intervals(incidents.iter(), targets);
    let mut per_area: BTreeMap<String, Vec<&KpiDoc>> = BTreeMap::new();
    for incident in incidents {
        per_area.entry(areas.name_of(incident.location)).or_default().push(incident);
    }
    let of_area = |(name, own): (String, Vec<&KpiDoc>)| {
        let targets = areas.targets_of(&name).unwrap_or(targets);
        let mut figures = all_intervals(own.iter().copied(), targets);
        figures.insert("incidents".to_owned(), json!(own.len()));
        figures.insert("by_category".to_owned(), by_category(own.iter().copied(), targets));
        (name, Value::Object(figures))
    };
    let areas: Map<String, Value> = per_area.into_iter().map(of_area).collect();
    let response = |category: Priority| {
        let target = response_target(targets, category);
        let own = incidents.iter().filter(|i| i.priority == category);
        let measured = own.filter_map(|i| Some((i.intervals.response_ms?, target))).collect();
        (category.get().to_string(), figures(measured, target))
    };
    let by_priority: Map<String, Value> = CATEGORIES.into_iter().map(response).collect();
    body.insert("response_time_by_priority".to_owned(), Value::Object(by_priority));
    body.insert("by_category".to_owned(), by_category(incidents.iter(), targets));
    body.insert("by_area".to_owned(), Value::Object(areas));
    Value::Object(body)
}

/// Counts over `incidents`: by status, waiting, and bills by state.
#[must_use]
pub fn counts(incidents: &[KpiDoc]) -> Value {
    let mut by_status: BTreeMap<&str, usize> = BTreeMap::new();
    for status in [Status::Opened, Status::Acknowledged, Status::Resolved, Status::Closed, Status::Cancelled] {
        by_status.insert(status.as_str(), incidents.iter().filter(|i| i.status == status).count());
    }
    let open = incidents.iter().filter(|i| i.tag() == "open").count();
    let bills = |state: BillState| incidents.iter().filter(|i| i.bill == Some(state)).count();
    json!({
        "open_incidents": open,
        "waiting": incidents.iter().filter(|i| i.waiting).count(),
        "incidents_by_status": by_status,
        "bills_by_state": {
            "PENDING": bills(BillState::Pending),
            "PAID": bills(BillState::Paid),
            "FAILED": bills(BillState::Failed),
        },
        "bills_stuck": incidents.iter().filter(|i| i.stuck).count(),
    })
}
