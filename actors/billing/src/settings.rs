//! What can be set about billing, and what is wrong with it.

use crate::model::{RetryPolicy, Tariff};
use crate::performer::Policies;
use serde::{Deserialize, Serialize};
use shers_contract::Secret;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Who takes payments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Nobody: payments stay in the sandbox's ledger.
    #[default]
    Sandbox,
    /// Stripe; needs a build with the feature `providers`.
    Stripe,
}

/// Limits of one currency in its own minor units, where an account's differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OwnLimits {
    /// Smallest.
    pub min_minor: i64,
    /// Largest.
    pub max_minor: i64,
}

/// Configuration of the service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What runs cost.
    pub tariff: Tariff,
    /// Who takes payments. Payments of exercises always stay in the sandbox.
    pub provider: Provider,
    /// Another address than Stripe's own, for peers and proxies; plain HTTP only to this machine.
    pub stripe_url: String,
    /// Stripe's secret key, from the environment (`SHERS_BILLING__STRIPE_KEY`) only. Never printed.
    pub stripe_key: Option<Secret>,
    /// File with Stripe's secret key; read at start.
    pub stripe_key_file: Option<PathBuf>,
    /// Secret of the webhook endpoint, from the environment only. Never printed.
    pub stripe_webhook_secret: Option<Secret>,
    /// File with the secret of the webhook endpoint; read at start.
    pub stripe_webhook_secret_file: Option<PathBuf>,
    /// A webhook that was signed longer ago is refused, seconds.
    pub stripe_webhook_tolerance_s: u32,
    /// Longest wait for an answer of Stripe, milliseconds; then the outcome is unknown.
    pub stripe_time_limit_ms: u32,
    /// Smallest and largest amounts by currency, where the account's differ from Stripe's own.
    pub stripe_amounts: BTreeMap<String, OwnLimits>,
    /// Where the insurer is; `/fhir/R4/CoverageEligibilityRequest` is added.
    pub insurer_url: String,
    /// Longest wait for an answer of the insurer, milliseconds.
    pub insurer_time_limit_ms: u32,
    /// Retries of an insurer that fails; then a person is needed.
    pub insurer_retry: RetryPolicy,
    /// How often a queued question, or a payment that is being decided, is asked about.
    pub poll: RetryPolicy,
    /// Retries of a payment provider that does not answer; then a person is needed.
    pub payment_retry: RetryPolicy,
    /// Retries of undoing; then a person is needed.
    pub compensation_retry: RetryPolicy,
    /// Messages taken from the exchange at once.
    pub batch_messages: usize,
    /// Attempts before a message goes to the dead letters.
    pub max_attempts: u32,
    /// Requests that may wait.
    pub queue: usize,
    /// How long a request may wait for its answer, seconds.
    pub time_limit_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tariff: Tariff::default(),
            provider: Provider::Sandbox,
            stripe_url: "https://api.stripe.com".to_owned(),
            stripe_key: None,
            stripe_key_file: None,
            stripe_webhook_secret: None,
            stripe_webhook_secret_file: None,
            stripe_webhook_tolerance_s: 300,
            stripe_time_limit_ms: 20_000,
            stripe_amounts: BTreeMap::new(),
            insurer_url: "http://127.0.0.1:8080".to_owned(),
            insurer_time_limit_ms: 10_000,
            insurer_retry: RetryPolicy { first_ms: 1_000, max_ms: 300_000, tries: 8 },
            poll: RetryPolicy { first_ms: 2_000, max_ms: 60_000, tries: 60 },
            payment_retry: RetryPolicy { first_ms: 1_000, max_ms: 300_000, tries: 8 },
            compensation_retry: RetryPolicy { first_ms: 1_000, max_ms: 600_000, tries: 16 },
            batch_messages: 256,
            max_attempts: 8,
            queue: 256,
            time_limit_s: 10,
        }
    }
}

/// Keys of the section that hold secrets, which have no place in a configuration file.
pub const SECRETS: [&str; 2] = ["stripe_key", "stripe_webhook_secret"];

/// A secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("reading {key} {}", .path.display())]
    File {
        /// Which setting.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is empty.
    #[error("{key} {} is empty", .path.display())]
    Empty {
        /// Which setting.
        key: &'static str,
        /// Which file.
        path: PathBuf,
    },
}

impl Settings {
    /// Everything that is wrong and can be seen without opening anything, each with the setting's name.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.tariff.check().err().map(|error| error.to_string()).into_iter().collect();
        if self.provider == Provider::Stripe {
            self.stripe_problems(&mut problems);
        }
        if self.stripe_webhook_secret.is_some() && self.stripe_webhook_secret_file.is_some() {
            problems
                .push("stripe_webhook_secret and stripe_webhook_secret_file are both given; one is enough".to_owned());
        }
        for (code, own) in &self.stripe_amounts {
            if own.min_minor < 1 || own.max_minor < own.min_minor {
                problems.push(format!("stripe_amounts.{code}: min_minor is 1 or more, and max_minor not below it"));
            }
        }
        problems
    }

    fn stripe_problems(&self, problems: &mut Vec<String>) {
        if !cfg!(feature = "providers") {
            problems.push(
                "provider is \"stripe\", and Stripe is not in this build; build with `--features providers` (the images are), or set provider = \"sandbox\"".to_owned(),
            );
        }
        match (&self.stripe_key, &self.stripe_key_file) {
            (None, None) => problems.push(
                "provider is \"stripe\" and there is no secret key; set SHERS_BILLING__STRIPE_KEY, or stripe_key_file"
                    .to_owned(),
            ),
            (Some(_), Some(_)) => {
                problems.push("stripe_key and stripe_key_file are both given; one is enough".to_owned());
            }
            (Some(key), None) if !is_key(key) => problems.push(NOT_A_KEY.to_owned()),
            (Some(_), None) | (None, Some(_)) => {}
        }
        if !is_safe(&self.stripe_url) {
            problems.push(format!(
                "stripe_url is {:?}; it begins with https://, or with http:// and an address of this machine",
                self.stripe_url
            ));
        }
        if !(100..=120_000).contains(&self.stripe_time_limit_ms) {
            problems.push("stripe_time_limit_ms is 100 to 120000".to_owned());
        }
    }

    /// The secret of the webhook endpoint, if webhooks are taken.
    ///
    /// # Errors
    /// Its file can't be used.
    pub fn webhook_secret(&self) -> Result<Option<Secret>, SecretError> {
        secret("stripe_webhook_secret_file", &self.stripe_webhook_secret, self.stripe_webhook_secret_file.as_ref())
    }

    /// Stripe's secret key.
    ///
    /// # Errors
    /// Its file can't be used.
    pub fn key(&self) -> Result<Option<Secret>, SecretError> {
        secret("stripe_key_file", &self.stripe_key, self.stripe_key_file.as_ref())
    }

    pub(crate) fn policies(&self) -> Policies {
        Policies {
            insurer: self.insurer_retry,
            poll: self.poll,
            payment: self.payment_retry,
            compensation: self.compensation_retry,
        }
    }

    pub(crate) fn insurer_time_limit(&self) -> Duration {
        Duration::from_millis(u64::from(self.insurer_time_limit_ms))
    }
}

pub(crate) const NOT_A_KEY: &str = "stripe_key is no secret key of Stripe: one begins with sk_ or rk_";

pub(crate) fn is_key(key: &Secret) -> bool {
    let key = key.reveal();
    (key.starts_with("sk_") || key.starts_with("rk_")) && key.bytes().all(|b| b.is_ascii_graphic())
}

/// The key travels with every request: in the clear only within this machine.
fn is_safe(url: &str) -> bool {
    let host = |rest: &str| rest.split(['/', ':']).next().unwrap_or_default().to_owned();
    match url.strip_prefix("https://") {
        Some(rest) => !host(rest).is_empty(),
        None => {
            url.strip_prefix("http://").is_some_and(|rest| ["127.0.0.1", "localhost"].contains(&host(rest).as_str()))
        }
    }
}

fn secret(key: &'static str, given: &Option<Secret>, file: Option<&PathBuf>) -> Result<Option<Secret>, SecretError> {
    let Some(path) = file else { return Ok(given.clone()) };
    let text = std::fs::read_to_string(path).map_err(|source| SecretError::File { key, path: path.clone(), source })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(SecretError::Empty { key, path: path.clone() });
    }
    Ok(Some(Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripe() -> Settings {
        Settings { provider: Provider::Stripe, stripe_key: Some(Secret::new("sk_test_1")), ..Settings::default() }
    }

    fn check(settings: Settings, want: &[&str]) {
        let mut problems = settings.problems();
        problems.retain(|problem| !problem.contains("not in this build"));
        assert_eq!(problems.len(), want.len(), "{problems:?}");
        for word in want {
            assert!(problems.iter().any(|problem| problem.contains(word)), "{word} in {problems:?}");
        }
    }

    #[test]
    fn every_problem_is_named_and_no_secret_is() {
        check(Settings::default(), &[]);
        check(stripe(), &[]);
        check(Settings { stripe_key: None, ..stripe() }, &["SHERS_BILLING__STRIPE_KEY"]);
        check(Settings { stripe_key: None, stripe_key_file: Some("/run/key".into()), ..stripe() }, &[]);
        check(Settings { stripe_key_file: Some("/run/key".into()), ..stripe() }, &["one is enough"]);
        check(Settings { stripe_key: Some(Secret::new("pk_live_hush")), ..stripe() }, &["sk_"]);
        check(Settings { stripe_url: "http://example.com".to_owned(), ..stripe() }, &["stripe_url"]);
        check(Settings { stripe_url: "http://127.0.0.1:8420".to_owned(), ..stripe() }, &[]);
        check(Settings { stripe_url: "http://127.0.0.1.example.com".to_owned(), ..stripe() }, &["stripe_url"]);
        check(Settings { stripe_time_limit_ms: 0, ..stripe() }, &["stripe_time_limit_ms"]);
        let own = BTreeMap::from([("CHF".to_owned(), OwnLimits { min_minor: 9, max_minor: 5 })]);
        check(Settings { stripe_amounts: own, ..stripe() }, &["stripe_amounts.CHF"]);
        let shown =
            format!("{:?} {:?}", stripe(), Settings { stripe_key: Some(Secret::new("hush")), ..stripe() }.problems());
        assert!(!shown.contains("sk_test_1") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn a_build_without_stripe_says_how_to_get_one() {
        let said = stripe().problems().iter().any(|problem| problem.contains("--features providers"));
        assert_eq!(said, !cfg!(feature = "providers"));
    }

    #[test]
    fn a_secret_comes_from_its_file() {
        let path = std::env::temp_dir().join(format!("shers-secret-{}", std::process::id()));
        std::fs::write(&path, "sk_test_2\n").expect("written");
        let settings = Settings { stripe_key: None, stripe_key_file: Some(path.clone()), ..stripe() };
        assert_eq!(settings.key().expect("readable"), Some(Secret::new("sk_test_2")));
        std::fs::write(&path, " \n").expect("written");
        assert!(matches!(settings.key(), Err(SecretError::Empty { .. })));
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(settings.key(), Err(SecretError::File { .. })));
    }
}
