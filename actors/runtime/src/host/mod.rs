//! Hosting a service behind a broker: its partitions come and go, and with each an instance of the service.
//!
//! One [`Host`] runs for each service of a process. The broker says which partitions this process owns
//! ([`Membership`]); for each of them one instance of the service runs on an arbiter of its own, over its
//! partition's view of the log. What arrives is copied into the log and settled after that commit; the instance
//! then reads its own log, as in one process.
//!
//! Invariants:
//! - Nothing is settled before it is in the log.
//! - When a partition is lost its instance ends completely: the arbiter stops, and everything that it ran goes
//!   with it. What a late write of it could do, the log's version check refuses.
//! - A partition is given back only after its instance has ended, or was left behind because it is stuck.
//! - Nothing of this is needed for correctness: two owners at once are refused by the log, not by the broker.

mod door;
mod instance;
mod relay;
mod scoped;

pub use door::{Doors, FarOverseer, Owner, Router, Site};
pub use instance::{Factory, Started, Starting, starting};
pub use relay::{RelayOptions, relay, relay_part};

use crate::exchange::DeadLetter;
use crate::log_exchange::DEAD_LETTERS;
use crate::mirror::Mirror;
use crate::store::{Commit, DocumentWrite};
use crate::wire::{Address, Arrival, Happening, Membership, Part, Unreadable, Wire, fair_share};
use crate::{Clock, Ids};
use instance::Instance;
use shers_contract::{api::Service, derived_uuid, routing::Pattern};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How a service is hosted.
#[derive(Clone)]
pub struct Plan {
    /// Which.
    pub service: Service,
    /// 1 or [`shers_contract::routing::PARTITIONS`].
    pub partitions: u16,
    /// What it hears.
    pub patterns: Vec<Pattern>,
    /// Document collections of which each partition has its own; the others are the whole service's.
    pub own_collections: &'static [&'static str],
    /// Starts one instance.
    pub start: Factory,
}

impl Plan {
    /// Its part of the broker.
    #[must_use]
    pub fn part(&self) -> Part {
        let name = self.service.as_str().to_owned();
        Part { name, patterns: self.patterns.clone(), partitions: self.partitions }
    }
}

/// What a host stands on.
#[derive(Clone)]
pub struct Ground {
    /// The service's log.
    pub mirror: Arc<dyn Mirror>,
    /// The broker.
    pub wire: Arc<dyn Wire>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// This process's name.
    pub replica: String,
    /// Demo and drills.
    pub exercise: bool,
    /// Doors of this process.
    pub doors: Doors,
}

/// How often the number of members is looked at where nothing happens.
const LOOK_ROUND: Duration = Duration::from_millis(500);
/// First wait after something failed; doubles up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(100);
/// Longest wait.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Bytes of an unreadable message that its dead letter keeps.
const KEPT_BYTES: usize = 4_096;

/// Waits that double.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(RETRY)
    }
    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY_MAX);
    }
}

/// Hosts one service until `stop` is true; then gives everything back.
pub struct Host {
    ground: Ground,
    plan: Plan,
    instances: BTreeMap<u16, Instance>,
}

impl Host {
    /// A host that has not joined yet.
    #[must_use]
    pub fn new(ground: Ground, plan: Plan) -> Self {
        Self { ground, plan, instances: BTreeMap::new() }
    }

    /// Runs on the current arbiter until `stop` is true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let Some(mut member) = join(&self.ground, self.plan.part(), &mut stop).await else { return };
        loop {
            let happening = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                happening = member.next() => Some(happening),
                () = tokio::time::sleep(LOOK_ROUND) => None,
            };
            match happening {
                Some(Happening::Gained(partition)) => self.gained(partition),
                Some(Happening::Lost(partition)) => self.lost(partition).await,
                Some(Happening::Arrived { partition, messages }) => {
                    self.arrived(member.as_mut(), partition, messages, &mut stop).await;
                }
                // Members come and go without a word.
                None => {}
            }
            self.give_back_the_surplus(member.as_mut()).await;
            self.measure(member.as_ref());
        }
        let owned: Vec<u16> = self.instances.keys().copied().collect();
        for partition in owned {
            self.lost(partition).await;
        }
    }

    fn gained(&mut self, partition: u16) {
        if self.instances.contains_key(&partition) {
            return;
        }
        tracing::info!(service = self.plan.service.as_str(), partition, "owns a partition");
        self.instances.insert(partition, Instance::begin(&self.ground, &self.plan, partition));
    }

    async fn lost(&mut self, partition: u16) {
        if let Some(instance) = self.instances.remove(&partition) {
            tracing::info!(service = self.plan.service.as_str(), partition, "lets a partition go");
            instance.end().await;
        }
    }

    /// Copies messages into the log, however long that takes, and settles them.
    async fn arrived(
        &self,
        member: &mut dyn Membership,
        partition: u16,
        messages: Vec<Arrival>,
        stop: &mut watch::Receiver<bool>,
    ) {
        let Some(last) = messages.last().map(|arrival| arrival.tag) else { return };
        let mut copies = Vec::with_capacity(messages.len());
        let mut letters = Vec::new();
        for arrival in messages {
            match arrival.message {
                Ok(envelope) => copies.push(envelope),
                Err(unreadable) => letters.push(self.letter(&unreadable)),
            }
        }
        let mut backoff = Backoff::new();
        while let Err(error) = self.keep(&copies, &letters).await {
            tracing::warn!(service = self.plan.service.as_str(), partition, error, "copying messages; trying again");
            tokio::select! {
                biased;
                // What is not settled comes again, to whoever owns the partition then.
                _ = stop.wait_for(|stop| *stop) => return,
                () = backoff.wait() => {}
            }
        }
        member.settle(partition, last).await;
        let service = self.plan.service.as_str();
        metrics::counter!("shers_messages_imported_total", "service" => service).increment(copies.len() as u64);
    }

    async fn keep(&self, copies: &[Arc<shers_contract::Envelope>], letters: &[DocumentWrite]) -> Result<(), String> {
        if !letters.is_empty() {
            let commit = Commit { documents: letters.to_vec(), ..Commit::default() };
            let log = Arc::clone(&self.ground.mirror).whole();
            log.commit(commit).await.map_err(|error| error.to_string())?;
        }
        if !copies.is_empty() {
            self.ground.mirror.import(copies.to_vec()).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The dead letter of a delivery that is no message. The same delivery gives the same letter.
    fn letter(&self, unreadable: &Unreadable) -> DocumentWrite {
        let service = self.plan.service.as_str();
        let body = String::from_utf8_lossy(&unreadable.body).into_owned();
        let message_id = unreadable.message_id.clone().unwrap_or_default();
        let id = derived_uuid(&["unreadable", service, &unreadable.routing_key, &message_id, &body]);
        let at = self.ground.clock.now();
        let letter = DeadLetter {
            id: format!("{service}.wire-{id}"),
            consumer: format!("{service}.wire"),
            kind: unreadable.routing_key.clone(),
            message_id,
            stream: String::new(),
            position: 0,
            reason: unreadable.reason.clone(),
            at,
        };
        tracing::error!(service, routing_key = unreadable.routing_key, reason = unreadable.reason, "a message is dead");
        metrics::counter!("shers_dead_letters_total", "consumer" => letter.consumer.clone()).increment(1);
        let mut doc = serde_json::to_value(&letter).unwrap_or_default();
        if let Some(members) = doc.as_object_mut() {
            let kept: String = body.chars().take(KEPT_BYTES).collect();
            members.insert("body".to_owned(), kept.into());
        }
        DocumentWrite {
            collection: DEAD_LETTERS,
            id: letter.id,
            tag: letter.consumer,
            rank: -at.as_ms(),
            doc: Some(doc.to_string()),
        }
    }

    /// A member above its share ends the instances of the surplus and subscribes again behind the others.
    async fn give_back_the_surplus(&mut self, member: &mut dyn Membership) {
        let share = fair_share(self.plan.partitions, member.members());
        while self.instances.len() > share {
            let Some(partition) = self.instances.keys().next_back().copied() else { return };
            self.lost(partition).await;
            member.release(partition).await;
        }
    }

    fn measure(&self, member: &dyn Membership) {
        let service = self.plan.service.as_str();
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let (owned, members) = (self.instances.len() as f64, member.members() as f64);
        metrics::gauge!("shers_partitions_owned", "service" => service).set(owned);
        metrics::gauge!("shers_partition_members", "service" => service).set(members);
    }
}

/// Runs an instance of a service that has no partitions, over the whole log, until `stop` is true.
///
/// # Errors
/// The service does not start.
pub async fn everywhere(
    ground: &Ground,
    service: Service,
    start: Starting,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let store = Arc::clone(&ground.mirror).whole();
    let (site, deps) = instance::site_over(ground, store, service, None);
    let owner = Arc::new(door::Owner::new(start(deps).await?, site));
    let address = Address { service, partition: None };
    ground.doors.open(address, Arc::clone(&owner));
    let ground = ground.clone();
    actix_rt::spawn(async move {
        let mut backoff = Backoff::new();
        let _answering = loop {
            match ground.wire.answer(address, Arc::clone(&owner) as Arc<dyn crate::Endpoint>).await {
                Ok(answering) => break answering,
                Err(error) => tracing::warn!(service = service.as_str(), %error, "answering calls; trying again"),
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = backoff.wait() => {}
            }
        };
        // The sender going away is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    });
    Ok(())
}

/// Journals whose copies have a limited life.
const JOURNALS: [&str; 2] = ["readings", "positions"];

/// Drops copies of journals that are older than `keep`, with old inbox marks and answers, until `stop` is true.
/// Every process does so; what another has dropped is gone.
pub async fn tidy(ground: Ground, service: Service, keep: Duration, every: Duration, mut stop: watch::Receiver<bool>) {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let log = Arc::clone(&ground.mirror).whole();
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(every) => {}
        }
        let before = ground.clock.now().plus_ms(-keep_ms);
        for journal in JOURNALS {
            match log.prune(journal, before).await {
                Ok((0, _)) => {}
                Ok((gone, _)) => tracing::debug!(service = service.as_str(), journal, gone, "old copies dropped"),
                Err(error) => tracing::warn!(service = service.as_str(), journal, %error, "dropping old copies"),
            }
        }
    }
}

/// Joins a part, however long that takes; `None` when it is time to stop.
async fn join(ground: &Ground, part: Part, stop: &mut watch::Receiver<bool>) -> Option<Box<dyn Membership>> {
    let mut backoff = Backoff::new();
    loop {
        match ground.wire.join(part.clone()).await {
            Ok(member) => return Some(member),
            Err(error) => tracing::warn!(part = part.name, %error, "joining; trying again"),
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return None,
            () = backoff.wait() => {}
        }
    }
}
