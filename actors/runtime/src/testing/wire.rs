//! A broker in memory: several members in one process, a single active consumer for each queue, redelivery of
//! what was not settled, and processes that can be cut off. No time passes in it, so it works with tokio's
//! clock paused.

use crate::{
    endpoint::Endpoint,
    wire::{Address, Arrival, Happening, Membership, Part, Unreadable, Wire, WireError},
};
use async_trait::async_trait;
use shers_contract::{
    Envelope, Problem,
    api::{Call, Reply},
    routing,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

type Content = Result<Arc<Envelope>, Unreadable>;
type ProcessId = u64;
type MemberId = u64;

/// The broker. Clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryBroker {
    inner: Arc<Mutex<Broker>>,
}

#[derive(Default)]
struct Broker {
    queues: BTreeMap<(String, u16), Queue>,
    parts: BTreeMap<String, Part>,
    members: BTreeMap<MemberId, Member>,
    doors: Vec<Door>,
    cut: BTreeSet<ProcessId>,
    stopped: bool,
    last_id: u64,
}

struct Member {
    process: ProcessId,
    part: Part,
    prefetch: usize,
    tell: mpsc::UnboundedSender<Happening>,
}

struct Door {
    id: u64,
    process: ProcessId,
    at: Address,
    door: Arc<dyn Endpoint>,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Content>,
    /// Subscribed members, the active one first.
    subscribed: VecDeque<MemberId>,
    /// Who was told that it is the active one.
    owner: Option<MemberId>,
    unsettled: BTreeMap<u64, Content>,
}

impl MemoryBroker {
    /// A broker that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// The wire of one more process.
    #[must_use]
    pub fn wire(&self) -> Arc<MemoryWire> {
        let process = self.lock().new_id();
        Arc::new(MemoryWire { broker: self.clone(), process, prefetch: DEFAULT_PREFETCH })
    }
    /// The wire of one more process, whose members hold at most `prefetch` unsettled messages a partition.
    #[must_use]
    pub fn wire_with_prefetch(&self, prefetch: usize) -> Arc<MemoryWire> {
        let process = self.lock().new_id();
        Arc::new(MemoryWire { broker: self.clone(), process, prefetch })
    }
    /// Every process loses the broker, until [`MemoryBroker::start`]. What was published stays.
    pub fn stop(&self) {
        let mut broker = self.lock();
        broker.stopped = true;
        let members: Vec<MemberId> = broker.members.keys().copied().collect();
        members.into_iter().for_each(|member| broker.unsubscribe_all(member));
        broker.deliver();
    }
    /// The broker is back, and every process that is not cut off joins again.
    pub fn start(&self) {
        let mut broker = self.lock();
        broker.stopped = false;
        let members: Vec<MemberId> = broker.members.keys().copied().collect();
        members.into_iter().for_each(|member| broker.subscribe_all(member));
        broker.deliver();
    }
    /// Puts something that is no message into a queue.
    pub fn inject(&self, part: &str, partition: u16, unreadable: Unreadable) {
        let mut broker = self.lock();
        broker.queues.entry((part.to_owned(), partition)).or_default().ready.push_back(Err(unreadable));
        broker.deliver();
    }
    /// Messages of a queue that wait or are not settled.
    #[must_use]
    pub fn depth(&self, part: &str, partition: u16) -> usize {
        let broker = self.lock();
        broker.queues.get(&(part.to_owned(), partition)).map_or(0, |q| q.ready.len() + q.unsettled.len())
    }
    fn lock(&self) -> MutexGuard<'_, Broker> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unsettled messages a partition, unless a test says otherwise.
const DEFAULT_PREFETCH: usize = 256;

impl Broker {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
    fn reachable(&self, process: ProcessId) -> bool {
        !self.stopped && !self.cut.contains(&process)
    }
    fn declare(&mut self, part: &Part) {
        for partition in 0..part.partitions {
            self.queues.entry((part.name.clone(), partition)).or_default();
        }
        self.parts.insert(part.name.clone(), part.clone());
    }
    fn subscribe_all(&mut self, member: MemberId) {
        let Some((name, partitions)) = self
            .members
            .get(&member)
            .filter(|m| self.reachable(m.process))
            .map(|m| (m.part.name.clone(), m.part.partitions))
        else {
            return;
        };
        for partition in 0..partitions {
            let queue = self.queues.entry((name.clone(), partition)).or_default();
            if !queue.subscribed.contains(&member) {
                queue.subscribed.push_back(member);
            }
        }
    }
    fn unsubscribe_all(&mut self, member: MemberId) {
        let Some(name) = self.members.get(&member).map(|m| m.part.name.clone()) else { return };
        let partitions: Vec<u16> = self.queues.keys().filter(|(n, _)| *n == name).map(|(_, p)| *p).collect();
        partitions.into_iter().for_each(|partition| self.unsubscribe(member, partition));
    }
    /// Takes a member off one queue; what it had not settled goes back to the queue's head, in order.
    fn unsubscribe(&mut self, member: MemberId, partition: u16) {
        let Some(m) = self.members.get(&member) else { return };
        let Some(queue) = self.queues.get_mut(&(m.part.name.clone(), partition)) else { return };
        queue.subscribed.retain(|other| *other != member);
        if queue.owner == Some(member) {
            queue.owner = None;
            for (_, content) in std::mem::take(&mut queue.unsettled).into_iter().rev() {
                queue.ready.push_front(content);
            }
            // The host may be gone: then nobody has to hear of it.
            let _ = m.tell.send(Happening::Lost(partition));
        }
    }
    fn cut(&mut self, process: ProcessId) {
        self.cut.insert(process);
        let members: Vec<MemberId> =
            self.members.iter().filter(|(_, m)| m.process == process).map(|(id, _)| *id).collect();
        members.into_iter().for_each(|member| self.unsubscribe_all(member));
        self.deliver();
    }
    /// Tells owners that they are, and gives them what is ready.
    fn deliver(&mut self) {
        for ((_, partition), queue) in &mut self.queues {
            let Some(active) = queue.subscribed.front().copied() else { continue };
            let Some(member) = self.members.get(&active) else { continue };
            if queue.owner != Some(active) {
                queue.owner = Some(active);
                let _ = member.tell.send(Happening::Gained(*partition));
            }
            let mut messages = Vec::new();
            while queue.unsettled.len() < member.prefetch {
                let Some(content) = queue.ready.pop_front() else { break };
                self.last_id += 1;
                queue.unsettled.insert(self.last_id, content.clone());
                messages.push(Arrival { tag: self.last_id, message: content });
            }
            if !messages.is_empty() {
                let _ = member.tell.send(Happening::Arrived { partition: *partition, messages });
            }
        }
    }
}

/// One process's way to the [`MemoryBroker`].
pub struct MemoryWire {
    broker: MemoryBroker,
    process: ProcessId,
    prefetch: usize,
}

impl MemoryWire {
    /// This process loses the broker: it owns nothing, and can neither publish nor ask, until
    /// [`MemoryWire::mend`]. The others take over.
    pub fn cut(&self) {
        self.broker.lock().cut(self.process);
    }
    /// This process finds the broker again and joins its parts behind the others.
    pub fn mend(&self) {
        let mut broker = self.broker.lock();
        broker.cut.remove(&self.process);
        let members: Vec<MemberId> =
            broker.members.iter().filter(|(_, m)| m.process == self.process).map(|(id, _)| *id).collect();
        members.into_iter().for_each(|member| broker.subscribe_all(member));
        broker.deliver();
    }
    fn find_door(&self, to: Address) -> Result<Arc<dyn Endpoint>, Problem> {
        let broker = self.broker.lock();
        if !broker.reachable(self.process) {
            return Err(Problem::unavailable("the broker can't be reached; nothing was done, try again"));
        }
        let found = broker.doors.iter().rev().find(|door| door.at == to && broker.reachable(door.process));
        let nobody =
            || Problem::unavailable(format!("no process answers for {}; try again shortly", to.service.as_str()));
        found.map(|door| Arc::clone(&door.door)).ok_or_else(nobody)
    }
}

#[async_trait]
impl Wire for MemoryWire {
    async fn declare(&self, parts: &[Part]) -> Result<(), WireError> {
        let mut broker = self.broker.lock();
        parts.iter().for_each(|part| broker.declare(part));
        Ok(())
    }

    async fn publish(&self, batch: Vec<Arc<Envelope>>) -> Result<(), WireError> {
        let mut broker = self.broker.lock();
        if !broker.reachable(self.process) {
            return Err(WireError("the broker can't be reached".to_owned()));
        }
        let mut done = Ok(());
        for envelope in batch {
            let own = routing::partition(&envelope.stream, envelope.correlation_id.as_ref());
            let takes = |part: &&Part| part.patterns.iter().any(|p| p.matches(envelope.kind.as_str()));
            let takers: Vec<(String, u16)> = broker
                .parts
                .values()
                .filter(takes)
                .map(|part| (part.name.clone(), if part.partitions == 1 { 0 } else { own }))
                .collect();
            if takers.is_empty() {
                done = Err(WireError(format!("no queue takes {}", envelope.kind)));
                break;
            }
            for taker in takers {
                broker.queues.entry(taker).or_default().ready.push_back(Ok(Arc::clone(&envelope)));
            }
        }
        broker.deliver();
        done
    }

    async fn join(&self, part: Part) -> Result<Box<dyn Membership>, WireError> {
        part.check()?;
        let (tell, happenings) = mpsc::unbounded_channel();
        let mut broker = self.broker.lock();
        broker.declare(&part);
        let id = broker.new_id();
        let (process, prefetch) = (self.process, self.prefetch);
        broker.members.insert(id, Member { process, part, prefetch, tell });
        broker.subscribe_all(id);
        broker.deliver();
        drop(broker);
        Ok(Box::new(MemoryMembership { broker: self.broker.clone(), id, happenings }))
    }

    async fn ask(&self, to: Address, call: Call, limit: Duration) -> Reply {
        let door = self.find_door(to)?;
        // The caller gives up; the work goes on.
        let answer = tokio::spawn(door.call(call));
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => Err(Problem::unknown_outcome()),
        }
    }

    async fn answer(&self, at: Address, door: Arc<dyn Endpoint>) -> Result<Box<dyn Send>, WireError> {
        let mut broker = self.broker.lock();
        let id = broker.new_id();
        broker.doors.push(Door { id, process: self.process, at, door });
        drop(broker);
        Ok(Box::new(OpenDoor { broker: self.broker.clone(), id }))
    }

    fn trouble(&self) -> Option<String> {
        let reachable = self.broker.lock().reachable(self.process);
        (!reachable).then(|| "the broker can't be reached".to_owned())
    }
}

struct OpenDoor {
    broker: MemoryBroker,
    id: u64,
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        self.broker.lock().doors.retain(|door| door.id != self.id);
    }
}

struct MemoryMembership {
    broker: MemoryBroker,
    id: MemberId,
    happenings: mpsc::UnboundedReceiver<Happening>,
}

#[async_trait]
impl Membership for MemoryMembership {
    async fn next(&mut self) -> Happening {
        match self.happenings.recv().await {
            Some(happening) => happening,
            // The sender lives as long as this membership.
            None => std::future::pending().await,
        }
    }

    async fn settle(&mut self, partition: u16, tag: u64) {
        let mut broker = self.broker.lock();
        let Some(name) = broker.members.get(&self.id).map(|m| m.part.name.clone()) else { return };
        if let Some(queue) = broker.queues.get_mut(&(name, partition)).filter(|q| q.owner == Some(self.id)) {
            queue.unsettled = queue.unsettled.split_off(&(tag + 1));
            broker.deliver();
        }
    }

    async fn release(&mut self, partition: u16) {
        let mut broker = self.broker.lock();
        let Some(name) = broker.members.get(&self.id).map(|m| m.part.name.clone()) else { return };
        let owner = broker.queues.get(&(name.clone(), partition)).and_then(|q| q.owner);
        if owner == Some(self.id) {
            broker.unsubscribe(self.id, partition);
            if let Some(queue) = broker.queues.get_mut(&(name, partition)) {
                queue.subscribed.push_back(self.id);
            }
            broker.deliver();
        }
    }

    fn members(&self) -> usize {
        let broker = self.broker.lock();
        let Some(me) = broker.members.get(&self.id) else { return 1 };
        let of_part = |m: &&Member| m.part.name == me.part.name && broker.reachable(m.process);
        broker.members.values().filter(of_part).count().max(1)
    }
}

impl Drop for MemoryMembership {
    fn drop(&mut self) {
        let mut broker = self.broker.lock();
        broker.unsubscribe_all(self.id);
        broker.members.remove(&self.id);
        broker.deliver();
    }
}
