//! The writer's statements: one for each table, however many rows, so that a group is two round trips.

use super::group::{Head, Known, Plan, Wanted};
use super::rows::{signed, small, unsigned};
use futures::future::{BoxFuture, FutureExt, join_all};
use shers_contract::envelope::StreamName;
use tokio_postgres::{Client, Error, Statement, types::Type};
use uuid::Uuid;

/// Statements of one connection, prepared.
pub(super) struct Statements {
    ends: Statement,
    heads: Statement,
    marks: Statement,
    answers: Statement,
    copies: Statement,
    put_streams: Statement,
    set_heads: Statement,
    put_events: Statement,
    put_marks: Statement,
    put_documents: Statement,
    drop_documents: Statement,
    put_cursors: Statement,
    put_answers: Statement,
    mark_group: Statement,
}

impl Statements {
    pub(super) async fn prepare(c: &Client) -> Result<Self, Error> {
        Ok(Self {
            ends: c
                .prepare("SELECT coalesce((SELECT max(position) FROM events), 0), coalesce((SELECT max(id) FROM streams), 0)")
                .await?,
            heads: c.prepare("SELECT name, id, version, open FROM streams WHERE name = ANY($1)").await?,
            marks: c
                .prepare(
                    "SELECT i.consumer, i.message_id FROM unnest($1::text[], $2::uuid[]) AS w (consumer, message_id) \
                     JOIN inbox i ON i.consumer = w.consumer AND i.message_id = w.message_id",
                )
                .await?,
            answers: c.prepare("SELECT key FROM answers WHERE key = ANY($1)").await?,
            copies: c
                .prepare(
                    "SELECT e.stream, e.version FROM unnest($1::bigint[], $2::bigint[]) AS w (stream, version) \
                     JOIN events e ON e.stream = w.stream AND e.version = w.version",
                )
                .await?,
            put_streams: c
                .prepare(
                    "INSERT INTO streams (id, name, category, version, open) \
                     SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::boolean[])",
                )
                .await?,
            set_heads: c
                .prepare(
                    "UPDATE streams s SET version = u.version, open = u.open \
                     FROM unnest($1::bigint[], $2::bigint[], $3::boolean[]) AS u (id, version, open) WHERE s.id = u.id",
                )
                .await?,
            put_events: c
                .prepare(
                    "INSERT INTO events (position, stream, version, message_id, kind, v, at, correlation, causation, \
                     traceparent, exercise, own, partition, data) SELECT * FROM unnest($1::bigint[], $2::bigint[], \
                     $3::bigint[], $4::uuid[], $5::text[], $6::integer[], $7::bigint[], $8::bigint[], $9::uuid[], \
                     $10::text[], $11::boolean[], $12::boolean[], $13::smallint[], $14::text[])",
                )
                .await?,
            put_marks: c
                .prepare("INSERT INTO inbox (consumer, message_id) SELECT * FROM unnest($1::text[], $2::uuid[])")
                .await?,
            put_documents: c
                .prepare(
                    "INSERT INTO documents (collection, id, tag, rank, doc) \
                     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[]) \
                     ON CONFLICT (collection, id) DO UPDATE \
                     SET tag = excluded.tag, rank = excluded.rank, doc = excluded.doc",
                )
                .await?,
            drop_documents: c
                .prepare(
                    "DELETE FROM documents d USING unnest($1::text[], $2::text[]) AS w (collection, id) \
                     WHERE d.collection = w.collection AND d.id = w.id",
                )
                .await?,
            put_cursors: c
                .prepare(
                    "INSERT INTO cursors (name, position) SELECT * FROM unnest($1::text[], $2::bigint[]) \
                     ON CONFLICT (name) DO UPDATE SET position = excluded.position",
                )
                .await?,
            put_answers: c
                .prepare_typed(
                    "INSERT INTO answers (key, body_digest, at, answer) \
                     SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])",
                    &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY],
                )
                .await?,
            mark_group: c
                .prepare(
                    "INSERT INTO writers (id, last_group) VALUES ($1, $2) \
                     ON CONFLICT (id) DO UPDATE SET last_group = excluded.last_group, at = now()",
                )
                .await?,
        })
    }

    /// Enters the critical section, then asks what must be known: each question sees all that was committed
    /// before the section was entered.
    pub(super) async fn begin(&self, c: &Client, lock: i64, wanted: &Wanted<'_>) -> Result<Known, Error> {
        let streams: Vec<&str> = wanted.streams.iter().map(StreamName::as_str).collect();
        let (consumers, ids): (Vec<&str>, Vec<Uuid>) = wanted.marks.iter().copied().unzip();
        let enter = format!("BEGIN; SELECT pg_advisory_xact_lock({lock})");
        // Polled together, they are sent together, in this order.
        let (entered, ends, heads, marks, answers) = futures::join!(
            c.batch_execute(&enter),
            c.query_one(&self.ends, &[]),
            async { c.query(&self.heads, &[&streams]).await },
            async { if ids.is_empty() { Ok(Vec::new()) } else { c.query(&self.marks, &[&consumers, &ids]).await } },
            async {
                if wanted.answers.is_empty() {
                    Ok(Vec::new())
                } else {
                    c.query(&self.answers, &[&wanted.answers]).await
                }
            },
        );
        entered?;
        let (ends, heads, marks, answers) = (ends?, heads?, marks?, answers?);
        let mut known = Known { last: unsigned(ends.try_get(0)?), last_stream: ends.try_get(1)?, ..Known::default() };
        for row in heads {
            let head = Head { id: row.try_get(1)?, version: unsigned(row.try_get(2)?), open: row.try_get(3)? };
            known.heads.insert(StreamName::from_stored(row.try_get(0)?), head);
        }
        for row in marks {
            known.marks.insert((row.try_get(0)?, row.try_get(1)?));
        }
        for row in answers {
            known.answers.insert(row.try_get(0)?);
        }
        Ok(known)
    }

    /// Which of these streams and versions are there.
    pub(super) async fn copies(&self, c: &Client, doubtful: &[(i64, u64)]) -> Result<Vec<(i64, u64)>, Error> {
        let (streams, versions): (Vec<i64>, Vec<i64>) = doubtful.iter().map(|(s, v)| (*s, signed(*v))).unzip();
        let rows = c.query(&self.copies, &[&streams, &versions]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, unsigned(row.try_get(1)?)))).collect()
    }

    /// Writes all of the plan and commits, in one round trip. The first error is why it was rolled back, if the
    /// connection still lives; the flag says whether that was the COMMIT itself.
    pub(super) async fn write(
        &self,
        c: &Client,
        plan: &Plan<'_>,
        known: &Known,
        writer: Uuid,
        group: i64,
    ) -> Result<(), (Error, bool)> {
        let mut sent: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::with_capacity(10);
        sent.push(async move { c.execute(&self.mark_group, &[&writer, &group]).await.map(|_| ()) }.boxed());
        self.heads_of(c, plan, known, &mut sent);
        if !plan.events.is_empty() {
            sent.push(self.events_of(c, plan));
        }
        self.rest_of(c, plan, &mut sent);
        // join_all polls few futures in order, so they are sent in order; COMMIT is the last.
        sent.push(async move { c.batch_execute("COMMIT").await }.boxed());
        let last = sent.len() - 1;
        for (index, result) in join_all(sent).await.into_iter().enumerate() {
            result.map_err(|error| (error, index == last))?;
        }
        Ok(())
    }

    fn heads_of<'a>(
        &'a self,
        c: &'a Client,
        plan: &Plan<'_>,
        known: &Known,
        sent: &mut Vec<BoxFuture<'a, Result<(), Error>>>,
    ) {
        let new: std::collections::HashSet<&StreamName> = plan.new_streams.iter().collect();
        let heads: Vec<(&StreamName, Head)> =
            plan.new_streams.iter().filter_map(|name| Some((name, *known.heads.get(name)?))).collect();
        if !heads.is_empty() {
            let ids: Vec<i64> = heads.iter().map(|(_, h)| h.id).collect();
            let versions: Vec<i64> = heads.iter().map(|(_, h)| signed(h.version)).collect();
            let open: Vec<bool> = heads.iter().map(|(_, h)| h.open).collect();
            let categories: Vec<String> = heads.iter().map(|(name, _)| name.category().to_owned()).collect();
            let names: Vec<String> = heads.iter().map(|(name, _)| name.as_str().to_owned()).collect();
            sent.push(
                async move {
                    c.execute(&self.put_streams, &[&ids, &names, &categories, &versions, &open]).await.map(|_| ())
                }
                .boxed(),
            );
        }
        let old = plan.touched.iter().filter(|name| !new.contains(name)).filter_map(|name| known.heads.get(name));
        let old: Vec<Head> = old.copied().collect();
        if !old.is_empty() {
            let ids: Vec<i64> = old.iter().map(|h| h.id).collect();
            let versions: Vec<i64> = old.iter().map(|h| signed(h.version)).collect();
            let open: Vec<bool> = old.iter().map(|h| h.open).collect();
            sent.push(async move { c.execute(&self.set_heads, &[&ids, &versions, &open]).await.map(|_| ()) }.boxed());
        }
    }

    fn events_of<'a>(&'a self, c: &'a Client, plan: &'a Plan<'_>) -> BoxFuture<'a, Result<(), Error>> {
        let rows = &plan.events;
        let all = || rows.iter().map(|row| &row.recorded.envelope);
        let positions: Vec<i64> = rows.iter().map(|row| signed(row.recorded.position)).collect();
        let streams: Vec<i64> = rows.iter().map(|row| row.stream).collect();
        let versions: Vec<i64> = all().map(|e| signed(e.version)).collect();
        let ids: Vec<Uuid> = all().map(|e| e.id).collect();
        let kinds: Vec<&str> = all().map(|e| e.kind.as_str()).collect();
        let schema_versions: Vec<i32> = all().map(|e| i32::from(e.v)).collect();
        let times: Vec<i64> = all().map(|e| e.at.as_ms()).collect();
        let correlations: Vec<Option<i64>> = rows.iter().map(|row| row.correlation).collect();
        let causes: Vec<Option<Uuid>> = all().map(|e| e.causation_id).collect();
        let traces: Vec<Option<String>> = all().map(|e| e.traceparent.map(|t| t.to_string())).collect();
        let exercise: Vec<bool> = all().map(|e| e.exercise).collect();
        let own: Vec<bool> = rows.iter().map(|row| row.own).collect();
        let partitions: Vec<i16> = rows.iter().map(|row| small(row.partition)).collect();
        let data: Vec<&str> = all().map(|e| e.data.get()).collect();
        async move {
            c.execute(
                &self.put_events,
                &[
                    &positions,
                    &streams,
                    &versions,
                    &ids,
                    &kinds,
                    &schema_versions,
                    &times,
                    &correlations,
                    &causes,
                    &traces,
                    &exercise,
                    &own,
                    &partitions,
                    &data,
                ],
            )
            .await
            .map(|_| ())
        }
        .boxed()
    }

    fn rest_of<'a>(&'a self, c: &'a Client, plan: &'a Plan<'_>, sent: &mut Vec<BoxFuture<'a, Result<(), Error>>>) {
        if !plan.marks.is_empty() {
            let (consumers, ids): (Vec<&str>, Vec<Uuid>) = plan.marks.iter().copied().unzip();
            sent.push(async move { c.execute(&self.put_marks, &[&consumers, &ids]).await.map(|_| ()) }.boxed());
        }
        let put: Vec<_> = plan.documents.values().filter_map(|w| Some((w, w.doc.as_deref()?))).collect();
        if !put.is_empty() {
            let collections: Vec<&str> = put.iter().map(|(w, _)| w.collection).collect();
            let ids: Vec<&str> = put.iter().map(|(w, _)| w.id.as_str()).collect();
            let tags: Vec<&str> = put.iter().map(|(w, _)| w.tag.as_str()).collect();
            let ranks: Vec<i64> = put.iter().map(|(w, _)| w.rank).collect();
            let docs: Vec<&str> = put.iter().map(|(_, doc)| *doc).collect();
            sent.push(
                async move {
                    c.execute(&self.put_documents, &[&collections, &ids, &tags, &ranks, &docs]).await.map(|_| ())
                }
                .boxed(),
            );
        }
        let gone = plan.documents.values().filter(|w| w.doc.is_none());
        let (collections, ids): (Vec<&str>, Vec<&str>) = gone.map(|w| (w.collection, w.id.as_str())).unzip();
        if !ids.is_empty() {
            sent.push(async move { c.execute(&self.drop_documents, &[&collections, &ids]).await.map(|_| ()) }.boxed());
        }
        if !plan.cursors.is_empty() {
            let (names, positions): (Vec<&str>, Vec<i64>) = plan.cursors.iter().map(|(n, p)| (*n, signed(*p))).unzip();
            sent.push(async move { c.execute(&self.put_cursors, &[&names, &positions]).await.map(|_| ()) }.boxed());
        }
        if !plan.answers.is_empty() {
            let keys: Vec<&str> = plan.answers.iter().map(|(a, _)| a.key.as_str()).collect();
            let digests: Vec<&str> = plan.answers.iter().map(|(a, _)| a.body_digest.as_str()).collect();
            let times: Vec<i64> = plan.answers.iter().map(|(a, _)| a.at.as_ms()).collect();
            let texts: Vec<&str> = plan.answers.iter().map(|(_, text)| text.as_str()).collect();
            sent.push(
                async move { c.execute(&self.put_answers, &[&keys, &digests, &times, &texts]).await.map(|_| ()) }
                    .boxed(),
            );
        }
    }
}
