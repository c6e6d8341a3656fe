//! A world in a box: hours of city life around the real services, in one thread under tokio's paused clock.

use crate::chance::{Chance, SeededIds, Shared};
use crate::city::{City, Size};
use crate::faults::{Dial, Faults, Life};
use crate::house::{Ground, House};
use shers_billing::gateway::sandbox::SandboxPayments;
use shers_contract::laws::{Breach, Charge, Laws, check_ledger};
use shers_contract::{
    Timestamp,
    api::{ActorAction, Call},
};
use shers_runtime::{
    Clock, Ids, ScaledClock, Store,
    testing::{MemoryStore, TEST_START},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::task::LocalSet;

/// What to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// Everything follows from it.
    pub seed: u64,
    /// Minutes of lively life, before the quiet ones at the end.
    pub minutes: u64,
    /// Keep a line for every event of the log.
    pub trace: bool,
}

/// How a world went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The log and all documents as text, a line each.
    pub ledger: String,
    /// Digest of the ledger, to show.
    pub digest: u64,
    /// Events in the log.
    pub events: u64,
    /// Incidents opened.
    pub incidents: usize,
    /// Bills made.
    pub bills: usize,
    /// Times the process was killed.
    pub restarts: u32,
    /// Actors killed.
    pub crashes: u32,
    /// A line for every event, when the script asked for it.
    pub trace: Vec<String>,
}

/// A world in which a law was broken.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed} after {at}: {}\nreplay: cargo run -p shers-world -- --seed {seed} --minutes {minutes} --trace", list(.breaches))]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// The script's minutes.
    pub minutes: u64,
    /// When, by the city's clock.
    pub at: Timestamp,
    /// What is broken.
    pub breaches: Vec<Breach>,
    /// A line for every event, when the script asked for it.
    pub trace: Vec<String>,
}

fn list(breaches: &[Breach]) -> String {
    breaches.iter().take(8).map(|breach| format!("\n  {breach}")).collect()
}

/// How a life of the process ended.
enum End {
    /// It was killed, or did not start.
    Killed,
    /// The story is over.
    Over,
    /// A law was broken.
    Broken(Vec<Breach>),
}

/// Quiet minutes at the end, at most: enough for every wait, retry and saga to come to its end.
const QUIET_MAX_MIN: i64 = 150;
/// From then on a dispatcher clears the desk of what waits for a person, and the world ends as soon as
/// nothing is left to do.
const CLEAR_FROM_MIN: i64 = 5;
/// How often that is looked at, in seconds.
const CLEAR_EVERY_S: i64 = 40;

struct World {
    ground: Ground,
    city: RefCell<City>,
    laws: RefCell<Laws>,
    faults: Faults,
    chance: RefCell<Chance>,
    quiet_from: Timestamp,
    crashes: RefCell<u32>,
    seen: RefCell<u64>,
    trace: RefCell<Option<Vec<String>>>,
}

/// Runs a script to its end.
///
/// # Errors
/// The laws that were broken, and when.
pub fn run(script: Script) -> Result<Outcome, Box<Broken>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let broken =
        |at, breaches, trace| Box::new(Broken { seed: script.seed, minutes: script.minutes, at, breaches, trace });
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let no = Breach { law: "runtime", subject: "tokio".to_owned(), detail: error.to_string() };
            return Err(broken(TEST_START, vec![no], Vec::new()));
        }
    };
    // Outside the runtime tokio's clock is the real one.
    let _inside = runtime.enter();
    let world = Rc::new(World::new(script));
    let mut restarts = 0;
    loop {
        let life = Arc::new(Life::default());
        let local = LocalSet::new();
        let end = local.block_on(&runtime, Rc::clone(&world).live(Arc::clone(&life)));
        life.end();
        drop(local);
        let now = world.ground.clock.now();
        world.city.borrow_mut().cut_off(now);
        match end {
            End::Killed => restarts += 1,
            End::Over => break,
            End::Broken(breaches) => {
                return Err(broken(now, breaches, world.trace.borrow_mut().take().unwrap_or_default()));
            }
        }
    }
    let laws = world.laws.borrow();
    let ledger = world.ledger();
    let mut hash = DefaultHasher::new();
    ledger.hash(&mut hash);
    let outcome = Outcome {
        ledger,
        digest: hash.finish(),
        events: laws.events,
        incidents: laws.incidents.len(),
        bills: laws.bills.len(),
        restarts,
        crashes: *world.crashes.borrow(),
        trace: world.trace.borrow_mut().take().unwrap_or_default(),
    };
    Ok(outcome)
}

/// What goes wrong in the world of a seed: each kind of fault in some worlds not at all, so that a single
/// one is seen alone too.
fn faults_of(seed: u64) -> Faults {
    let mut chance = Chance::new(seed, "faults");
    let mut some = |most: u64| if chance.in_thousand(350) { 0 } else { chance.between(1, most) };
    Faults {
        commit_refused: some(40),
        commit_unknown: some(40),
        read_fails: some(10),
        outage: some(6),
        repeated: some(200),
        delayed: some(150),
        settlement_lost: some(80),
        gateway: some(400),
        crash: some(120),
        restart: some(10),
    }
}

impl World {
    fn new(script: Script) -> Self {
        let seed = script.seed;
        let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(TEST_START, 1.0));
        let ids: Arc<dyn Ids> = Arc::new(SeededIds::new(seed));
        let mut chance = Chance::new(seed, "size");
        let size = Size {
            patients: chance.between(2, 8),
            units: chance.between(1, 4),
            reading_every_s: chance.between(40, 120),
            illness_every_s: chance.between(150, 900),
        };
        let shared = |purpose| Arc::new(Shared::new(seed, purpose));
        let ground = Ground {
            log: MemoryStore::new(),
            books: MemoryStore::new(),
            post: Rc::default(),
            clock,
            ids,
            dial: Arc::new(Dial::new(Faults::NONE)),
            store_chance: shared("store"),
            exchange_chance: shared("exchange"),
            wire_chance: shared("wire"),
        };
        Self {
            ground,
            city: RefCell::new(City::new(seed, size, TEST_START)),
            laws: RefCell::default(),
            faults: faults_of(seed),
            chance: RefCell::new(Chance::new(seed, "world")),
            quiet_from: TEST_START.plus_ms(i64::try_from(script.minutes * 60_000).unwrap_or(0)),
            crashes: RefCell::new(0),
            seen: RefCell::new(0),
            trace: RefCell::new(script.trace.then(Vec::new)),
        }
    }

    fn say(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.borrow_mut().as_mut() {
            trace.push(format!("{} {}", self.ground.clock.now(), line()));
        }
    }

    async fn live(self: Rc<Self>, life: Arc<Life>) -> End {
        self.set_faults();
        let house = match self.ground.start(&life).await {
            Ok(house) => Rc::new(house),
            Err(error) => {
                self.say(|| format!("the house does not start: {error}"));
                tokio::time::sleep(Duration::from_millis(500)).await;
                return End::Killed;
            }
        };
        self.say(|| "the house is up".to_owned());
        let mut look_at = self.quiet_from.plus_ms(CLEAR_FROM_MIN * 60_000);
        loop {
            let ms = self.chance.borrow_mut().between(600, 1_400);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let now = self.ground.clock.now();
            let broken = self.check().await;
            if !broken.is_empty() {
                return End::Broken(broken);
            }
            self.set_faults();
            if now >= self.quiet_from {
                self.city.borrow_mut().calm_down();
            }
            if now >= look_at {
                look_at = now.plus_ms(CLEAR_EVERY_S * 1_000);
                if self.is_done() || now >= self.quiet_from.plus_ms(QUIET_MAX_MIN * 60_000) {
                    return self.last_look().await;
                }
                self.city.borrow_mut().clear_desk(&self.laws.borrow(), now);
            }
            self.city.borrow_mut().tick(&self.laws.borrow(), now);
            let calls = self.city.borrow_mut().to_send(now, &*self.ground.ids);
            for (number, call) in calls {
                tokio::task::spawn_local(Rc::clone(&self).send(Rc::clone(&house), number, call));
            }
            self.hurt(&house).await;
            if self.roll(self.ground.dial.now().restart) {
                self.say(|| "the process is killed".to_owned());
                return End::Killed;
            }
        }
    }

    /// Whether nothing is left to do: nobody is owed anything, and nothing is open.
    fn is_done(&self) -> bool {
        let laws = self.laws.borrow();
        laws.unsettled().is_empty() && laws.open_incidents().is_empty()
    }

    fn roll(&self, in_thousand: u64) -> bool {
        self.chance.borrow_mut().in_thousand(in_thousand)
    }

    fn set_faults(&self) {
        let now = self.ground.clock.now();
        let dial = &self.ground.dial;
        if now >= self.quiet_from {
            dial.set(Faults::NONE);
            dial.set_out(false);
            return;
        }
        dial.set(self.faults);
        if dial.is_out() {
            if self.roll(150) {
                dial.set_out(false);
            }
        } else if self.roll(self.faults.outage) {
            self.say(|| "the store is out".to_owned());
            dial.set_out(true);
        }
    }

    async fn send(self: Rc<Self>, house: Rc<House>, number: u64, call: Call) {
        let Some(door) = house.doors.get(&call.request.service()) else { return };
        let reply = door.call(call.clone()).await;
        let status = match &reply {
            Ok(answer) => answer.status,
            Err(problem) => problem.status,
        };
        self.say(|| match &reply {
            Ok(answer) => format!("call {number} {:?}: {}", short(&call), answer.status),
            Err(problem) => format!("call {number} {:?}: {} {}", short(&call), problem.status, problem.detail),
        });
        self.city.borrow_mut().answered(number, status, self.ground.clock.now());
    }

    /// Kills an actor now and then, and releases those in quarantine.
    async fn hurt(&self, house: &House) {
        let crash = self.roll(self.ground.dial.now().crash);
        if !crash && !self.roll(20) {
            return;
        }
        let actors = house.keeper.list(64).await;
        for actor in actors.iter().filter(|actor| actor.state == shers_runtime::ActorState::Quarantined) {
            // It may have been released meanwhile.
            let _ = house.keeper.act(&actor.actor, ActorAction::Release).await;
        }
        let victim = self.chance.borrow_mut().pick(&actors).map(|actor| actor.actor.clone());
        if let Some(victim) = victim.filter(|_| crash) {
            let action = if self.roll(700) { ActorAction::Crash } else { ActorAction::Restart };
            self.say(|| format!("{action:?} {victim}"));
            *self.crashes.borrow_mut() += 1;
            // It may be gone by now.
            let _ = house.keeper.act(&victim, action).await;
        }
    }

    /// Holds what is new in the log, and now and then the books, against the laws.
    async fn check(&self) -> Vec<Breach> {
        let after = *self.seen.borrow();
        let Ok(new) = self.ground.log.read_after(after, usize::MAX).await else { return Vec::new() };
        let mut broken = Vec::new();
        for recorded in &new {
            *self.seen.borrow_mut() = recorded.position;
            let envelope = &recorded.envelope;
            self.say(|| {
                format!(
                    "  {} {} v{} {} {}",
                    recorded.position, envelope.stream, envelope.version, envelope.kind, envelope.data
                )
            });
            broken.extend(self.laws.borrow_mut().see(recorded.position, envelope));
        }
        if !new.is_empty() {
            broken.extend(self.audit(false).await);
        }
        broken.extend(crate::panics::take());
        broken
    }

    /// The books against the log. `settled`: nothing is under way.
    async fn audit(&self, settled: bool) -> Vec<Breach> {
        let mut books = Vec::new();
        for store in [&self.ground.log, &self.ground.books] {
            match SandboxPayments::ledger(&**store).await {
                Ok(found) => books.extend(found),
                Err(why) => {
                    return vec![Breach { law: "readable", subject: "the books".to_owned(), detail: why }];
                }
            }
        }
        let charges: Vec<Charge> = books
            .into_iter()
            .map(|payment| Charge {
                key: payment.key,
                incident: payment.bill_id.incident(),
                amount: payment.amount,
                charges: payment.charges,
                refunded_minor: payment.refunded_minor,
            })
            .collect();
        let mut broken = check_ledger(&self.laws.borrow(), &charges);
        broken.extend(self.check_post(settled));
        broken
    }

    /// Nobody is told the same thing twice, unless nobody knew whether the first had arrived.
    fn check_post(&self, settled: bool) -> Vec<Breach> {
        let laws = self.laws.borrow();
        let mut delivered: BTreeMap<String, u32> = BTreeMap::new();
        for key in self.ground.post.borrow().keys() {
            let id = key.rsplit_once(':').map_or(key.as_str(), |(id, _)| id);
            *delivered.entry(id.to_owned()).or_default() += 1;
        }
        let mut broken = Vec::new();
        for (id, count) in delivered {
            let ambiguous = laws.notices.get(&id).map_or(0, |notice| notice.ambiguous);
            if settled && count > 1 + ambiguous {
                let detail = format!("delivered {count} times, {ambiguous} of them in doubt");
                broken.push(Breach { law: "told-once", subject: format!("notification/{id}"), detail });
            }
        }
        broken
    }

    async fn last_look(&self) -> End {
        let mut broken = self.check().await;
        broken.extend(self.audit(true).await);
        let dead = self.ground.log.documents("dead-letters", &[], None, 20).await.unwrap_or_default();
        let laws = self.laws.borrow();
        broken.extend(laws.unsettled());
        broken.extend(laws.open_incidents());
        let city = self.city.borrow();
        for (patient, seq) in &city.accepted {
            if !laws.readings.contains_key(&(patient.clone(), *seq)) {
                let detail = format!("reading {seq} was accepted and is not in the log");
                broken.push(Breach { law: "reading-once", subject: format!("patient/{patient}"), detail });
            }
        }
        for (number, open) in city.open.iter().filter(|(_, open)| !open.under_way && open.due < self.quiet_from) {
            let detail = format!("call {number} never got an answer: {:?}", short(&open.call));
            broken.push(Breach { law: "answers", subject: "city".to_owned(), detail });
        }
        for letter in dead {
            broken.push(Breach { law: "no-dead-letter", subject: letter.id.clone(), detail: letter.doc.clone() });
        }
        if broken.is_empty() { End::Over } else { End::Broken(broken) }
    }

    /// Everything that is stored, as text.
    fn ledger(&self) -> String {
        let mut text = String::new();
        for recorded in self.ground.log.all() {
            // Writing into a text cannot fail.
            let _ = writeln!(text, "{} {:?}", recorded.position, recorded.envelope);
        }
        let documents = self.ground.log.all_documents().into_iter().chain(self.ground.books.all_documents());
        for (collection, document) in documents {
            let _ = writeln!(text, "{collection} {} {} {} {}", document.id, document.tag, document.rank, document.doc);
        }
        text
    }
}

/// A request in a few words.
fn short(call: &Call) -> String {
    let text = format!("{:?}", call.request);
    text.chars().take(160).collect()
}
