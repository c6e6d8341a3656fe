//! temp
use shers_roads::*;
use std::time::Instant;
fn main() {
    for f in std::env::args().skip(1) {
        let t = Instant::now();
        let m = if f == "-" { RoadMap::built_in() } else { RoadMap::load(&f) };
        let m = match m {
            Ok(m) => m,
            Err(e) => {
                println!("{f}: {e}");
                continue;
            }
        };
        println!("{} load {:?} {:?}", m.name(), t.elapsed(), m.stats());
        println!("bounds {:?}", m.bounds());
        for f in m.facilities() {
            println!("  {:?} {} {:?}", f.kind, f.name, f.location);
        }
        let t = Instant::now();
        println!("display {} bytes {:?}", m.roads_for_display().len(), t.elapsed());
        let mut s = 1u64;
        let mut r = || {
            s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (s >> 11) as f64 / (1u64 << 53) as f64
        };
        let pts: Vec<_> = (0..2000).map(|_| m.random_road_point(r(), r())).collect();
        let t = Instant::now();
        let mut sum = 0.0;
        let mut dist = 0.0;
        for p in pts.windows(2) {
            let e = m.eta(p[0], p[1], Speed::LightsAndSirens).unwrap();
            sum += e.duration_s;
            dist += e.distance_m;
        }
        println!("eta {:?} mean {:.0}s {:.0}m", t.elapsed() / 1999, sum / 1999.0, dist / 1999.0);
        let t = Instant::now();
        for p in pts.windows(2) {
            m.route(p[0], p[1], Speed::Normal).unwrap();
        }
        println!("route {:?}", t.elapsed() / 1999);
        let t = Instant::now();
        for p in &pts {
            m.nearest_road(*p).unwrap();
        }
        println!("snap {:?}", t.elapsed() / 2000);
        let t = Instant::now();
        let mut q = 0;
        for c in 0..20 {
            let src: Vec<_> = pts[c * 50..c * 50 + 50].iter().copied().enumerate().collect();
            q += m.nearest_by_road(&src, pts[1500 + c], Speed::LightsAndSirens, 1).unwrap().queries;
        }
        println!("nearest1of50 {:?} queries {}/50", t.elapsed() / 20, q as f64 / 20.0);
    }
}
