//! The state lane: the newest position of each unit, a few times a second, within a box.

use super::{frames, hub::Hub};
use crate::settings::StreamSettings;
use shers_contract::{LatLon, UnitId};
use std::{collections::HashSet, sync::Arc};

/// West, south, east, north. West may be east of east: the box then spans the date line.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Box4 {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl Box4 {
    pub(super) fn new([west, south, east, north]: [f64; 4]) -> Option<Self> {
        let corners = LatLon::new(south, west).is_some() && LatLon::new(north, east).is_some();
        (corners && south <= north).then_some(Self { west, south, east, north })
    }

    fn holds(&self, at: LatLon) -> bool {
        let across = self.west > self.east;
        let lon =
            if across { at.lon >= self.west || at.lon <= self.east } else { (self.west..=self.east).contains(&at.lon) };
        lon && (self.south..=self.north).contains(&at.lat)
    }
}

/// One subscription of the state lane.
pub(super) struct StateLane {
    every_ms: u64,
    bbox: Option<Box4>,
    /// Newest offset that was looked at.
    seen: u64,
    /// Units the client was shown inside its box: leaving it is told once.
    inside: HashSet<UnitId>,
    sent_ms: Option<u64>,
}

impl StateLane {
    pub(super) fn new(hz: f64, bbox: Option<Box4>) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hz was checked to be in range")]
        let every_ms = (1000.0 / hz).round() as u64;
        Self { every_ms, bbox, seen: 0, inside: HashSet::new(), sent_ms: None }
    }

    /// Frames due at `now_ms`, and when to look again if there is more to come.
    pub(super) fn pump(
        &mut self,
        id: &str,
        hub: &Hub,
        settings: &StreamSettings,
        now_ms: u64,
    ) -> (Vec<String>, Option<u64>) {
        let end = hub.end();
        if let Some(sent) = self.sent_ms {
            let due = sent + self.every_ms;
            if end <= self.seen {
                return (Vec::new(), None);
            }
            if now_ms < due {
                return (Vec::new(), Some(due));
            }
        }
        let t = if self.sent_ms.is_some() { "st" } else { "snap" };
        let mut chunks: Vec<(u64, String, Vec<Arc<str>>)> = Vec::new();
        let mut bytes = 0;
        for (unit, position) in hub.units().iter().filter(|(_, p)| p.offset > self.seen) {
            let holds = self.bbox.is_none_or(|b| b.holds(position.location));
            let known = if holds { !self.inside.insert(unit.clone()) } else { self.inside.remove(unit) };
            if !holds && !known {
                continue;
            }
            if chunks.is_empty() || bytes + position.text.len() > settings.frame_bytes {
                chunks.push((0, String::new(), Vec::new()));
                bytes = 0;
            }
            bytes += position.text.len() + 1;
            if let Some((to, at, fixes)) = chunks.last_mut() {
                if position.offset >= *to {
                    (*to, *at) = (position.offset, position.at.to_string());
                }
                fixes.push(Arc::clone(&position.text));
            }
        }
        let mut frames: Vec<_> = chunks.iter().map(|(to, at, fixes)| frames::state(t, id, *to, at, fixes)).collect();
        if self.sent_ms.is_none() {
            frames.push(frames::live(id, end));
        }
        self.seen = end;
        if !frames.is_empty() {
            self.sent_ms = Some(now_ms);
        }
        (frames, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_may_span_the_date_line() {
        let at = |lat, lon| LatLon::new(lat, lon).expect("on earth");
        let plain = Box4::new([9.0, 47.0, 10.0, 48.0]).expect("a box");
        let pacific = Box4::new([170.0, -20.0, -170.0, 0.0]).expect("a box");
        assert!(plain.holds(at(47.5, 9.5)) && !plain.holds(at(47.5, 10.5)) && !plain.holds(at(46.0, 9.5)));
        assert!(pacific.holds(at(-10.0, 175.0)) && pacific.holds(at(-10.0, -175.0)) && !pacific.holds(at(-10.0, 0.0)));
        assert!(Box4::new([0.0, 10.0, 1.0, 5.0]).is_none());
    }
}
