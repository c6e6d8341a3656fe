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
use shers_contract::{Problem, Timestamp, derived_uuid};
use shers_runtime::{Clock, Commit, CommitError, DocumentWrite, InboxMark, Store};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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

/// Collection of the tickets that replicas share.
const TICKETS: &str = "web.ticket";
/// Name under which a ticket's use is marked: of two replicas that take it at once one is told no.
const USED: &str = "web.ticket";

/// Tickets of all replicas over one log.
pub struct SharedTickets {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    limit: usize,
}

impl SharedTickets {
    /// Keeps at most about `limit`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, limit: usize) -> Self {
        Self { store, clock, limit }
    }

    fn write(id: String, rank: i64, doc: Option<String>) -> DocumentWrite {
        DocumentWrite { collection: TICKETS, id, tag: String::new(), rank, doc }
    }

    /// A real stretch of time on the house's clock.
    fn after(&self, ttl: Duration) -> Timestamp {
        self.clock.now().plus(ttl.mul_f64(self.clock.speed()))
    }
}

fn hex(digest: [u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[async_trait]
impl TicketStore for SharedTickets {
    async fn put(&self, digest: [u8; 32], caller: Caller, ttl: Duration) -> Result<(), TicketError> {
        let unavailable = |_| TicketError::Unavailable;
        let kept = self.store.documents(TICKETS, &[], None, self.limit).await.map_err(unavailable)?;
        let now_ms = self.clock.now().as_ms();
        let expired = kept.iter().filter(|ticket| ticket.rank <= now_ms);
        let mut documents: Vec<DocumentWrite> =
            expired.map(|ticket| Self::write(ticket.id.clone(), ticket.rank, None)).collect();
        if kept.len() >= self.limit && documents.is_empty() {
            return Err(TicketError::Full);
        }
        let doc = serde_json::to_string(&caller).map_err(|_| TicketError::Unavailable)?;
        documents.push(Self::write(hex(digest), self.after(ttl).as_ms(), Some(doc)));
        let commit = Commit { documents, ..Commit::default() };
        self.store.commit(commit).await.map(|_| ()).map_err(|_| TicketError::Unavailable)
    }

    async fn take(&self, digest: [u8; 32]) -> Result<Option<Caller>, TicketError> {
        let id = hex(digest);
        let found = self.store.document(TICKETS, &id).await.map_err(|_| TicketError::Unavailable)?;
        let Some(found) = found.filter(|ticket| ticket.rank > self.clock.now().as_ms()) else { return Ok(None) };
        let caller = serde_json::from_str(&found.doc).map_err(|_| TicketError::Unavailable)?;
        let used = InboxMark { consumer: USED, message_id: derived_uuid(&[USED, &id]) };
        let documents = vec![Self::write(id, found.rank, None)];
        match self.store.commit(Commit { documents, inbox: vec![used], ..Commit::default() }).await {
            Ok(_) => Ok(Some(caller)),
            Err(CommitError::Repeated { .. }) => Ok(None),
            Err(_) => Err(TicketError::Unavailable),
        }
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
    use shers_runtime::testing::{MemoryStore, deps_over};

    fn caller() -> Caller {
        Caller { principal: Principal { subject: "a".into(), role: Role::Viewer }, expires_at: None }
    }

    /// Both keepers of tickets, with room for `limit`.
    fn keepers(limit: usize) -> Vec<Box<dyn TicketStore>> {
        let store = MemoryStore::new();
        let clock = deps_over(store.clone()).clock;
        vec![Box::new(MemoryTickets::new(limit)), Box::new(SharedTickets::new(store, clock, limit))]
    }

    #[actix_web::test]
    async fn a_ticket_is_good_once_and_not_for_long() {
        tokio::time::pause();
        for tickets in keepers(2) {
            is_good_once(&*tickets).await;
        }
    }

    #[actix_web::test]
    async fn a_ticket_of_one_replica_is_good_at_another_once() {
        let store = MemoryStore::new();
        let clock = deps_over(store.clone()).clock;
        let replica = || SharedTickets::new(store.clone(), Arc::clone(&clock), 10);
        let (one, other, third) = (replica(), replica(), replica());
        one.put(digest("t"), caller(), Duration::from_secs(30)).await.expect("room");
        let (a, b) = futures::join!(other.take(digest("t")), third.take(digest("t")));
        let taken = [a.expect("kept"), b.expect("kept")].into_iter().flatten().count();
        assert_eq!(taken, 1);
    }

    async fn is_good_once(tickets: &dyn TicketStore) {
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
        let ttl = Duration::from_secs(30);
        for tickets in keepers(1) {
            tickets.put(digest("one"), caller(), ttl).await.expect("room");
            assert_eq!(tickets.put(digest("two"), caller(), ttl).await, Err(TicketError::Full));
            tokio::time::advance(ttl).await;
            assert_eq!(tickets.put(digest("two"), caller(), ttl).await, Ok(()));
        }
    }
}
