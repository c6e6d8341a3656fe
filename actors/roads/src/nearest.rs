//! The nearest of many by road, exactly, without routing all of them.
//!
//! A contraction hierarchy answers one pair at a time, so candidates are pruned by a bound that is never above the
//! true travel time: the straight line between the two points on the road, at the top speed of the whole map.
//!
//! Why the bound holds: every stretch of a route takes its length over its speed, rounded up to a millisecond; the
//! lengths are great circles between points of the shape, so their sum is at least the great circle between the ends;
//! and no speed is above the top speed. Two places on one edge are the only case where a length is a difference of two
//! such sums; it may fall short of the great circle by the error of the projection, far below the [`SLACK_MS`] that is
//! taken off. Candidates are visited by rising bound, and the search ends when the bound is above the k-th best time
//! found: nobody behind can be better, nor even equal.

use crate::RouteError;
use crate::route::Eta;
use crate::snap::Snap;

/// Taken off the bound: at 130 km/h it is worth 7 cm.
const SLACK_MS: f64 = 2.0;

/// One of the nearest.
#[derive(Clone, PartialEq, Debug)]
pub struct ByRoad<K> {
    /// Whose place it is.
    pub key: K,
    /// Time and length of the drive.
    pub eta: Eta,
}

/// What was found.
#[derive(Clone, PartialEq, Debug)]
pub struct Nearest<K> {
    /// At most as many as asked for, quickest first; equally quick ones in the order given. It is what routing every
    /// candidate and sorting would give.
    pub found: Vec<ByRoad<K>>,
    /// Candidates that can't be routed, each with the reason.
    pub refused: Vec<(K, RouteError)>,
    /// Routes that had to be calculated.
    pub queries: usize,
}

/// A candidate with its bound.
struct Bounded {
    index: usize,
    at_least_s: f64,
    snap: Snap,
}

/// Finds the `k` nearest candidates to `fixed`; `drive` routes one.
pub(crate) fn nearest<K: Clone>(
    candidates: Vec<(K, Result<Snap, RouteError>)>,
    fixed: &Snap,
    top_mps: f64,
    k: usize,
    drive: impl Fn(&Snap) -> Result<Eta, RouteError>,
) -> Nearest<K> {
    let mut refused = Vec::new();
    let mut bounded: Vec<Bounded> = Vec::with_capacity(candidates.len());
    for (index, (key, snap)) in candidates.iter().enumerate() {
        match snap {
            Ok(snap) => bounded.push(Bounded { index, at_least_s: at_least_s(snap, fixed, top_mps), snap: *snap }),
            Err(reason) => refused.push((key.clone(), *reason)),
        }
    }
    bounded.sort_by(|a, b| a.at_least_s.total_cmp(&b.at_least_s).then(a.index.cmp(&b.index)));
    let mut best: Vec<(usize, Eta)> = Vec::with_capacity(k.saturating_add(1).min(bounded.len() + 1));
    let mut queries = 0;
    for candidate in bounded {
        let worst = if best.len() < k { None } else { best.last() };
        let beaten = k == 0 || worst.is_some_and(|(_, eta)| candidate.at_least_s > eta.duration_s);
        if beaten {
            break;
        }
        queries += 1;
        match drive(&candidate.snap) {
            Ok(eta) => insert(&mut best, (candidate.index, eta), k),
            Err(reason) => refused.extend(candidates.get(candidate.index).map(|(key, _)| (key.clone(), reason))),
        }
    }
    let found = best
        .into_iter()
        .filter_map(|(index, eta)| candidates.get(index).map(|(key, _)| ByRoad { key: key.clone(), eta }))
        .collect();
    Nearest { found, refused, queries }
}

fn at_least_s(a: &Snap, b: &Snap, top_mps: f64) -> f64 {
    ((a.at.distance_m(&b.at) / top_mps * 1_000.0).floor() - SLACK_MS).max(0.0) / 1_000.0
}

fn insert(best: &mut Vec<(usize, Eta)>, entry: (usize, Eta), k: usize) {
    let before =
        |(index, eta): &(usize, Eta)| eta.duration_s.total_cmp(&entry.1.duration_s).then(index.cmp(&entry.0)).is_lt();
    best.insert(best.partition_point(before), entry);
    best.truncate(k);
}
