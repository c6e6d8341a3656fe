//! Problems as RFC 9457 says: what is wrong, where, and what would be right.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// An `application/problem+json` body. `type` is a short kebab-case word here and is written as
/// `/problems/<word>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Identifies the kind of problem: `/problems/<word>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong here and what would be right.
    pub detail: String,
    /// Further members, such as `field`, `state`, `errors`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Problem {
    /// A problem of `status` with a kebab-case `word`, whose title is that word in plain letters.
    #[must_use]
    pub fn new(status: u16, word: &str, detail: impl Into<String>) -> Self {
        let mut title = word.replace('-', " ");
        if let Some(first) = title.get_mut(0..1) {
            first.make_ascii_uppercase();
        }
        Self { kind: format!("/problems/{word}"), title, status, detail: detail.into(), more: Map::new() }
    }
    /// Adds a member, which must not be one of those every problem has.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        debug_assert!(!matches!(name, "type" | "title" | "status" | "detail"), "{name} is a member of every problem");
        self.more.insert(name.to_owned(), value.into());
        self
    }
    /// 400: the body or a parameter could not be read at all.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed-request", detail)
    }
    /// 422: readable, but a value cannot be right. `field` is a JSON pointer.
    #[must_use]
    pub fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::new(422, "invalid-value", detail).with("field", field)
    }
    /// 404.
    #[must_use]
    pub fn not_found(thing: &str, id: &str) -> Self {
        Self::new(404, "not-found", format!("there is no {thing} {id:?}"))
    }
    /// 409: the state does not allow it; say which state and what would.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, "conflict", detail)
    }
    /// 412: `If-Match` named another version.
    #[must_use]
    pub fn stale(expected: u64, actual: u64) -> Self {
        Self::new(412, "stale-version", format!("the resource is at version {actual}, not {expected}; read it again"))
            .with("version", actual)
    }
    /// 403.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "forbidden", detail)
    }
    /// 503: nothing was done; try again.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, "unavailable", detail)
    }
    /// 409: a request with the same Idempotency-Key has not ended.
    #[must_use]
    pub fn still_running() -> Self {
        let detail = "a request with this Idempotency-Key is still being worked on; ask again shortly";
        Self::new(409, "still-running", detail)
    }
    /// 504: no answer in time; it may or may not have happened.
    #[must_use]
    pub fn unknown_outcome() -> Self {
        Self::new(
            504,
            "outcome-unknown",
            "no answer came in time, so it is not known whether this was done; ask again with the same Idempotency-Key",
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.title, self.status, self.detail)
    }
}

impl std::error::Error for Problem {}
