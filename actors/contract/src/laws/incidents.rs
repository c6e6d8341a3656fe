//! Incidents: none lost, none doubled, each ends or waits with its reason.

use super::{Breach, Laws, Seen, breach, read};
use crate::{
    Envelope, IncidentId, PatientId,
    dispatch::WaitEvent,
    incident::{IncidentEvent, StartBilling},
};
use uuid::Uuid;

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Being handled.
    Open,
    /// Care has ended.
    Resolved,
    /// All done.
    Closed,
    /// Called off.
    Cancelled,
}

/// An incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Whose.
    pub patient: Option<PatientId>,
    /// Where it stands.
    pub phase: Phase,
    /// A person has seen it.
    pub acknowledged: bool,
    /// The bill that was ordered.
    pub billing: Option<StartBilling>,
    /// It stands in the list of those that wait for a unit.
    pub waits: bool,
    /// What dispatch said last of its units.
    pub dispatch: Dispatch,
    /// The message that ended it; only commands may follow it, in the same append.
    ended_by: Option<Uuid>,
}

/// What dispatch said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Nothing yet.
    Silent,
    /// A unit was sent.
    Sent,
    /// The unit is gone and the incident needs another one.
    Reopened,
    /// The unit is gone and a person must say how it ended.
    LeftToPerson,
}

pub(super) fn see(laws: &mut Laws, envelope: &Envelope) -> Seen {
    let Some(event) = read::<IncidentEvent>(envelope)? else { return Ok(Vec::new()) };
    let Ok(id) = IncidentId::new(envelope.stream.id()) else {
        return Ok(vec![breach("incident-legal", &envelope.stream, "no id of an incident")]);
    };
    if let IncidentEvent::Opened(opened) = &event {
        return Ok(open(laws, envelope, id, opened.patient_id.as_ref()));
    }
    let Some(incident) = laws.incidents.get_mut(&id) else {
        return Ok(vec![breach("incident-legal", &envelope.stream, format!("{} before it was opened", envelope.kind))]);
    };
    let before = incident.phase;
    let same_append = incident.ended_by.is_some() && incident.ended_by == envelope.causation_id;
    let (allowed, after) = match &event {
        IncidentEvent::Opened(_) => (false, before),
        IncidentEvent::CallJoined(_)
        | IncidentEvent::Escalated(_)
        | IncidentEvent::Downgraded(_)
        | IncidentEvent::UnitChanged(_)
        | IncidentEvent::RequestDispatch(_)
        | IncidentEvent::Acknowledged(_) => (before == Phase::Open, before),
        IncidentEvent::SendNotification(_) | IncidentEvent::CancelDispatch(_) => {
            (before == Phase::Open || same_append, before)
        }
        IncidentEvent::StartBilling(order) => {
            let first = incident.billing.replace(order.clone()).is_none();
            (first && same_append, before)
        }
        IncidentEvent::Resolved(_) => (before == Phase::Open, Phase::Resolved),
        IncidentEvent::Cancelled(_) => (before == Phase::Open, Phase::Cancelled),
        IncidentEvent::Closed(_) => (before == Phase::Resolved, Phase::Closed),
    };
    incident.phase = after;
    if after != before {
        incident.ended_by = envelope.causation_id;
    }
    incident.acknowledged |= matches!(event, IncidentEvent::Acknowledged(_));
    let mut broken = Vec::new();
    if let IncidentEvent::CallJoined(_) = event {
        laws.wards.answered(envelope.causation_id);
    }
    if let IncidentEvent::SendNotification(send) = &event {
        broken.extend(super::notices::ordered(laws, send));
    }
    if !allowed {
        broken.push(breach("incident-legal", &envelope.stream, format!("{} when {before:?}", envelope.kind)));
    }
    Ok(broken)
}

fn open(laws: &mut Laws, envelope: &Envelope, id: IncidentId, patient: Option<&PatientId>) -> Vec<Breach> {
    let mut broken = Vec::new();
    if let Some(patient) = patient {
        let others: Vec<&IncidentId> = laws.open_of(patient).collect();
        if !others.is_empty() {
            broken.push(breach("one-open-incident-a-patient", &envelope.stream, format!("{others:?} are open")));
        }
        laws.wards.opened(patient, envelope.causation_id);
    }
    if envelope.version != 1 || laws.incidents.contains_key(&id) {
        broken.push(breach("incident-legal", &envelope.stream, "it was opened twice"));
    }
    let incident = Incident {
        patient: patient.cloned(),
        phase: Phase::Open,
        acknowledged: false,
        billing: None,
        waits: false,
        dispatch: Dispatch::Silent,
        ended_by: None,
    };
    laws.incidents.insert(id, incident);
    broken
}

pub(super) fn see_wait(laws: &mut Laws, envelope: &Envelope) -> Seen {
    let Some(event) = read::<WaitEvent>(envelope)? else { return Ok(Vec::new()) };
    let (id, waits) = match &event {
        WaitEvent::Waiting(waiting) => (&waiting.request.incident_id, true),
        WaitEvent::Ended(end) => (&end.incident_id, false),
    };
    match laws.incidents.get_mut(id) {
        Some(incident) => {
            incident.waits = waits;
            Ok(Vec::new())
        }
        None => Ok(vec![breach("incident-legal", &envelope.stream, "a wait for an incident that nobody opened")]),
    }
}

pub(super) fn note_assigned(laws: &mut Laws, id: &IncidentId) {
    if let Some(incident) = laws.incidents.get_mut(id) {
        incident.dispatch = Dispatch::Sent;
    }
}

pub(super) fn note_unassigned(laws: &mut Laws, id: &IncidentId, reopen: bool) {
    if let Some(incident) = laws.incidents.get_mut(id) {
        incident.dispatch = if reopen { Dispatch::Reopened } else { Dispatch::LeftToPerson };
    }
}

pub(super) fn unsettled(laws: &Laws) -> Vec<Breach> {
    let mut owed = Vec::new();
    for (id, incident) in &laws.incidents {
        let name = || format!("incident/{id}");
        let at_work = laws.at_work_for(id);
        match incident.phase {
            Phase::Closed => {}
            Phase::Cancelled | Phase::Resolved => {
                if incident.phase == Phase::Resolved && !laws.bills.get(id).is_some_and(|bill| bill.needs_person()) {
                    owed.push(breach("incident-ends", name(), "resolved, and neither closed nor its bill stuck"));
                }
                if incident.waits {
                    owed.push(breach("incident-ends", name(), "it is over, and still waits for a unit"));
                }
            }
            Phase::Open => {
                let waits = incident.waits || incident.dispatch == Dispatch::LeftToPerson;
                if at_work.is_empty() && !waits {
                    let said = incident.dispatch;
                    owed.push(breach("incident-ends", name(), format!("open, without a unit or a wait: {said:?}")));
                }
            }
        }
        if incident.billing.is_some() && !laws.bills.contains_key(id) {
            owed.push(breach("one-effect", name(), "a bill was ordered, and there is none"));
        }
    }
    owed
}
