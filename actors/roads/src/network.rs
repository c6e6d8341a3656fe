//! The road network: junctions (vertices) and the stretches of road between them (edges), with their shape.
//!
//! Invariants of a [`Network`]: at least two vertices; strongly connected; every edge has two or more points, the first
//! at its tail and the last at its head; every edge is open in at least one direction. An edge may lead from a vertex
//! back to itself, and several edges may join the same two vertices.

use crate::Speed;
use crate::connected;
use crate::tags::{Drive, Pace, RoadClass};
use shers_contract::LatLon;
use std::collections::HashMap;

/// A position in ten-millionths of a degree, as the map has it (about a centimetre). Always on the earth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Coordinate {
    lat_e7: i32,
    lon_e7: i32,
}

impl Coordinate {
    /// A position, if there is such a place.
    pub(crate) fn new(lat_e7: i32, lon_e7: i32) -> Option<Self> {
        let valid = lat_e7.unsigned_abs() <= 900_000_000 && lon_e7.unsigned_abs() <= 1_800_000_000;
        valid.then_some(Self { lat_e7, lon_e7 })
    }

    /// In degrees.
    pub(crate) fn lat_lon(self) -> LatLon {
        // Divided, not multiplied by 1e-7: so the decimals come out as the map has them.
        LatLon { lat: f64::from(self.lat_e7) / 1e7, lon: f64::from(self.lon_e7) / 1e7 }
    }
}

/// Which way along an edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heading {
    /// From tail to head.
    Along,
    /// From head to tail.
    Against,
}

/// A stretch of road between two junctions.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// Vertex at its first point.
    pub(crate) tail: u32,
    /// Vertex at its last point.
    pub(crate) head: u32,
    /// Sum of its segments.
    pub(crate) length_m: f64,
    first_point: u32,
    point_count: u32,
    drive: Drive,
}

impl Edge {
    /// Class of the road.
    pub(crate) const fn class(&self) -> RoadClass {
        self.drive.class
    }

    const fn pace(&self, heading: Heading) -> Option<Pace> {
        match heading {
            Heading::Along => self.drive.forward,
            Heading::Against => self.drive.backward,
        }
    }

    /// Metres per second, if open that way.
    pub(crate) fn mps(&self, heading: Heading, speed: Speed) -> Option<f64> {
        self.pace(heading).map(|pace| pace.mps(speed))
    }

    /// Milliseconds for a part of it, rounded up so that time is never below length over speed.
    pub(crate) fn part_ms(&self, heading: Heading, speed: Speed, metres: f64) -> Option<u64> {
        self.mps(heading, speed).map(|mps| (metres.max(0.0) / mps * 1_000.0).ceil() as u64)
    }

    /// Milliseconds for the whole of it, at least one.
    pub(crate) fn whole_ms(&self, heading: Heading, speed: Speed) -> Option<u64> {
        self.part_ms(heading, speed, self.length_m).map(|ms| ms.max(1))
    }

    /// Where driving it that way leads from and to.
    pub(crate) const fn ends(&self, heading: Heading) -> (u32, u32) {
        match heading {
            Heading::Along => (self.tail, self.head),
            Heading::Against => (self.head, self.tail),
        }
    }
}

/// Junctions and the roads between them.
#[derive(Debug)]
pub(crate) struct Network {
    vertices: Vec<Coordinate>,
    edges: Vec<Edge>,
    points: Vec<Coordinate>,
}

impl Network {
    /// How many vertices.
    pub(crate) const fn vertex_count(&self) -> usize {
        self.vertices.len()
    }

    /// Where a vertex is.
    pub(crate) fn vertex(&self, vertex: u32) -> Option<LatLon> {
        self.vertices.get(vertex as usize).map(|v| v.lat_lon())
    }

    /// All edges; an edge's number is its position here.
    pub(crate) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// One edge.
    pub(crate) fn edge(&self, edge: u32) -> Option<&Edge> {
        self.edges.get(edge as usize)
    }

    /// The shape of an edge from tail to head.
    pub(crate) fn shape(&self, edge: &Edge) -> impl DoubleEndedIterator<Item = LatLon> + ExactSizeIterator + Clone {
        let first = edge.first_point as usize;
        let points = self.points.get(first..first + edge.point_count as usize).unwrap_or_default();
        points.iter().map(|p| p.lat_lon())
    }

    /// Every arc that can be driven: edge, heading.
    pub(crate) fn arcs(&self) -> impl Iterator<Item = (u32, &Edge, Heading)> {
        (0..).zip(&self.edges).flat_map(|(number, edge)| {
            [Heading::Along, Heading::Against]
                .into_iter()
                .filter(|heading| edge.pace(*heading).is_some())
                .map(move |heading| (number, edge, heading))
        })
    }

    /// The fastest speed anywhere on the map, in metres per second.
    pub(crate) fn top_mps(&self, speed: Speed) -> f64 {
        self.arcs().filter_map(|(_, edge, heading)| edge.mps(heading, speed)).fold(0.0, f64::max)
    }
}

#[derive(Debug)]
struct Way {
    refs: Vec<i64>,
    drive: Drive,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    at: Coordinate,
    blocks: bool,
}

/// Builds a [`Network`] from ways and nodes, whoever supplies them: the reader of map files, or a test by hand.
#[derive(Debug, Default)]
pub(crate) struct GraphBuilder {
    ways: Vec<Way>,
    nodes: HashMap<i64, Node>,
}

impl GraphBuilder {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a way through these nodes.
    pub(crate) fn way(&mut self, refs: impl IntoIterator<Item = i64>, drive: Drive) {
        self.ways.push(Way { refs: refs.into_iter().collect(), drive });
    }

    /// Adds a node. A node that blocks ends the ways that go through it.
    pub(crate) fn node(&mut self, id: i64, at: Coordinate, blocks: bool) {
        self.nodes.insert(id, Node { at, blocks });
    }

    /// How many ways were added.
    pub(crate) const fn way_count(&self) -> usize {
        self.ways.len()
    }

    /// The nodes that the ways need, sorted.
    pub(crate) fn node_ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.ways.iter().flat_map(|way| way.refs.iter().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Cuts the ways at their junctions and keeps the largest strongly connected part. `None` if that is no network.
    pub(crate) fn build(self) -> Option<Network> {
        let mut cut =
            Cut { nodes: &self.nodes, uses: self.uses(), vertices: HashMap::new(), at: Vec::new(), pieces: Vec::new() };
        for way in &self.ways {
            cut.way(way);
        }
        let Cut { at, pieces, .. } = cut;
        let arcs: Vec<(u32, u32)> = pieces.iter().flat_map(Piece::arcs).collect();
        assemble(&at, &pieces, &connected::largest_part(at.len(), &arcs))
    }

    /// How often each node is used; ends of ways count twice, as they always are vertices.
    fn uses(&self) -> HashMap<i64, u32> {
        let mut uses = HashMap::with_capacity(self.nodes.len());
        for way in &self.ways {
            for id in way.refs.iter().chain(way.refs.first()).chain(way.refs.last()) {
                *uses.entry(*id).or_insert(0) += 1;
            }
        }
        uses
    }
}

/// A stretch of a way between two vertices.
struct Piece {
    tail: u32,
    head: u32,
    shape: Vec<Coordinate>,
    drive: Drive,
}

impl Piece {
    fn arcs(&self) -> impl Iterator<Item = (u32, u32)> {
        let along = self.drive.forward.map(|_| (self.tail, self.head));
        let against = self.drive.backward.map(|_| (self.head, self.tail));
        along.into_iter().chain(against)
    }
}

/// The cutting of ways into pieces.
struct Cut<'a> {
    nodes: &'a HashMap<i64, Node>,
    uses: HashMap<i64, u32>,
    vertices: HashMap<i64, u32>,
    at: Vec<Coordinate>,
    pieces: Vec<Piece>,
}

impl Cut<'_> {
    /// The vertex of a node. A blocking node gives each caller a vertex of its own, so nothing connects there.
    fn vertex(&mut self, id: i64, node: Node) -> u32 {
        let fresh = u32::try_from(self.at.len()).unwrap_or(u32::MAX);
        let vertex = if node.blocks { fresh } else { *self.vertices.entry(id).or_insert(fresh) };
        if vertex == fresh {
            self.at.push(node.at);
        }
        vertex
    }

    fn way(&mut self, way: &Way) {
        let mut open: Option<(u32, Vec<Coordinate>)> = None;
        let mut last: Option<(i64, Node)> = None;
        for &id in &way.refs {
            if last.is_some_and(|(last_id, _)| last_id == id) {
                continue;
            }
            // An extract may lack nodes beyond its border: the way ends there and begins anew.
            let Some(&node) = self.nodes.get(&id) else {
                self.close(open.take(), last.take(), way.drive);
                continue;
            };
            let Some((_, shape)) = &mut open else {
                open = Some((self.vertex(id, node), vec![node.at]));
                last = Some((id, node));
                continue;
            };
            shape.push(node.at);
            last = Some((id, node));
            if node.blocks || self.uses.get(&id).is_some_and(|uses| *uses > 1) {
                self.close(open.take(), last, way.drive);
                open = Some((self.vertex(id, node), vec![node.at]));
            }
        }
        self.close(open, last, way.drive);
    }

    fn close(&mut self, open: Option<(u32, Vec<Coordinate>)>, last: Option<(i64, Node)>, drive: Drive) {
        if let (Some((tail, shape)), Some((id, node))) = (open, last)
            && shape.len() > 1
        {
            let head = self.vertex(id, node);
            self.pieces.push(Piece { tail, head, shape, drive });
        }
    }
}

/// Packs the pieces whose ends are both inside.
fn assemble(at: &[Coordinate], pieces: &[Piece], inside: &[bool]) -> Option<Network> {
    let mut renumbered: Vec<Option<u32>> = Vec::with_capacity(at.len());
    let mut vertices = Vec::new();
    for (place, inside) in at.iter().zip(inside) {
        renumbered.push(if *inside { u32::try_from(vertices.len()).ok() } else { None });
        if *inside {
            vertices.push(*place);
        }
    }
    let number = |old: u32| renumbered.get(old as usize).copied().flatten();
    let (mut edges, mut points) = (Vec::new(), Vec::new());
    for piece in pieces {
        let (Some(tail), Some(head)) = (number(piece.tail), number(piece.head)) else { continue };
        edges.push(Edge {
            tail,
            head,
            length_m: piece.shape.windows(2).map(span_m).sum(),
            first_point: u32::try_from(points.len()).ok()?,
            point_count: u32::try_from(piece.shape.len()).ok()?,
            drive: piece.drive,
        });
        points.extend_from_slice(&piece.shape);
    }
    (vertices.len() > 1).then_some(Network { vertices, edges, points })
}

fn span_m(pair: &[Coordinate]) -> f64 {
    match pair {
        [a, b] => a.lat_lon().distance_m(&b.lat_lon()),
        _ => 0.0,
    }
}
