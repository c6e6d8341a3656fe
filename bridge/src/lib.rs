//! The AMQP bridge: what carries messages between the log of one service and the logs of the others. Implements
//! [`shers_runtime::wire`] over RabbitMQ with lapin, which is used here only.
//!
//! Invariants of this crate:
//! - A publish that resolved is confirmed by the broker: stored on a majority, in every queue that takes it.
//! - Nothing is published before the whole house is declared, so no message passes a service that has not started.
//! - A delivery is acknowledged only after it was settled; what is not settled is delivered again.
//! - Whoever is told that it owns a partition is told when it does not any more. Ownership is a hint all the same:
//!   correctness rests on the stores' version check.
//! - Nothing waits for ever, and a connection with a fault is thrown away, never mended.
//! - No log line, metric or error holds a body or the broker's password.

mod calls;
mod declare;
mod link;
mod member;
mod message;
mod probes;
mod publish;
mod seat;
mod settings;
mod shared;
pub mod topology;

pub use settings::Settings;
pub use topology::{Topology, topology};

use actix::{Actor, Addr, Arbiter};
use async_trait::async_trait;
use shers_contract::{
    Envelope,
    api::{Call, Reply},
};
use shers_runtime::{
    Ids,
    endpoint::Endpoint,
    wire::{Address, Membership, Part, Wire, WireError},
};
use std::{sync::Arc, time::Duration};

/// This process's way to the broker.
pub struct AmqpWire {
    shared: Arc<shared::Shared>,
    bridge: Addr<link::Bridge>,
    publisher: publish::Publisher,
    caller: calls::Caller,
    arbiter: Arbiter,
}

impl AmqpWire {
    /// Starts the bridge on an arbiter of its own and begins to connect. `replica` names this process for the
    /// operator and the other members. Call inside an actix system.
    ///
    /// # Errors
    /// Everything that is wrong with the settings.
    pub fn start(settings: Settings, replica: &str, ids: Arc<dyn Ids>) -> Result<Arc<Self>, Vec<String>> {
        let problems = settings.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        // Another part of the process may have chosen the same provider before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let arbiter = Arbiter::new();
        let caller = calls::Caller::new(settings.calls_in_flight);
        let shared = Arc::new(shared::Shared::new(settings, replica, ids, arbiter.handle()));
        let actor = link::Bridge::new(Arc::clone(&shared));
        let bridge = link::Bridge::start_in_arbiter(&arbiter.handle(), move |_| actor);
        shared.set_actor(bridge.clone().recipient());
        Ok(Arc::new(Self { shared, bridge, publisher: publish::Publisher::default(), caller, arbiter }))
    }

    /// Waits until an edition of the house is declared, and sees to it when there is a connection.
    async fn declared(&self, edition: u64) -> Result<(), String> {
        let mut publish = self.shared.link(link::Role::Publish).subscribe();
        while *self.shared.declared.borrow() < edition {
            link::connected(&mut publish).await.ok_or("the bridge was closed")?;
            self.bridge.send(link::Declare).await.map_err(|e| format!("the bridge's actor: {e}"))??;
        }
        Ok(())
    }

    /// Ends both connections in good order. What is in flight then ends in errors.
    pub async fn close(&self) {
        // An actor that is gone has no connections any more.
        let _ = self.bridge.send(link::Close).await;
    }
}

impl Drop for AmqpWire {
    fn drop(&mut self) {
        self.arbiter.stop();
    }
}

#[async_trait]
impl Wire for AmqpWire {
    async fn declare(&self, parts: &[Part]) -> Result<(), WireError> {
        parts.iter().try_for_each(Part::check)?;
        let edition = self.shared.add(parts);
        let limit = self.shared.settings.operation_limit();
        match tokio::time::timeout(limit, self.declared(edition)).await {
            Ok(done) => done.map_err(WireError),
            Err(_) => Err(WireError(self.shared.trouble().unwrap_or_else(|| format!("not declared within {limit:?}")))),
        }
    }

    async fn publish(&self, batch: Vec<Arc<Envelope>>) -> Result<(), WireError> {
        self.publisher.publish(&self.shared, &batch).await
    }

    async fn join(&self, part: Part) -> Result<Box<dyn Membership>, WireError> {
        part.check()?;
        let edition = self.shared.add(std::slice::from_ref(&part));
        // With a connection it is declared at once, else with the next one: a member waits for either.
        let up = self.shared.link(link::Role::Publish).borrow().is_ok();
        if up && *self.shared.declared.borrow() < edition && self.bridge.try_send(link::Declare).is_err() {
            return Err(WireError("the bridge's actor takes no messages".to_owned()));
        }
        Ok(Box::new(member::join(&self.shared, part)))
    }

    async fn ask(&self, to: Address, call: Call, limit: Duration) -> Reply {
        self.caller.ask(&self.shared, to, call, limit).await
    }

    async fn answer(&self, at: Address, door: Arc<dyn Endpoint>) -> Result<Box<dyn Send>, WireError> {
        Ok(Box::new(calls::answer(&self.shared, at, door)))
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }
}
