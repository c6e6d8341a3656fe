//! Who sends a unit: dispatch by itself, or a person. Decided per kind of incident, by rules that are configuration.
//!
//! A rule names kinds by the source of the first call, by priority and by needed capabilities; what it does not name, it
//! does not ask. An incident that any rule fits waits for a person; all others are automatic. Rules look at the incident
//! as it is now, so one that escalates out of a rule's priorities becomes automatic.

use serde::{Deserialize, Serialize};
use shers_contract::incident::{CallSource, Priority, RequestDispatch};

/// Who sends a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Dispatch does.
    Automatic,
    /// A person does; dispatch recommends.
    Person,
}

impl Mode {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Person => "person",
        }
    }
}

/// A kind of incident that a person assigns. A rule that names nothing fits every incident.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByPerson {
    /// Where the first call came from, `triage` or `manual`. Missing: anywhere.
    pub source: Option<CallSource>,
    /// Priorities. Empty: any.
    pub priorities: Vec<Priority>,
    /// Capabilities, one of which is needed. Empty: whatever is needed.
    pub needs: Vec<String>,
}

impl ByPerson {
    fn fits(&self, request: &RequestDispatch, source: Option<CallSource>) -> bool {
        let from_there = self.source.is_none() || self.source == source;
        let so_urgent = self.priorities.is_empty() || self.priorities.contains(&request.priority);
        let needs_it = self.needs.is_empty() || self.needs.iter().any(|need| request.needs.contains(need));
        from_there && so_urgent && needs_it
    }
}

/// Whether any rule asks where the first call came from.
#[must_use]
pub fn asks_source(rules: &[ByPerson]) -> bool {
    rules.iter().any(|rule| rule.source.is_some())
}

/// Who sends a unit to this incident.
#[must_use]
pub fn mode(rules: &[ByPerson], request: &RequestDispatch, source: Option<CallSource>) -> Mode {
    if rules.iter().any(|rule| rule.fits(request, source)) { Mode::Person } else { Mode::Automatic }
}
