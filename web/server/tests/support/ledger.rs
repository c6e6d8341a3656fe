//! The log as `GET /api/v1/events` shows it.

use super::Client;
use serde_json::Value;

/// One event of the log.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Event {
    pub offset: u64,
    pub id: String,
    pub kind: String,
    pub stream: String,
    pub version: u64,
    pub at: String,
    pub correlation_id: Option<String>,
    pub causation_id: Option<String>,
    pub traceparent: Option<String>,
    pub exercise: bool,
    pub data: Value,
}

impl Event {
    /// The trace it belongs to.
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_deref()?.split('-').nth(1)
    }
    /// A member of the data as text.
    pub fn text(&self, name: &str) -> &str {
        self.data[name].as_str().unwrap_or_default()
    }
}

/// The whole log after an offset, page by page.
pub async fn log_after(client: &Client, mut after: u64, pattern: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let pattern = pattern.replace('#', "%23");
    loop {
        let page = client.get(&format!("/events?after={after}&pattern={pattern}&limit=500")).await.expect(200);
        let items: Vec<Event> = serde_json::from_value(page["items"].clone()).expect("events");
        events.extend(items);
        match page["next"].as_str() {
            Some(next) => after = next.parse().expect("an offset"),
            None => return events,
        }
    }
}

/// The whole log.
pub async fn log(client: &Client) -> Vec<Event> {
    log_after(client, 0, "#").await
}
