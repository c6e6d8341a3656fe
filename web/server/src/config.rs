//! Configuration: flags over `SHERS_*` environment over TOML file over defaults. Parsed and checked
//! completely before anything is opened; every problem is listed at once.
//!
//! An environment variable `SHERS_A__B=value` sets key `b` of section `a`; `SHERS_A=value` sets the top
//! level key `a`.

use crate::logging::Format;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shers_contract::api::{Role, Service};
use std::{collections::BTreeSet, fmt, net::SocketAddr, path::PathBuf};
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
    pub token: Option<String>,
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
        }
    }
}

/// The whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Top level.
    pub top: Top,
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

/// Sections that belong to a service or the web layer.
pub const SECTIONS: [&str; 9] =
    ["web", "wearable", "triage", "incidents", "dispatch", "notification", "billing", "insurance", "stream"];

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
    check(&config.top, &mut problems);
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

/// `SHERS_A__B` to `a.b`. Values that read as TOML (numbers, lists) are taken so, others as text.
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
    // A token of digits only is still a text.
    let parsed = if name == "SHERS_TOKEN" { text() } else { parsed };
    let path = path.to_ascii_lowercase();
    match path.split_once("__") {
        None => {
            table.insert(path, parsed);
        }
        Some((section, key)) => {
            let entry = table.entry(section.to_owned()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = entry {
                section.insert(key.to_owned(), parsed);
            }
        }
    }
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

fn check(top: &Top, problems: &mut Vec<String>) {
    if top.token.as_ref().is_some_and(|token| token.len() < 32) {
        problems.push("token: a token has 32 characters or more; for instance: openssl rand -hex 32".to_owned());
    }
    let chosen: BTreeSet<Service> = top.services.iter().copied().collect();
    if !chosen.is_empty() && chosen.len() < Service::ALL.len() {
        problems.push(format!(
            "services: {} alone need an AMQP exchange to reach the others, and this configuration names none; run all eight in one process, or give the exchange's URL (a later release)",
            chosen.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ")
        ));
    }
    if top.jwks_file.is_none() && (top.jwt_issuer.is_some() || top.jwt_audience.is_some()) {
        problems.push("jwt_issuer and jwt_audience need jwks_file".to_owned());
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
    fn a_short_token_is_refused_and_not_repeated() {
        let error = load_text("", &[("SHERS_TOKEN", "short-secret")]).expect_err("refused").to_string();
        assert!(error.contains("32") && !error.contains("short-secret"), "{error}");
    }
}
