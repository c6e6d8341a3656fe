//! Units: never on two incidents, and every status legal after the one before.

use super::{Breach, Laws, Seen, breach, read};
use crate::{
    Envelope, IncidentId,
    dispatch::{DispatchEvent, StatusChanged, UnitEvent, UnitStatus},
};

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Unit {
    /// What it does; null in the middle of its registration.
    pub status: Option<UnitStatus>,
    /// For which incident it works.
    pub incident: Option<IncidentId>,
    /// Taken out for good.
    pub retired: bool,
}

/// What may follow a status, from the contract's words.
fn legal(from: Option<UnitStatus>, to: UnitStatus) -> bool {
    use UnitStatus::{
        Arrived, Assigned, AtPatient, AtPost, Available, Cancelled, Enroute, HandedOver, OnScene, Onboard,
        OutOfService, Reserved,
    };
    let Some(from) = from else { return to == Available };
    match to {
        Reserved => from.is_free(),
        Assigned => from == Reserved,
        Enroute => from == Assigned,
        OnScene => matches!(from, Assigned | Enroute),
        AtPatient => matches!(from, Enroute | OnScene),
        // Again when the crew chooses another hospital.
        Onboard => matches!(from, OnScene | AtPatient | Onboard),
        Arrived => from == Onboard,
        HandedOver => from == Arrived,
        Available | AtPost => from.is_free() || matches!(from, HandedOver | OutOfService),
        OutOfService => from != OutOfService,
        Cancelled => matches!(from, Reserved | Assigned | Enroute | OnScene | AtPatient),
    }
}

/// Whether a unit in this status works for an incident.
fn works(status: UnitStatus) -> bool {
    use UnitStatus::{Arrived, Assigned, AtPatient, Enroute, HandedOver, OnScene, Onboard, Reserved};
    matches!(status, Reserved | Assigned | Enroute | OnScene | AtPatient | Onboard | Arrived | HandedOver)
}

pub(super) fn see(laws: &mut Laws, envelope: &Envelope) -> Seen {
    if let Some(event) = read::<DispatchEvent>(envelope)? {
        return Ok(decision(laws, envelope, &event));
    }
    let Some(event) = read::<UnitEvent>(envelope)? else { return Ok(Vec::new()) };
    Ok(match &event {
        UnitEvent::Registered(profile) => {
            let known = laws.units.insert(profile.unit_id.clone(), Unit::default()).is_some();
            if known { vec![breach("unit-legal", &envelope.stream, "it was registered twice")] } else { Vec::new() }
        }
        UnitEvent::Retired(end) => {
            if let Some(unit) = laws.units.get_mut(&end.unit_id) {
                unit.retired = true;
            }
            Vec::new()
        }
        UnitEvent::Updated(_) | UnitEvent::Located(_) => Vec::new(),
        other => other.as_status().map(|(status, change)| changed(laws, envelope, status, change)).unwrap_or_default(),
    })
}

fn changed(laws: &mut Laws, envelope: &Envelope, status: UnitStatus, change: &StatusChanged) -> Vec<Breach> {
    let Some(unit) = laws.units.get_mut(&change.unit_id) else {
        return vec![breach("unit-legal", &envelope.stream, "it was never registered")];
    };
    let mut broken = Vec::new();
    if unit.retired || !legal(unit.status, status) {
        let before = unit.status.map_or("nothing", UnitStatus::as_str);
        broken.push(breach("unit-legal", &envelope.stream, format!("{status} after {before}")));
    }
    if change.previous != unit.status {
        broken.push(breach("unit-legal", &envelope.stream, format!("{status} names another status before it")));
    }
    let mine = if works(status) { change.incident_id.clone() } else { None };
    if works(status) && mine.is_none() {
        broken.push(breach("unit-legal", &envelope.stream, format!("{status} for no incident")));
    }
    if unit.incident.is_some() && mine.is_some() && unit.incident != mine {
        broken.push(breach("one-incident-a-unit", &envelope.stream, format!("{:?} and {mine:?}", unit.incident)));
    }
    unit.status = Some(status);
    unit.incident = mine;
    broken
}

fn decision(laws: &mut Laws, envelope: &Envelope, event: &DispatchEvent) -> Vec<Breach> {
    match event {
        DispatchEvent::Assigned(order) => {
            let on_it = laws.units.get(&order.unit_id).and_then(|unit| unit.incident.as_ref());
            let broken = on_it != Some(&order.incident_id);
            super::incidents::note_assigned(laws, &order.incident_id);
            if broken {
                return vec![breach("one-incident-a-unit", &envelope.stream, "an order for an incident it is not on")];
            }
            Vec::new()
        }
        DispatchEvent::Unassigned(end) => {
            super::incidents::note_unassigned(laws, &end.incident_id, end.reopen);
            let still = laws.units.get(&end.unit_id).and_then(|unit| unit.incident.as_ref());
            if still == Some(&end.incident_id) {
                return vec![breach("unit-legal", &envelope.stream, "unassigned and still at work")];
            }
            Vec::new()
        }
        DispatchEvent::Diverted(_) | DispatchEvent::Waiting(_) | DispatchEvent::EtaChanged(_) => Vec::new(),
    }
}
