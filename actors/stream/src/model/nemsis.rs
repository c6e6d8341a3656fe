//! The times of an incident under their NEMSIS 3.5 names (`eTimes`), each with its offset, what is missing though it is
//! expected of such an incident, and what this house never records.

use super::incident::{IncidentDoc, Status, Times};
use super::kpi::Intervals;
use serde_json::{Map, Value, json};
use shers_contract::{Timestamp, incident::Disposition};

/// An instant as NEMSIS wants it: with a numeric offset, never `Z`.
#[must_use]
pub fn date_time(at: Timestamp) -> String {
    let text = at.to_string();
    text.strip_suffix('Z').map_or_else(|| text.clone(), |local| format!("{local}+00:00"))
}

/// Element, what it is, its value, and whether it is expected of `incident`.
fn elements(incident: &IncidentDoc) -> [(&'static str, &'static str, Option<Timestamp>, bool); 11] {
    let times: &Times = &incident.times;
    let cancelled = incident.status == Status::Cancelled || times.cancelled.is_some();
    let transported = matches!(incident.disposition, None | Some(Disposition::Transported)) && !cancelled;
    let served = !cancelled;
    [
        ("eTimes.01", "call", times.call, true),
        ("eTimes.03", "unit notified", times.assigned, served),
        ("eTimes.05", "unit en route", times.enroute, served),
        ("eTimes.06", "on scene", times.on_scene, served),
        ("eTimes.07", "at patient", times.at_patient, served),
        ("eTimes.09", "left scene", times.onboard, transported),
        ("eTimes.11", "at destination", times.arrived, transported),
        ("eTimes.12", "handed over", times.handed_over, transported),
        ("eTimes.13", "back in service", times.available, served),
        ("eTimes.14", "cancelled", times.cancelled.or(incident.closed_at.filter(|_| cancelled)), cancelled),
        ("eTimes.15", "back at post", times.at_post, false),
    ]
}

/// Elements of the section that nobody here reports, with why; NEMSIS wants them said as "not recorded" (7701003).
const NOT_RECORDED: [(&str, &str); 6] = [
    ("eTimes.02", "dispatch notified: calls are taken where units are dispatched"),
    ("eTimes.04", "dispatch acknowledged: the crew's first status is its answer"),
    ("eTimes.08", "transfer of care between crews"),
    ("eTimes.10", "arrival at a landing area"),
    ("eTimes.16", "call completed: the bill's end closes an incident here"),
    ("eTimes.17", "arrival at a staging area"),
];

/// The code of a value that a system does not record.
const NV_NOT_RECORDED: &str = "7701003";

/// The export of one incident: `eTimes`, the expected elements that are `missing`, and the intervals.
#[must_use]
pub fn export(incident: &IncidentDoc) -> Value {
    let elements = elements(incident);
    let e_times: Map<String, Value> = elements
        .iter()
        .filter_map(|(element, _, at, _)| Some(((*element).to_owned(), Value::from(date_time((*at)?)))))
        .collect();
    let missing: Vec<Value> = elements
        .iter()
        .filter(|(_, _, at, expected)| *expected && at.is_none())
        .map(|(element, what, _, _)| json!({"element": element, "what": what}))
        .collect();
    json!({
        "nemsis": "3.5",
        "incident_id": incident.incident_id,
        "unit_id": incident.unit_id,
        "exercise": incident.exercise,
        "eTimes": e_times,
        "missing": missing,
        "not_recorded": NOT_RECORDED.map(|(element, why)| json!({"element": element, "nv": NV_NOT_RECORDED, "why": why})),
        "intervals": Intervals::of(&incident.times),
    })
}
