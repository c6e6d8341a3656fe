//! One process of the distributed way: some services of the house, over PostgreSQL and an AMQP broker. What stands
//! behind each port is decided here and nowhere else.

use crate::config::Config;
use crate::house::{self, Failure};
use crate::services::{self, SetUp};
use actix::{Arbiter, System};
use actix_web::rt;
use futures::FutureExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use shers_bridge::AmqpWire;
use shers_contract::api::Service;
use shers_db::{PostgresStore, postgres};
use shers_runtime::{
    Clock, Endpoint, Ids, Keeper, KeeperOptions, ScaledClock, SystemIds,
    clock::system_now,
    host::{self, Doors, FarOverseer, Ground, Host, RelayOptions, Router},
    mirror::Mirror,
    wire::Wire,
};
use shers_web::{Streams, WebDeps};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{oneshot, watch};

/// How long an instance may take to answer for the lists of actors and dead letters.
const OVERSIGHT: Duration = Duration::from_secs(5);
/// Between two looks for old copies.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// Runs until a signal to stop, then gives its partitions back and ends.
///
/// # Errors
/// What a person must know.
pub fn run(config: Config) -> Result<(), Failure> {
    // A second default provider is refused; the first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = PrometheusBuilder::new().install_recorder()?;
    System::new().block_on(serve(config, metrics))
}

/// Migrates the schemas of the chosen services; says what was done.
///
/// # Errors
/// The database can't be reached or does not let itself be migrated.
pub fn migrate(config: &Config) -> Result<Vec<String>, Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut said = Vec::new();
    for service in config.services() {
        let options = config.database.options(service)?;
        let run = runtime.block_on(postgres::migrate(&options))?;
        let what = if run.is_empty() { "nothing to do".to_owned() } else { run.join(", ") };
        said.push(format!("schema {}: {what}", options.schema));
    }
    Ok(said)
}

/// The house's clock: in a drill perhaps a faster one, the same in every process.
fn clock(config: &Config) -> Arc<dyn Clock> {
    let (now, speed) = (system_now(), config.top.exercise_speed);
    let shown = config.top.exercise_began_at.map_or(now, |began| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "milliseconds of a drill")]
        let since_ms = (now.ms_since(began) as f64 * speed) as i64;
        began.plus_ms(since_ms)
    });
    Arc::new(ScaledClock::new(shown, speed))
}

fn replica(config: &Config) -> String {
    let host = || std::env::var("HOSTNAME").unwrap_or_else(|_| "shers".to_owned());
    config.top.replica.clone().unwrap_or_else(|| format!("{}-{}", host(), std::process::id()))
}

async fn serve(mut config: Config, metrics: PrometheusHandle) -> Result<(), Failure> {
    config.web.listen = config.top.listen;
    // Journals are spread over the partitions of those who read them.
    config.wearable.partitions = shers_contract::routing::PARTITIONS;
    let listener = shers_web::listen(&config.web)?;
    let addr = listener.local_addr()?;
    let map = Arc::new(house::load_map(&config)?);
    let insurer_token = house::insurer_token(&config)?.reveal().to_owned();
    let (auth, _) = house::authentication(&config, &insurer_token)?;
    let clock = clock(&config);
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let replica = replica(&config);
    let bridge = AmqpWire::start(config.amqp.clone(), &replica, Arc::clone(&ids)).map_err(|all| all.join("; "))?;
    let wire: Arc<dyn Wire> = Arc::clone(&bridge) as Arc<dyn Wire>;
    if let Err(error) = wire.declare(&services::parts()).await {
        tracing::warn!(%error, "the broker is not there yet; it is waited for");
    }
    let doors = Doors::default();
    let grounds = grounds(&config, &wire, &clock, &ids, &replica, &doors).await?;
    let keeper =
        Keeper::new(feed(&grounds)?, Arc::clone(&clock), Arc::clone(&ids), replica.as_str(), config.top.exercise);
    let (stopping, stop) = watch::channel(false);
    let set_up = SetUp { config: config.clone(), map: Arc::clone(&map), insurer_token };
    let mut ended = Vec::new();
    for (service, ground) in &grounds {
        ended.push(host_service(*service, ground, &set_up, &keeper, stop.clone()).await?);
    }
    let router = Router { doors, wire: Arc::clone(&wire), limit: Duration::from_millis(config.web.ask_ms) };
    let web = WebDeps {
        services: grounds.keys().copied().collect(),
        endpoints: endpoints(&router),
        feed: feed(&grounds)?,
        streams: if grounds.contains_key(&Service::Stream) { Streams::Replica } else { Streams::Elsewhere },
        overseer: Arc::new(FarOverseer {
            own: keeper.clone(),
            router,
            services: Service::ALL.into_iter().map(|service| (service, services::partitions(service))).collect(),
            ids,
            clock: Arc::clone(&clock),
            limit: OVERSIGHT,
        }),
        keeper,
        ids: Arc::new(SystemIds),
        clock,
        exercise: config.top.exercise,
        map: house::map_assets(&map),
        metrics: metrics.clone(),
    };
    let bound = shers_web::bind_on(listener, web, config.web.clone(), auth)?;
    rt::spawn(house::tidy_metrics(metrics));
    let names: Vec<&str> = grounds.keys().map(|service| service.as_str()).collect();
    tracing::info!(%addr, replica, services = names.join(","), "serves");
    let shutdown = async {
        house::signal().await;
        tracing::info!("draining");
    };
    bound.run(shutdown).await?;
    let _ = stopping.send(true);
    for end in ended {
        // A host's thread that is gone has ended as well.
        let _ = end.await;
    }
    bridge.close().await;
    Ok(())
}

/// A door to each service, wherever it runs.
fn endpoints(router: &Router) -> BTreeMap<Service, Arc<dyn Endpoint>> {
    let door = || Arc::new(router.clone()) as Arc<dyn Endpoint>;
    Service::ALL.into_iter().map(|service| (service, door())).collect()
}

/// The log that the live stream tells, or, where it is not told, any: readiness asks it.
fn feed(grounds: &BTreeMap<Service, Ground>) -> Result<Arc<dyn shers_runtime::Store>, Failure> {
    let own = grounds.get(&Service::Stream).or_else(|| grounds.values().next());
    let own = own.ok_or("no service was chosen")?;
    Ok(Arc::clone(&own.mirror).whole())
}

/// Opens the log of each service.
async fn grounds(
    config: &Config,
    wire: &Arc<dyn Wire>,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn Ids>,
    replica: &str,
    doors: &Doors,
) -> Result<BTreeMap<Service, Ground>, Failure> {
    let mut grounds = BTreeMap::new();
    for service in config.services() {
        let options = config.database.options(service)?;
        let mirror: Arc<dyn Mirror> = PostgresStore::open(&options).await?;
        let ground = Ground {
            mirror,
            wire: Arc::clone(wire),
            clock: Arc::clone(clock),
            ids: Arc::clone(ids),
            replica: replica.to_owned(),
            exercise: config.top.exercise,
            doors: doors.clone(),
        };
        grounds.insert(service, ground);
    }
    Ok(grounds)
}

/// Hosts a service, its relay and its tidying on an arbiter of their own. Resolves when they have ended.
async fn host_service(
    service: Service,
    ground: &Ground,
    set_up: &SetUp,
    keeper: &Keeper,
    stop: watch::Receiver<bool>,
) -> Result<oneshot::Receiver<()>, Failure> {
    let (plan, start) = (services::plan(service, set_up), services::factory(service, set_up)());
    let keep = Duration::from_secs(set_up.config.database.keep_copies_s);
    let (ground, keeper) = (ground.clone(), keeper.clone());
    let (tell, ended) = oneshot::channel();
    let (begun, begins) = oneshot::channel::<Result<(), String>>();
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(move || {
        rt::spawn(async move {
            let started = match &plan {
                Some(_) => Ok(()),
                None => host::everywhere(&ground, service, start, stop.clone()).await,
            };
            // The main thread waits for this answer, or is gone.
            let _ = begun.send(started.map_err(|error| house::chain(&*error)));
            // What they must not lose lies in the log and the broker; each life joins anew.
            let (name, limits) = (service.as_str(), KeeperOptions::default());
            let relaying = keeper.keep("relays", name, limits.clone(), |_| {
                host::relay(ground.clone(), service, RelayOptions::default(), stop.clone()).map(Ok)
            });
            let tidying = keeper.keep("tidying", name, limits.clone(), |_| {
                host::tidy(ground.clone(), service, keep, TIDY_EVERY, stop.clone()).map(Ok)
            });
            let hosting = async {
                if let Some(plan) = plan {
                    let life = |_| Host::new(ground.clone(), plan.clone()).run(stop.clone()).map(Ok);
                    keeper.keep("hosts", name, limits.clone(), life).await;
                }
            };
            tokio::join!(relaying, tidying, hosting);
            let _ = tell.send(());
        });
    });
    let started = begins.await.unwrap_or_else(|_| Err("its thread ended while it started".to_owned()));
    started.map_err(|error| format!("starting {}: {error}", service.as_str()))?;
    Ok(ended)
}
