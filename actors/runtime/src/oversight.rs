//! A directory's eyes on its actors: what they do, who hangs, whose turn it is to come back.
//!
//! A hang is told apart from slowness. Slow is an answer of the store that came late: it is counted. A
//! hang is one that did not come at all within [`KeeperOptions::hang_after`](crate::KeeperOptions) while
//! messages wait. It is the actor's own (or its message's) when the store answered others meanwhile; else
//! it is the store's, and neither the actor nor the message is blamed. When the arbiter itself stood still
//! nobody's time is counted.

use crate::actor::Beside;
use crate::aggregate::Aggregate;
use crate::directory::{Directory, Slot, actor_name};
use crate::keeper::{ActorInfo, ActorState, CategoryInfo};
use crate::kept::Death;
use crate::tree::by_trouble;
use shers_contract::{Problem, Timestamp, supervision::Cause};
use std::{ops::Bound, time::Duration};
use tokio::sync::{SemaphorePermit, oneshot};

impl<A: Aggregate> Directory<A> {
    fn info(&self, slot: &Slot<A>) -> ActorInfo {
        let watch = slot.beside.watch.borrow();
        watch.info(slot.beside.pending.get(), self.deps().keeper.parking().parked_count(&watch.actor))
    }

    /// At most `limit` actors, the troubled ones first.
    pub(crate) fn list(&self, limit: usize) -> Vec<ActorInfo> {
        let slots = self.inner.slots.borrow();
        let mut infos: Vec<ActorInfo> = slots.values().map(|slot| self.info(slot)).collect();
        if limit < infos.len() {
            infos.select_nth_unstable_by(limit, by_trouble);
            infos.truncate(limit);
        }
        infos.sort_by(by_trouble);
        infos
    }

    /// A page of actors by id.
    pub(crate) fn page(&self, after: Option<&str>, limit: usize) -> Vec<ActorInfo> {
        let slots = self.inner.slots.borrow();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        slots.range::<str, _>((from, Bound::Unbounded)).take(limit).map(|(_, slot)| self.info(slot)).collect()
    }

    /// How many do what.
    pub(crate) fn count(&self) -> CategoryInfo {
        let mut info = CategoryInfo { category: A::CATEGORY.to_owned(), ..CategoryInfo::default() };
        for slot in self.inner.slots.borrow().values() {
            match slot.beside.watch.borrow().state {
                ActorState::Running => info.running += 1,
                ActorState::Restarting => info.restarting += 1,
                ActorState::Quarantined => info.quarantined += 1,
            }
            info.waiting += slot.beside.pending.get();
        }
        info
    }

    /// Gives up what is parked for an actor.
    pub(crate) async fn discard(self, id: String, reply: oneshot::Sender<Result<(), Problem>>) {
        let parking = self.deps().keeper.parking();
        let actor = actor_name::<A>(&id);
        let discarded = match parking.parked_count(&actor) {
            0 => Err(Problem::conflict(format!("nothing is parked for {actor}"))),
            _ => {
                let given_up = parking.discard(&actor, "given up by a person while its actor was in quarantine").await;
                given_up.map(|_| ()).map_err(|error| Problem::unavailable(error.to_string()))
            }
        };
        // Whoever asked may be gone; it is done all the same.
        let _ = reply.send(discarded);
    }

    /// A turn to read its state, for an actor that lived before. A first life waits for nobody, and one for
    /// which messages wait does not queue behind those for which none do.
    pub(crate) async fn revival_turn(&self, beside: &Beside<A>) -> Option<SemaphorePermit<'_>> {
        if beside.watch.borrow().incarnation == 1 {
            return None;
        }
        let urgent = async {
            beside.called().await;
            self.inner.urgent_revivals.acquire().await.ok()
        };
        tokio::select! {
            biased;
            turn = urgent => turn,
            turn = self.inner.revivals.acquire() => turn.ok(),
        }
    }

    /// An actor begins to wait for the store.
    pub(crate) fn begin_step(&self, beside: &Beside<A>) {
        beside.step.set(Some(self.deps().clock.now()));
    }

    /// The store answered an actor.
    pub(crate) fn end_step(&self, beside: &Beside<A>) {
        let now = self.deps().clock.now();
        self.inner.answered_at.set(now);
        if beside.step.take().is_some_and(|began| began.plus(self.patience() / 2) <= now) {
            metrics::counter!("shers_actor_slow_total", "category" => A::CATEGORY).increment(1);
        }
    }

    /// How long an actor may wait for one answer of the store, in the clock's time.
    fn patience(&self) -> Duration {
        self.options().hang_after.mul_f64(self.deps().clock.speed().max(1.0))
    }

    /// The watchdog: ends lives that make no progress while messages wait.
    pub(crate) async fn watch_for_hangs(self) {
        let clock = std::sync::Arc::clone(&self.deps().clock);
        let keeper = self.deps().keeper.clone();
        let round = self.patience() / 4;
        loop {
            let due = clock.now().plus(round);
            clock.sleep_until(due).await;
            let now = clock.now();
            if now > due.plus(round / 2) {
                // The arbiter itself stood still, and with it everybody: that is load, not their death.
                metrics::counter!("shers_arbiter_stalled_total", "category" => A::CATEGORY).increment(1);
                continue;
            }
            self.end_hung(now);
            keeper.recover_category(A::CATEGORY, now, self.options().window);
            let count = self.count();
            let states =
                [("running", count.running), ("restarting", count.restarting), ("quarantined", count.quarantined)];
            for (state, actors) in states {
                metrics::gauge!("shers_actors", "category" => A::CATEGORY, "state" => state).set(actors as f64);
            }
        }
    }

    fn end_hung(&self, now: Timestamp) {
        let patience = self.patience();
        let answered_at = self.inner.answered_at.get();
        for slot in self.inner.slots.borrow().values() {
            let beside = &slot.beside;
            let Some(began) = beside.step.get().filter(|began| began.plus(patience) <= now) else { continue };
            if beside.pending.get() == 0 || beside.watch.borrow().state != ActorState::Running {
                continue;
            }
            beside.step.set(None);
            let own = answered_at > began;
            if !own {
                beside.excuse_message();
            }
            let detail = format!("no answer of the store for {} s while messages wait", patience.as_secs());
            beside.watch.borrow_mut().end_life(Death { cause: Cause::Hang, detail, own });
        }
    }
}
