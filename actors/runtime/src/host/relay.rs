//! The relay: publishes what a service's log says of its own. One process leads per log, chosen as owners of
//! partitions are. Leaders of before and after may overlap: what is published twice is copied once.

use super::{Backoff, Ground, join};
use crate::store::{Commit, Position, Recorded, Store};
use crate::wire::{Happening, Membership, Part};
use shers_contract::api::Service;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Name of the relay's cursor.
const CURSOR: &str = "relay";

/// Limits of the relay.
#[derive(Clone, Copy, Debug)]
pub struct RelayOptions {
    /// Messages published before their confirms are awaited, at most.
    pub batch: usize,
    /// The cursor is saved at most this often. A crash publishes again what came since.
    pub save_every: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self { batch: 500, save_every: Duration::from_millis(250) }
    }
}

/// The part of the relay of `service`: nothing arrives, leadership is all that is wanted.
#[must_use]
pub fn relay_part(service: Service) -> Part {
    Part { name: format!("relay.{}", service.as_str()), patterns: Vec::new(), partitions: 1 }
}

/// Relays until `stop` is true.
pub async fn relay(ground: Ground, service: Service, options: RelayOptions, mut stop: watch::Receiver<bool>) {
    let Some(mut member) = join(&ground, relay_part(service), &mut stop).await else { return };
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            happening = member.next() => match happening {
                Happening::Gained(_) => {}
                Happening::Lost(_) | Happening::Arrived { .. } => continue,
            },
        }
        tracing::info!(service = service.as_str(), "relays its service's events");
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = lost(member.as_mut()) => tracing::info!(service = service.as_str(), "relays no more"),
            () = lead(&ground, service, options) => {}
        }
    }
}

async fn lost(member: &mut dyn Membership) {
    while !matches!(member.next().await, Happening::Lost(_)) {}
}

/// Publishes for as long as it is polled.
async fn lead(ground: &Ground, service: Service, options: RelayOptions) {
    let log = Arc::clone(&ground.mirror).whole();
    let mut backoff = Backoff::new();
    let mut at = loop {
        match log.cursor(CURSOR).await {
            Ok(position) => break Cursor { position, saved: position, saved_at: Instant::now() },
            Err(error) => tracing::warn!(service = service.as_str(), %error, "reading the relay's position"),
        }
        backoff.wait().await;
    };
    let mut head = log.head();
    let mut backoff = Backoff::new();
    loop {
        let seen = *head.borrow_and_update();
        let batch = match ground.mirror.read_own_after(at.position, options.batch).await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!(service = service.as_str(), %error, "reading what is to be relayed");
                backoff.wait().await;
                continue;
            }
        };
        match batch.last().map(|recorded| recorded.position) {
            None => {
                // Copies alone moved the head: nothing to publish up to there.
                at.position = at.position.max(seen);
                at.save(&log, options).await;
                wait_for_more(&mut head, &at, options).await;
            }
            Some(last) => {
                if let Err(error) = publish(ground, batch).await {
                    tracing::warn!(service = service.as_str(), %error, "publishing; trying again");
                    metrics::counter!("shers_relay_failures_total", "service" => service.as_str()).increment(1);
                    backoff.wait().await;
                    continue;
                }
                backoff = Backoff::new();
                at.position = last;
                at.save(&log, options).await;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let behind = head.borrow().saturating_sub(at.position) as f64;
        metrics::gauge!("shers_relay_behind_events", "service" => service.as_str()).set(behind);
    }
}

async fn publish(ground: &Ground, batch: Vec<Recorded>) -> Result<(), crate::wire::WireError> {
    ground.wire.publish(batch.into_iter().map(|recorded| recorded.envelope).collect()).await
}

/// Waits until the log grows; no longer than an unsaved position may wait.
async fn wait_for_more(head: &mut watch::Receiver<Position>, at: &Cursor, options: RelayOptions) {
    let grown = async {
        // A log that was closed never grows; its process is about to end.
        if head.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    if at.position == at.saved {
        grown.await;
    } else {
        // Either way the log is looked at again.
        let _ = tokio::time::timeout(options.save_every, grown).await;
    }
}

struct Cursor {
    position: Position,
    saved: Position,
    saved_at: Instant,
}

impl Cursor {
    async fn save(&mut self, log: &Arc<dyn Store>, options: RelayOptions) {
        if self.position == self.saved || self.saved_at.elapsed() < options.save_every {
            return;
        }
        let commit = Commit { cursors: vec![(CURSOR.to_owned(), self.position)], ..Commit::default() };
        match log.commit(commit).await {
            Ok(_) => (self.saved, self.saved_at) = (self.position, Instant::now()),
            Err(error) => tracing::warn!(%error, "saving the relay's position; it is saved with the next one"),
        }
    }
}
