//! One emergency from the first reading to PAID, through the real binary, over HTTP, the websocket and
//! server-sent events.

mod support;

use serde_json::Value;
use std::time::Duration;
use support::{
    Start, TOKEN, run,
    server::data_dir,
    story::{self, PHONE},
};

#[test]
fn one_emergency_from_the_first_reading_to_paid_over_http_and_the_websocket() {
    run(Duration::from_secs(90), async {
        let (_kept, data) = data_dir();
        let mut server = Start::serve(&data).environment("SHERS_LOG_FILTER", "info,shers=debug").ready().await;
        let incident = story::play(&server.client()).await;
        assert!(server.terminate(Duration::from_secs(20)).await.success(), "SIGTERM drains and exits 0");
        let (_, log) = server.read_rest();
        check_log_lines(&log, &incident);
    });
}

/// Logs are JSON, name the incident, and hold nothing about the patient and no secret.
fn check_log_lines(log: &str, incident: &str) {
    for line in log.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "a log line is JSON: {line}");
    }
    for kind in ["incident.opened", "dispatch.assigned", "billing.paid", "incident.closed"] {
        let found = log.lines().any(|line| line.contains(incident) && line.contains(kind));
        assert!(found, "{kind} can be found in the log by its incident: {log}");
    }
    let vitals = ["heart_rate_bpm", "spo2_pct", "temperature_c"];
    for secret in
        ["Ottilie", "Marxer", "Egon", PHONE, TOKEN, "pm_card", "member-4711", "1951-03-09"].iter().chain(&vitals)
    {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}
