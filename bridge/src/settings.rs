//! The bridge's configuration: section `[amqp]`. Everything that could wait or grow has its limit here.

use serde::{Deserialize, Serialize};
use shers_contract::Secret;
use std::{fs, path::PathBuf, time::Duration};

/// How to reach the broker and how much to ask of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `amqp://` or `amqps://`, with the virtual host in its path (`%2f` is the default one). Holds a password.
    pub url: Option<Secret>,
    /// A file that holds the URL; read at each connection, so a rotated password is found.
    pub url_file: Option<PathBuf>,
    /// Certificates (PEM) of the authority that signed the broker's, besides the well-known ones.
    pub ca_file: Option<PathBuf>,
    /// The topic exchange of all events.
    pub exchange: String,
    /// Begins the names of the queues that calls wait in: `<calls>.<service>.pNN`.
    pub calls: String,
    /// Messages of one partition that may be unsettled.
    pub prefetch: u16,
    /// Heartbeat; a broker not heard of for twice as long is lost.
    pub heartbeat_s: u16,
    /// Published messages that may wait for their confirms, at most 1,000.
    pub confirm_window: usize,
    /// Returns of a message after which the broker gives it up. High: the broker counts every loss of a connection,
    /// and our own count of attempts decides what is poison. An argument of the queues, so it can't be changed
    /// for queues that exist.
    pub delivery_limit: u32,
    /// How often each member shows itself in each queue of its parts.
    pub probe_interval_ms: u64,
    /// An owner that hears nothing for so long after a probe was confirmed is none any more.
    pub silence_ms: u64,
    /// Limit for connecting, TLS and login.
    pub connect_ms: u64,
    /// Limit for one declaration, subscription or cancellation.
    pub operation_ms: u64,
    /// Limit for a batch to be confirmed, waiting for the broker included.
    pub publish_ms: u64,
    /// First and shortest wait before connecting again; doubles, with jitter.
    pub backoff_min_ms: u64,
    /// Longest wait before connecting again.
    pub backoff_max_ms: u64,
    /// A larger body is no message.
    pub max_body_bytes: usize,
    /// How much of an unreadable body is kept.
    pub keep_body_bytes: usize,
    /// Calls of this process that may wait for their replies.
    pub calls_in_flight: usize,
    /// Calls that this process may be answering at one address.
    pub answers_in_flight: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            ca_file: None,
            exchange: "shers.events".to_owned(),
            calls: "shers.calls".to_owned(),
            prefetch: 512,
            heartbeat_s: 10,
            confirm_window: 500,
            delivery_limit: 10_000,
            probe_interval_ms: 2_000,
            silence_ms: 15_000,
            connect_ms: 10_000,
            operation_ms: 10_000,
            publish_ms: 30_000,
            backoff_min_ms: 200,
            backoff_max_ms: 10_000,
            max_body_bytes: 1_048_576,
            keep_body_bytes: 4_096,
            calls_in_flight: 1_024,
            answers_in_flight: 64,
        }
    }
}

impl Settings {
    /// Everything that is wrong, each with what would be right. Opens nothing.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        match (&self.url, &self.url_file) {
            (Some(_), Some(_)) => found.push("amqp.url and amqp.url_file are both set; give one".to_owned()),
            (None, None) => found.push("amqp.url or amqp.url_file is needed".to_owned()),
            (Some(url), None) => found.extend(parse(url.reveal()).err()),
            (None, Some(_)) => {}
        }
        let name = |n: &str| {
            n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.') && !n.is_empty()
        };
        for (key, text) in [("exchange", &self.exchange), ("calls", &self.calls)] {
            if text.len() > 100 || !name(text) {
                found.push(format!("amqp.{key} is at most 100 of a-z 0-9 - and dots"));
            }
        }
        let ranges: [(&str, u64, u64, u64); 15] = [
            ("prefetch", self.prefetch.into(), 1, 10_000),
            ("heartbeat_s", self.heartbeat_s.into(), 1, 600),
            ("confirm_window", count(self.confirm_window), 1, 1_000),
            ("delivery_limit", self.delivery_limit.into(), 100, 1_000_000),
            ("probe_interval_ms", self.probe_interval_ms, 50, 60_000),
            ("silence_ms", self.silence_ms, self.probe_interval_ms.saturating_mul(3), 600_000),
            ("connect_ms", self.connect_ms, 100, 600_000),
            ("operation_ms", self.operation_ms, 100, 600_000),
            ("publish_ms", self.publish_ms, 100, 600_000),
            ("backoff_min_ms", self.backoff_min_ms, 10, 60_000),
            ("backoff_max_ms", self.backoff_max_ms, self.backoff_min_ms, 600_000),
            ("max_body_bytes", count(self.max_body_bytes), 1_024, 134_217_728),
            ("keep_body_bytes", count(self.keep_body_bytes), 0, 1_048_576),
            ("calls_in_flight", count(self.calls_in_flight), 1, 100_000),
            ("answers_in_flight", self.answers_in_flight.into(), 1, 10_000),
        ];
        for (key, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                found.push(format!("amqp.{key} is {low} to {high} (got {value})"));
            }
        }
        found
    }

    /// The broker's address, read anew. Its errors do not show it.
    pub(crate) fn address(&self) -> Result<lapin::uri::AMQPUri, String> {
        let text = match (&self.url, &self.url_file) {
            (Some(url), _) => url.reveal().to_owned(),
            (None, Some(file)) => fs::read_to_string(file).map_err(|e| format!("reading {}: {e}", file.display()))?,
            (None, None) => return Err("amqp.url or amqp.url_file is needed".to_owned()),
        };
        let mut uri = parse(text.trim())?;
        uri.query.heartbeat = Some(self.heartbeat_s);
        uri.query.connection_timeout = Some(self.connect_ms);
        Ok(uri)
    }

    pub(crate) fn tls(&self) -> Result<lapin::tcp::OwnedTLSConfig, String> {
        let read = |file: &PathBuf| fs::read_to_string(file).map_err(|e| format!("reading {}: {e}", file.display()));
        Ok(lapin::tcp::OwnedTLSConfig { identity: None, cert_chain: self.ca_file.as_ref().map(read).transpose()? })
    }

    pub(crate) fn connect_limit(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }
    pub(crate) fn operation_limit(&self) -> Duration {
        Duration::from_millis(self.operation_ms)
    }
    pub(crate) fn publish_limit(&self) -> Duration {
        Duration::from_millis(self.publish_ms)
    }
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_ms)
    }
    pub(crate) fn probe_interval(&self) -> Duration {
        Duration::from_millis(self.probe_interval_ms)
    }
    /// The wait before attempt `failures` + 1: doubled each time, then 50 to 100 % of it.
    pub(crate) fn backoff(&self, failures: u32, random: u64) -> Duration {
        let full = self.backoff_min_ms.saturating_mul(1 << failures.min(16)).min(self.backoff_max_ms);
        Duration::from_millis(full / 2 + random % (full / 2 + 1))
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A URL holds a password: what is wrong with it is said without it.
fn parse(url: &str) -> Result<lapin::uri::AMQPUri, String> {
    let right = "amqp.url is amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…, the default virtual host being %2f";
    let uri: lapin::uri::AMQPUri = url.parse().map_err(|_| right.to_owned())?;
    if uri.vhost.is_empty() { Err(right.to_owned()) } else { Ok(uri) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(url: &str) -> Settings {
        Settings { url: Some(Secret::new(url)), ..Settings::default() }
    }

    #[test]
    fn defaults_are_sound_and_every_problem_is_listed_at_once() {
        assert_eq!(with("amqp://u:p@localhost:5672/%2f").problems(), Vec::<String>::new());
        let bad = Settings { confirm_window: 5_000, prefetch: 0, silence_ms: 1, ..with("http://secret-word@x") };
        let found = bad.problems();
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(!found.join(" ").contains("secret-word"), "a password is never shown");
        assert!(!format!("{bad:?}").contains("secret-word"));
        assert_eq!(Settings::default().problems().len(), 1);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let said = serde_json::from_str::<Settings>("{\"prefetsch\": 1}").map(|_| ()).expect_err("refused").to_string();
        assert!(said.contains("prefetsch"), "{said}");
        let read: Settings = serde_json::from_str("{\"url\": \"amqp://h/%2f\", \"prefetch\": 9}").expect("read");
        assert_eq!((read.prefetch, read.heartbeat_s), (9, 10));
    }

    #[test]
    fn waits_double_up_to_their_limit_and_are_spread() {
        let settings = Settings::default();
        for (failures, low, high) in [(0, 100, 200), (3, 800, 1_600), (40, 5_000, 10_000)] {
            for random in [0, 1, 77, u64::MAX] {
                let wait = settings.backoff(failures, random).as_millis();
                assert!((low..=high).contains(&wait), "{failures} {random}: {wait}");
            }
        }
    }
}
