//! The adapters against real engines on the same map as the built-in router. `scripts/test dispatch` starts
//! them and says where they listen; without them the test says so and ends.

use shers_contract::LatLon;
use shers_dispatch::gateway::{BuiltIn, Driving, EtaSource, Osrm, Remote, RemoteLimits, Travel, Valhalla};
use shers_roads::RoadMap;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const LIMITS: RemoteLimits = RemoteLimits { chunk: 45, concurrent: 2, max_places: 1_000, siren_factor: 1.0 };
/// Units around each incident, and incidents.
const UNITS: u32 = 60;
const INCIDENTS: u32 = 10;

fn map() -> Option<RoadMap> {
    let shared = std::env::var("SHERS_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let file = shared.join("maps/manhattan.osm.pbf");
    file.exists().then(|| RoadMap::load(file).expect("a map"))
}

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

async fn check(map: &Arc<RoadMap>, source: &dyn EtaSource) {
    let built_in = BuiltIn::new(Arc::clone(map));
    let point = |n: u32| {
        let fraction = |k: f64| (f64::from(n) * k).fract();
        map.random_road_point(fraction(0.618_034), fraction(0.414_214))
    };
    let (mut times, mut lengths) = (Vec::new(), Vec::new());
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
        let (from, to) = (units[0], point(first));
        let route = source.travel(from, to, Driving::Normal).await.expect("a route").travel;
        let table = theirs.get(&0).expect("a drive");
        let differ = f64::from(route.duration_s.abs_diff(table.duration_s));
        assert!(differ <= 30.0 + 0.1 * f64::from(table.duration_s), "route {route:?}, table {table:?}");
    }
    let ((time_r, time_ratio), (length_r, length_ratio)) = (compared(&times), compared(&lengths));
    println!(
        "note: built-in against {} on {} drives in Manhattan: times correlate {time_r:.3}, median ratio {time_ratio:.2}; \
         lengths correlate {length_r:.3}, median ratio {length_ratio:.2}",
        source.name(),
        times.len(),
    );
    let asked = (UNITS * INCIDENTS) as usize;
    assert!(times.len() * 100 >= asked * 97, "{} of {asked} drives were found by both", times.len());
    assert!(time_r > 0.85 && length_r > 0.9, "times {time_r}, lengths {length_r}");
    assert!((0.6..1.6).contains(&time_ratio) && (0.9..1.1).contains(&length_ratio), "{time_ratio} {length_ratio}");
    let sea = LatLon::new(40.45, -73.6).expect("valid");
    let ranking = source.rank_from(&[sea, point(1)], point(0), Driving::Normal, 2).await;
    match ranking {
        Ok(ranking) => assert_eq!(ranking.best.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]),
        Err(error) => println!("note: {}, asked about a unit in the sea: {error}", source.name()),
    }
}

#[test]
fn real_engines_and_the_built_in_router_tell_similar_times_on_one_map() {
    let urls = ["SHERS_TEST_OSRM_URL", "SHERS_TEST_VALHALLA_URL"].map(|name| std::env::var(name).ok());
    if urls.iter().all(Option::is_none) {
        println!("left out: no road engine; scripts/test dispatch starts them");
        return;
    }
    let Some(map) = map() else {
        println!("left out: the map of Manhattan is missing; SHERS_SHARED names the directory of development data");
        return;
    };
    let (map, limit) = (Arc::new(map), Duration::from_secs(10));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let [osrm, valhalla] = urls;
    if let Some(url) = osrm {
        let source = Remote::new(Osrm::new(&url, limit, 1_000.0).expect("a client"), LIMITS);
        runtime.block_on(check(&map, &source));
    }
    if let Some(url) = valhalla {
        let source = Remote::new(Valhalla::new(&url, limit, 1_000).expect("a client"), LIMITS);
        runtime.block_on(check(&map, &source));
    }
}
