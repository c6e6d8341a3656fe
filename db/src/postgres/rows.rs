//! Queries, and rows to envelopes.

use super::pool::ReadError;
use super::schema::{StoredUuid, answers, cursors, documents, events, streams};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection as Connection, RunQueryDsl};
use serde_json::value::RawValue;
use shers_contract::{Envelope, IncidentId, Kind, Timestamp, Traceparent, envelope::StreamName};
use shers_runtime::store::{Document, Position, Recorded, SavedAnswer};
use std::{collections::HashMap, sync::Arc};

type Row = (
    i64,
    i64,
    i64,
    StoredUuid,
    String,
    i32,
    i64,
    Option<i64>,
    Option<StoredUuid>,
    Option<String>,
    bool,
    bool,
    i16,
    String,
);
type Read<T> = Result<T, ReadError>;

fn wrong(error: impl std::fmt::Display) -> ReadError {
    ReadError::Row(error.to_string())
}

pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

pub(super) fn signed_len(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn small(partition: u16) -> i16 {
    i16::try_from(partition).unwrap_or(i16::MAX)
}

/// Turns rows into envelopes, looking up the names of their streams and incidents. Those never change.
async fn envelopes(c: &mut Connection, rows: Vec<Row>) -> Read<Vec<Recorded>> {
    let mut ids: Vec<i64> = rows.iter().flat_map(|r| [Some(r.1), r.7]).flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut names: HashMap<i64, StreamName> = HashMap::with_capacity(ids.len());
    if !ids.is_empty() {
        let of = streams::table.filter(streams::id.eq_any(&ids)).select((streams::id, streams::name));
        let found: Vec<(i64, String)> = of.load(c).await?;
        names.extend(found.into_iter().map(|(id, name)| (id, StreamName::from_stored(&name))));
    }
    rows.into_iter().map(|row| envelope(row, &names)).collect()
}

fn envelope(row: Row, names: &HashMap<i64, StreamName>) -> Read<Recorded> {
    let (position, stream, version, message_id, kind, v, at, correlation, causation, traceparent, exercise, _, _, data) =
        row;
    let unknown = |what: &str| ReadError::Row(format!("event {position}: {what}"));
    let correlation_id = match correlation {
        None => None,
        Some(id) => {
            let name = names.get(&id).ok_or_else(|| unknown("its incident's stream is missing"))?;
            Some(IncidentId::new(name.id()).map_err(wrong)?)
        }
    };
    let envelope = Envelope {
        id: message_id.0,
        kind: Kind::parse(&kind).ok_or_else(|| unknown("unknown kind; a newer version of shers wrote it"))?,
        v: u16::try_from(v).map_err(wrong)?,
        stream: names.get(&stream).cloned().ok_or_else(|| unknown("its stream is missing"))?,
        version: unsigned(version),
        at: Timestamp::from_ms(at),
        correlation_id,
        causation_id: causation.map(|id| id.0),
        traceparent: traceparent.as_deref().and_then(Traceparent::parse),
        exercise,
        data: RawValue::from_string(data).map_err(wrong)?,
    };
    Ok(Recorded { position: unsigned(position), envelope: Arc::new(envelope) })
}

async fn stream_id(c: &mut Connection, name: &str) -> Read<Option<i64>> {
    let of = streams::table.filter(streams::name.eq(name)).select(streams::id);
    Ok(of.first(c).await.optional()?)
}

pub(super) async fn read_stream(c: &mut Connection, stream: &StreamName, after: u64) -> Read<Vec<Recorded>> {
    let Some(id) = stream_id(c, stream.as_str()).await? else { return Ok(Vec::new()) };
    let of = events::table.filter(events::stream.eq(id).and(events::version.gt(signed(after))));
    let rows: Vec<Row> = of.order(events::version).load(c).await?;
    envelopes(c, rows).await
}

pub(super) async fn read_open(c: &mut Connection, category: &str, partition: Option<u16>) -> Read<Vec<Recorded>> {
    let open = streams::table.filter(streams::category.eq(category).and(streams::open.eq(true))).select(streams::id);
    let mut query =
        events::table.filter(events::stream.eq_any(open)).order((events::stream, events::version)).into_boxed();
    if let Some(partition) = partition {
        query = query.filter(events::partition.eq(small(partition)));
    }
    let rows: Vec<Row> = query.load(c).await?;
    envelopes(c, rows).await
}

pub(super) async fn read_after(
    c: &mut Connection,
    partition: Option<u16>,
    after: Position,
    limit: usize,
) -> Read<Vec<Recorded>> {
    let mut query = events::table
        .filter(events::position.gt(signed(after)))
        .order(events::position)
        .limit(signed_len(limit))
        .into_boxed();
    if let Some(partition) = partition {
        query = query.filter(events::partition.eq(small(partition)));
    }
    let rows: Vec<Row> = query.load(c).await?;
    envelopes(c, rows).await
}

pub(super) async fn read_own_after(c: &mut Connection, after: Position, limit: usize) -> Read<Vec<Recorded>> {
    let own = events::table.filter(events::position.gt(signed(after)).and(events::own));
    let rows: Vec<Row> = own.order(events::position).limit(signed_len(limit)).load(c).await?;
    envelopes(c, rows).await
}

pub(super) async fn read_back(
    c: &mut Connection,
    partition: Option<u16>,
    category: &str,
    before: Position,
    limit: usize,
) -> Read<Vec<Recorded>> {
    let of = streams::table.filter(streams::category.eq(category)).select(streams::id);
    let mut query = events::table
        .filter(events::position.lt(signed(before)).and(events::stream.eq_any(of)))
        .order(events::position.desc())
        .limit(signed_len(limit))
        .into_boxed();
    if let Some(partition) = partition {
        query = query.filter(events::partition.eq(small(partition)));
    }
    let rows: Vec<Row> = query.load(c).await?;
    envelopes(c, rows).await
}

pub(super) async fn read_incident(
    c: &mut Connection,
    incident: &IncidentId,
    after: Position,
    limit: usize,
) -> Read<Vec<Recorded>> {
    let Some(id) = stream_id(c, &format!("incident/{incident}")).await? else { return Ok(Vec::new()) };
    let of = events::table.filter(events::correlation.eq(id).and(events::position.gt(signed(after))));
    let rows: Vec<Row> = of.order(events::position).limit(signed_len(limit)).load(c).await?;
    envelopes(c, rows).await
}

pub(super) async fn last_position(c: &mut Connection) -> Read<Position> {
    let last: Option<i64> = events::table.select(diesel::dsl::max(events::position)).first(c).await?;
    Ok(unsigned(last.unwrap_or(0)))
}

pub(super) async fn cursor(c: &mut Connection, name: &str) -> Read<Position> {
    let of = cursors::table.filter(cursors::name.eq(name)).select(cursors::position);
    let found: Option<i64> = of.first(c).await.optional()?;
    Ok(unsigned(found.unwrap_or(0)))
}

pub(super) async fn answer(c: &mut Connection, key: &str) -> Read<Option<SavedAnswer>> {
    let found: Option<(String, String, i64, String)> =
        answers::table.filter(answers::key.eq(key)).first(c).await.optional()?;
    found
        .map(|(key, body_digest, at, answer)| {
            let answer = serde_json::from_str(&answer).map_err(wrong)?;
            Ok(SavedAnswer { key, body_digest, at: Timestamp::from_ms(at), answer })
        })
        .transpose()
}

fn document_of(row: (String, String, i64, String)) -> Document {
    let (id, tag, rank, doc) = row;
    Document { id, tag, rank, doc }
}

pub(super) async fn document(c: &mut Connection, collection: &str, id: &str) -> Read<Option<Document>> {
    let found = documents::table
        .filter(documents::collection.eq(collection).and(documents::id.eq(id)))
        .select((documents::id, documents::tag, documents::rank, documents::doc))
        .first(c)
        .await
        .optional()?;
    Ok(found.map(document_of))
}

pub(super) async fn documents(
    c: &mut Connection,
    collection: &str,
    tags: &[String],
    after: Option<&(i64, String)>,
    limit: usize,
) -> Read<Vec<Document>> {
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
    let rows: Vec<(String, String, i64, String)> = query.load(c).await?;
    Ok(rows.into_iter().map(document_of).collect())
}
