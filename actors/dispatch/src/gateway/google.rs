//! Google Routes API v2, `computeRouteMatrix`.
//!
//! - The field mask must name `status`, or a failed element looks like one without a road.
//! - Elements come in any order and name their places; protobuf's JSON leaves zeros out, so a missing index
//!   is 0 and a missing distance 0 m.
//! - At most 625 elements a call.
//! - Google's terms limit keeping its answers and showing them on another map: times are used for the
//!   decision in hand and told with it, no route of Google's is drawn.

use super::http;
use super::remote::{Matrix, Told};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use shers_contract::LatLon;
use std::fmt;
use std::time::Duration;

/// Elements Google takes in one call.
pub const MAX_ELEMENTS: usize = 625;
/// What is asked for.
const FIELD_MASK: &str = "originIndex,destinationIndex,status,condition,distanceMeters,duration";

/// Google Routes.
pub struct Google {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Google").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    code: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Element {
    #[serde(default)]
    origin_index: usize,
    #[serde(default)]
    destination_index: usize,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    condition: String,
    #[serde(default)]
    distance_meters: f64,
    duration: Option<String>,
}

impl Google {
    /// Asked at `base_url` (normally `https://routes.googleapis.com`) with `key`.
    ///
    /// # Errors
    /// The client can't be made.
    pub fn new(base_url: &str, key: String, time_limit: Duration) -> Result<Self, http::ClientError> {
        let client = http::client(base_url, time_limit)?;
        Ok(Self { client, url: base_url.trim_end_matches('/').to_owned(), key })
    }

    async fn table(&self, from: &[LatLon], to: &[LatLon]) -> Result<Vec<Told>, String> {
        let body = json!({
            "origins": from.iter().map(waypoint).collect::<Vec<_>>(),
            "destinations": to.iter().map(waypoint).collect::<Vec<_>>(),
            "travelMode": "DRIVE",
            "routingPreference": "TRAFFIC_AWARE",
        });
        let request = self.client.post(format!("{}/distanceMatrix/v2:computeRouteMatrix", self.url));
        let request = request.header("X-Goog-Api-Key", &self.key).header("X-Goog-FieldMask", FIELD_MASK).json(&body);
        let elements: Vec<Element> = http::json(request).await?;
        let mut told: Vec<Option<Told>> = vec![None; from.len() * to.len()];
        for element in elements {
            let inside = element.origin_index < from.len() && element.destination_index < to.len();
            let index = if inside { element.origin_index * to.len() + element.destination_index } else { usize::MAX };
            let slot = told.get_mut(index).ok_or("it answered about places that were not asked")?;
            if slot.replace(drive(&element)?).is_some() {
                return Err("it answered twice about one drive".to_owned());
            }
        }
        told.into_iter().collect::<Option<Vec<Told>>>().ok_or_else(|| "its matrix has gaps".to_owned())
    }
}

fn waypoint(place: &LatLon) -> Value {
    json!({"waypoint": {"location": {"latLng": {"latitude": place.lat, "longitude": place.lon}}}})
}

/// An element that failed says nothing about roads, so the whole answer counts as failed.
fn drive(element: &Element) -> Result<Told, String> {
    if element.status.code != 0 {
        return Err(format!("an element failed with status {}", element.status.code));
    }
    match element.condition.as_str() {
        "ROUTE_EXISTS" => {
            let seconds = element.duration.as_deref().and_then(|text| text.strip_suffix('s')?.parse().ok());
            let seconds: f64 = seconds.ok_or("a drive has no time")?;
            Ok(Ok((seconds, element.distance_meters)))
        }
        "ROUTE_NOT_FOUND" => Ok(Err("no road leads there".to_owned())),
        _ => Err("an element does not say whether there is a route".to_owned()),
    }
}

#[async_trait]
impl Matrix for Google {
    fn name(&self) -> &'static str {
        "google"
    }
    async fn many_to_one(&self, from: &[LatLon], to: LatLon) -> Result<Vec<Told>, String> {
        self.table(from, &[to]).await
    }
    async fn one_to_many(&self, from: LatLon, to: &[LatLon]) -> Result<Vec<Told>, String> {
        self.table(&[from], to).await
    }
}
