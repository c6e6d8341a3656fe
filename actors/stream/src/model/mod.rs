//! The read side, pure: how events fold into the documents that lists and single reads are answered from.
//!
//! Documents are `incident`, `unit`, `hospital`, `bill`, `notification`, and one small `kpi` for each
//! incident. Invariants:
//! - **Exactly once in effect, by versions.** Each document keeps the highest version that it has folded of
//!   every source stream (`_versions`); an event at or below that is a repeat and changes nothing. So a
//!   batch may be folded twice, whole or in part, with the same result, and no inbox is needed. The order
//!   within one stream is the log's; the order between streams may be any, so each fold accepts that
//!   another stream's event came first.
//! - Positions are a journal without versions: the newest fix wins.
//! - A document of which only foreign events are known (a bill before its incident) is *unknown*: it is
//!   kept, and not shown.
//! - Folding cannot fail. What an event does not say stays as it was.

pub mod area;
pub mod bill;
pub mod doc;
pub mod hospital;
pub mod incident;
pub mod kpi;
pub mod nemsis;
pub mod notification;
pub mod page;
pub mod unit;

pub use doc::{Collection, Doc, DocKey, Stored};

use serde::{Deserialize, Serialize};
use shers_contract::{
    DecodeError, DomainEvent, Envelope, IncidentId, Kind, Timestamp,
    billing::BillingEvent,
    care::HospitalEvent,
    dispatch::{DispatchEvent, StatusChanged, UnitEvent, WaitEnded, WaitEvent},
    incident::IncidentEvent,
    notification::NotificationEvent,
};
use std::collections::BTreeMap;

/// An event that some document wants to hear of.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Of an incident.
    Incident(IncidentEvent),
    /// Of a unit.
    Unit(UnitEvent),
    /// Of dispatch.
    Dispatch(DispatchEvent),
    /// The end of a wait; its beginning is one of [`Event::Dispatch`].
    WaitEnded(WaitEnded),
    /// Of a hospital.
    Hospital(HospitalEvent),
    /// Of a bill.
    Billing(BillingEvent),
    /// Of a notification.
    Notification(NotificationEvent),
}

/// An event with where and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Its stream.
    pub stream: String,
    /// Its place there, from 1.
    pub version: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// Which incident it belongs to.
    pub correlation_id: Option<IncidentId>,
    /// Demo and drills.
    pub exercise: bool,
    /// Kind.
    pub kind: Kind,
    /// What happened.
    pub event: Event,
}

impl Fact {
    /// Whether any document is interested in this kind. Readings, classes, patients and supervision are
    /// not kept here.
    #[must_use]
    pub fn wants(kind: Kind) -> bool {
        let first = kind.as_str().split('.').next().unwrap_or_default();
        matches!(first, "incident" | "command" | "unit" | "dispatch" | "hospital" | "billing" | "notification")
    }

    /// Reads an envelope; `None` when no document is interested.
    ///
    /// # Errors
    /// The data is not what its kind promises.
    pub fn read(envelope: &Envelope) -> Result<Option<Self>, DecodeError> {
        if !Self::wants(envelope.kind) {
            return Ok(None);
        }
        let event = IncidentEvent::from_envelope(envelope)
            .map(|e| e.map(Event::Incident))
            .or_else(|| UnitEvent::from_envelope(envelope).map(|e| e.map(Event::Unit)))
            .or_else(|| DispatchEvent::from_envelope(envelope).map(|e| e.map(Event::Dispatch)))
            .or_else(|| WaitEvent::from_envelope(envelope).map(|e| e.map(waited)))
            .or_else(|| HospitalEvent::from_envelope(envelope).map(|e| e.map(Event::Hospital)))
            .or_else(|| BillingEvent::from_envelope(envelope).map(|e| e.map(Event::Billing)))
            .or_else(|| NotificationEvent::from_envelope(envelope).map(|e| e.map(Event::Notification)));
        let Some(event) = event else { return Ok(None) };
        Ok(Some(Self {
            stream: envelope.stream.as_str().to_owned(),
            version: envelope.version,
            at: envelope.at,
            correlation_id: envelope.correlation_id.clone(),
            exercise: envelope.exercise,
            kind: envelope.kind,
            event: event?,
        }))
    }

    /// Category and id of its stream.
    #[must_use]
    pub fn source(&self) -> (&str, &str) {
        self.stream.split_once('/').unwrap_or((&self.stream, ""))
    }

    /// Whether it was written in the stream `category/id`.
    #[must_use]
    pub fn is_of(&self, category: &str, id: &str) -> bool {
        self.source() == (category, id)
    }

    /// The documents it changes. Positions change none here: they are [coalesced](unit::UnitDoc::located).
    #[must_use]
    pub fn touches(&self) -> Vec<DocKey> {
        let mut keys = Vec::with_capacity(3);
        let (category, id) = self.source();
        let own = match category {
            "incident" => Some(Collection::Incident),
            "unit" => Some(Collection::Unit),
            "hospital" => Some(Collection::Hospital),
            "bill" => Some(Collection::Bill),
            "notification" => Some(Collection::Notification),
            _ => None,
        };
        if let Some(collection) = own {
            keys.push(DocKey { collection, id: id.to_owned() });
        }
        let mut incident = |id: &IncidentId| {
            let key = DocKey { collection: Collection::Incident, id: id.as_str().to_owned() };
            if !keys.contains(&key) {
                keys.push(key);
            }
        };
        match &self.event {
            Event::Unit(event) => {
                let about = |change: &StatusChanged| change.incident_id.clone().or_else(|| self.correlation_id.clone());
                if let Some(id) = event.as_status().and_then(|(_, change)| about(change)) {
                    incident(&id);
                }
            }
            Event::Dispatch(event) => match event {
                DispatchEvent::Assigned(a) => incident(&a.incident_id),
                DispatchEvent::Unassigned(u) => incident(&u.incident_id),
                DispatchEvent::Diverted(d) => {
                    incident(&d.incident_id);
                    incident(&d.from_incident_id);
                }
                DispatchEvent::Waiting(w) => incident(&w.request.incident_id),
                DispatchEvent::EtaChanged(e) => incident(&e.incident_id),
            },
            Event::WaitEnded(ended) => incident(&ended.incident_id),
            Event::Billing(event) => incident(bill::incident_of(event)),
            Event::Incident(_) | Event::Hospital(_) | Event::Notification(_) => {}
        }
        keys
    }
}

fn waited(event: WaitEvent) -> Event {
    match event {
        WaitEvent::Waiting(waiting) => Event::Dispatch(DispatchEvent::Waiting(waiting)),
        WaitEvent::Ended(ended) => Event::WaitEnded(ended),
    }
}

/// The highest version folded of each source stream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Versions(BTreeMap<String, u64>);

impl Versions {
    /// Takes note of `fact`; false when it is a repeat, or older than what was folded.
    pub fn admit(&mut self, fact: &Fact) -> bool {
        match self.0.get_mut(&fact.stream) {
            Some(seen) if fact.version <= *seen => false,
            Some(seen) => {
                *seen = fact.version;
                true
            }
            None => {
                self.0.insert(fact.stream.clone(), fact.version);
                true
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
