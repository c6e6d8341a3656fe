//! Memory per open incident and per unit in the real server: resident memory (no files) of a freshly
//! started server with 10,000 of them, less that of one without. Also how long that start takes.

use crate::{
    house::{Bench, Failure, TOKEN, block_on, counter, place, register_patients, send_all},
    http::{Connection, request},
    readings,
    report::{Report, median},
};
use shers_runtime::clock::system_now;
use std::{
    path::Path,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(240);

/// Fills a data directory through the public interface.
fn fill(bench: &Bench, directory: &Path, patients: usize, incidents: usize, units: usize) -> Result<(), Failure> {
    let house = bench.serve(directory)?;
    block_on(register_patients(house.addr, patients))?;
    let now = system_now();
    let reading = |n: usize| if n < incidents { readings::emergency(n, now) } else { readings::normal(n, now) };
    let all: Vec<String> = (0..patients).map(reading).collect();
    let posts =
        all.chunks(100).map(|chunk| request("POST", "/api/v1/vitals", TOKEN, &format!("[{}]", chunk.join(","))));
    block_on(send_all(house.addr, posts.collect(), 4))?;
    let registered = (0..units).map(|n| {
        let (lat, lon) = place(n);
        let body = format!(
            r#"{{"unit_id":"u-{n}","kind":"ambulance","capabilities":["als","bls"],"crew_level":"als","location":{{"lat":{lat:.5},"lon":{lon:.5}}}}}"#
        );
        request("POST", "/api/v1/units", TOKEN, &body)
    });
    block_on(send_all(house.addr, registered.collect(), 16))?;
    house.until_quiet(LIMIT)?;
    let opened = block_on(async {
        let mut connection = Connection::open(house.addr).await?;
        counter(&mut connection, "shers_incidents_opened_total").await
    })?;
    if opened < incidents as f64 {
        return Err(format!("{opened} of {incidents} incidents were opened").into());
    }
    Ok(())
}

/// Memory of a fresh start, and its time in seconds.
fn start(bench: &Bench, directory: &Path) -> Result<(f64, f64), Failure> {
    let started = Instant::now();
    let house = bench.serve(directory)?;
    let took = started.elapsed().as_secs_f64();
    house.until_quiet(LIMIT)?;
    Ok((house.anonymous_bytes(), took))
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let count: usize = bench.pick(1_000, 10_000);
    let (none, incidents, units) = (bench.directory("none")?, bench.directory("incidents")?, bench.directory("units")?);
    fill(bench, &none, count, 0, 0)?;
    fill(bench, &incidents, count, count, 0)?;
    fill(bench, &units, count, 0, count)?;
    let (mut per_incident, mut per_unit, mut starts, mut empty) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let (base, empty_s) = start(bench, &none)?;
        let (with_incidents, took) = start(bench, &incidents)?;
        let (with_units, _) = start(bench, &units)?;
        per_incident.push((with_incidents - base) / count as f64);
        per_unit.push((with_units - base) / count as f64);
        starts.push(took);
        empty.push(empty_s);
    }
    let note = format!(
        "{count} open incidents waiting for a unit, after a restart, against the same {count} patients without"
    );
    report.add("resident", "memory per open incident", "bytes", None, &per_incident, Vec::new(), note);
    let note = format!("{count} units, after a restart");
    report.add("resident", "memory per unit", "bytes", None, &per_unit, Vec::new(), note);
    let note = format!("until ready, {count} open incidents; {:.2} s with none", median(&empty));
    report.add("resident", "start of the real server", "s", None, &starts, Vec::new(), note);
    Ok(())
}
