//! Billing with the adapter of Stripe before a proxy, life after life over one store, until its bill rests
//! and a person has had a turn; and what must be true then.

use crate::common::{Case, Ended, bill, call, lives, process, seed};
use crate::peer::Ledger;
use crate::proxy::{Op, Proxy, Script, Telling};
use async_trait::async_trait;
use hmac::{Hmac, Mac};
use shers_billing::gateway::{Ask, Eligibility, Insurer, PaymentGateway, Released, stripe::Stripe};
use shers_billing::model::{Bill, RetryPolicy};
use shers_billing::{Settings, start_with};
use shers_contract::envelope::StreamName;
use shers_contract::{IncidentId, Secret, Timestamp, api::Request};
use shers_runtime::{
    Commit, CommitError, Committed, Document, Endpoint, Position, Recorded, SavedAnswer, Store, StoreError,
    clock::system_now,
    testing::{MemoryStore, deps_at},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{Notify, watch};

pub const WEBHOOK_SECRET: &str = "whsec_peers";
/// Longest wait for an answer of the provider.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// Longest time that a life may take; generous, for other work may hold the machine.
const LIFE: Duration = Duration::from_secs(240);
/// Tries of a step; then a person is needed.
const TRIES: u16 = 4;
/// Turns of a person, who then gives up.
const TURNS: u32 = 2;

/// What happens to the store or the process at a commit of the bill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trip {
    Never,
    /// The process dies before the bill's event with this number is committed.
    DieBefore(usize),
    /// The process dies when it is committed, before anyone hears of it.
    DieAfter(usize),
    /// After the charge, commits fail so often; nothing is stored.
    Fail(u32),
    /// The same, and nobody knows whether it was stored, which it was not.
    UnknownLost(u32),
    /// The same, and it was stored.
    UnknownStored(u32),
}

/// A store that trips.
struct Tripping {
    store: Arc<MemoryStore>,
    trip: Arc<Mutex<Trip>>,
    death: Arc<Notify>,
    proxy: Arc<Proxy>,
}

impl Tripping {
    /// What the next commit of the bill meets; a death only once.
    async fn trip(&self, commit: &Commit) -> Trip {
        let Some(append) = commit.appends.iter().find(|append| append.stream.category() == "bill") else {
            return Trip::Never;
        };
        let before = self.store.read_stream(&append.stream, 0).await.expect("readable").len();
        let charged = self.proxy.charged.load(Ordering::SeqCst);
        let mut trip = self.trip.lock().expect("not poisoned");
        let met = *trip;
        let less = |times: u32| times.checked_sub(1).filter(|_| charged);
        let next = match met {
            Trip::Never => return Trip::Never,
            Trip::DieBefore(n) | Trip::DieAfter(n) => {
                (before < n && n <= before + append.events.len()).then_some(Trip::Never)
            }
            Trip::Fail(times) => less(times).map(Trip::Fail),
            Trip::UnknownLost(times) => less(times).map(Trip::UnknownLost),
            Trip::UnknownStored(times) => less(times).map(Trip::UnknownStored),
        };
        match next {
            Some(next) => {
                *trip = next;
                met
            }
            None => Trip::Never,
        }
    }

    async fn die<T>(&self) -> T {
        self.death.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Store for Tripping {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let why = || "by the test".to_owned();
        match self.trip(&commit).await {
            Trip::Never => self.store.commit(commit).await,
            Trip::DieBefore(_) => self.die().await,
            Trip::DieAfter(_) => {
                self.store.commit(commit).await?;
                self.die().await
            }
            Trip::Fail(_) => Err(CommitError::Unavailable(why())),
            Trip::UnknownLost(_) => Err(CommitError::Unknown(why())),
            Trip::UnknownStored(_) => {
                self.store.commit(commit).await?;
                Err(CommitError::Unknown(why()))
            }
        }
    }
    async fn read_stream(&self, stream: &StreamName, after: u64) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_stream(stream, after).await
    }
    async fn read_open(&self, category: &str) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_open(category).await
    }
    async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_after(after, limit).await
    }
    async fn read_back(&self, category: &str, before: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_back(category, before, limit).await
    }
    async fn read_incident(&self, id: &IncidentId, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.store.read_incident(id, after, limit).await
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.store.head()
    }
    fn epoch(&self) -> String {
        self.store.epoch()
    }
    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        self.store.cursor(name).await
    }
    async fn answer(&self, key: &str) -> Result<Option<SavedAnswer>, StoreError> {
        self.store.answer(key).await
    }
    async fn document(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.store.document(collection, id).await
    }
    async fn documents(
        &self,
        collection: &str,
        tags: &[String],
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.store.documents(collection, tags, after, limit).await
    }
    async fn prune(&self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError> {
        self.store.prune(category, before).await
    }
}

/// An insurer that pays nine tenths.
struct Ninety;

#[async_trait]
impl Insurer for Ninety {
    async fn eligibility(&self, ask: &Ask) -> Eligibility {
        let total = ask.order.total;
        Eligibility::Complete {
            insurer: total.with_amount(total.amount_minor / 10 * 9),
            reason: "nine tenths".to_owned(),
            response_id: Some("r".to_owned()),
        }
    }
    async fn release(&self, _ask: &Ask) -> Released {
        Released::Done
    }
}

/// How a scenario ended.
pub struct Outcome {
    pub bill: Bill,
    pub ledger: Ledger,
    /// Calls that reached the proxy, with their keys.
    pub seen: Vec<(Op, Option<String>)>,
    /// Events of the peer's objects that nobody was told yet.
    pub told: Vec<String>,
    pub store: Arc<MemoryStore>,
    pub incident: IncidentId,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bill, ledger, seen, .. } = self;
        write!(f, "{bill:?} {ledger:?} {seen:?}")
    }
}

/// The header of a webhook.
pub fn signature(body: &str) -> String {
    let seconds = system_now().as_ms() / 1_000;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).expect("any length");
    mac.update(format!("{seconds}.{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Hands a webhook in, as the web layer does.
pub async fn webhook(endpoint: &Arc<dyn Endpoint>, body: String, signature: String) -> u16 {
    match endpoint.call(call(Request::PaymentWebhook { body, signature }, system_now())).await {
        Ok(answer) => answer.status,
        Err(problem) => problem.status,
    }
}

/// Starts billing before the proxy.
pub async fn serve(store: Arc<dyn Store>, proxy: &Proxy) -> Arc<dyn Endpoint> {
    let policy = |tries| RetryPolicy { first_ms: 1, max_ms: 8, tries };
    let settings = Settings {
        insurer_retry: policy(TRIES),
        poll: policy(200),
        payment_retry: policy(TRIES),
        compensation_retry: policy(TRIES),
        stripe_webhook_secret: Some(Secret::new(WEBHOOK_SECRET)),
        time_limit_s: 120,
        ..Settings::default()
    };
    let key = Secret::new("sk_test_peers");
    let stripe = Stripe::new(&proxy.url, &key, TIME_LIMIT, BTreeMap::new()).expect("a client");
    let stripe: Arc<dyn PaymentGateway> = Arc::new(stripe);
    start_with(deps_at(store, system_now()), settings, Arc::new(Ninety), Some(stripe)).await.expect("starts")
}

/// Lets the proxy tell `endpoint` what the peer's objects are like.
pub fn listen(proxy: &Proxy, endpoint: &Arc<dyn Endpoint>) {
    let endpoint = Arc::clone(endpoint);
    proxy.hook(Some(Arc::new(move |body| {
        let endpoint = Arc::clone(&endpoint);
        Box::pin(async move {
            let signature = signature(&body);
            // Nobody answers from a process that is dying; a living one takes it.
            let status = webhook(&endpoint, body, signature).await;
            assert!(matches!(status, 200 | 503 | 504), "a webhook got {status}");
        })
    })));
}

/// Plays a scenario to its end.
pub fn play(proxy: &Arc<Proxy>, case: &Case, script: Script, trip: Trip) -> Outcome {
    let incident = IncidentId::new(format!("i-{}", uuid::Uuid::new_v4().simple())).expect("an id");
    let store = MemoryStore::new();
    let death = Arc::new(Notify::new());
    let telling = script.telling;
    process(false, proxy.peer.begin());
    let case = Case { card: case.card.clone().map(|card| prepared(proxy, card)), ..case.clone() };
    proxy.begin(script, Arc::clone(&death));
    process(false, seed(&store, &incident, &case));
    let trip = Arc::new(Mutex::new(trip));
    let tripping = || -> Arc<dyn Store> {
        Arc::new(Tripping {
            store: Arc::clone(&store),
            trip: Arc::clone(&trip),
            death: Arc::clone(&death),
            proxy: Arc::clone(proxy),
        })
    };
    let mut turns = 0;
    for _ in 0..60 {
        let ended = process(false, async {
            let endpoint = serve(tripping(), proxy).await;
            if telling == Telling::Early {
                listen(proxy, &endpoint);
            }
            let ended = lives(&store, &incident, &death, None, LIFE).await;
            proxy.hook(None);
            ended
        });
        if ended == Ended::Died {
            continue;
        }
        let (state, _) = process(false, bill(&store, &incident));
        if !matches!(state, Bill::Stuck(_)) {
            break;
        }
        turns += 1;
        let id = incident.bill();
        let request =
            if turns <= TURNS { Request::RetryBill(id) } else { Request::WriteOffBill(id, "given up".to_owned()) };
        process(false, async {
            let endpoint = serve(tripping(), proxy).await;
            tokio::select! {
                reply = endpoint.call(call(request, system_now())) => { reply.expect("a stuck bill takes it"); }
                () = death.notified() => {}
            }
        });
    }
    let (bill, _) = process(false, bill(&store, &incident));
    let ledger = process(false, proxy.peer.ledger(incident.bill().as_str()));
    Outcome { bill, ledger, seen: proxy.seen(), told: proxy.told(), store, incident }
}

/// A card by its number is made at the peer first.
fn prepared(proxy: &Arc<Proxy>, card: String) -> String {
    match card.strip_prefix("number ") {
        Some(number) => process(false, proxy.peer.card(number)),
        None => card,
    }
}

/// Holds an outcome against the peer's own lists. `undoable`: nothing keeps the undoing itself from being done.
pub fn check(outcome: &Outcome, undoable: bool, what: &str) {
    let Outcome { bill, ledger, seen, .. } = outcome;
    let what = format!("{what}: {bill:?} {ledger:?} {seen:?}");
    assert!(ledger.charges <= 1, "more than one charge; {what}");
    match bill {
        Bill::Paid { account, .. } => assert_eq!(ledger.net, account.patient_share().amount_minor, "{what}"),
        Bill::Failed { .. } => assert_eq!(ledger.net, 0, "{what}"),
        Bill::WrittenOff { .. } => assert!(ledger.net == 0 || !undoable, "{what}"),
        Bill::Absent | Bill::Open(_) | Bill::Stuck(_) => panic!("it never came to rest; {what}"),
    }
    // One attempt: one key for each call that changes something.
    for op in [Op::Create, Op::Confirm, Op::Capture, Op::Cancel, Op::Refund] {
        let mut keys: Vec<_> = seen.iter().filter(|(called, _)| *called == op).map(|(_, key)| key).collect();
        keys.dedup();
        assert!(keys.len() <= 1, "a second key to {op:?}; {what}");
        assert!(keys.iter().all(|key| key.is_some()), "no key to {op:?}; {what}");
    }
}
