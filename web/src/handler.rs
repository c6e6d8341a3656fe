//! The one handler behind every route: who asks, how often, what was sent, then the service's answer.

use crate::{
    Streams,
    auth::Caller,
    house,
    input::{self, Query},
    problem::{Refused, unauthenticated},
    routes::{Access, Input, Operation, Route},
    site::Site,
    stream,
    trace::RequestIds,
    translate::Incoming,
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::Payload,
};
use sha2::{Digest, Sha256};
use shers_contract::{
    Problem,
    api::{Answer, Call, Idempotency, Principal, Request, Role},
};
use std::sync::Arc;
use tokio::time::Instant;

/// Longest Idempotency-Key, in characters.
const MAX_KEY: usize = 128;

/// Answers one request.
pub(crate) async fn handle(site: Arc<Site>, route: Route, request: HttpRequest, payload: Payload) -> HttpResponse {
    let started = Instant::now();
    let answer = match answer(&site, &route, &request, payload).await {
        Ok(answer) => answer,
        Err(refused) => refused.respond(&request),
    };
    let status = match answer.status().as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    let labels = [("method", route.method), ("route", route.path), ("status", status)];
    metrics::histogram!("shers_http_request_seconds", &labels).record(started.elapsed().as_secs_f64());
    answer
}

async fn answer(
    site: &Arc<Site>,
    route: &Route,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refused> {
    if matches!(route.operation, Operation::Stream | Operation::Ticket | Operation::Events)
        && site.deps.streams == Streams::Elsewhere
    {
        let detail = "the live stream is not told by this process; ask one that runs the stream service";
        return Err(Problem::new(421, "misdirected-request", detail).into());
    }
    if route.operation == Operation::Stream {
        return stream::socket::open(site, request, payload).await;
    }
    let caller = admit(site, route, request)?;
    site.rates.take(&caller.principal.subject, Instant::now())?;
    let allowed = if route.operation == Operation::Osmand { None } else { Some(route.query) };
    let query = Query::of(request, allowed)?;
    let (media_type, body) = receive(site, route, request, payload).await?;
    let idempotency = idempotency(route, request, &caller.principal, &body)?;
    let _held = idempotency.as_ref().map(|i| site.in_hand.hold(&i.key)).transpose()?;
    let mut incoming = Incoming { http: request, query, media_type, body, settings: &site.settings };
    match incoming.request(route.operation)? {
        Some(asked) => ask(site, request, caller.principal, idempotency, asked).await,
        None => own(site, route.operation, request, &incoming.query, caller).await,
    }
}

/// The caller, when the route is open to it.
fn admit(site: &Site, route: &Route, request: &HttpRequest) -> Result<Caller, Refused> {
    match route.access {
        Access::Public => {
            let principal = Principal { subject: format!("public {}", route.path), role: Role::Device };
            Ok(Caller { principal, expires_at: None })
        }
        Access::Ticket => Err(unauthenticated("a ticket is needed")),
        Access::Roles(roles) => {
            let caller = site.auth.caller(request.headers(), route.operation == Operation::Osmand)?;
            if roles.contains(&caller.principal.role) {
                return Ok(caller);
            }
            let names = roles.iter().map(|role| role_name(*role)).collect::<Vec<_>>().join(", ");
            let own = role_name(caller.principal.role);
            Err(Problem::forbidden(format!("this needs one of the roles {names}; yours is {own}")).into())
        }
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Device => "device",
        Role::Viewer => "viewer",
        Role::Dispatcher => "dispatcher",
        Role::Administrator => "administrator",
    }
}

/// The media type and the body, both checked.
async fn receive(
    site: &Site,
    route: &Route,
    request: &HttpRequest,
    payload: Payload,
) -> Result<(String, Vec<u8>), Refused> {
    const JSON: &[&str] = &["application/json"];
    let limit = site.settings.body_bytes;
    let accepted: &[&str] = match route.input {
        Input::Nothing => return Ok((String::new(), Vec::new())),
        Input::Json(_) | Input::Signed => JSON,
        Input::Patch(_) => &["application/merge-patch+json", "application/json"],
        Input::Vitals => &["application/json", "application/x-ndjson", "application/ndjson"],
        Input::Fhir(_) => &["application/fhir+json", "application/json"],
        Input::Optional(_) | Input::Tracker => {
            let body = input::read_body(request, payload, limit).await?;
            let form = input::media_type(request).as_deref() == Some("application/x-www-form-urlencoded");
            if body.is_empty() {
                return Ok((String::new(), body));
            }
            if route.input == Input::Tracker && form {
                return Ok(("application/x-www-form-urlencoded".into(), body));
            }
            return Ok((input::check_media_type(request, JSON)?, body));
        }
    };
    let media_type = input::check_media_type(request, accepted)?;
    Ok((media_type, input::read_body(request, payload, limit).await?))
}

/// The client's key for this request, if it sent one with a POST.
fn idempotency(
    route: &Route,
    request: &HttpRequest,
    principal: &Principal,
    body: &[u8],
) -> Result<Option<Idempotency>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    if route.method != "POST" {
        return Ok(None);
    }
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    let key = key.ok_or_else(|| {
        Problem::malformed(format!("an Idempotency-Key is 1 to {MAX_KEY} visible ASCII characters"))
            .with("header", "Idempotency-Key")
    })?;
    let digest = Sha256::digest(body).iter().fold(String::with_capacity(64), |mut hex, byte| {
        hex.push_str(&format!("{byte:02x}"));
        hex
    });
    let key = format!("{} {} {} {key}", principal.subject, route.method, request.path());
    Ok(Some(Idempotency { key, body_digest: digest }))
}

/// The version of `If-Match`; `*` matches whatever is there.
fn if_match(request: &HttpRequest) -> Result<Option<u64>, Problem> {
    let Some(value) = request.headers().get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.trim_start_matches("W/").trim_matches('"').parse().map_err(|_| {
        Problem::malformed(format!("If-Match must be the ETag of an earlier answer, such as \"7\"; it is {text:?}"))
            .with("header", "If-Match")
    })?;
    Ok(Some(number))
}

/// Asks the service that owns it.
async fn ask(
    site: &Site,
    http: &HttpRequest,
    principal: Principal,
    idempotency: Option<Idempotency>,
    asked: Request,
) -> Result<HttpResponse, Refused> {
    let ids = http.extensions().get::<RequestIds>().copied();
    let ids = ids.ok_or_else(|| Problem::unavailable("the request has no id"))?;
    let service = asked.service();
    let endpoint = site.deps.endpoints.get(&service).ok_or_else(|| {
        let detail = format!("the service {} does not run in this process", service.as_str());
        Problem::unavailable(detail).with("service", service.as_str())
    })?;
    let call = Call {
        id: ids.id,
        principal,
        traceparent: ids.traceparent,
        exercise: site.deps.exercise,
        idempotency,
        if_match: if_match(http)?,
        request: asked,
    };
    let is_fhir = matches!(call.request, Request::Eligibility(_));
    let answer = endpoint.call(call).await?;
    Ok(reply(&answer, if is_fhir { "application/fhir+json" } else { "application/json" }))
}

fn reply(answer: &Answer, media_type: &'static str) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut http = HttpResponse::build(status);
    if let Some(version) = answer.version {
        http.insert_header((header::ETAG, format!("\"{version}\"")));
    }
    if status == StatusCode::NO_CONTENT {
        return http.finish();
    }
    match serde_json::to_vec(&answer.body) {
        Ok(body) => http.insert_header((header::CONTENT_TYPE, media_type)).body(body),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// What the web layer answers itself.
async fn own(
    site: &Arc<Site>,
    operation: Operation,
    request: &HttpRequest,
    query: &Query,
    caller: Caller,
) -> Result<HttpResponse, Refused> {
    match operation {
        Operation::Live => Ok(house::live()),
        Operation::Ready => house::ready(site).await,
        Operation::Metrics => Ok(house::metrics(site)),
        Operation::Map => Ok(house::map(site, request)),
        Operation::MapInfo => Ok(house::map_info(site)),
        Operation::OpenApi => Ok(HttpResponse::Ok().content_type("application/json").body(site.openapi.clone())),
        Operation::ListActors => house::actors(site, query).await,
        Operation::Act(action) => house::act(site, request, action).await,
        Operation::ListDeadLetters => house::dead_letters(site).await,
        Operation::ReplayDeadLetter => house::replay(site, request).await,
        Operation::Events => stream::events::serve(site, request, query, &caller).await,
        Operation::Ticket => stream::tickets::issue(site, caller).await,
        _ => Err(Problem::new(501, "not-built", "this route has no answer yet").into()),
    }
}
