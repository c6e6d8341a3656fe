//! OSRM's HTTP interface: `/table` for many drives, `/route` for one.
//!
//! OSRM snaps any position to its nearest road, however far; what lies farther than `max_snap_m` is off the
//! network here, so that a unit in the sea is not believed to be at the shore.

use super::http;
use super::remote::{Matrix, Told};
use async_trait::async_trait;
use serde::Deserialize;
use shers_contract::LatLon;
use std::time::Duration;

/// An OSRM server.
#[derive(Debug)]
pub struct Osrm {
    client: reqwest::Client,
    url: String,
    max_snap_m: f64,
}

#[derive(Deserialize)]
struct Waypoint {
    #[serde(default)]
    distance: f64,
}

#[derive(Deserialize)]
struct Table {
    code: String,
    durations: Vec<Vec<Option<f64>>>,
    distances: Vec<Vec<Option<f64>>>,
    sources: Vec<Waypoint>,
    destinations: Vec<Waypoint>,
}

#[derive(Deserialize)]
struct Leg {
    duration: f64,
    distance: f64,
}

#[derive(Deserialize)]
struct Routes {
    code: String,
    #[serde(default)]
    routes: Vec<Leg>,
    #[serde(default)]
    waypoints: Vec<Waypoint>,
}

impl Osrm {
    /// The server at `base_url`.
    ///
    /// # Errors
    /// The client can't be made.
    pub fn new(base_url: &str, time_limit: Duration, max_snap_m: f64) -> Result<Self, http::ClientError> {
        let client = http::client(base_url, time_limit)?;
        Ok(Self { client, url: base_url.trim_end_matches('/').to_owned(), max_snap_m })
    }

    async fn table(&self, places: &[LatLon], query: &str) -> Result<Table, String> {
        let url =
            format!("{}/table/v1/driving/{}?{query}&annotations=duration,distance", self.url, coordinates(places));
        let table: Table = http::json(self.client.get(url)).await?;
        if table.code == "Ok" { Ok(table) } else { Err("it refused the question".to_owned()) }
    }

    fn told(&self, drive: (Option<f64>, Option<f64>), snaps: [&Waypoint; 2]) -> Told {
        if snaps.iter().any(|snap| snap.distance > self.max_snap_m) {
            return Err(format!("no road within {:.0} m", self.max_snap_m));
        }
        match drive {
            (Some(seconds), Some(metres)) => Ok((seconds, metres)),
            (Some(_) | None, Some(_) | None) => Err("no road leads there".to_owned()),
        }
    }
}

/// `lon,lat;lon,lat`.
fn coordinates(places: &[LatLon]) -> String {
    let texts: Vec<String> = places.iter().map(|place| format!("{:.6},{:.6}", place.lon, place.lat)).collect();
    texts.join(";")
}

const MALFORMED: &str = "its table is not of the size that was asked for";

#[async_trait]
impl Matrix for Osrm {
    fn name(&self) -> &'static str {
        "osrm"
    }

    async fn many_to_one(&self, from: &[LatLon], to: LatLon) -> Result<Vec<Told>, String> {
        let mut places = vec![to];
        places.extend_from_slice(from);
        let sources: Vec<String> = (1..places.len()).map(|index| index.to_string()).collect();
        let table = self.table(&places, &format!("sources={}&destinations=0", sources.join(";"))).await?;
        let end = table.destinations.first().ok_or(MALFORMED)?;
        if [table.durations.len(), table.distances.len(), table.sources.len()] != [from.len(); 3] {
            return Err(MALFORMED.to_owned());
        }
        let rows = table.durations.iter().zip(&table.distances).zip(&table.sources);
        rows.map(|((seconds, metres), snap)| match (seconds.as_slice(), metres.as_slice()) {
            ([seconds], [metres]) => Ok(self.told((*seconds, *metres), [snap, end])),
            _ => Err(MALFORMED.to_owned()),
        })
        .collect()
    }

    async fn one_to_many(&self, from: LatLon, to: &[LatLon]) -> Result<Vec<Told>, String> {
        let mut places = vec![from];
        places.extend_from_slice(to);
        let targets: Vec<String> = (1..places.len()).map(|index| index.to_string()).collect();
        let table = self.table(&places, &format!("sources=0&destinations={}", targets.join(";"))).await?;
        let start = table.sources.first().ok_or(MALFORMED)?;
        let (Some(seconds), Some(metres)) = (table.durations.first(), table.distances.first()) else {
            return Err(MALFORMED.to_owned());
        };
        if [seconds.len(), metres.len(), table.destinations.len()] != [to.len(); 3] {
            return Err(MALFORMED.to_owned());
        }
        let drives = seconds.iter().zip(metres).zip(&table.destinations);
        Ok(drives.map(|((seconds, metres), snap)| self.told((*seconds, *metres), [start, snap])).collect())
    }

    async fn one(&self, from: LatLon, to: LatLon) -> Result<Told, String> {
        let url = format!("{}/route/v1/driving/{}?overview=false", self.url, coordinates(&[from, to]));
        let answer: Routes = http::json(self.client.get(url)).await?;
        if answer.code != "Ok" {
            return Err("it refused the question".to_owned());
        }
        match (answer.routes.first(), answer.waypoints.as_slice()) {
            (Some(leg), [start, end]) => Ok(self.told((Some(leg.duration), Some(leg.distance)), [start, end])),
            (Some(_) | None, _) => Err("its route is not what it should be".to_owned()),
        }
    }
}
