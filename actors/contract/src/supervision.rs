//! What the Keeper did.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// How an actor died.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Code panicked.
    Panic,
    /// Code returned an error it could not handle.
    Error,
    /// No progress while messages waited.
    Hang,
    /// A person asked.
    Requested,
}

/// Data of `supervision.*`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Supervised {
    /// The actor, `category/id`.
    pub actor: String,
    /// How it died, or null when it was released.
    pub cause: Option<Cause>,
    /// What was said. Never patient data.
    pub detail: String,
    /// How many lives it had.
    pub incarnation: u64,
    /// Restarts within the window.
    pub restarts: u32,
    /// When the next life begins, after a back-off.
    pub back_at: Option<Timestamp>,
}

crate::domain_events! {
    /// Supervision, in stream `supervision/<node>`.
    SupervisionEvent {
        /// An actor lives again.
        Restarted(Supervised) = SUPERVISION_RESTARTED,
        /// An actor died too often and waits for a person.
        Quarantined(Supervised) = SUPERVISION_QUARANTINED,
        /// A person let it go on.
        Released(Supervised) = SUPERVISION_RELEASED,
    }
}
