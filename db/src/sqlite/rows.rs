//! Queries, and rows to envelopes and back.

use super::schema::{answers, cursors, documents, events, streams};
use diesel::prelude::*;
use serde_json::value::RawValue;
use shers_contract::{Envelope, IncidentId, Kind, Timestamp, Traceparent, envelope::StreamName};
use shers_runtime::store::{Document, Position, Recorded, SavedAnswer, StoreError};
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

type Row = (i64, i64, i64, Vec<u8>, String, i32, i64, Option<i64>, Option<Vec<u8>>, Option<String>, bool, String);

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError(error.to_string())
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn signed_len(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn last_position(c: &mut SqliteConnection) -> QueryResult<Position> {
    let last: Option<i64> = events::table.select(diesel::dsl::max(events::position)).first(c)?;
    Ok(unsigned(last.unwrap_or(0)))
}

/// Turns rows into envelopes, looking up the names of their streams and incidents.
fn envelopes(c: &mut SqliteConnection, rows: Vec<Row>) -> Result<Vec<Recorded>, StoreError> {
    let mut ids: Vec<i64> = rows.iter().flat_map(|r| [Some(r.1), r.7]).flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut names: HashMap<i64, StreamName> = HashMap::with_capacity(ids.len());
    // SQLite allows 32,766 parameters in one statement.
    for chunk in ids.chunks(10_000) {
        let found: Vec<(i64, String)> = streams::table
            .filter(streams::id.eq_any(chunk))
            .select((streams::id, streams::name))
            .load(c)
            .map_err(failed)?;
        names.extend(found.into_iter().map(|(id, name)| (id, StreamName::from_stored(&name))));
    }
    rows.into_iter().map(|row| envelope(row, &names)).collect()
}

fn envelope(row: Row, names: &HashMap<i64, StreamName>) -> Result<Recorded, StoreError> {
    let (position, stream, version, message_id, kind, v, at, correlation, causation, traceparent, exercise, data) = row;
    let unknown = |what: &str| StoreError(format!("event {position}: {what}"));
    let correlation_id = match correlation {
        None => None,
        Some(id) => {
            let name = names.get(&id).ok_or_else(|| unknown("its incident's stream is missing"))?;
            Some(IncidentId::new(name.id()).map_err(failed)?)
        }
    };
    let envelope = Envelope {
        id: Uuid::from_slice(&message_id).map_err(failed)?,
        kind: Kind::parse(&kind).ok_or_else(|| unknown("unknown kind; a newer version of shers wrote it"))?,
        v: u16::try_from(v).map_err(failed)?,
        stream: names.get(&stream).cloned().ok_or_else(|| unknown("its stream is missing"))?,
        version: unsigned(version),
        at: Timestamp::from_ms(at),
        correlation_id,
        causation_id: causation.map(|bytes| Uuid::from_slice(&bytes)).transpose().map_err(failed)?,
        traceparent: traceparent.as_deref().and_then(Traceparent::parse),
        exercise,
        data: RawValue::from_string(data).map_err(failed)?,
    };
    Ok(Recorded { position: unsigned(position), envelope: Arc::new(envelope) })
}

fn stream_id(c: &mut SqliteConnection, name: &str) -> Result<Option<i64>, StoreError> {
    streams::table.filter(streams::name.eq(name)).select(streams::id).first(c).optional().map_err(failed)
}

pub(super) fn read_stream(
    c: &mut SqliteConnection,
    stream: &StreamName,
    after: u64,
) -> Result<Vec<Recorded>, StoreError> {
    let Some(id) = stream_id(c, stream.as_str())? else { return Ok(Vec::new()) };
    let rows: Vec<Row> = events::table
        .filter(events::stream.eq(id).and(events::version.gt(signed(after))))
        .order(events::version)
        .load(c)
        .map_err(failed)?;
    envelopes(c, rows)
}

pub(super) fn read_open(c: &mut SqliteConnection, category: &str) -> Result<Vec<Recorded>, StoreError> {
    let open = streams::table.filter(streams::category.eq(category).and(streams::open.eq(true))).select(streams::id);
    let rows: Vec<Row> = events::table
        .filter(events::stream.eq_any(open))
        .order((events::stream, events::version))
        .load(c)
        .map_err(failed)?;
    envelopes(c, rows)
}

pub(super) fn read_after(c: &mut SqliteConnection, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
    let rows: Vec<Row> = events::table
        .filter(events::position.gt(signed(after)))
        .order(events::position)
        .limit(signed_len(limit))
        .load(c)
        .map_err(failed)?;
    envelopes(c, rows)
}

pub(super) fn read_back(
    c: &mut SqliteConnection,
    category: &str,
    before: Position,
    limit: usize,
) -> Result<Vec<Recorded>, StoreError> {
    let of = streams::table.filter(streams::category.eq(category)).select(streams::id);
    let rows: Vec<Row> = events::table
        .filter(events::position.lt(signed(before)).and(events::stream.eq_any(of)))
        .order(events::position.desc())
        .limit(signed_len(limit))
        .load(c)
        .map_err(failed)?;
    envelopes(c, rows)
}

pub(super) fn read_incident(
    c: &mut SqliteConnection,
    incident: &IncidentId,
    after: Position,
    limit: usize,
) -> Result<Vec<Recorded>, StoreError> {
    let Some(id) = stream_id(c, &format!("incident/{incident}"))? else { return Ok(Vec::new()) };
    let rows: Vec<Row> = events::table
        .filter(events::correlation.eq(id).and(events::position.gt(signed(after))))
        .order(events::position)
        .limit(signed_len(limit))
        .load(c)
        .map_err(failed)?;
    envelopes(c, rows)
}

pub(super) fn cursor(c: &mut SqliteConnection, name: &str) -> Result<Position, StoreError> {
    let found: Option<i64> =
        cursors::table.filter(cursors::name.eq(name)).select(cursors::position).first(c).optional().map_err(failed)?;
    Ok(unsigned(found.unwrap_or(0)))
}

pub(super) fn answer(c: &mut SqliteConnection, key: &str) -> Result<Option<SavedAnswer>, StoreError> {
    let found: Option<(String, String, i64, String)> =
        answers::table.filter(answers::key.eq(key)).first(c).optional().map_err(failed)?;
    found
        .map(|(key, body_digest, at, answer)| {
            let answer = serde_json::from_str(&answer).map_err(failed)?;
            Ok(SavedAnswer { key, body_digest, at: Timestamp::from_ms(at), answer })
        })
        .transpose()
}

fn document_of(row: (String, String, i64, String)) -> Document {
    let (id, tag, rank, doc) = row;
    Document { id, tag, rank, doc }
}

pub(super) fn document(c: &mut SqliteConnection, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
    let found = documents::table
        .filter(documents::collection.eq(collection).and(documents::id.eq(id)))
        .select((documents::id, documents::tag, documents::rank, documents::doc))
        .first(c)
        .optional()
        .map_err(failed)?;
    Ok(found.map(document_of))
}

pub(super) fn documents(
    c: &mut SqliteConnection,
    collection: &str,
    tags: &[String],
    after: Option<(i64, String)>,
    limit: usize,
) -> Result<Vec<Document>, StoreError> {
    let mut query = documents::table
        .filter(documents::collection.eq(collection))
        .select((documents::id, documents::tag, documents::rank, documents::doc))
        .order((documents::rank, documents::id))
        .limit(signed_len(limit))
        .into_boxed();
    if !tags.is_empty() {
        query = query.filter(documents::tag.eq_any(tags));
    }
    if let Some((rank, id)) = after {
        query = query.filter(documents::rank.gt(rank).or(documents::rank.eq(rank).and(documents::id.gt(id))));
    }
    Ok(query.load(c).map_err(failed)?.into_iter().map(document_of).collect())
}
