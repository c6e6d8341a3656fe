//! One client of the stream: what it subscribed to and how far it is. No socket, no clock: frames come in,
//! frames go out, `now_ms` is an argument.
//!
//! A log subscription is catching up (reads from the log or the ring, however far back) or live (bounded:
//! more than the queue's limit behind is a gap). Invariants of the log lane: `from` of a delivery is the
//! offset the client was last told; offsets grow; nothing that matches between two deliveries is left out
//! unless a `gap` says so.

use super::{
    filter::Filter,
    frames::{self, FromClient, Lane, Why},
    hub::{Hub, Prepared, Pulled},
    state_lane::{Box4, StateLane},
};
use crate::settings::StreamSettings;
use shers_contract::Kind;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Full frames sent in one go before others on the arbiter get their turn.
const BURST: usize = 8;
/// Longest id of a subscription, in bytes.
const MAX_ID: usize = 64;
/// Gaps are counted over this time.
const GAP_WINDOW_MS: u64 = 60_000;

/// Why the server ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Close {
    /// A frame was not understood.
    BadFrame,
    /// The proof of who asks has expired.
    Expired,
    /// The client is too slow.
    Slow,
    /// The server is being stopped.
    Draining,
}

impl Close {
    /// Close code and reason.
    pub(crate) const fn code(self) -> (u16, &'static str) {
        match self {
            Self::BadFrame => (4400, "bad frame"),
            Self::Expired => (4401, "expired"),
            Self::Slow => (4408, "too slow"),
            Self::Draining => (4503, "draining"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// `reading` while a page of the log is on its way.
    CatchingUp {
        reading: bool,
    },
    Live,
}

struct LogLane {
    filter: Filter,
    phase: Phase,
    /// Everything up to here was delivered or does not match.
    at: u64,
    /// What the client knows of `at`.
    told: u64,
    sent_ms: Option<u64>,
    /// Which subscription this is, so that a page read for an earlier one of the same id is not taken.
    number: u64,
}

enum Subscription {
    Log(LogLane),
    State(StateLane),
}

/// A page of the log that is wanted.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Wanted {
    /// For which subscription.
    pub(crate) id: String,
    /// Its number.
    pub(crate) number: u64,
    /// After which offset.
    pub(crate) after: u64,
    /// What matches.
    pub(crate) filter: Filter,
}

/// What is to be done after a step.
#[derive(Default, Debug)]
pub(crate) struct Step {
    /// Frames to send, in order.
    pub(crate) frames: Vec<String>,
    /// Pages of the log to read.
    pub(crate) wanted: Vec<Wanted>,
    /// Look again at this time, whatever happens.
    pub(crate) wake_ms: Option<u64>,
    /// End the connection after the frames.
    pub(crate) close: Option<Close>,
}

impl Step {
    fn wake(&mut self, at_ms: u64) {
        self.wake_ms = Some(self.wake_ms.map_or(at_ms, |earlier| earlier.min(at_ms)));
    }
}

/// One client.
pub(crate) struct Session {
    hub: Arc<Hub>,
    settings: StreamSettings,
    subscriptions: BTreeMap<String, Subscription>,
    gaps_ms: VecDeque<u64>,
    numbers: u64,
}

impl Session {
    pub(crate) fn new(hub: Arc<Hub>, settings: StreamSettings) -> Self {
        Self { hub, settings, subscriptions: BTreeMap::new(), gaps_ms: VecDeque::new(), numbers: 0 }
    }

    /// The first frame.
    pub(crate) fn hello(&self, server_time: &str) -> String {
        let s = &self.settings;
        serde_json::json!({
            "t": "hello",
            "epoch": self.hub.epoch(),
            "head": self.hub.end(),
            "server_time": server_time,
            "limits": {
                "inbound_bytes": s.inbound_bytes, "subscriptions": s.subscriptions, "patterns": s.patterns,
                "max_hz": s.max_state_hz, "tick_ms": s.tick_ms, "heartbeat_ms": s.heartbeat_ms,
                "queue_events": s.queue_events, "queue_bytes": s.queue_bytes,
            },
        })
        .to_string()
    }

    /// A frame of the client.
    pub(crate) fn receive(&mut self, text: &str, now_ms: u64) -> Step {
        let mut step = Step::default();
        match serde_json::from_str::<FromClient>(text) {
            Err(error) => {
                step.frames.push(frames::error(None, "bad-frame", &error.to_string()));
                step.close = Some(Close::BadFrame);
                return step;
            }
            Ok(FromClient::Unsub { id }) => {
                if self.subscriptions.remove(&id).is_none() {
                    step.frames.push(frames::error(Some(&id), "unknown-subscription", "there is no such subscription"));
                }
            }
            Ok(FromClient::Sub { id, topics, lane, from, max_hz, bbox }) => {
                match self.subscription(&id, &topics, lane, max_hz, bbox) {
                    Ok(Subscription::Log(lane)) => self.begin_log(id, lane, from, &mut step),
                    Ok(state @ Subscription::State(_)) => {
                        self.subscriptions.insert(id, state);
                    }
                    Err(detail) => step.frames.push(frames::error(Some(&id), "bad-subscription", &detail)),
                }
            }
        }
        self.pump_into(&mut step, now_ms);
        step
    }

    /// A subscription as asked for, or why it can't be.
    fn subscription(
        &mut self,
        id: &str,
        topics: &[String],
        lane: Lane,
        max_hz: Option<f64>,
        bbox: Option<[f64; 4]>,
    ) -> Result<Subscription, String> {
        let s = &self.settings;
        if id.is_empty() || id.len() > MAX_ID {
            return Err(format!("an id is 1 to {MAX_ID} bytes"));
        }
        if !self.subscriptions.contains_key(id) && self.subscriptions.len() >= s.subscriptions {
            return Err(format!("a connection has at most {} subscriptions", s.subscriptions));
        }
        if topics.is_empty() || topics.len() > s.patterns {
            return Err(format!("topics is 1 to {} patterns", s.patterns));
        }
        let filter = Filter::of(topics.iter().map(String::as_str)).map_err(|error| error.to_string())?;
        match lane {
            Lane::Log if max_hz.is_some() || bbox.is_some() => Err("max_hz and bbox belong to the lane state".into()),
            Lane::Log => {
                self.numbers += 1;
                let number = self.numbers;
                let phase = Phase::CatchingUp { reading: false };
                Ok(Subscription::Log(LogLane { filter, phase, at: 0, told: 0, sent_ms: None, number }))
            }
            Lane::State => {
                let hz = max_hz.unwrap_or(s.state_hz);
                if !(hz >= 0.1 && hz <= s.max_state_hz) {
                    return Err(format!("max_hz is 0.1 to {}", s.max_state_hz));
                }
                if !filter.meets(Filter::one(Kind::UNIT_LOCATION_REPORTED)) {
                    return Err("the lane state has unit.location.reported only".into());
                }
                let bbox =
                    bbox.map(|b| Box4::new(b).ok_or("bbox is west, south, east, north in degrees")).transpose()?;
                Ok(Subscription::State(StateLane::new(hz, bbox)))
            }
        }
    }

    fn begin_log(&mut self, id: String, mut lane: LogLane, from: Option<frames::From>, step: &mut Step) {
        let end = self.hub.end();
        match from {
            Some(from) if from.epoch != self.hub.epoch() || from.offset > end => {
                step.frames.push(frames::gap(&id, from.offset, end + 1, Why::Epoch));
                lane.at = end;
            }
            Some(from) => lane.at = from.offset,
            None => lane.at = end,
        }
        lane.told = lane.at;
        if lane.at < end {
            step.frames.push(frames::behind(&id, lane.at, end));
        }
        self.subscriptions.insert(id, Subscription::Log(lane));
    }

    /// What is due now.
    pub(crate) fn pump(&mut self, now_ms: u64) -> Step {
        let mut step = Step::default();
        self.pump_into(&mut step, now_ms);
        step
    }

    fn pump_into(&mut self, step: &mut Step, now_ms: u64) {
        let mut slow = 0;
        for (id, subscription) in &mut self.subscriptions {
            match subscription {
                Subscription::Log(lane) => slow += lane.pump(id, &self.hub, &self.settings, now_ms, step),
                Subscription::State(lane) => {
                    let (frames, wake) = lane.pump(id, &self.hub, &self.settings, now_ms);
                    step.frames.extend(frames);
                    if let Some(at) = wake {
                        step.wake(at);
                    }
                }
            }
        }
        for _ in 0..slow {
            self.gaps_ms.push_back(now_ms);
        }
        while self.gaps_ms.front().is_some_and(|at| at + GAP_WINDOW_MS < now_ms) {
            self.gaps_ms.pop_front();
        }
        if self.gaps_ms.len() > usize::try_from(self.settings.max_gaps).unwrap_or(usize::MAX) {
            step.close = Some(Close::Slow);
        }
    }

    /// A page of the log that was wanted, or `None` when it could not be read: it is wanted again later.
    pub(crate) fn page(&mut self, wanted: &Wanted, page: Option<Pulled>, now_ms: u64) -> Step {
        let mut step = Step::default();
        if let Some(Subscription::Log(lane)) = self.subscriptions.get_mut(&wanted.id)
            && lane.number == wanted.number
        {
            lane.phase = Phase::CatchingUp { reading: false };
            match page {
                Some(page) => lane.deliver_page(&wanted.id, page, &self.settings, now_ms, &mut step),
                None => {
                    step.wake(now_ms + 1_000);
                    return step;
                }
            }
        }
        self.pump_into(&mut step, now_ms);
        step
    }

    /// The heartbeat: moves clients on whose filter lets little through.
    pub(crate) fn heartbeat(&mut self) -> String {
        let lanes = self.subscriptions.values_mut().filter_map(|subscription| match subscription {
            Subscription::Log(lane) if lane.phase == Phase::Live => Some(lane),
            Subscription::Log(_) | Subscription::State(_) => None,
        });
        let mut lanes: Vec<_> = lanes.collect();
        let head = lanes.iter().map(|lane| lane.at).min().unwrap_or_else(|| self.hub.end());
        for lane in &mut lanes {
            lane.told = lane.told.max(head);
        }
        frames::heartbeat(head)
    }
}

impl LogLane {
    fn deliver(&mut self, id: &str, events: &[Arc<Prepared>], to: u64, now_ms: u64, step: &mut Step) {
        step.frames.push(frames::delivery(id, self.told, to, events));
        (self.told, self.at) = (to, to);
        self.sent_ms = Some(now_ms);
        metrics::counter!("shers_stream_events_total").increment(events.len() as u64);
    }

    /// Sends what is due. Gives the number of gaps it had to tell.
    fn pump(&mut self, id: &str, hub: &Hub, settings: &StreamSettings, now_ms: u64, step: &mut Step) -> usize {
        if self.phase == (Phase::CatchingUp { reading: true }) {
            return 0;
        }
        if self.phase == Phase::Live && hub.overflows(self.at, self.filter) {
            let end = hub.end();
            step.frames.push(frames::gap(id, self.told, end + 1, Why::Slow));
            (self.told, self.at) = (end, end);
            metrics::counter!("shers_stream_gaps_total").increment(1);
            return 1;
        }
        for _ in 0..BURST {
            let Some(pulled) = hub.pull(self.at, self.filter) else {
                self.phase = Phase::CatchingUp { reading: true };
                let wanted = Wanted { id: id.to_owned(), number: self.number, after: self.at, filter: self.filter };
                step.wanted.push(wanted);
                return 0;
            };
            let due_ms = self.sent_ms.map_or(0, |sent| sent + settings.tick_ms);
            let live = self.phase == Phase::Live;
            if pulled.events.is_empty() {
                self.at = pulled.to;
            } else if pulled.full || !live || now_ms >= due_ms {
                self.deliver(id, &pulled.events, pulled.to, now_ms, step);
            } else {
                step.wake(due_ms);
                return 0;
            }
            if !pulled.full {
                if !live {
                    self.phase = Phase::Live;
                    self.told = self.at;
                    step.frames.push(frames::live(id, self.at));
                }
                return 0;
            }
        }
        step.wake(now_ms);
        0
    }

    /// Sends a page of the log in frames.
    fn deliver_page(&mut self, id: &str, page: Pulled, settings: &StreamSettings, now_ms: u64, step: &mut Step) {
        let mut chunk: Vec<Arc<Prepared>> = Vec::new();
        let mut bytes = 0;
        let at = self.at;
        for event in page.events.into_iter().filter(|event| event.offset > at) {
            let over = bytes + event.text.len() > settings.frame_bytes || chunk.len() >= settings.frame_events;
            if over && let Some(last) = chunk.last().map(|last| last.offset) {
                self.deliver(id, &chunk, last, now_ms, step);
                chunk.clear();
                bytes = 0;
            }
            bytes += event.text.len();
            chunk.push(event);
        }
        if !chunk.is_empty() {
            self.deliver(id, &chunk, page.to.max(self.at), now_ms, step);
        }
        self.at = self.at.max(page.to);
    }
}
