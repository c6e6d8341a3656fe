//! The Keeper: supervision of a process's actors.
//!
//! actix's own `Supervisor` restarts only actors that stop by themselves; a panic closes the mailbox for
//! good and loses what was queued. The Keeper therefore polls the actor's `ContextFut` inside
//! `catch_unwind` and calls `ContextFut::restart`, so that address and mailbox survive.
//!
//! - A death is followed by a restart: the first at once, later ones after an exponential back-off with
//!   jitter. More than [`KeeperOptions::max_restarts`] within [`KeeperOptions::window`] is quarantine: the
//!   address stays good, nothing is polled until a person releases the actor.
//! - State is rebuilt in the actor's `started()` and nowhere else; `restarting()` forgets everything.
//! - When too many actors of one category die, the category itself is failing: that is recorded for the
//!   actor `<category>/*`, its restarts are no longer at once, and [`Keeper::health`] says so until the
//!   window has passed without a death.
//! - An endless loop cannot be caught here: a stuck process is restarted by its own supervisor.

use crate::chronicle::Chronicle;
use crate::clock::{Clock, Ids};
use crate::parked::{Parking, Quarantine};
use crate::store::{DocumentWrite, NewEvent, Store};
use crate::tasks::TaskWatch;
use futures::future::BoxFuture;
use shers_contract::{
    DomainEvent, Problem, Timestamp,
    api::ActorAction,
    supervision::{Cause, Supervised as SupervisedData, SupervisionEvent},
};
use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Limits of supervision.
#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// Restarts allowed within `window`; one more is quarantine.
    pub max_restarts: u32,
    /// The window.
    pub window: Duration,
    /// Back-off before the second restart in a row; the first is at once. Doubles each time.
    pub backoff: Duration,
    /// Longest back-off.
    pub max_backoff: Duration,
    /// A message that killed this many incarnations is poison: it is given up, the actor goes on.
    pub max_message_attempts: u32,
    /// Messages that may wait for one actor.
    pub mailbox: usize,
    /// An actor that waits so long for one answer of the store, while messages wait for it, hangs and is
    /// restarted. Real time: a clock that runs faster has as much more patience.
    pub hang_after: Duration,
    /// Restarted actors of a category that read their state at the same time. First lives don't queue here,
    /// so a storm of restarts does not hold up a new emergency.
    pub max_revivals: usize,
    /// So many actors of a category that died within `window` are its own failure.
    pub max_failing_actors: usize,
}

impl Default for KeeperOptions {
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window: Duration::from_secs(60),
            backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(30),
            max_message_attempts: 3,
            mailbox: 1024,
            hang_after: Duration::from_secs(30),
            max_revivals: 32,
            max_failing_actors: 32,
        }
    }
}

/// Minutes of deaths that are remembered.
const MINUTES_SHOWN: usize = 30;

/// What an actor is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActorState {
    /// Alive.
    Running,
    /// Dead, waiting for its back-off.
    Restarting,
    /// Dead too often, waiting for a person.
    Quarantined,
}

/// One actor as the Keeper sees it.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ActorInfo {
    /// `category/id`.
    pub actor: String,
    /// What it is doing.
    pub state: ActorState,
    /// Which life this is, from 1.
    pub incarnation: u64,
    /// Restarts within the window.
    pub restarts: u32,
    /// How it died last.
    pub last_cause: Option<Cause>,
    /// What was said then.
    pub detail: Option<String>,
    /// When the back-off ends.
    pub back_at: Option<Timestamp>,
    /// Messages that wait.
    pub waiting: usize,
    /// Messages that are parked until it is released.
    #[serde(default)]
    pub parked: usize,
    /// Who supervises it: `category/*`, or the process.
    #[serde(default)]
    pub parent: Option<String>,
    /// What a supervisor has under it; `None` for an actor or a task.
    #[serde(default)]
    pub supervises: Option<CategoryInfo>,
}

/// How many actors of a category do what.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct CategoryInfo {
    /// Category, such as `incident`.
    pub category: String,
    /// Too many of its actors died lately.
    pub failing: bool,
    /// Alive.
    pub running: usize,
    /// Dead, waiting for a back-off.
    pub restarting: usize,
    /// Waiting for a person.
    pub quarantined: usize,
    /// Messages that wait for its actors.
    pub waiting: usize,
    /// Different actors that died within the window.
    pub died_lately: usize,
    /// Deaths in each of the last minutes, the current one last.
    #[serde(default)]
    pub deaths_by_minute: Vec<u32>,
}

/// The supervision tree above the actors: this process and its categories.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct SupervisionTree {
    /// This process.
    pub node: String,
    /// Its categories, by name.
    pub categories: Vec<CategoryInfo>,
}

/// Whether supervision holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Health {
    /// Categories whose actors keep dying: not ready to serve.
    pub failing: Vec<String>,
    /// Actors that wait for a person. They alone make nothing unready.
    pub quarantined: usize,
}

impl Health {
    /// Nothing keeps dying.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.failing.is_empty()
    }
}

/// A question to the arbiter that holds a category's actors.
pub(crate) enum Control {
    /// At most so many actors, the troubled first.
    List(usize, oneshot::Sender<Vec<ActorInfo>>),
    /// A page of actors by name: after which id, how many at most.
    Page(Option<String>, usize, oneshot::Sender<Vec<ActorInfo>>),
    /// How many do what.
    Count(oneshot::Sender<CategoryInfo>),
    /// Act on one.
    Act(String, ActorAction, oneshot::Sender<Result<(), Problem>>),
}

/// Handle of the process's supervision; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<KeeperShared>,
}

struct KeeperShared {
    /// Of each category its directories in this process: one, or one for each partition that is here.
    categories: Mutex<BTreeMap<&'static str, Vec<mpsc::UnboundedSender<Control>>>>,
    /// Long-lived tasks by name.
    tasks: Mutex<BTreeMap<String, Arc<TaskWatch>>>,
    deaths: Mutex<BTreeMap<&'static str, Deaths>>,
    parking: Parking,
    chronicle: Arc<Chronicle>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    node: String,
    exercise: bool,
}

/// Which actors of a category died lately.
#[derive(Default)]
struct Deaths {
    last: BTreeMap<String, Timestamp>,
    failing: bool,
    /// Deaths by minute since the epoch, at most [`MINUTES_SHOWN`] of them.
    by_minute: BTreeMap<i64, u32>,
}

impl Deaths {
    fn forget(&mut self, now: Timestamp, window: Duration) {
        self.last.retain(|_, at| at.plus(window) > now);
    }
    fn count(&mut self, now: Timestamp) {
        *self.by_minute.entry(minute(now)).or_default() += 1;
        while self.by_minute.len() > MINUTES_SHOWN {
            self.by_minute.pop_first();
        }
    }
    fn shown(&self, now: Timestamp) -> Vec<u32> {
        let last = minute(now);
        let first = last - i64::try_from(MINUTES_SHOWN).unwrap_or(0) + 1;
        (first..=last).map(|minute| self.by_minute.get(&minute).copied().unwrap_or(0)).collect()
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_ms().div_euclid(60_000)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Supervision that writes what it does to `supervision/<node>`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        node: impl Into<String>,
        exercise: bool,
    ) -> Self {
        let node = node.into();
        let chronicle = Arc::new(Chronicle::new(Arc::clone(&store), Arc::clone(&clock), &node));
        let parking = Parking::new(store, Arc::clone(&clock));
        let (categories, tasks, deaths) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = KeeperShared { categories, tasks, deaths, parking, chronicle, clock, ids, node, exercise };
        Self { shared: Arc::new(shared) }
    }

    /// Why a process can't be relied on; empty when it can.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let failing = self.health().failing;
        if failing.is_empty() { Vec::new() } else { vec![format!("actors keep dying: {}", failing.join(", "))] }
    }

    /// Whether supervision holds; never waits.
    #[must_use]
    pub fn health(&self) -> Health {
        let deaths = lock(&self.shared.deaths);
        let failing = deaths.iter().filter(|(_, of)| of.failing).map(|(category, _)| (*category).to_owned()).collect();
        Health { failing, quarantined: self.shared.parking.quarantined_count() }
    }

    /// Whether an actor (`category/id`) waits for a person. A message for one that does is parked.
    #[must_use]
    pub fn is_quarantined(&self, actor: &str) -> bool {
        self.quarantine_of(actor).is_some()
    }

    /// Parks at most so many messages for one actor; see [`crate::parked::PARKED_MAX`].
    pub fn park_at_most(&self, messages: usize) {
        self.shared.parking.limit(messages);
    }

    /// Ids of a category's actors that wait for a person.
    #[must_use]
    pub fn quarantined(&self, category: &str) -> Vec<String> {
        self.shared.parking.quarantined_of(category)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
    pub(crate) fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.shared.clock.sleep(wait)
    }
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock)
    }
    pub(crate) fn node(&self) -> &str {
        &self.shared.node
    }
    pub(crate) fn parking(&self) -> &Parking {
        &self.shared.parking
    }
    /// Registers a directory of a category. It may go away again with its arbiter: then it is forgotten.
    pub(crate) fn register(&self, category: &'static str, control: mpsc::UnboundedSender<Control>) {
        let mut categories = lock(&self.shared.categories);
        let of = categories.entry(category).or_default();
        of.retain(|control| !control.is_closed());
        of.push(control);
    }
    /// The directories of a category, or of all.
    pub(crate) fn controls(&self, category: Option<&str>) -> Vec<mpsc::UnboundedSender<Control>> {
        let mut categories = lock(&self.shared.categories);
        categories.retain(|_, of| {
            of.retain(|control| !control.is_closed());
            !of.is_empty()
        });
        let wanted = categories.iter().filter(|(name, _)| category.is_none_or(|wanted| wanted == **name));
        wanted.flat_map(|(_, of)| of.iter().cloned()).collect()
    }
    pub(crate) fn enlist(&self, task: &Arc<TaskWatch>) {
        lock(&self.shared.tasks).insert(task.name.clone(), Arc::clone(task));
    }
    /// Forgets a task, unless another of its name has taken its place.
    pub(crate) fn dismiss(&self, task: &Arc<TaskWatch>) {
        let mut tasks = lock(&self.shared.tasks);
        if tasks.get(&task.name).is_some_and(|known| Arc::ptr_eq(known, task)) {
            tasks.remove(&task.name);
        }
    }
    pub(crate) fn task(&self, name: &str) -> Option<Arc<TaskWatch>> {
        lock(&self.shared.tasks).get(name).cloned()
    }
    pub(crate) fn tasks(&self) -> Vec<Arc<TaskWatch>> {
        lock(&self.shared.tasks).values().cloned().collect()
    }
    pub(crate) fn quarantine_of(&self, actor: &str) -> Option<Quarantine> {
        self.shared.parking.quarantine_of(actor)
    }

    /// Zero for the first death in a row, then doubling, with up to a quarter of jitter.
    pub(crate) fn backoff(&self, deaths: u32, options: &KeeperOptions) -> Duration {
        let Some(doublings) = deaths.checked_sub(2) else { return Duration::ZERO };
        let doubled = options.backoff.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let base = doubled.min(options.max_backoff);
        let jitter = u32::try_from(self.shared.ids.random() % 256).unwrap_or(0);
        base + base / 1024 * jitter
    }

    pub(crate) fn count_death(&self, category: &'static str, cause: Cause) {
        let cause = match cause {
            Cause::Panic => "panic",
            Cause::Error => "error",
            Cause::Hang => "hang",
            Cause::Requested => "requested",
        };
        metrics::counter!("shers_actor_deaths_total", "category" => category, "cause" => cause).increment(1);
        lock(&self.shared.deaths).entry(category).or_default().count(self.now());
    }

    /// Notes an actor's own death for its category, which fails when too many of them die.
    pub(crate) fn escalate(&self, category: &'static str, actor: &str, now: Timestamp, options: &KeeperOptions) {
        let mut deaths = lock(&self.shared.deaths);
        let of = deaths.entry(category).or_default();
        of.last.insert(actor.to_owned(), now);
        if of.failing || of.last.len() < options.max_failing_actors {
            return;
        }
        of.forget(now, options.window);
        let died = of.last.len();
        if died < options.max_failing_actors {
            return;
        }
        drop(deaths);
        self.fail_category(category, format!("{died} actors died within {} s", options.window.as_secs()), died);
    }

    /// A category fails from now on, until nothing died in it for a window.
    pub(crate) fn fail_category(&self, category: &'static str, detail: String, died: usize) {
        if std::mem::replace(&mut lock(&self.shared.deaths).entry(category).or_default().failing, true) {
            return;
        }
        metrics::gauge!("shers_category_failing", "category" => category).set(1.0);
        self.record(SupervisionEvent::Quarantined(whole(category, detail, died)), None);
    }

    /// Forgets deaths that are long past. A category is well again when none is left in the window.
    pub(crate) fn recover_category(&self, category: &'static str, now: Timestamp, window: Duration) {
        let mut deaths = lock(&self.shared.deaths);
        let Some(of) = deaths.get_mut(category) else { return };
        of.forget(now, window);
        if !of.last.is_empty() || !std::mem::take(&mut of.failing) {
            return;
        }
        drop(deaths);
        metrics::gauge!("shers_category_failing", "category" => category).set(0.0);
        self.record(SupervisionEvent::Released(whole(category, "nothing died lately".to_owned(), 0)), None);
    }

    /// Whether a category fails, and how many of its actors died lately.
    pub(crate) fn category(&self, category: &str) -> (bool, usize) {
        lock(&self.shared.deaths).get(category).map_or((false, 0), |of| (of.failing, of.last.len()))
    }

    /// What a category's parent knows of it: whether it fails, who died lately, and when.
    pub(crate) fn category_info(&self, category: &str) -> CategoryInfo {
        let now = self.now();
        let deaths = lock(&self.shared.deaths);
        let of = deaths.get(category);
        CategoryInfo {
            category: category.to_owned(),
            failing: of.is_some_and(|of| of.failing),
            died_lately: of.map_or(0, |of| of.last.len()),
            deaths_by_minute: of.map(|of| of.shown(now)).unwrap_or_default(),
            ..CategoryInfo::default()
        }
    }

    /// An actor goes into quarantine, durably.
    pub(crate) fn quarantine(&self, data: SupervisedData, now: Timestamp) {
        let document = self.shared.parking.quarantine(Quarantine {
            actor: data.actor.clone(),
            cause: data.cause,
            detail: data.detail.clone(),
            incarnation: data.incarnation,
            at: now,
        });
        self.record(SupervisionEvent::Quarantined(data), Some(document));
    }

    /// An actor comes out of quarantine; what is parked for it is delivered again, in order.
    pub(crate) fn released(&self, data: SupervisedData) {
        let document = self.shared.parking.release(&data.actor);
        self.record(SupervisionEvent::Released(data), Some(document));
    }

    /// Writes a supervision event and counts it. What happened is also in the log line, so a store that
    /// can't write now loses nothing that matters.
    pub(crate) fn record(&self, event: SupervisionEvent, document: Option<DocumentWrite>) {
        let (SupervisionEvent::Restarted(data)
        | SupervisionEvent::Quarantined(data)
        | SupervisionEvent::Released(data)) = &event;
        let kind = event.kind();
        tracing::warn!(actor = data.actor, kind = %kind, detail = data.detail, incarnation = data.incarnation, "supervision");
        let category = data.actor.split('/').next().unwrap_or("").to_owned();
        metrics::counter!("shers_supervision_total", "kind" => kind.as_str(), "category" => category).increment(1);
        let now = self.now();
        let new = NewEvent {
            id: self.shared.ids.uuid(now),
            kind,
            v: event.schema_version(),
            at: now,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            exercise: self.shared.exercise,
            data: event.to_data(),
        };
        self.shared.chronicle.write(new, document);
    }
}

/// What is said of a whole category.
fn whole(category: &str, detail: String, died: usize) -> SupervisedData {
    let restarts = u32::try_from(died).unwrap_or(u32::MAX);
    SupervisedData { actor: format!("{category}/*"), cause: None, detail, incarnation: 1, restarts, back_at: None }
}

/// Text of a panic's payload.
#[must_use]
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}
