//! Valhalla's HTTP interface: `/sources_to_targets` for many drives, `/route` for one.

use super::http;
use super::remote::{Matrix, Told};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use shers_contract::LatLon;
use std::time::Duration;

/// Metres in a kilometre; Valhalla counts in the latter.
const M_PER_KM: f64 = 1_000.0;

/// A Valhalla server.
#[derive(Debug)]
pub struct Valhalla {
    client: reqwest::Client,
    url: String,
    max_snap_m: u32,
}

#[derive(Deserialize)]
struct Cell {
    time: Option<f64>,
    distance: Option<f64>,
    from_index: usize,
    to_index: usize,
}

#[derive(Deserialize)]
struct Table {
    sources_to_targets: Vec<Vec<Cell>>,
}

#[derive(Deserialize)]
struct Summary {
    time: f64,
    length: f64,
}

#[derive(Deserialize)]
struct Trip {
    summary: Summary,
    #[serde(default)]
    status: i64,
}

#[derive(Deserialize)]
struct Route {
    trip: Trip,
}

impl Valhalla {
    /// The server at `base_url`. A place farther than `max_snap_m` from any road is refused by it.
    ///
    /// # Errors
    /// The client can't be made.
    pub fn new(base_url: &str, time_limit: Duration, max_snap_m: u32) -> Result<Self, http::ClientError> {
        let client = http::client(base_url, time_limit)?;
        Ok(Self { client, url: base_url.trim_end_matches('/').to_owned(), max_snap_m })
    }

    fn place(&self, place: LatLon) -> Value {
        json!({"lat": place.lat, "lon": place.lon, "search_cutoff": self.max_snap_m})
    }

    async fn table(&self, from: &[LatLon], to: &[LatLon]) -> Result<Vec<Told>, String> {
        let places = |places: &[LatLon]| places.iter().map(|place| self.place(*place)).collect::<Vec<_>>();
        let body = json!({"sources": places(from), "targets": places(to), "costing": "auto", "units": "kilometers"});
        let request = self.client.post(format!("{}/sources_to_targets", self.url)).json(&body);
        let table: Table = http::json(request).await?;
        // Cells name their places; they are put where they belong, whatever their order.
        let mut told: Vec<Option<Told>> = vec![None; from.len() * to.len()];
        for cell in table.sources_to_targets.into_iter().flatten() {
            let inside = cell.from_index < from.len() && cell.to_index < to.len();
            let index = if inside { cell.from_index * to.len() + cell.to_index } else { usize::MAX };
            let slot = told.get_mut(index).ok_or("it answered about places that were not asked")?;
            *slot = Some(match (cell.time, cell.distance) {
                (Some(seconds), Some(km)) => Ok((seconds, km * M_PER_KM)),
                (Some(_) | None, Some(_) | None) => Err("no road leads there".to_owned()),
            });
        }
        told.into_iter().collect::<Option<Vec<Told>>>().ok_or_else(|| "its table has gaps".to_owned())
    }
}

#[async_trait]
impl Matrix for Valhalla {
    fn name(&self) -> &'static str {
        "valhalla"
    }
    async fn many_to_one(&self, from: &[LatLon], to: LatLon) -> Result<Vec<Told>, String> {
        self.table(from, &[to]).await
    }
    async fn one_to_many(&self, from: LatLon, to: &[LatLon]) -> Result<Vec<Told>, String> {
        self.table(&[from], to).await
    }
    async fn one(&self, from: LatLon, to: LatLon) -> Result<Told, String> {
        let locations = [self.place(from), self.place(to)];
        let body = json!({"locations": locations, "costing": "auto", "units": "kilometers", "directions_type": "none"});
        let answer: Route = http::json(self.client.post(format!("{}/route", self.url)).json(&body)).await?;
        if answer.trip.status != 0 {
            return Err("it found no route".to_owned());
        }
        Ok(Ok((answer.trip.summary.time, answer.trip.summary.length * M_PER_KM)))
    }
}
