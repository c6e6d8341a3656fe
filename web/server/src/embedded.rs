//! One process, all eight services: the composition. What stands behind each port is decided here and
//! nowhere else.

use crate::city::{self, CityDone};
use crate::commands::DemoFlags;
use crate::config::Config;
use crate::house::{self, Failure};
use crate::services::SetUp;
use actix::System;
use actix_web::rt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use shers_contract::api::Service;
use shers_db::{SqliteOptions, SqliteStore};
use shers_runtime::{
    Clock, Deps, Ids, Keeper, ScaledClock, Store, SystemIds, clock::system_now, log_exchange::LogExchange,
    overseer::LocalOverseer,
};
use shers_web::{Streams, WebDeps};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::watch;

/// What the process is for.
pub enum Mode {
    /// The house.
    Serve,
    /// The house and a simulated city, in exercise mode.
    Demo(DemoFlags),
}

/// Where a demo's data lies below the data directory; an earlier demo's is removed at start.
const DEMO_DIRECTORY: &str = "demo";

/// Runs until a signal to stop, then drains.
///
/// # Errors
/// What a person must know.
pub fn run(config: Config, mode: Mode) -> Result<(), Failure> {
    // A second default provider is refused; the first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = PrometheusBuilder::new().install_recorder()?;
    System::new().block_on(run_house(config, mode, metrics))
}

async fn run_house(mut config: Config, mode: Mode, metrics: PrometheusHandle) -> Result<(), Failure> {
    config.web.listen = config.top.listen;
    let listener = shers_web::listen(&config.web)?;
    let addr = listener.local_addr()?;
    let map = Arc::new(house::load_map(&config)?);
    let exercise = config.top.exercise || matches!(mode, Mode::Demo(_));
    let demo = matches!(mode, Mode::Demo(_));
    let facilities = match &mode {
        Mode::Demo(DemoFlags { facilities: Some(path), .. }) => shers_roads::facilities_from_geojson(path)?,
        _ => map.facilities().to_vec(),
    };
    private(&config.top.data_dir);
    let directory = data_directory(&config, demo)?;
    let store: Arc<dyn Store> = SqliteStore::open(&directory, &SqliteOptions::default())?;
    let speed = if let Mode::Demo(flags) = &mode { flags.speed } else { 1.0 };
    let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(system_now(), speed));
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let exchange = Arc::new(LogExchange::new(Arc::clone(&store), Arc::clone(&clock)));
    let keeper = Keeper::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&ids), "embedded", exercise);
    let deps = Deps { store, exchange, clock, ids, keeper };

    let insurer_token = house::insurer_token(&config)?.reveal().to_owned();
    let (auth, token) = house::authentication(&config, &insurer_token)?;
    let set_up = SetUp { config: config.clone(), map: Arc::clone(&map), insurer_token };
    let endpoints = house::start_all(&deps, addr, set_up).await?;
    let web = WebDeps {
        services: Service::ALL.to_vec(),
        endpoints,
        feed: Arc::clone(&deps.store),
        streams: Streams::Alone,
        clock: Arc::clone(&deps.clock),
        ids: Arc::clone(&deps.ids),
        overseer: Arc::new(LocalOverseer { exchange: Arc::clone(&deps.exchange), keeper: deps.keeper.clone() }),
        keeper: deps.keeper.clone(),
        exercise,
        map: house::map_assets(&map),
        metrics: metrics.clone(),
    };
    let bound = shers_web::bind_on(listener, web, config.web.clone(), auth)?;
    rt::spawn(house::tidy_metrics(metrics));
    announce(addr, token.as_deref(), exercise);
    let (stopping, stop) = watch::channel(false);
    let city = match mode {
        Mode::Serve => None,
        Mode::Demo(flags) => {
            let place = city::Place { base: format!("http://{addr}"), token: token.unwrap_or_default(), map };
            let done: CityDone = city::spawn(&flags, place, &facilities, Arc::clone(&deps.clock), stop.clone())?;
            Some(done)
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
            () = house::signal() => {}
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

/// A demo starts from nothing, in a directory of its own, and never touches real data.
fn data_directory(config: &Config, demo: bool) -> Result<PathBuf, Failure> {
    if !demo {
        return Ok(config.top.data_dir.clone());
    }
    let directory = config.top.data_dir.join(DEMO_DIRECTORY);
    SqliteStore::remove(&directory)?;
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

fn announce(addr: SocketAddr, token: Option<&str>, exercise: bool) {
    let what = if exercise { "EXERCISE: the demo city" } else { "SHERS" };
    match token {
        Some(token) => println!("{what} is at http://{addr}/#token={token}"),
        None => println!("{what} is at http://{addr}/ (sign in with a token of your identity provider)"),
    }
}
