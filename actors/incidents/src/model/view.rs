//! What a person is shown of an incident.

use super::case::{Attention, Case, UnitWork};
use super::incident::Incident;
use serde_json::{Value, json};
use shers_contract::api::Answer;

/// The answer to a request that led to `incident` at `version`: 201 when that request opened it, which
/// shows by nothing having happened since, else 200.
#[must_use]
pub fn answer(incident: &Incident, version: u64) -> Answer {
    let fresh = match incident {
        Incident::Open(case) => version <= opening_events(case),
        Incident::Unopened | Incident::Resolved { .. } | Incident::Closed { .. } | Incident::Cancelled { .. } => false,
    };
    Answer::ok(body(incident)).with_status(if fresh { 201 } else { 200 }).at_version(version)
}

/// How many events opening it took: opened, told (when somebody is to be told), unit asked for.
fn opening_events(case: &Case) -> u64 {
    if case.patient_id.is_some() { 3 } else { 2 }
}

fn body(incident: &Incident) -> Value {
    let Some(case) = incident.case() else { return Value::Null };
    let (due_at, seen_by) = match &case.attention {
        Attention::Awaited { next_at, overdue } => {
            (next_at.or_else(|| (*overdue == 0).then_some(case.acknowledge_by)), None)
        }
        Attention::Acknowledged { by } => (None, Some(by)),
    };
    let unit = case.working_unit().or(case.units.last());
    let mut body = json!({
        "incident_id": case.incident_id,
        "status": incident.status(),
        "priority": case.priority,
        "patient_id": case.patient_id,
        "location": case.location,
        "summary": case.summary,
        "needs": case.needs,
        "opened_at": case.opened_at,
        "acknowledge_by": due_at,
        "acknowledged_by": seen_by,
        "escalation_level": case.level,
        "calls": case.calls,
        "unit_id": unit.map(|unit| &unit.unit_id),
        "hospital_id": unit.and_then(|unit| unit.hospital_id.as_ref()),
        "units": case.units.iter().filter(|unit| unit.phase.is_some()).map(|unit: &UnitWork| &unit.unit_id)
            .collect::<Vec<_>>(),
        "disposition": null,
        "bill": null,
        "cancel_reason": null,
    });
    match incident {
        Incident::Unopened | Incident::Open(_) => {}
        Incident::Resolved { disposition, hospital_id, .. } => {
            set(&mut body, "disposition", json!(disposition));
            if hospital_id.is_some() {
                set(&mut body, "hospital_id", json!(hospital_id));
            }
        }
        Incident::Closed { bill, .. } => set(&mut body, "bill", json!(bill)),
        Incident::Cancelled { reason, .. } => set(&mut body, "cancel_reason", json!(reason)),
    }
    body
}

fn set(body: &mut Value, name: &str, value: Value) {
    if let Some(members) = body.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}
