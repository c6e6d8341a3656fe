//! Billing: turns `command.billing.start` into a bill and settles it, PENDING → PAID or FAILED, by a saga
//! whose recovery points are in the log before anything leaves the house.
//!
//! - [`model`] is pure: the tariff, the bill, the saga with its table of steps and compensations.
//! - [`gateway`] is the outside: payment providers and the insurer, each behind a port; the sandbox
//!   provider with its test cards, and Stripe in builds with the feature `providers`.
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
mod settings;

pub use performer::{Outside, Policies};
pub use settings::{OwnLimits, Provider, SECRETS, SecretError, Settings};

use crate::gateway::{Insurer, PaymentGateway, insurer::ClientError, insurer::FhirInsurer, sandbox::SandboxPayments};
use crate::model::TariffError;
use shers_contract::routing::Pattern;
use shers_runtime::{
    ConsumerOptions, Deps, Directory, DirectoryOptions, Endpoint, KeeperOptions, StoreError, run_consumer, serve_local,
};
use std::{rc::Rc, sync::Arc, time::Duration};

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
    /// A secret could not be had.
    #[error("reading the secrets of the payment provider")]
    Secret(#[from] SecretError),
    /// What was read is no secret key.
    #[error("billing.{}", settings::NOT_A_KEY)]
    NotAKey,
    /// The provider is not in this build.
    #[error(
        "the provider {0:?} is not in this build; build with `--features providers`, or set billing.provider = \"sandbox\""
    )]
    NotBuilt(Provider),
    /// The provider can't be set up.
    #[cfg(feature = "providers")]
    #[error("setting up Stripe")]
    Stripe(#[from] gateway::stripe::SetUpError),
}

/// Starts billing on the current arbiter. `payment` is the provider for what is real; without one the
/// settings choose. Exercises always go to the sandbox.
///
/// # Errors
/// See [`StartError`].
pub async fn start(
    deps: Deps,
    settings: Settings,
    insurer_token: String,
    payment: Option<Arc<dyn PaymentGateway>>,
) -> Result<Arc<dyn Endpoint>, StartError> {
    let insurer = FhirInsurer::new(&settings.insurer_url, insurer_token, settings.insurer_time_limit())?;
    let payment = match payment {
        Some(payment) => Some(payment),
        None => configured(&settings)?,
    };
    start_with(deps, settings, Arc::new(insurer), payment).await
}

/// The provider that the settings choose for what is real.
fn configured(settings: &Settings) -> Result<Option<Arc<dyn PaymentGateway>>, StartError> {
    match settings.provider {
        Provider::Sandbox => Ok(None),
        Provider::Stripe => stripe(settings).map(Some),
    }
}

#[cfg(feature = "providers")]
fn stripe(settings: &Settings) -> Result<Arc<dyn PaymentGateway>, StartError> {
    let key = settings.key()?.filter(settings::is_key).ok_or(StartError::NotAKey)?;
    let time_limit = Duration::from_millis(u64::from(settings.stripe_time_limit_ms));
    let amounts = settings.stripe_amounts.clone();
    Ok(Arc::new(gateway::stripe::Stripe::new(&settings.stripe_url, &key, time_limit, amounts)?))
}

#[cfg(not(feature = "providers"))]
fn stripe(settings: &Settings) -> Result<Arc<dyn PaymentGateway>, StartError> {
    Err(StartError::NotBuilt(settings.provider))
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
        patterns: hears(),
        prefetch: settings.batch_messages,
    };
    let consuming = ConsumerOptions {
        batch: settings.batch_messages,
        max_attempts: settings.max_attempts,
        ..ConsumerOptions::default()
    };
    actix_rt::spawn(run_consumer(deps.clone(), Rc::new(inbox), consuming));
    let desk = Rc::new(endpoint::Desk {
        deps,
        bills,
        webhook_secret: settings.webhook_secret()?,
        webhook_tolerance_s: settings.stripe_webhook_tolerance_s,
    });
    Ok(serve_local(desk, settings.queue, Duration::from_secs(settings.time_limit_s)))
}

/// What this service hears of others, and reads of them from its own log.
#[must_use]
pub fn hears() -> Vec<Pattern> {
    ["patient.*", "command.billing.start"].into_iter().filter_map(|text| Pattern::new(text).ok()).collect()
}
