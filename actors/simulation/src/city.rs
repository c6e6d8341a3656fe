//! The city: registers everybody, lets the wearers, the crews and the dispatch centre act, and watches
//! how every story of the plot ends.

use crate::client::{Client, ClientError};
use crate::crew::Crew;
use crate::plot::{Illness, Plot};
use crate::{desk, wearers};
use futures::future::{join_all, select};
use serde::Serialize;
use serde_json::{Value, json};
use shers_contract::{LatLon, Timestamp};
use shers_roads::RoadMap;
use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Real time for which the list of units is taken from memory.
const UNITS_FRESH: Duration = Duration::from_millis(250);
/// Registrations under way at once.
const SETUP_PARALLEL: usize = 16;

/// The server's time, which may run faster than the real one.
pub trait CityClock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// City seconds per real second.
    fn speed(&self) -> f64;
}

/// Where and how the city plays.
pub struct CityOptions {
    /// The server, such as `http://127.0.0.1:8080`.
    pub base: String,
    /// An administrator's token.
    pub token: String,
    /// Time.
    pub clock: Arc<dyn CityClock>,
    /// Roads.
    pub map: Arc<RoadMap>,
    /// What happens.
    pub plot: Plot,
    /// End when every story has ended; else go on until told to stop.
    pub end_when_done: bool,
}

/// The city could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum CityError {
    /// The client could not be made.
    #[error("making the HTTP client")]
    Client(#[from] reqwest::Error),
    /// A registration was refused.
    #[error("registering the city")]
    Setup(#[from] ClientError),
}

/// How one story ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Outcome {
    /// Whose.
    pub patient: String,
    /// The incident's status, null when there is none yet.
    pub incident: Option<String>,
    /// How many incidents the patient had: more than one is a fault.
    pub incidents: usize,
    /// Calls that joined.
    pub calls: u64,
    /// The bill's state.
    pub bill: Option<String>,
    /// Whether it had to wait for a unit.
    pub waited: bool,
}

impl Outcome {
    /// The story has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.incident.as_deref() == Some("closed")
    }
}

pub(crate) struct City {
    pub(crate) client: Client,
    pub(crate) plot: Plot,
    pub(crate) map: Arc<RoadMap>,
    clock: Arc<dyn CityClock>,
    started_at: Timestamp,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Patients by index who were handed over, and when.
    recovered: HashMap<usize, u32>,
    /// Patient of an incident.
    patients: HashMap<String, usize>,
    units: HashMap<String, Value>,
    units_at: Option<tokio::time::Instant>,
    outcomes: BTreeMap<usize, Outcome>,
    missions: u32,
}

impl City {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
    /// City seconds since the start.
    pub(crate) fn second(&self) -> u32 {
        u32::try_from(self.now().ms_since(self.started_at) / 1000).unwrap_or(0)
    }
    pub(crate) fn time_of(&self, second: u32) -> Timestamp {
        self.started_at.plus_ms(i64::from(second) * 1000)
    }
    /// Sleeps city seconds, but at least a real time.
    pub(crate) async fn sleep_s(&self, seconds: u32, at_least: Duration) {
        let real = Duration::from_secs(u64::from(seconds)).div_f64(self.clock.speed());
        tokio::time::sleep(real.max(at_least)).await;
    }
    /// The illness of a patient at a second, and how long it has lasted.
    pub(crate) fn illness(&self, patient: usize, second: u32) -> Option<(Illness, f64)> {
        let begun = |story: &&crate::plot::Story| story.patient == patient && story.begins_s <= second;
        let story = self.plot.stories.iter().rev().find(begun)?;
        let recovered = self.lock().recovered.get(&patient).is_some_and(|at| (story.begins_s..=second).contains(at));
        (!recovered).then(|| (story.illness, f64::from(second - story.begins_s)))
    }
    /// The patient of an incident was handed over.
    pub(crate) fn recovered(&self, incident: &str) {
        let second = self.second();
        let mut state = self.lock();
        if let Some(patient) = state.patients.get(incident).copied() {
            state.recovered.insert(patient, second);
        }
    }
    pub(crate) fn mission_done(&self) {
        self.lock().missions += 1;
    }

    /// A unit as the server shows it; the list is shared by all crews.
    pub(crate) async fn unit(&self, id: &str) -> Option<Value> {
        let fresh = self.lock().units_at.is_some_and(|at| at.elapsed() < UNITS_FRESH);
        if !fresh {
            let list = self.client.get("/units?limit=500").await.ok()?;
            let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let by_id = items.into_iter().filter_map(|unit| {
                let id = unit.get("unit_id").and_then(Value::as_str)?.to_owned();
                Some((id, unit))
            });
            let mut state = self.lock();
            state.units = by_id.collect();
            state.units_at = Some(tokio::time::Instant::now());
        }
        self.lock().units.get(id).cloned()
    }

    /// Takes note of how the stories stand.
    pub(crate) fn follow(&self, incidents: &[Value]) {
        let now_s = self.second();
        let mut state = self.lock();
        for (index, story) in self.plot.stories.iter().enumerate() {
            if story.begins_s > now_s {
                continue;
            }
            // In an endless city the same wearer falls ill again: that is another story.
            let next = self.plot.stories.iter().filter(|s| s.patient == story.patient && s.begins_s > story.begins_s);
            let until = next.map(|s| self.time_of(s.begins_s)).min();
            let from = self.time_of(story.begins_s);
            let within = |i: &Value| {
                let at = i.get("opened_at").and_then(Value::as_str).and_then(Timestamp::parse);
                at.is_none_or(|at| at >= from && until.is_none_or(|until| at < until))
            };
            let Some(wearer) = self.plot.wearers.get(story.patient) else { continue };
            let mine: Vec<&Value> = incidents
                .iter()
                .filter(|i| i.get("patient_id").and_then(Value::as_str) == Some(wearer.id.as_str()) && within(i))
                .collect();
            let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
            for incident in &mine {
                if let Some(id) = text(incident, "incident_id") {
                    state.patients.insert(id, story.patient);
                }
            }
            let Some(incident) = mine.first() else { continue };
            let before = state.outcomes.get(&index);
            let waited = before.is_some_and(|b| b.waited) || text(incident, "waiting_reason").is_some();
            let outcome = Outcome {
                patient: wearer.id.clone(),
                incident: text(incident, "status"),
                incidents: mine.len(),
                calls: incident.get("calls").and_then(Value::as_u64).unwrap_or(0),
                bill: incident.get("bill").and_then(|bill| text(bill, "state")),
                waited,
            };
            if before != Some(&outcome) {
                tracing::info!(patient.id = outcome.patient, status = outcome.incident, bill = outcome.bill, "story");
                state.outcomes.insert(index, outcome);
            }
        }
    }

    fn done(&self) -> bool {
        let state = self.lock();
        state.outcomes.len() == self.plot.stories.len() && state.outcomes.values().all(Outcome::is_over)
    }

    /// Registers hospitals, stations, units and patients.
    async fn set_up(&self) -> Result<(), ClientError> {
        for (id, name, place) in &self.plot.hospitals {
            let body = json!({"hospital_id": id, "name": name, "location": place, "capabilities": ["emergency"]});
            self.client.put(&format!("/hospitals/{id}"), &body).await?;
        }
        for (id, name, place) in &self.plot.stations {
            let body = json!({"station_id": id, "name": name, "location": place});
            self.client.put(&format!("/stations/{id}"), &body).await?;
        }
        for ambulance in &self.plot.ambulances {
            let body = json!({
                "unit_id": ambulance.id, "kind": "ambulance", "capabilities": ["als", "bls"], "crew_level": "als",
                "station_id": ambulance.station, "location": ambulance.post,
            });
            let registered = self.client.post("/units", &body).await;
            if !matches!(&registered, Err(error) if error.status() == Some(409)) {
                registered?;
            }
            self.at_post(&ambulance.id, ambulance.post).await?;
        }
        for chunk in self.plot.wearers.chunks(SETUP_PARALLEL) {
            for done in join_all(chunk.iter().map(|wearer| self.register(wearer))).await {
                done?;
            }
        }
        Ok(())
    }

    /// Puts a unit at its post; one that is busy from an earlier run stays what it is.
    async fn at_post(&self, unit: &str, post: LatLon) -> Result<(), ClientError> {
        let body = json!({"status": "at-post", "location": post});
        match self.client.post(&format!("/units/{unit}/status"), &body).await {
            Err(error) if error.status() != Some(409) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn register(&self, wearer: &crate::plot::Wearer) -> Result<(), ClientError> {
        let mut patient = json!({
            "patient_id": wearer.id, "name": wearer.name, "birth_date": format!("{}-06-15", wearer.born),
            "home": wearer.home, "payment_method": wearer.payment_method, "devices": [format!("watch-{}", wearer.id)],
            "next_of_kin": [{"name": "Next of kin", "phone": wearer.phone, "language": "en"}],
        });
        if let (Some(plan), Some(members)) = (&wearer.plan, patient.as_object_mut()) {
            members
                .insert("coverage".to_owned(), json!({"plan_id": plan, "member_id": format!("member-{}", wearer.id)}));
        }
        self.client.put(&format!("/patients/{}", wearer.id), &patient).await.map(|_| ())
    }
}

/// Plays the city until `stop` resolves, or until every story has ended when that is asked for. Gives how
/// each story stood then.
///
/// # Errors
/// The city could not be registered.
pub async fn run(options: CityOptions, stop: impl Future<Output = ()>) -> Result<Vec<Outcome>, CityError> {
    let started_at = options.clock.now();
    let run = format!("city-{}-{}", options.plot.seed, started_at.as_ms());
    let client = Client::new(&options.base, &options.token, run)?;
    let city = City {
        client,
        plot: options.plot,
        map: options.map,
        clock: options.clock,
        started_at,
        state: Mutex::default(),
    };
    city.set_up().await?;
    let crews = join_all(city.plot.ambulances.iter().enumerate().map(|(n, a)| Crew::new(&city, n, a).run()));
    let acting = async {
        tokio::join!(wearers::run(&city), desk::run(&city), crews);
    };
    let ended = async {
        while !(options.end_when_done && city.done()) {
            tokio::time::sleep(UNITS_FRESH).await;
        }
    };
    let (stop, ended) = (pin!(stop), pin!(ended));
    select(pin!(acting), select(stop, ended)).await;
    let outcomes = city.lock().outcomes.values().cloned().collect();
    Ok(outcomes)
}
