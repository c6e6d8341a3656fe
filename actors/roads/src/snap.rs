//! Finds the point of the road network nearest to a position.
//!
//! An R-tree over the segments of all edges, in a plane where one unit is a degree of latitude and longitudes are
//! shrunk by the cosine of the map's middle latitude. That plane is slightly wrong elsewhere, so it only orders the
//! candidates: distances are measured on the earth, and the search ends when the plane can't hide anything nearer.

use crate::network::{Edge, Network};
use rstar::primitives::{GeomWithData, Line};
use rstar::{PointDistance, RTree};
use shers_contract::LatLon;

/// A projection this close to a junction is the junction, so that all its roads can be taken from there.
const JUNCTION_M: f64 = 1.0;
/// Metres in a degree of latitude, a little low so that bounds stay bounds.
const METRES_PER_DEGREE: f64 = 111_000.0;

/// Where on the network a position is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Place {
    /// At a junction.
    Vertex(u32),
    /// On an edge.
    Edge {
        /// Edge.
        edge: u32,
        /// Segment of its shape.
        segment: u32,
        /// Metres from its tail to here.
        before_m: f64,
        /// Metres from here to its head.
        after_m: f64,
    },
}

/// A position brought onto the network.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Snap {
    /// On the road.
    pub(crate) at: LatLon,
    /// How far from the road the position was.
    pub(crate) distance_m: f64,
    /// Where on the network.
    pub(crate) place: Place,
}

/// Edge and segment.
type Segment = GeomWithData<Line<[f64; 2]>, (u32, u32)>;

/// The index.
pub(crate) struct Snapper {
    tree: RTree<Segment>,
    shrink: f64,
}

impl Snapper {
    /// Indexes a network.
    pub(crate) fn new(network: &Network) -> Self {
        let (mut south, mut north) = (90.0_f64, -90.0_f64);
        for point in network.edges().iter().flat_map(|edge| network.shape(edge)) {
            (south, north) = (south.min(point.lat), north.max(point.lat));
        }
        let shrink = f64::midpoint(south, north).to_radians().cos().max(0.01);
        let flat = |p: LatLon| [p.lon * shrink, p.lat];
        let mut segments = Vec::new();
        for (number, edge) in (0_u32..).zip(network.edges()) {
            let shape = network.shape(edge);
            for (index, (a, b)) in (0_u32..).zip(shape.clone().zip(shape.skip(1))) {
                segments.push(Segment::new(Line::new(flat(a), flat(b)), (number, index)));
            }
        }
        Self { tree: RTree::bulk_load(segments), shrink }
    }

    /// The nearest point of the network; `None` only for a position that is no number.
    pub(crate) fn snap(&self, network: &Network, position: LatLon) -> Option<Snap> {
        if !(position.lat.is_finite() && position.lon.is_finite()) {
            return None;
        }
        let here = position.lat.to_radians().cos().max(0.0);
        // Longitudes are this much shorter here than in the plane, if they are.
        let worst = (here / self.shrink).min(1.0) * 0.99;
        let query = [position.lon * self.shrink, position.lat];
        let mut best: Option<(f64, LatLon, (u32, u32))> = None;
        for segment in self.tree.nearest_neighbor_iter(query) {
            let at_least_m = segment.distance_2(&query).sqrt() * METRES_PER_DEGREE * worst;
            if best.is_some_and(|(best_m, ..)| at_least_m > best_m) {
                break;
            }
            let line = segment.geom();
            let at = project(position, here, self.unflatten(line.from), self.unflatten(line.to));
            let distance_m = at.distance_m(&position);
            if best.is_none_or(|(best_m, ..)| distance_m < best_m) {
                best = Some((distance_m, at, segment.data));
            }
            // Far away, where no snap is allowed anyway, the first candidate's distance is good enough to report.
            if at_least_m > 100_000.0 {
                break;
            }
        }
        let (distance_m, at, (edge, segment)) = best?;
        locate(network, at, edge, segment).map(|(at, place)| Snap { at, distance_m, place })
    }

    fn unflatten(&self, [x, y]: [f64; 2]) -> LatLon {
        LatLon { lat: y, lon: x / self.shrink }
    }
}

/// The point of a segment nearest to a position.
fn project(position: LatLon, shrink: f64, a: LatLon, b: LatLon) -> LatLon {
    let (dx, dy) = ((b.lon - a.lon) * shrink, b.lat - a.lat);
    let (px, py) = ((position.lon - a.lon) * shrink, position.lat - a.lat);
    let square = dx * dx + dy * dy;
    let share = if square > 0.0 { ((px * dx + py * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
    LatLon { lat: a.lat + (b.lat - a.lat) * share, lon: a.lon + (b.lon - a.lon) * share }
}

fn locate(network: &Network, at: LatLon, number: u32, segment: u32) -> Option<(LatLon, Place)> {
    let edge = network.edge(number)?;
    let (before_m, after_m) = split_m(network, edge, at, segment);
    let near = if before_m <= after_m { (before_m, edge.tail) } else { (after_m, edge.head) };
    if near.0 <= JUNCTION_M {
        return Some((network.vertex(near.1)?, Place::Vertex(near.1)));
    }
    Some((at, Place::Edge { edge: number, segment, before_m, after_m }))
}

/// Metres along the edge before and after a point of a segment. Each is a sum of great circles through that point, so
/// neither is ever shorter than the straight line: the pruning bound rests on it.
fn split_m(network: &Network, edge: &Edge, at: LatLon, segment: u32) -> (f64, f64) {
    let shape = network.shape(edge);
    let (mut before_m, mut after_m) = (0.0, 0.0);
    for (index, (a, b)) in (0_u32..).zip(shape.clone().zip(shape.skip(1))) {
        match index.cmp(&segment) {
            std::cmp::Ordering::Less => before_m += a.distance_m(&b),
            std::cmp::Ordering::Equal => {
                before_m += a.distance_m(&at);
                after_m += at.distance_m(&b);
            }
            std::cmp::Ordering::Greater => after_m += a.distance_m(&b),
        }
    }
    (before_m, after_m)
}
