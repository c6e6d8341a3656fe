//! What both ways of running share: the map, who may call, arbiters, metrics, the signal to stop.

use crate::config::Config;
use crate::services::{self, SetUp};
use actix::Arbiter;
use actix_web::rt;
use metrics_exporter_prometheus::PrometheusHandle;
use sha2::{Digest, Sha256};
use shers_contract::{
    Secret,
    api::{Principal, Role, Service},
};
use shers_roads::RoadMap;
use shers_runtime::{Deps, Endpoint, host::Started};
use shers_web::{Authentication, Jwt, JwtOptions, MapAssets, TokenDigest};
use std::{collections::BTreeMap, error::Error, net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// What ends the program.
pub type Failure = Box<dyn Error>;

/// Between two foldings of the metrics' histograms.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// Name of the principal that billing asks the insurer as.
const INSURER_CLIENT: &str = "billing";

/// The map that is asked for, or the built-in one.
///
/// # Errors
/// The file is no map.
pub fn load_map(config: &Config) -> Result<RoadMap, shers_roads::MapError> {
    match &config.top.map {
        Some(path) => RoadMap::load(path),
        None => RoadMap::built_in(),
    }
}

/// The map as the dashboard draws it.
pub fn map_assets(map: &RoadMap) -> MapAssets {
    let bounds = map.bounds();
    MapAssets {
        name: map.name().to_owned(),
        attribution: map.attribution().to_owned(),
        bounds: [bounds.south_west.lat, bounds.south_west.lon, bounds.north_east.lat, bounds.north_east.lon],
        roads: actix_web::web::Bytes::copy_from_slice(map.roads_for_display()),
    }
}

/// 256 random bits as text.
pub fn secret() -> String {
    (0..2).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect()
}

/// The administrator's token from the environment, the configuration or its file.
///
/// # Errors
/// The file can't be read, or holds too little.
pub fn configured_token(config: &Config) -> Result<Option<String>, Failure> {
    let Some(path) = &config.top.token_file else {
        return Ok(config.top.token.as_ref().map(|token| token.reveal().to_owned()));
    };
    let token = std::fs::read_to_string(path).map_err(|e| format!("reading token_file {}: {e}", path.display()))?;
    let token = token.trim().to_owned();
    if token.len() < 32 {
        return Err(format!("token_file {}: a token has 32 characters or more", path.display()).into());
    }
    Ok(Some(token))
}

/// The token that billing asks the insurer with: from its file, else made from the administrator's, so that every
/// process of a house comes to the same one.
///
/// # Errors
/// A file can't be read.
pub fn insurer_token(config: &Config) -> Result<Secret, Failure> {
    if let Some(path) = &config.top.insurer_token_file {
        let token = std::fs::read_to_string(path);
        let token = token.map_err(|e| format!("reading insurer_token_file {}: {e}", path.display()))?;
        return Ok(Secret::new(token.trim()));
    }
    let Some(token) = configured_token(config)? else { return Ok(Secret::new(secret())) };
    let digest = Sha256::digest(format!("shers insurer {token}").as_bytes());
    Ok(Secret::new(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

/// How callers prove who they are, and the token to show in the link, if there is one to show.
///
/// # Errors
/// A file can't be read, or holds no keys.
pub fn authentication(config: &Config, insurer_token: &str) -> Result<(Authentication, Option<String>), Failure> {
    if let Some(path) = &config.top.jwks_file {
        let keys = std::fs::read_to_string(path).map_err(|e| format!("reading jwks_file {}: {e}", path.display()))?;
        let need = |value: &Option<String>, name| value.clone().ok_or(format!("{name} is needed with jwks_file"));
        let issuer = need(&config.top.jwt_issuer, "jwt_issuer")?;
        let audience = need(&config.top.jwt_audience, "jwt_audience")?;
        let jwt = Jwt::new(&keys, JwtOptions { issuer, audience, leeway_s: 60 })?;
        return Ok((Authentication::Jwt(jwt), None));
    }
    let token = configured_token(config)?.unwrap_or_else(secret);
    let principal = |subject: &str, role| Principal { subject: subject.to_owned(), role };
    let mut known = vec![
        (TokenDigest::of(&token), principal("administrator", Role::Administrator)),
        (TokenDigest::of(insurer_token), principal(INSURER_CLIENT, Role::Dispatcher)),
    ];
    for entry in &config.top.tokens {
        let digest = TokenDigest::from_hex(&entry.sha256)
            .ok_or_else(|| format!("tokens: sha256 of {} is not 64 hex digits", entry.subject))?;
        known.push((digest, principal(&entry.subject, entry.role)));
    }
    Ok((Authentication::Tokens(known), Some(token)))
}

/// Starts each service on an arbiter of its own, all on the same ground.
///
/// # Errors
/// One of them does not start.
pub async fn start_all(
    deps: &Deps,
    addr: SocketAddr,
    mut set_up: SetUp,
) -> Result<BTreeMap<Service, Arc<dyn Endpoint>>, Failure> {
    // The embedded insurer is this very server, whatever port it found.
    let billing = &mut set_up.config.billing;
    if billing.insurer_url == shers_billing::Settings::default().insurer_url {
        billing.insurer_url = format!("http://{addr}");
    }
    let mut doors = BTreeMap::new();
    let order = [
        Service::Stream,
        Service::Wearable,
        Service::Triage,
        Service::Incidents,
        Service::Dispatch,
        Service::Notification,
        Service::Insurance,
        Service::Billing,
    ];
    for service in order {
        let start = services::factory(service, &set_up)();
        let deps = deps.clone();
        let started = on_arbiter(move || start(deps)).await;
        let door = started.map_err(|error| format!("starting {}: {}", service.as_str(), chain(&*error)))?;
        doors.insert(service, door);
    }
    Ok(doors)
}

/// An error and its causes in one line.
pub fn chain(error: &(dyn Error + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Runs `start` on a new arbiter, whose thread then belongs to the service.
async fn on_arbiter<F, Starting>(start: F) -> Started
where
    F: FnOnce() -> Starting + Send + 'static,
    Starting: Future<Output = Started> + 'static,
{
    let (tell, told) = oneshot::channel();
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(move || {
        rt::spawn(async move {
            // The main thread waits for this answer, or is gone.
            let _ = tell.send(start().await);
        });
    });
    told.await.unwrap_or_else(|_| Err("its thread ended while it started".into()))
}

/// Folds what histograms have gathered, so that they stay small when nobody scrapes.
pub async fn tidy_metrics(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        metrics.run_upkeep();
    }
}

/// Resolves at SIGTERM or SIGINT.
pub async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}
