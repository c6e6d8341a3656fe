//! A membership: one seat a partition, one prober for all of them.

use crate::{probes, seat::Seat, shared::Shared};
use async_trait::async_trait;
use shers_runtime::wire::{Happening, Membership, Part};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

/// Happenings that may wait for the host; a seat waits when there are more.
const HAPPENINGS: usize = 64;

/// What the seats of one membership share.
pub(crate) struct Member {
    pub part: Part,
    /// This membership's name in its probes.
    pub id: String,
    pub desks: Vec<Desk>,
    /// Wakes the prober before its time.
    pub poke: Notify,
    seen: Mutex<HashMap<String, Instant>>,
    silence: Duration,
}

/// What the host and the prober say to the seat of a partition. Never blocks.
#[derive(Default)]
pub(crate) struct Desk {
    orders: Mutex<Orders>,
    pub changed: Notify,
    probed: Mutex<Option<Instant>>,
}

/// What is to be done with a partition.
#[derive(Default, Clone, Copy)]
pub(crate) struct Orders {
    /// Everything up to this tag is settled.
    pub settled: u64,
    /// The host wants to be rid of it.
    pub release: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut lock(&self.orders));
        self.changed.notify_one();
    }
    pub(crate) fn orders(&self) -> Orders {
        *lock(&self.orders)
    }
    /// A new subscription begins: a wish to release was for an earlier one.
    pub(crate) fn begin(&self) {
        lock(&self.orders).release = false;
        *lock(&self.probed) = None;
    }
    /// There is a probe or a message in the queue, which its owner should get.
    pub(crate) fn probed(&self) {
        lock(&self.probed).get_or_insert_with(Instant::now);
    }
    /// Something came, or nothing could have come.
    pub(crate) fn heard(&self) {
        *lock(&self.probed) = None;
    }
    /// When the first probe was confirmed since anything came.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        *lock(&self.probed)
    }
}

impl Member {
    pub(crate) fn desk(&self, partition: u16) -> Option<&Desk> {
        self.desks.get(usize::from(partition))
    }
    /// A probe of another member, or of this one, was received.
    pub(crate) fn saw(&self, member: String) {
        let mut seen = lock(&self.seen);
        let now = Instant::now();
        seen.retain(|_, at| now.duration_since(*at) < self.silence);
        seen.insert(member, now);
    }
    fn count(&self) -> usize {
        let seen = lock(&self.seen);
        let now = Instant::now();
        let others = seen.iter().filter(|(id, at)| **id != self.id && now.duration_since(**at) < self.silence);
        others.count() + 1
    }
}

/// Takes part.
pub(crate) fn join(shared: &Arc<Shared>, part: Part) -> impl Membership + use<> {
    let (tell, happenings) = mpsc::channel(HAPPENINGS);
    let desks = (0..part.partitions).map(|_| Desk::default()).collect();
    let id = format!("{} {:016x}", shared.replica, shared.ids.random());
    let (poke, seen, silence) = (Notify::new(), Mutex::default(), shared.settings.silence());
    let member = Arc::new(Member { part, id, desks, poke, seen, silence });
    for partition in 0..member.part.partitions {
        let seat = Seat::new(Arc::clone(shared), Arc::clone(&member), partition, tell.clone());
        shared.spawn(seat.run());
    }
    shared.spawn(probes::run(Arc::clone(shared), Arc::clone(&member), tell));
    Joined { member, happenings }
}

struct Joined {
    member: Arc<Member>,
    happenings: mpsc::Receiver<Happening>,
}

#[async_trait]
impl Membership for Joined {
    async fn next(&mut self) -> Happening {
        match self.happenings.recv().await {
            Some(happening) => happening,
            // The bridge has ended, and with it everything that could happen.
            None => std::future::pending().await,
        }
    }
    async fn settle(&mut self, partition: u16, tag: u64) {
        if let Some(desk) = self.member.desk(partition) {
            desk.order(|orders| orders.settled = orders.settled.max(tag));
        }
    }
    async fn release(&mut self, partition: u16) {
        if let Some(desk) = self.member.desk(partition) {
            desk.order(|orders| orders.release = true);
        }
    }
    fn members(&self) -> usize {
        self.member.count()
    }
}
