//! Logs: one line per event, with ids and without patient data. Readable on a terminal, JSON elsewhere.

use std::{error::Error, io::IsTerminal};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Sends logs to standard error, and panics with them: one line, no backtrace, so that a restart storm
/// stays cheap.
pub fn start(format: Format, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    let json = format == Format::Json || (format == Format::Auto && !terminal);
    let started = if json { builder.json().flatten_event(true).try_init() } else { builder.compact().try_init() };
    if let Err(error) = started {
        eprintln!("logging could not be started: {error}");
    }
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic was caught");
    }));
}

/// Tells a person at the terminal what went wrong, with its causes.
pub fn complain(error: &dyn Error) {
    let mut text = format!("shers: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n  because: {cause}"));
        source = cause.source();
    }
    eprintln!("{text}");
}
