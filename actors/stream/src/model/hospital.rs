//! The hospital document: the contract's hospital with when it changed.

use super::{Event, Fact, Versions, doc::UNKNOWN};
use serde::{Deserialize, Serialize};
use shers_contract::{
    LatLon, Timestamp,
    care::{Hospital, HospitalEvent, HospitalState},
};

/// The document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HospitalDoc {
    /// Id.
    pub hospital_id: String,
    /// Name.
    pub name: String,
    /// Where its emergency entrance is; null before the first event.
    pub location: Option<LatLon>,
    /// Capabilities.
    pub capabilities: Vec<String>,
    /// Open, diverting or closed.
    pub state: HospitalState,
    /// Free beds, when known.
    pub beds_free: Option<u16>,
    /// Expected minutes from arrival to hand-over, when known.
    pub expected_offload_min: Option<u16>,
    /// Last change.
    pub updated_at: Timestamp,
    /// Version of the hospital's stream.
    pub version: u64,
    /// Versions folded.
    #[serde(rename = "_versions")]
    pub versions: Versions,
}

impl HospitalDoc {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn empty(id: &str) -> Self {
        Self {
            hospital_id: id.to_owned(),
            name: String::new(),
            location: None,
            capabilities: Vec::new(),
            state: HospitalState::Open,
            beds_free: None,
            expected_offload_min: None,
            updated_at: Timestamp::default(),
            version: 0,
            versions: Versions::default(),
        }
    }

    /// Filter word: the state.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match (self.location, self.state) {
            (None, _) => UNKNOWN,
            (Some(_), HospitalState::Open) => "open",
            (Some(_), HospitalState::Diverting) => "diverting",
            (Some(_), HospitalState::Closed) => "closed",
        }
    }

    /// Folds `fact`. True when the document changed.
    pub fn fold(&mut self, fact: &Fact) -> bool {
        if !self.versions.admit(fact) {
            return false;
        }
        self.updated_at = fact.at;
        self.version = fact.version;
        if let Event::Hospital(HospitalEvent::Updated(hospital)) = &fact.event {
            let Hospital { hospital_id: _, name, location, capabilities, state, beds_free, expected_offload_min } =
                hospital;
            self.name.clone_from(name);
            self.location = Some(*location);
            self.capabilities.clone_from(capabilities);
            self.state = *state;
            self.beds_free = *beds_free;
            self.expected_offload_min = *expected_offload_min;
        }
        true
    }
}
