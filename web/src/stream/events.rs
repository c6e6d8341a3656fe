//! The twins of the websocket over the same log: pages of JSON, and server-sent events.
//!
//! Both read at the client's own pace, straight from ring or log, so there is nothing to overflow.

use super::{filter::Filter, hub::Hub};
use crate::{auth::Caller, input::Query, limits::Seat, problem::Refused, site::Site};
use actix_web::{HttpRequest, HttpResponse, http::header, web::Bytes};
use futures::stream;
use shers_contract::{Problem, Timestamp};
use shers_runtime::StoreError;
use std::{convert::Infallible, fmt::Write as _, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Reads of ring or log that one page may take; a page that found little ends there, with its cursor.
const READS: usize = 64;

/// Answers `GET /events`.
pub(crate) async fn serve(
    site: &Arc<Site>,
    request: &HttpRequest,
    query: &Query,
    caller: &Caller,
) -> Result<HttpResponse, Refused> {
    let filter = match query.get("pattern") {
        Some(patterns) => Filter::of(patterns.split(','))
            .map_err(|error| Problem::malformed(error.to_string()).with("parameter", "pattern"))?,
        None => Filter::ALL,
    };
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.contains("text/event-stream") {
        sse(site, request, query, filter, caller)
    } else {
        page(site, query, filter).await
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: StoreError) -> Problem {
    tracing::warn!(%error, "events can't be read");
    Problem::unavailable("the event log can't be read now; try again")
}

/// One page: `next` says where the next begins, null when the head is reached; `head` is the offset up to
/// which this page looked, from where a poller goes on.
async fn page(site: &Site, query: &Query, filter: Filter) -> Result<HttpResponse, Refused> {
    let mut at = query.number("after")?.unwrap_or(0);
    let limit = query.limit(&site.settings)?;
    let hub = &site.hub;
    let head = hub.end();
    let mut items = Vec::new();
    for _ in 0..READS {
        let pulled = hub.read(at, filter).await.map_err(unreadable)?;
        let room = limit - items.len();
        if let Some(last) = pulled.events.get(room.saturating_sub(1)).filter(|_| room > 0) {
            at = if pulled.events.len() > room { last.offset } else { pulled.to };
        } else {
            at = pulled.to;
        }
        items.extend(pulled.events.into_iter().take(room));
        if items.len() >= limit || at >= head {
            break;
        }
    }
    let mut body = String::from("{\"items\":[");
    for (place, event) in items.iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        body.push_str(&event.object());
    }
    let next = if at < hub.end() { format!("\"{at}\"") } else { "null".into() };
    let _ = write!(body, "],\"next\":{next},\"head\":{at}}}");
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// A stream of server-sent events, as far as it is.
struct Sse {
    hub: Arc<Hub>,
    filter: Filter,
    at: u64,
    grown: watch::Receiver<u64>,
    draining: watch::Receiver<bool>,
    heartbeat: Duration,
    expires_at: Option<Timestamp>,
    first: Option<String>,
    _seat: Seat,
}

fn sse(
    site: &Arc<Site>,
    request: &HttpRequest,
    query: &Query,
    filter: Filter,
    caller: &Caller,
) -> Result<HttpResponse, Refused> {
    let seat = site.streams.seat(&caller.principal.subject)?;
    let hub = Arc::clone(&site.hub);
    let head = hub.end();
    let last = request.headers().get("last-event-id").and_then(|v| v.to_str().ok());
    let (at, other_epoch) = match last {
        Some(text) => resume(text, hub.epoch(), head)?,
        None => (query.number("after")?.unwrap_or(head), false),
    };
    let mut first = format!("retry: 1000\n: {} events\n\n", hub.epoch());
    if other_epoch {
        let _ = write!(first, "event: gap\ndata: {{\"next\":{},\"why\":\"epoch\"}}\n\n", head + 1);
    }
    let state = Sse {
        grown: hub.watch(),
        hub,
        filter,
        at,
        draining: site.draining.clone(),
        heartbeat: Duration::from_millis(site.settings.stream.heartbeat_ms),
        expires_at: caller.expires_at,
        first: Some(first),
        _seat: seat,
    };
    let body = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), state))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(body))
}

/// Where a client goes on: `<epoch>/<offset>`, or a plain offset. True when its epoch is another one.
fn resume(text: &str, epoch: &str, head: u64) -> Result<(u64, bool), Problem> {
    let bad =
        || Problem::malformed(format!("Last-Event-ID is not one of ours: {text:?}")).with("header", "Last-Event-ID");
    let (of, offset) = text.rsplit_once('/').unwrap_or((epoch, text));
    let offset: u64 = offset.parse().map_err(|_| bad())?;
    let other = of != epoch || offset > head;
    Ok((if other { head } else { offset }, other))
}

impl Sse {
    /// The next chunk; `None` ends the stream, and the client comes back with its last id.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let expired = self.expires_at.is_some_and(|at| at <= shers_runtime::clock::system_now());
            if *self.draining.borrow() || expired {
                return None;
            }
            self.grown.borrow_and_update();
            let pulled = match self.hub.read(self.at, self.filter).await {
                Ok(pulled) => pulled,
                Err(error) => {
                    tracing::warn!(%error, "a stream of server-sent events ends: the log can't be read");
                    return None;
                }
            };
            let moved = pulled.to > self.at;
            self.at = pulled.to;
            if !pulled.events.is_empty() {
                let epoch = self.hub.epoch();
                let mut chunk = String::new();
                for event in &pulled.events {
                    let (offset, kind, object) = (event.offset, event.kind_name(), event.object());
                    let _ = write!(chunk, "id: {epoch}/{offset}\nevent: {kind}\ndata: {object}\n\n");
                }
                return Some(chunk);
            }
            if moved && self.at < self.hub.end() {
                continue;
            }
            tokio::select! {
                grown = self.grown.changed() => {
                    if grown.is_err() {
                        return None;
                    }
                }
                _ = self.draining.changed() => {}
                // An id without data moves the client's offset on and shows it nothing.
                () = tokio::time::sleep(self.heartbeat) => return Some(format!(": heartbeat\nid: {}/{}\n\n", self.hub.epoch(), self.at)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_goes_on_where_it_was_unless_the_log_is_another() {
        for (text, want) in [
            ("e1/5", Some((5, false))),
            ("5", Some((5, false))),
            ("e2/5", Some((9, true))),
            ("e1/10", Some((9, true))),
            ("e1/x", None),
        ] {
            assert_eq!(resume(text, "e1", 9).ok(), want, "{text}");
        }
    }
}
