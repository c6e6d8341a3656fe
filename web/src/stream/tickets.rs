//! Tickets for the websocket: single use, short-lived, bound to the principal that asked.
//!
//! A browser can't send an Authorization header with a websocket, and a token in the URL ends up in logs.
//! So a caller with a token fetches a ticket and offers it as second subprotocol.

use crate::{auth::Caller, problem::Refused, problem::too_many, site::Site};
use actix_web::HttpResponse;
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use sha2::{Digest, Sha256};
use shers_contract::Problem;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// No ticket could be given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TicketError {
    /// Too many are given out and not used.
    #[error("too many tickets are given out and not used yet")]
    Full,
    /// The place where tickets are kept can't be reached.
    #[error("tickets can't be kept now")]
    Unavailable,
}

/// Where tickets are kept between their issue and their use; replicas may share one. Holds digests, so
/// that reading it gives no ticket away.
#[async_trait]
pub trait TicketStore: Send + Sync + 'static {
    /// Keeps what the ticket with this digest proves, for `ttl`.
    async fn put(&self, digest: [u8; 32], caller: Caller, ttl: Duration) -> Result<(), TicketError>;
    /// Takes it out: the second time there is nothing.
    async fn take(&self, digest: [u8; 32]) -> Result<Option<Caller>, TicketError>;
}

/// Tickets of one process.
pub struct MemoryTickets {
    kept: Mutex<HashMap<[u8; 32], (Caller, Instant)>>,
    limit: usize,
}

impl MemoryTickets {
    /// Keeps at most `limit`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { kept: Mutex::default(), limit }
    }
}

#[async_trait]
impl TicketStore for MemoryTickets {
    async fn put(&self, digest: [u8; 32], caller: Caller, ttl: Duration) -> Result<(), TicketError> {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.limit {
            kept.retain(|_, (_, until)| *until > now);
            if kept.len() >= self.limit {
                return Err(TicketError::Full);
            }
        }
        kept.insert(digest, (caller, now + ttl));
        Ok(())
    }

    async fn take(&self, digest: [u8; 32]) -> Result<Option<Caller>, TicketError> {
        let taken = self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest);
        Ok(taken.filter(|(_, until)| *until > Instant::now()).map(|(caller, _)| caller))
    }
}

/// The digest under which a ticket is kept.
pub(crate) fn digest(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

/// Gives the caller a ticket: 256 random bits from the operating system, never from the house's ids,
/// which a seed may make repeatable.
pub(crate) async fn issue(site: &Site, caller: Caller) -> Result<HttpResponse, Refused> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|_| Problem::unavailable("the system has no randomness to give"))?;
    let ticket = URL_SAFE_NO_PAD.encode(secret);
    let ttl = Duration::from_secs(site.settings.stream.ticket_s);
    match site.tickets.put(digest(&ticket), caller, ttl).await {
        Ok(()) => {}
        Err(TicketError::Full) => return Err(too_many(TicketError::Full.to_string(), 1)),
        Err(TicketError::Unavailable) => return Err(Problem::unavailable(TicketError::Unavailable.to_string()).into()),
    }
    Ok(HttpResponse::Created()
        .json(json!({"ticket": ticket, "expires_in_s": ttl.as_secs(), "subprotocol": "shers.v1"})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shers_contract::api::{Principal, Role};

    fn caller() -> Caller {
        Caller { principal: Principal { subject: "a".into(), role: Role::Viewer }, expires_at: None }
    }

    #[actix_web::test]
    async fn a_ticket_is_good_once_and_not_for_long() {
        tokio::time::pause();
        let tickets = MemoryTickets::new(2);
        let ttl = Duration::from_secs(30);
        tickets.put(digest("one"), caller(), ttl).await.expect("room");
        assert_eq!(tickets.take(digest("other")).await, Ok(None));
        assert_eq!(tickets.take(digest("one")).await, Ok(Some(caller())));
        assert_eq!(tickets.take(digest("one")).await, Ok(None));
        tickets.put(digest("two"), caller(), ttl).await.expect("room");
        tokio::time::advance(ttl).await;
        assert_eq!(tickets.take(digest("two")).await, Ok(None));
    }

    #[actix_web::test]
    async fn unused_tickets_have_a_limit_until_they_expire() {
        tokio::time::pause();
        let tickets = MemoryTickets::new(1);
        let ttl = Duration::from_secs(30);
        tickets.put(digest("one"), caller(), ttl).await.expect("room");
        assert_eq!(tickets.put(digest("two"), caller(), ttl).await, Err(TicketError::Full));
        tokio::time::advance(ttl).await;
        assert_eq!(tickets.put(digest("two"), caller(), ttl).await, Ok(()));
    }
}
