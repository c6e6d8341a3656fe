//! The map as others see it.

use crate::Speed;
use crate::display;
use crate::error::{MapError, RouteEnd, RouteError};
use crate::facilities::Facility;
use crate::hierarchy::{Hierarchy, Pool};
use crate::inward::{InwardArcs, LabelPool};
use crate::journey::Journey;
use crate::nearest::{self, ByRoad, Nearest};
use crate::network::{Edge, Network};
use crate::pbf::{self, Source};
use crate::route::{Eta, Route};
use crate::snap::{Snap, Snapper};
use crate::standing::{Fits, Standing, Walk};
use serde::Serialize;
use shers_contract::LatLon;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::path::Path;
use std::sync::OnceLock;

/// How far from a road a point may be, unless set otherwise.
pub const DEFAULT_SNAP_LIMIT_M: f64 = 500.0;

/// Liechtenstein; see `data/NOTICE`.
static BUILT_IN: &[u8] = include_bytes!("../data/liechtenstein.osm.pbf");

/// The rectangle that holds all roads of a map.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Bounds {
    /// South-western corner.
    pub south_west: LatLon,
    /// North-eastern corner.
    pub north_east: LatLon,
}

impl Bounds {
    /// Whether a position is inside.
    #[must_use]
    pub fn contains(&self, at: LatLon) -> bool {
        (self.south_west.lat..=self.north_east.lat).contains(&at.lat)
            && (self.south_west.lon..=self.north_east.lon).contains(&at.lon)
    }

    /// Its middle.
    #[must_use]
    pub fn middle(&self) -> LatLon {
        LatLon {
            lat: f64::midpoint(self.south_west.lat, self.north_east.lat),
            lon: f64::midpoint(self.south_west.lon, self.north_east.lon),
        }
    }
}

/// How big a map is.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Stats {
    /// Ways of any kind in the file.
    pub ways: usize,
    /// Ways that an ambulance can drive.
    pub drivable_ways: usize,
    /// Junctions kept.
    pub junctions: usize,
    /// Stretches of road between them.
    pub roads: usize,
    /// Directed stretches: two for a two-way road.
    pub arcs: usize,
    /// Length of all roads.
    pub length_km: f64,
}

/// The roads of a region, ready to route on. Never changes; share it by `Arc`.
pub struct RoadMap {
    name: String,
    network: Network,
    snapper: Snapper,
    lights: Prepared,
    normal: Prepared,
    pool: Pool,
    labels: LabelPool,
    all_roads: Lottery,
    homes: Lottery,
    facilities: Vec<Facility>,
    bounds: Bounds,
    stats: Stats,
    snap_limit_m: f64,
    display: OnceLock<Vec<u8>>,
}

/// What belongs to one speed.
struct Prepared {
    hierarchy: Hierarchy,
    inward: InwardArcs,
    top_mps: f64,
}

impl Prepared {
    fn new(network: &Network, speed: Speed) -> Self {
        Self {
            hierarchy: Hierarchy::new(network, speed),
            inward: InwardArcs::new(network, speed),
            top_mps: network.top_mps(speed),
        }
    }
}

impl std::fmt::Debug for RoadMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoadMap").field("name", &self.name).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl RoadMap {
    /// The map that is part of the program: Liechtenstein, whole.
    ///
    /// # Errors
    /// None, unless the program was built with a damaged file.
    pub fn built_in() -> Result<Self, MapError> {
        Self::read("Liechtenstein".to_owned(), &Source::Bytes("built into the program", BUILT_IN))
    }

    /// Reads an `.osm.pbf` file. Its name is the file's, without the endings.
    ///
    /// # Errors
    /// When the file can't be read, is something else, is damaged, or has no roads; the text says which and what to do.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, MapError> {
        let path = path.as_ref();
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let name = file.trim_end_matches(".pbf").trim_end_matches(".osm").to_owned();
        Self::read(name, &Source::File(path))
    }

    fn read(name: String, source: &Source<'_>) -> Result<Self, MapError> {
        let raw = pbf::read(source)?;
        let (ways, drivable) = (raw.ways, raw.graph.way_count());
        let no_roads = || MapError::NoRoads { path: source.path(), ways, drivable };
        let network = raw.graph.build().ok_or_else(no_roads)?;
        Ok(Self::prepare(name, network, raw.facilities, ways, drivable))
    }

    /// Prepares a network: both hierarchies at once, for contraction is most of the work.
    pub(crate) fn prepare(
        name: String,
        network: Network,
        facilities: Vec<Facility>,
        ways: usize,
        drivable_ways: usize,
    ) -> Self {
        let (lights, normal, snapper) = std::thread::scope(|scope| {
            let lights = scope.spawn(|| Prepared::new(&network, Speed::LightsAndSirens));
            let normal = Prepared::new(&network, Speed::Normal);
            let snapper = Snapper::new(&network);
            // Should the thread have died, the work is done here, where a failure shows.
            let lights = lights.join().unwrap_or_else(|_| Prepared::new(&network, Speed::LightsAndSirens));
            (lights, normal, snapper)
        });
        let stats = Stats {
            ways,
            drivable_ways,
            junctions: network.vertex_count(),
            roads: network.edges().len(),
            arcs: network.arcs().count(),
            length_km: network.edges().iter().map(|edge| edge.length_m).sum::<f64>() / 1_000.0,
        };
        Self {
            name,
            bounds: bounds(&network),
            all_roads: Lottery::new(&network, |_| true),
            homes: Lottery::new(&network, |edge| edge.class().has_homes()),
            network,
            snapper,
            lights,
            normal,
            pool: Pool::default(),
            labels: LabelPool::default(),
            facilities,
            stats,
            snap_limit_m: DEFAULT_SNAP_LIMIT_M,
            display: OnceLock::new(),
        }
    }

    /// The same map with another limit on how far from a road a point may be.
    #[must_use]
    pub const fn with_snap_limit_m(mut self, limit_m: f64) -> Self {
        self.snap_limit_m = limit_m;
        self
    }

    /// How the map is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What must be shown wherever the map is.
    #[must_use]
    pub const fn attribution(&self) -> &'static str {
        "© OpenStreetMap contributors, ODbL 1.0"
    }

    /// The rectangle that holds all roads.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// How big it is.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Hospitals and stations that the map knows, by kind and name. Those mapped as relations are not among them.
    #[must_use]
    pub fn facilities(&self) -> &[Facility] {
        &self.facilities
    }

    /// The roads for drawing; see [`crate::RoadClass::code`] for the class byte. Encoded once, on the first call.
    ///
    /// Format `SHRD1`, a "varint" being an unsigned LEB128 (7 bits a byte, low first, high bit set on all but the last)
    /// and a "zigzag" a varint of `(n << 1) ^ (n >> 63)`, that is 0, -1, 1, -2 … as 0, 1, 2, 3 …:
    ///
    /// 1. the five bytes `SHRD1`;
    /// 2. the origin: zigzag latitude, zigzag longitude, in 1e-5 degrees;
    /// 3. a varint: the number of polylines;
    /// 4. each polyline: one byte class (0 motorway, 1 trunk, 2 primary, 3 secondary, 4 tertiary, 5 unclassified,
    ///    6 residential, 7 living street, 8 service, 9 track), a varint number of points (at least 2), and for each
    ///    point zigzag latitude and zigzag longitude as the difference in 1e-5 degrees from the point before it. The
    ///    point before the first point of a polyline is the last point of the polyline before, and for the very first
    ///    the origin.
    ///
    /// Polylines come by class, the most important first. Shapes are simplified to within 3 m.
    #[must_use]
    pub fn roads_for_display(&self) -> &[u8] {
        self.display.get_or_init(|| display::encode(&self.network, self.bounds.south_west))
    }

    /// A point on the roads for two numbers from 0 to 1, every metre of road being as likely as any other: `u` chooses
    /// the road and `v` the place along it. The same numbers give the same point.
    #[must_use]
    pub fn random_road_point(&self, u: f64, v: f64) -> LatLon {
        self.all_roads.draw(&self.network, u, v).unwrap_or_else(|| self.bounds.middle())
    }

    /// Like [`Self::random_road_point`], but only along streets where people usually live (residential and minor public
    /// roads); on a map without such streets, along any.
    #[must_use]
    pub fn random_home_point(&self, u: f64, v: f64) -> LatLon {
        self.homes.draw(&self.network, u, v).unwrap_or_else(|| self.random_road_point(u, v))
    }

    /// The nearest point on a road, and how far it is.
    ///
    /// # Errors
    /// When that is too far.
    pub fn nearest_road(&self, position: LatLon) -> Result<(LatLon, f64), RouteError> {
        self.snap(position, RouteEnd::From).map(|snap| (snap.at, snap.distance_m))
    }

    /// The fastest route.
    ///
    /// # Errors
    /// When a point is too far from any road.
    pub fn route(&self, from: LatLon, to: LatLon, speed: Speed) -> Result<Route, RouteError> {
        self.journey(self.snap(from, RouteEnd::From)?, self.snap(to, RouteEnd::To)?, speed).route()
    }

    /// Time and length of the fastest route, without its shape.
    ///
    /// # Errors
    /// When a point is too far from any road.
    pub fn eta(&self, from: LatLon, to: LatLon, speed: Speed) -> Result<Eta, RouteError> {
        self.journey(self.snap(from, RouteEnd::From)?, self.snap(to, RouteEnd::To)?, speed).eta()
    }

    /// The least time between two junctions by their numbers (below [`Stats::junctions`]), in milliseconds: one bare
    /// query of the hierarchy, without bringing positions onto the network.
    #[must_use]
    pub fn between_junctions_ms(&self, from: usize, to: usize, speed: Speed) -> Option<u64> {
        let (from, to) = (u32::try_from(from).ok()?, u32::try_from(to).ok()?);
        self.prepared(speed).hierarchy.path(&self.pool, &[(from, 0)], &[(to, 0)]).map(|path| path.ms)
    }

    /// The `k` sources from which the target is reached soonest: which unit to send.
    ///
    /// # Errors
    /// When the target is too far from any road. A source that is, is in [`Nearest::refused`].
    pub fn nearest_by_road<K: Clone>(
        &self,
        sources: &[(K, LatLon)],
        target: LatLon,
        speed: Speed,
        k: usize,
    ) -> Result<Nearest<K>, RouteError> {
        let to = self.snap(target, RouteEnd::To)?;
        let candidates = self.snap_all(sources, RouteEnd::From);
        let top_mps = self.prepared(speed).top_mps;
        Ok(nearest::nearest(candidates, &to, top_mps, k, |from| self.journey(*from, to, speed).eta()))
    }

    /// The `k` targets that are reached soonest from one place: which hospital to drive to.
    ///
    /// # Errors
    /// When the source is too far from any road. A target that is, is in [`Nearest::refused`].
    pub fn nearest_targets<K: Clone>(
        &self,
        source: LatLon,
        targets: &[(K, LatLon)],
        speed: Speed,
        k: usize,
    ) -> Result<Nearest<K>, RouteError> {
        let from = self.snap(source, RouteEnd::From)?;
        let candidates = self.snap_all(targets, RouteEnd::To);
        let top_mps = self.prepared(speed).top_mps;
        Ok(nearest::nearest(candidates, &from, top_mps, k, |to| self.journey(from, *to, speed).eta()))
    }

    /// Notes that somebody stands at a position. Too far from any road, they are in [`Standing::off_road`].
    pub fn stand<K: Ord + Hash + Clone>(&self, standing: &mut Standing<K>, key: K, position: LatLon) {
        standing.stand(key, self.snap(position, RouteEnd::From));
    }

    /// The `k` of those who stand on this map and fit that reach the target soonest; equally quick ones in the order
    /// of their keys. `fits` is asked in order of time, until there are enough.
    ///
    /// # Errors
    /// When the target is too far from any road.
    pub fn nearest_standing<K: Ord + Hash + Clone>(
        &self,
        standing: &Standing<K>,
        target: LatLon,
        speed: Speed,
        k: usize,
        fits: Fits<'_, K>,
    ) -> Result<Nearest<K>, RouteError> {
        let to = self.snap(target, RouteEnd::To)?;
        let prepared = self.prepared(speed);
        let journey = |from: Snap| self.journey(from, to, speed);
        let mut asked: BTreeMap<K, bool> = BTreeMap::new();
        let mut once = |key: &K| *asked.entry(key.clone()).or_insert_with(|| fits(key));
        if k > 0 && !standing.is_few() {
            let mut labels = self.labels.take(self.network.vertex_count());
            let mut walk = Walk { network: &self.network, arcs: &prepared.inward, standing, labels: &mut labels };
            let met = walk.nearest(&to, k, &journey, &mut once);
            self.labels.give_back(labels);
            if let Some(met) = met {
                let drive = |key: &K| standing.snap(key).map(|snap| journey(snap).eta());
                let (mut found, mut refused) = (Vec::with_capacity(met.len()), Vec::new());
                let queries = met.len();
                for key in met {
                    match drive(&key) {
                        Some(Ok(eta)) => found.push(ByRoad { key, eta }),
                        Some(Err(why)) => refused.push((key, why)),
                        None => {}
                    }
                }
                return Ok(Nearest { found, refused, queries });
            }
        }
        let candidates = standing.all(&mut once);
        Ok(nearest::nearest(candidates, &to, prepared.top_mps, k, |from| journey(*from).eta()))
    }

    fn snap_all<K: Clone>(&self, places: &[(K, LatLon)], which: RouteEnd) -> Vec<(K, Result<Snap, RouteError>)> {
        places.iter().map(|(key, place)| (key.clone(), self.snap(*place, which))).collect()
    }

    fn snap(&self, position: LatLon, which: RouteEnd) -> Result<Snap, RouteError> {
        let limit_m = self.snap_limit_m;
        match self.snapper.snap(&self.network, position) {
            Some(snap) if snap.distance_m <= limit_m => Ok(snap),
            Some(snap) => Err(RouteError::TooFarFromRoad { which, distance_m: snap.distance_m, limit_m }),
            None => Err(RouteError::TooFarFromRoad { which, distance_m: f64::INFINITY, limit_m }),
        }
    }

    /// The inside, for tests that compare with slower ways.
    #[cfg(test)]
    pub(crate) const fn parts(&self) -> (&Network, &Snapper) {
        (&self.network, &self.snapper)
    }

    const fn prepared(&self, speed: Speed) -> &Prepared {
        match speed {
            Speed::LightsAndSirens => &self.lights,
            Speed::Normal => &self.normal,
        }
    }

    const fn journey(&self, from: Snap, to: Snap, speed: Speed) -> Journey<'_> {
        Journey {
            network: &self.network,
            hierarchy: &self.prepared(speed).hierarchy,
            pool: &self.pool,
            speed,
            from,
            to,
        }
    }
}

fn bounds(network: &Network) -> Bounds {
    let mut south_west = LatLon { lat: 90.0, lon: 180.0 };
    let mut north_east = LatLon { lat: -90.0, lon: -180.0 };
    for point in network.edges().iter().flat_map(|edge| network.shape(edge)) {
        south_west = LatLon { lat: south_west.lat.min(point.lat), lon: south_west.lon.min(point.lon) };
        north_east = LatLon { lat: north_east.lat.max(point.lat), lon: north_east.lon.max(point.lon) };
    }
    Bounds { south_west, north_east }
}

/// Draws places along some of the roads, by length.
struct Lottery {
    /// Edge and the metres of all edges up to its end.
    tickets: Vec<(f64, u32)>,
}

impl Lottery {
    fn new(network: &Network, takes_part: impl Fn(&Edge) -> bool) -> Self {
        let mut sum_m = 0.0;
        let mut tickets = Vec::new();
        for (number, edge) in (0_u32..).zip(network.edges()).filter(|(_, edge)| takes_part(edge)) {
            sum_m += edge.length_m;
            tickets.push((sum_m, number));
        }
        Self { tickets }
    }

    fn draw(&self, network: &Network, u: f64, v: f64) -> Option<LatLon> {
        let (total_m, last) = *self.tickets.last()?;
        let wanted_m = u.clamp(0.0, 1.0) * total_m;
        let ticket = self.tickets.partition_point(|(up_to_m, _)| *up_to_m <= wanted_m);
        let edge = network.edge(self.tickets.get(ticket).map_or(last, |(_, edge)| *edge))?;
        along(network, edge, v.clamp(0.0, 1.0) * edge.length_m)
    }
}

/// The point so many metres along an edge.
fn along(network: &Network, edge: &Edge, metres: f64) -> Option<LatLon> {
    let shape = network.shape(edge);
    let mut left_m = metres;
    for (a, b) in shape.clone().zip(shape.clone().skip(1)) {
        let span_m = a.distance_m(&b);
        if left_m <= span_m && span_m > 0.0 {
            let part = left_m / span_m;
            return Some(LatLon { lat: a.lat + (b.lat - a.lat) * part, lon: a.lon + (b.lon - a.lon) * part });
        }
        left_m -= span_m;
    }
    shape.last()
}
