//! Who stands where on the roads, kept from one question to the next, and the nearest of them by road.
//!
//! Everybody is brought onto the network once, when they move, and is remembered at a junction or on an edge. A question
//! then walks outwards from its destination against the direction of driving ([`crate::inward`]) and meets those who
//! stand there in order of their drive: it ends as soon as it has met enough, however many there are elsewhere.
//!
//! Why the answer is the one that routing everybody gives: junctions are settled in order of their time to the
//! destination; somebody on an edge drives to one of its ends first, so they wait in the same queue under the time over
//! each end that was settled, and whatever leaves the queue first is final, because every way not yet seen is at least as
//! long as the time reached. Junctions go before people of the same time, so that equals meet in the order of their keys.
//! Times are whole milliseconds that are added up as in the hierarchy.
//!
//! When few can go and they are far away, the walk covers the whole map. It is given up after [`patience`] junctions,
//! and everybody who can go is routed instead, pruned as in [`crate::nearest`].

use crate::RouteError;
use crate::inward::{InwardArcs, Labels};
use crate::journey::Journey;
use crate::network::Network;
use crate::snap::{Place, Snap};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::hash::Hash;

/// Up to so many are routed one by one: less work than the walk.
const FEW: usize = 24;
/// One route by the hierarchy is about as much work as settling so many junctions.
const JUNCTIONS_A_ROUTE: usize = 100;
/// Junctions that are settled before the walk is ever given up.
const LEAST_PATIENCE: usize = 4_096;

/// Those who stand on a map, by their keys. Belongs to one map: see [`crate::RoadMap::stand`].
#[derive(Debug)]
pub struct Standing<K> {
    places: BTreeMap<K, Snap>,
    off_road: BTreeMap<K, RouteError>,
    at_vertex: HashMap<u32, Vec<K>>,
    on_edge: HashMap<u32, Vec<K>>,
}

impl<K> Default for Standing<K> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), off_road: BTreeMap::new(), at_vertex: HashMap::new(), on_edge: HashMap::new() }
    }
}

/// Whether somebody can go; asked at most once for each of those who are met.
pub type Fits<'a, K> = &'a mut dyn FnMut(&K) -> bool;

impl<K: Ord + Hash + Clone> Standing<K> {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many stand on a road.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody stands on a road.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Those who are too far from any road, with the reason.
    pub fn off_road(&self) -> impl Iterator<Item = (&K, &RouteError)> {
        self.off_road.iter()
    }

    /// They are gone.
    pub fn leave(&mut self, key: &K) {
        self.off_road.remove(key);
        let Some(snap) = self.places.remove(key) else { return };
        let (there, number) = match snap.place {
            Place::Vertex(vertex) => (&mut self.at_vertex, vertex),
            Place::Edge { edge, .. } => (&mut self.on_edge, edge),
        };
        if let Some(keys) = there.get_mut(&number) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                there.remove(&number);
            }
        }
    }

    pub(crate) fn stand(&mut self, key: K, snap: Result<Snap, RouteError>) {
        self.leave(&key);
        let snap = match snap {
            Ok(snap) => snap,
            Err(why) => {
                self.off_road.insert(key, why);
                return;
            }
        };
        let (there, number) = match snap.place {
            Place::Vertex(vertex) => (&mut self.at_vertex, vertex),
            Place::Edge { edge, .. } => (&mut self.on_edge, edge),
        };
        there.entry(number).or_default().push(key.clone());
        self.places.insert(key, snap);
    }

    pub(crate) fn snap(&self, key: &K) -> Option<Snap> {
        self.places.get(key).copied()
    }

    /// All who fit, when that is to be asked of everybody.
    pub(crate) fn all(&self, fits: Fits<'_, K>) -> Vec<(K, Result<Snap, RouteError>)> {
        self.places.iter().filter(|(key, _)| fits(key)).map(|(key, snap)| (key.clone(), Ok(*snap))).collect()
    }

    /// Whether routing one by one is less work from the start.
    pub(crate) fn is_few(&self) -> bool {
        self.places.len() <= FEW
    }
}

/// What waits to be settled. Junctions before people, people in the order of their keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Met<K> {
    Junction(u32),
    One(K),
}

/// Junctions that a walk may settle before routing all who stand there costs less.
const fn patience(standing: usize) -> usize {
    let all = standing.saturating_mul(JUNCTIONS_A_ROUTE);
    if all > LEAST_PATIENCE { all } else { LEAST_PATIENCE }
}

/// A walk from a destination against the direction of driving.
pub(crate) struct Walk<'a, K> {
    pub(crate) network: &'a Network,
    pub(crate) arcs: &'a InwardArcs,
    pub(crate) standing: &'a Standing<K>,
    pub(crate) labels: &'a mut Labels,
}

impl<K: Ord + Hash + Clone> Walk<'_, K> {
    /// The `k` who reach the destination soonest, in order. `None`: given up. `journey` is from a place to the
    /// destination; the one of the destination to itself tells by which ends it is reached.
    pub(crate) fn nearest<'j>(
        &mut self,
        to: &Snap,
        k: usize,
        journey: &dyn Fn(Snap) -> Journey<'j>,
        fits: Fits<'_, K>,
    ) -> Option<Vec<K>> {
        let mut queue: BinaryHeap<Reverse<(u64, Met<K>)>> = BinaryHeap::new();
        for (vertex, ms) in journey(*to).arrivals() {
            if self.labels.lower(vertex, ms) {
                queue.push(Reverse((ms, Met::Junction(vertex))));
            }
        }
        self.beside_the_destination(to, journey, &mut queue);
        let mut asked: BTreeMap<K, bool> = BTreeMap::new();
        let (mut found, mut settled) = (Vec::with_capacity(k.min(64)), 0);
        let limit = patience(self.standing.len());
        while let Some(Reverse((ms, met))) = queue.pop() {
            if found.len() >= k {
                break;
            }
            match met {
                Met::One(key) => {
                    // The first time is the least; a later one is over the farther end of the edge.
                    if !asked.contains_key(&key) {
                        let fit = fits(&key);
                        asked.insert(key.clone(), fit);
                        if fit {
                            found.push(key);
                        }
                    }
                }
                Met::Junction(vertex) if self.labels.is_least(vertex, ms) => {
                    settled += 1;
                    if settled > limit {
                        return None;
                    }
                    self.settle(vertex, ms, journey, &mut queue);
                }
                Met::Junction(_) => {}
            }
        }
        Some(found)
    }

    /// Those on the destination's own edge may drive straight along it.
    fn beside_the_destination<'j>(
        &self,
        to: &Snap,
        journey: &dyn Fn(Snap) -> Journey<'j>,
        queue: &mut BinaryHeap<Reverse<(u64, Met<K>)>>,
    ) {
        let Place::Edge { edge, .. } = to.place else { return };
        for key in self.standing.on_edge.get(&edge).into_iter().flatten() {
            let direct = self.standing.snap(key).and_then(|snap| journey(snap).direct_ms());
            queue.extend(direct.map(|ms| Reverse((ms, Met::One(key.clone())))));
        }
    }

    fn settle<'j>(
        &mut self,
        vertex: u32,
        ms: u64,
        journey: &dyn Fn(Snap) -> Journey<'j>,
        queue: &mut BinaryHeap<Reverse<(u64, Met<K>)>>,
    ) {
        for key in self.standing.at_vertex.get(&vertex).into_iter().flatten() {
            queue.push(Reverse((ms, Met::One(key.clone()))));
        }
        for arc in self.arcs.into(vertex) {
            if self.labels.lower(arc.from, ms + arc.ms) {
                queue.push(Reverse((ms + arc.ms, Met::Junction(arc.from))));
            }
            for key in self.standing.on_edge.get(&arc.edge).into_iter().flatten() {
                let departs = self.standing.snap(key).and_then(|snap| journey(snap).leaving_ms(arc.heading));
                queue.extend(departs.map(|to_end| Reverse((ms + to_end, Met::One(key.clone())))));
            }
        }
        debug_assert!((vertex as usize) < self.network.vertex_count(), "a junction of this map");
    }
}
