//! An exchange that repeats, delays and forgets, over the one of the house.
//!
//! It keeps the one promise that consumers rely on: first deliveries of one story (an incident, else a
//! stream) come in order. A repeat may come at any time later.

use crate::chance::Shared;
use crate::faults::{Dial, Life};
use async_trait::async_trait;
use shers_runtime::{
    Deliveries, Delivery, Exchange, Recorded, Subscription,
    exchange::{DeadLetter, ExchangeError, Settle, Settlement},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// See the module.
pub struct FaultyExchange {
    /// The exchange of the house.
    pub inner: Arc<dyn Exchange>,
    /// Which process.
    pub life: Arc<Life>,
    /// How often.
    pub dial: Arc<Dial>,
    /// Which ones.
    pub chance: Arc<Shared>,
}

#[async_trait]
impl Exchange for FaultyExchange {
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, ExchangeError> {
        let duty = !subscription.live_only;
        let inner = self.inner.subscribe(subscription).await?;
        if !duty {
            return Ok(inner);
        }
        let relay = Relay {
            open: Mutex::default(),
            life: Arc::clone(&self.life),
            dial: Arc::clone(&self.dial),
            chance: Arc::clone(&self.chance),
        };
        Ok(Box::new(FaultyDeliveries { inner, relay: Arc::new(relay), held: Vec::new(), copies: Vec::new(), next: 0 }))
    }
    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, ExchangeError> {
        self.inner.dead_letters().await
    }
    async fn replay(&self, id: &str) -> Result<bool, ExchangeError> {
        self.inner.replay(id).await
    }
}

/// Passes settlements on, or loses them.
struct Relay {
    open: Mutex<BTreeMap<u64, Delivery>>,
    life: Arc<Life>,
    dial: Arc<Dial>,
    chance: Arc<Shared>,
}

impl Relay {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Delivery>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settle for Relay {
    fn settle(&self, tag: u64, settlement: Settlement) {
        // Tags of repeats are not open here: whatever becomes of them, the first delivery counts.
        let Some(delivery) = self.lock().remove(&tag) else { return };
        let lost = self.life.is_on()
            && settlement == Settlement::Done
            && self.chance.with(|chance| chance.in_thousand(self.dial.now().settlement_lost));
        delivery.settle(if lost { Settlement::Retry } else { settlement });
    }
}

struct FaultyDeliveries {
    inner: Box<dyn Deliveries>,
    relay: Arc<Relay>,
    /// First deliveries that wait, in their order.
    held: Vec<(Instant, String, Delivery)>,
    /// Repeats to come.
    copies: Vec<(Instant, Recorded)>,
    next: u64,
}

/// What must stay in order.
fn story(message: &Recorded) -> String {
    let envelope = &message.envelope;
    match &envelope.correlation_id {
        Some(incident) => incident.to_string(),
        None => envelope.stream.to_string(),
    }
}

impl FaultyDeliveries {
    fn wrap(&mut self, delivery: Delivery) -> Delivery {
        self.next += 1;
        let wrapped = Delivery::new(
            delivery.message.clone(),
            delivery.attempt,
            self.next,
            Arc::clone(&self.relay) as Arc<dyn Settle>,
        );
        self.relay.lock().insert(self.next, delivery);
        wrapped
    }

    fn repeat(&mut self, message: Recorded) -> Delivery {
        self.next += 1;
        Delivery::new(message, 1, self.next, Arc::clone(&self.relay) as Arc<dyn Settle>)
    }

    /// What is due of what was held and of the repeats.
    fn due(&mut self, now: Instant) -> Vec<Delivery> {
        let mut out = Vec::new();
        let mut index = 0;
        while index < self.held.len() {
            if self.held.get(index).is_some_and(|(at, _, _)| *at <= now) {
                let (_, _, delivery) = self.held.remove(index);
                out.push(self.wrap(delivery));
            } else {
                index += 1;
            }
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.copies).into_iter().partition(|(at, _)| *at <= now);
        self.copies = later;
        for (_, message) in due {
            out.push(self.repeat(message));
        }
        out
    }

    /// Decides about what the house delivers: now, later, and once more.
    fn take(&mut self, batch: Vec<Delivery>, now: Instant, out: &mut Vec<Delivery>) {
        let faults = self.relay.dial.now();
        for delivery in batch {
            let key = story(&delivery.message);
            let (again, delayed, wait) = self.relay.chance.with(|chance| {
                (chance.in_thousand(faults.repeated), chance.in_thousand(faults.delayed), chance.between(50, 20_000))
            });
            if again {
                self.copies.push((now + Duration::from_millis(wait * 3), delivery.message.clone()));
            }
            let behind = self.held.iter().rev().find(|(_, held, _)| *held == key).map(|(at, _, _)| *at);
            // News of patients must be there before what concerns them, in whichever stream that is.
            let patient = delivery.message.envelope.stream.category() == "patient";
            match behind {
                Some(at) => self.held.push((at, key, delivery)),
                None if delayed && !patient => {
                    self.held.push((now + Duration::from_millis(wait), key, delivery));
                }
                None => out.push(self.wrap(delivery)),
            }
        }
    }
}

#[async_trait]
impl Deliveries for FaultyDeliveries {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, ExchangeError> {
        loop {
            let mut out = self.due(Instant::now());
            if !out.is_empty() {
                return Ok(out);
            }
            let soonest = self.held.iter().map(|(at, _, _)| *at).chain(self.copies.iter().map(|(at, _)| *at)).min();
            let batch = match soonest {
                None => self.inner.next(max).await?,
                Some(at) => tokio::select! {
                    biased;
                    batch = self.inner.next(max) => batch?,
                    () = tokio::time::sleep_until(at) => continue,
                },
            };
            self.take(batch, Instant::now(), &mut out);
            if !out.is_empty() {
                return Ok(out);
            }
        }
    }
}
