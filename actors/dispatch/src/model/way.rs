//! How far a position is from a line on the map.

use shers_contract::LatLon;

/// Metres from a position to the nearest point of a line, at the scale of a city: degrees are taken as a plane around
/// the position. Infinite for a line without points.
#[must_use]
pub fn distance_m(position: LatLon, line: &[LatLon]) -> f64 {
    let shrink = position.lat.to_radians().cos();
    let flat = |p: &LatLon| ((p.lon - position.lon) * shrink, p.lat - position.lat);
    let nearest = |a: &LatLon, b: &LatLon| {
        let ((ax, ay), (bx, by)) = (flat(a), flat(b));
        let (dx, dy) = (bx - ax, by - ay);
        let square = dx * dx + dy * dy;
        let share = if square > 0.0 { (-(ax * dx + ay * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
        let at = LatLon { lat: a.lat + (b.lat - a.lat) * share, lon: a.lon + (b.lon - a.lon) * share };
        position.distance_m(&at)
    };
    let alone = line.first().map_or(f64::INFINITY, |first| first.distance_m(&position));
    line.iter().zip(line.iter().skip(1)).map(|(a, b)| nearest(a, b)).fold(alone, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> LatLon {
        LatLon::new(lat, lon).expect("on earth")
    }

    #[test]
    fn the_distance_is_to_the_nearest_stretch_of_the_line() {
        let line = [at(47.0, 9.5), at(47.0, 9.6), at(47.1, 9.6)];
        assert!(distance_m(at(47.0, 9.55), &line) < 0.1);
        let beside = distance_m(at(47.01, 9.55), &line);
        assert!((beside - 1_112.0).abs() < 5.0, "{beside}");
        let behind = distance_m(at(47.0, 9.49), &line);
        assert!((behind - at(47.0, 9.49).distance_m(&line[0])).abs() < 0.1);
        assert!(distance_m(at(47.0, 9.5), &[]).is_infinite());
        assert!(distance_m(at(47.0, 9.5), &[at(47.0, 9.5)]) < 0.1);
    }
}
