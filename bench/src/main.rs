//! The bench: ratios against what the machine can do, in the same run, on the same disk, interleaved.
//!
//! Started by `scripts/bench`. A round in which anything is lost, doubled or answered with an error is void.

mod actors;
mod broker;
mod cost;
mod database;
mod dispatch;
mod echo;
mod house;
mod http;
mod incidents;
mod latency;
mod positions;
mod readings;
mod report;
mod resident;
mod restart;
mod supervision;
mod throughput;

use clap::{Parser, Subcommand, ValueEnum};
use house::{Bench, Failure};
use report::Report;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Area {
    Single,
    Batch,
    Latency,
    Cost,
    Actors,
    Supervision,
    Restart,
    Resident,
    Database,
    Broker,
    Dispatch,
}

#[derive(Parser)]
#[command(about = "Measures the house against what the machine can do")]
struct Arguments {
    /// What to measure; everything when none is named.
    areas: Vec<Area>,
    /// Two short rounds instead of five.
    #[arg(long)]
    quick: bool,
    /// The binary under test.
    #[arg(long, default_value = "target/release/shers")]
    shers: PathBuf,
    /// Where databases of the bench lie while it runs.
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
    /// Where the results are written.
    #[arg(long, default_value = "bench/results.json")]
    results: PathBuf,
}

#[derive(Parser)]
struct ChildArguments {
    #[command(subcommand)]
    part: Part,
}

/// Parts that need a process of their own.
#[derive(Subcommand)]
enum Part {
    Echo,
    Actors { kind: String, count: usize },
    Supervision { kind: String, count: usize },
    Restart { kind: String, directory: PathBuf, count: usize },
}

/// Arguments of the echo's process.
const fn echo_args() -> [&'static str; 1] {
    ["echo"]
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

fn header(quick: bool) -> serde_json::Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    serde_json::json!({
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "cpu": model.trim_matches([' ', '\t', ':']),
        "kernel": said("uname", &["-sr"]),
        "rustc": said("rustc", &["--version"]),
        "shers": env!("CARGO_PKG_VERSION"),
        "commit": said("git", &["rev-parse", "--short", "HEAD"]),
        "load_before": load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        "again": if quick { "scripts/bench --quick" } else { "scripts/bench" },
    })
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let data = std::path::absolute(&arguments.data)?;
    std::fs::create_dir_all(&data)?;
    let bench = Bench {
        shers: std::path::absolute(&arguments.shers)?,
        me: std::env::current_exe()?,
        data: data.clone(),
        quick: arguments.quick,
    };
    // Clients that speak no TLS are made with one all the same; a second provider is refused, the first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let header = header(arguments.quick);
    writeln!(std::io::stdout(), "{header}")?;
    let mut report = Report::new();
    let mut failed = Vec::new();
    for area in Area::value_variants() {
        if !arguments.areas.is_empty() && !arguments.areas.contains(area) {
            continue;
        }
        let done = match area {
            Area::Single => throughput::single(&bench, &mut report),
            Area::Batch => throughput::batches(&bench, &mut report),
            Area::Latency => latency::run(&bench, &mut report),
            Area::Cost => cost::run(&bench, &mut report),
            Area::Actors => actors::run(&bench, &mut report),
            Area::Supervision => supervision::run(&bench, &mut report),
            Area::Restart => restart::run(&bench, &mut report),
            Area::Resident => resident::run(&bench, &mut report),
            Area::Database => database::run(&bench, &mut report),
            Area::Broker => broker::run(&bench, &mut report),
            Area::Dispatch => dispatch::run(&bench, &mut report),
        };
        if let Err(error) = done {
            writeln!(std::io::stdout(), "  {area:?}: could not be measured: {error}")?;
            failed.push(format!("{area:?}: {error}"));
        }
    }
    report.save(Path::new(&arguments.results), &header)?;
    if failed.is_empty() {
        // What failed keeps its logs.
        std::fs::remove_dir_all(&data)?;
        return Ok(());
    }
    Err(failed.join("; ").into())
}

fn run() -> Result<(), Failure> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "child") {
        arguments.remove(1);
        return match ChildArguments::parse_from(arguments).part {
            Part::Echo => echo::run(),
            Part::Actors { kind, count } => actors::child(&kind, count),
            Part::Supervision { kind, count } => supervision::child(&kind, count),
            Part::Restart { kind, directory, count } => restart::child(&kind, &directory, count),
        };
    }
    measure(&Arguments::parse_from(arguments))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}
