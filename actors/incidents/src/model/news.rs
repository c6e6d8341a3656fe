//! What other services say, as commands for the incident it is about.

use super::command::{BillOutcome, Command, UnitNews};
use shers_contract::{
    DecodeError, DomainEvent, Envelope, IncidentId, UnitId,
    billing::BillingEvent,
    dispatch::{DispatchEvent, StatusChanged, UnitEvent, UnitStatus},
};

/// A command and the incident it is for.
pub type Addressed = (IncidentId, Command);

/// The command that a message gives, if it says anything new to an incident.
///
/// # Errors
/// The message's body can't be read.
pub fn of(envelope: &Envelope) -> Result<Option<Addressed>, DecodeError> {
    if let Some(event) = UnitEvent::from_envelope(envelope) {
        let event = event?;
        return Ok(event.as_status().and_then(|(status, change)| of_status(envelope, status, change)));
    }
    if let Some(event) = DispatchEvent::from_envelope(envelope) {
        return event.map(of_dispatch);
    }
    if let Some(event) = BillingEvent::from_envelope(envelope) {
        return event.map(of_billing);
    }
    Ok(None)
}

/// The unit of a `dispatch.assigned`, whose crew level its body does not carry.
#[must_use]
pub fn assigned_unit(command: &Command) -> Option<&UnitId> {
    if let Command::FollowUnit { unit_id, news: UnitNews::Assigned { .. } } = command { Some(unit_id) } else { None }
}

/// The same command with the crew level of the unit that was assigned.
#[must_use]
pub fn with_level_of_care(mut command: Command, level: Option<String>) -> Command {
    if let Command::FollowUnit { news: UnitNews::Assigned { level_of_care, .. }, .. } = &mut command {
        *level_of_care = level;
    }
    command
}

fn follow(incident_id: IncidentId, unit_id: UnitId, news: UnitNews) -> Addressed {
    (incident_id, Command::FollowUnit { unit_id, news })
}

fn of_dispatch(event: DispatchEvent) -> Option<Addressed> {
    match event {
        DispatchEvent::Assigned(a) => {
            Some(follow(a.incident_id, a.unit_id, UnitNews::Assigned { eta_s: a.eta_s, level_of_care: None }))
        }
        DispatchEvent::Unassigned(u) => {
            let cleared = u.disposition.map(|disposition| UnitNews::Cleared { disposition });
            Some(follow(u.incident_id, u.unit_id, cleared.unwrap_or(UnitNews::Released)))
        }
        // The sicker patient's incident hears of it by the assignment that goes with it.
        DispatchEvent::Diverted(d) => Some(follow(d.from_incident_id, d.unit_id, UnitNews::Released)),
        // Dispatch keeps what waits and what it expects; the timeline shows its own events.
        DispatchEvent::Waiting(_) | DispatchEvent::EtaChanged(_) => None,
    }
}

fn of_status(envelope: &Envelope, status: UnitStatus, change: &StatusChanged) -> Option<Addressed> {
    let incident_id = change.incident_id.clone().or_else(|| envelope.correlation_id.clone())?;
    let hospital_id = change.hospital.as_ref().map(|hospital| hospital.hospital_id.clone());
    let distance_m = change.loaded_distance_m.or(change.hospital.as_ref().map(|hospital| hospital.distance_m));
    let news = match status {
        // `dispatch.assigned` tells the same, with the expected time.
        UnitStatus::Reserved | UnitStatus::Assigned => return None,
        UnitStatus::Enroute => UnitNews::Enroute,
        UnitStatus::OnScene | UnitStatus::AtPatient => UnitNews::OnScene,
        UnitStatus::Onboard => UnitNews::Onboard { hospital_id },
        UnitStatus::Arrived => {
            let hospital = change.hospital.as_ref().map(|hospital| hospital.name.clone());
            UnitNews::Arrived { hospital_id, hospital, distance_m }
        }
        UnitStatus::HandedOver => UnitNews::HandedOver { hospital_id, distance_m },
        UnitStatus::Available | UnitStatus::AtPost | UnitStatus::OutOfService | UnitStatus::Cancelled => {
            UnitNews::Released
        }
    };
    Some(follow(incident_id, change.unit_id.clone(), news))
}

fn of_billing(event: BillingEvent) -> Option<Addressed> {
    match event {
        BillingEvent::Paid(b) => Some((b.incident_id, Command::EndBill(BillOutcome::Paid))),
        BillingEvent::Failed(b) => Some((b.incident_id, Command::EndBill(BillOutcome::Failed))),
        BillingEvent::WrittenOff(b) => Some((b.incident_id, Command::EndBill(BillOutcome::WrittenOff))),
        BillingEvent::Pending(_)
        | BillingEvent::CoverageVerified(_)
        | BillingEvent::Compensated(_)
        | BillingEvent::Stuck(_) => None,
    }
}
