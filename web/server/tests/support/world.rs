//! A small world on the built-in map: patients, units, a hospital, readings.

use super::{Client, eventually};
use serde_json::{Value, json};

/// Where patients live: in Schaan.
pub const HOME: (f64, f64) = (47.165, 9.509);
/// Where units wait: in Vaduz.
pub const POST: (f64, f64) = (47.1410, 9.5209);

/// All statuses of a run after the assignment, in order.
pub const RUN: [&str; 7] = ["enroute", "on-scene", "at-patient", "onboard", "arrived", "handed-over", "available"];

/// The time as the server's clock has it. The tests' only clock, since the house's own ids and times
/// are the server's.
pub fn now() -> jiff::Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a device has a clock of its own")]
    jiff::Timestamp::now()
}

/// Now, some seconds off.
pub fn seconds_from_now(seconds: i64) -> String {
    (now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// A hospital near the units.
pub async fn hospital(client: &Client, id: &str) {
    let body = json!({
        "name": "Liechtensteinisches Landesspital", "location": {"lat": POST.0, "lon": POST.1},
        "capabilities": ["emergency"],
    });
    client.put(&format!("/hospitals/{id}"), &body).await.expect(200);
}

/// A patient as registered, with a card.
pub fn patient(card: &str, phone: &str) -> Value {
    json!({
        "name": "Ottilie Marxer", "birth_date": "1951-03-09", "home": {"lat": HOME.0, "lon": HOME.1},
        "payment_method": card, "coverage": {"plan_id": "basic", "member_id": "member-4711"},
        "next_of_kin": [{"name": "Egon Marxer", "phone": phone, "language": "en"}],
    })
}

/// Registers a patient. 200 or 201, whichever it is: the first registration may be repeated.
pub async fn register_patient(client: &Client, id: &str, patient: &Value) {
    let answer = client.put(&format!("/patients/{id}"), patient).await;
    assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.body);
}

/// A unit as registered.
pub fn unit(id: &str) -> Value {
    json!({
        "unit_id": id, "kind": "ambulance", "capabilities": ["als", "bls"], "crew_level": "als",
        "location": {"lat": POST.0, "lon": POST.1},
    })
}

/// Registers a unit and has its crew report that it is free.
pub async fn free_unit(client: &Client, id: &str) {
    client.post("/units", &unit(id)).await.expect(201);
    report(client, id, "available").await;
}

/// A crew's status.
pub async fn report(client: &Client, unit: &str, status: &str) -> Value {
    let place = json!({"lat": POST.0, "lon": POST.1});
    client.post(&format!("/units/{unit}/status"), &json!({"status": status, "location": place})).await.expect(200)
}

/// A healthy reading, taken now.
pub fn well(patient: &str, seq: u64) -> Value {
    reading(patient, seq, [72, 98, 15, 124, 81], 36.7)
}

/// A reading that is an emergency by NEWS2, taken now.
pub fn ill(patient: &str, seq: u64) -> Value {
    reading(patient, seq, [137, 84, 29, 87, 51], 39.4)
}

fn reading(patient: &str, seq: u64, vitals: [u16; 5], temperature_c: f64) -> Value {
    let [heart, spo2, breath, systolic, diastolic] = vitals;
    json!({
        "patient_id": patient, "at": now().to_string(), "seq": seq, "heart_rate_bpm": heart, "spo2_pct": spo2,
        "respiration_rate_bpm": breath, "systolic_mmhg": systolic, "diastolic_mmhg": diastolic,
        "temperature_c": temperature_c, "consciousness": "alert", "oxygen": false,
        "location": {"lat": HOME.0, "lon": HOME.1},
    })
}

/// Incidents of a patient as the list shows them.
pub async fn incidents_of(client: &Client, patient: &str) -> Vec<Value> {
    let list = client.get("/incidents?limit=500").await.expect(200);
    let items = list["items"].as_array().expect("items").clone();
    items.into_iter().filter(|incident| incident["patient_id"] == patient).collect()
}

/// Waits until the patient's one incident satisfies `wanted`.
pub async fn incident_where(client: &Client, patient: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let incidents = incidents_of(client, patient).await;
        assert!(incidents.len() <= 1, "one incident per emergency: {incidents:?}");
        let incident = incidents.into_iter().next().ok_or("no incident")?;
        if wanted(&incident) { Ok(incident) } else { Err(incident.to_string()) }
    })
    .await
}

/// Waits until a unit goes to the patient's incident.
pub async fn assigned(client: &Client, patient: &str) -> Value {
    incident_where(client, patient, "a unit is assigned", |incident| incident["unit_id"].is_string()).await
}

/// Waits until the patient's incident is closed.
pub async fn closed(client: &Client, patient: &str) -> Value {
    incident_where(client, patient, "the incident closes", |incident| incident["status"] == "closed").await
}
