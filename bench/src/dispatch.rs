//! Dispatch on Manhattan: a recommendation among fleets of growing size, exact, against OSRM's table service on the same
//! pairs, against bare queries of the hierarchy, and against itself among ten units; the joint assignment against VROOM;
//! what preparing the map costs; positions through the real service.
//!
//! A recommendation is what the service computes for an incident: who may go, the exact drives of the closest, the units
//! that can't go with their reasons, and the sentence. One in three units is out of service.

use crate::{
    house::{Bench, Failure, anonymous_bytes, block_on},
    report::{Report, median},
};
use serde::Deserialize;
use shers_contract::{
    IncidentId, LatLon, Timestamp, UnitId,
    dispatch::{StatusChanged, UnitEvent, UnitProfile, UnitStatus},
    incident::Priority,
};
use shers_dispatch::{
    closest,
    gateway::{BuiltIn, EtaSource, Standing},
    model::{
        desk::{Recommendation, recommend},
        event::FleetEvent,
        fleet::{Demand, Fleet},
        joint::{Costs, assign, total, weight},
        unit::Unit,
    },
};
use shers_roads::{RoadMap, Speed};
use shers_runtime::Aggregate;
use std::{
    hint::black_box,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

/// Candidates told in a recommendation, excluded ones told, and the size up to which a fleet is gone through: as the
/// service has them by default.
const KEEP: usize = 5;
const MAX_EXCLUDED: usize = 20;
const LIST_ALL_UP_TO: usize = 500;
const STALE_MS: i64 = 1_800_000;
const NOW: Timestamp = Timestamp::from_ms(1_767_225_600_000);
/// Units OSRM is asked about in one call.
const TABLE: usize = 500;
const JOINT_UNITS: u32 = 100;
const JOINT_INCIDENTS: u32 = 20;

fn manhattan() -> Result<PathBuf, Failure> {
    let shared = std::env::var("SHERS_SHARED").unwrap_or_else(|_| "../shared".to_owned());
    let file = PathBuf::from(shared).join("maps/manhattan.osm.pbf");
    if file.exists() { Ok(file) } else { Err(format!("{} is missing; set SHERS_SHARED", file.display()).into()) }
}

/// The n-th place of a sequence that is spread evenly over all roads.
fn place(map: &RoadMap, n: u32) -> LatLon {
    let share = |k: f64| (f64::from(n) * k).fract();
    map.random_road_point(share(0.618_033_988_7), share(0.414_213_562_3))
}

/// A fleet with where it stands.
struct Stand {
    fleet: Fleet,
    source: BuiltIn,
    at: Vec<LatLon>,
}

fn unit(n: u32, at: LatLon) -> Result<(UnitId, Unit), Failure> {
    let unit_id = UnitId::new(format!("unit-{n:06}"))?;
    let profile: UnitProfile = serde_json::from_value(serde_json::json!({"unit_id": unit_id, "location": at}))?;
    let change = StatusChanged {
        unit_id: unit_id.clone(),
        previous: None,
        incident_id: None,
        hospital: None,
        by: "bench".into(),
        at: NOW,
        location: None,
        loaded_distance_m: None,
        reason: None,
    };
    let status = if n % 3 == 2 { UnitStatus::OutOfService } else { UnitStatus::Available };
    let unit = Unit::default()
        .evolve(&FleetEvent::Unit(UnitEvent::Registered(profile)), NOW)
        .evolve(&FleetEvent::Unit(UnitEvent::status(status, change)), NOW);
    Ok((unit_id, unit))
}

impl Stand {
    fn new(map: &Arc<RoadMap>, units: u32) -> Result<Self, Failure> {
        let mut stand = Self { fleet: Fleet::default(), source: BuiltIn::new(Arc::clone(map)), at: Vec::new() };
        for n in 0..units {
            let at = place(map, n + 10_000);
            let (id, unit) = unit(n, at)?;
            stand.fleet.see(&id, &unit);
            stand.source.stand(&id, stand.fleet.place_of(&id, NOW, STALE_MS));
            stand.at.push(at);
        }
        Ok(stand)
    }

    fn recommendation(&self, incident_id: &IncidentId, to: LatLon) -> Result<Recommendation, Failure> {
        let demand = Demand { needs: &[], incident_id, now: NOW, stale_ms: STALE_MS };
        let asked = (self.source.name(), &self.source as &dyn Standing);
        let (times, unfit) = closest(&self.fleet, asked, &demand, to, (KEEP, LIST_ALL_UP_TO))?;
        Ok(recommend(incident_id.clone(), times, &unfit, MAX_EXCLUDED, NOW))
    }

    /// Microseconds of a recommendation, the mean over the places.
    fn recommend_us(&self, places: &[LatLon], incident_id: &IncidentId) -> Result<f64, Failure> {
        let started = Instant::now();
        for to in places {
            black_box(self.recommendation(incident_id, *to)?);
        }
        Ok(started.elapsed().as_secs_f64() * 1e6 / places.len() as f64)
    }

    /// Whether the answer is the one that routing every unit gives.
    fn check(&self, map: &RoadMap, to: LatLon, incident_id: &IncidentId) -> Result<(), Failure> {
        let free = self.at.iter().zip(0_u32..).filter(|(_, n)| n % 3 != 2);
        let mut all: Vec<(f64, u32)> =
            free.filter_map(|(at, n)| Some((map.eta(*at, to, Speed::LightsAndSirens).ok()?.duration_s, n))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let wanted: Vec<String> = all.iter().take(KEEP).map(|(_, n)| format!("unit-{n:06}")).collect();
        let found = self.recommendation(incident_id, to)?;
        let found: Vec<String> = found.candidates.iter().map(|c| c.unit_id.to_string()).collect();
        if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}").into()) }
    }
}

#[derive(Deserialize)]
struct Table {
    durations: Vec<Vec<Option<f64>>>,
}

/// Microseconds that OSRM needs for the drives of all units to one place.
async fn osrm_us(client: &reqwest::Client, url: &str, from: &[LatLon], to: LatLon) -> Result<f64, Failure> {
    let started = Instant::now();
    for chunk in from.chunks(TABLE) {
        let all = std::iter::once(&to).chain(chunk);
        let coordinates: Vec<String> = all.map(|p| format!("{:.6},{:.6}", p.lon, p.lat)).collect();
        let sources: Vec<String> = (1..=chunk.len()).map(|n| n.to_string()).collect();
        let url =
            format!("{url}/table/v1/driving/{}?sources={}&destinations=0", coordinates.join(";"), sources.join(";"));
        let body = client.get(url).send().await?.error_for_status()?.bytes().await?;
        let table: Table = serde_json::from_slice(&body)?;
        if table.durations.len() != chunk.len() {
            return Err("OSRM left drives out".into());
        }
    }
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

/// All that is measured of dispatch.
pub fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let map = prepared(report)?;
    recommendations(bench, report, &map)?;
    jointly(bench, report, &map)?;
    crate::positions::run(bench, report, &map)
}

/// Reads and prepares the map, and says what that cost.
fn prepared(report: &mut Report) -> Result<Arc<RoadMap>, Failure> {
    let file = manhattan()?;
    let own = || anonymous_bytes(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    let (before, started) = (own(), Instant::now());
    let map = RoadMap::load(&file)?;
    let (took_s, bytes) = (started.elapsed().as_secs_f64(), own() - before);
    let stats = map.stats();
    let note = format!("{} junctions, {} arcs, two weightings", stats.junctions, stats.arcs);
    report.add("dispatch", "map of Manhattan, read and prepared", "s", None, &[took_s], Vec::new(), note.clone());
    report.add("dispatch", "map of Manhattan, memory", "MB", None, &[bytes / 1e6], Vec::new(), note);
    Ok(Arc::new(map))
}

const SIZES: [(u32, &str, &str); 4] = [
    (10, "recommendation among 10 units", "recommendation among 10 units against OSRM's table"),
    (100, "recommendation among 100 units", "recommendation among 100 units against OSRM's table"),
    (1_000, "recommendation among 1,000 units", "recommendation among 1,000 units against OSRM's table"),
    (10_000, "recommendation among 10,000 units", "recommendation among 10,000 units against OSRM's table"),
];

fn recommendations(bench: &Bench, report: &mut Report, map: &Arc<RoadMap>) -> Result<(), Failure> {
    let incident_id = IncidentId::new("bench")?;
    let places: Vec<LatLon> = (0..bench.pick(20, 100)).map(|n| place(map, n)).collect();
    let stands: Vec<Stand> = SIZES.iter().map(|(units, ..)| Stand::new(map, *units)).collect::<Result<_, _>>()?;
    let crowd = Stand::new(map, 100_000)?;
    let mut void = Vec::new();
    for stand in stands.iter().chain([&crowd]) {
        for to in places.iter().take(bench.pick(1, 3)) {
            void.extend(stand.check(map, *to, &incident_id).err().map(|error| error.to_string()));
        }
    }
    let url = std::env::var("SHERS_BENCH_OSRM_URL").map_err(|_| "SHERS_BENCH_OSRM_URL names no OSRM server")?;
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    let mut ours: Vec<Vec<f64>> = vec![Vec::new(); SIZES.len()];
    let mut against: Vec<Vec<f64>> = vec![Vec::new(); SIZES.len()];
    let (mut crowded, mut grows, mut exact, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        for (index, stand) in stands.iter().enumerate() {
            let us = stand.recommend_us(&places, &incident_id)?;
            let mut theirs = Vec::new();
            for to in places.iter().take(bench.pick(2, 5)) {
                theirs.push(block_on(osrm_us(&client, &url, &stand.at, *to))?);
            }
            if let (Some(ours), Some(against)) = (ours.get_mut(index), against.get_mut(index)) {
                ours.push(us);
                against.push(us / median(&theirs));
            }
        }
        let many_us = crowd.recommend_us(&places, &incident_id)?;
        let of = |index: usize| ours.get(index).and_then(|list| list.last()).copied().unwrap_or(f64::NAN);
        let bare_us = bare_queries_us(map, 1_000)?;
        crowded.push(many_us);
        grows.push(many_us / of(0));
        exact.push(of(2) / bare_us);
        bare.push(bare_us);
    }
    for (((_, name, peer), us), ratios) in SIZES.iter().zip(&ours).zip(&against) {
        report.add("dispatch", name, "µs", None, us, void.clone(), String::new());
        let note = "HTTP on loopback and JSON included, as an adapter pays them".to_owned();
        report.add("dispatch", peer, "times its time", None, ratios, void.clone(), note);
    }
    let note = format!("{:.0} µs among 100,000", median(&crowded));
    report.add("dispatch", "100,000 units against 10", "times", Some((10.0, 6.0)), &grows, void.clone(), note);
    let note = format!("1,000 bare queries take {:.0} µs", median(&bare));
    report.add(
        "dispatch",
        "1,000 units, exact, against 1,000 bare hierarchy queries",
        "times",
        Some((0.2, 0.02)),
        &exact,
        void,
        note,
    );
    Ok(())
}

/// Microseconds of so many queries between junctions, the hierarchy alone.
fn bare_queries_us(map: &RoadMap, count: usize) -> Result<f64, Failure> {
    let junctions = map.stats().junctions;
    let to = junctions / 2;
    let started = Instant::now();
    for n in 0..count {
        let from = n.wrapping_mul(7_919) % junctions;
        map.between_junctions_ms(from, to, Speed::LightsAndSirens).ok_or("a junction that leads nowhere")?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

/// The joint assignment of a hundred units to twenty waiting incidents, against VROOM on the same times.
fn jointly(bench: &Bench, report: &mut Report, map: &RoadMap) -> Result<(), Failure> {
    let python = std::env::var("SHERS_BENCH_VROOM").map_err(|_| "SHERS_BENCH_VROOM names no Python with vroom")?;
    let (mut ratios, mut void, mut us, mut costs_told) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..u32::try_from(bench.rounds())? {
        let drives_s = drives(map, round)?;
        let weights: Vec<i64> =
            (0..JOINT_INCIDENTS).filter_map(|n| Priority::try_from((n % 4) as u8 + 1).ok()).map(weight).collect();
        let costs: Costs = drives_s
            .iter()
            .zip(&weights)
            .map(|(row, weight)| row.iter().map(|seconds| Some(i64::from(*seconds) * weight)).collect())
            .collect();
        let repeats = 50;
        let started = Instant::now();
        for _ in 0..repeats {
            black_box(assign(&costs));
        }
        let ours_us = started.elapsed().as_secs_f64() * 1e6 / f64::from(repeats);
        let ours = total(&costs, &assign(&costs));
        let told = vroom(&python, &drives_s, &weights)?;
        for (level, ms, cost, served) in &told {
            if *served == JOINT_INCIDENTS as usize && *cost < ours {
                void.push(format!("VROOM's cost at level {level} is {cost}, ours {ours}"));
            }
            costs_told.push(format!("{level}: {cost}/{ours} in {ms:.1} ms"));
        }
        // The quickest level that finds a cost as low as ours; if none does, the quickest at all.
        let as_good = told.iter().filter(|(.., cost, served)| *cost <= ours && *served == JOINT_INCIDENTS as usize);
        let quickest = as_good.map(|(_, ms, ..)| *ms).fold(f64::INFINITY, f64::min);
        let quickest =
            if quickest.is_finite() { quickest } else { told.iter().map(|t| t.1).fold(f64::INFINITY, f64::min) };
        ratios.push(quickest * 1e3 / ours_us);
        us.push(ours_us);
    }
    let note = format!("{:.0} µs; VROOM by level, cost of theirs/ours: {}", median(&us), costs_told.join(", "));
    report.add(
        "dispatch",
        "100 units × 20 waiting, times faster than VROOM",
        "times",
        Some((5.0, 20.0)),
        &ratios,
        void,
        note,
    );
    Ok(())
}

fn drives(map: &RoadMap, round: u32) -> Result<Vec<Vec<u32>>, Failure> {
    let first = 500_000 + round * 1_000;
    let seconds = |from: LatLon, to: LatLon| -> Result<u32, Failure> {
        let eta = map.eta(from, to, Speed::LightsAndSirens)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a drive in a city")]
        Ok(eta.duration_s.ceil() as u32)
    };
    (0..JOINT_INCIDENTS)
        .map(|i| {
            let to = place(map, first + JOINT_UNITS + i);
            (0..JOINT_UNITS).map(|u| seconds(place(map, first + u), to)).collect()
        })
        .collect()
}

/// Level, milliseconds, cost and how many were served.
type Told = (u32, f64, i64, usize);

fn vroom(python: &str, drives_s: &[Vec<u32>], weights: &[i64]) -> Result<Vec<Told>, Failure> {
    let mut child =
        Command::new(python).arg("bench/vroom_peer.py").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let asked = serde_json::json!({"drives_s": drives_s, "weights": weights, "levels": [0, 1, 3, 5]});
    child.stdin.take().ok_or("no input")?.write_all(asked.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err("VROOM failed; its message is above".into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut next = || words.next().ok_or("VROOM's line is short");
            Ok((next()?.parse()?, next()?.parse()?, next()?.parse()?, next()?.parse()?))
        })
        .collect()
}
