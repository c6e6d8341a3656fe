//! The dispatch centre: looks at the incidents, acknowledges new ones, takes the second call, and follows
//! how every story ends.

use crate::city::City;
use serde_json::{Value, json};
use std::{collections::HashSet, time::Duration};

/// Real time between two looks at the queue.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// City seconds until somebody acknowledges.
const ACKNOWLEDGE_AFTER_S: i64 = 15;

/// Works until the city ends.
pub async fn run(city: &City) {
    let mut called = HashSet::new();
    loop {
        match city.client.get("/incidents?limit=200").await {
            Ok(list) => {
                let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                for incident in &items {
                    acknowledge(city, incident).await;
                }
                city.follow(&items);
            }
            Err(error) => tracing::warn!(%error, "the queue could not be read"),
        }
        for (index, story) in city.plot.stories.iter().enumerate() {
            if story.second_call_s.is_some_and(|after| city.second() >= story.begins_s + after) && called.insert(index)
            {
                second_call(city, story.patient).await;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn acknowledge(city: &City, incident: &Value) {
    let text = |name: &str| incident.get(name).and_then(Value::as_str);
    let fresh = matches!(text("status"), Some("opened" | "escalated" | "call-joined"))
        && incident.get("acknowledged_at").is_none_or(Value::is_null);
    let opened_at = text("opened_at").and_then(shers_contract::Timestamp::parse);
    let old_enough = opened_at.is_some_and(|at| city.now().ms_since(at) >= ACKNOWLEDGE_AFTER_S * 1000);
    if let (true, true, Some(id)) = (fresh, old_enough, text("incident_id"))
        && let Err(error) = city.client.post(&format!("/incidents/{id}/acknowledge"), &json!({})).await
    {
        tracing::debug!(%error, incident.id = id, "not acknowledged");
    }
}

async fn second_call(city: &City, patient: usize) {
    let Some(wearer) = city.plot.wearers.get(patient) else { return };
    let call = json!({
        "patient_id": wearer.id,
        "location": wearer.home,
        "priority": 2,
        "summary": "a relative calls: something is wrong",
    });
    if let Err(error) = city.client.post("/incidents", &call).await {
        tracing::warn!(%error, "the second call was not taken");
    }
}
