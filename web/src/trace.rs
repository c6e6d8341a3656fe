//! Ids of a request: its own, and the trace it belongs to. Spans carry ids and route names only: no
//! query, no token, no body, no path with a patient in it.

use crate::site::Site;
use actix_web::{
    Error, HttpMessage,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::Next,
};
use shers_contract::Traceparent;
use std::sync::Arc;
use tracing::Span;
use tracing_actix_web::RootSpanBuilder;
use uuid::Uuid;

/// W3C trace context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Id of this request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Ids of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestIds {
    /// Also the `causation_id` of the events it causes.
    pub(crate) id: Uuid,
    /// Its own span within the trace.
    pub(crate) traceparent: Traceparent,
}

impl RequestIds {
    fn of(request: &ServiceRequest, site: &Site) -> Self {
        let ids = &site.deps.ids;
        let id = ids.uuid(site.deps.clock.now());
        let span_id = ids.random();
        let parent = request.headers().get(TRACEPARENT).and_then(|v| v.to_str().ok()).and_then(Traceparent::parse);
        let traceparent = match parent {
            Some(parent) => parent.child(span_id),
            None => Traceparent { trace_id: (u128::from(ids.random()) << 64) | u128::from(ids.random()), span_id },
        };
        Self { id, traceparent }
    }
}

/// Gives every request its ids and every answer the headers that say them, and the security headers.
pub(crate) async fn edge<B: MessageBody>(
    site: Arc<Site>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let ids = RequestIds::of(&request, &site);
    request.extensions_mut().insert(ids);
    let mut answer = next.call(request).await?;
    let headers = answer.headers_mut();
    let mut put = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    put(TRACEPARENT, &ids.traceparent.to_string());
    put(REQUEST_ID, ids.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    crate::security::protect(answer.headers_mut());
    Ok(answer)
}

/// Root spans with ids only.
pub(crate) struct Spans;

impl RootSpanBuilder for Spans {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let ids = request.extensions().get::<RequestIds>().copied();
        // Every field at once: recording one later makes the JSON logger parse and write all of them again.
        match ids {
            Some(ids) => tracing::info_span!(
                "http.request",
                http.method = %request.method(),
                http.route = request.match_pattern().unwrap_or_else(|| "unknown".into()),
                http.status_code = tracing::field::Empty,
                request.id = %ids.id,
                trace_id = format!("{:032x}", ids.traceparent.trace_id),
            ),
            None => tracing::info_span!(
                "http.request",
                http.method = %request.method(),
                http.route = "unknown",
                http.status_code = tracing::field::Empty
            ),
        }
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let status = match outcome {
            Ok(answer) => answer.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        // Only a failure is logged after this point, so only then somebody reads it.
        if status.is_server_error() {
            span.record("http.status_code", status.as_u16());
            span.in_scope(|| tracing::warn!(status = status.as_u16(), "the request failed"));
        }
    }
}
