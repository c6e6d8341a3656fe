//! The city's HTTP client: bearer token, idempotency keys, and patience. What was not answered is asked
//! again with the same key, so a server that dies in between loses nothing and does nothing twice.

use serde_json::Value;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Time for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Wait between tries, at first; doubles.
const RETRY: Duration = Duration::from_millis(100);
/// Longest wait between tries.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Tries before giving up: about a minute.
const TRIES: u32 = 40;

/// No useful answer came.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answered.
    #[error("{method} {path}: no answer")]
    NoAnswer {
        method: &'static str,
        path: String,
        #[source]
        source: reqwest::Error,
    },
    /// The server said no.
    #[error("{method} {path}: {status} {detail}")]
    Refused { method: &'static str, path: String, status: u16, detail: String },
}

impl ClientError {
    /// The HTTP status, if the server answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NoAnswer { .. } => None,
            Self::Refused { status, .. } => Some(*status),
        }
    }
}

pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
    /// Keys are unique within a run: its name, then a number.
    run: String,
    next_key: AtomicU64,
}

impl Client {
    pub fn new(base: &str, token: &str, run: String) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(ANSWER_LIMIT).no_proxy().build()?;
        let base = format!("{}/api/v1", base.trim_end_matches('/'));
        Ok(Self { http, base, token: token.to_owned(), run, next_key: AtomicU64::new(1) })
    }

    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.ask("GET", path, None).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.ask("PUT", path, Some(body)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.ask("POST", path, Some(body)).await
    }

    async fn ask(&self, method: &'static str, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let key = format!("{}-{}", self.run, self.next_key.fetch_add(1, Ordering::Relaxed));
        let mut wait = RETRY;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.once(method, path, body, &key).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let passing = error.status().is_none_or(|status| status >= 500 || status == 429);
                    if !passing || tries >= TRIES {
                        return Err(error);
                    }
                    tracing::debug!(%error, "asking again");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn once(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        let mut request = match method {
            "PUT" => self.http.put(url),
            "POST" => self.http.post(url).header("Idempotency-Key", key),
            _ => self.http.get(url),
        };
        request = request.bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let no_answer = |source| ClientError::NoAnswer { method, path: path.to_owned(), source };
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(no_answer)?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if (200..300).contains(&status) {
            return Ok(value);
        }
        let detail = value.get("detail").and_then(Value::as_str).unwrap_or("").to_owned();
        Err(ClientError::Refused { method, path: path.to_owned(), status, detail })
    }
}
