//! The command line.

use crate::city;
use crate::config::{self, Config};
use crate::distributed;
use crate::embedded::{self, Mode};
use crate::house;
use crate::logging;
use crate::services;
use clap::{Args, Parser, Subcommand};
use std::{error::Error, io::Write, path::PathBuf, time::Duration};
use toml::{Table, Value};

type Failure = Box<dyn Error>;

/// Smart Healthcare Emergency Response System: from a wearable's heartbeat to an ambulance at the
/// hospital door and a settled bill.
#[derive(Parser, Debug)]
#[command(name = "shers", version, about)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Flags of every command.
#[derive(Args, Debug)]
struct Common {
    /// Address to listen on (default 127.0.0.1:8080; port 0 takes a free one).
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the database lies (default ./shers-data).
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A TOML file.
    #[arg(long, global = true, value_name = "FILE", env = "SHERS_CONFIG")]
    config: Option<PathBuf>,
    /// An OpenStreetMap extract to drive on instead of the built-in map.
    #[arg(long, global = true, value_name = "FILE.osm.pbf")]
    map: Option<PathBuf>,
    /// Run only these services (needs an exchange that reaches the others).
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    service: Vec<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the house (the default).
    Serve,
    /// Run the house with a simulated city in exercise mode.
    Demo(DemoFlags),
    /// Bring the database to this version and end.
    Migrate,
    /// Work with maps.
    Map {
        #[command(subcommand)]
        command: MapCommand,
    },
    /// Parse and check the configuration, print it without secrets, open nothing.
    Config,
    /// Print what the bridge declares on the broker.
    Topology,
    /// Actors and tasks under supervision, and what a person may do to them.
    Actors {
        #[command(subcommand)]
        command: ActorCommand,
    },
    /// Ask a server whether it can serve; exits 1 when it can't.
    Health {
        /// Its address, such as http://127.0.0.1:8080 (default: the one that --listen names, on this machine).
        url: Option<String>,
    },
    /// Messages that were given up.
    DeadLetters {
        #[command(subcommand)]
        command: DeadLetterCommand,
    },
}

#[derive(Subcommand, Debug)]
enum MapCommand {
    /// Read and prepare an extract, and say what is in it.
    Build {
        /// The extract.
        file: PathBuf,
    },
}

#[derive(Subcommand, Debug)]
enum ActorCommand {
    /// List the tree as JSON, one a line, the troubled first.
    List,
    /// Let a quarantined one go on; what is parked for it is delivered in order.
    Release {
        /// The actor, `category/id`.
        actor: String,
    },
    /// Give up what is parked for a quarantined one: to the dead letters.
    Discard {
        /// The actor, `category/id`.
        actor: String,
    },
    /// End its life, begin the next.
    Restart {
        /// The actor, `category/id`.
        actor: String,
    },
}

#[derive(Subcommand, Debug)]
enum DeadLetterCommand {
    /// List them as JSON, one a line.
    List,
    /// Deliver one once more (asks the running server).
    Replay {
        /// Id of the dead letter.
        id: String,
    },
}

/// Flags of the demo.
#[derive(Args, Clone, Debug)]
pub struct DemoFlags {
    /// Same seed, same plot.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// City seconds per real second.
    #[arg(long, default_value_t = 40.0, value_parser = speed)]
    pub speed: f64,
    /// Wearers.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    pub patients: u32,
    /// Ambulances.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub units: u32,
    /// Hospitals and stations as GeoJSON, instead of the map's own.
    #[arg(long, value_name = "FILE.geojson")]
    pub facilities: Option<PathBuf>,
    /// Play against a server that runs elsewhere (in exercise mode), instead of starting one.
    #[arg(long, value_name = "URL")]
    pub join: Option<String>,
    /// End when every story has ended, and print how (JSON).
    #[arg(long)]
    pub until_done: bool,
}

impl DemoFlags {
    /// The plot has a story in which more fall ill than there are ambulances, so it needs the wearers for it.
    fn check(&self) -> Result<(), Failure> {
        let needed = shers_simulation::PlotOptions::needed_patients(self.units as usize);
        if (self.patients as usize) < needed {
            let (patients, units) = (self.patients, self.units);
            return Err(format!(
                "--patients {patients} is too few for --units {units}: the plot needs {needed} or more, so that more fall ill at once than there are ambulances"
            )
            .into());
        }
        Ok(())
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.1..=1_000.0).contains(&speed) => Ok(speed),
        _ => Err("a speed is a number from 0.1 to 1000".to_owned()),
    }
}

impl Common {
    fn load(&self) -> Result<Config, Failure> {
        let mut flags = Table::new();
        let path = |path: &PathBuf| Value::String(path.to_string_lossy().into_owned());
        if let Some(listen) = &self.listen {
            flags.insert("listen".to_owned(), Value::String(listen.clone()));
        }
        if let Some(directory) = &self.data_dir {
            flags.insert("data_dir".to_owned(), path(directory));
        }
        if let Some(map) = &self.map {
            flags.insert("map".to_owned(), path(map));
        }
        if !self.service.is_empty() {
            let names = self.service.iter().map(|name| Value::String(name.clone())).collect();
            flags.insert("services".to_owned(), Value::Array(names));
        }
        Ok(config::load(self.config.as_ref(), std::env::vars(), flags)?)
    }
}

/// Runs a command to its end.
///
/// # Errors
/// What a person must know.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = arguments.common.load()?;
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            logging::start(config.top.log_format, &config.top.log_filter);
            if config.is_distributed() { distributed::run(config) } else { embedded::run(config, Mode::Serve) }
        }
        Command::Demo(flags) => {
            flags.check()?;
            logging::start(config.top.log_format, &config.top.log_filter);
            match &flags.join {
                Some(url) => city::join(&config, &flags, url),
                None => embedded::run(config, Mode::Demo(flags)),
            }
        }
        Command::Migrate if config.is_distributed() || config.database.url_file.is_some() => {
            let migrated = distributed::migrate(&config)?;
            migrated.iter().try_for_each(|line| say(line))
        }
        Command::Migrate => {
            embedded::private(&config.top.data_dir);
            shers_db::SqliteStore::open(&config.top.data_dir, &shers_db::SqliteOptions::default())?;
            say(format_args!("the database in {} is at this version", config.top.data_dir.display()))
        }
        Command::Map { command: MapCommand::Build { file } } => {
            let map = shers_roads::RoadMap::load(&file)?;
            println!(
                "{}",
                serde_json::to_string_pretty(&serde_json::json!({
                    "name": map.name(), "attribution": map.attribution(), "bounds": map.bounds(), "stats": map.stats(),
                    "facilities": map.facilities().len(),
                }))?
            );
            Ok(())
        }
        Command::Config => say(config.shown()?),
        Command::Topology => topology(&config),
        Command::DeadLetters { command: DeadLetterCommand::List } => ask(&config, Get("dead-letters")),
        Command::DeadLetters { command: DeadLetterCommand::Replay { id } } => {
            ask(&config, Post(&format!("dead-letters/{id}/replay")))
        }
        Command::Actors { command } => match command {
            ActorCommand::List => ask(&config, Get("actors")),
            ActorCommand::Release { actor } => ask(&config, Post(&format!("actors/{actor}/release"))),
            ActorCommand::Discard { actor } => ask(&config, Post(&format!("actors/{actor}/discard"))),
            ActorCommand::Restart { actor } => ask(&config, Post(&format!("actors/{actor}/restart"))),
        },
        Command::Health { url } => health(&config, url),
    }
}

/// What the bridge declares, as JSON; in one process the same, as it would be.
fn topology(config: &Config) -> Result<(), Failure> {
    let declared = shers_bridge::topology(&config.amqp.exchange, config.amqp.delivery_limit, &services::parts());
    say(serde_json::to_string_pretty(&declared)?)
}

/// Prints a line. A reader that has seen enough (`| head`) is no failure of ours.
fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        told => Ok(told?),
    }
}

/// What is asked of the running server, below `/api/v1/`.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Get(&'a str),
    Post(&'a str),
}
use Asked::{Get, Post};

/// How long a server may take to say whether it can serve.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

/// Asks `/health/ready`: for containers' health checks, which have no other program to ask with.
fn health(config: &Config, url: Option<String>) -> Result<(), Failure> {
    let own = || format!("http://127.0.0.1:{}", config.top.listen.port());
    let url = format!("{}/health/ready", url.unwrap_or_else(own).trim_end_matches('/'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The client asks for a provider even where it speaks plain HTTP. A second default is refused; the first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(HEALTH_LIMIT).build()?;
        let response = client.get(&url).send().await.map_err(|error| format!("asking {url}: {error}"))?;
        let (status, text) = (response.status(), response.text().await.unwrap_or_default());
        if status.is_success() { say(text) } else { Err(format!("{url} says {status}: {text}").into()) }
    })
}

/// Asks the running server, which alone may touch its database.
fn ask(config: &Config, asked: Asked<'_>) -> Result<(), Failure> {
    let token = house::configured_token(config)?
        .ok_or("name the server's token in SHERS_TOKEN, or in a file with token_file")?;
    let base = format!("http://{}/api/v1", config.top.listen);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The client asks for a provider even where it speaks plain HTTP. A second default is refused; the first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let request = match asked {
            Get(what) => client.get(format!("{base}/{what}")),
            Post(what) => client.post(format!("{base}/{what}")),
        };
        let response = request.bearer_auth(token).send().await.map_err(|error| {
            format!("asking the server at {}: {error}; is it running? --listen names its address", config.top.listen)
        })?;
        let status = response.status();
        let body: serde_json::Value = response.json().await.unwrap_or_default();
        if !status.is_success() {
            let detail = body.get("detail").and_then(|d| d.as_str()).unwrap_or("no detail");
            return Err(format!("the server said {status}: {detail}").into());
        }
        match body.get("items").and_then(|items| items.as_array()) {
            Some(items) => items.iter().try_for_each(|item| say(item)),
            None if body.is_null() => say("done"),
            None => say(&body),
        }
    })
}
