//! What all parts of the bridge share: settings, the two links, the parts of the house, and why it can't be used.

use crate::{
    Settings,
    link::{Link, Lost, Role, Up},
};
use actix::Recipient;
use shers_runtime::{Ids, wire::Part};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

pub(crate) struct Shared {
    pub settings: Settings,
    /// This process's name for the operator and the other members.
    pub replica: String,
    pub ids: Arc<dyn Ids>,
    pub arbiter: actix::ArbiterHandle,
    publish: watch::Sender<Link>,
    consume: watch::Sender<Link>,
    house: Mutex<House>,
    /// Which edition of the house stands at the broker; 0 while there is no connection.
    pub declared: watch::Sender<u64>,
    blocked: Mutex<Option<String>>,
    faults: Mutex<Faults>,
    actor: OnceLock<Recipient<Lost>>,
}

/// What is wrong now, by the [`Fault`] that says so.
#[derive(Default)]
struct Faults {
    next: u64,
    now: BTreeMap<u64, String>,
}

/// The fault of something that works by itself, such as one queue's consumer. It is no trouble any more once that
/// has ended: what a process gave up must not keep it unready.
pub(crate) struct Fault {
    shared: Arc<Shared>,
    what: String,
    id: u64,
}

impl Fault {
    pub(crate) fn of(shared: &Arc<Shared>, what: &str) -> Self {
        let mut faults = lock(&shared.faults);
        faults.next += 1;
        Self { shared: Arc::clone(shared), what: what.to_owned(), id: faults.next }
    }
    /// There is a fault, or none any more.
    pub(crate) fn set(&self, why: Option<String>) {
        let mut faults = lock(&self.shared.faults);
        match why {
            Some(why) => faults.now.insert(self.id, format!("{}: {why}", self.what)),
            None => faults.now.remove(&self.id),
        };
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.set(None);
    }
}

#[derive(Default)]
struct House {
    parts: BTreeMap<String, Part>,
    edition: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(settings: Settings, replica: &str, ids: Arc<dyn Ids>, arbiter: actix::ArbiterHandle) -> Self {
        let link = || watch::Sender::new(Err("not connected to the broker yet".to_owned()));
        let house = Mutex::new(House { parts: BTreeMap::new(), edition: 1 });
        let (declared, actor) = (watch::Sender::new(0), OnceLock::new());
        let (publish, consume) = (link(), link());
        let (blocked, faults) = (Mutex::default(), Mutex::default());
        let replica = replica.to_owned();
        Self { settings, replica, ids, arbiter, publish, consume, house, declared, blocked, faults, actor }
    }
    pub(crate) fn set_actor(&self, actor: Recipient<Lost>) {
        // Set once, right after the actor was started.
        let _ = self.actor.set(actor);
    }
    pub(crate) fn link(&self, role: Role) -> &watch::Sender<Link> {
        match role {
            Role::Publish => &self.publish,
            Role::Consume => &self.consume,
        }
    }
    /// Runs a task on the bridge's arbiter.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if !self.arbiter.spawn(task) {
            tracing::warn!("the bridge's arbiter has ended");
        }
    }
    /// Adds parts to the house; gives the edition that holds them.
    pub(crate) fn add(&self, parts: &[Part]) -> u64 {
        let mut house = lock(&self.house);
        let known = |part: &Part, house: &House| {
            let same = |p: &Part| p.partitions == part.partitions && p.patterns == part.patterns;
            house.parts.get(&part.name).is_some_and(same)
        };
        if parts.iter().any(|part| !known(part, &house)) {
            house.parts.extend(parts.iter().map(|part| (part.name.clone(), part.clone())));
            house.edition += 1;
        }
        house.edition
    }
    pub(crate) fn house(&self) -> (u64, Vec<Part>) {
        let house = lock(&self.house);
        (house.edition, house.parts.values().cloned().collect())
    }
    /// A connection is of no use any more.
    pub(crate) fn lost(&self, up: &Up, why: String) {
        let lost = Lost { role: up.role, generation: up.generation, why };
        if self.actor.get().is_none_or(|actor| actor.try_send(lost).is_err()) {
            tracing::warn!(amqp.role = up.role.as_str(), "the bridge's actor takes no messages");
        }
    }
    pub(crate) fn set_blocked(&self, role: Role, why: Option<String>) {
        if role == Role::Publish {
            *lock(&self.blocked) = why;
        }
    }
    pub(crate) fn blocked(&self) -> Option<String> {
        lock(&self.blocked).clone()
    }
    pub(crate) fn trouble(&self) -> Option<String> {
        if self.actor.get().is_some_and(|actor| !actor.connected()) {
            return Some("the bridge's actor has ended".to_owned());
        }
        for role in Role::ALL {
            if let Err(why) = &*self.link(role).borrow() {
                return Some(format!("{role} connection: {why}"));
            }
        }
        if let Some(why) = self.blocked() {
            return Some(format!("the broker blocks publishers: {why}"));
        }
        lock(&self.faults).now.values().next().cloned()
    }
}

/// A future of lapin's with a limit; the error says what was being done.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    doing: impl Future<Output = lapin::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, doing).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer within {limit:?}")),
    }
}
