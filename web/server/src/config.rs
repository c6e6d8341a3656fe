//! Configuration: flags over `SHERS_*` environment over TOML file over defaults. Parsed and checked
//! completely before anything is opened; every problem is listed at once.
//!
//! An environment variable `SHERS_A__B=value` sets key `b` of section `a`, `SHERS_A__B__C` a key deeper;
//! `SHERS_A=value` sets the top level key `a`.

use crate::logging::Format;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shers_contract::{
    Secret, Timestamp,
    api::{Role, Service},
};
use shers_db::PostgresOptions;
use std::{collections::BTreeSet, fmt, net::SocketAddr, path::PathBuf, time::Duration};
use toml::{Table, Value};

/// Keys of the top level.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Top {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the database lies.
    pub data_dir: PathBuf,
    /// Services to run; empty: all eight.
    pub services: Vec<Service>,
    /// A map other than the built-in one.
    pub map: Option<PathBuf>,
    /// How log lines look.
    pub log_format: Format,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub log_filter: String,
    /// The embedded administrator's token, 32 characters or more. Better in `SHERS_TOKEN` or
    /// `token_file`. Never printed.
    #[serde(skip_serializing)]
    pub token: Option<Secret>,
    /// A file that holds the token.
    pub token_file: Option<PathBuf>,
    /// Further tokens: `[[tokens]]` with `subject`, `role` and `sha256`, the hex digest of the token.
    #[serde(skip_serializing)]
    pub tokens: Vec<KnownToken>,
    /// A JSON Web Key Set; when given, tokens are JWTs checked against it.
    pub jwks_file: Option<PathBuf>,
    /// Required `iss` of JWTs.
    pub jwt_issuer: Option<String>,
    /// Required `aud` of JWTs.
    pub jwt_audience: Option<String>,
    /// File with the token that billing asks the insurer with. Without one it is made from the administrator's.
    pub insurer_token_file: Option<PathBuf>,
    /// Name of this process among its replicas; host and process number when not set.
    pub replica: Option<String>,
    /// Everything is a drill: nothing leaves as a real message or charge, actors may be crashed. `demo` sets it.
    pub exercise: bool,
    /// In a drill, seconds of the house's clock in one real second. The same for every process of a house.
    pub exercise_speed: f64,
    /// In a drill with another speed: when the house's clock was right. The same for every process of a house.
    pub exercise_began_at: Option<Timestamp>,
}

/// `[database]`: PostgreSQL, for the distributed way.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `postgres://user:password@host:port/database?sslmode=verify-full`. Better in `url_file`. Never printed.
    pub url: Option<Secret>,
    /// A file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// Certificates (PEM) that the server's may be signed by.
    pub ca_file: Option<PathBuf>,
    /// Begins the name of each service's schema.
    pub schema_prefix: String,
    /// Connections for reading, of each service. Two more are held.
    pub readers: usize,
    /// To open a connection, milliseconds.
    pub connect_ms: u64,
    /// To wait for a free connection, milliseconds.
    pub acquire_ms: u64,
    /// For one statement, milliseconds.
    pub statement_ms: u64,
    /// For one commit, tries after a lost connection included, milliseconds.
    pub commit_ms: u64,
    /// Copies of other services' readings and positions are kept so long, seconds.
    pub keep_copies_s: u64,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            ca_file: None,
            schema_prefix: "shers_".to_owned(),
            readers: 6,
            connect_ms: 5_000,
            acquire_ms: 10_000,
            statement_ms: 30_000,
            commit_ms: 15_000,
            keep_copies_s: 24 * 3_600,
        }
    }
}

impl Database {
    /// What the store of a service is opened with.
    ///
    /// # Errors
    /// There is no URL, or its file can't be read.
    pub fn options(&self, service: Service) -> Result<PostgresOptions, String> {
        let url = match (&self.url, &self.url_file) {
            (_, Some(path)) => std::fs::read_to_string(path)
                .map_err(|error| format!("reading database.url_file {}: {error}", path.display()))?
                .trim()
                .to_owned(),
            (Some(url), None) => url.reveal().to_owned(),
            (None, None) => return Err("database.url or database.url_file is needed behind a broker".to_owned()),
        };
        let ms = Duration::from_millis;
        let mut options = PostgresOptions::new(url, format!("{}{}", self.schema_prefix, service.as_str()));
        options.ca_file.clone_from(&self.ca_file);
        options.readers = self.readers;
        options.connect_timeout = ms(self.connect_ms);
        options.acquire_timeout = ms(self.acquire_ms);
        options.statement_timeout = ms(self.statement_ms);
        options.commit_timeout = ms(self.commit_ms);
        Ok(options)
    }
}

/// A token that is known by its digest only.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownToken {
    /// Who holds it.
    pub subject: String,
    /// What it allows.
    pub role: Role,
    /// SHA-256 of the token, 64 hex digits.
    pub sha256: String,
}

impl Default for Top {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("./shers-data"),
            services: Vec::new(),
            map: None,
            log_format: Format::Auto,
            log_filter: "info".to_owned(),
            token: None,
            token_file: None,
            tokens: Vec::new(),
            jwks_file: None,
            jwt_issuer: None,
            jwt_audience: None,
            insurer_token_file: None,
            replica: None,
            exercise: false,
            exercise_speed: 1.0,
            exercise_began_at: None,
        }
    }
}

/// The whole configuration.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Config {
    /// Top level.
    pub top: Top,
    /// `[amqp]`.
    pub amqp: shers_bridge::Settings,
    /// `[database]`.
    pub database: Database,
    /// `[web]`.
    pub web: shers_web::Settings,
    /// `[wearable]`.
    pub wearable: shers_wearable::Settings,
    /// `[triage]`.
    pub triage: shers_triage::Settings,
    /// `[incidents]`.
    pub incidents: shers_incidents::Settings,
    /// `[dispatch]`.
    pub dispatch: shers_dispatch::Settings,
    /// `[notification]`.
    pub notification: shers_notification::Settings,
    /// `[billing]`.
    pub billing: shers_billing::Settings,
    /// `[insurance]`.
    pub insurance: shers_insurance::Settings,
    /// `[stream]`.
    pub stream: shers_stream::Settings,
}

impl Config {
    /// Whether an AMQP exchange is configured: then this is one process of the distributed way.
    pub fn is_distributed(&self) -> bool {
        self.amqp.url.is_some() || self.amqp.url_file.is_some()
    }

    /// The services that this process runs.
    pub fn services(&self) -> Vec<Service> {
        if self.top.services.is_empty() { Service::ALL.to_vec() } else { self.top.services.clone() }
    }

    /// Everything as TOML, secrets left out.
    ///
    /// # Errors
    /// A value has no TOML form.
    pub fn shown(&self) -> Result<String, toml::ser::Error> {
        let Value::Table(mut whole) = Value::try_from(self)? else { return Ok(String::new()) };
        // The keys of the top level stand at the top, not in a section.
        if let Some(Value::Table(top)) = whole.remove("top") {
            whole.extend(top);
        }
        toml::to_string_pretty(&whole)
    }
}

/// Sections of the configuration.
pub const SECTIONS: [&str; 11] = [
    "amqp",
    "database",
    "web",
    "wearable",
    "triage",
    "incidents",
    "dispatch",
    "notification",
    "billing",
    "insurance",
    "stream",
];

/// What is wrong with a configuration, every problem of it.
#[derive(Debug)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} problem(s):", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// Reads file and environment, lays `flags` over them, and checks everything.
///
/// # Errors
/// Every problem found.
pub fn load(
    file: Option<&PathBuf>,
    environment: impl Iterator<Item = (String, String)>,
    flags: Table,
) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    let mut table = file.map(|path| read_file(path, &mut problems)).unwrap_or_default();
    refuse_secrets(&table, &mut problems);
    for (name, value) in environment {
        overlay_variable(&mut table, &name, &value);
    }
    for (key, value) in flags {
        table.insert(key, value);
    }
    let mut sections = Table::new();
    for name in SECTIONS {
        match table.remove(name) {
            None => {}
            Some(Value::Table(section)) => {
                sections.insert(name.to_owned(), Value::Table(section));
            }
            Some(_) => problems.push(format!("{name} is a section; write [{name}] and its keys below")),
        }
    }
    let mut section = |name: &str| match sections.remove(name) {
        Some(Value::Table(section)) => section,
        _ => Table::new(),
    };
    let config = Config {
        amqp: parse("amqp", section("amqp"), &mut problems),
        database: parse("database", section("database"), &mut problems),
        web: parse("web", section("web"), &mut problems),
        wearable: parse("wearable", section("wearable"), &mut problems),
        triage: parse("triage", section("triage"), &mut problems),
        incidents: parse("incidents", section("incidents"), &mut problems),
        dispatch: parse("dispatch", section("dispatch"), &mut problems),
        notification: parse("notification", section("notification"), &mut problems),
        billing: parse("billing", section("billing"), &mut problems),
        insurance: parse("insurance", section("insurance"), &mut problems),
        stream: parse("stream", section("stream"), &mut problems),
        top: parse("", table, &mut problems),
    };
    check(&config, &mut problems);
    problems.extend(config.billing.problems().into_iter().map(|problem| format!("billing.{problem}")));
    if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
}

fn read_file(path: &PathBuf, problems: &mut Vec<String>) -> Table {
    match std::fs::read_to_string(path) {
        Err(error) => {
            problems.push(format!("reading {}: {error}", path.display()));
            Table::new()
        }
        Ok(text) => text.parse().unwrap_or_else(|error| {
            problems.push(format!("{}: {error}", path.display()));
            Table::new()
        }),
    }
}

/// Variables whose values are texts, whatever they look like.
const TEXTS: [&str; 6] = [
    "token",
    "replica",
    "amqp__url",
    "database__url",
    "notification__aws__secret_access_key",
    "notification__aws__access_key_id",
];

/// Whether a variable, as `section__key`, holds a text: a secret of digits only is no number.
fn is_text(path: &str) -> bool {
    TEXTS.contains(&path) || path.strip_prefix("billing__").is_some_and(|key| shers_billing::SECRETS.contains(&key))
}

/// A file with a secret in it is copied, committed and shown; the environment and files of their own are not.
fn refuse_secrets(table: &Table, problems: &mut Vec<String>) {
    let Some(Value::Table(billing)) = table.get("billing") else { return };
    for key in shers_billing::SECRETS.iter().filter(|key| billing.contains_key(**key)) {
        let variable = format!("SHERS_BILLING__{}", key.to_ascii_uppercase());
        problems.push(format!(
            "billing.{key} does not belong in a configuration file; set {variable}, or billing.{key}_file"
        ));
    }
}

/// `SHERS_A__B` to `a.b`, to any depth. Values that read as TOML (numbers, lists) are taken so, others as text.
fn overlay_variable(table: &mut Table, name: &str, value: &str) {
    /// Variables of the scripts and tests, not of the configuration.
    const NOT_OURS: [&str; 6] =
        ["SHERS_SHARED", "SHERS_CONFIG", "SHERS_UPDATE_GOLDEN", "SHERS_SEED", "SHERS_KILL_ROUNDS", "SHERS_NO_INSTALL"];
    let Some(path) = name.strip_prefix("SHERS_") else { return };
    if NOT_OURS.contains(&name) || name.starts_with("SHERS_TEST_") {
        return;
    }
    let text = || Value::String(value.to_owned());
    let parsed = format!("v = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("v")).unwrap_or_else(text);
    let path = path.to_ascii_lowercase();
    let parsed = if is_text(&path) { text() } else { parsed };
    let mut keys: Vec<&str> = path.split("__").collect();
    let Some(last) = keys.pop() else { return };
    let mut table = table;
    for key in keys {
        let entry = table.entry(key.to_owned()).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(section) = entry else { return };
        table = section;
    }
    table.insert(last.to_owned(), parsed);
}

/// Parses a section. If that fails, every key is tried alone, so that each problem is named.
fn parse<T: DeserializeOwned + Default>(name: &str, section: Table, problems: &mut Vec<String>) -> T {
    let place = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match section.clone().try_into::<T>() {
        Ok(parsed) => parsed,
        Err(whole) => {
            let before = problems.len();
            for (key, value) in section {
                let mut alone = Table::new();
                alone.insert(key.clone(), value);
                if let Err(error) = alone.try_into::<T>() {
                    problems.push(format!("{}: {}", place(&key), error.message()));
                }
            }
            if problems.len() == before {
                problems.push(format!("{}: {}", place(""), whole.message()));
            }
            T::default()
        }
    }
}

fn check(config: &Config, problems: &mut Vec<String>) {
    let top = &config.top;
    if top.token.as_ref().is_some_and(|token| token.reveal().len() < 32) {
        problems.push("token: a token has 32 characters or more; for instance: openssl rand -hex 32".to_owned());
    }
    let chosen: BTreeSet<Service> = top.services.iter().copied().collect();
    if config.is_distributed() {
        check_distributed(config, problems);
    } else if !chosen.is_empty() && chosen.len() < Service::ALL.len() {
        problems.push(format!(
            "services: {} alone need an AMQP exchange to reach the others, and this configuration names none; run all eight in one process, or give the exchange's URL (amqp.url, SHERS_AMQP__URL)",
            chosen.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ")
        ));
    }
    if top.jwks_file.is_none() && (top.jwt_issuer.is_some() || top.jwt_audience.is_some()) {
        problems.push("jwt_issuer and jwt_audience need jwks_file".to_owned());
    }
}

fn check_distributed(config: &Config, problems: &mut Vec<String>) {
    let top = &config.top;
    problems.extend(config.amqp.problems());
    if config.database.url.is_none() && config.database.url_file.is_none() {
        problems.push("database.url or database.url_file is needed behind a broker".to_owned());
    }
    if top.token.is_none() && top.token_file.is_none() && top.jwks_file.is_none() {
        problems.push(
            "token, token_file or jwks_file is needed behind a broker: every process of a house knows the same callers"
                .to_owned(),
        );
    }
    let bills = config.services().contains(&Service::Billing);
    if bills && top.jwks_file.is_some() && top.insurer_token_file.is_none() {
        problems
            .push("insurer_token_file is needed for billing with jwks_file: a token that the insurer takes".to_owned());
    }
    if bills && config.billing.insurer_url == shers_billing::Settings::default().insurer_url {
        problems.push("billing.insurer_url is needed behind a broker: where the insurance service is".to_owned());
    }
    if (top.exercise_speed - 1.0).abs() > f64::EPSILON && (!top.exercise || top.exercise_began_at.is_none()) {
        problems.push("exercise_speed needs exercise = true and exercise_began_at".to_owned());
    }
    if !(0.1..=1_000.0).contains(&top.exercise_speed) {
        problems.push(format!("exercise_speed is 0.1 to 1000 (got {})", top.exercise_speed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("shers.toml");
        std::fs::write(&path, text).expect("written");
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load(Some(&path), environment, Table::new())
    }

    #[test]
    fn environment_beats_file_and_unknown_keys_are_all_named() {
        let config = load_text("listen = \"127.0.0.1:9000\"", &[("SHERS_LISTEN", "127.0.0.1:9001")]).expect("valid");
        assert_eq!(config.top.listen.port(), 9001);
        let error = load_text("lisen = 1\n[dispatch]\nnonsense = 2\n[billing]\nrubbish = 3", &[]).expect_err("three");
        let text = error.to_string();
        for word in ["lisen", "dispatch.nonsense", "billing.rubbish"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn a_subset_of_services_without_an_exchange_is_refused_clearly() {
        let error = load_text("services = [\"dispatch\"]", &[]).expect_err("refused").to_string();
        assert!(error.contains("dispatch") && error.contains("AMQP"), "{error}");
    }

    #[test]
    fn secrets_of_the_payment_provider_come_from_the_environment_and_are_never_shown() {
        let hush = ("SHERS_BILLING__STRIPE_KEY", "12345");
        let error = load_text("[billing]\nprovider = \"stripe\"\nstripe_key = \"hush\"", &[hush]).expect_err("two");
        let text = error.to_string();
        assert!(text.contains("SHERS_BILLING__STRIPE_KEY") && text.contains("sk_"), "{text}");
        assert!(!text.contains("hush") && !text.contains("12345"), "{text}");
        let asked = load_text("[billing]\nprovider = \"stripe\"", &[("SHERS_BILLING__STRIPE_KEY", "sk_test_1")]);
        match asked {
            Ok(config) => assert!(cfg!(feature = "providers") && !format!("{config:?}").contains("sk_test_1")),
            Err(error) => assert!(!cfg!(feature = "providers") && error.to_string().contains("--features providers")),
        }
    }

    #[test]
    fn a_variable_reaches_a_section_in_a_section() {
        let url = ("SHERS_DISPATCH__ETA__URL", "http://127.0.0.1:5000");
        let config = load_text("[dispatch.eta]\nprovider = \"osrm\"", &[url]).expect("valid");
        assert_eq!(config.dispatch.eta.url, "http://127.0.0.1:5000");
    }

    #[test]
    fn a_process_of_the_distributed_way_says_everything_that_is_missing() {
        let broker = ("SHERS_AMQP__URL", "amqp://u:hush-broker@localhost/%2f");
        let error = load_text("services = [\"billing\"]", &[broker]).expect_err("refused").to_string();
        for word in ["database.url", "token", "insurer_url"] {
            assert!(error.contains(word), "{word} in {error}");
        }
        let rest = [
            broker,
            ("SHERS_DATABASE__URL", "postgres://u:hush-database@localhost/shers"),
            ("SHERS_TOKEN", "0123456789012345678901234567890123456789"),
        ];
        let config = load_text("services = [\"dispatch\"]", &rest).expect("valid");
        assert!(config.is_distributed() && config.services() == [Service::Dispatch]);
        let shown = format!("{}{config:?}", config.shown().expect("TOML"));
        assert!(!shown.contains("hush") && !shown.contains("0123456789"), "{shown}");
        assert!(shown.contains("[database]") && shown.contains("schema_prefix"), "{shown}");
    }

    #[test]
    fn a_short_token_is_refused_and_not_repeated() {
        let error = load_text("", &[("SHERS_TOKEN", "short-secret")]).expect_err("refused").to_string();
        assert!(error.contains("32") && !error.contains("short-secret"), "{error}");
    }
}
