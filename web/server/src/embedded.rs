//! One process, all eight services: the composition. What stands behind each port is decided here and
//! nowhere else.

use crate::commands::DemoFlags;
use crate::config::Config;
use actix::{Arbiter, System};
use actix_web::rt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use shers_contract::{
    Timestamp,
    api::{Principal, Role, Service},
};
use shers_db::{SqliteOptions, SqliteStore};
use shers_roads::RoadMap;
use shers_runtime::{
    Clock, Deps, Endpoint, Ids, Keeper, ScaledClock, Store, SystemIds, clock::system_now, log_exchange::LogExchange,
};
use shers_simulation::{CityClock, CityOptions, Plot, PlotOptions};
use shers_web::{Authentication, Jwt, JwtOptions, MapAssets, TokenDigest, WebDeps};
use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{oneshot, watch};

type Failure = Box<dyn Error>;
type Door = Result<Arc<dyn Endpoint>, Box<dyn Error + Send + Sync>>;

/// What the process is for.
pub enum Mode {
    /// The house.
    Serve,
    /// The house and a simulated city, in exercise mode.
    Demo(DemoFlags),
}

/// Where a demo's data lies below the data directory; an earlier demo's is removed at start.
const DEMO_DIRECTORY: &str = "demo";
/// Between two foldings of the metrics' histograms.
const METRICS_UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);
/// Name of the principal that billing asks the insurer as.
const INSURER_CLIENT: &str = "billing";

/// Runs until a signal to stop, then drains.
///
/// # Errors
/// What a person must know.
pub fn run(config: Config, mode: Mode) -> Result<(), Failure> {
    // A second default provider is refused; the first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = PrometheusBuilder::new().install_recorder()?;
    System::new().block_on(house(config, mode, metrics))
}

async fn house(mut config: Config, mode: Mode, metrics: PrometheusHandle) -> Result<(), Failure> {
    config.web.listen = config.top.listen;
    let listener = shers_web::listen(&config.web)?;
    let addr = listener.local_addr()?;
    let map = Arc::new(load_map(&config)?);
    let exercise = matches!(mode, Mode::Demo(_));
    let facilities = match &mode {
        Mode::Demo(DemoFlags { facilities: Some(path), .. }) => shers_roads::facilities_from_geojson(path)?,
        _ => map.facilities().to_vec(),
    };
    private(&config.top.data_dir);
    let directory = data_directory(&config, exercise)?;
    let store: Arc<dyn Store> = SqliteStore::open(&directory, &SqliteOptions::default())?;
    let speed = if let Mode::Demo(flags) = &mode { flags.speed } else { 1.0 };
    let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(system_now(), speed));
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let exchange = Arc::new(LogExchange::new(Arc::clone(&store), Arc::clone(&clock)));
    let keeper = Keeper::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&ids), "embedded", exercise);
    let deps = Deps { store, exchange, clock, ids, keeper };

    let insurer_token = secret();
    let (auth, token) = authentication(&config, &insurer_token)?;
    let endpoints = start_services(&deps, &config, addr, insurer_token, &map).await?;
    let web = WebDeps {
        endpoints,
        feed: Arc::clone(&deps.store),
        exchange: Arc::clone(&deps.exchange),
        clock: Arc::clone(&deps.clock),
        ids: Arc::clone(&deps.ids),
        keeper: deps.keeper.clone(),
        exercise,
        map: map_assets(&map),
        metrics: metrics.clone(),
    };
    let bound = shers_web::bind_on(listener, web, config.web.clone(), auth)?;
    rt::spawn(tidy_metrics(metrics));
    announce(addr, token.as_deref(), exercise);
    let (stopping, stop) = watch::channel(false);
    let city = match mode {
        Mode::Serve => None,
        Mode::Demo(flags) => {
            Some(spawn_city(flags, addr, token.unwrap_or_default(), &deps, (map, &facilities), stop.clone())?)
        }
    };
    let until_done = city.is_some();
    let city = rt::spawn(async move {
        match city {
            Some(done) => done.await.unwrap_or_else(|_| Err("the city's thread ended".into())),
            None => std::future::pending().await,
        }
    });
    let outcome = Arc::new(std::sync::Mutex::new(None));
    let ended = Arc::clone(&outcome);
    let shutdown = async move {
        tokio::select! {
            () = signal() => {}
            done = city, if until_done => *ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(done),
        }
        tracing::info!("draining");
    };
    bound.run(shutdown).await?;
    let _ = stopping.send(true);
    let outcome = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    match outcome {
        None => Ok(()),
        Some(Ok(Ok(text))) => {
            println!("{text}");
            Ok(())
        }
        Some(Ok(Err(error))) => Err(error as Failure),
        Some(Err(error)) => Err(error.into()),
    }
}

fn load_map(config: &Config) -> Result<RoadMap, shers_roads::MapError> {
    match &config.top.map {
        Some(path) => RoadMap::load(path),
        None => RoadMap::built_in(),
    }
}

fn map_assets(map: &RoadMap) -> MapAssets {
    let bounds = map.bounds();
    MapAssets {
        name: map.name().to_owned(),
        attribution: map.attribution().to_owned(),
        bounds: [bounds.south_west.lat, bounds.south_west.lon, bounds.north_east.lat, bounds.north_east.lon],
        roads: actix_web::web::Bytes::copy_from_slice(map.roads_for_display()),
    }
}

/// A demo starts from nothing, in a directory of its own, and never touches real data.
fn data_directory(config: &Config, exercise: bool) -> Result<PathBuf, Failure> {
    if !exercise {
        return Ok(config.top.data_dir.clone());
    }
    let directory = config.top.data_dir.join(DEMO_DIRECTORY);
    // Another demo that still runs holds the lock: find that out before anything is removed.
    drop(SqliteStore::open(&directory, &SqliteOptions::default())?);
    for file in ["shers.db", "shers.db-wal", "shers.db-shm"] {
        match std::fs::remove_file(directory.join(file)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(directory)
}

/// Patients' data is for the owner alone: a directory that is made here is closed to everyone else. One that
/// exists keeps the rights a person gave it, and whether it can be used is the store's to say.
pub fn private(directory: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    if !directory.exists() {
        // What goes wrong here goes wrong again in the store, which says it better.
        let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    }
}

/// 256 random bits as text.
fn secret() -> String {
    (0..2).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect()
}

/// The administrator's token from the environment, the configuration or its file.
///
/// # Errors
/// The file can't be read, or holds too little.
pub fn configured_token(config: &Config) -> Result<Option<String>, Failure> {
    let Some(path) = &config.top.token_file else { return Ok(config.top.token.clone()) };
    let token = std::fs::read_to_string(path).map_err(|e| format!("reading token_file {}: {e}", path.display()))?;
    let token = token.trim().to_owned();
    if token.len() < 32 {
        return Err(format!("token_file {}: a token has 32 characters or more", path.display()).into());
    }
    Ok(Some(token))
}

/// How callers prove who they are, and the token to show in the link, if there is one to show.
fn authentication(config: &Config, insurer_token: &str) -> Result<(Authentication, Option<String>), Failure> {
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

fn announce(addr: SocketAddr, token: Option<&str>, exercise: bool) {
    let what = if exercise { "EXERCISE: the demo city" } else { "SHERS" };
    match token {
        Some(token) => println!("{what} is at http://{addr}/#token={token}"),
        None => println!("{what} is at http://{addr}/ (sign in with a token of your identity provider)"),
    }
}

/// Starts each service on an arbiter of its own.
async fn start_services(
    deps: &Deps,
    config: &Config,
    addr: SocketAddr,
    insurer_token: String,
    map: &Arc<RoadMap>,
) -> Result<BTreeMap<Service, Arc<dyn Endpoint>>, Failure> {
    let mut doors = BTreeMap::new();
    macro_rules! start {
        ($service:ident, $start:expr) => {{
            let start = $start;
            let deps = deps.clone();
            let door = on_arbiter(move || async move {
                start(deps).await.map_err(|error| Box::new(error) as Box<dyn Error + Send + Sync>)
            });
            let door = door.await.map_err(|error| -> Failure {
                format!("starting {}: {}", Service::$service.as_str(), chain(&*error)).into()
            })?;
            doors.insert(Service::$service, door);
        }};
    }
    let settings = config.clone();
    start!(Stream, move |deps| shers_stream::start(deps, settings.stream));
    let settings = config.clone();
    start!(Wearable, move |deps| shers_wearable::start(deps, settings.wearable));
    let settings = config.clone();
    start!(Triage, move |deps| shers_triage::start(deps, settings.triage));
    let settings = config.clone();
    start!(Incidents, move |deps| shers_incidents::start(deps, settings.incidents));
    let settings = config.clone();
    let roads = Arc::new(shers_dispatch::gateway::BuiltIn::new(Arc::clone(map)));
    start!(Dispatch, move |deps| shers_dispatch::start(deps, settings.dispatch, roads));
    let settings = config.clone();
    start!(Notification, move |deps| shers_notification::start(deps, settings.notification));
    let settings = config.clone();
    start!(Insurance, move |deps| shers_insurance::start(deps, settings.insurance));
    let mut billing = config.billing.clone();
    // The embedded insurer is this very server, whatever port it found.
    if billing.insurer_url == shers_billing::Settings::default().insurer_url {
        billing.insurer_url = format!("http://{addr}");
    }
    start!(Billing, move |deps| shers_billing::start(deps, billing, insurer_token, None));
    Ok(doors)
}

fn chain(error: &(dyn Error + Send + Sync)) -> String {
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
async fn on_arbiter<F, Starting>(start: F) -> Door
where
    F: FnOnce() -> Starting + Send + 'static,
    Starting: Future<Output = Door> + 'static,
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

struct Time(Arc<dyn Clock>);

impl CityClock for Time {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
    fn speed(&self) -> f64 {
        self.0.speed()
    }
}

type CityDone = oneshot::Receiver<Result<String, Box<dyn Error + Send + Sync>>>;

/// Plays the city on a thread of its own, over HTTP like everybody else.
fn spawn_city(
    flags: DemoFlags,
    addr: SocketAddr,
    token: String,
    deps: &Deps,
    (map, facilities): (Arc<RoadMap>, &[shers_roads::Facility]),
    mut stop: watch::Receiver<bool>,
) -> Result<CityDone, Failure> {
    let size = PlotOptions {
        seed: flags.seed,
        patients: flags.patients as usize,
        units: flags.units as usize,
        endless: !flags.until_done,
    };
    let plot = Plot::new(size, &map, facilities);
    let told = serde_json::to_value(&plot.stories)?;
    let options = CityOptions {
        base: format!("http://{addr}"),
        token,
        clock: Arc::new(Time(Arc::clone(&deps.clock))),
        map,
        plot,
        end_when_done: flags.until_done,
    };
    let (tell, done) = oneshot::channel();
    std::thread::Builder::new().name("city".to_owned()).spawn(move || {
        let play = || -> Result<String, Box<dyn Error + Send + Sync>> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let outcomes = runtime.block_on(shers_simulation::run(options, async move {
                // The sender going away is a stop as well.
                let _ = stop.wait_for(|stop| *stop).await;
            }))?;
            Ok(serde_json::to_string_pretty(&serde_json::json!({ "plot": told, "outcomes": outcomes }))?)
        };
        let _ = tell.send(play());
    })?;
    Ok(done)
}

/// Folds what histograms have gathered, so that they stay small when nobody scrapes.
async fn tidy_metrics(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        metrics.run_upkeep();
    }
}

/// Resolves at SIGTERM or SIGINT.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}
