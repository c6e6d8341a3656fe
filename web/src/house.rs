//! Looking after the house: health, metrics, the map, actors, dead letters.

use crate::{
    assets,
    input::{self, Query},
    problem::Refused,
    site::Site,
};
use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::json;
use shers_contract::{Problem, api::ActorAction};
use std::time::Duration;

/// How long the log may take to answer a readiness probe.
const PROBE: Duration = Duration::from_secs(2);

/// The process lives: it answers.
pub(crate) fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// The house can serve: the log answers, the services are there, nobody is stopping it.
pub(crate) async fn ready(site: &Site) -> Result<HttpResponse, Refused> {
    let unready = |why: String| Refused::from(Problem::unavailable(why)).header(header::RETRY_AFTER, "1");
    if site.is_draining() {
        return Err(unready("the server is being stopped".into()));
    }
    if site.deps.services.is_empty() {
        return Err(unready("no service runs in this process".into()));
    }
    let troubles = site.deps.overseer.troubles();
    if !troubles.is_empty() {
        return Err(unready(troubles.join("; ")));
    }
    let head = *site.deps.feed.head().borrow();
    match tokio::time::timeout(PROBE, site.deps.feed.read_after(head.saturating_sub(1), 1)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the log can't be read");
            return Err(unready("the event log can't be read".into()));
        }
        Err(_) => return Err(unready("the event log does not answer in time".into())),
    }
    let services: Vec<_> = site.deps.services.iter().map(|service| service.as_str()).collect();
    let uptime_s = site.started.elapsed().as_secs();
    Ok(HttpResponse::Ok().json(json!({"status": "ready", "services": services, "head": head, "uptime_s": uptime_s})))
}

/// Metrics as Prometheus reads them.
pub(crate) fn metrics(site: &Site) -> HttpResponse {
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    HttpResponse::Ok().insert_header(content_type).body(site.deps.metrics.render())
}

/// The roads of the map.
pub(crate) fn map(site: &Site, request: &HttpRequest) -> HttpResponse {
    let fresh = assets::is_fresh(request, &site.map_etag);
    let mut answer = if fresh { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((header::ETAG, site.map_etag.as_str()));
    answer.insert_header((header::CACHE_CONTROL, "private, no-cache"));
    answer.insert_header((header::CONTENT_TYPE, "application/octet-stream"));
    if fresh { answer.finish() } else { answer.body(site.deps.map.roads.clone()) }
}

/// What the map is called, whose it is, and what it shows.
pub(crate) fn map_info(site: &Site) -> HttpResponse {
    let map = &site.deps.map;
    HttpResponse::Ok().json(json!({
        "name": map.name,
        "attribution": map.attribution,
        "bounds": map.bounds,
        "exercise": site.deps.exercise,
        "server_time": site.deps.clock.now(),
        "speed": site.deps.clock.speed(),
    }))
}

/// Actors, the troubled ones first; `limit` holds for each category.
pub(crate) async fn actors(site: &Site, query: &Query) -> Result<HttpResponse, Refused> {
    let items = site.deps.overseer.actors(query.limit(&site.settings)?).await;
    Ok(HttpResponse::Ok().json(json!({"items": items, "next": null})))
}

/// Acts on an actor.
pub(crate) async fn act(site: &Site, request: &HttpRequest, action: ActorAction) -> Result<HttpResponse, Refused> {
    if action == ActorAction::Crash && !site.deps.exercise {
        return Err(Problem::forbidden("an actor can be crashed in exercise mode only").into());
    }
    let actor = input::path_text(request, "id");
    tracing::info!(actor, ?action, "a person acts on an actor");
    site.deps.overseer.act(&actor, action).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Messages that were given up.
pub(crate) async fn dead_letters(site: &Site) -> Result<HttpResponse, Refused> {
    let items = site.deps.overseer.dead_letters().await?;
    Ok(HttpResponse::Ok().json(json!({"items": items, "next": null})))
}

/// Delivers a dead letter once more.
pub(crate) async fn replay(site: &Site, request: &HttpRequest) -> Result<HttpResponse, Refused> {
    let id = input::path_text(request, "id");
    if site.deps.overseer.replay(&id).await? {
        tracing::info!(dead_letter = id, "replayed");
        Ok(HttpResponse::Accepted().json(json!({"id": id, "replayed": true})))
    } else {
        Err(Problem::not_found("dead letter", &id).into())
    }
}
