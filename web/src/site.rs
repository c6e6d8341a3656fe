//! What all workers of one server share.

use crate::{
    WebDeps,
    auth::Authentication,
    limits::{InHand, Rates, Streams},
    settings::Settings,
    stream::{
        hub::Hub,
        tickets::{MemoryTickets, TicketStore},
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
            tickets: Arc::new(MemoryTickets::new(settings.stream.tickets)),
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
