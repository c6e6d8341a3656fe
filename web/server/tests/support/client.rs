//! An HTTP client that keeps status, headers and JSON of every answer.

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;
use std::time::Duration;

/// Time for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Asks one server with one token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: String,
    token: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body as JSON, or as a JSON string when it is none.
    pub body: Value,
}

impl Answer {
    /// The body, when the status is the expected one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// A problem as RFC 9457 says: media type, status, type, title, and a detail that contains `words`.
    #[track_caller]
    pub fn expect_problem(self, status: u16, kind: &str, words: &[&str]) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        let media_type = self.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
        assert_eq!(media_type, "application/problem+json", "{}", self.body);
        check_problem(&self.body, status, kind, words);
        self.body
    }
}

/// The members of a problem, also of one inside another body.
#[track_caller]
pub fn check_problem(problem: &Value, status: u16, kind: &str, words: &[&str]) {
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["type"], format!("/problems/{kind}"), "{problem}");
    assert!(problem["title"].as_str().is_some_and(|t| !t.is_empty()), "{problem}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    for word in words {
        assert!(detail.contains(word), "{word:?} is not in the detail: {problem}");
    }
}

impl Client {
    pub fn new(address: &str, token: &str) -> Self {
        // A second default provider is refused; the first is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(ANSWER_LIMIT).no_proxy().build().expect("a client");
        Self { http, address: address.to_owned(), token: token.to_owned() }
    }

    /// `host:port` it asks.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A request to a path below `/api/v1`, or to one that begins with `/health`, `/metrics` and so on.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let outside =
            ["/health", "/metrics", "/api", "/fhir", "/osmand", "/webhooks"].iter().any(|p| path.starts_with(p));
        let base = if outside { "" } else { "/api/v1" };
        self.http.request(method, format!("http://{}{base}{path}", self.address)).bearer_auth(&self.token)
    }

    /// Sends it; `Err` when there was no answer.
    pub async fn send(request: reqwest::RequestBuilder) -> Result<Answer, String> {
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.map_err(|error| format!("{error:?}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }

    pub async fn try_get(&self, path: &str) -> Result<Answer, String> {
        Self::send(self.request(Method::GET, path)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.expect("an answer")
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.request(Method::PUT, path).json(body)).await.expect("an answer")
    }

    pub async fn try_post(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let mut request = self.request(Method::POST, path).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::send(request).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body, &[]).await.expect("an answer")
    }

    /// A POST of a body that is not what `json` would make.
    pub async fn post_text(&self, path: &str, media_type: &str, body: impl Into<String>) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", media_type).body(body.into());
        Self::send(request).await.expect("an answer")
    }
}
