//! A crew: waits for an assignment, drives, treats, transports, hands over, goes home.

use crate::city::City;
use crate::plot::{Ambulance, Dice};
use serde_json::{Value, json};
use shers_contract::LatLon;
use shers_roads::{Route, Speed};
use std::time::Duration;

/// Real time between two looks at the tablet.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// City seconds between two positions.
const FIX_EVERY_S: u32 = 3;
/// Shortest real time between two positions.
const SHORTEST_FIX: Duration = Duration::from_millis(450);
/// City seconds from assignment to wheels turning.
const TURNOUT_S: (f64, f64) = (20.0, 50.0);
/// City seconds from arrival to the patient's side.
const TO_PATIENT_S: (f64, f64) = (20.0, 60.0);
/// City seconds at the patient's side.
const TREATMENT_S: (f64, f64) = (120.0, 240.0);
/// City seconds from arrival at the hospital to hand-over.
const OFFLOAD_S: (f64, f64) = (60.0, 150.0);
/// City seconds to clean up.
const CLEAN_UP_S: (f64, f64) = (30.0, 60.0);

/// What the crew's tablet shows.
struct Tablet {
    status: String,
    incident: Option<(String, LatLon)>,
    hospital: Option<LatLon>,
}

/// The incident the crew is on is no longer theirs.
struct CalledOff;

pub struct Crew<'a> {
    city: &'a City,
    ambulance: &'a Ambulance,
    at: LatLon,
    dice: Dice,
}

impl<'a> Crew<'a> {
    pub fn new(city: &'a City, index: usize, ambulance: &'a Ambulance) -> Self {
        Self { city, ambulance, at: ambulance.post, dice: Dice::new(city.plot.seed, 5_000 + index as u64) }
    }

    /// Works until the city ends.
    pub async fn run(mut self) {
        loop {
            if let Some(tablet) = self.tablet().await {
                match (tablet.status.as_str(), tablet.incident) {
                    ("assigned", Some((incident, place))) => match self.mission(&incident, place).await {
                        Ok(()) => self.city.mission_done(),
                        Err(CalledOff) => self.free_again().await,
                    },
                    // Dispatch gave up waiting for the crew to set out, while it was on its way home.
                    ("out-of-service", _) => self.free_again().await,
                    _ => {}
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn tablet(&self) -> Option<Tablet> {
        let unit = self.city.unit(&self.ambulance.id).await?;
        let status = unit.get("status").and_then(Value::as_str)?.to_owned();
        let incident = unit.get("incident_id").and_then(Value::as_str).map(str::to_owned);
        let hospital = unit.get("hospital").and_then(|h| h.get("location")).and_then(place_of);
        let incident = match incident {
            Some(id) => {
                let found = self.city.client.get(&format!("/incidents/{id}")).await.ok()?;
                found.get("location").and_then(place_of).map(|place| (id, place))
            }
            None => None,
        };
        Some(Tablet { status, incident, hospital })
    }

    async fn mission(&mut self, incident: &str, place: LatLon) -> Result<(), CalledOff> {
        self.wait(TURNOUT_S).await;
        self.report("enroute").await?;
        self.drive(place, Speed::LightsAndSirens, Some(incident)).await?;
        self.report("on-scene").await?;
        self.wait(TO_PATIENT_S).await;
        self.report("at-patient").await?;
        self.wait(TREATMENT_S).await;
        self.report("onboard").await?;
        let hospital = self.hospital().await;
        self.drive(hospital, Speed::LightsAndSirens, Some(incident)).await?;
        self.report("arrived").await?;
        self.wait(OFFLOAD_S).await;
        self.report("handed-over").await?;
        self.city.recovered(incident);
        self.wait(CLEAN_UP_S).await;
        self.report("available").await?;
        self.go_home().await;
        Ok(())
    }

    /// The hospital that dispatch chose; the nearest of the plot if it shows none.
    async fn hospital(&self) -> LatLon {
        for _ in 0..10 {
            if let Some(place) = self.tablet().await.and_then(|tablet| tablet.hospital) {
                return place;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let nearest = self
            .city
            .plot
            .hospitals
            .iter()
            .min_by(|a, b| self.at.distance_m(&a.2).total_cmp(&self.at.distance_m(&b.2)));
        nearest.map_or(self.at, |hospital| hospital.2)
    }

    async fn free_again(&mut self) {
        tracing::info!(unit.id = self.ambulance.id, "called off");
        if let Err(error) = self.say("available").await {
            tracing::debug!(%error, unit.id = self.ambulance.id, "status was not taken");
        }
        self.go_home().await;
    }

    /// Drives to the post, unless a new assignment comes on the way.
    async fn go_home(&mut self) {
        let post = self.ambulance.post;
        if self.drive(post, Speed::Normal, None).await.is_ok()
            && let Err(error) = self.say("at-post").await
        {
            tracing::debug!(%error, unit.id = self.ambulance.id, "status was not taken");
        }
    }

    async fn wait(&mut self, (low, high): (f64, f64)) {
        let wait_s = self.dice.between(low, high);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of minutes")]
        self.city.sleep_s(wait_s as u32, Duration::ZERO).await;
    }

    /// Drives along the road, posting positions. Stops when the incident is taken away, or, without one,
    /// when the unit is assigned.
    async fn drive(&mut self, to: LatLon, speed: Speed, incident: Option<&str>) -> Result<(), CalledOff> {
        let Ok(route) = self.city.map.route(self.at, to, speed) else {
            tracing::warn!(unit.id = self.ambulance.id, "no road there; the crew arrives on foot");
            self.at = to;
            return Ok(());
        };
        let started = self.city.now();
        let mut looked = tokio::time::Instant::now();
        loop {
            self.city.sleep_s(FIX_EVERY_S, SHORTEST_FIX).await;
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a drive")]
            let elapsed_s = self.city.now().ms_since(started) as f64 / 1000.0;
            self.post_fix(&route, elapsed_s).await;
            if route.is_over_at(elapsed_s) {
                return Ok(());
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = tokio::time::Instant::now();
                let unit = self.city.unit(&self.ambulance.id).await;
                let now = unit.as_ref().and_then(|u| u.get("incident_id")).and_then(Value::as_str);
                if unit.is_some() && now != incident {
                    return Err(CalledOff);
                }
            }
        }
    }

    async fn post_fix(&mut self, route: &Route, elapsed_s: f64) {
        let before = self.at;
        self.at = route.position_at(elapsed_s);
        let fix =
            json!({ "at": self.city.now().to_string(), "location": self.at, "heading_deg": heading(before, self.at) });
        let path = format!("/units/{}/locations", self.ambulance.id);
        if let Err(error) = self.city.client.post(&path, &fix).await {
            tracing::debug!(%error, unit.id = self.ambulance.id, "position was not taken");
        }
    }

    async fn report(&mut self, status: &str) -> Result<(), CalledOff> {
        match self.say(status).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::info!(%error, unit.id = self.ambulance.id, "status was not taken");
                Err(CalledOff)
            }
        }
    }

    async fn say(&self, status: &str) -> Result<(), crate::client::ClientError> {
        let body = json!({ "status": status, "location": self.at });
        self.city.client.post(&format!("/units/{}/status", self.ambulance.id), &body).await.map(|_| ())
    }
}

fn place_of(value: &Value) -> Option<LatLon> {
    LatLon::new(value.get("lat")?.as_f64()?, value.get("lon")?.as_f64()?)
}

/// Course from one place to another, degrees from north.
fn heading(from: LatLon, to: LatLon) -> f64 {
    let east = (to.lon - from.lon) * from.lat.to_radians().cos();
    (east.atan2(to.lat - from.lat).to_degrees() + 360.0) % 360.0
}
