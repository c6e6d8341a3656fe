//! Billing: turns `command.billing.start` into a bill and settles it, PENDING → PAID or FAILED, by a saga
//! whose recovery points are in the log before anything leaves the house.
//!
//! - [`model`] is pure: the tariff, the bill, the saga with its table of steps and compensations.
//! - [`gateway`] is the outside: payment providers and the insurer, each behind a port; the sandbox
//!   provider with its test cards.
//! - A patient who is not known, or has no card, and has a share to pay: FAILED with `no-payment-method`.
//! - Streams `bill/<incident>`; documents `billing.payer` (cover and card by patient) and
//!   `sandbox.payment` (the sandbox's ledger).

pub mod gateway;
pub mod model;

mod endpoint;
mod inbox;
mod measure;
mod payers;
mod performer;

#[cfg(test)]
mod fault_tests;

pub use performer::{Outside, Policies};

use crate::gateway::{Insurer, PaymentGateway, insurer::ClientError, insurer::FhirInsurer, sandbox::SandboxPayments};
use crate::model::{RetryPolicy, Tariff, TariffError};
use serde::Deserialize;
use shers_contract::routing::{Pattern, PatternError};
use shers_runtime::{
    ConsumerOptions, Deps, Directory, DirectoryOptions, Endpoint, KeeperOptions, StoreError, run_consumer, serve_local,
};
use std::{rc::Rc, sync::Arc, time::Duration};

/// Configuration of the service.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What runs cost.
    pub tariff: Tariff,
    /// Where the insurer is; `/fhir/R4/CoverageEligibilityRequest` is added.
    pub insurer_url: String,
    /// Longest wait for an answer of the insurer, milliseconds.
    pub insurer_time_limit_ms: u32,
    /// Retries of an insurer that fails; then a person is needed.
    pub insurer_retry: RetryPolicy,
    /// How often a queued question, or a payment that is being decided, is asked about.
    pub poll: RetryPolicy,
    /// Retries of a payment provider that does not answer; then a person is needed.
    pub payment_retry: RetryPolicy,
    /// Retries of undoing; then a person is needed.
    pub compensation_retry: RetryPolicy,
    /// Messages taken from the exchange at once.
    pub batch_messages: usize,
    /// Attempts before a message goes to the dead letters.
    pub max_attempts: u32,
    /// Requests that may wait.
    pub queue: usize,
    /// How long a request may wait for its answer, seconds.
    pub time_limit_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tariff: Tariff::default(),
            insurer_url: "http://127.0.0.1:8080".to_owned(),
            insurer_time_limit_ms: 10_000,
            insurer_retry: RetryPolicy { first_ms: 1_000, max_ms: 300_000, tries: 8 },
            poll: RetryPolicy { first_ms: 2_000, max_ms: 60_000, tries: 60 },
            payment_retry: RetryPolicy { first_ms: 1_000, max_ms: 300_000, tries: 8 },
            compensation_retry: RetryPolicy { first_ms: 1_000, max_ms: 600_000, tries: 16 },
            batch_messages: 256,
            max_attempts: 8,
            queue: 256,
            time_limit_s: 10,
        }
    }
}

impl Settings {
    fn policies(&self) -> Policies {
        Policies {
            insurer: self.insurer_retry,
            poll: self.poll,
            payment: self.payment_retry,
            compensation: self.compensation_retry,
        }
    }
}

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be read.
    #[error("loading the open bills")]
    Store(#[from] StoreError),
    /// The tariff is impossible.
    #[error("reading the tariff")]
    Tariff(#[from] TariffError),
    /// No HTTP client.
    #[error("connecting to the insurer")]
    Insurer(#[from] ClientError),
    /// A pattern is none.
    #[error("subscribing")]
    Pattern(#[from] PatternError),
}

/// Starts billing on the current arbiter. `payment` is the provider for what is real; without one the
/// sandbox takes everything. Exercises always go to the sandbox.
///
/// # Errors
/// See [`StartError`].
pub async fn start(
    deps: Deps,
    settings: Settings,
    insurer_token: String,
    payment: Option<Arc<dyn PaymentGateway>>,
) -> Result<Arc<dyn Endpoint>, StartError> {
    let time_limit = Duration::from_millis(u64::from(settings.insurer_time_limit_ms));
    let insurer = Arc::new(FhirInsurer::new(&settings.insurer_url, insurer_token, time_limit)?);
    start_with(deps, settings, insurer, payment).await
}

/// The same with another insurer.
///
/// # Errors
/// See [`StartError`].
pub async fn start_with(
    deps: Deps,
    settings: Settings,
    insurer: Arc<dyn Insurer>,
    payment: Option<Arc<dyn PaymentGateway>>,
) -> Result<Arc<dyn Endpoint>, StartError> {
    settings.tariff.check()?;
    let outside = Outside {
        insurer,
        payment,
        sandbox: Arc::new(SandboxPayments::new(&deps)),
        clock: Arc::clone(&deps.clock),
        policies: settings.policies(),
    };
    let options = DirectoryOptions {
        performer: Rc::new(outside),
        observer: Some(measure::observer()),
        keeper: KeeperOptions::default(),
    };
    let bills = Directory::new(deps.clone(), options);
    let open = bills.load_open().await?;
    tracing::info!(bills.open = open, "billing has loaded the open bills");
    let inbox = inbox::Inbox {
        deps: deps.clone(),
        bills: bills.clone(),
        tariff: settings.tariff.clone(),
        patterns: vec![Pattern::new("patient.*")?, Pattern::new("command.billing.start")?],
        prefetch: settings.batch_messages,
    };
    let consuming = ConsumerOptions {
        batch: settings.batch_messages,
        max_attempts: settings.max_attempts,
        ..ConsumerOptions::default()
    };
    actix_rt::spawn(run_consumer(deps.clone(), Rc::new(inbox), consuming));
    let desk = Rc::new(endpoint::Desk { deps, bills });
    Ok(serve_local(desk, settings.queue, Duration::from_secs(settings.time_limit_s)))
}
