//! The house's door: REST, authentication, problems, OpenAPI, the live stream, the dashboard's files.
//!
//! Invariants of this crate:
//! - [`routes::all`] is the one table: the server registers its rows, the OpenAPI document lists its rows,
//!   and each row says who may.
//! - Nothing is decided here. A request becomes a [`shers_contract::api::Request`], the service that owns
//!   it answers, and the answer or problem becomes bytes.
//! - Every error is `application/problem+json`, with the id of the request.
//! - No token, query or body is logged; spans carry ids.
//! - What a client can make grow has a limit in [`Settings`].

mod assets;
mod auth;
mod handler;
mod house;
mod input;
mod limits;
mod openapi;
mod osmand;
mod problem;
pub mod routes;
mod security;
mod server;
mod settings;
mod site;
pub mod stream;
mod trace;
mod translate;

pub use auth::{Authentication, Caller, JwksError, Jwt, JwtOptions, TokenDigest};
pub use openapi::document as openapi_document;
pub use server::{Bound, ServeError, bind, bind_on, listen, serve};
pub use settings::{Settings, StreamSettings};

use actix_web::web::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use shers_contract::api::Service;
use shers_runtime::{Clock, Endpoint, Ids, Keeper, Store, overseer::Overseer};
use std::{collections::BTreeMap, sync::Arc};

/// The map as the dashboard draws it.
#[derive(Clone, Debug)]
pub struct MapAssets {
    /// What it is called.
    pub name: String,
    /// Whose data it is, as must be shown.
    pub attribution: String,
    /// South, west, north, east, in degrees.
    pub bounds: [f64; 4],
    /// The roads, as delta-varint.
    pub roads: Bytes,
}

/// Whose live stream a server tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Streams {
    /// Its own; its tickets are for itself.
    Alone,
    /// One of several replicas over one log: a ticket of one is good at every other, once.
    Replica,
    /// None: the stream service runs elsewhere.
    Elsewhere,
}

/// What the web layer stands on.
#[derive(Clone)]
pub struct WebDeps {
    /// The services that run in this process.
    pub services: Vec<Service>,
    /// Doors of the services that can be asked.
    pub endpoints: BTreeMap<Service, Arc<dyn Endpoint>>,
    /// The stream service's log: what the live stream tells.
    pub feed: Arc<dyn Store>,
    /// Whether that log is the stream service's: a process that does not run it has no stream to tell.
    pub streams: Streams,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids. Secrets never come from here.
    pub ids: Arc<dyn Ids>,
    /// Actors, dead letters, health.
    pub overseer: Arc<dyn Overseer>,
    /// Keeps the process's own long-lived tasks.
    pub keeper: Keeper,
    /// Demo and drills.
    pub exercise: bool,
    /// The map.
    pub map: MapAssets,
    /// Metrics of this process.
    pub metrics: PrometheusHandle,
}
