//! One instance of a service: an arbiter of its own, the service on it, and the door to it.

use super::door::{Owner, Site};
use super::scoped::Scoped;
use super::{Backoff, Ground, Plan};
use crate::keeper::Keeper;
use crate::log_exchange::LogExchange;
use crate::parked::{PARKED, QUARANTINE};
use crate::store::Store;
use crate::wire::Address;
use crate::{Deps, Endpoint};
use actix_rt::Arbiter;
use futures::future::LocalBoxFuture;
use shers_contract::api::Service;
use std::{error::Error, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// What starting an instance gives: its door, or why not.
pub type Started = Result<Arc<dyn Endpoint>, Box<dyn Error + Send + Sync>>;
/// Starts one instance on the arbiter it is called on.
pub type Starting = Box<dyn FnOnce(Deps) -> LocalBoxFuture<'static, Started> + Send>;
/// Makes as many starts as there are partitions.
pub type Factory = Arc<dyn Fn() -> Starting + Send + Sync>;

/// A factory of a function that starts an instance.
pub fn starting<F, Fut, E>(start: F) -> Factory
where
    F: Fn(Deps) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn Endpoint>, E>> + 'static,
    E: Error + Send + Sync + 'static,
{
    Arc::new(move || {
        let start = start.clone();
        Box::new(move |deps| Box::pin(async move { start(deps).await.map_err(|error| Box::new(error) as Box<_>) }))
    })
}

/// How long an arbiter may take to end. One that is stuck is left behind, fenced off by the version check.
const END_WITHIN: Duration = Duration::from_secs(20);

/// One instance; ends with [`Instance::end`].
pub(super) struct Instance {
    address: Address,
    ground: Ground,
    cancel: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Instance {
    /// Begins an instance in the background. A start that fails is tried again.
    pub(super) fn begin(ground: &Ground, plan: &Plan, partition: u16) -> Self {
        let address = Address { service: plan.service, partition: Some(partition) };
        let (cancel, cancelled) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        let run = run(ground.clone(), plan.clone(), partition, address, cancelled);
        actix_rt::spawn(async move {
            run.await;
            // Nobody may wait for it.
            let _ = tell.send(());
        });
        Self { address, ground: ground.clone(), cancel: Some(cancel), ended: Some(ended) }
    }

    /// Ends it; returns when nothing of it runs any more, or the limit is over.
    pub(super) async fn end(mut self) {
        self.ground.doors.close(self.address);
        drop(self.cancel.take());
        if let Some(ended) = self.ended.take()
            && tokio::time::timeout(END_WITHIN, ended).await.is_err()
        {
            tracing::error!(service = self.address.service.as_str(), partition = ?self.address.partition, "an instance does not end; it is left behind");
        }
    }
}

/// One whose host died is over as well: the next life of the host begins another.
impl Drop for Instance {
    fn drop(&mut self) {
        if self.cancel.is_some() {
            self.ground.doors.close(self.address);
        }
    }
}

/// Starts, serves, and ends when cancelled.
async fn run(ground: Ground, plan: Plan, partition: u16, address: Address, mut cancelled: oneshot::Receiver<()>) {
    let mut backoff = Backoff::new();
    loop {
        let arbiter = Arbiter::new();
        let started = tokio::select! {
            biased;
            _ = &mut cancelled => {
                stop(arbiter).await;
                return;
            }
            started = start_on(&arbiter, &ground, &plan, partition) => started,
        };
        match started {
            Ok(owner) => {
                serve(&ground, address, owner, &mut cancelled).await;
                stop(arbiter).await;
                return;
            }
            Err(error) => {
                let (service, error) = (plan.service.as_str(), error.to_string());
                tracing::error!(service, partition, error, "starting an instance; trying again");
            }
        }
        stop(arbiter).await;
        tokio::select! {
            biased;
            _ = &mut cancelled => return,
            () = backoff.wait() => {}
        }
    }
}

async fn start_on(
    arbiter: &Arbiter,
    ground: &Ground,
    plan: &Plan,
    partition: u16,
) -> Result<Owner, Box<dyn Error + Send + Sync>> {
    let (site, deps) = site(ground, plan, partition);
    let start = (plan.start)();
    let (tell, told) = oneshot::channel();
    arbiter.spawn_fn(move || {
        actix_rt::spawn(async move {
            // The one who asked may have been cancelled.
            let _ = tell.send(start(deps).await);
        });
    });
    let door = told.await.map_err(|_| "its arbiter ended while it started")??;
    Ok(Owner::new(door, site))
}

/// The partition's view of the house.
fn site(ground: &Ground, plan: &Plan, partition: u16) -> (Site, Deps) {
    let log = Arc::clone(&ground.mirror);
    let view: Arc<dyn Store> = if plan.partitions == 1 { log.whole() } else { log.of_partition(partition) };
    let own: Vec<&'static str> = [PARKED, QUARANTINE].into_iter().chain(plan.own_collections.iter().copied()).collect();
    let store: Arc<dyn Store> = if plan.partitions == 1 { view } else { Arc::new(Scoped::new(view, partition, &own)) };
    site_over(ground, store, plan.service, Some(partition))
}

/// What an instance over `store` stands on.
pub(super) fn site_over(
    ground: &Ground,
    store: Arc<dyn Store>,
    service: Service,
    partition: Option<u16>,
) -> (Site, Deps) {
    let exchange = Arc::new(LogExchange::new(Arc::clone(&store), Arc::clone(&ground.clock)));
    let place = partition.map_or_else(String::new, |partition| format!("/p{partition:02}"));
    let node = format!("{}/{}{place}", ground.replica, service.as_str());
    let (clock, ids) = (Arc::clone(&ground.clock), Arc::clone(&ground.ids));
    let keeper = Keeper::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&ids), &node, ground.exercise);
    let site = Site { exchange: exchange.clone(), keeper: keeper.clone() };
    (site, Deps { store, exchange, clock, ids, keeper })
}

/// Answers for the partition until cancelled.
async fn serve(ground: &Ground, address: Address, owner: Owner, cancelled: &mut oneshot::Receiver<()>) {
    let owner = Arc::new(owner);
    ground.doors.open(address, Arc::clone(&owner));
    let mut backoff = Backoff::new();
    let _answering = loop {
        let failed = tokio::select! {
            biased;
            _ = &mut *cancelled => return,
            answering = ground.wire.answer(address, Arc::clone(&owner) as Arc<dyn Endpoint>) => match answering {
                Ok(answering) => break answering,
                Err(error) => error,
            },
        };
        tracing::warn!(service = address.service.as_str(), error = %failed, "answering calls; trying again");
        tokio::select! {
            biased;
            _ = &mut *cancelled => return,
            () = backoff.wait() => {}
        }
    };
    // Resolves when the sender is dropped as well.
    let _ = cancelled.await;
}

/// Ends an arbiter and everything on it.
async fn stop(arbiter: Arbiter) {
    arbiter.stop();
    let joined = tokio::task::spawn_blocking(move || arbiter.join());
    if joined.await.is_err() {
        tracing::error!("an arbiter's thread ended by a panic");
    }
}
