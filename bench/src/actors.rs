//! Memory of an idle incident actor under the Keeper against a bare actix actor with an equal state.
//!
//! Each side runs in a process of its own and prints the bytes per actor: resident memory that is no file,
//! after less before. The store behind the kept actors makes its events when asked and holds none.

use crate::{
    house::{Bench, Failure, anonymous_bytes},
    incidents,
    report::{Report, median},
};
use actix::{Actor, Context, Handler, Message};
use async_trait::async_trait;
use shers_contract::{IncidentId, Timestamp, envelope::StreamName};
use shers_incidents::model::Incident;
use shers_runtime::{
    Cause, Commit, CommitError, Committed, Deps, Directory, DirectoryOptions, Document, Keeper, KeeperOptions,
    Position, Recorded, Rejected, SavedAnswer, ScaledClock, Store, StoreError, SystemIds, clock::system_now,
    log_exchange::LogExchange,
};
use std::{collections::HashMap, io::Write, rc::Rc, sync::Arc};
use tokio::sync::watch;

/// A log that makes the ten events of an incident whenever they are read.
pub struct Made {
    head: watch::Sender<Position>,
    at: Timestamp,
    /// Numbers by stream.
    numbers: HashMap<StreamName, usize>,
}

impl Made {
    /// The events of so many incidents.
    pub fn of(count: usize, at: Timestamp) -> Self {
        let numbers = (0..count).map(|n| (incidents::stream(n), n)).collect();
        Self { head: watch::Sender::new(0), at, numbers }
    }
}

#[async_trait]
impl Store for Made {
    async fn commit(&self, _: Commit) -> Result<Committed, CommitError> {
        Err(CommitError::Unavailable("this store takes nothing".to_owned()))
    }
    async fn read_stream(&self, stream: &StreamName, _: u64) -> Result<Vec<Recorded>, StoreError> {
        Ok(self.numbers.get(stream).map(|n| incidents::recorded(*n, self.at)).unwrap_or_default())
    }
    async fn read_open(&self, _: &str) -> Result<Vec<Recorded>, StoreError> {
        Ok(Vec::new())
    }
    async fn read_after(&self, _: Position, _: usize) -> Result<Vec<Recorded>, StoreError> {
        Ok(Vec::new())
    }
    async fn read_back(&self, _: &str, _: Position, _: usize) -> Result<Vec<Recorded>, StoreError> {
        Ok(Vec::new())
    }
    async fn read_incident(&self, _: &IncidentId, _: Position, _: usize) -> Result<Vec<Recorded>, StoreError> {
        Ok(Vec::new())
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }
    fn epoch(&self) -> String {
        "made".to_owned()
    }
    async fn cursor(&self, _: &str) -> Result<Position, StoreError> {
        Ok(0)
    }
    async fn answer(&self, _: &str) -> Result<Option<SavedAnswer>, StoreError> {
        Ok(None)
    }
    async fn document(&self, _: &str, _: &str) -> Result<Option<Document>, StoreError> {
        Ok(None)
    }
    async fn documents(
        &self,
        _: &str,
        _: &[String],
        _: Option<(i64, String)>,
        _: usize,
    ) -> Result<Vec<Document>, StoreError> {
        Ok(Vec::new())
    }
    async fn prune(&self, _: &str, _: Timestamp) -> Result<(u64, Position), StoreError> {
        Ok((0, 0))
    }
}

/// Dependencies of a directory outside the server.
pub fn deps(store: Arc<dyn Store>) -> Deps {
    let clock: Arc<dyn shers_runtime::Clock> = Arc::new(ScaledClock::real());
    let ids: Arc<dyn shers_runtime::Ids> = Arc::new(SystemIds);
    let exchange = Arc::new(LogExchange::new(Arc::clone(&store), Arc::clone(&clock)));
    let keeper = Keeper::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&ids), "bench", false);
    Deps { store, exchange, clock, ids, keeper }
}

/// A directory of incidents.
pub fn directory(deps: Deps) -> Directory<Incident> {
    let options = DirectoryOptions { performer: Rc::new(()), observer: None, keeper: KeeperOptions::default() };
    Directory::new(deps, options)
}

/// Asks an incident something it refuses; any refusal is an answer.
pub async fn ask(directory: &Directory<Incident>, id: &str, deps: &Deps) -> Result<(), Failure> {
    let cause = Cause::internal(deps.ids.uuid(deps.clock.now()), false);
    match directory.execute(id, incidents::question(), cause).await {
        Ok(_) | Err(Rejected::Refused(_)) => Ok(()),
        Err(Rejected::Repeated) => Err("repeated".into()),
        Err(Rejected::Problem(problem)) => Err(problem.detail.into()),
        Err(Rejected::Unavailable(why)) => Err(why.into()),
    }
}

/// A bare actor with the state, the version and the id.
pub struct Bare {
    id: Rc<str>,
    state: Incident,
    version: u64,
}

impl Bare {
    /// With the state of the incident `n`.
    pub fn new(n: usize, at: Timestamp) -> Self {
        let mut state = Incident::default();
        for recorded in incidents::recorded(n, at) {
            use shers_contract::{DomainEvent, incident::IncidentEvent};
            use shers_runtime::Aggregate;
            if let Some(Ok(event)) = IncidentEvent::from_envelope(&recorded.envelope) {
                state = state.evolve(&event, recorded.envelope.at);
            }
        }
        Self { id: incidents::id(n).as_str().into(), state, version: incidents::EVENTS as u64 }
    }
}

impl Actor for Bare {
    type Context = Context<Self>;
}

pub struct Ask;

impl Message for Ask {
    type Result = usize;
}

impl Handler<Ask> for Bare {
    type Result = usize;
    fn handle(&mut self, _: Ask, _: &mut Context<Self>) -> usize {
        self.id.len() + usize::from(self.state.is_open()) + usize::try_from(self.version).unwrap_or(0)
    }
}

fn resident() -> f64 {
    anonymous_bytes(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// The child process: `bare` or `kept`, and how many.
pub fn child(kind: &str, count: usize) -> Result<(), Failure> {
    let at = system_now();
    let per_actor = actix_rt::System::new()
        .block_on(async { if kind == "bare" { bare(count, at).await } else { kept(count, at).await } })?;
    writeln!(std::io::stdout(), "{per_actor}")?;
    Ok(())
}

async fn bare(count: usize, at: Timestamp) -> Result<f64, Failure> {
    let mut actors: HashMap<Rc<str>, actix::Addr<Bare>> = HashMap::with_capacity(count);
    // The same work as the other side does, so that what the allocator keeps is the same.
    let make = |n: usize| {
        let actor = Bare::new(n, at);
        (Rc::clone(&actor.id), actor.start())
    };
    let (_, first) = make(count);
    first.send(Ask).await?;
    let before = resident();
    for n in 0..count {
        let (id, addr) = make(n);
        addr.send(Ask).await?;
        actors.insert(id, addr);
    }
    let after = resident();
    drop(actors);
    Ok((after - before) / count as f64)
}

async fn kept(count: usize, at: Timestamp) -> Result<f64, Failure> {
    let store: Arc<dyn Store> = Arc::new(Made::of(count + 1, at));
    let deps = deps(store);
    let directory = directory(deps.clone());
    let ids: Vec<IncidentId> = (0..=count).map(incidents::id).collect();
    for id in ids.iter().skip(count) {
        ask(&directory, id.as_str(), &deps).await?;
    }
    let before = resident();
    for id in ids.iter().take(count) {
        ask(&directory, id.as_str(), &deps).await?;
    }
    Ok((resident() - before) / count as f64)
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let count = bench.pick("10000", "100000");
    let (mut ratios, mut bares, mut kepts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let one = |kind| -> Result<f64, Failure> {
            Ok(bench.measured(&["actors", kind, count])?.first().copied().unwrap_or(f64::NAN))
        };
        let (bare, kept) = (one("bare")?, one("kept")?);
        ratios.push(kept / bare);
        bares.push(bare);
        kepts.push(kept);
    }
    let note = format!(
        "{:.0} bytes under the Keeper with its deadline armed against {:.0} bare, each in a map by id, {count} actors of {} events",
        median(&kepts),
        median(&bares),
        incidents::EVENTS
    );
    report.add(
        "actors",
        "idle incident actor / bare actix actor",
        "times bare",
        Some((2.0, 1.3)),
        &ratios,
        Vec::new(),
        note,
    );
    Ok(())
}
