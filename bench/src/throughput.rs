//! Durable readings a second, against an echo and against SQLite itself.

use crate::{
    echo_args,
    house::{Bench, Counted, Failure, Process, TOKEN, block_on, count_readings, register_patients},
    http::Connection,
    readings::{self, Template},
    report::{Report, median},
};
use shers_runtime::clock::system_now;
use std::{
    cell::Cell,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Wearers who send.
const PATIENTS: usize = 2_000;
/// Connections of single readings: as many gateways at once.
const SINGLE_CONNECTIONS: usize = 256;
/// Connections of batches.
const BATCH_CONNECTIONS: usize = 32;
const BATCH: usize = 100;

/// What a closed loop did.
struct Sent {
    answered: usize,
    failed: usize,
    took: Duration,
}

/// Every connection sends one request after the other until the time is over.
async fn closed_loop(to: SocketAddr, connections: usize, per_post: usize, lasting: Duration) -> Result<Sent, Failure> {
    let answered = Cell::new(0);
    let failed = Cell::new(0);
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(to).await?);
    }
    let started = Instant::now();
    let now = system_now();
    let workers = open.into_iter().enumerate().map(|(index, mut connection)| {
        let (answered, failed) = (&answered, &failed);
        async move {
            let mut template = Template::new(TOKEN, index * 7, per_post, PATIENTS, now);
            while started.elapsed() < lasting {
                let at = readings::at(system_now());
                match connection.send(template.next(&at)).await {
                    Ok(answer) if (200..300).contains(&answer.status) => answered.set(answered.get() + per_post),
                    _ => {
                        failed.set(failed.get() + 1);
                        break;
                    }
                }
            }
        }
    });
    futures::future::join_all(workers).await;
    Ok(Sent { answered: answered.get(), failed: failed.get(), took: started.elapsed() })
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// One round against the house: readings a second, or why it is void.
fn house_round(
    house: &Process,
    head: &mut u64,
    connections: usize,
    per_post: usize,
    lasting: Duration,
) -> Result<Result<f64, String>, Failure> {
    let sent = block_on(closed_loop(house.addr, connections, per_post, lasting))?;
    let Counted { readings, doubled, head: now } = block_on(count_readings(house.addr, *head))?;
    *head = now;
    let (answered, failed) = (sent.answered, sent.failed);
    if failed > 0 || doubled > 0 || readings != answered {
        return Ok(Err(format!("{answered} accepted, {readings} in the log, {doubled} doubled, {failed} failed")));
    }
    Ok(Ok(per_second(answered, sent.took)))
}

fn note(what: &str, ours: &[f64], theirs: &[f64], unit: &str) -> String {
    format!("{:.0} readings/s durable against {:.0} {unit} ({what})", median(ours), median(theirs))
}

/// One reading per POST against the echo.
pub fn single(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let directory = bench.directory("single")?;
    let house = bench.serve(&directory)?;
    let echo = Process::start(bench.child(&echo_args()), &directory.join("echo.log"))?;
    block_on(register_patients(house.addr, PATIENTS))?;
    let lasting = Duration::from_secs(bench.pick(1, 3));
    let mut head = block_on(count_readings(house.addr, 0))?.head;
    // The first reading of each patient is triaged for the first time: not what is measured.
    house_round(&house, &mut head, SINGLE_CONNECTIONS, 1, lasting)?.map_err(|why| format!("warming up: {why}"))?;
    let (mut ratios, mut ours, mut theirs, mut void) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        house.until_quiet(Duration::from_secs(60))?;
        let sent = block_on(closed_loop(echo.addr, SINGLE_CONNECTIONS, 1, lasting))?;
        let limit = per_second(sent.answered, sent.took);
        match house_round(&house, &mut head, SINGLE_CONNECTIONS, 1, lasting)? {
            Ok(rate) if sent.failed == 0 => {
                ratios.push(rate / limit);
                ours.push(rate);
                theirs.push(limit);
            }
            Ok(_) => void.push(format!("the echo failed {} times", sent.failed)),
            Err(why) => void.push(why),
        }
    }
    let note = note("256 connections, echo reads and writes the typed reading", &ours, &theirs, "echoes/s");
    report.add(
        "readings",
        "one per POST / actix-web JSON echo",
        "times the echo",
        Some((0.45, 0.65)),
        &ratios,
        void,
        note,
    );
    Ok(())
}

/// 100 readings per POST against SQLite.
pub fn batches(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let directory = bench.directory("batches")?;
    let house = bench.serve(&directory)?;
    block_on(register_patients(house.addr, PATIENTS))?;
    let lasting = Duration::from_secs(bench.pick(1, 3));
    let mut head = block_on(count_readings(house.addr, 0))?.head;
    house_round(&house, &mut head, BATCH_CONNECTIONS, BATCH, lasting)?.map_err(|why| format!("warming up: {why}"))?;
    let row = readings::normal(0, system_now());
    let packed_row = format!("[{}]", vec![row.as_str(); BATCH].join(","));
    let mut packed_ratios = Vec::new();
    let mut packed_limits = Vec::new();
    let (mut ratios, mut ours, mut theirs, mut void) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        house.until_quiet(Duration::from_secs(60))?;
        let raw = bench.directory("raw")?;
        let (rows, took) = shers_db::raw_limit::group_commits(&raw, 1_000, &row, lasting)?;
        let limit = rows as f64 / took.as_secs_f64();
        let raw = bench.directory("raw")?;
        let (rows, took) = shers_db::raw_limit::group_commits(&raw, BATCH_CONNECTIONS as i64, &packed_row, lasting)?;
        let packed = rows as f64 * BATCH as f64 / took.as_secs_f64();
        match house_round(&house, &mut head, BATCH_CONNECTIONS, BATCH, lasting)? {
            Ok(rate) => {
                ratios.push(rate / limit);
                packed_ratios.push(rate / packed);
                packed_limits.push(packed);
                ours.push(rate);
                theirs.push(limit);
            }
            Err(why) => void.push(why),
        }
    }
    let packed = note(
        "SQLite given rows of 100 readings, 32 rows a commit, as the house packs them",
        &ours,
        &packed_limits,
        "readings/s",
    );
    report.add(
        "readings",
        "100 per POST / raw SQLite in the same packing",
        "times SQLite",
        None,
        &packed_ratios,
        void.clone(),
        packed,
    );
    let note = note(
        "32 connections; the house packs up to 100 readings into a row, SQLite gets a row per reading, 1,000 rows a commit",
        &ours,
        &theirs,
        "rows/s",
    );
    report.add("readings", "100 per POST / raw SQLite", "times SQLite", Some((0.40, 0.65)), &ratios, void, note);
    Ok(())
}
