//! What all workers of one server share.

use crate::{
    Streams as Telling, WebDeps,
    auth::Authentication,
    limits::{InHand, Rates, Streams},
    settings::Settings,
    stream::{
        hub::Hub,
        tickets::{MemoryTickets, SharedTickets, TicketStore},
    },
};
use actix_web::web::Bytes;
use std::sync::Arc;
use tokio::{sync::watch, time::Instant};

/// Shared by all workers.
pub(crate) struct Site {
    pub(crate) deps: WebDeps,
    pub(crate) settings: Settings,
    pub(crate) auth: Authentication,
    pub(crate) rates: Rates,
    pub(crate) in_hand: InHand,
    pub(crate) streams: Streams,
    pub(crate) tickets: Arc<dyn TicketStore>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) openapi: Bytes,
    pub(crate) map_etag: String,
    /// Becomes true when the server is being stopped.
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) started: Instant,
}

impl Site {
    pub(crate) fn new(
        deps: WebDeps,
        settings: Settings,
        auth: Authentication,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            rates: Rates::new(settings.requests_per_s, settings.request_burst),
            in_hand: InHand::default(),
            streams: Streams::new(settings.stream.connections, settings.stream.connections_per_principal),
            tickets: tickets(&deps, &settings),
            hub: Arc::new(Hub::new(Arc::clone(&deps.feed), settings.stream.clone())),
            openapi: serde_json::to_vec(&crate::openapi::document()).unwrap_or_default().into(),
            map_etag: crate::assets::etag(&deps.map.roads),
            draining,
            started: Instant::now(),
            deps,
            settings,
            auth,
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}

fn tickets(deps: &WebDeps, settings: &Settings) -> Arc<dyn TicketStore> {
    let limit = settings.stream.tickets;
    match deps.streams {
        Telling::Alone | Telling::Elsewhere => Arc::new(MemoryTickets::new(limit)),
        Telling::Replica => Arc::new(SharedTickets::new(Arc::clone(&deps.feed), Arc::clone(&deps.clock), limit)),
    }
}
