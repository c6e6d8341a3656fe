//! The port to an insurer, and its implementation over FHIR R4 on HTTP.

use crate::gateway::eligibility;
use async_trait::async_trait;
use serde_json::Value;
use shers_contract::{Money, Timestamp, billing::Order, fhir::EligibilityResponse, patient::CoverageRef};
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

#[cfg(test)]
mod tests {
    use super::*;
    use shers_contract::{
        Currency, IncidentId, PlanId,
        incident::{Disposition, StartBilling},
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn ask() -> Ask {
        let at = Timestamp::from_ms(1_772_366_400_000);
        let request = StartBilling {
            incident_id: IncidentId::new("i-1").expect("an id"),
            patient_id: None,
            transported: true,
            distance_m: 0,
            level_of_care: "als".to_owned(),
            disposition: Disposition::Transported,
            served_at: at,
        };
        let order = Order { request, patient_id: None, lines: Vec::new(), total: Money::new(100_005, Currency::CHF) };
        let coverage = CoverageRef { plan_id: PlanId::new("basic").expect("an id"), member_id: "m-1".to_owned() };
        Ask { order, coverage, attempt: 1, created: at }
    }

    /// Asks a peer that answers one request with `status` and `body`; returns what it was sent, too.
    async fn answered(status: &str, body: &str) -> (Eligibility, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let reply = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let peer = async {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut seen = String::new();
            // The body ends with the last item's brackets; a request is one JSON object.
            while !seen.ends_with("}") {
                let mut buffer = [0_u8; 4096];
                let read = socket.read(&mut buffer).await.expect("readable");
                seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
            socket.write_all(reply.as_bytes()).await.expect("writable");
            seen
        };
        let insurer = FhirInsurer::new(&url, "secret".to_owned(), Duration::from_secs(5)).expect("a client");
        let asked = ask();
        tokio::join!(insurer.eligibility(&asked), peer)
    }

    const COVERED: &str = r#"{"resourceType":"CoverageEligibilityResponse","id":"r-1","status":"active",
        "purpose":["benefits"],"patient":{},"created":"2026-03-01T12:00:00Z","request":{},"outcome":"complete",
        "insurer":{},"insurance":[{"coverage":{},"inforce":true,"item":[{"excluded":false,"benefit":[
        {"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/benefit-type","code":"benefit"}]},
        "allowedMoney":{"value":900.05,"currency":"CHF"}}]}]}]}"#;

    #[tokio::test]
    async fn the_answer_decides_what_the_insurer_pays() {
        for (what, body, want) in [
            ("covered", COVERED.to_owned(), Some(90_005)),
            ("not in force", COVERED.replace("\"inforce\":true", "\"inforce\":false"), Some(0)),
            ("excluded", COVERED.replace("\"excluded\":false", "\"excluded\":true"), Some(0)),
            ("more than the bill", COVERED.replace("900.05", "5000"), Some(100_005)),
            ("another currency", COVERED.replace("CHF", "EUR"), None),
            ("a fraction of a Rappen", COVERED.replace("900.05", "900.005"), None),
            ("no benefit", COVERED.replace("\"benefit\"}", "\"visit\"}"), None),
        ] {
            let (got, _) = answered("200 OK", &body).await;
            match (got, want) {
                (Eligibility::Complete { insurer, .. }, Some(minor)) => {
                    assert_eq!(insurer.amount_minor, minor, "{what}")
                }
                (Eligibility::Error { retryable: true, .. }, None) => {}
                (other, _) => panic!("{what}: {other:?}"),
            }
        }
        let (queued, _) = answered("200 OK", &COVERED.replace("\"complete\"", "\"queued\"")).await;
        assert_eq!(queued, Eligibility::Queued);
    }

    #[tokio::test]
    async fn the_question_carries_the_token_the_plan_and_the_exact_price() {
        let (_, sent) = answered("200 OK", COVERED).await;
        for part in [
            "POST /fhir/R4/CoverageEligibilityRequest ",
            "authorization: Bearer secret",
            "\"system\":\"urn:shers:plan:basic\",\"value\":\"m-1\"",
            "\"value\":\"i-1.1\"",
            "\"servicedDate\":\"2026-03-01\"",
            "\"code\":\"ambulance-als\"",
            "\"value\":1000.05",
        ] {
            assert!(sent.contains(part), "{part} in {sent}");
        }
    }

    #[tokio::test]
    async fn failures_say_whether_asking_again_may_help() {
        for (status, body, retryable) in [
            ("503 Service Unavailable", "", true),
            ("429 Too Many Requests", "", true),
            ("401 Unauthorized", "", false),
            ("422 Unprocessable Content", "", false),
            ("200 OK", "{}", true),
        ] {
            let (got, _) = answered(status, body).await;
            assert!(matches!(got, Eligibility::Error { retryable: r, .. } if r == retryable), "{status}: {got:?}");
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let nobody = FhirInsurer::new(&url, "secret".to_owned(), Duration::from_secs(5)).expect("a client");
        let got = nobody.eligibility(&ask()).await;
        assert!(matches!(got, Eligibility::Error { retryable: true, .. }), "{got:?}");
    }
}
