//! `[dispatch.eta]`: who is asked for drive times, and the source that these settings mean.

use crate::gateway::{ClientError, EtaSource, Google, Matrix, Osrm, Remote, RemoteLimits, Resilient, Valhalla};
use crate::model::breaker::BreakerLimits;
use serde::{Deserialize, Serialize};
use shers_runtime::Clock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Who computes drive times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// The road map in this process.
    #[default]
    BuiltIn,
    /// An OSRM server.
    Osrm,
    /// A Valhalla server.
    Valhalla,
    /// Google Routes API v2.
    Google,
}

/// Settings of drive times.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtaSettings {
    /// Who is asked. Whoever it is, the built-in one answers when they don't.
    pub provider: Provider,
    /// Where, `http://` or `https://`. Empty: `https://routes.googleapis.com` for Google; OSRM and Valhalla
    /// need one.
    pub url: String,
    /// File that holds the API key (Google), and nothing else.
    pub api_key_file: Option<PathBuf>,
    /// Environment variable that holds the API key, looked at when there is no file.
    pub api_key_env: String,
    /// Time a provider has for one decision, in milliseconds of real time. Then the built-in one answers.
    pub time_budget_ms: u64,
    /// Failures in a row after which a provider is left alone.
    pub breaker_failures: u32,
    /// For how long, in milliseconds.
    pub breaker_pause_ms: u32,
    /// Places in one call of OSRM or Valhalla; Google takes 625 at most. OSRM's own default limit is 100
    /// coordinates a table.
    pub places_per_call: usize,
    /// Calls under way at once for one decision.
    pub concurrent_calls: usize,
    /// Places in one decision that a provider is asked about; above it the built-in one answers.
    pub max_places: usize,
    /// A place farther than this from any road, in metres, is off the network.
    pub max_snap_m: u32,
    /// Time with lights and sirens as a share of a provider's car time, 0.1 to 1.
    pub siren_factor: f64,
}

impl Default for EtaSettings {
    fn default() -> Self {
        Self {
            provider: Provider::BuiltIn,
            url: String::new(),
            api_key_file: None,
            api_key_env: "GOOGLE_MAPS_API_KEY".to_owned(),
            time_budget_ms: 800,
            breaker_failures: 3,
            breaker_pause_ms: 30_000,
            places_per_call: 99,
            concurrent_calls: 4,
            max_places: 2_000,
            max_snap_m: 1_000,
            siren_factor: 0.8,
        }
    }
}

/// Why the settings mean no source.
#[derive(Debug, thiserror::Error)]
pub enum EtaSettingsError {
    /// The address is missing or of another kind.
    #[error("dispatch.eta.url: the provider needs an address that begins with http:// or https://")]
    Url,
    /// The key is missing.
    #[error(
        "dispatch.eta: the provider needs an API key, in the file that api_key_file names or in the environment variable {0}"
    )]
    NoKey(String),
    /// The key's file can't be read.
    #[error("dispatch.eta.api_key_file: reading the API key")]
    KeyFile(#[source] std::io::Error),
    /// The HTTP client.
    #[error("dispatch.eta: preparing the provider")]
    Client(#[from] ClientError),
}

impl EtaSettings {
    /// The source: `built_in` itself, or a provider with `built_in` behind it.
    ///
    /// # Errors
    /// What is missing.
    pub fn source(
        &self,
        built_in: Arc<dyn EtaSource>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn EtaSource>, EtaSettingsError> {
        let budget = Duration::from_millis(self.time_budget_ms.max(1));
        let first = match self.provider {
            Provider::BuiltIn => return Ok(built_in),
            Provider::Osrm => {
                self.remote(Osrm::new(self.address("")?, budget, f64::from(self.max_snap_m))?, usize::MAX)
            }
            Provider::Valhalla => self.remote(Valhalla::new(self.address("")?, budget, self.max_snap_m)?, usize::MAX),
            Provider::Google => {
                let url = self.address("https://routes.googleapis.com")?;
                self.remote(Google::new(url, self.key()?, budget)?, crate::gateway::GOOGLE_MAX_ELEMENTS)
            }
        };
        let limits =
            BreakerLimits { failures: self.breaker_failures.max(1), pause_ms: i64::from(self.breaker_pause_ms) };
        Ok(Arc::new(Resilient::new(first, built_in, clock, budget, limits)))
    }

    fn remote<M: Matrix>(&self, matrix: M, most: usize) -> Arc<dyn EtaSource> {
        let limits = RemoteLimits {
            chunk: self.places_per_call.clamp(1, most),
            concurrent: self.concurrent_calls,
            max_places: self.max_places,
            siren_factor: self.siren_factor,
        };
        Arc::new(Remote::new(matrix, limits))
    }

    fn address<'a>(&'a self, default: &'a str) -> Result<&'a str, EtaSettingsError> {
        let url = if self.url.is_empty() { default } else { self.url.as_str() };
        let known = url.starts_with("http://") || url.starts_with("https://");
        if known { Ok(url) } else { Err(EtaSettingsError::Url) }
    }

    fn key(&self) -> Result<String, EtaSettingsError> {
        let text = match &self.api_key_file {
            Some(path) => std::fs::read_to_string(path).map_err(EtaSettingsError::KeyFile)?,
            None => std::env::var(&self.api_key_env).unwrap_or_default(),
        };
        let key = text.trim();
        if key.is_empty() { Err(EtaSettingsError::NoKey(self.api_key_env.clone())) } else { Ok(key.to_owned()) }
    }
}
