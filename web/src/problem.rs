//! Problems as HTTP answers: the one place where a [`Problem`] becomes bytes.

use crate::trace::RequestIds;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, http::StatusCode, http::header};
use shers_contract::Problem;

/// The media type of RFC 9457.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A problem with the headers that belong to it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) problem: Box<Problem>,
    pub(crate) headers: Vec<(header::HeaderName, String)>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), headers: Vec::new() }
    }
}

impl Refused {
    /// With one more header.
    pub(crate) fn header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer. `instance` names the request, as the `x-request-id` header does.
    pub(crate) fn respond(self, request: &HttpRequest) -> HttpResponse {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut problem = *self.problem;
        if let Some(ids) = request.extensions().get::<RequestIds>() {
            problem = problem.with("instance", format!("urn:uuid:{}", ids.id));
        }
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut answer = HttpResponse::build(status);
        answer.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
        for (name, value) in self.headers {
            answer.insert_header((name, value));
        }
        answer.body(body)
    }
}

/// 401 with the challenge that belongs to it.
pub(crate) fn unauthenticated(detail: &str) -> Refused {
    Refused::from(Problem::new(401, "unauthenticated", detail))
        .header(header::WWW_AUTHENTICATE, "Bearer realm=\"shers\"")
}

/// 429 with the time to wait.
pub(crate) fn too_many(detail: impl Into<String>, retry_after_s: u64) -> Refused {
    Refused::from(Problem::new(429, "too-many-requests", detail).with("retry_after_s", retry_after_s))
        .header(header::RETRY_AFTER, retry_after_s.to_string())
}
