//! What can be set about notifications.

use crate::model::quiet::Limits;
use serde::{Deserialize, Serialize};
use shers_contract::{Secret, notification::DeliveryPolicy};
use std::{path::PathBuf, time::Duration};

/// Who carries messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Nobody: messages stay in the sandbox's ledger.
    #[default]
    Sandbox,
    /// Amazon SNS for text messages and SES for e-mail; needs a build with the feature `providers`.
    Aws,
}

/// How e-mail leaves by Amazon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailRoute {
    /// SES v2, to the address itself.
    #[default]
    Ses,
    /// An SNS topic that each relative has subscribed to and confirmed, with a filter policy on the attribute
    /// `recipient`.
    SnsTopic,
}

/// `[notification.aws]`: Amazon's region, keys and senders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsSettings {
    /// Region of SNS and SES, such as `eu-central-1`.
    pub region: Option<String>,
    /// Another endpoint than the region's own, for peers and proxies.
    pub endpoint_url: Option<String>,
    /// Access key id.
    pub access_key_id: Option<String>,
    /// Secret access key. Better in `secret_access_key_file`. Never printed.
    pub secret_access_key: Option<Secret>,
    /// File with the secret access key; read at start.
    pub secret_access_key_file: Option<PathBuf>,
    /// Session token of temporary keys. Never printed.
    pub session_token: Option<Secret>,
    /// Sender that text messages show, where the country allows it: 3 to 11 letters and digits.
    pub sender_id: Option<String>,
    /// How e-mail leaves.
    pub mail_route: MailRoute,
    /// Verified sender of e-mail by SES.
    pub mail_from: Option<String>,
    /// Topic of e-mail by SNS.
    pub mail_topic_arn: Option<String>,
}

/// Settings of the notification service. Every limit has its name here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who carries messages. Messages of exercises always stay in the sandbox.
    pub provider: Provider,
    /// Amazon.
    pub aws: AwsSettings,
    /// Attempts for one contact and channel before the next one is tried.
    pub attempts_per_target: u16,
    /// Wait after the first failed attempt, in seconds; doubles with each.
    pub backoff_s: u32,
    /// Longest wait between attempts, in seconds.
    pub max_backoff_s: u32,
    /// How often an attempt whose outcome is unknown may be repeated to the same contact and channel.
    pub ambiguous_repeats: u16,
    /// A provider that has not answered after so many milliseconds of real time leaves the outcome unknown.
    pub send_limit_ms: u64,
    /// The same template about the same patient is not sent again within so many seconds.
    pub quiet_s: u32,
    /// Notifications about one patient within a day, at most.
    pub max_per_day: usize,
    /// Most ways to reach somebody that one notification tries.
    pub max_targets: usize,
    /// How much later than `send_limit_ms` the sandbox answers where it is told to answer late, in milliseconds.
    pub sandbox_late_ms: u64,
    /// Requests that may wait for this service.
    pub max_waiting_requests: usize,
    /// Longest time for a request, in milliseconds.
    pub request_limit_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            provider: Provider::Sandbox,
            aws: AwsSettings::default(),
            attempts_per_target: 3,
            backoff_s: 2,
            max_backoff_s: 60,
            ambiguous_repeats: 1,
            send_limit_ms: 5_000,
            quiet_s: 600,
            max_per_day: 40,
            max_targets: 16,
            sandbox_late_ms: 1_000,
            max_waiting_requests: 64,
            request_limit_ms: 10_000,
        }
    }
}

impl Settings {
    pub(crate) fn policy(&self, provider: &str) -> DeliveryPolicy {
        DeliveryPolicy {
            attempts_per_target: self.attempts_per_target,
            backoff_ms: self.backoff_s.saturating_mul(1000),
            max_backoff_ms: self.max_backoff_s.saturating_mul(1000),
            ambiguous_repeats: self.ambiguous_repeats,
            provider: provider.to_owned(),
        }
    }
    pub(crate) fn quiet(&self) -> Limits {
        Limits { quiet_ms: i64::from(self.quiet_s) * 1000, max_per_day: self.max_per_day }
    }
    pub(crate) fn send_limit(&self) -> Duration {
        Duration::from_millis(self.send_limit_ms)
    }
    pub(crate) fn sandbox_late(&self) -> Duration {
        Duration::from_millis(self.send_limit_ms.saturating_add(self.sandbox_late_ms))
    }
    pub(crate) fn request_limit(&self) -> Duration {
        Duration::from_millis(self.request_limit_ms)
    }
}
