//! Dropping what is no longer needed, in small statements beside the writer.

use super::options::PostgresOptions;
use super::pool::Readers;
use super::rows::{signed_len, unsigned};
use diesel::{QueryableByName, sql_query, sql_types};
use diesel_async::RunQueryDsl;
use futures::FutureExt;
use shers_contract::Timestamp;
use shers_runtime::store::{Position, StoreError};

/// Rows looked at in one statement.
const CHUNK: usize = 5_000;

#[derive(QueryableByName)]
struct Gone {
    #[diesel(sql_type = sql_types::BigInt)]
    gone: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    last: i64,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = sql_types::BigInt)]
    id: i64,
}

/// The oldest events of one stream, those of them that are old. Never the last event of the log, whose position
/// must not be given out again. Another process that prunes the same takes other rows.
const EVENTS: &str = "\
    WITH oldest AS (SELECT position, at FROM events WHERE stream = $1 ORDER BY version LIMIT $3), \
    old AS (SELECT e.position FROM events e JOIN oldest o ON o.position = e.position \
            WHERE o.at < $2 AND e.position < (SELECT max(position) FROM events) \
            FOR UPDATE OF e SKIP LOCKED), \
    gone AS (DELETE FROM events e USING old WHERE e.position = old.position RETURNING e.position) \
    SELECT count(*) AS gone, coalesce(max(position), 0) AS last FROM gone";

const MARKS: &str = "\
    WITH gone AS (DELETE FROM inbox WHERE ctid = ANY(ARRAY(\
        SELECT ctid FROM inbox WHERE at < now() - make_interval(secs => $1) LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1) \
    SELECT count(*) AS gone, 0::bigint AS last FROM gone";

const ANSWERS: &str = "\
    WITH gone AS (DELETE FROM answers WHERE ctid = ANY(ARRAY(\
        SELECT ctid FROM answers WHERE at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1) \
    SELECT count(*) AS gone, 0::bigint AS last FROM gone";

/// Marks of writers that have not written for as long as inbox marks are kept.
const WRITERS: &str = "DELETE FROM writers WHERE at < now() - make_interval(secs => $1)";

pub(super) async fn prune(
    readers: &Readers,
    options: &PostgresOptions,
    category: &str,
    before: Timestamp,
) -> Result<(u64, Position), StoreError> {
    let category = category.to_owned();
    let streams = readers.run(move |c| {
        let of = sql_query("SELECT id FROM streams WHERE category = $1").bind::<sql_types::Text, _>(category.clone());
        async move { Ok(of.load::<Id>(c).await?) }.boxed()
    });
    let (mut gone, mut last) = (0, 0);
    for Id { id } in streams.await? {
        loop {
            let chunk = readers
                .run(move |c| {
                    let drop = sql_query(EVENTS)
                        .bind::<sql_types::BigInt, _>(id)
                        .bind::<sql_types::BigInt, _>(before.as_ms())
                        .bind::<sql_types::BigInt, _>(signed_len(CHUNK));
                    async move { Ok(drop.get_result::<Gone>(c).await?) }.boxed()
                })
                .await?;
            gone += unsigned(chunk.gone);
            last = last.max(unsigned(chunk.last));
            if chunk.gone < signed_len(CHUNK) {
                break;
            }
        }
    }
    let keep_answers = i64::try_from(options.keep_answers.as_millis()).unwrap_or(i64::MAX);
    let answers_before = before.as_ms().saturating_sub(keep_answers);
    let keep_marks = options.keep_inbox.as_secs_f64();
    in_chunks(readers, move || {
        sql_query(ANSWERS).bind::<sql_types::BigInt, _>(answers_before).bind::<sql_types::BigInt, _>(signed_len(CHUNK))
    })
    .await?;
    in_chunks(readers, move || {
        sql_query(MARKS).bind::<sql_types::Double, _>(keep_marks).bind::<sql_types::BigInt, _>(signed_len(CHUNK))
    })
    .await?;
    readers
        .run(move |c| {
            let drop = sql_query(WRITERS).bind::<sql_types::Double, _>(keep_marks);
            async move { Ok(drop.execute(c).await?) }.boxed()
        })
        .await?;
    Ok((gone, last))
}

/// Runs a deleting statement until it finds no full chunk.
async fn in_chunks<Q>(readers: &Readers, statement: impl Fn() -> Q) -> Result<(), StoreError>
where
    Q: diesel::query_builder::QueryFragment<diesel::pg::Pg>
        + diesel::query_builder::QueryId
        + diesel::query_builder::Query
        + Send
        + 'static,
    Q: for<'q> diesel_async::methods::LoadQuery<'q, diesel_async::AsyncPgConnection, Gone>,
{
    loop {
        let chunk = readers
            .run(|c| {
                let drop = statement();
                async move { Ok(drop.get_result::<Gone>(c).await?) }.boxed()
            })
            .await?;
        if chunk.gone < signed_len(CHUNK) {
            return Ok(());
        }
    }
}
