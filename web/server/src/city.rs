//! The demo city: beside the house in one process, or joining a house that runs elsewhere.

use crate::commands::DemoFlags;
use crate::config::Config;
use crate::house::{self, Failure};
use serde::Deserialize;
use shers_contract::Timestamp;
use shers_roads::RoadMap;
use shers_runtime::{Clock, ScaledClock};
use shers_simulation::{CityClock, CityOptions, Plot, PlotOptions};
use std::{error::Error, sync::Arc};
use tokio::sync::{oneshot, watch};

struct Time(Arc<dyn Clock>);

impl CityClock for Time {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
    fn speed(&self) -> f64 {
        self.0.speed()
    }
}

/// How the city's play ended.
pub type CityDone = oneshot::Receiver<Result<String, Box<dyn Error + Send + Sync>>>;

/// Where a city is played.
pub struct Place {
    /// The server.
    pub base: String,
    /// An administrator's token there.
    pub token: String,
    /// The map that the server drives on.
    pub map: Arc<RoadMap>,
}

/// Plays the city on a thread of its own, over HTTP like everybody else.
///
/// # Errors
/// The thread can't be had.
pub fn spawn(
    flags: &DemoFlags,
    place: Place,
    facilities: &[shers_roads::Facility],
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) -> Result<CityDone, Failure> {
    let Place { base, token, map } = place;
    let size = PlotOptions {
        seed: flags.seed,
        patients: flags.patients as usize,
        units: flags.units as usize,
        endless: !flags.until_done,
    };
    let plot = Plot::new(size, &map, facilities);
    let told = serde_json::to_value(&plot.stories)?;
    let options = CityOptions { base, token, clock: Arc::new(Time(clock)), map, plot, end_when_done: flags.until_done };
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

/// What a server says of its clock.
#[derive(Deserialize)]
struct ServerInfo {
    exercise: bool,
    server_time: Timestamp,
    speed: f64,
}

/// Plays the city against the server at `base`, until a signal or, with `--until-done`, until every story has ended.
///
/// # Errors
/// The server can't be asked, or holds no drill.
pub fn join(config: &Config, flags: &DemoFlags, base: &str) -> Result<(), Failure> {
    let token = house::configured_token(config)?.ok_or("name the server's token in SHERS_TOKEN, or with token_file")?;
    let map = Arc::new(house::load_map(config)?);
    let facilities = match &flags.facilities {
        Some(path) => shers_roads::facilities_from_geojson(path)?,
        None => map.facilities().to_vec(),
    };
    let base = base.trim_end_matches('/').to_owned();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let info = client.get(format!("{base}/api/v1/map/info")).bearer_auth(&token).send().await?;
        let info: ServerInfo = info.error_for_status()?.json().await?;
        if !info.exercise {
            return Err(
                "this server is no drill: the city's patients and charges would be real; set exercise = true there"
                    .into(),
            );
        }
        let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(info.server_time, info.speed));
        let (stopping, stop) = watch::channel(false);
        let place = Place { base: base.clone(), token, map };
        let done = spawn(flags, place, &facilities, clock, stop)?;
        println!("the demo city plays at {base}/");
        tokio::select! {
            () = house::signal() => {
                let _ = stopping.send(true);
                Ok(())
            }
            played = done => match played {
                Ok(Ok(text)) => {
                    println!("{text}");
                    Ok(())
                }
                Ok(Err(error)) => Err(error as Failure),
                Err(_) => Err("the city's thread ended".into()),
            },
        }
    })
}
