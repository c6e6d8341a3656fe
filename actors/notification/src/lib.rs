//! The notification service: tells the next of kin, in their language and order, without ever sending
//! twice what may have been sent.
//!
//! - [`model`] is pure: the plan, the texts, the attempts and their ends.
//! - [`gateway`] is the outside: who carries messages.
//! - `sender` performs attempts, `process` hears commands and patients.
//!
//! Invariants of this crate:
//! - An attempt is claimed in the log before the provider is called.
//! - Messages of exercises never leave the sandbox.
//! - No address and no name is in an event or a log line.

pub mod gateway;
pub mod model;

mod process;
mod relatives;
mod sender;
mod settings;

pub use settings::{AwsSettings, MailRoute, Provider, Settings};

use async_trait::async_trait;
use gateway::{Messenger, sandbox::Sandbox};
use model::Notification;
use sender::{Fresh, Sender};
use shers_contract::{
    Problem,
    api::{Call, Reply},
    notification::NotificationEvent,
};
use shers_runtime::{
    ConsumerOptions, Deps, Directory, DirectoryOptions, Endpoint, KeeperOptions, LocalEndpoint, StoreError,
    run_consumer, serve_local,
};
use std::{rc::Rc, sync::Arc};

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be read.
    #[error("loading the open notifications")]
    Store(#[from] StoreError),
    /// The provider is not in this build.
    #[error(
        "the provider {0:?} is not in this build; build with `--features providers`, or set notification.provider = \"sandbox\""
    )]
    NotBuilt(Provider),
    /// The provider can't be set up.
    #[cfg(feature = "providers")]
    #[error("setting up Amazon SNS and SES")]
    Aws(#[from] gateway::aws::SetUpError),
}

/// Starts the service on the current arbiter.
///
/// # Errors
/// See [`StartError`].
pub async fn start(deps: Deps, settings: Settings) -> Result<Arc<dyn Endpoint>, StartError> {
    match settings.provider {
        Provider::Sandbox => start_with(deps, settings, None).await,
        Provider::Aws => start_with_amazon(deps, settings).await,
    }
}

#[cfg(feature = "providers")]
async fn start_with_amazon(deps: Deps, settings: Settings) -> Result<Arc<dyn Endpoint>, StartError> {
    let aws = gateway::aws::Aws::new(settings.aws.clone(), settings.send_limit())?;
    start_with(deps, settings, Some(Rc::new(aws))).await
}

#[cfg(not(feature = "providers"))]
#[expect(clippy::unused_async, reason = "the same shape as with the feature")]
async fn start_with_amazon(_deps: Deps, _settings: Settings) -> Result<Arc<dyn Endpoint>, StartError> {
    Err(StartError::NotBuilt(Provider::Aws))
}

/// Starts the service with `real` as the one who carries messages that are no exercise; the sandbox
/// without it.
///
/// # Errors
/// The store can't be read.
pub async fn start_with(
    deps: Deps,
    settings: Settings,
    real: Option<Rc<dyn Messenger>>,
) -> Result<Arc<dyn Endpoint>, StartError> {
    let sandbox: Rc<dyn Messenger> = Rc::new(Sandbox::new(deps.clone(), settings.sandbox_late()));
    let live = real.as_ref().map_or(Sandbox::NAME, |messenger| messenger.name());
    let fresh = Rc::new(Fresh::default());
    let sender = Sender {
        deps: deps.clone(),
        messengers: std::iter::once(sandbox).chain(real).collect(),
        fresh: Rc::clone(&fresh),
        send_limit: settings.send_limit(),
    };
    let directory = Directory::new(
        deps.clone(),
        DirectoryOptions {
            performer: Rc::new(sender),
            observer: Some(observer(fresh)),
            keeper: KeeperOptions::default(),
        },
    );
    let open = directory.load_open().await?;
    tracing::info!(notifications.open = open, "notifications are loaded");
    let limit = settings.request_limit();
    let waiting = settings.max_waiting_requests;
    let ear = process::Ear { deps: deps.clone(), directory, settings, live };
    actix_rt::spawn(run_consumer(deps, Rc::new(ear), ConsumerOptions::default()));
    Ok(serve_local(Rc::new(Door), waiting, limit))
}

/// Notes what this process claims and counts how attempts end.
fn observer(fresh: Rc<Fresh>) -> shers_runtime::aggregate::Observer<Notification> {
    Rc::new(move |id, _notification, _version, events| {
        fresh.note(id, events);
        for event in events {
            let outcome = match event {
                NotificationEvent::Queued(_) | NotificationEvent::Attempted(_) => continue,
                NotificationEvent::Sent(_) => "sent",
                NotificationEvent::Failed(_) => "failed",
                NotificationEvent::Ambiguous(_) => "ambiguous",
            };
            metrics::counter!("shers_notifications_total", "outcome" => outcome).increment(1);
        }
    })
}

/// Nothing is asked of this service over REST: lists are the stream service's.
struct Door;

#[async_trait(?Send)]
impl LocalEndpoint for Door {
    async fn call(&self, _call: Call) -> Reply {
        Err(Problem::new(500, "misrouted-request", "the notification service answers no requests"))
    }
}

/// What this service hears of others, and reads of them from its own log.
#[must_use]
pub fn hears() -> Vec<shers_contract::routing::Pattern> {
    process::patterns()
}
