//! Answers what is asked of the read models. Only reads, so it runs on any thread.

use crate::Settings;
use crate::model::{
    Collection, Doc,
    doc::UNKNOWN,
    incident::IncidentDoc,
    kpi::{self, KpiDoc},
    nemsis, page,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use shers_contract::{
    IncidentId, Kind, Problem,
    api::{Answer, Call, Page, Reply, Request},
};
use shers_runtime::{Document, Endpoint, Position, Recorded, Store, StoreError};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How far back the class that opened an incident is looked for among triage's events.
const TRIAGE_LOOK_BACK: usize = 64;
/// Units counted at most.
const MAX_UNITS: usize = 100_000;

/// The door.
pub(crate) struct Queries {
    reader: Arc<Reader>,
}

struct Reader {
    store: Arc<dyn Store>,
    position: watch::Receiver<Position>,
    settings: Settings,
}

impl Queries {
    pub(crate) fn new(store: Arc<dyn Store>, position: watch::Receiver<Position>, settings: Settings) -> Self {
        Self { reader: Arc::new(Reader { store, position, settings }) }
    }
}

impl Endpoint for Queries {
    fn call(&self, call: Call) -> BoxFuture<'static, Reply> {
        let reader = Arc::clone(&self.reader);
        Box::pin(async move { reader.answer(call.request).await })
    }
}

fn unreadable(error: &StoreError) -> Problem {
    tracing::warn!(%error, "a query could not read the store");
    Problem::unavailable("the read models can't be read now; try again shortly")
}

impl Reader {
    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::ListIncidents(page) => self.list(Collection::Incident, &page).await,
            Request::GetIncident(id) => self.get(Collection::Incident, "incident", id.as_str()).await,
            Request::GetTimeline(id, page) => self.timeline(&id, &page).await,
            Request::GetNemsis(id) => self.nemsis(&id).await,
            Request::ListUnits(page) => self.list(Collection::Unit, &page).await,
            Request::GetUnit(id) => self.get(Collection::Unit, "unit", id.as_str()).await,
            Request::ListHospitals(page) => self.list(Collection::Hospital, &page).await,
            Request::GetHospital(id) => self.get(Collection::Hospital, "hospital", id.as_str()).await,
            Request::ListBills(page) => self.list(Collection::Bill, &page).await,
            Request::GetBill(id) => self.get(Collection::Bill, "bill", id.as_str()).await,
            Request::ListNotifications(page) => self.list(Collection::Notification, &page).await,
            Request::GetKpis => self.kpis().await,
            other => Err(Problem::new(
                421,
                "misdirected-request",
                format!("the stream service does not answer this; {} does", other.service().as_str()),
            )),
        }
    }

    /// Waits until documents show what is in the log now, or long enough.
    async fn fresh(&self) {
        let head = *self.store.head().borrow();
        let mut position = self.position.clone();
        let caught_up = position.wait_for(|p| *p >= head);
        let wait = Duration::from_millis(self.settings.freshness_wait_ms);
        if tokio::time::timeout(wait, caught_up).await.is_err() {
            metrics::counter!("shers_queries_stale_total").increment(1);
        }
    }

    async fn list(&self, collection: Collection, page: &Page) -> Reply {
        let tags = page::tags(collection, page.status.as_deref())?;
        let after = page.cursor.as_deref().map(|c| page::behind(collection, c)).transpose()?;
        let limit = page::limit(page.limit, self.settings.default_page, self.settings.max_page);
        self.fresh().await;
        let found = self.store.documents(collection.as_str(), &tags, after, limit + 1).await;
        let mut found = found.map_err(|error| unreadable(&error))?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| page::cursor(collection, &(last.rank, last.id.clone())));
        let items: Vec<Value> = found.iter().filter_map(shown).collect();
        Ok(Answer::ok(json!({"items": items, "next": next})))
    }

    async fn document(&self, collection: Collection, id: &str) -> Result<Option<Document>, Problem> {
        self.fresh().await;
        let found = self.store.document(collection.as_str(), id).await.map_err(|error| unreadable(&error))?;
        Ok(found.filter(|document| document.tag != UNKNOWN))
    }

    async fn get(&self, collection: Collection, thing: &str, id: &str) -> Reply {
        let found = self.document(collection, id).await?;
        let body = found.as_ref().and_then(shown).ok_or_else(|| Problem::not_found(thing, id))?;
        let version = body.get("version").and_then(Value::as_u64);
        let answer = Answer::ok(body);
        Ok(match version {
            Some(version) => answer.at_version(version),
            None => answer,
        })
    }

    async fn incident(&self, id: &IncidentId) -> Result<IncidentDoc, Problem> {
        let missing = || Problem::not_found("incident", id.as_str());
        let stored = self.document(Collection::Incident, id.as_str()).await?.ok_or_else(missing)?;
        match Doc::read(Collection::Incident, &stored.doc) {
            Ok(Doc::Incident(incident)) => Ok(*incident),
            Ok(_) | Err(_) => Err(missing()),
        }
    }

    async fn nemsis(&self, id: &IncidentId) -> Reply {
        let incident = self.incident(id).await?;
        Ok(Answer::ok(nemsis::export(&incident)).at_version(incident.version))
    }

    async fn timeline(&self, id: &IncidentId, page: &Page) -> Reply {
        let after = page.cursor.as_deref().map(page::timeline_behind).transpose()?.unwrap_or(0);
        let limit = page::limit(page.limit, self.settings.default_page, self.settings.max_page);
        let found = self.store.read_incident(id, after, limit + 1).await;
        let mut found = found.map_err(|error| unreadable(&error))?;
        if found.is_empty() && after == 0 {
            return Err(Problem::not_found("incident", id.as_str()));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| page::timeline_cursor(last.position));
        let mut items: Vec<Value> = Vec::with_capacity(found.len() + 1);
        if let Some(first) = found.first().filter(|_| after == 0) {
            items.extend(self.opened_by(first).await?.as_ref().map(item));
        }
        items.extend(found.iter().map(item));
        Ok(Answer::ok(json!({"items": items, "next": next})))
    }

    /// The class that opened an incident: it came before there was one, so it does not carry its id.
    async fn opened_by(&self, first: &Recorded) -> Result<Option<Recorded>, Problem> {
        let Some(cause) = first.envelope.causation_id.filter(|_| first.envelope.kind == Kind::INCIDENT_OPENED) else {
            return Ok(None);
        };
        let before = self.store.read_back("triage", first.position, TRIAGE_LOOK_BACK).await;
        let before = before.map_err(|error| unreadable(&error))?;
        Ok(before.into_iter().find(|r| r.envelope.id == cause))
    }

    async fn kpis(&self) -> Reply {
        self.fresh().await;
        let window = self.settings.kpi_window;
        let kpis = |tags: Vec<String>| async move {
            let found = self.store.documents(Collection::Kpi.as_str(), &tags, None, window).await;
            let found = found.map_err(|error| unreadable(&error))?;
            Ok::<Vec<KpiDoc>, Problem>(found.iter().filter_map(|d| serde_json::from_str(&d.doc).ok()).collect())
        };
        let newest = kpis(page::tags(Collection::Kpi, None)?).await?;
        // Old ones that are still open may lie outside the window; nobody wants to overlook them.
        let mut counts = if newest.len() < window {
            kpi::counts(&newest)
        } else {
            let open = kpis(page::tags(Collection::Kpi, Some("open"))?).await?;
            let ended = newest.iter().filter(|k| k.status.is_ended()).cloned();
            kpi::counts(&open.into_iter().chain(ended).collect::<Vec<_>>())
        };
        let tags = page::tags(Collection::Unit, None)?;
        let units = self.store.documents(Collection::Unit.as_str(), &tags, None, MAX_UNITS).await;
        let units = units.map_err(|error| unreadable(&error))?;
        let mut by_status: BTreeMap<&str, usize> = BTreeMap::new();
        for unit in &units {
            *by_status.entry(unit.tag.as_str()).or_default() += 1;
        }
        if let Some(counts) = counts.as_object_mut() {
            counts.insert("units".to_owned(), json!(units.len()));
            counts.insert("units_by_status".to_owned(), json!(by_status));
        }
        Ok(Answer::ok(json!({
            "incidents": newest.len(),
            "since": newest.last().and_then(|k| k.call_at),
            "intervals": kpi::intervals(&newest, &self.settings.targets, &self.settings.areas),
            "counts": counts,
        })))
    }
}

/// A document without its inner bookkeeping.
fn shown(document: &Document) -> Option<Value> {
    let mut value: Value = serde_json::from_str(&document.doc).ok()?;
    value.as_object_mut()?.retain(|name, _| !name.starts_with('_'));
    Some(value)
}

/// An event of a timeline.
fn item(recorded: &Recorded) -> Value {
    let envelope = &recorded.envelope;
    let data: Value = serde_json::from_str(envelope.data.get()).unwrap_or(Value::Null);
    json!({
        "offset": recorded.position,
        "kind": envelope.kind,
        "at": envelope.at,
        "stream": envelope.stream,
        "version": envelope.version,
        "causation_id": envelope.causation_id,
        "data": data,
    })
}
