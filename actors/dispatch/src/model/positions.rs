//! Which fixes are believed.
//!
//! A fix is refused when it is from the future, too old, not newer than the last one, or when the unit
//! would have had to fly to get there. The speed check is against the last believed fix and the time since,
//! so one wrong fix can't lock a unit out: what is possible grows with every second.

use super::fleet::Position;
use shers_contract::{Problem, Timestamp, dispatch::Fix};

/// Limits of belief.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FixLimits {
    /// How far in the future a fix may be, in milliseconds: clocks differ.
    pub max_future_ms: i64,
    /// How old it may be, in milliseconds.
    pub max_age_ms: i64,
    /// Fastest believable ground speed, metres per second.
    pub max_speed_mps: f64,
    /// Distance that GPS noise may add, in metres.
    pub noise_m: f64,
}

/// Fixes sorted into believed and refused ones.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sorted {
    /// Believed and new, in order of time.
    pub believed: Vec<Fix>,
    /// How many were accepted: the believed ones and exact repeats of the last one.
    pub accepted: usize,
    /// Position in the request, and why not.
    pub refused: Vec<(usize, Problem)>,
}

/// Sorts the fixes of one unit, given its last believed one.
#[must_use]
pub fn sort(fixes: Vec<Fix>, last: Option<Position>, now: Timestamp, limits: &FixLimits) -> Sorted {
    let mut sorted = Sorted::default();
    let mut last = last;
    let mut numbered: Vec<(usize, Fix)> = fixes.into_iter().enumerate().collect();
    // Within one request the order of arrival means nothing.
    numbered.sort_by_key(|(index, fix)| (fix.at, *index));
    for (index, fix) in numbered {
        let here = Position { at: fix.at, location: fix.location };
        if last == Some(here) {
            sorted.accepted += 1;
            continue;
        }
        match doubt(&fix, last, now, limits) {
            Some(problem) => sorted.refused.push((index, problem)),
            None => {
                last = Some(here);
                sorted.accepted += 1;
                sorted.believed.push(fix);
            }
        }
    }
    sorted.refused.sort_by_key(|(index, _)| *index);
    sorted
}

fn doubt(fix: &Fix, last: Option<Position>, now: Timestamp, limits: &FixLimits) -> Option<Problem> {
    let doubt = |word: &str, detail: String| Some(Problem::new(422, word, detail).with("field", "/at"));
    let age_ms = now.ms_since(fix.at);
    if -age_ms > limits.max_future_ms {
        let allowed_s = limits.max_future_ms / 1_000;
        return doubt(
            "time-in-future",
            format!("{} is {} s in the future; at most {allowed_s} s", fix.at, -age_ms / 1_000),
        );
    }
    if age_ms > limits.max_age_ms {
        let allowed_s = limits.max_age_ms / 1_000;
        return doubt("stale-position", format!("{} is {} s old; at most {allowed_s} s", fix.at, age_ms / 1_000));
    }
    let last = last?;
    if fix.at <= last.at {
        return doubt("out-of-order", format!("{} is not after the last known fix, {}", fix.at, last.at));
    }
    #[expect(clippy::cast_precision_loss, reason = "differences of times are far below 2^52 milliseconds")]
    let passed_s = fix.at.ms_since(last.at) as f64 / 1_000.0;
    let moved_m = last.location.distance_m(&fix.location);
    if moved_m > limits.max_speed_mps.mul_add(passed_s, limits.noise_m) {
        let detail = format!(
            "{moved_m:.0} m in {passed_s:.1} s is {:.0} m/s; at most {:.0} m/s is believed",
            moved_m / passed_s.max(0.001),
            limits.max_speed_mps
        );
        return Some(Problem::new(422, "impossible-speed", detail).with("field", "/location"));
    }
    None
}
