//! Frames of `shers.v1`: JSON texts, one per message.

use super::hub::Prepared;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// A frame from the client.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(tag = "t", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum FromClient {
    /// Subscribe, or replace the subscription of this id.
    Sub {
        /// The client's name for it.
        id: String,
        /// Topic patterns over kinds.
        topics: Vec<String>,
        /// Every event in order, or the newest of each unit.
        lane: Lane,
        /// Where the client is; the head when missing.
        #[serde(default)]
        from: Option<From>,
        /// State lane: at most so many a second.
        #[serde(default)]
        max_hz: Option<f64>,
        /// State lane: west, south, east, north.
        #[serde(default)]
        bbox: Option<[f64; 4]>,
    },
    /// End a subscription.
    Unsub {
        /// Which.
        id: String,
    },
}

/// Which lane.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Lane {
    /// Ordered, complete.
    Log,
    /// Newest of each unit.
    State,
}

/// Where a client is.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct From {
    /// Of which log.
    pub(crate) epoch: String,
    /// Last offset it has.
    pub(crate) offset: u64,
}

/// Why events are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// The log is another one.
    Epoch,
    /// The client read too slowly.
    Slow,
}

impl Why {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Slow => "slow",
        }
    }
}

/// Joins items that are JSON already.
fn joined<'a>(head: &str, items: impl Iterator<Item = &'a str> + Clone) -> String {
    let size = items.clone().map(|item| item.len() + 1).sum::<usize>();
    let mut frame = String::with_capacity(head.len() + size + 2);
    frame.push_str(head);
    for (place, item) in items.enumerate() {
        if place > 0 {
            frame.push(',');
        }
        frame.push_str(item);
    }
    frame.push_str("]}");
    frame
}

/// `d`: everything that matches after `from` up to `to`.
pub(crate) fn delivery(id: &str, from: u64, to: u64, events: &[Arc<Prepared>]) -> String {
    let head = format!("{{\"t\":\"d\",\"id\":{},\"from\":{from},\"to\":{to},\"ev\":[", json!(id));
    joined(&head, events.iter().map(|event| &*event.text))
}

/// `st` and `snap`: the newest position of each unit; the item has the form of a delivered event.
pub(crate) fn state(t: &str, id: &str, to: u64, at: &str, fixes: &[Arc<str>]) -> String {
    let item = format!("[{to},\"unit.location.reported\",{},{{\"fixes\":[", json!(at));
    let mut frame = format!("{{\"t\":\"{t}\",\"id\":{},\"to\":{to},\"ev\":[", json!(id));
    frame.push_str(&joined(&item, fixes.iter().map(|fix| &**fix)));
    frame.push_str(",\"positions\",null]]}");
    frame
}

/// `live`: nothing that matches lies behind; from here events come as they happen.
pub(crate) fn live(id: &str, offset: u64) -> String {
    json!({"t": "live", "id": id, "offset": offset}).to_string()
}

/// `behind`: catching up from `from` towards `head`.
pub(crate) fn behind(id: &str, from: u64, head: u64) -> String {
    json!({"t": "behind", "id": id, "from": from, "head": head}).to_string()
}

/// `gap`: events after `after` and before `next` are not delivered; read the lists again.
pub(crate) fn gap(id: &str, after: u64, next: u64, why: Why) -> String {
    json!({"t": "gap", "id": id, "after": after, "next": next, "why": why.as_str()}).to_string()
}

/// `hb`: everything up to `head` was delivered.
pub(crate) fn heartbeat(head: u64) -> String {
    json!({"t": "hb", "head": head}).to_string()
}

/// `err`: a frame was not understood or can't be done.
pub(crate) fn error(id: Option<&str>, code: &str, detail: &str) -> String {
    json!({"t": "err", "id": id, "code": code, "detail": detail}).to_string()
}
