//! Reading what a client sent: query parameters, path parameters, bodies. Each refusal says what, where,
//! and what would be right.

use crate::{problem::Refused, settings::Settings};
use actix_web::{
    HttpRequest,
    http::header,
    web::{self, Payload},
};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shers_contract::{Problem, api::Page};
use std::fmt::Display;

/// Query parameters, each at most once.
#[derive(Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query of `request`. Names outside `allowed` are refused; `None` allows all.
    pub(crate) fn of(request: &HttpRequest, allowed: Option<&[&str]>) -> Result<Self, Problem> {
        let text = request.query_string();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text)
            .map_err(|_| Problem::malformed("the query is not name=value pairs joined by &"))?
            .into_inner();
        let Some(allowed) = allowed else { return Ok(Self(pairs)) };
        for (place, (name, _)) in pairs.iter().enumerate() {
            if !allowed.contains(&name.as_str()) {
                let known = if allowed.is_empty() { "no parameters".to_owned() } else { allowed.join(", ") };
                let detail = format!("unknown query parameter {name:?}; this route takes {known}");
                return Err(Problem::malformed(detail).with("parameter", name.as_str()));
            }
            if pairs.iter().take(place).any(|(earlier, _)| earlier == name) {
                let detail = format!("query parameter {name:?} is given twice");
                return Err(Problem::malformed(detail).with("parameter", name.as_str()));
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter, when it is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter that must be a whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Problem::malformed(format!("{name} must be a whole number, not {text:?}")).with("parameter", name)
                })
            })
            .transpose()
    }

    /// `limit` within what the settings allow.
    pub(crate) fn limit(&self, settings: &Settings) -> Result<usize, Problem> {
        let Some(limit) = self.number("limit")? else { return Ok(settings.page_items) };
        let max = settings.max_page_items;
        match usize::try_from(limit) {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            Ok(_) | Err(_) => {
                Err(Problem::malformed(format!("limit must be 1 to {max}, not {limit}")).with("parameter", "limit"))
            }
        }
    }

    /// Which page of a list.
    pub(crate) fn page(&self, settings: &Settings) -> Result<Page, Problem> {
        Ok(Page {
            cursor: self.get("cursor").map(str::to_owned),
            limit: self.limit(settings)?,
            status: self.get("status").map(str::to_owned),
        })
    }
}

/// A path parameter, decoded.
pub(crate) fn path_text(request: &HttpRequest, name: &str) -> String {
    percent_decoded(request.match_info().get(name).unwrap_or_default())
}

/// A path parameter as an id.
pub(crate) fn path_id<T>(request: &HttpRequest, name: &str) -> Result<T, Problem>
where
    T: std::str::FromStr,
    T::Err: Display,
{
    path_text(request, name)
        .parse()
        .map_err(|error: T::Err| Problem::malformed(error.to_string()).with("parameter", name))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            Some(_) | None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The media type of the body, without parameters, in lower case.
pub(crate) fn media_type(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Refuses a media type that is not one of `accepted`.
pub(crate) fn check_media_type(request: &HttpRequest, accepted: &[&str]) -> Result<String, Refused> {
    let got = media_type(request);
    if let Some(got) = got.as_deref().filter(|got| accepted.contains(got)) {
        return Ok(got.to_owned());
    }
    let got = got.map_or_else(|| "none was sent".to_owned(), |got| format!("{got:?} was sent"));
    let detail = format!("the Content-Type must be {}; {got}", accepted.join(" or "));
    Err(Refused::from(Problem::new(415, "unsupported-media-type", detail)).header(header::ACCEPT, accepted.join(", ")))
}

/// Reads the whole body, at most `limit` bytes.
pub(crate) async fn read_body(request: &HttpRequest, mut payload: Payload, limit: usize) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        Problem::new(413, "body-too-large", format!("the body is larger than {limit} bytes; send less at once"))
            .with("limit_bytes", limit)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(announced.unwrap_or(0));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::malformed("the body ended before its announced end"))?;
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A body as text.
pub(crate) fn text(body: Vec<u8>) -> Result<String, Problem> {
    String::from_utf8(body).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::malformed(format!("the body is not UTF-8: byte {at} does not belong there")).with("byte", at)
    })
}

/// Parses JSON. A syntax error says its line and column.
pub(crate) fn json(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = if body.iter().all(u8::is_ascii_whitespace) {
            "the body is empty; JSON was expected".to_owned()
        } else {
            format!("the body is not JSON: {error}")
        };
        Problem::malformed(detail).with("line", error.line()).with("column", error.column())
    })
}

/// Gives `value` a type. An error says where, as a JSON pointer, and what was expected.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = error.path().iter().fold(String::new(), |mut pointer, segment| {
            use serde_path_to_error::Segment;
            match segment {
                Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                Segment::Map { key } | Segment::Enum { variant: key } => {
                    pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1")));
                }
                Segment::Unknown => {}
            }
            pointer
        });
        Problem::invalid(&pointer, error.inner().to_string())
    })
}

/// Puts the id of the path into the body, where it may stand too but must not differ.
pub(crate) fn with_id(mut value: Value, name: &str, id: &str) -> Result<Value, Problem> {
    let Some(object) = value.as_object_mut() else {
        return Err(Problem::invalid("", "the body must be a JSON object"));
    };
    match object.get(name) {
        Some(Value::String(given)) if given != id => {
            let detail = format!("the path says {id:?} and the body {given:?}; they must be the same");
            Err(Problem::invalid(&format!("/{name}"), detail))
        }
        Some(Value::Null) | None => {
            object.insert(name.to_owned(), Value::String(id.to_owned()));
            Ok(value)
        }
        Some(_) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[test]
    fn broken_json_says_where() {
        let problem = json(b"{\n  \"a\": 1,\n  oops\n}").expect_err("broken");
        assert_eq!(
            (problem.status, problem.more["line"].as_u64(), problem.more["column"].as_u64()),
            (400, Some(3), Some(3))
        );
        assert!(json(b"  ").expect_err("empty").detail.contains("empty"));
    }

    #[test]
    fn a_value_that_cannot_be_right_says_its_pointer() {
        #[derive(Deserialize, Debug)]
        struct Outer {
            #[expect(dead_code, reason = "only read")]
            list: Vec<u8>,
        }
        let problem = typed::<Outer>(json!({"list": [1, 2, "x"]})).expect_err("not a number");
        assert_eq!((problem.status, problem.more["field"].as_str()), (422, Some("/list/2")));
    }

    #[test]
    fn the_id_of_the_path_is_put_in_and_may_not_differ() {
        assert_eq!(with_id(json!({}), "id", "a").expect("put in"), json!({"id": "a"}));
        assert!(with_id(json!({"id": "a"}), "id", "a").is_ok());
        assert!(with_id(json!({"id": "b"}), "id", "a").is_err());
        assert!(with_id(json!([]), "id", "a").is_err());
    }

    #[test]
    fn percent_escapes_are_decoded_once() {
        for (text, want) in [("a%2Fb", "a/b"), ("100%", "100%"), ("%zz", "%zz"), ("%2525", "%25")] {
            assert_eq!(percent_decoded(text), want);
        }
    }
}
