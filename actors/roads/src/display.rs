//! Encodes the roads for drawing: few long polylines, simplified, as small differences. The format stands at
//! [`crate::RoadMap::roads_for_display`].

use crate::network::{Edge, Network};
use shers_contract::LatLon;
use std::collections::HashMap;

/// First bytes of the encoding.
const MAGIC: &[u8; 5] = b"SHRD1";
/// How far a simplified shape may be from the true one.
const TOLERANCE_M: f64 = 3.0;
/// Metres in a degree of latitude.
const METRES_PER_DEGREE: f64 = 111_195.0;

/// All roads of a network.
pub(crate) fn encode(network: &Network, origin: LatLon) -> Vec<u8> {
    let mut lines = polylines(network);
    lines.sort_by_key(|(class, _)| *class);
    let shapes: Vec<(u8, Vec<(i64, i64)>)> = lines
        .into_iter()
        .map(|(class, shape)| {
            let mut cells: Vec<(i64, i64)> = simplify(&shape).into_iter().map(cell).collect();
            cells.dedup();
            (class, cells)
        })
        .filter(|(_, cells)| cells.len() > 1)
        .collect();
    let mut bytes = MAGIC.to_vec();
    let mut pen = cell(origin);
    put_zigzag(&mut bytes, pen.0);
    put_zigzag(&mut bytes, pen.1);
    put_varint(&mut bytes, shapes.len() as u64);
    for (class, cells) in shapes {
        bytes.push(class);
        put_varint(&mut bytes, cells.len() as u64);
        for point in cells {
            put_zigzag(&mut bytes, point.0 - pen.0);
            put_zigzag(&mut bytes, point.1 - pen.1);
            pen = point;
        }
    }
    bytes
}

/// In 1e-5 degrees, about a metre.
fn cell(point: LatLon) -> (i64, i64) {
    ((point.lat * 1e5).round() as i64, (point.lon * 1e5).round() as i64)
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_zigzag(bytes: &mut Vec<u8>, number: i64) {
    put_varint(bytes, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Joins edges of one class end to end, as far as they go, so that a street is one line and not one per block.
fn polylines(network: &Network) -> Vec<(u8, Vec<LatLon>)> {
    let mut at_vertex: HashMap<(u32, u8), Vec<u32>> = HashMap::new();
    for (number, edge) in (0_u32..).zip(network.edges()) {
        for end in [edge.tail, edge.head] {
            at_vertex.entry((end, edge.class().code())).or_default().push(number);
        }
    }
    let mut drawn = vec![false; network.edges().len()];
    let mut lines = Vec::new();
    for (number, edge) in (0_u32..).zip(network.edges()) {
        if !take(&mut drawn, number) {
            continue;
        }
        let class = edge.class().code();
        let mut line: Vec<LatLon> = network.shape(edge).collect();
        follow(network, &at_vertex, &mut drawn, class, edge.head, &mut line);
        line.reverse();
        follow(network, &at_vertex, &mut drawn, class, edge.tail, &mut line);
        lines.push((class, line));
    }
    lines
}

/// Lengthens a line from its last vertex on.
fn follow(
    network: &Network,
    at_vertex: &HashMap<(u32, u8), Vec<u32>>,
    drawn: &mut [bool],
    class: u8,
    mut end: u32,
    line: &mut Vec<LatLon>,
) {
    while let Some((edge, starts_here)) = next_edge(network, at_vertex, drawn, class, end) {
        if starts_here {
            line.extend(network.shape(edge).skip(1));
            end = edge.head;
        } else {
            line.extend(network.shape(edge).rev().skip(1));
            end = edge.tail;
        }
    }
}

fn next_edge<'n>(
    network: &'n Network,
    at_vertex: &HashMap<(u32, u8), Vec<u32>>,
    drawn: &mut [bool],
    class: u8,
    end: u32,
) -> Option<(&'n Edge, bool)> {
    let candidates = at_vertex.get(&(end, class))?;
    let number = *candidates.iter().find(|number| take(drawn, **number))?;
    let edge = network.edge(number)?;
    Some((edge, edge.tail == end))
}

fn take(drawn: &mut [bool], number: u32) -> bool {
    drawn.get_mut(number as usize).is_some_and(|mark| !std::mem::replace(mark, true))
}

/// Leaves out points that are within the tolerance of the line through the others (Douglas and Peucker), without
/// recursion.
fn simplify(shape: &[LatLon]) -> Vec<LatLon> {
    let mut keep = vec![false; shape.len()];
    if let Some(first) = keep.first_mut() {
        *first = true;
    }
    if let Some(last) = keep.last_mut() {
        *last = true;
    }
    let mut open = vec![(0, shape.len().saturating_sub(1))];
    while let Some((first, last)) = open.pop() {
        if let Some(farthest) = farthest(shape, first, last) {
            if let Some(mark) = keep.get_mut(farthest) {
                *mark = true;
            }
            open.extend([(first, farthest), (farthest, last)]);
        }
    }
    shape.iter().zip(keep).filter(|(_, keep)| *keep).map(|(point, _)| *point).collect()
}

/// The point between two others that is farthest from the line through them, if beyond the tolerance.
fn farthest(shape: &[LatLon], first: usize, last: usize) -> Option<usize> {
    let (a, b) = (shape.get(first)?, shape.get(last)?);
    let inner = shape.get(first + 1..last)?;
    let distances = inner.iter().map(|point| distance_m(*point, *a, *b));
    let (offset, distance_m) = distances.enumerate().max_by(|(_, d), (_, e)| d.total_cmp(e))?;
    (distance_m > TOLERANCE_M).then_some(first + 1 + offset)
}

/// From a point to a segment, on a plane: good for the length of a street.
fn distance_m(point: LatLon, a: LatLon, b: LatLon) -> f64 {
    let shrink = point.lat.to_radians().cos();
    let flat = |p: LatLon| ((p.lon - a.lon) * shrink * METRES_PER_DEGREE, (p.lat - a.lat) * METRES_PER_DEGREE);
    let ((px, py), (bx, by)) = (flat(point), flat(b));
    let square = bx * bx + by * by;
    let share = if square > 0.0 { ((px * bx + py * by) / square).clamp(0.0, 1.0) } else { 0.0 };
    (px - bx * share).hypot(py - by * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RoadMap;

    /// Reads the encoding as its description says.
    fn decode(bytes: &[u8]) -> Vec<(u8, Vec<(i64, i64)>)> {
        let mut rest = bytes.strip_prefix(MAGIC).expect("begins with SHRD1").iter().copied();
        fn varint(rest: &mut impl Iterator<Item = u8>) -> u64 {
            let (mut number, mut shift) = (0, 0);
            loop {
                let byte = rest.next().expect("more");
                number |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return number;
                }
            }
        }
        fn zigzag(rest: &mut impl Iterator<Item = u8>) -> i64 {
            let number = varint(rest);
            (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
        }
        let mut pen = (zigzag(&mut rest), zigzag(&mut rest));
        let lines = (0..varint(&mut rest))
            .map(|_| {
                let class = rest.next().expect("a class");
                let points = (0..varint(&mut rest)).map(|_| {
                    pen = (pen.0 + zigzag(&mut rest), pen.1 + zigzag(&mut rest));
                    pen
                });
                (class, points.collect())
            })
            .collect();
        assert_eq!(rest.next(), None, "nothing is left over");
        lines
    }

    fn length_km(lines: &[(u8, Vec<(i64, i64)>)]) -> f64 {
        let degrees = |(lat, lon): (i64, i64)| LatLon { lat: lat as f64 / 1e5, lon: lon as f64 / 1e5 };
        let spans = lines.iter().flat_map(|(_, line)| line.windows(2));
        spans.map(|pair| degrees(pair[0]).distance_m(&degrees(pair[1]))).sum::<f64>() / 1_000.0
    }

    #[test]
    fn what_is_encoded_can_be_decoded_and_is_about_as_long_as_the_roads() {
        let map = RoadMap::built_in().expect("the built-in map loads");
        let lines = decode(map.roads_for_display());
        assert!(lines.iter().all(|(class, line)| *class <= 9 && line.len() > 1));
        assert!(lines.is_sorted_by_key(|(class, _)| *class));
        let share = length_km(&lines) / map.stats().length_km;
        assert!((0.97..1.0).contains(&share), "{share}");
        let (low, high) = (map.bounds().south_west, map.bounds().north_east);
        for (lat, lon) in lines.iter().flat_map(|(_, line)| line) {
            let (lat, lon) = (*lat as f64 / 1e5, *lon as f64 / 1e5);
            assert!(
                (low.lat - 1e-5..high.lat + 1e-5).contains(&lat) && (low.lon - 1e-5..high.lon + 1e-5).contains(&lon)
            );
        }
    }

    #[test]
    fn numbers_take_few_bytes() {
        for (number, bytes) in [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (-64, vec![127]), (64, vec![128, 1])] {
            let mut got = Vec::new();
            put_zigzag(&mut got, number);
            assert_eq!(got, bytes, "{number}");
        }
    }

    #[test]
    fn simplifying_keeps_corners_and_drops_what_is_straight() {
        let point = |lat: f64, lon: f64| LatLon { lat, lon };
        let bend = [point(0.0, 0.0), point(0.0, 0.001), point(0.0, 0.002), point(0.001, 0.002)];
        assert_eq!(simplify(&bend), [bend[0], bend[2], bend[3]]);
        assert_eq!(simplify(&bend[..1]), bend[..1]);
        let ring = [bend[0], bend[2], bend[3], bend[0]];
        assert_eq!(simplify(&ring), ring);
    }
}
