//! What must hold of the log, whatever happens to the processes that write it.
//!
//! A pure fold over envelopes in the order of the log: it depends on the contract only, so that a
//! simulation and a running house can ask the same questions. [`Laws::see`] says at once what is broken by
//! an event; [`Laws::unsettled`] says what is still owed to somebody, which may be fine for a while and
//! must be nothing once the house has had its time.
//!
//! The rules are written here a second time on purpose, from the contract and not from the services.

mod bills;
mod incidents;
mod journal;
mod ledger;
mod notices;
mod units;

#[cfg(test)]
mod tests;

pub use bills::{Bill, BillEnd};
pub use incidents::{Dispatch, Incident, Phase};
pub use ledger::{Charge, check_ledger};
pub use notices::Notice;
pub use units::Unit;

use crate::{DecodeError, DomainEvent, Envelope, IncidentId, PatientId, Timestamp, UnitId};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A law that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which law, in a few words that never change: also a metric's label.
    pub law: &'static str,
    /// What it is about, such as `unit/u-1`.
    pub subject: String,
    /// What is wrong.
    pub detail: String,
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.law, self.subject, self.detail)
    }
}

/// A breach.
pub(crate) fn breach(law: &'static str, subject: impl ToString, detail: impl Into<String>) -> Breach {
    Breach { law, subject: subject.to_string(), detail: detail.into() }
}

/// The fold. See the module.
#[derive(Clone, Debug, Default)]
pub struct Laws {
    /// Events seen.
    pub events: u64,
    /// The units by id.
    pub units: BTreeMap<UnitId, Unit>,
    /// The incidents by id.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// The bills by incident.
    pub bills: BTreeMap<IncidentId, Bill>,
    /// The notifications by id.
    pub notices: BTreeMap<String, Notice>,
    /// How often each reading that has a number was recorded, by patient and number.
    pub readings: BTreeMap<(PatientId, u64), u32>,
    position: u64,
    versions: BTreeMap<String, u64>,
    ids: BTreeSet<Uuid>,
    wards: journal::Wards,
}

impl Laws {
    /// The laws by which something may be owed for a while.
    pub const OWED: [&'static str; 5] = ["bill-ends", "incident-ends", "no-incident-lost", "notice-ends", "one-effect"];

    /// Takes in the next event of the log and says which laws it breaks.
    pub fn see(&mut self, position: u64, envelope: &Envelope) -> Vec<Breach> {
        let mut broken = self.in_order(position, envelope);
        let read = match envelope.stream.category() {
            "unit" => units::see(self, envelope),
            "dispatch" => incidents::see_wait(self, envelope),
            "incident" => incidents::see(self, envelope),
            "bill" => bills::see(self, envelope),
            "notification" => notices::see(self, envelope),
            "triage" | "readings" => journal::see(self, envelope),
            _ => Ok(Vec::new()),
        };
        match read {
            Ok(more) => broken.extend(more),
            Err(error) => {
                broken.push(breach("readable", &envelope.stream, format!("{error}: {}", error.source)));
            }
        }
        broken
    }

    /// What is still owed, `now`: each with its reason. A person may be the one to act: an incident whose
    /// crew gave up at the scene, or whose bill is stuck, is waiting and shows why, so it is not listed.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Breach> {
        let mut owed = incidents::unsettled(self);
        owed.extend(bills::unsettled(self));
        owed.extend(notices::unsettled(self));
        owed.extend(self.wards.unsettled());
        owed
    }

    /// The incidents that are open. None may be left once everybody had time, units are free and persons
    /// have done what waited for them.
    #[must_use]
    pub fn open_incidents(&self) -> Vec<Breach> {
        let open = self.incidents.iter().filter(|(_, incident)| incident.phase == Phase::Open);
        open.map(|(id, incident)| breach("incident-ends", format!("incident/{id}"), format!("open: {incident:?}")))
            .collect()
    }

    /// The units that work for an incident.
    #[must_use]
    pub fn at_work_for(&self, incident: &IncidentId) -> Vec<&UnitId> {
        self.units.iter().filter(|(_, unit)| unit.incident.as_ref() == Some(incident)).map(|(id, _)| id).collect()
    }

    /// The patient's incidents that are open.
    pub(crate) fn open_of<'a>(&'a self, patient: &'a PatientId) -> impl Iterator<Item = &'a IncidentId> {
        let open = |i: &Incident| i.phase == Phase::Open && i.patient.as_ref() == Some(patient);
        self.incidents.iter().filter(move |(_, incident)| open(incident)).map(|(id, _)| id)
    }

    /// Positions grow, versions of a stream have no gap, no id is given twice.
    fn in_order(&mut self, position: u64, envelope: &Envelope) -> Vec<Breach> {
        let mut broken = Vec::new();
        self.events += 1;
        if position <= self.position {
            broken.push(breach("order", &envelope.stream, format!("position {position} after {}", self.position)));
        }
        self.position = position;
        let version = self.versions.entry(envelope.stream.to_string()).or_insert(envelope.version - 1);
        if envelope.version != *version + 1 {
            broken.push(breach("order", &envelope.stream, format!("version {} after {version}", envelope.version)));
        }
        *version = envelope.version;
        if !self.ids.insert(envelope.id) {
            broken.push(breach("unique-ids", &envelope.stream, format!("id {} was used before", envelope.id)));
        }
        broken
    }
}

type Seen = Result<Vec<Breach>, DecodeError>;

/// The event in an envelope, if it is one of the set `E`.
fn read<E: DomainEvent>(envelope: &Envelope) -> Result<Option<E>, DecodeError> {
    E::from_envelope(envelope).transpose()
}

/// How long before its arrival a reading may have been taken and still raise an alarm: well inside the
/// limit of triage.
const FRESH_MS: i64 = 600_000;

fn fresh(taken: Timestamp, received: Timestamp) -> bool {
    received.ms_since(taken) < FRESH_MS
}
