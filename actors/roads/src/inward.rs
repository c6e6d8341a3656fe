//! The roads backwards: which arcs lead into a junction. From a destination it is walked outwards, so that the
//! drives *to* it are found in order of time, whoever stands along the way.
//!
//! This is what a hierarchy can't do: it answers one pair at a time, while here the work depends on how far the nearest
//! few are, not on how many there are.

use crate::Speed;
use crate::network::{Heading, Network};
use std::sync::{Mutex, PoisonError};

/// Scratch memories kept for reuse; one is taken per search in flight.
const POOL_LIMIT: usize = 8;

/// An arc that leads into a vertex.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inward {
    /// Where it comes from.
    pub(crate) from: u32,
    /// Milliseconds for the whole of it.
    pub(crate) ms: u64,
    /// Edge.
    pub(crate) edge: u32,
    /// Direction of driving.
    pub(crate) heading: Heading,
}

/// For every vertex the arcs that lead into it, packed.
pub(crate) struct InwardArcs {
    first: Vec<u32>,
    arcs: Vec<Inward>,
}

impl InwardArcs {
    /// Of a network at one speed.
    pub(crate) fn new(network: &Network, speed: Speed) -> Self {
        let mut arcs: Vec<(u32, Inward)> = network
            .arcs()
            .filter_map(|(number, edge, heading)| {
                let (from, into) = edge.ends(heading);
                Some((into, Inward { from, ms: edge.whole_ms(heading, speed)?, edge: number, heading }))
            })
            .collect();
        arcs.sort_by_key(|(into, arc)| (*into, arc.from, arc.edge));
        let mut first = Vec::with_capacity(network.vertex_count() + 1);
        let mut next = 0;
        for vertex in 0..=u32::try_from(network.vertex_count()).unwrap_or(u32::MAX) {
            while arcs.get(next).is_some_and(|(into, _)| *into < vertex) {
                next += 1;
            }
            first.push(u32::try_from(next).unwrap_or(u32::MAX));
        }
        Self { first, arcs: arcs.into_iter().map(|(_, arc)| arc).collect() }
    }

    /// The arcs into a vertex.
    pub(crate) fn into(&self, vertex: u32) -> &[Inward] {
        let v = vertex as usize;
        match (self.first.get(v), self.first.get(v + 1)) {
            (Some(&from), Some(&to)) => self.arcs.get(from as usize..to as usize).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// The least time known for each vertex. Used again without being cleared: a label counts only in the search that
/// wrote it.
#[derive(Default)]
pub(crate) struct Labels {
    search: u32,
    ms: Vec<u64>,
    written_in: Vec<u32>,
}

impl Labels {
    fn begin(&mut self, vertices: usize) {
        if self.ms.len() != vertices || self.search == u32::MAX {
            self.ms = vec![0; vertices];
            self.written_in = vec![0; vertices];
            self.search = 0;
        }
        self.search += 1;
    }

    /// Takes over a time, if it is less than the one known. Whether it was.
    pub(crate) fn lower(&mut self, vertex: u32, ms: u64) -> bool {
        let v = vertex as usize;
        let (Some(known), Some(written_in)) = (self.ms.get_mut(v), self.written_in.get_mut(v)) else { return false };
        if *written_in == self.search && *known <= ms {
            return false;
        }
        (*known, *written_in) = (ms, self.search);
        true
    }

    /// Whether this time is still the least known.
    pub(crate) fn is_least(&self, vertex: u32, ms: u64) -> bool {
        let v = vertex as usize;
        self.written_in.get(v) == Some(&self.search) && self.ms.get(v) == Some(&ms)
    }
}

/// Labels that are not in use.
#[derive(Default)]
pub(crate) struct LabelPool(Mutex<Vec<Labels>>);

impl LabelPool {
    pub(crate) fn take(&self, vertices: usize) -> Labels {
        let mut labels = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        labels.begin(vertices);
        labels
    }

    pub(crate) fn give_back(&self, labels: Labels) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < POOL_LIMIT {
            idle.push(labels);
        }
    }
}
