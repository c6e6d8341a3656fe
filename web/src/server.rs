//! Binding, serving, draining.

use crate::{
    WebDeps, assets,
    auth::Authentication,
    handler, input,
    problem::Refused,
    routes::{self, Route},
    settings::Settings,
    site::Site,
    trace,
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    guard::{self, Guard},
    http::header,
    middleware::from_fn,
    web::{self, Payload, ServiceConfig},
};
use futures::FutureExt;
use shers_contract::Problem;
use shers_runtime::KeeperOptions;
use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// Serving failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("{addr} is in use by another program; choose another address with --listen, or port 0 for a free one")]
    InUse {
        /// Where.
        addr: SocketAddr,
    },
    /// The address can't be listened on.
    #[error("listening on {addr}")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The settings can't work.
    #[error("the web settings can't work: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// The server broke down.
    #[error("serving")]
    Serve(#[source] io::Error),
}

/// A server that has its address and does not answer yet.
pub struct Bound {
    addr: SocketAddr,
    listener: TcpListener,
    site: Arc<Site>,
    draining: watch::Sender<bool>,
}

/// Takes the address of `settings`. Connections wait until [`Bound::run`].
///
/// # Errors
/// [`ServeError`] when the settings can't work or the address can't be had.
pub fn listen(settings: &Settings) -> Result<TcpListener, ServeError> {
    let problems = settings.problems();
    if !problems.is_empty() {
        return Err(ServeError::Settings(problems));
    }
    let addr = settings.listen;
    TcpListener::bind(addr).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse { addr },
        _ => ServeError::Bind { addr, source },
    })
}

/// Prepares to serve on `listener`, which was taken before the services started so that they may know
/// the address.
///
/// # Errors
/// [`ServeError::Bind`] when the listener has no address.
pub fn bind_on(
    listener: TcpListener,
    deps: WebDeps,
    settings: Settings,
    auth: Authentication,
) -> Result<Bound, ServeError> {
    let addr = listener.local_addr().map_err(|source| ServeError::Bind { addr: settings.listen, source })?;
    let (draining, watching) = watch::channel(false);
    let site = Arc::new(Site::new(deps, settings, auth, watching));
    Ok(Bound { addr, listener, site, draining })
}

/// Takes the address and prepares to serve on it.
///
/// # Errors
/// As [`listen`] and [`bind_on`].
pub fn bind(deps: WebDeps, settings: Settings, auth: Authentication) -> Result<Bound, ServeError> {
    bind_on(listen(&settings)?, deps, settings, auth)
}

/// Binds and serves until `shutdown` resolves and what is in hand is done.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    deps: WebDeps,
    settings: Settings,
    auth: Authentication,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    bind(deps, settings, auth)?.run(shutdown).await
}

impl Bound {
    /// The address, with the port that was found when 0 was asked for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown` resolves; then streams are closed with 4503, requests in hand are
    /// finished, and the rest is cut off after `drain_s`.
    ///
    /// # Errors
    /// [`ServeError::Serve`] when the server broke down.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { addr, listener, site, draining } = self;
        let hub = actix_web::rt::spawn(keep_hub(Arc::clone(&site)));
        let settings = site.settings.clone();
        let timeout = settings.tcp_user_timeout();
        let served = Arc::clone(&site);
        let mut server = HttpServer::new(move || {
            let site = Arc::clone(&served);
            let edge = Arc::clone(&served);
            App::new()
                .wrap(tracing_actix_web::TracingLogger::<trace::Spans>::new())
                .wrap(from_fn(move |request, next| trace::edge(Arc::clone(&edge), request, next)))
                .configure(|config| configure(config, &site))
        })
        .on_connect(move |connection, _| set_user_timeout(connection, timeout))
        .max_connections(settings.connections_per_worker)
        .client_request_timeout(Duration::from_millis(settings.request_head_ms))
        .keep_alive(Duration::from_secs(settings.keep_alive_s))
        .shutdown_timeout(settings.drain_s)
        .disable_signals();
        if settings.workers > 0 {
            server = server.workers(settings.workers);
        }
        let server = server.listen(listener).map_err(ServeError::Serve)?.run();
        tracing::info!(%addr, "listening");
        let handle = server.handle();
        let mut server = pin!(server);
        let outcome = tokio::select! {
            outcome = &mut server => outcome,
            () = shutdown => {
                tracing::info!("draining");
                draining.send_replace(true);
                let (outcome, ()) = futures::join!(server, handle.stop(true));
                outcome
            }
        };
        hub.abort();
        outcome.map_err(ServeError::Serve)
    }
}

/// Keeps the hub alive: the ring and who waits for it to grow lie outside its lives, so one that dies costs its
/// clients nothing but the moment.
async fn keep_hub(site: Arc<Site>) {
    let life = |_| site.hub.clone().run().map(Ok);
    site.deps.keeper.keep("live-stream", "hub", KeeperOptions::default(), life).await;
}

/// Lets the kernel give up a connection whose peer stopped acknowledging: a websocket whose client reads
/// no more is not polled any more, so nothing in here would find it.
fn set_user_timeout(connection: &dyn Any, timeout: Option<Duration>) {
    #[cfg(target_os = "linux")]
    if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
        let socket = socket2::SockRef::from(stream);
        if let Err(error) = socket.set_tcp_user_timeout(timeout) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT can't be set");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (connection, timeout);
}

/// Registers every row of the table, the dashboard's files, and the problems for all else.
fn configure(config: &mut ServiceConfig, site: &Arc<Site>) {
    let mut by_path: BTreeMap<&'static str, Vec<Route>> = BTreeMap::new();
    for route in routes::all() {
        by_path.entry(route.path).or_default().push(route);
    }
    for (path, routes) in by_path {
        let mut resource = web::resource(actix_path(path));
        let mut methods: Vec<&'static str> = routes.iter().map(|route| route.method).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        for route in routes {
            let site = Arc::clone(site);
            resource = resource.route(web::route().guard(method_guard(route.method)).to(
                move |request: HttpRequest, payload: Payload| {
                    handler::handle(Arc::clone(&site), route, request, payload)
                },
            ));
        }
        let allow = methods.join(", ");
        resource = resource.default_service(web::to(move |request: HttpRequest| {
            let allow = allow.clone();
            async move { wrong_method(&request, &allow) }
        }));
        config.service(resource);
    }
    config.route("/", web::route().guard(method_guard("GET")).to(page));
    config.route("/dashboard/{file:.*}", web::route().guard(method_guard("GET")).to(dashboard));
    config.default_service(web::to(nowhere));
}

/// An actor's id is `category/id`: its slash may come as it is, or escaped.
fn actix_path(path: &'static str) -> String {
    if path.starts_with("/api/v1/actors/") { path.replace("{id}", "{id:[^/]+(?:/[^/]+)?}") } else { path.to_owned() }
}

/// The method itself; GET also answers HEAD.
fn method_guard(method: &'static str) -> impl Guard {
    guard::fn_guard(move |context| {
        let asked = context.head().method.as_str();
        asked == method || (method == "GET" && asked == "HEAD")
    })
}

fn wrong_method(request: &HttpRequest, allow: &str) -> HttpResponse {
    let detail = format!("{} is not possible here; {allow} is", request.method());
    Refused::from(Problem::new(405, "method-not-allowed", detail)).header(header::ALLOW, allow).respond(request)
}

async fn page(request: HttpRequest) -> HttpResponse {
    file(&request, "index.html")
}

async fn dashboard(request: HttpRequest) -> HttpResponse {
    let name = input::path_text(&request, "file");
    file(&request, if name.is_empty() { "index.html" } else { &name })
}

fn file(request: &HttpRequest, name: &str) -> HttpResponse {
    assets::serve(request, name).unwrap_or_else(|| Refused::from(Problem::not_found("file", name)).respond(request))
}

async fn nowhere(request: HttpRequest) -> HttpResponse {
    let detail = "there is nothing at this path; /api/openapi.json lists what there is";
    Refused::from(Problem::new(404, "not-found", detail)).respond(&request)
}
