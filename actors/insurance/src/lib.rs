//! The insurer of the house, `sandbox-insurer`: plans, and FHIR R4 answers to who pays how much.
//!
//! - [`model`] is pure: what a plan pays, and the answer to a question.
//! - Members are implied: whoever names a plan and a member's number is one. Plans keep no accounts, so
//!   the same question has the same answer; only the sandbox's put-offs (`error_times`, `queued_times`) are
//!   counted, by question.
//! - Documents `insurance.plan` and `insurance.question`; no events.

mod endpoint;
pub mod model;

#[cfg(test)]
mod tests;

use crate::endpoint::Counter;
use crate::model::Plan;
use serde::{Deserialize, Serialize};
use shers_contract::Problem;
use shers_runtime::{Deps, Endpoint, serve_local};
use std::{rc::Rc, sync::Arc, time::Duration};

/// Configuration of the service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether the built-in plans (`basic`, `standard`, `full`, `sandbox-queued`) are made when missing.
    pub built_in_plans: bool,
    /// Requests that may wait.
    pub queue: usize,
    /// How long a request may wait for its answer, seconds.
    pub time_limit_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { built_in_plans: true, queue: 256, time_limit_s: 10 }
    }
}

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The plans could not be read or written.
    #[error("making the built-in plans")]
    Plans(#[source] Problem),
}

/// Starts the insurer on the current arbiter.
///
/// # Errors
/// The built-in plans can't be read or written.
pub async fn start(deps: Deps, settings: Settings) -> Result<Arc<dyn Endpoint>, StartError> {
    let counter = Counter { deps };
    if settings.built_in_plans {
        for plan in Plan::built_in() {
            if counter.plan(&plan.plan_id).await.map_err(StartError::Plans)?.is_none() {
                counter.store_plan(&plan).await.map_err(StartError::Plans)?;
            }
        }
    }
    Ok(serve_local(Rc::new(counter), settings.queue, Duration::from_secs(settings.time_limit_s)))
}
