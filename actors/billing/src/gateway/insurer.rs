//! The port to an insurer, and its implementation over FHIR R4 on HTTP.

use crate::gateway::eligibility;
use async_trait::async_trait;
use serde_json::Value;
use shers_contract::{
    Money, Timestamp,
    billing::{BillLine, Order},
    fhir::EligibilityResponse,
    patient::CoverageRef,
};
use std::time::Duration;

/// What the insurer is asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Ask {
    /// What is billed.
    pub order: Order,
    /// Under which cover.
    pub coverage: CoverageRef,
    /// Attempt of the bill: the question's identifier is `<bill>.<attempt>`.
    pub attempt: u16,
    /// When the question was written.
    pub created: Timestamp,
}

impl Ask {
    /// Lines of the bill, for whoever wants to show the question.
    #[must_use]
    pub fn lines(&self) -> &[BillLine] {
        &self.order.lines
    }
}

/// What the insurer said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Eligibility {
    /// The answer.
    Complete {
        /// What the insurer pays; the patient pays the rest.
        insurer: Money,
        /// In a sentence, why so.
        reason: String,
        /// The response's id.
        response_id: Option<String>,
    },
    /// Parked: ask again.
    Queued,
    /// No answer.
    Error {
        /// Asking again may help; else a person is needed.
        retryable: bool,
        /// What happened.
        reason: String,
    },
}

/// How releasing a claim ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Released {
    /// The insurer will not pay for it.
    Done,
    /// No answer.
    Error {
        /// Asking again may help; else a person is needed.
        retryable: bool,
        /// What happened.
        reason: String,
    },
}

/// An insurer. Asking and releasing are safe to repeat.
#[async_trait]
pub trait Insurer: Send + Sync + 'static {
    /// Asks what is covered.
    async fn eligibility(&self, ask: &Ask) -> Eligibility;
    /// Takes back what was asked: nothing will be claimed.
    async fn release(&self, ask: &Ask) -> Released;
}

/// The insurance service over synchronous HTTP.
pub struct FhirInsurer {
    client: reqwest::Client,
    url: String,
    token: String,
}

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("preparing the HTTP client for the insurer")]
pub struct ClientError(#[source] reqwest::Error);

/// What a call that gave no resource means.
struct CallError {
    retryable: bool,
    reason: String,
}

impl FhirInsurer {
    /// The insurer at `base_url`, asked with a bearer token.
    ///
    /// # Errors
    /// The client can't be made (certificates).
    pub fn new(base_url: &str, token: String, time_limit: Duration) -> Result<Self, ClientError> {
        // The TLS library wants its cryptography named once a process; whoever was first is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().timeout(time_limit).no_proxy();
        if base_url.starts_with("http://") {
            // Nothing to verify, so nothing to fail over missing system certificates.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(ClientError)?;
        let url = format!("{}/fhir/R4/CoverageEligibilityRequest", base_url.trim_end_matches('/'));
        Ok(Self { client, url, token })
    }

    async fn post(&self, body: &Value) -> Result<EligibilityResponse, CallError> {
        let passing = |reason: String| CallError { retryable: true, reason };
        let sent = self.client.post(&self.url).bearer_auth(&self.token).json(body).send().await;
        let response = sent.map_err(|error| passing(format!("asking the insurer: {}", without_url(error))))?;
        let status = response.status();
        if !status.is_success() {
            let retryable = status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429);
            return Err(CallError { retryable, reason: format!("the insurer answered HTTP {}", status.as_u16()) });
        }
        let text = response
            .text()
            .await
            .map_err(|error| passing(format!("reading the insurer's answer: {}", without_url(error))))?;
        serde_json::from_str(&text).map_err(|error| CallError {
            retryable: true,
            reason: format!("the insurer's answer is not a CoverageEligibilityResponse: {error}"),
        })
    }
}

/// The error without the address, which may hold more than a log should.
fn without_url(error: reqwest::Error) -> String {
    error.without_url().to_string()
}

#[async_trait]
impl Insurer for FhirInsurer {
    async fn eligibility(&self, ask: &Ask) -> Eligibility {
        let body = match eligibility::request(ask) {
            Ok(body) => body,
            Err(error) => return Eligibility::Error { retryable: false, reason: error.to_string() },
        };
        match self.post(&body).await {
            Ok(response) => eligibility::understood(&response, ask.order.total),
            Err(CallError { retryable, reason }) => Eligibility::Error { retryable, reason },
        }
    }

    async fn release(&self, ask: &Ask) -> Released {
        let body = match eligibility::release(ask) {
            Ok(body) => body,
            Err(error) => return Released::Error { retryable: false, reason: error.to_string() },
        };
        match self.post(&body).await {
            Ok(response) => eligibility::released(&response),
            Err(CallError { retryable, reason }) => Released::Error { retryable, reason },
        }
    }
}
