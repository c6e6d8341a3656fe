//! `GET /patients/{id}/vitals`: the bounded history, and how it is found again after a restart.
//!
//! The readings lie in the journal; a wearer's track knows where. Bounded by count per wearer and by what
//! the journal keeps.

use crate::model::track::{Cursor, Entry, fingerprint};
use crate::{PATIENTS, Shared};
use serde_json::{Value, json};
use shers_contract::{
    Kind, PatientId, Problem,
    api::{Answer, Page, Reply},
    vitals::{Reading, ReadingBatch},
};
use shers_runtime::{Position, Recorded, StoreError};
use std::{collections::HashMap, sync::Arc};

/// Category of the journals.
pub(crate) const READINGS: &str = "readings";
/// Before which position everything lies (the greatest that SQL's BIGINT holds).
const END: Position = i64::MAX as u64;
/// Envelopes read at once when the history is found again.
const PAGE: usize = 128;

pub(crate) async fn page(shared: &Shared, id: &PatientId, page: &Page) -> Reply {
    let unavailable = |error: StoreError| Problem::unavailable(error.to_string());
    let Some(wearer) = shared.wearers.get(id.as_str()) else {
        return match shared.store.document(PATIENTS, id.as_str()).await.map_err(unavailable)? {
            Some(_) => Ok(Answer::ok(json!({"items": [], "next": null}))),
            None => Err(Problem::not_found("patient", id.as_str())),
        };
    };
    let after = match &page.cursor {
        Some(text) => Some(
            Cursor::parse(text)
                .ok_or_else(|| Problem::malformed("this cursor is not one that was given out; begin without one"))?,
        ),
        None => None,
    };
    let limit = if page.limit == 0 { shared.settings.page_default } else { page.limit };
    let (entries, next) = wearer.track().page(after, limit.min(shared.settings.page_max).max(1));
    let mut envelopes: HashMap<Position, Vec<Reading>> = HashMap::new();
    let mut items: Vec<Value> = Vec::with_capacity(entries.len());
    for entry in entries {
        let found = find(shared, id, &entry, &mut envelopes).await.map_err(unavailable)?;
        items.extend(found.and_then(|reading| serde_json::to_value(reading).ok()));
    }
    Ok(Answer::ok(json!({"items": items, "next": next.map(|cursor| cursor.to_string())})))
}

/// Reads the envelope of an entry; where positions had gaps, those of its whole commit.
async fn find(
    shared: &Shared,
    id: &PatientId,
    entry: &Entry,
    envelopes: &mut HashMap<Position, Vec<Reading>>,
) -> Result<Option<Reading>, StoreError> {
    let wanted = |reading: &&Reading| {
        reading.at == entry.at
            && serde_json::to_string(reading).is_ok_and(|json| fingerprint(reading, &json) == entry.fingerprint)
    };
    if !envelopes.contains_key(&entry.position) {
        for recorded in shared.store.read_back(READINGS, entry.position + 1, 1).await? {
            envelopes.insert(recorded.position, of_patient(&recorded, id));
        }
    }
    if let Some(reading) = envelopes.get(&entry.position).and_then(|readings| readings.iter().find(wanted)) {
        return Ok(Some(reading.clone()));
    }
    let span = usize::try_from(entry.span).unwrap_or(1);
    let whole = shared.store.read_back(READINGS, entry.last + 1, span).await?;
    Ok(whole.iter().find_map(|recorded| of_patient(recorded, id).iter().find(wanted).cloned()))
}

fn of_patient(recorded: &Recorded, id: &PatientId) -> Vec<Reading> {
    let mut readings = read(recorded);
    readings.retain(|reading| reading.patient_id == *id);
    readings
}

fn read(recorded: &Recorded) -> Vec<Reading> {
    if recorded.envelope.kind != Kind::READING_RECORDED {
        return Vec::new();
    }
    // One that can't be read here went to the dead letters of those who had to.
    serde_json::from_str::<ReadingBatch>(recorded.envelope.data.get()).map(|batch| batch.readings).unwrap_or_default()
}

/// Finds the newest part of the history again; says where to go on. This much is known before the first
/// request, so a device that sends again what was under way at a crash is recognised.
pub(crate) async fn recall_newest(shared: &Shared) -> Result<Position, StoreError> {
    Ok(recall_page(shared, END).await?.unwrap_or(0))
}

/// Finds the rest of the history, in the background.
pub(crate) async fn recall_rest(shared: Arc<Shared>, mut before: Position) {
    let mut envelopes = PAGE;
    while before > 0 && envelopes < shared.settings.recall_envelopes {
        match recall_page(&shared, before).await {
            Ok(Some(position)) => before = position,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the history of before the restart is not complete");
                return;
            }
        }
        envelopes += PAGE;
        tokio::task::yield_now().await;
    }
}

async fn recall_page(shared: &Shared, before: Position) -> Result<Option<Position>, StoreError> {
    let page = shared.store.read_back(READINGS, before, PAGE).await?;
    for recorded in &page {
        for reading in read(recorded).iter().rev() {
            let (Some(wearer), Ok(json)) =
                (shared.wearers.get(reading.patient_id.as_str()), serde_json::to_string(reading))
            else {
                continue;
            };
            let position = recorded.position;
            let entry =
                Entry { at: reading.at, fingerprint: fingerprint(reading, &json), position, last: position, span: 1 };
            wearer.track().remember(entry, shared.wearers.bounds);
        }
    }
    Ok(page.last().map(|oldest| oldest.position))
}

/// Drops what is older than the retention time, again and again.
pub(crate) async fn prune(shared: Arc<Shared>) {
    let every = std::time::Duration::from_secs(shared.settings.prune_every_s);
    loop {
        shared.clock.sleep(every).await;
        let keep_ms = 1000 * i64::try_from(shared.settings.retention_s).unwrap_or(i64::MAX / 1000);
        match shared.store.prune(READINGS, shared.clock.now().plus_ms(-keep_ms)).await {
            Ok((0, _)) => {}
            Ok((count, last)) => {
                shared.wearers.forget_through(last);
                tracing::info!(envelopes = count, "readings past their retention were dropped");
            }
            Err(error) => tracing::warn!(%error, "dropping old readings; trying again later"),
        }
    }
}
