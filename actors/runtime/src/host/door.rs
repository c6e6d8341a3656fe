//! Doors: which instances this process runs, and how a request finds the one it is for, here or elsewhere.

use super::RETRY;
use crate::Endpoint;
use crate::exchange::DeadLetter;
use crate::keeper::{ActorInfo, Keeper};
use crate::overseer::{LocalOverseer, Overseer};
use crate::wire::{Address, Wire};
use async_trait::async_trait;
use futures::future::{BoxFuture, join_all};
use shers_contract::{
    Problem, Traceparent,
    api::{ActorAction, Answer, Call, HouseRequest, Principal, Reply, Request, Role, Service},
    owner::Owner as Whose,
    routing::PARTITIONS,
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::time::Instant;

/// What an instance is looked after by.
pub type Site = LocalOverseer;

/// An instance's door, with what is asked of its house and of requests that still run.
pub struct Owner {
    door: Arc<dyn Endpoint>,
    site: Site,
    running: Arc<Mutex<HashSet<String>>>,
}

/// An idempotency key while its request runs.
struct Running {
    keys: Arc<Mutex<HashSet<String>>>,
    key: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Owner {
    pub(super) fn new(door: Arc<dyn Endpoint>, site: Site) -> Self {
        Self { door, site, running: Arc::default() }
    }

    fn hold(&self, key: &str) -> Result<Running, Problem> {
        if self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned()) {
            return Ok(Running { keys: Arc::clone(&self.running), key: key.to_owned() });
        }
        Err(Problem::still_running())
    }
}

impl Endpoint for Owner {
    fn call(&self, call: Call) -> BoxFuture<'static, Reply> {
        if let Request::House(_, asked) = call.request {
            let site = self.site.clone();
            return Box::pin(async move { look_after(&site, asked).await });
        }
        // Whatever replica took the request: here is where its work is done.
        let held = match call.idempotency.as_ref().map(|idempotency| self.hold(&idempotency.key)).transpose() {
            Ok(held) => held,
            Err(problem) => return Box::pin(async move { Err(problem) }),
        };
        let answer = self.door.call(call);
        Box::pin(async move {
            let _held = held;
            answer.await
        })
    }
}

async fn look_after(site: &Site, asked: HouseRequest) -> Reply {
    let body = match asked {
        HouseRequest::Actors(per_category) => serde_json::to_value(site.actors(per_category).await),
        HouseRequest::Act(actor, action) => serde_json::to_value(site.act(&actor, action).await?),
        HouseRequest::DeadLetters => serde_json::to_value(site.dead_letters().await?),
        HouseRequest::Replay(id) => serde_json::to_value(site.replay(&id).await?),
    };
    body.map(Answer::ok).map_err(|error| Problem::new(500, "unreadable-answer", error.to_string()))
}

type ByAddress = BTreeMap<(Service, Option<u16>), Arc<Owner>>;

/// The doors of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Doors(Arc<RwLock<ByAddress>>);

impl Doors {
    /// Opens the door of an instance.
    pub fn open(&self, address: Address, owner: Arc<Owner>) {
        let mut doors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        doors.insert((address.service, address.partition), owner);
    }
    /// Closes it.
    pub fn close(&self, address: Address) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&(address.service, address.partition));
    }
    /// The door at an address, if it is here.
    #[must_use]
    pub fn at(&self, address: Address) -> Option<Arc<Owner>> {
        let doors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        doors.get(&(address.service, address.partition)).cloned()
    }
    fn sites(&self) -> Vec<Site> {
        let doors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        doors.values().map(|owner| owner.site.clone()).collect()
    }
}

/// Brings requests of one service to whom they are for.
#[derive(Clone)]
pub struct Router {
    /// Doors of this process.
    pub doors: Doors,
    /// The way to the others.
    pub wire: Arc<dyn Wire>,
    /// How long a request may take, waiting for a new owner included.
    pub limit: Duration,
}

impl Router {
    async fn bring(&self, call: Call) -> Reply {
        let service = call.request.service();
        let at = |partition| Address { service, partition };
        match call.owner() {
            Whose::Partition(partition) => self.ask(at(Some(partition)), call).await,
            Whose::Anyone => self.ask(at(None), call).await,
            Whose::Everyone => self.tell_everyone(service, call).await,
        }
    }

    /// The first partition's owner decides; when it agreed, the others are told the same.
    async fn tell_everyone(&self, service: Service, mut call: Call) -> Reply {
        let first = self.ask(Address { service, partition: Some(0) }, call.clone()).await?;
        // They take over what the first one decided, whatever version they believed in.
        call.if_match = None;
        let others = (1..PARTITIONS).map(|p| self.ask(Address { service, partition: Some(p) }, call.clone()));
        match join_all(others).await.into_iter().find_map(Result::err) {
            None => Ok(first),
            Some(problem) => Err(Problem::unavailable(format!(
                "decided, but not everybody who acts by it has heard of it ({}); send it again",
                problem.detail
            ))),
        }
    }

    /// Asks the one at an address. While nobody is there, as between two owners, it waits: a 503 says that
    /// nothing was done.
    async fn ask(&self, to: Address, call: Call) -> Reply {
        let until = Instant::now() + self.limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let reply = match self.doors.at(to) {
                Some(owner) => owner.call(call.clone()).await,
                None => self.wire.ask(to, call.clone(), left).await,
            };
            let again = Instant::now() + RETRY;
            match reply {
                Err(problem) if problem.status == 503 && again < until => tokio::time::sleep_until(again).await,
                reply => return reply,
            }
        }
    }
}

impl Endpoint for Router {
    fn call(&self, call: Call) -> BoxFuture<'static, Reply> {
        let router = self.clone();
        Box::pin(async move { router.bring(call).await })
    }
}

/// Looks after all instances of all processes.
pub struct FarOverseer {
    /// Keeps this process's own long-lived tasks.
    pub own: Keeper,
    /// The way to them.
    pub router: Router,
    /// Services and how many partitions each has; 0 for one that runs everywhere.
    pub services: Vec<(Service, u16)>,
    /// Ids of the calls.
    pub ids: Arc<dyn crate::Ids>,
    /// Time.
    pub clock: Arc<dyn crate::Clock>,
    /// How long one instance may take to answer.
    pub limit: Duration,
}

impl FarOverseer {
    fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.services.iter().flat_map(|(service, partitions)| {
            let service = *service;
            let anyone = (*partitions == 0).then_some(Address { service, partition: None });
            let owners = (0..*partitions).map(move |partition| Address { service, partition: Some(partition) });
            anyone.into_iter().chain(owners)
        })
    }

    async fn ask_at(&self, to: Address, asked: HouseRequest) -> Reply {
        let now = self.clock.now();
        let call = Call {
            id: self.ids.uuid(now),
            principal: Principal { subject: "house".to_owned(), role: Role::Administrator },
            traceparent: Traceparent { trace_id: self.ids.uuid(now).as_u128(), span_id: self.ids.random() },
            exercise: false,
            idempotency: None,
            if_match: None,
            request: Request::House(to.service, asked),
        };
        match self.router.doors.at(to) {
            Some(owner) => owner.call(call).await,
            None => self.router.wire.ask(to, call, self.limit).await,
        }
    }

    /// Asks everyone; who does not answer is left out, and that is said in the log.
    async fn ask_all(&self, asked: &HouseRequest) -> Vec<Reply> {
        let asking = self.addresses().map(|to| async move {
            let reply = self.ask_at(to, asked.clone()).await;
            if let Err(problem) = &reply
                && problem.status >= 500
            {
                let service = to.service.as_str();
                tracing::warn!(service, partition = ?to.partition, problem = problem.detail, "an instance does not answer");
            }
            reply
        });
        join_all(asking).await
    }
}

#[async_trait]
impl Overseer for FarOverseer {
    async fn actors(&self, per_category: usize) -> Vec<ActorInfo> {
        let replies = self.ask_all(&HouseRequest::Actors(per_category)).await;
        let lists = replies.into_iter().filter_map(Result::ok);
        let lists = lists.filter_map(|answer| serde_json::from_value::<Vec<ActorInfo>>(answer.body).ok());
        std::iter::once(self.own.survey(per_category).await).chain(lists).flatten().collect()
    }

    async fn act(&self, actor: &str, action: ActorAction) -> Result<(), Problem> {
        match self.own.act(actor, action).await {
            Err(problem) if problem.status == 404 => {}
            known => return known,
        }
        let replies = self.ask_all(&HouseRequest::Act(actor.to_owned(), action)).await;
        let mut silent = None;
        for reply in replies {
            match reply {
                Ok(_) => return Ok(()),
                Err(problem) if problem.status == 404 => {}
                // Somebody knows this actor and says no; who can't be asked says nothing of the kind.
                Err(problem) if problem.status < 500 => return Err(problem),
                Err(problem) => silent = Some(problem),
            }
        }
        Err(silent.unwrap_or_else(|| Problem::not_found("actor", actor)))
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Problem> {
        // One of a service's partitions answers for its whole schema.
        let of_services = self.services.iter().map(|(service, partitions)| {
            let partition = (*partitions > 0).then_some(0);
            self.ask_at(Address { service: *service, partition }, HouseRequest::DeadLetters)
        });
        let mut letters = Vec::new();
        for reply in join_all(of_services).await {
            match serde_json::from_value::<Vec<DeadLetter>>(reply?.body) {
                Ok(of_service) => letters.extend(of_service),
                Err(error) => return Err(Problem::new(500, "unreadable-answer", error.to_string())),
            }
        }
        letters.sort_by_key(|letter| std::cmp::Reverse(letter.at));
        Ok(letters)
    }

    async fn replay(&self, id: &str) -> Result<bool, Problem> {
        let mut refused = None;
        for reply in self.ask_all(&HouseRequest::Replay(id.to_owned())).await {
            match reply {
                Ok(answer) if answer.body == true => return Ok(true),
                Ok(_) => {}
                Err(problem) => refused = Some(problem),
            }
        }
        refused.map_or(Ok(false), Err)
    }

    fn troubles(&self) -> Vec<String> {
        let own = self.router.doors.sites().into_iter().flat_map(|site| site.troubles());
        let broker = self.router.wire.trouble().map(|why| format!("the broker: {why}"));
        broker.into_iter().chain(self.own.troubles()).chain(own).collect()
    }
}
