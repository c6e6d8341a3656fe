//! Shortest travel times by contraction hierarchies, one per [`Speed`], with a pool of calculators.

use crate::Speed;
use crate::network::{Heading, Network};
use fast_paths::{FastGraph, InputGraph, PathCalculator};
use std::sync::{Mutex, PoisonError};

/// Calculators kept for reuse; one is taken per query in flight.
const POOL_LIMIT: usize = 16;

/// An edge driven in a direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arc {
    /// Edge.
    pub(crate) edge: u32,
    /// Direction.
    pub(crate) heading: Heading,
}

/// The fastest arc between two vertices, for unpacking paths.
#[derive(Clone, Copy)]
struct FastestArc {
    ends: (u32, u32),
    ms: u64,
    arc: Arc,
}

/// A path between vertices.
#[derive(Debug)]
pub(crate) struct Path {
    /// Travel time, the weights of the chosen ends included.
    pub(crate) ms: u64,
    /// Vertices, at least one.
    pub(crate) vertices: Vec<u32>,
}

/// Travel times over a network at one speed.
pub(crate) struct Hierarchy {
    graph: FastGraph,
    arcs: Vec<FastestArc>,
}

impl Hierarchy {
    /// Contracts the network. The expensive part of loading a map.
    pub(crate) fn new(network: &Network, speed: Speed) -> Self {
        let arcs = fastest_arcs(network, speed);
        let mut input = InputGraph::new();
        for FastestArc { ends: (from, to), ms, .. } in &arcs {
            input.add_edge(*from as usize, *to as usize, usize::try_from(*ms).unwrap_or(usize::MAX / 4));
        }
        input.freeze();
        Self { graph: fast_paths::prepare(&input), arcs }
    }

    /// The fastest path from any start to any end, each with the time it takes to get to it or away from it.
    pub(crate) fn path(&self, pool: &Pool, starts: &[(u32, u64)], ends: &[(u32, u64)]) -> Option<Path> {
        let vertices = self.graph.get_num_nodes();
        let weigh = |ends: &[(u32, u64)]| -> Vec<(usize, usize)> {
            let inside = ends.iter().filter(|(vertex, _)| (*vertex as usize) < vertices);
            inside.filter_map(|(vertex, ms)| Some((*vertex as usize, usize::try_from(*ms).ok()?))).collect()
        };
        let (starts, ends) = (weigh(starts), weigh(ends));
        if starts.is_empty() || ends.is_empty() {
            return None;
        }
        let mut calculator = pool.take(vertices);
        let found = calculator.calc_path_multiple_sources_and_targets(&self.graph, starts, ends);
        pool.give_back(calculator);
        found.map(|path| Path {
            ms: path.get_weight() as u64,
            vertices: path.get_nodes().iter().map(|v| u32::try_from(*v).unwrap_or(u32::MAX)).collect(),
        })
    }

    /// The fastest arc from one vertex to its neighbour.
    pub(crate) fn arc(&self, from: u32, to: u32) -> Option<Arc> {
        let place = self.arcs.binary_search_by_key(&(from, to), |arc| arc.ends).ok()?;
        self.arcs.get(place).map(|found| found.arc)
    }
}

/// One arc per pair of vertices, sorted by it. Loops lead nowhere else and are left out.
fn fastest_arcs(network: &Network, speed: Speed) -> Vec<FastestArc> {
    let mut arcs: Vec<FastestArc> = network
        .arcs()
        .filter(|(_, edge, _)| edge.tail != edge.head)
        .filter_map(|(number, edge, heading)| {
            let ms = edge.whole_ms(heading, speed)?;
            Some(FastestArc { ends: edge.ends(heading), ms, arc: Arc { edge: number, heading } })
        })
        .collect();
    arcs.sort_by_key(|arc| (arc.ends, arc.ms, arc.arc.edge));
    arcs.dedup_by_key(|arc| arc.ends);
    arcs
}

/// Calculators that are not in use. They hold some kilobytes per thousand vertices, so they are kept, not made anew.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<PathCalculator>>);

impl Pool {
    fn take(&self, vertices: usize) -> PathCalculator {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| PathCalculator::new(vertices))
    }

    fn give_back(&self, calculator: PathCalculator) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < POOL_LIMIT {
            idle.push(calculator);
        }
    }
}
