//! The adapters against real engines on the same map as the built-in router, and Google's against a stand-in that reads
//! requests with Google's own types. `scripts/test dispatch` starts them and says where they listen, and fails when a
//! comparison is missing; without them the tests say so and end.

use shers_contract::LatLon;
use shers_dispatch::gateway::{
    BuiltIn, Driving, EtaSource, GOOGLE_MAX_ELEMENTS, Google, Osrm, Remote, RemoteLimits, Travel, Valhalla,
};
use shers_roads::RoadMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const LIMITS: RemoteLimits = RemoteLimits { chunk: 45, concurrent: 2, max_places: 1_000, siren_factor: 1.0 };
/// Units around each incident, and incidents.
const UNITS: u32 = 60;
const INCIDENTS: u32 = 10;

fn by_place(ranking: Vec<(usize, Travel)>) -> BTreeMap<usize, Travel> {
    ranking.into_iter().collect()
}

/// Correlation of two lists, and the median of their ratios.
fn compared(pairs: &[(f64, f64)]) -> (f64, f64) {
    let n = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (a, b) = (mean(|p| p.0), mean(|p| p.1));
    let covariance = pairs.iter().map(|p| (p.0 - a) * (p.1 - b)).sum::<f64>();
    let spread = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(|p| of(p).powi(2)).sum::<f64>().sqrt();
    let mut ratios: Vec<f64> = pairs.iter().filter(|p| p.1 > 0.0).map(|p| p.0 / p.1).collect();
    ratios.sort_by(f64::total_cmp);
    (covariance / (spread(&|p| p.0 - a) * spread(&|p| p.1 - b)), ratios[ratios.len() / 2])
}

async fn check(map: &Arc<RoadMap>, sea: LatLon, source: &dyn EtaSource) {
    let built_in = BuiltIn::new(Arc::clone(map));
    let point = |n: u32| {
        let fraction = |k: f64| (f64::from(n) * k).fract();
        map.random_road_point(fraction(0.618_034), fraction(0.414_214))
    };
    let (mut times, mut lengths, mut routes) = (Vec::new(), Vec::new(), 0);
    for incident in 0..INCIDENTS {
        let first = incident * (UNITS + 1);
        let units: Vec<LatLon> = (1..=UNITS).map(|n| point(first + n)).collect();
        let theirs = source.rank_from(&units, point(first), Driving::Normal, units.len()).await.expect("a table");
        let ours = built_in.rank_from(&units, point(first), Driving::Normal, units.len()).await.expect("a table");
        assert_eq!((theirs.source, ours.source), (source.name(), "built-in"));
        let theirs = by_place(theirs.best);
        for (index, ours) in by_place(ours.best) {
            let Some(theirs) = theirs.get(&index) else { continue };
            times.push((f64::from(ours.duration_s), f64::from(theirs.duration_s)));
            lengths.push((f64::from(ours.distance_m), f64::from(theirs.distance_m)));
        }
        // A route and the table tell the same, where the engine knows a drive from the first unit at all.
        let Some(table) = theirs.get(&0) else { continue };
        let route = source.travel(units[0], point(first), Driving::Normal).await.expect("a route").travel;
        let differ = f64::from(route.duration_s.abs_diff(table.duration_s));
        assert!(differ <= 30.0 + 0.1 * f64::from(table.duration_s), "route {route:?}, table {table:?}");
        routes += 1;
    }
    let ((time_r, time_ratio), (length_r, length_ratio)) = (compared(&times), compared(&lengths));
    println!(
        "note: built-in against {} on {} drives in {}: times correlate {time_r:.3}, median ratio {time_ratio:.2}; \
         lengths correlate {length_r:.3}, median ratio {length_ratio:.2}",
        source.name(),
        times.len(),
        map.name(),
    );
    assert!(routes * 2 > INCIDENTS, "only {routes} routes could be compared");
    let asked = (UNITS * INCIDENTS) as usize;
    assert!(times.len() * 100 >= asked * 95, "{} of {asked} drives were found by both", times.len());
    // Places are drawn from all roads that an ambulance may drive. Where many are forest tracks and private ways, as around
    // Heidelberg, engines that shut them out snap elsewhere, and times scatter.
    assert!(time_r > 0.75 && length_r > 0.9, "times {time_r}, lengths {length_r}");
    assert!((0.6..1.6).contains(&time_ratio) && (0.9..1.1).contains(&length_ratio), "{time_ratio} {length_ratio}");
    let ranking = source.rank_from(&[sea, point(1)], point(0), Driving::Normal, 2).await;
    match ranking {
        Ok(ranking) => assert_eq!(ranking.best.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]),
        Err(error) => println!("note: {}, asked about a unit in the sea: {error}", source.name()),
    }
}

#[test]
fn real_engines_and_the_built_in_router_tell_similar_times_on_one_map() {
    let [file, osrm, valhalla] =
        ["SHERS_TEST_MAP", "SHERS_TEST_OSRM_URL", "SHERS_TEST_VALHALLA_URL"].map(|name| std::env::var(name).ok());
    let (Some(file), Some(osrm), Some(valhalla)) = (file, osrm, valhalla) else {
        println!("left out: no road engine; scripts/test dispatch starts them");
        return;
    };
    let (map, limit) = (Arc::new(RoadMap::load(file).expect("a map")), Duration::from_secs(60));
    // Off the coast, or, inland, where the map ends.
    let south = map.bounds().south_west;
    let sea = LatLon::new(south.lat - 0.2, south.lon - 0.2).expect("valid");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let source = Remote::new(Osrm::new(&osrm, limit, 1_000.0).expect("a client"), LIMITS);
    runtime.block_on(check(&map, sea, &source));
    let source = Remote::new(Valhalla::new(&valhalla, limit, 1_000).expect("a client"), LIMITS);
    runtime.block_on(check(&map, sea, &source));
}

#[test]
fn googles_own_types_read_every_request_and_their_answers_are_understood() {
    let Ok(url) = std::env::var("SHERS_TEST_GOOGLE_URL") else {
        println!("left out: no stand-in for Google; scripts/test dispatch starts it");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let limits = RemoteLimits { chunk: GOOGLE_MAX_ELEMENTS, ..LIMITS };
        let google = || Google::new(&url, "a-key".into(), Duration::from_secs(60)).expect("a client");
        let source = Remote::new(google(), limits);
        let place = |n: u32| LatLon::new(40.7 + f64::from(n) / 10_000.0, -74.0).expect("valid");
        let mut units: Vec<LatLon> = (1..700).map(place).collect();
        units.push(LatLon::new(39.0, -74.0).expect("valid"));
        let ranking = source.rank_from(&units, place(0), Driving::Normal, 3).await.expect("an answer");
        assert_eq!(ranking.best.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(ranking.unreachable.len(), 1, "the one in the water");
        let metres = place(1).distance_m(&place(0));
        let travel = ranking.best[0].1;
        assert!((f64::from(travel.distance_m) - metres).abs() < 2.0 && travel.duration_s == 2, "{travel:?}");
        let hospitals = source.rank_to(place(0), &units[..20], Driving::Normal, 20).await.expect("an answer");
        assert_eq!(hospitals.best.len(), 20);
        let here = source.travel(place(0), place(0), Driving::Normal).await.expect("zeros are left out").travel;
        assert_eq!((here.duration_s, here.distance_m), (0, 0));
        // More than Google allows in one call is refused by the stand-in, and so by the adapter.
        let many = Remote::new(google(), RemoteLimits { chunk: 700, ..LIMITS });
        let refused = many.rank_from(&units, place(0), Driving::Normal, 3).await.expect_err("too many");
        assert!(refused.to_string().contains("HTTP 400"), "{refused}");
        println!("note: google's types read every request of {} places", units.len());
    });
}
