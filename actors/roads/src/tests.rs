//! Tests across the modules: on small maps drawn by hand, and on the built-in one.

use crate::error::RouteEnd;
use crate::network::{Coordinate, Edge, GraphBuilder, Heading, Network};
use crate::snap::{Place, Snap, Snapper};
use crate::tags::{Tags, drive};
use crate::{MapError, RoadMap, RouteError, Speed, Standing};
use proptest::prelude::*;
use shers_contract::LatLon;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::OnceLock;

const BOTH: [Speed; 2] = [Speed::LightsAndSirens, Speed::Normal];

fn at(lat: f64, lon: f64) -> LatLon {
    LatLon::new(lat, lon).expect("on earth")
}

fn built_in() -> &'static RoadMap {
    static MAP: OnceLock<RoadMap> = OnceLock::new();
    MAP.get_or_init(|| RoadMap::built_in().expect("the built-in map loads"))
}

/// Draws maps: nodes on a grid with 0.001 degrees (about 100 m) between them, near the equator, where a degree is a
/// degree in both directions.
struct Sketch(GraphBuilder);

type TagList = &'static [(&'static str, &'static str)];

impl Sketch {
    fn node(&mut self, (row, column): (i32, i32), blocks: bool) -> i64 {
        let id = i64::from(row * 1_000 + column);
        self.0.node(id, Coordinate::new(row * 10_000, column * 10_000).expect("on earth"), blocks);
        id
    }

    fn way(mut self, cells: &[(i32, i32)], tags: TagList) -> Self {
        let refs: Vec<i64> = cells.iter().map(|cell| self.node(*cell, false)).collect();
        self.0.way(refs, drive(&Tags(tags.to_vec())).expect("drivable"));
        self
    }

    fn barrier(mut self, cell: (i32, i32)) -> Self {
        self.node(cell, true);
        self
    }

    fn map(self) -> RoadMap {
        let network = self.0.build().expect("a network");
        RoadMap::prepare("sketch".to_owned(), network, Vec::new(), 0, 0)
    }
}

const STREET: TagList = &[("highway", "residential"), ("maxspeed", "36")];
const ONE_WAY: TagList = &[("highway", "residential"), ("maxspeed", "36"), ("oneway", "yes")];

fn sketch() -> Sketch {
    Sketch(GraphBuilder::new())
}

fn cell(row: f64, column: f64) -> LatLon {
    at(row / 1_000.0, column / 1_000.0)
}

/// The length of a drive in grid steps.
#[track_caller]
fn check_steps(map: &RoadMap, from: LatLon, to: LatLon, steps: f64) {
    for speed in BOTH {
        let route = map.route(from, to, speed).expect("a route");
        let eta = map.eta(from, to, speed).expect("an eta");
        let got = route.distance_m / 111.195;
        assert!((got - steps).abs() < 0.02, "{got} steps instead of {steps}: {:?}", route.geometry);
        assert!((eta.distance_m - route.distance_m).abs() < 1e-6);
        assert_eq!(eta.duration_s, route.duration_s);
    }
}

#[test]
fn one_way_streets_are_driven_one_way() {
    // A block one step wide and three long; its long lower side leads east only.
    let map = sketch().way(&[(0, 0), (0, 3)], ONE_WAY).way(&[(0, 3), (1, 3), (1, 0), (0, 0)], STREET).map();
    check_steps(&map, cell(0.0, 0.0), cell(0.0, 3.0), 3.0);
    check_steps(&map, cell(0.0, 3.0), cell(0.0, 0.0), 5.0);
    check_steps(&map, cell(0.0, 1.0), cell(0.0, 2.0), 1.0);
    check_steps(&map, cell(0.0, 2.0), cell(0.0, 1.0), 7.0);
}

#[test]
fn whoever_stands_at_a_junction_may_take_any_of_its_roads() {
    let map = sketch().way(&[(0, 0), (0, 3)], ONE_WAY).way(&[(0, 3), (1, 3), (1, 0), (0, 0)], STREET).map();
    // Half a metre into the one-way street, as a position fix would have it.
    check_steps(&map, cell(0.0, 0.004), cell(1.0, 0.0), 1.0);
    check_steps(&map, cell(1.0, 3.0), cell(0.0, 2.996), 1.0);
}

#[test]
fn on_a_map_too_tall_for_one_plane_the_nearest_road_is_still_the_nearest() {
    let map = sketch().way(&[(0, 4), (59_990, 4), (60_003, 4), (60_003, -3)], STREET).map();
    let (road, distance_m) = map.nearest_road(cell(60_000.0, 0.0)).expect("near enough");
    assert!((distance_m - 222.4).abs() < 0.2, "{distance_m} m to {road:?}");
}

#[test]
fn places_in_the_middle_of_a_block_are_reached_from_the_better_side() {
    let map =
        sketch().way(&[(0, 0), (0, 1), (0, 4), (0, 5)], STREET).way(&[(0, 1), (1, 1), (1, 4), (0, 4)], STREET).map();
    check_steps(&map, cell(0.0, 0.0), cell(0.0, 3.9), 3.9);
    check_steps(&map, cell(0.0, 3.5), cell(0.0, 1.5), 2.0);
    check_steps(&map, cell(1.0, 3.9), cell(0.0, 3.9), 1.2);
    check_steps(&map, cell(1.0, 2.0), cell(1.0, 3.0), 1.0);
    check_steps(&map, cell(0.0, 2.0), cell(0.0, 2.0), 0.0);
}

#[test]
fn a_loop_from_a_junction_to_itself_can_be_driven() {
    let map = sketch().way(&[(0, 0), (0, 5)], STREET).way(&[(0, 5), (0, 7), (2, 7), (2, 5), (0, 5)], STREET).map();
    check_steps(&map, cell(0.0, 0.0), cell(0.0, 6.0), 6.0);
    check_steps(&map, cell(1.0, 5.0), cell(0.0, 0.0), 6.0);
    check_steps(&map, cell(0.0, 6.0), cell(1.0, 5.0), 2.0);
    check_steps(&map, cell(2.0, 6.9), cell(2.0, 5.1), 1.8);
}

#[test]
fn two_roads_between_the_same_junctions_stay_apart() {
    let map = sketch().way(&[(0, 0), (0, 1), (0, 2)], STREET).way(&[(0, 0), (2, 0), (2, 2), (0, 2)], STREET).map();
    check_steps(&map, cell(0.0, 0.0), cell(0.0, 2.0), 2.0);
    check_steps(&map, cell(2.0, 1.0), cell(0.0, 0.5), 3.5);
}

#[test]
fn a_bollard_divides_a_street() {
    let map = sketch()
        .way(&[(0, 0), (0, 1), (0, 2)], STREET)
        .way(&[(0, 0), (3, 0), (3, 2), (0, 2)], STREET)
        .barrier((0, 1))
        .map();
    check_steps(&map, cell(0.0, 0.5), cell(0.0, 1.5), 9.0);
}

#[test]
fn a_street_one_can_enter_and_not_leave_is_no_part_of_the_map() {
    let map = sketch().way(&[(0, 0), (0, 9)], STREET).way(&[(0, 9), (9, 9)], ONE_WAY).map();
    let refused = map.eta(cell(0.0, 0.0), cell(9.0, 9.0), Speed::Normal);
    assert!(matches!(refused, Err(RouteError::TooFarFromRoad { which: RouteEnd::To, .. })), "{refused:?}");
    assert_eq!(map.stats().roads, 1);
}

#[test]
fn a_way_that_leaves_the_extract_ends_at_its_border() {
    let mut sketch = sketch().way(&[(0, 0), (0, 1), (0, 2)], STREET);
    let drive = drive(&Tags(STREET.to_vec())).expect("drivable");
    sketch.0.way([1, 777_777, 2], drive);
    assert_eq!(sketch.map().stats().roads, 2);
}

#[test]
fn a_faster_detour_beats_a_short_street() {
    let fast: TagList = &[("highway", "primary"), ("maxspeed", "108")];
    let slow: TagList = &[("highway", "residential"), ("maxspeed", "18")];
    let map = sketch().way(&[(0, 0), (0, 3)], slow).way(&[(0, 0), (1, 0), (1, 3), (0, 3)], fast).map();
    check_steps(&map, cell(0.0, 0.0), cell(0.0, 3.0), 5.0);
    let lights = map.eta(cell(0.0, 0.0), cell(0.0, 3.0), Speed::LightsAndSirens).expect("eta").duration_s;
    assert!((lights - 5.0 * 111.195 / 33.0).abs() < 0.1, "{lights}");
}

#[test]
fn vaduz_to_schaan_takes_some_minutes() {
    let (vaduz, schaan) = (at(47.1392, 9.5217), at(47.1652, 9.5087));
    let map = built_in();
    let normal = map.route(vaduz, schaan, Speed::Normal).expect("a route");
    let lights = map.route(vaduz, schaan, Speed::LightsAndSirens).expect("a route");
    let back = map.eta(schaan, vaduz, Speed::Normal).expect("a route");
    assert!((2_900.0..4_500.0).contains(&normal.distance_m), "{} m", normal.distance_m);
    assert!((180.0..600.0).contains(&normal.duration_s), "{} s", normal.duration_s);
    assert!(lights.duration_s < normal.duration_s * 0.8);
    assert!((back.duration_s / normal.duration_s - 1.0).abs() < 0.25, "{} and {}", back.duration_s, normal.duration_s);
    let drawn: f64 = normal.geometry.windows(2).map(|pair| pair[0].distance_m(&pair[1])).sum();
    assert!((drawn - normal.distance_m).abs() < 1.0);
    let half_way = normal.position_at(normal.duration_s / 2.0);
    assert!(map.nearest_road(half_way).expect("on a road").1 < 1.0);
}

#[test]
fn a_point_in_the_sea_is_refused_with_its_distance() {
    let sea = at(44.0, 8.9);
    let vaduz = at(47.1392, 9.5217);
    let error = built_in().eta(vaduz, sea, Speed::Normal).expect_err("the sea has no roads");
    let RouteError::TooFarFromRoad { which: RouteEnd::To, distance_m, limit_m } = error else { panic!("{error:?}") };
    assert!((300_000.0..400_000.0).contains(&distance_m), "{distance_m}");
    assert_eq!(limit_m, crate::DEFAULT_SNAP_LIMIT_M);
    assert!(error.to_string().starts_with("the destination is 3"), "{error}");
    assert!(built_in().eta(sea, vaduz, Speed::Normal).is_err_and(|e| e.to_string().starts_with("the start")));
    let nowhere = LatLon { lat: f64::NAN, lon: 9.5 };
    assert!(built_in().eta(nowhere, vaduz, Speed::Normal).is_err());
}

#[test]
fn the_snap_limit_can_be_set() {
    let map = |limit_m| sketch().way(&[(0, 0), (0, 3)], STREET).map().with_snap_limit_m(limit_m);
    let beside = cell(1.0, 1.0);
    assert!(map(100.0).nearest_road(beside).is_err());
    let (road, distance_m) = map(120.0).nearest_road(beside).expect("near enough");
    assert!((distance_m - 111.2).abs() < 0.1 && road.distance_m(&cell(0.0, 1.0)) < 0.1);
}

#[test]
fn the_built_in_map_has_its_hospital_stations_and_bounds() {
    let map = built_in();
    let hospitals = map.facilities().iter().filter(|f| !f.kind.is_station()).count();
    assert_eq!((hospitals, map.facilities().len() - hospitals), (1, 6));
    for facility in map.facilities() {
        assert!(map.nearest_road(facility.location).is_ok(), "{}", facility.name);
        assert!(map.bounds().contains(facility.location), "{}", facility.name);
    }
    assert_eq!(map.name(), "Liechtenstein");
    assert!(map.attribution().contains("OpenStreetMap"));
}

#[test]
fn random_points_are_on_roads_and_repeat() {
    let map = built_in();
    for step in 0..=50 {
        let (u, v) = (f64::from(step) / 50.0, f64::from(step * 37 % 51) / 50.0);
        for point in [map.random_road_point(u, v), map.random_home_point(u, v)] {
            assert!(map.nearest_road(point).is_ok_and(|(_, distance_m)| distance_m < 0.1), "{u} {v}");
        }
        assert_eq!(map.random_road_point(u, v), map.random_road_point(u, v));
    }
}

#[test]
fn files_that_are_no_map_are_refused_with_advice() {
    let directory = std::env::temp_dir().join(format!("shers-roads-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let whole = include_bytes!("../data/liechtenstein.osm.pbf");
    let check = |path: PathBuf, words: &[&str]| {
        let text = RoadMap::load(&path).expect_err("no map").to_string();
        for word in words.iter().copied().chain([path.to_str().expect("utf-8")]) {
            assert!(text.contains(word), "{text:?} lacks {word:?}");
        }
    };
    check(directory.join("absent.osm.pbf"), &["cannot read", "readable .osm.pbf"]);
    check(directory.clone(), &["cannot read"]);
    check(file("empty.osm.pbf", b""), &["empty (0 bytes)", "fetch it again"]);
    check(file("page.osm.pbf", b"<!DOCTYPE html><html>Not found"), &["web page"]);
    check(file("plain.osm", b"<?xml version='1.0'?><osm version='0.6'>"), &["OSM XML", "osmium cat"]);
    check(file("map.osm.bz2", b"BZh91AY&SY"), &["compressed"]);
    check(file("noise.osm.pbf", &[7; 500]), &["OSM header"]);
    check(file("short.osm.pbf", &whole[..100_000]), &["damaged or cut short", "checksum"]);
    let header_only = u32::from_be_bytes([whole[0], whole[1], whole[2], whole[3]]) as usize;
    let mut first_blob = 4 + header_only;
    first_blob += usize::from(whole[4 + header_only - 1]);
    let nothing = file("nothing.osm.pbf", &whole[..first_blob]);
    match RoadMap::load(&nothing).expect_err("no roads") {
        MapError::NoRoads { ways: 0, drivable: 0, .. } => check(nothing, &["no road network", "highway=*"]),
        other => panic!("{other:?}"),
    }
    std::fs::remove_dir_all(directory).expect("removed");
}

#[test]
fn a_garbled_file_is_an_error_or_a_smaller_map_but_never_a_panic() {
    let whole = include_bytes!("../data/liechtenstein.osm.pbf");
    let path = std::env::temp_dir().join(format!("shers-roads-garbled-{}.osm.pbf", std::process::id()));
    for step in 0..40_usize {
        let mut bytes = whole.to_vec();
        let place = if step < 20 { step * 5 } else { step * whole.len() / 40 };
        bytes[place] ^= 0x55;
        std::fs::write(&path, bytes).expect("written");
        let _ = crate::pbf::read(&crate::pbf::Source::File(&path)).map(|raw| raw.ways);
    }
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn facilities_are_read_from_geojson() {
    let root = std::env::var_os("SHERS_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = root.join("maps/manhattan-facilities.geojson");
    if !path.exists() {
        eprintln!("left out: {} is missing; set SHERS_SHARED", path.display());
        return;
    }
    let found = crate::facilities_from_geojson(path).expect("facilities");
    let hospitals = found.iter().filter(|f| f.kind == crate::FacilityKind::Hospital).count();
    assert_eq!((hospitals, found.len()), (11, 17));
}

#[test]
fn a_map_is_shared_between_threads() {
    fn shareable<T: Send + Sync>(_: &T) {}
    shareable(built_in());
    let expected: Vec<f64> = (0..20).map(eta_of_pair).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!((0..20).map(eta_of_pair).collect::<Vec<f64>>(), expected));
        }
    });
}

fn eta_of_pair(pair: u32) -> f64 {
    let share = |factor: u32| f64::from(pair * factor % 20) / 20.0;
    let (from, to) =
        (built_in().random_road_point(share(3), share(7)), built_in().random_road_point(share(11), share(13)));
    built_in().eta(from, to, Speed::Normal).expect("a route").duration_s
}

/// Plain Dijkstra over the network, from one vertex to all, in milliseconds.
fn dijkstra(network: &Network, speed: Speed, starts: &[(u32, u64)]) -> Vec<u64> {
    let mut neighbours: Vec<Vec<(u32, u64)>> = vec![Vec::new(); network.vertex_count()];
    for (_, edge, heading) in network.arcs() {
        let (from, to) = edge.ends(heading);
        neighbours[from as usize].push((to, edge.whole_ms(heading, speed).expect("open")));
    }
    let mut best = vec![u64::MAX; network.vertex_count()];
    let mut queue: BinaryHeap<(std::cmp::Reverse<u64>, u32)> =
        starts.iter().map(|(vertex, ms)| (std::cmp::Reverse(*ms), *vertex)).collect();
    while let Some((std::cmp::Reverse(ms), vertex)) = queue.pop() {
        if ms < best[vertex as usize] {
            best[vertex as usize] = ms;
            queue.extend(neighbours[vertex as usize].iter().map(|(to, step)| (std::cmp::Reverse(ms + step), *to)));
        }
    }
    best
}

/// The ends of the edge a place is on, with the time to get there (or from there).
fn ends(network: &Network, snap: &Snap, speed: Speed, leaves: bool) -> Vec<(u32, u64)> {
    let Place::Edge { edge, before_m, after_m, .. } = snap.place else {
        let Place::Vertex(vertex) = snap.place else { unreachable!() };
        return vec![(vertex, 0)];
    };
    let edge: &Edge = network.edge(edge).expect("an edge");
    let mut ends = Vec::new();
    let (along, against) = if leaves { (edge.head, edge.tail) } else { (edge.tail, edge.head) };
    let (along_m, against_m) = if leaves { (after_m, before_m) } else { (before_m, after_m) };
    ends.extend(edge.part_ms(Heading::Along, speed, along_m).map(|ms| (along, ms)));
    ends.extend(edge.part_ms(Heading::Against, speed, against_m).map(|ms| (against, ms)));
    ends
}

fn share() -> impl Strategy<Value = f64> {
    (0_u32..=1_000_000).prop_map(|n| f64::from(n) / 1e6)
}

fn road_point() -> impl Strategy<Value = LatLon> {
    (share(), share()).prop_map(|(u, v)| built_in().random_road_point(u, v))
}

fn any_speed() -> impl Strategy<Value = Speed> {
    prop_oneof![Just(Speed::LightsAndSirens), Just(Speed::Normal)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_hierarchy_finds_what_plain_dijkstra_finds(from in road_point(), to in road_point(), speed in any_speed()) {
        let map = built_in();
        let eta = map.eta(from, to, speed).expect("a route");
        let (network, snapper) = map.parts();
        let (start, end) = (snapper.snap(network, from).expect("snaps"), snapper.snap(network, to).expect("snaps"));
        let same_edge = matches!((start.place, end.place),
            (Place::Edge { edge: a, .. }, Place::Edge { edge: b, .. }) if a == b);
        prop_assume!(!same_edge);
        let best = dijkstra(network, speed, &ends(network, &start, speed, true));
        let plain = ends(network, &end, speed, false).iter().map(|(vertex, ms)| best[*vertex as usize] + ms).min();
        prop_assert_eq!(Some((eta.duration_s * 1_000.0).round() as u64), plain);
    }

    #[test]
    fn a_route_takes_the_time_and_length_that_its_eta_says(
        u in share(), v in share(), w in share(), near in any::<bool>(), elsewhere in share(), speed in any_speed(),
    ) {
        let map = built_in();
        // Half of the pairs lie on one road.
        let (from, to) = (map.random_road_point(u, v), map.random_road_point(if near { u } else { elsewhere }, w));
        let (route, eta) = (map.route(from, to, speed).expect("a route"), map.eta(from, to, speed).expect("a route"));
        prop_assert_eq!(route.duration_s, eta.duration_s);
        prop_assert!((route.distance_m - eta.distance_m).abs() < 0.01, "{} and {}", route.distance_m, eta.distance_m);
        prop_assert_eq!(route.geometry.len(), route.times_s.len());
        prop_assert!(route.times_s.is_sorted());
        prop_assert_eq!(route.position_at(0.0), route.geometry[0]);
        prop_assert!(route.position_at(eta.duration_s).distance_m(&to) < 1.5);
        for second in 0..100 {
            let pair = [f64::from(second), f64::from(second) + 1.0].map(|elapsed_s| route.position_at(elapsed_s));
            prop_assert!(pair[0].distance_m(&pair[1]) < 130.0 / 3.6 + 0.1, "no jump from {:?} to {:?}", pair[0], pair[1]);
        }
    }

    #[test]
    fn pruning_gives_what_routing_everyone_gives(
        places in proptest::collection::vec(road_point(), 0..40),
        here in road_point(),
        speed in any_speed(),
        k in 0_usize..6,
        towards in any::<bool>(),
    ) {
        let map = built_in();
        let keyed: Vec<(usize, LatLon)> = places.into_iter().enumerate().collect();
        let drive = |place: LatLon| if towards { map.eta(place, here, speed) } else { map.eta(here, place, speed) };
        let mut all: Vec<(f64, usize)> =
            keyed.iter().map(|(key, place)| (drive(*place).expect("a route").duration_s, *key)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(k);
        let nearest = if towards {
            map.nearest_by_road(&keyed, here, speed, k)
        } else {
            map.nearest_targets(here, &keyed, speed, k)
        }.expect("here is on a road");
        let found: Vec<(f64, usize)> = nearest.found.iter().map(|n| (n.eta.duration_s, n.key)).collect();
        prop_assert_eq!(found, all);
        prop_assert!(nearest.queries <= keyed.len() && nearest.refused.is_empty());
    }

    #[test]
    fn walking_out_from_the_destination_gives_what_routing_everyone_gives(
        mut places in proptest::collection::vec(road_point(), 0..90),
        moves in proptest::collection::vec((0_usize..90, road_point()), 0..20),
        gone in 0_usize..90,
        here in road_point(),
        beside in any::<bool>(),
        speed in any_speed(),
        k in 0_usize..6,
        one_in in 1_usize..40,
    ) {
        let map = built_in();
        if beside {
            // Many on the destination's own road.
            let (road, _) = map.nearest_road(here).expect("a road");
            places.extend((0..30).map(|n| at(road.lat + f64::from(n) * 1e-5, road.lon)));
        }
        let mut standing = Standing::new();
        for (key, place) in places.iter().enumerate() {
            map.stand(&mut standing, key, *place);
        }
        for (key, place) in moves {
            if let Some(old) = places.get_mut(key) {
                *old = place;
                map.stand(&mut standing, key, place);
            }
        }
        standing.leave(&gone);
        let fits = |key: &usize| key.is_multiple_of(one_in);
        let mut all: Vec<(u64, usize)> = places
            .iter()
            .enumerate()
            .filter(|(key, _)| *key != gone && fits(key))
            .map(|(key, place)| {
                let eta = map.eta(*place, here, speed).expect("a route");
                ((eta.duration_s * 1_000.0).round() as u64, key)
            })
            .collect();
        all.sort_unstable();
        all.truncate(k);
        let mut asked = Vec::new();
        let nearest = map.nearest_standing(&standing, here, speed, k, &mut |key| {
            asked.push(*key);
            fits(key)
        });
        let found = nearest.expect("here is on a road").found;
        let times: Vec<(u64, usize)> =
            found.iter().map(|n| ((n.eta.duration_s * 1_000.0).round() as u64, n.key)).collect();
        prop_assert_eq!(times, all);
        for n in found {
            prop_assert_eq!(n.eta, map.eta(places[n.key], here, speed).expect("a route"));
        }
        let count = asked.len();
        asked.sort_unstable();
        asked.dedup();
        prop_assert_eq!(asked.len(), count, "nobody is asked twice");
    }

    #[test]
    fn snapping_finds_the_nearest_of_all_edges(u in share(), v in share(), north_m in -400.0..400.0, east_m in -400.0..400.0) {
        let map = built_in();
        let road = map.random_road_point(u, v);
        let beside = at(road.lat + north_m / 111_195.0, road.lon + east_m / 75_700.0);
        let (network, snapper) = map.parts();
        let snap = Snapper::snap(snapper, network, beside).expect("snaps");
        let mut best_m = f64::MAX;
        for edge in network.edges() {
            for (a, b) in network.shape(edge).zip(network.shape(edge).skip(1)) {
                for step in 0..=4 {
                    let share = f64::from(step) / 4.0;
                    let point = at(a.lat + (b.lat - a.lat) * share, a.lon + (b.lon - a.lon) * share);
                    best_m = best_m.min(point.distance_m(&beside));
                }
            }
        }
        prop_assert!(snap.distance_m <= best_m + 1e-6, "{} found, {best_m} exists", snap.distance_m);
    }
}

#[test]
fn units_far_from_any_road_are_refused_by_name_and_the_others_ranked() {
    let map = sketch().way(&[(0, 0), (0, 9)], STREET).map();
    let units =
        [("far", cell(0.0, 8.0)), ("lost", cell(90.0, 0.0)), ("near", cell(0.0, 2.0)), ("also near", cell(0.0, 2.0))];
    let nearest = map.nearest_by_road(&units, cell(0.0, 1.0), Speed::LightsAndSirens, 2).expect("on the road");
    assert_eq!(nearest.found.iter().map(|n| n.key).collect::<Vec<_>>(), ["near", "also near"]);
    assert_eq!(nearest.refused.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["lost"]);
    assert_eq!(nearest.queries, 2);
}

#[test]
fn the_nearest_of_many_are_found_without_asking_most_of_them() {
    let map = built_in();
    let mut standing = Standing::new();
    for n in 0..2_000_u32 {
        let share = |k: f64| (f64::from(n) * k).fract();
        map.stand(&mut standing, n, map.random_road_point(share(0.618_034), share(0.414_214)));
    }
    map.stand(&mut standing, 9_999, at(44.0, 8.9));
    assert_eq!((standing.len(), standing.off_road().count()), (2_000, 1));
    let (vaduz, mut asked) = (at(47.1392, 9.5217), 0);
    let mut fits = |_: &u32| {
        asked += 1;
        true
    };
    let found = map.nearest_standing(&standing, vaduz, Speed::LightsAndSirens, 5, &mut fits).expect("on a road").found;
    assert_eq!((found.len(), asked), (5, 5));
    let nobody = map.nearest_standing(&standing, vaduz, Speed::LightsAndSirens, 5, &mut |_| false).expect("on a road");
    assert!(nobody.found.is_empty());
    assert!(map.nearest_standing(&standing, at(44.0, 8.9), Speed::Normal, 5, &mut |_| true).is_err());
}

#[test]
fn a_unit_farther_away_on_a_faster_road_wins() {
    let slow: TagList = &[("highway", "residential"), ("maxspeed", "36")];
    let fast: TagList = &[("highway", "primary"), ("maxspeed", "90")];
    let map = sketch().way(&[(0, 0), (0, 9)], fast).way(&[(0, 0), (9, 0)], slow).map();
    let units = [("three steps at 36", cell(3.0, 0.0)), ("seven steps at 90", cell(0.0, 7.0))];
    let nearest = map.nearest_by_road(&units, cell(0.0, 0.0), Speed::LightsAndSirens, 1).expect("on the road");
    assert_eq!(nearest.found.first().map(|n| n.key), Some("seven steps at 90"));
}

#[test]
fn pruning_spares_most_queries_on_the_built_in_map() {
    let map = built_in();
    let units: Vec<(u32, LatLon)> =
        (0..50).map(|n| (n, map.random_road_point(f64::from(n) / 50.0, f64::from(n * 7 % 50) / 50.0))).collect();
    let vaduz = at(47.1392, 9.5217);
    let nearest = map.nearest_by_road(&units, vaduz, Speed::LightsAndSirens, 1).expect("on a road");
    assert!(nearest.queries < 25, "{} of 50", nearest.queries);
}
