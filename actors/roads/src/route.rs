//! A route that can be drawn, measured and driven along.

use serde::Serialize;
use shers_contract::LatLon;

/// How long and how far.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Eta {
    /// Travel time, in whole milliseconds.
    pub duration_s: f64,
    /// Along the road.
    pub distance_m: f64,
}

/// A way from one place to another, by road. The parts off the road, at most the snap limit each, are not in it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Route {
    /// Travel time, in whole milliseconds; the same as [`Eta::duration_s`].
    pub duration_s: f64,
    /// Along the road.
    pub distance_m: f64,
    /// The shape, from the first point on the road to the last; never empty.
    pub geometry: Vec<LatLon>,
    /// When each point of the shape is reached, in seconds from the start; as many as points, never falling, the first
    /// is 0 and the last is `duration_s`.
    pub times_s: Vec<f64>,
    /// From the start asked for to the first point on the road, as the crow flies.
    pub off_road_from_m: f64,
    /// From the last point on the road to the destination asked for, as the crow flies.
    pub off_road_to_m: f64,
}

impl Route {
    /// Where a vehicle on this route is after some seconds: at the start before 0, at the end after `duration_s`.
    #[must_use]
    pub fn position_at(&self, elapsed_s: f64) -> LatLon {
        let next = self.times_s.partition_point(|time_s| *time_s <= elapsed_s);
        let at = |index: usize| Some((*self.geometry.get(index)?, *self.times_s.get(index)?));
        match (next.checked_sub(1).and_then(at), at(next)) {
            (Some((a, from_s)), Some((b, to_s))) => {
                let share = ((elapsed_s - from_s) / (to_s - from_s)).clamp(0.0, 1.0);
                LatLon { lat: a.lat + (b.lat - a.lat) * share, lon: a.lon + (b.lon - a.lon) * share }
            }
            (None, Some((only, _))) | (Some((only, _)), None) => only,
            (None, None) => LatLon { lat: 0.0, lon: 0.0 },
        }
    }

    /// Whether the vehicle has arrived after some seconds.
    #[must_use]
    pub fn is_over_at(&self, elapsed_s: f64) -> bool {
        elapsed_s >= self.duration_s
    }
}

/// A route in the making: stretches are put behind each other.
pub(crate) struct Trace {
    points: Vec<LatLon>,
    times_ms: Vec<f64>,
    distance_m: f64,
}

impl Trace {
    /// Begins at a point.
    pub(crate) fn new(start: LatLon) -> Self {
        Self { points: vec![start], times_ms: vec![0.0], distance_m: 0.0 }
    }

    /// Goes on through these points at an even speed. A repeat of the last point is dropped.
    pub(crate) fn extend(&mut self, points: impl Iterator<Item = LatLon>, duration_ms: u64) {
        let mut begin = self.points.last().copied();
        let mut steps: Vec<(LatLon, f64)> = Vec::new();
        for point in points {
            let step_m = begin.map_or(0.0, |begin| begin.distance_m(&point));
            if step_m > 0.0 {
                steps.push((point, step_m));
            }
            begin = Some(point);
        }
        let length_m: f64 = steps.iter().map(|(_, step_m)| step_m).sum();
        let begin_ms = self.times_ms.last().copied().unwrap_or_default();
        let duration_ms = duration_ms as f64;
        let mut done_m = 0.0;
        let last = steps.len().saturating_sub(1);
        for (index, (point, step_m)) in steps.into_iter().enumerate() {
            done_m += step_m;
            let share = if index == last { 1.0 } else { done_m / length_m };
            self.points.push(point);
            self.times_ms.push(begin_ms + duration_ms * share);
        }
        // A stretch without length still costs its least millisecond: the vehicle waits where it is.
        if length_m <= 0.0
            && duration_ms > 0.0
            && let Some(here) = self.points.last().copied()
        {
            self.points.push(here);
            self.times_ms.push(begin_ms + duration_ms);
        }
        self.distance_m += length_m;
    }

    /// The finished route.
    pub(crate) fn finish(self, off_road_from_m: f64, off_road_to_m: f64) -> Route {
        let times_s: Vec<f64> = self.times_ms.iter().map(|ms| ms / 1_000.0).collect();
        Route {
            duration_s: times_s.last().copied().unwrap_or_default(),
            distance_m: self.distance_m,
            geometry: self.points,
            times_s,
            off_road_from_m,
            off_road_to_m,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> LatLon {
        LatLon { lat, lon }
    }

    fn straight() -> Route {
        let mut trace = Trace::new(at(47.0, 9.0));
        trace.extend([at(47.0, 9.0), at(47.01, 9.0), at(47.02, 9.0)].into_iter(), 20_000);
        trace.extend([at(47.02, 9.0), at(47.03, 9.0)].into_iter(), 40_000);
        trace.finish(1.0, 2.0)
    }

    #[track_caller]
    fn check(elapsed_s: f64, lat: f64) {
        let got = straight().position_at(elapsed_s);
        assert!((got.lat - lat).abs() < 1e-9 && (got.lon - 9.0).abs() < 1e-9, "{elapsed_s} s: {got:?}, not {lat}");
    }

    #[test]
    fn a_vehicle_moves_at_the_speed_of_each_stretch() {
        check(-1.0, 47.0);
        check(0.0, 47.0);
        check(5.0, 47.005);
        check(20.0, 47.02);
        check(40.0, 47.025);
        check(60.0, 47.03);
        check(1e9, 47.03);
        assert!(!straight().is_over_at(59.9));
        assert!(straight().is_over_at(60.0));
    }

    #[test]
    fn points_and_times_match_and_end_at_the_duration() {
        let route = straight();
        assert_eq!(route.geometry.len(), 4);
        assert_eq!(route.times_s, [0.0, 10.0, 20.0, 60.0]);
        assert_eq!(route.duration_s, 60.0);
        assert!((route.distance_m - 3_336.0).abs() < 1.0, "{}", route.distance_m);
    }

    #[test]
    fn a_stretch_without_length_is_waited_out() {
        let mut trace = Trace::new(at(47.0, 9.0));
        trace.extend([at(47.0, 9.0), at(47.0, 9.0)].into_iter(), 1);
        trace.extend([at(47.0, 9.0), at(47.01, 9.0)].into_iter(), 999);
        let route = trace.finish(0.0, 0.0);
        assert_eq!(route.times_s, [0.0, 0.001, 1.0]);
        assert_eq!(route.position_at(0.0005), at(47.0, 9.0));
    }

    #[test]
    fn a_route_to_where_one_stands_is_one_point() {
        let route = Trace::new(at(47.0, 9.0)).finish(0.0, 0.0);
        assert_eq!((route.duration_s, route.geometry.len()), (0.0, 1));
        assert_eq!(route.position_at(3.0), at(47.0, 9.0));
    }
}
