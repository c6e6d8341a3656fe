//! What an emergency costs the server: processor time of the whole process, all services and threads,
//! kernel included.

use crate::{
    house::{Bench, Failure, TOKEN, block_on, counter, register_patients, send_all},
    http::{Connection, request},
    readings,
    report::{Report, median},
};
use shers_runtime::clock::system_now;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);

/// Processor time per emergency in microseconds: until every incident is opened, and until all is quiet.
fn round(bench: &Bench, emergencies: usize, per_post: usize) -> Result<(f64, f64), Failure> {
    let house = bench.serve(&bench.directory("cost")?)?;
    block_on(register_patients(house.addr, emergencies))?;
    house.until_quiet(LIMIT)?;
    let now = system_now();
    let all: Vec<String> = (0..emergencies).map(|n| readings::emergency(n, now)).collect();
    let requests = all.chunks(per_post).map(|chunk| {
        let body = if let [one] = chunk { one.clone() } else { format!("[{}]", chunk.join(",")) };
        request("POST", "/api/v1/vitals", TOKEN, &body)
    });
    let requests = requests.collect();
    let before = house.cpu_us();
    block_on(send_all(house.addr, requests, 32))?;
    let started = Instant::now();
    block_on(async {
        let mut connection = Connection::open(house.addr).await?;
        loop {
            let opened = counter(&mut connection, "shers_incidents_opened_total").await?;
            if opened > emergencies as f64 {
                return Err("more incidents than emergencies".into());
            }
            if opened >= emergencies as f64 {
                return Ok::<_, Failure>(());
            }
            if started.elapsed() > LIMIT {
                return Err(format!("{opened} of {emergencies} incidents were opened").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })?;
    let opened = house.cpu_us() - before;
    house.until_quiet(LIMIT)?;
    let quiet = house.cpu_us() - before;
    Ok((opened / emergencies as f64, quiet / emergencies as f64))
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let emergencies = bench.pick(1_000, 5_000);
    let (mut single, mut batch, mut whole, mut void) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        match round(bench, emergencies, 1) {
            Ok((opened, quiet)) => {
                single.push(opened);
                whole.push(quiet);
            }
            Err(error) => void.push(error.to_string()),
        }
        match round(bench, emergencies, 100) {
            Ok((opened, _)) => batch.push(opened),
            Err(error) => void.push(error.to_string()),
        }
    }
    let note = format!(
        "{emergencies} patients, one POST each; user and system time of the process, all eight services at work, from the first POST \
         until the last incident is opened; {:.0} us until everything that follows (unit search, notification, read models) is done",
        median(&whole)
    );
    let goal = Some((60.0, 35.0));
    report.add("cost", "server CPU per emergency, one per POST", "us", goal, &single, void.clone(), note);
    let note = format!("the same with 100 emergencies per POST, {emergencies} patients");
    report.add("cost", "server CPU per emergency, 100 per POST", "us", None, &batch, void.clone(), note);
    let note = "one POST each, until the server is at rest again".to_owned();
    report.add("cost", "server CPU per emergency, everything that follows", "us", None, &whole, void, note);
    Ok(())
}
