//! Appends a second through the store on PostgreSQL, against `pgbench` on the same server in the same run.
//!
//! `pgbench` inserts into a table with the columns and indexes of the log, from as many clients as serve it
//! best, its statements prepared with the rows inside: no data travels, nothing is checked, nobody waits for a
//! version. The store does all that a commit is.

use crate::{
    house::{Bench, Failure},
    report::{Report, median},
};
use shers_contract::{Kind, Timestamp, derived_uuid, envelope::StreamName};
use shers_db::{PostgresOptions, PostgresStore, postgres};
use shers_runtime::store::{Append, Commit, Expected, NewEvent, Store};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Events of a batched append, rows of pgbench's insert.
const BATCH: usize = 100;
/// Callers at once that append batches.
const BATCH_CALLERS: usize = 32;
/// Callers at once that append one event each.
const SINGLE_CALLERS: usize = 256;
/// What pgbench may use; the best of them is the measure.
const CLIENTS: [usize; 2] = [4, 16];
const SCHEMA: &str = "shers_bench";

struct Server {
    url: String,
    pgbench: PathBuf,
    directory: PathBuf,
}

impl Server {
    fn new(bench: &Bench) -> Result<Self, Failure> {
        let url = std::env::var("SHERS_BENCH_DATABASE_URL")
            .map_err(|_| "SHERS_BENCH_DATABASE_URL is not set; scripts/bench database starts a server and sets it")?;
        let pgbench = std::env::var_os("SHERS_BENCH_PGBENCH").map_or_else(|| PathBuf::from("pgbench"), PathBuf::from);
        Ok(Self { url, pgbench, directory: bench.directory("database")? })
    }

    fn script(&self, name: &str, sql: &str) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        std::fs::write(&path, sql)?;
        Ok(path)
    }

    /// Runs pgbench; gives its transactions a second.
    fn pgbench(&self, script: &Path, arguments: &[&str]) -> Result<f64, Failure> {
        let mut command = Command::new(&self.pgbench);
        command.arg("--no-vacuum").arg("--file").arg(script).args(arguments).arg(&self.url);
        let output = command.output().map_err(|error| format!("{}: {error}", self.pgbench.display()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() || wrong.contains("aborted") {
            return Err(format!("pgbench: {wrong}").into());
        }
        let tps = said.lines().find_map(|line| line.strip_prefix("tps = "));
        let tps = tps.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok());
        tps.ok_or_else(|| format!("pgbench said no rate: {said}").into())
    }

    fn once(&self, name: &str, sql: &str) -> Result<(), Failure> {
        self.pgbench(&self.script(name, sql)?, &["--client=1", "--transactions=1"]).map(|_| ())
    }

    /// An empty log and an empty table like its own.
    fn fresh(&self) -> Result<(), Failure> {
        self.once(
            "drop.sql",
            &format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;\nDROP SCHEMA IF EXISTS raw CASCADE;\n"),
        )?;
        runtime()?.block_on(postgres::migrate(&self.options()))?;
        self.once(
            "create.sql",
            &format!(
                "CREATE SCHEMA raw;\nCREATE TABLE raw.events (LIKE {SCHEMA}.events INCLUDING ALL);\n\
                 CREATE SEQUENCE raw.position CACHE 100;\nCHECKPOINT;\n"
            ),
        )
    }

    fn options(&self) -> PostgresOptions {
        PostgresOptions::new(self.url.clone(), SCHEMA)
    }

    /// Rows a second that pgbench inserts, so many in each transaction.
    fn raw(&self, rows: usize, lasting: Duration) -> Result<f64, Failure> {
        let data = event(0).data.get().replace('\'', "''");
        let row = format!(
            "(nextval('raw.position'), :client_id, currval('raw.position'), \
             '0190a5b8-0000-7000-8000-000000000000', 'wearable.reading.recorded', 1, 1767225600000, NULL, \
             '0190a5b8-0000-7000-8000-000000000001', \
             '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', false, true, :client_id % 16, '{data}')"
        );
        let insert = format!("INSERT INTO raw.events VALUES {};\n", vec![row.as_str(); rows].join(", "));
        let script = self.script("insert.sql", &insert)?;
        let mut best = 0.0_f64;
        for clients in CLIENTS {
            let (clients, seconds) = (format!("--client={clients}"), format!("--time={}", lasting.as_secs()));
            let rate = self.pgbench(&script, &[&clients, "--jobs=2", &seconds, "--protocol=prepared"])?;
            self.once("empty.sql", "TRUNCATE raw.events;\n")?;
            best = best.max(rate * rows as f64);
        }
        Ok(best)
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// An event like those of the log.
fn event(number: usize) -> NewEvent {
    let data = r#"{"patient_id":"p-000017","device_id":"watch-000017","at":"2026-01-01T00:00:00Z","seq":4711,"heart_rate_bpm":72,"spo2_pct":97,"respiration_rate_bpm":14,"temperature_c":36.8,"consciousness":"alert"}"#;
    let id = derived_uuid(&["bench", &number.to_string()]);
    NewEvent {
        id,
        kind: Kind::READING_RECORDED,
        v: 1,
        at: Timestamp::from_ms(1_767_225_600_000),
        correlation_id: None,
        causation_id: Some(id),
        traceparent: shers_contract::Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        exercise: false,
        data: serde_json::value::RawValue::from_string(data.to_owned())
            .unwrap_or_else(|_| serde_json::value::RawValue::NULL.to_owned()),
    }
}

/// Events a second through the store: callers that each wait for their commit before the next one.
fn through_the_store(server: &Server, callers: usize, batch: usize, lasting: Duration) -> Result<f64, Failure> {
    runtime()?.block_on(async {
        let store = PostgresStore::open(&server.options()).await?;
        let before = *store.head().borrow();
        let (stored, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let started = Instant::now();
        let callers: Vec<_> = (0..callers)
            .map(|caller| {
                let (store, stored, failed) = (Arc::clone(&store), Arc::clone(&stored), Arc::clone(&failed));
                tokio::spawn(async move {
                    let stream = StreamName::new("bench", format!("{caller}"));
                    let template: Vec<NewEvent> = (0..batch).map(event).collect();
                    let mut version = store.read_stream(&stream, 0).await.map_or(0, |events| events.len() as u64);
                    while started.elapsed() < lasting {
                        let append = Append {
                            stream: stream.clone(),
                            expected: Expected::Version(version),
                            events: template.clone(),
                            open: true,
                        };
                        if store.commit(Commit { appends: vec![append], ..Commit::default() }).await.is_err() {
                            failed.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                        version += batch as u64;
                        stored.fetch_add(batch, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await?;
        }
        let took = started.elapsed();
        let (stored, failed) = (stored.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
        let in_the_log = usize::try_from(*store.head().borrow() - before)?;
        if failed > 0 || in_the_log != stored {
            return Err(format!("{stored} answered, {in_the_log} in the log, {failed} failed").into());
        }
        Ok(stored as f64 / took.as_secs_f64())
    })
}

/// Batched appends and single commits against pgbench.
pub fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let server = Server::new(bench)?;
    let lasting = Duration::from_secs(bench.pick(2, 5));
    let goal = Some((0.6, 0.8));
    for (name, callers, batch, rows, goal) in [
        ("appends of 100 events / pgbench inserts of 100 rows", BATCH_CALLERS, BATCH, BATCH, goal),
        ("commits of one event / pgbench inserts of one row", SINGLE_CALLERS, 1, 1, None),
    ] {
        let (mut ratios, mut ours, mut theirs, mut void) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds() {
            server.fresh()?;
            let limit = server.raw(rows, lasting)?;
            match through_the_store(&server, callers, batch, lasting) {
                Ok(rate) => {
                    ratios.push(rate / limit);
                    ours.push(rate);
                    theirs.push(limit);
                }
                Err(why) => void.push(why.to_string()),
            }
        }
        let note = format!(
            "{callers} callers, {:.0} events/s durable against {:.0} rows/s (table and indexes like the log's, \
             statements prepared with their rows, the better of {CLIENTS:?} clients)",
            median(&ours),
            median(&theirs),
        );
        report.add("database", name, "times pgbench", goal, &ratios, void, note);
    }
    Ok(())
}
