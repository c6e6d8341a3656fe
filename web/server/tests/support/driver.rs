//! Patients, crews and relatives who live on while the server dies and comes back: every request is
//! repeated with its `Idempotency-Key` until it is answered.

use super::{
    Client,
    world::{self, RUN},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Between two tries, and between two looks.
const AGAIN: Duration = Duration::from_millis(25);
/// Answers that say "not now, or not known": asked again with the same key.
const PASSING: [u16; 4] = [429, 500, 503, 504];

/// One planned emergency.
#[derive(Clone, Debug)]
pub struct Plan {
    pub patient: String,
    pub card: &'static str,
    pub phone: &'static str,
    /// A relative calls too, while the incident is open.
    pub second_call: bool,
}

impl Plan {
    /// The `n`-th emergency: every fourth card is declined, every fourth answer of the provider is lost
    /// after the charge, every fifth message times out, every third is called in twice.
    pub fn of(n: usize) -> Self {
        let card = ["pm_card_visa", "pm_card_chargeDeclined", "pm_card_timeout_after", "pm_card_timeout_before"][n % 4];
        let phone = if n % 5 == 4 { "+15005550009" } else { "+41790001234" };
        Self { patient: format!("p-{n:03}"), card, phone, second_call: n.is_multiple_of(3) }
    }

    /// How the bill must end.
    pub fn bill(&self) -> &'static str {
        if self.card == "pm_card_chargeDeclined" { "FAILED" } else { "PAID" }
    }
}

/// Everybody outside the server.
pub struct Driver {
    client: Client,
    /// Answers so far, for the one who chooses the moment to kill.
    pub answers: Cell<u64>,
    /// No new emergencies any more.
    pub enough: Cell<bool>,
    /// Every story has ended: crews go home.
    pub over: Cell<bool>,
    /// Readings with a 202, as patient and number.
    pub accepted: RefCell<BTreeSet<(String, u64)>>,
    /// Emergencies begun.
    pub plans: RefCell<Vec<Plan>>,
    /// Incidents by patient, as last seen.
    incidents: RefCell<BTreeMap<String, Value>>,
    /// Incidents that may be handed over.
    may_end: RefCell<BTreeSet<String>>,
}

impl Driver {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            answers: Cell::default(),
            enough: Cell::default(),
            over: Cell::default(),
            accepted: RefCell::default(),
            plans: RefCell::default(),
            incidents: RefCell::default(),
            may_end: RefCell::default(),
        }
    }

    /// Asks until there is an answer that stands.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>, key: &str) -> (u16, Value) {
        loop {
            let mut request = self.client.request(method.clone(), path);
            if let Some(body) = body {
                request = request.json(body);
            }
            if method == Method::POST {
                request = request.header("Idempotency-Key", key);
            }
            if let Ok(answer) = Client::send(request).await {
                self.answers.set(self.answers.get() + 1);
                let running = answer.status == 409 && answer.body["type"] == "/problems/still-running";
                if !running && !PASSING.contains(&answer.status) {
                    return (answer.status, answer.body);
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Asks, and takes only these statuses.
    async fn must(&self, method: Method, path: &str, body: Option<&Value>, key: &str, good: &[u16]) -> Value {
        let (status, body_back) = self.ask(method.clone(), path, body, key).await;
        assert!(good.contains(&status), "{method} {path} {body:?}: {status} {body_back}");
        body_back
    }

    /// Registers the hospital and the units, which are free from then on.
    pub async fn set_up(&self, units: &[String]) {
        let place = json!({"lat": world::POST.0, "lon": world::POST.1});
        let hospital = json!({"name": "Landesspital", "location": place, "capabilities": ["emergency"]});
        self.must(Method::PUT, "/hospitals/landesspital", Some(&hospital), "", &[200]).await;
        for unit in units {
            self.must(Method::POST, "/units", Some(&world::unit(unit)), &format!("register-{unit}"), &[201]).await;
        }
    }

    async fn report(&self, unit: &str, status: &str, mission: &str) {
        let body = json!({"status": status, "location": {"lat": world::POST.0, "lon": world::POST.1}});
        let key = format!("{unit}-{mission}-{status}");
        self.must(Method::POST, &format!("/units/{unit}/status"), Some(&body), &key, &[200]).await;
    }

    async fn send_readings(&self, patient: &str, from: u64, readings: &[Value]) {
        let key = format!("vitals-{patient}-{from}");
        let answer = self.must(Method::POST, "/vitals", Some(&json!(readings)), &key, &[202]).await;
        assert_eq!(answer["accepted"], readings.len(), "{answer}");
        let numbers = (from..).take(readings.len()).map(|seq| (patient.to_owned(), seq));
        self.accepted.borrow_mut().extend(numbers);
    }

    /// Emergencies one after the other, until it is enough; `take` gives the next number.
    pub async fn patients(&self, take: &Cell<usize>, most: usize) {
        while !self.enough.get() && take.get() < most {
            let plan = Plan::of(take.replace(take.get() + 1));
            self.plans.borrow_mut().push(plan.clone());
            self.emergency(&plan).await;
        }
    }

    /// One emergency from the registration to the closed incident.
    async fn emergency(&self, plan: &Plan) {
        let patient = plan.patient.as_str();
        let body = world::patient(plan.card, plan.phone);
        self.must(Method::PUT, &format!("/patients/{patient}"), Some(&body), "", &[200, 201]).await;
        self.send_readings(patient, 1, &[world::well(patient, 1), world::well(patient, 2)]).await;
        self.send_readings(patient, 3, &[world::ill(patient, 3)]).await;
        self.send_readings(patient, 4, &[world::ill(patient, 4), world::ill(patient, 5)]).await;
        let incident = self.incident_where(patient, |_| true).await;
        let id = incident["incident_id"].as_str().expect("an id").to_owned();
        if plan.second_call {
            let call = json!({"patient_id": patient, "priority": 2, "summary": "a relative calls as well"});
            self.must(Method::POST, "/incidents", Some(&call), &format!("call-{patient}"), &[200, 201]).await;
        }
        self.may_end.borrow_mut().insert(id);
        self.incident_where(patient, |incident| incident["status"] == "closed").await;
    }

    async fn incident_where(&self, patient: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(incident) = self.incidents.borrow().get(patient).filter(|incident| wanted(incident)) {
                return incident.clone();
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Looks at the list of incidents for everybody.
    pub async fn watch(&self) {
        while !self.over.get() {
            let list = self.must(Method::GET, "/incidents?limit=1000", None, "", &[200]).await;
            let mut incidents = BTreeMap::new();
            for incident in list["items"].as_array().expect("items") {
                let patient = incident["patient_id"].as_str().unwrap_or_default().to_owned();
                let before = incidents.insert(patient, incident.clone());
                assert!(before.is_none(), "two incidents of one emergency: {before:?} {incident}");
            }
            *self.incidents.borrow_mut() = incidents;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// A crew: does what its unit is assigned to, every status once.
    pub async fn crew(&self, unit: &str) {
        let mut done = BTreeSet::new();
        while !self.over.get() {
            let shown = self.must(Method::GET, &format!("/units/{unit}"), None, "", &[200, 404]).await;
            let assigned = shown["incident_id"].as_str().filter(|_| shown["status"] == "assigned");
            if let Some(incident) = assigned.filter(|incident| !done.contains(*incident)) {
                for status in RUN {
                    while status == "handed-over" && !self.may_end.borrow().contains(incident) {
                        tokio::time::sleep(AGAIN).await;
                    }
                    self.report(unit, status, incident).await;
                }
                done.insert(incident.to_owned());
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
