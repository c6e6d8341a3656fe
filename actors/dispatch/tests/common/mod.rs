//! A small world for the service's tests: one store in memory, the service over it, and waiting for events
//! without sleeping.

use futures::future::BoxFuture;
use serde_json::{Value, json};
use shers_contract::api::{Answer, Call, Principal, Request, Role};
use shers_contract::envelope::StreamName;
use shers_contract::incident::{CancelDispatch, IncidentEvent, Priority, RequestDispatch};
use shers_contract::{DomainEvent, IncidentId, LatLon, Problem, Timestamp, Traceparent, UnitId};
use shers_dispatch::Settings;
use shers_dispatch::gateway::{EtaSource, StraightLine};
use shers_runtime::store::Expected;
use shers_runtime::testing::{MemoryStore, TEST_START, deps_at};
use shers_runtime::{Append, Clock, Commit, Deps, Endpoint, NewEvent, Store};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The service over a store.
pub struct World {
    pub store: Arc<MemoryStore>,
    pub deps: Deps,
    pub endpoint: Arc<dyn Endpoint>,
}

/// A clock that shows when the tests begin, whatever passes.
struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        TEST_START
    }
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(at.until_from(TEST_START)))
    }
}

/// Runs a test on an arbiter of its own.
pub fn on_arbiter<F: Future<Output = ()>>(test: F) {
    let limit = async { tokio::time::timeout(Duration::from_secs(120), test).await.expect("the test ends in time") };
    actix_rt::System::new().block_on(limit);
}

pub fn place(km_north: f64) -> LatLon {
    LatLon::new(47.0 + km_north / 111.195, 9.5).expect("valid")
}

pub fn unit_id(id: &str) -> UnitId {
    UnitId::new(id).expect("valid")
}

pub fn incident_id(id: &str) -> IncidentId {
    IncidentId::new(id).expect("valid")
}

/// A request for `id`, opened `age_s` seconds before the tests begin.
pub fn request(id: &str, priority: u8, km_north: Option<f64>, age_s: i64) -> RequestDispatch {
    RequestDispatch {
        incident_id: incident_id(id),
        priority: Priority::try_from(priority).expect("valid"),
        location: km_north.map(place),
        needs: Vec::new(),
        opened_at: TEST_START.plus_ms(-age_s * 1_000),
    }
}

impl World {
    pub async fn new() -> Self {
        Self::over(MemoryStore::new(), 0).await
    }

    /// The service started over `store`, `later_s` seconds after the tests begin.
    pub async fn over(store: Arc<MemoryStore>, later_s: i64) -> Self {
        Self::with(store, later_s, Settings::default()).await
    }

    /// The same with other settings.
    pub async fn with(store: Arc<MemoryStore>, later_s: i64, settings: Settings) -> Self {
        Self::by(store, later_s, settings, Arc::new(StraightLine::default())).await
    }

    /// The same with drive times by `source`.
    pub async fn by(store: Arc<MemoryStore>, later_s: i64, settings: Settings, source: Arc<dyn EtaSource>) -> Self {
        let deps = deps_at(Arc::clone(&store) as Arc<dyn Store>, TEST_START.plus_ms(later_s * 1_000));
        let started = shers_dispatch::start(deps.clone(), settings, source).await;
        Self { store, deps, endpoint: started.expect("starts") }
    }

    /// The service at a time that stands still, so that two runs differ in nothing.
    pub async fn frozen(settings: Settings) -> Self {
        let store = MemoryStore::new();
        let mut deps = deps_at(Arc::clone(&store) as Arc<dyn Store>, TEST_START);
        deps.clock = Arc::new(Frozen);
        let started = shers_dispatch::start(deps.clone(), settings, Arc::new(StraightLine::default())).await;
        Self { store, deps, endpoint: started.expect("starts") }
    }

    pub async fn ask(&self, request: Request) -> Result<Answer, Problem> {
        self.ask_if(request, None).await
    }

    /// Asks on the condition that the thing still has this version.
    pub async fn ask_if(&self, request: Request, if_match: Option<u64>) -> Result<Answer, Problem> {
        let call = Call {
            id: self.deps.ids.uuid(self.deps.clock.now()),
            principal: Principal { subject: "anna".into(), role: Role::Dispatcher },
            traceparent: Traceparent { trace_id: 7, span_id: 9 },
            exercise: false,
            idempotency: None,
            if_match,
            request,
        };
        self.endpoint.call(call).await
    }

    pub async fn unit(&self, id: &str, km_north: f64) {
        self.unit_with(json!({"unit_id": id, "location": place(km_north)})).await;
    }

    pub async fn unit_with(&self, profile: Value) {
        let profile = serde_json::from_value(profile).expect("a profile");
        self.ask(Request::RegisterUnit(profile)).await.expect("registered");
    }

    pub async fn status(&self, id: &str, status: &str) -> Result<Answer, Problem> {
        self.report(id, json!({"status": status})).await
    }

    pub async fn report(&self, id: &str, report: Value) -> Result<Answer, Problem> {
        let report = serde_json::from_value(report).expect("a report");
        self.ask(Request::ReportStatus(unit_id(id), report)).await
    }

    /// Takes the unit through its mission until the hand-over, and to `available`.
    pub async fn finish(&self, id: &str) {
        for status in ["enroute", "on-scene", "onboard", "arrived", "handed-over", "available"] {
            self.status(id, status).await.unwrap_or_else(|problem| panic!("{status}: {problem}"));
        }
    }

    pub async fn publish(&self, incident: &IncidentId, event: IncidentEvent) {
        self.append(incident, self.deps.ids.uuid(self.deps.clock.now()), event).await;
    }

    /// Publishes about `i-1` with a message id of the caller's.
    pub async fn publish_as(&self, id: Uuid, event: IncidentEvent) {
        self.append(&incident_id("i-1"), id, event).await;
    }

    async fn append(&self, incident: &IncidentId, id: Uuid, event: IncidentEvent) {
        let now = self.deps.clock.now();
        let event = NewEvent {
            id,
            kind: event.kind(),
            v: 1,
            at: now,
            correlation_id: Some(incident.clone()),
            causation_id: None,
            traceparent: Some(Traceparent { trace_id: 7, span_id: 9 }),
            exercise: false,
            data: event.to_data(),
        };
        let stream = StreamName::new("incident", incident.as_str());
        let append = Append { stream, expected: Expected::Any, events: vec![event], open: true };
        self.store.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("published");
    }

    pub async fn request(&self, request: RequestDispatch) {
        self.publish(&request.incident_id.clone(), IncidentEvent::RequestDispatch(request)).await;
    }

    pub async fn cancel(&self, id: &str) {
        let cancel = CancelDispatch { incident_id: incident_id(id), reason: "false alarm".into() };
        self.publish(&incident_id(id), IncidentEvent::CancelDispatch(cancel)).await;
    }

    /// Bodies of all events of a kind, in order.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let events = self.store.all();
        let of_kind = events.iter().filter(|recorded| recorded.envelope.kind.as_str() == kind);
        of_kind.map(|recorded| serde_json::from_str(recorded.envelope.data.get()).expect("JSON")).collect()
    }

    /// Waits until there are `count` events of a kind, and gives them.
    pub async fn until(&self, kind: &str, count: usize) -> Vec<Value> {
        let mut head = self.store.head();
        loop {
            head.borrow_and_update();
            let found = self.all(kind);
            if found.len() >= count {
                return found;
            }
            let waited = tokio::time::timeout(Duration::from_secs(60), head.changed()).await;
            assert!(waited.is_ok(), "no {count}. {kind} comes; there is {:?}", self.store.kinds());
        }
    }

    /// `(incident, unit)` of all assignments so far.
    pub fn assignments(&self) -> Vec<(String, String)> {
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        self.all("dispatch.assigned").iter().map(|e| (text(e, "incident_id"), text(e, "unit_id"))).collect()
    }
}
