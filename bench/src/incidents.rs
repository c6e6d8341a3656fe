//! Incidents for the bench: ten events each, made by the model itself, open and unacknowledged, with a
//! deadline in an hour.

use shers_contract::{
    DomainEvent, IncidentId, PatientId, Timestamp, derived_uuid,
    envelope::{Envelope, StreamName, Traceparent},
    incident::{CallReceived, CallSource, IncidentEvent, Priority},
};
use shers_incidents::model::{Command, Incident, NewCall, OpeningRule};
use shers_runtime::{Aggregate, NewEvent, Recorded};
use std::sync::Arc;

/// Events of each.
pub const EVENTS: usize = 10;
const HOUR_MS: i64 = 3_600_000;

/// Id of the `n`-th incident.
pub fn id(n: usize) -> IncidentId {
    IncidentId::from_uuid(derived_uuid(&["bench", &n.to_string()]))
}

pub fn stream(n: usize) -> StreamName {
    StreamName::new("incident", id(n).as_str())
}

fn call(n: usize, at: Timestamp, nth: usize) -> Command {
    Command::ReceiveCall(Box::new(NewCall {
        incident_id: id(n),
        patient_id: PatientId::new(crate::readings::patient(n)).ok(),
        priority: Priority::P2,
        location: None,
        call: CallReceived {
            source: CallSource::Manual,
            at,
            summary: format!("call {nth}: chest pain and short of breath, second floor, the door is open"),
            triage: None,
        },
        needs: vec!["als".to_owned()],
        rule: OpeningRule { acknowledge_within_ms: HOUR_MS, max_escalations: 3, join_quiet_ms: 0 },
    }))
}

/// A command that an open incident refuses: an answer that writes nothing.
pub fn question() -> Command {
    Command::Close { by: "bench".to_owned() }
}

/// Decides and folds until there are ten events.
pub fn story(n: usize, at: Timestamp) -> (Incident, Vec<IncidentEvent>) {
    let mut state = Incident::default();
    let mut events = Vec::with_capacity(EVENTS);
    for nth in 0..EVENTS {
        for event in state.decide(&call(n, at, nth), at).unwrap_or_default() {
            if events.len() < EVENTS {
                state = state.evolve(&event, at);
                events.push(event);
            }
        }
    }
    (state, events)
}

/// The same as to be appended.
pub fn new_events(n: usize, at: Timestamp) -> Vec<NewEvent> {
    let (_, events) = story(n, at);
    let numbered = events.into_iter().enumerate();
    numbered
        .map(|(nth, event)| NewEvent {
            id: derived_uuid(&["bench", &n.to_string(), &nth.to_string()]),
            kind: event.kind(),
            v: event.schema_version(),
            at,
            correlation_id: Some(id(n)),
            causation_id: Some(derived_uuid(&["cause", &n.to_string()])),
            traceparent: Some(Traceparent { trace_id: n as u128 + 1, span_id: nth as u64 + 1 }),
            exercise: false,
            data: event.to_data(),
        })
        .collect()
}

/// The same as read back.
pub fn recorded(n: usize, at: Timestamp) -> Vec<Recorded> {
    let stream = stream(n);
    let events = new_events(n, at).into_iter().zip(1_u64..);
    events
        .map(|(event, version)| Recorded {
            position: (n * EVENTS) as u64 + version,
            envelope: Arc::new(Envelope {
                id: event.id,
                kind: event.kind,
                v: event.v,
                stream: stream.clone(),
                version,
                at: event.at,
                correlation_id: event.correlation_id,
                causation_id: event.causation_id,
                traceparent: event.traceparent,
                exercise: event.exercise,
                data: event.data,
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_has_ten_events_leaves_the_incident_open_and_its_deadline_armed() {
        let (state, events) = story(3, Timestamp::from_ms(0));
        assert_eq!(events.len(), EVENTS);
        assert!(state.is_open() && state.deadline().is_some());
        assert!(state.decide(&question(), Timestamp::from_ms(1)).is_err());
    }
}
