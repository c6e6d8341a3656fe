//! One HTTP question to a provider of drive times: size and time are limited, and no address, key or body
//! reaches an error.

use serde::de::DeserializeOwned;
use std::time::Duration;

/// Largest answer that is read, in bytes. 625 elements of any provider are far below it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("preparing the HTTP client for drive times")]
pub struct ClientError(#[source] reqwest::Error);

/// A client for `base_url` that gives up after `time_limit`.
///
/// # Errors
/// The client can't be made (certificates).
pub fn client(base_url: &str, time_limit: Duration) -> Result<reqwest::Client, ClientError> {
    // The TLS library wants its cryptography named once a process; whoever was first is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder =
        reqwest::Client::builder().timeout(time_limit).no_proxy().redirect(reqwest::redirect::Policy::none());
    if base_url.starts_with("http://") {
        // Nothing to verify, so nothing to fail over missing system certificates.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(ClientError)
}

/// Sends a request and reads its JSON answer.
///
/// # Errors
/// Why there is none, in words that name neither address nor key.
pub async fn json<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, String> {
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if status.as_u16() == 429 {
        return Err("it asks for fewer questions (HTTP 429)".to_owned());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err("its answer is too long".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        return Err(format!("it answered HTTP {}", status.as_u16()));
    }
    serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("its answer is not what it should be (line {line}, column {column})")
    })
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn failed(error: reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the connection broke".to_owned()
    }
}
