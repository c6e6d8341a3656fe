//! Whether a unit on its way to one patient is moved to a sicker one.
//!
//! The rule: only to a strictly more urgent incident; never within the last seconds before arrival; at most
//! once per mission (the unit's aggregate refuses); the sicker patient gains at least a minimum; and the gain,
//! weighted by priority as in [`super::joint`], exceeds the weighted loss of the other. Where nobody could
//! replace the unit, it is moved only if nobody else could go to the sicker patient either.

use super::desk::duration_text;
use super::joint::weight;
use serde::{Deserialize, Serialize};
use shers_contract::{IncidentId, UnitId, incident::Priority};

/// What dispatch does with a diversion that pays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diversion {
    /// Nothing.
    #[default]
    Off,
    /// Says so in the recommendation; a person decides.
    Advised,
    /// Does it.
    Automatic,
}

/// One unit that could be moved.
#[derive(Clone, PartialEq, Debug)]
pub struct Move {
    /// Which.
    pub unit_id: UnitId,
    /// From where.
    pub from_incident: IncidentId,
    /// How urgent that is.
    pub from_priority: Priority,
    /// Seconds until it would arrive there.
    pub remaining_s: u32,
    /// Seconds to the sicker patient.
    pub eta_s: u32,
    /// Seconds until the next free unit would be at the one it leaves.
    pub replacement_s: Option<u32>,
}

/// The sicker patient.
#[derive(Clone, PartialEq, Debug)]
pub struct Sicker {
    /// Which incident.
    pub incident_id: IncidentId,
    /// How urgent.
    pub priority: Priority,
    /// Seconds until the best free unit would be there.
    pub best_free_s: Option<u32>,
}

/// Limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiversionLimits {
    /// Nearer to its arrival than this, in seconds, a unit is left alone.
    pub min_remaining_s: u32,
    /// Least gain for the sicker patient, in seconds.
    pub min_gain_s: u32,
}

/// The gain, stated for both, if the move pays.
#[must_use]
pub fn gain(wanted: &Sicker, offer: &Move, limits: &DiversionLimits) -> Option<String> {
    if wanted.priority >= offer.from_priority || offer.remaining_s < limits.min_remaining_s {
        return None;
    }
    let arrives = duration_text(offer.eta_s);
    let theirs = match wanted.best_free_s {
        Some(best) => {
            let gain_s = best.checked_sub(offer.eta_s).filter(|gain| *gain >= limits.min_gain_s)?;
            format!("{} sooner than by the best free unit", duration_text(gain_s))
        }
        None => "where no free unit can go at all".to_owned(),
    };
    let loss = match (offer.replacement_s, wanted.best_free_s) {
        (None, Some(_)) => return None,
        (None, None) => "waits for the next unit that comes free".to_owned(),
        (Some(replacement), best) => {
            let loss_s = replacement.saturating_sub(offer.remaining_s);
            let gain_s = best.map(|best| best.saturating_sub(offer.eta_s));
            let worth = |seconds: u32, priority| i64::from(seconds) * weight(priority);
            if gain_s.is_some_and(|gain| worth(gain, wanted.priority) <= worth(loss_s, offer.from_priority)) {
                return None;
            }
            format!("gets another unit {} later", duration_text(loss_s))
        }
    };
    Some(format!(
        "{} is at {} (priority {}) in {arrives}, {theirs}; {} (priority {}) {loss}.",
        offer.unit_id,
        wanted.incident_id,
        wanted.priority.get(),
        offer.from_incident,
        offer.from_priority.get(),
    ))
}
