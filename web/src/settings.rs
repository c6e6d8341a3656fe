//! Every limit of the web layer, with its unit and its default.

use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};

/// Settings of the web layer. Unknown keys are refused.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that answer requests; 0 means one per core.
    pub workers: usize,
    /// Connections open at once on one worker.
    pub connections_per_worker: usize,
    /// Largest body accepted, in bytes.
    pub body_bytes: usize,
    /// How long a client may take to send its request head, in milliseconds.
    pub request_head_ms: u64,
    /// How long an idle connection is kept, in seconds.
    pub keep_alive_s: u64,
    /// How long sent bytes may stay unacknowledged before the connection is given up, in milliseconds.
    /// A client that stopped reading is found by this.
    pub tcp_user_timeout_ms: u64,
    /// How long requests in hand may take after the signal to stop, in seconds.
    pub drain_s: u64,
    /// Requests one principal may make a second, sustained; 0 means no limit.
    pub requests_per_s: u32,
    /// Requests one principal may make at once before the rate holds.
    pub request_burst: u32,
    /// Behind a broker: how long a request may take to be answered by the owner of what it asks about, in
    /// milliseconds. An owner that goes is waited for within it.
    pub ask_ms: u64,
    /// Items in a page when the client names no limit.
    pub page_items: usize,
    /// Items in a page at most.
    pub max_page_items: usize,
    /// Further origins, such as `https://dispatch.example`, whose pages may open the stream. The
    /// server's own host always may.
    pub origins: Vec<String>,
    /// The live stream.
    pub stream: StreamSettings,
}

/// Settings of the live stream.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSettings {
    /// Websockets and SSE streams open at once.
    pub connections: usize,
    /// The same for one principal.
    pub connections_per_principal: usize,
    /// How long a ticket is good, in seconds.
    pub ticket_s: u64,
    /// Tickets given out and not used yet, at most.
    pub tickets: usize,
    /// Shortest time between two frames of the log lane, in milliseconds. The first event after a pause
    /// is sent at once.
    pub tick_ms: u64,
    /// Events in one frame.
    pub frame_events: usize,
    /// Bytes of events in one frame; one larger event still goes.
    pub frame_bytes: usize,
    /// Events a live client may be behind before it gets a gap.
    pub queue_events: usize,
    /// Bytes of events a live client may be behind before it gets a gap.
    pub queue_bytes: usize,
    /// Gaps within a minute that end the connection with 4408.
    pub max_gaps: u32,
    /// Events kept in memory for clients that come back.
    pub ring_events: usize,
    /// Bytes of events kept in memory.
    pub ring_bytes: usize,
    /// Events read from the log at once, for clients further back.
    pub page_events: usize,
    /// Heartbeat, in milliseconds.
    pub heartbeat_ms: u64,
    /// Largest frame a client may send, in bytes.
    pub inbound_bytes: usize,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
    /// Patterns of one subscription.
    pub patterns: usize,
    /// Positions a second per unit, unless the client asks for fewer or more.
    pub state_hz: f64,
    /// The most a client may ask for.
    pub max_state_hz: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            workers: 0,
            connections_per_worker: 10_000,
            body_bytes: 4 * 1024 * 1024,
            request_head_ms: 10_000,
            keep_alive_s: 75,
            tcp_user_timeout_ms: 20_000,
            drain_s: 15,
            requests_per_s: 100_000,
            request_burst: 200_000,
            ask_ms: 10_000,
            page_items: 100,
            max_page_items: 1_000,
            origins: Vec::new(),
            stream: StreamSettings::default(),
        }
    }
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            connections: 1_000,
            connections_per_principal: 100,
            ticket_s: 30,
            tickets: 10_000,
            tick_ms: 50,
            frame_events: 64,
            frame_bytes: 32 * 1024,
            queue_events: 1_024,
            queue_bytes: 1024 * 1024,
            max_gaps: 5,
            ring_events: 16_384,
            ring_bytes: 32 * 1024 * 1024,
            page_events: 512,
            heartbeat_ms: 15_000,
            inbound_bytes: 16 * 1024,
            subscriptions: 16,
            patterns: 64,
            state_hz: 2.0,
            max_state_hz: 10.0,
        }
    }
}

impl Settings {
    /// Everything that cannot work, each in a sentence.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let s = &self.stream;
        let positive = [
            ("connections_per_worker", self.connections_per_worker),
            ("body_bytes", self.body_bytes),
            ("page_items", self.page_items),
            ("max_page_items", self.max_page_items),
            ("stream.frame_events", s.frame_events),
            ("stream.frame_bytes", s.frame_bytes),
            ("stream.queue_events", s.queue_events),
            ("stream.queue_bytes", s.queue_bytes),
            ("stream.ring_events", s.ring_events),
            ("stream.ring_bytes", s.ring_bytes),
            ("stream.page_events", s.page_events),
            ("stream.inbound_bytes", s.inbound_bytes),
            ("stream.subscriptions", s.subscriptions),
            ("stream.patterns", s.patterns),
        ];
        let mut problems: Vec<String> =
            positive.iter().filter(|(_, n)| *n == 0).map(|(name, _)| format!("{name} must be at least 1")).collect();
        if s.heartbeat_ms == 0 {
            problems.push("stream.heartbeat_ms must be at least 1".into());
        }
        if !(s.state_hz > 0.0 && s.state_hz <= s.max_state_hz && s.max_state_hz <= 100.0) {
            problems
                .push("stream.state_hz must be above 0 and at most stream.max_state_hz, and that at most 100".into());
        }
        if self.requests_per_s > 0 && self.request_burst == 0 {
            problems.push("request_burst must be at least 1 when requests_per_s is set".into());
        }
        problems
    }

    pub(crate) fn tcp_user_timeout(&self) -> Option<Duration> {
        (self.tcp_user_timeout_ms > 0).then(|| Duration::from_millis(self.tcp_user_timeout_ms))
    }
}
