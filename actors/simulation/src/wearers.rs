//! The wearables: one gateway that sends every wearer's reading at each beat.

use crate::city::City;
use crate::course::signs;
use serde_json::json;
use std::time::Duration;

/// City seconds between two readings of a wearer.
const BEAT_S: u32 = 5;
/// Shortest real time between two posts: a fast city sends several beats in one.
const SHORTEST_POST: Duration = Duration::from_millis(150);
/// Beats sent at once at most; what is older was missed by the gateway.
const MAX_BEATS: u32 = 24;

/// Sends readings until the city ends.
pub async fn run(city: &City) {
    let mut sent_to = 0;
    loop {
        let now_s = city.second();
        let first = (sent_to + BEAT_S).max(now_s.saturating_sub(BEAT_S * MAX_BEATS) / BEAT_S * BEAT_S);
        let mut readings = Vec::new();
        let mut second = first;
        while second <= now_s {
            for index in 0..city.plot.wearers.len() {
                if let Some(reading) = reading(city, index, second) {
                    readings.push(reading);
                }
            }
            sent_to = second;
            second += BEAT_S;
        }
        if !readings.is_empty()
            && let Err(error) = city.client.post("/vitals", &json!(readings)).await
        {
            tracing::warn!(%error, "readings were not taken");
        }
        city.sleep_s(BEAT_S, SHORTEST_POST).await;
    }
}

fn reading(city: &City, index: usize, second: u32) -> Option<serde_json::Value> {
    let wearer = city.plot.wearers.get(index)?;
    let ill = city.illness(index, second);
    let signs = signs(city.plot.seed, wearer, index, second, ill);
    let mut reading = json!({
        "patient_id": wearer.id,
        "device_id": format!("watch-{}", wearer.id),
        "at": city.time_of(second).to_string(),
        "seq": second,
        "heart_rate_bpm": signs.heart_rate_bpm,
        "spo2_pct": signs.spo2_pct,
        "respiration_rate_bpm": signs.respiration_rate_bpm,
        "location": wearer.home,
    });
    let members = reading.as_object_mut()?;
    // The patch measures temperature once a minute.
    if second.is_multiple_of(60) {
        members.insert("temperature_c".to_owned(), json!(signs.temperature_c));
    }
    for (name, set) in [("fall", signs.fall), ("sos", signs.sos)] {
        if set {
            members.insert(name.to_owned(), json!(true));
        }
    }
    Some(reading)
}
