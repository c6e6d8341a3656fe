//! The service over a store in memory: events in, answers out.

use crate::cache::Cache;
use crate::model::testing::{acknowledged, closed, incident, opened, pending, registered, status, unit};
use crate::model::{Collection, Doc, DocKey};
use crate::projector::Projector;
use crate::{Settings, retention, start};
use serde_json::Value;
use shers_contract::{
    DomainEvent, LatLon, Traceparent,
    api::{Call, Page, Principal, Reply, Request, Role},
    billing::Step,
    derived_uuid,
    dispatch::{Fix, LocationsReported, UnitEvent, UnitStatus},
    envelope::StreamName,
    incident::Priority,
    triage::{Class, Score, TriageEvent, TriageStatus},
};
use shers_runtime::{
    Append, Commit, CommitError, Deps, Endpoint, Expected, NewEvent, Store,
    testing::{MemoryStore, TEST_START, deps_over},
};
use std::sync::Arc;

struct House {
    store: Arc<MemoryStore>,
    deps: Deps,
}

impl House {
    fn new() -> Self {
        let store = MemoryStore::new();
        let deps = deps_over(Arc::clone(&store) as Arc<dyn Store>);
        Self { store, deps }
    }

    async fn start(&self, settings: Settings) -> Arc<dyn Endpoint> {
        start(self.deps.clone(), settings).await.expect("the service starts")
    }

    /// Appends an event as its service would. Returns its id.
    async fn say<E: DomainEvent>(&self, stream: &str, about: Option<&str>, event: E) -> uuid::Uuid {
        self.say_because(stream, about, event, None).await
    }

    async fn say_because<E: DomainEvent>(
        &self,
        stream: &str,
        about: Option<&str>,
        event: E,
        cause: Option<uuid::Uuid>,
    ) -> uuid::Uuid {
        let id = derived_uuid(&["said", &self.store.all().len().to_string()]);
        let new = NewEvent {
            id,
            kind: event.kind(),
            v: event.schema_version(),
            at: TEST_START,
            correlation_id: about.map(incident),
            causation_id: cause,
            traceparent: None,
            exercise: false,
            data: event.to_data(),
        };
        let stream = StreamName::from_stored(stream);
        let append = Append { stream, expected: Expected::Any, events: vec![new], open: true };
        let commit = Commit { appends: vec![append], ..Commit::default() };
        self.store.commit(commit).await.expect("the event is stored");
        id
    }
}

async fn ask(door: &Arc<dyn Endpoint>, request: Request) -> Reply {
    let call = Call {
        id: derived_uuid(&["call"]),
        principal: Principal { subject: "test".into(), role: Role::Viewer },
        traceparent: Traceparent { trace_id: 1, span_id: 1 },
        exercise: false,
        idempotency: None,
        if_match: None,
        request,
    };
    door.call(call).await
}

async fn body(door: &Arc<dyn Endpoint>, request: Request) -> Value {
    ask(door, request).await.expect("an answer").body
}

fn ids(list: &Value, name: &str) -> Vec<String> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|i| i[name].as_str().expect("an id").to_owned()).collect()
}

fn page(limit: usize, cursor: Option<&str>, status: Option<&str>) -> Page {
    Page { limit, cursor: cursor.map(str::to_owned), status: status.map(str::to_owned) }
}

#[actix_rt::test]
async fn a_reader_sees_what_was_in_the_log_when_it_asked() {
    let house = House::new();
    let door = house.start(Settings::default()).await;
    house.say("incident/i-1", Some("i-1"), opened("i-1", Priority::P1, 0)).await;
    let incident_1 = ask(&door, Request::GetIncident(incident("i-1"))).await.expect("an answer");
    assert_eq!(incident_1.version, Some(1));
    assert_eq!(incident_1.body["status"], "opened");
    assert!(incident_1.body.get("_versions").is_none(), "bookkeeping is not shown");
    house.say("incident/i-1", Some("i-1"), acknowledged()).await;
    assert_eq!(body(&door, Request::GetIncident(incident("i-1"))).await["status"], "acknowledged");
}

#[actix_rt::test]
async fn lists_are_paged_without_gap_or_repeat_and_filtered_by_status() {
    let house = House::new();
    for n in 0..5 {
        let id = format!("i-{n}");
        house.say(&format!("incident/{id}"), Some(&id), opened(&id, Priority::P3, n)).await;
    }
    house.say("incident/i-0", Some("i-0"), closed()).await;
    let door = house.start(Settings::default()).await;
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let list = body(&door, Request::ListIncidents(page(2, cursor.as_deref(), None))).await;
        seen.extend(ids(&list, "incident_id"));
        cursor = list["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["i-1", "i-2", "i-3", "i-4", "i-0"]);
    let open = body(&door, Request::ListIncidents(page(0, None, Some("open")))).await;
    assert_eq!(ids(&open, "incident_id"), ["i-1", "i-2", "i-3", "i-4"]);
    for (bad, status) in [(page(2, Some("u00"), None), 400), (page(2, None, Some("nonsense")), 422)] {
        assert_eq!(ask(&door, Request::ListIncidents(bad)).await.map_err(|p| p.status), Err(status));
    }
}

#[actix_rt::test]
async fn what_nobody_knows_is_not_found() {
    let house = House::new();
    // Only its bill is known.
    house.say("bill/i-2", Some("i-2"), pending("i-2", Step::Eligibility)).await;
    let door = house.start(Settings::default()).await;
    for request in [
        Request::GetIncident(incident("i-1")),
        Request::GetIncident(incident("i-2")),
        Request::GetNemsis(incident("i-1")),
        Request::GetTimeline(incident("i-1"), page(0, None, None)),
        Request::GetUnit(unit("u-1")),
        Request::GetBill(incident("i-1").bill()),
        Request::GetHospital("h-1".parse().expect("an id")),
    ] {
        assert_eq!(ask(&door, request.clone()).await.map_err(|p| p.status), Err(404), "{request:?}");
    }
    assert_eq!(body(&door, Request::GetBill(incident("i-2").bill())).await["state"], "PENDING");
}

#[actix_rt::test]
async fn a_timeline_begins_with_the_class_that_opened_it() {
    let house = House::new();
    let class = TriageEvent::of(TriageStatus {
        patient_id: "p-1".parse().expect("an id"),
        class: Class::Emergency,
        previous: None,
        rule: "sos".into(),
        reason: "the button was pressed".into(),
        score: Score::default(),
        findings: vec![],
        clears_when: None,
        reading_at: TEST_START,
        location: None,
    });
    let cause = house.say("triage/p-1", None, class).await;
    house.say_because("incident/i-1", Some("i-1"), opened("i-1", Priority::P1, 0), Some(cause)).await;
    house.say("unit/u-1", Some("i-1"), status("u-1", UnitStatus::Assigned, Some("i-1"), 5)).await;
    let door = house.start(Settings::default()).await;
    let first = body(&door, Request::GetTimeline(incident("i-1"), page(1, None, None))).await;
    let kinds = |list: &Value| ids(list, "kind");
    assert_eq!(kinds(&first), ["triage.status.emergency", "incident.opened"]);
    let next = first["next"].as_str().expect("more follows");
    let second = body(&door, Request::GetTimeline(incident("i-1"), page(1, Some(next), None))).await;
    assert_eq!(kinds(&second), ["unit.status.assigned"]);
    assert_eq!(second["next"], Value::Null);
}

#[actix_rt::test]
async fn a_failed_commit_is_repeated_and_loses_nothing() {
    let house = House::new();
    let door = house.start(Settings { freshness_wait_ms: 10_000, ..Settings::default() }).await;
    house.say("incident/i-1", Some("i-1"), opened("i-1", Priority::P1, 0)).await;
    house.store.fail_next([CommitError::Unavailable("full disk".into()), CommitError::Unknown("time-out".into())]);
    assert_eq!(body(&door, Request::GetIncident(incident("i-1"))).await["calls"], 1);
}

#[actix_rt::test]
async fn a_second_life_that_hears_everything_again_changes_nothing() {
    let house = House::new();
    house.say("unit/u-1", None, registered("u-1")).await;
    house.say("incident/i-1", Some("i-1"), opened("i-1", Priority::P1, 0)).await;
    house.say("unit/u-1", Some("i-1"), status("u-1", UnitStatus::Assigned, Some("i-1"), 5)).await;
    let lists = || [Request::ListIncidents(Page::default()), Request::ListUnits(Page::default())];
    let first = house.start(Settings::default()).await;
    let mut before = Vec::new();
    for request in lists() {
        before.push(body(&first, request).await);
    }
    // The exchange has saved no cursor yet, so the new life gets the same deliveries.
    let second = house.start(Settings { cache_documents: 2, ..Settings::default() }).await;
    house.say("unit/u-2", None, registered("u-2")).await;
    let units = body(&second, Request::ListUnits(Page::default())).await;
    assert_eq!(ids(&units, "unit_id"), ["u-1", "u-2"]);
    assert_eq!(body(&second, Request::ListIncidents(Page::default())).await, before[0]);
    assert_eq!(units["items"][0], before[1]["items"][0]);
}

#[actix_rt::test]
async fn a_unit_moves_but_is_not_written_more_often_than_the_interval() {
    let fix = |seconds: i64, lat: f64| Fix {
        unit_id: unit("u-1"),
        at: TEST_START.plus_ms(seconds * 1000),
        location: LatLon::new(lat, 9.5).expect("on earth"),
        speed_mps: None,
        heading_deg: None,
    };
    // The first fixes are written at once; the later one only when the interval has passed.
    for (location_write_interval_ms, want) in [(0, 47.3), (3_600_000, 47.2)] {
        let house = House::new();
        let door = house.start(Settings { location_write_interval_ms, ..Settings::default() }).await;
        house.say("unit/u-1", None, registered("u-1")).await;
        let located = |fixes: Vec<Fix>| UnitEvent::Located(LocationsReported { fixes });
        house.say("positions/p00", None, located(vec![fix(2, 47.2), fix(1, 47.1)])).await;
        body(&door, Request::GetUnit(unit("u-1"))).await;
        house.say("positions/p00", None, located(vec![fix(3, 47.3)])).await;
        let unit_1 = body(&door, Request::GetUnit(unit("u-1"))).await;
        assert_eq!(unit_1["location"]["lat"], want, "interval {location_write_interval_ms} ms");
        assert_eq!(unit_1["version"], 1, "positions are no versions of the unit");
    }
}

#[actix_rt::test]
async fn figures_count_what_is_open_and_measure_what_was_done() {
    let house = House::new();
    house.say("unit/u-1", None, registered("u-1")).await;
    house.say("incident/i-1", Some("i-1"), opened("i-1", Priority::P1, 0)).await;
    house.say("unit/u-1", Some("i-1"), status("u-1", UnitStatus::Assigned, Some("i-1"), 30)).await;
    house.say("unit/u-1", Some("i-1"), status("u-1", UnitStatus::Enroute, Some("i-1"), 90)).await;
    house.say("unit/u-1", Some("i-1"), status("u-1", UnitStatus::OnScene, Some("i-1"), 330)).await;
    house.say("bill/i-1", Some("i-1"), pending("i-1", Step::Eligibility)).await;
    let door = house.start(Settings::default()).await;
    let kpis = body(&door, Request::GetKpis).await;
    assert_eq!(kpis["counts"]["open_incidents"], 1);
    assert_eq!(kpis["counts"]["units_by_status"]["on-scene"], 1);
    assert_eq!(kpis["counts"]["bills_by_state"]["PENDING"], 1);
    assert_eq!(kpis["intervals"]["call_processing_time"]["p50_s"], 30.0);
    assert_eq!(kpis["intervals"]["turnout_time"]["within_target"], 1.0);
    assert_eq!(kpis["intervals"]["response_time"]["p90_s"], 330.0);
    assert_eq!(kpis["intervals"]["response_time_by_priority"]["1"]["target_s"], 900);
}

#[actix_rt::test]
async fn what_ended_long_ago_leaves_the_read_models_and_what_is_open_stays() {
    let house = House::new();
    for id in ["old", "open"] {
        house.say(&format!("incident/{id}"), Some(id), opened(id, Priority::P1, 0)).await;
    }
    house.say("incident/old", Some("old"), closed()).await;
    let door = house.start(Settings::default()).await;
    assert_eq!(ids(&body(&door, Request::ListIncidents(Page::default())).await, "incident_id"), ["open", "old"]);
    let sweep = |days: i64| {
        let later = TEST_START.plus_ms(days * 86_400_000);
        let deps = shers_runtime::testing::deps_at(Arc::clone(&house.store) as Arc<dyn Store>, later);
        async move { retention::sweep(&Projector::new(deps, Settings::default(), 0)).await.expect("swept") }
    };
    assert_eq!(sweep(29).await, 0);
    assert_eq!(sweep(31).await, 2, "the incident and its figures");
    assert_eq!(ids(&body(&door, Request::ListIncidents(Page::default())).await, "incident_id"), ["open"]);
}

#[actix_rt::test]
async fn a_request_for_another_service_is_told_where_to_go() {
    let door = House::new().start(Settings::default()).await;
    assert_eq!(ask(&door, Request::GetRules).await.map_err(|p| p.status), Err(421));
}

#[test]
fn the_cache_keeps_what_is_used_within_its_bound() {
    let key = |n: usize| DocKey { collection: Collection::Unit, id: format!("u-{n}") };
    let mut cache = Cache::new(10);
    for n in 0..100 {
        if let Some(doc) = cache.take(&key(0)) {
            cache.put(key(0), doc);
        }
        cache.put(key(n), Doc::empty(&key(n)));
        assert!(cache.len() <= 10, "{}", cache.len());
    }
    assert!(cache.take(&key(0)).is_some(), "what is used stays");
    assert!(cache.take(&key(1)).is_none());
}

#[test]
fn settings_refuse_what_they_do_not_know() {
    assert!(serde_json::from_str::<Settings>("{}").is_ok_and(|s| s == Settings::default()));
    assert!(serde_json::from_str::<Settings>(r#"{"batch": 3, "targets": {"turnout_s": 90}}"#).is_ok());
    assert!(serde_json::from_str::<Settings>(r#"{"batches": 3}"#).is_err());
}
