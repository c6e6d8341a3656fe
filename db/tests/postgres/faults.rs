//! Connections that break, backends that are killed, pools that run dry: what was answered is so, and no
//! commit happens twice.

use crate::proxy::Proxy;
use crate::support::{Brake, Schema, connect, database_url, left_out, until};
use shers_contract::envelope::StreamName;
use shers_db::{PostgresOptions, PostgresStore};
use shers_runtime::{CommitError, Expected, Store, testing::store_suite::append};
use std::{sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(120);

fn patient(options: &mut PostgresOptions) {
    (options.lock_timeout, options.statement_timeout, options.commit_timeout) = (PATIENCE, PATIENCE, PATIENCE);
}

async fn count(store: &PostgresStore, stream: &str) -> usize {
    let (category, id) = stream.split_once('/').expect("category/id");
    store.read_stream(&StreamName::new(category, id), 0).await.expect("read").len()
}

/// Ends the backend of the schema's writer.
const KILL_ALL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE application_name = current_schema() AND pid <> pg_backend_pid()";

#[tokio::test]
async fn a_backend_killed_inside_its_commit_is_made_good() {
    let Some(url) = database_url() else { return left_out("killed backends") };
    let schema = Schema::create(&url).await;
    let store = schema.open_with(patient).await;
    let brake = Brake::hold(&schema).await;
    let commit = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(append("k/1", Expected::Version(0), &["held"], true)).await }
    });
    let killed = brake.caught().await;
    brake.client().execute("SELECT pg_terminate_backend($1)", &[&killed]).await.expect("killed");
    until(brake.client(), &format!("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {killed})")).await;
    // The store tries again with another backend, and comes to the brake again.
    assert_ne!(brake.caught().await, killed);
    brake.release().await;
    let done = commit.await.expect("joined").expect("made good");
    assert_eq!((done.versions, count(&store, "k/1").await), (vec![1], 1), "once");
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_read_back_and_not_done_again() {
    let Some(url) = database_url() else { return left_out("lost answers") };
    let mut schema = Schema::create(&url).await;
    let proxy = Proxy::before(&url).await;
    schema.options.url.clone_from(&proxy.url);
    let store = schema.open_with(patient).await;
    for round in 0..5 {
        proxy.cut_at_the_next_commit();
        let done = store.commit(append("l/1", Expected::Version(round), &["x"], true)).await;
        let done = done.expect("read back, so it is known to have happened");
        assert_eq!(done.versions, [round + 1]);
    }
    assert_eq!((proxy.cuts(), count(&store, "l/1").await), (5, 5));
    schema.options.url = url;
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_and_cannot_be_read_back_is_unknown() {
    let Some(url) = database_url() else { return left_out("unknown outcomes") };
    let mut schema = Schema::create(&url).await;
    let proxy = Proxy::before(&url).await;
    schema.options.url.clone_from(&proxy.url);
    let short = |o: &mut PostgresOptions| o.commit_timeout = Duration::from_secs(1);
    let store = schema.open_with(short).await;
    store.commit(append("u/1", Expected::Version(0), &["x"], true)).await.expect("ok");
    proxy.cut_at_the_next_commit();
    proxy.close();
    let lost = store.commit(append("u/1", Expected::Version(1), &["x"], true)).await;
    assert!(matches!(lost, Err(CommitError::Unknown(_))), "{lost:?}");
    // Nothing can be sent now, so nothing can have happened.
    let down = store.commit(append("u/2", Expected::Version(0), &["x"], true)).await;
    assert!(matches!(down, Err(CommitError::Unavailable(_))), "{down:?}");
    proxy.open();
    // It did happen, and whoever asks again learns it from the version.
    let again = async {
        loop {
            match store.commit(append("u/1", Expected::Version(1), &["x"], true)).await {
                Err(CommitError::Unavailable(_)) => {}
                other => return other,
            }
        }
    };
    let again = tokio::time::timeout(PATIENCE, again).await.expect("it mends itself");
    assert!(matches!(again, Err(CommitError::Conflict { actual: 2, .. })), "{again:?}");
    assert_eq!(count(&store, "u/2").await, 0);
    schema.options.url = url;
}

#[tokio::test]
async fn under_a_rain_of_killed_backends_every_answer_is_true() {
    const WRITES: usize = 400;
    const DROPS: usize = 30;
    let Some(url) = database_url() else { return left_out("a rain of killed backends") };
    let schema = Schema::create(&url).await;
    let stores = [schema.open_with(patient).await, schema.open_with(patient).await];
    let killer = schema.client().await;
    let writes: Vec<_> = (0..WRITES)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                let stream = format!("rain/{n}");
                (stream.clone(), store.commit(append(&stream, Expected::Version(0), &["x"], true)).await)
            })
        })
        .collect();
    let raining = tokio::spawn(async move {
        for _ in 0..DROPS {
            killer.batch_execute(KILL_ALL).await.expect("killed");
            // They come back before the next drop.
            until(&killer, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = current_schema())")
                .await;
        }
    });
    let first: Vec<_> = futures::future::join_all(writes.into_iter()).await;
    raining.await.expect("it rained");
    for joined in first {
        let (stream, outcome) = joined.expect("joined");
        let stored = count(&stores[0], &stream).await;
        match outcome {
            Ok(_) => assert_eq!(stored, 1, "{stream}"),
            Err(CommitError::Unavailable(_)) => assert_eq!(stored, 0, "{stream}"),
            Err(other) => panic!("{stream}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_pool_that_ran_dry_says_so_in_time_and_recovers() {
    let Some(url) = database_url() else { return left_out("a dry pool") };
    let schema = Schema::create(&url).await;
    let store = schema
        .open_with(|o| {
            (o.readers, o.acquire_timeout) = (2, Duration::from_millis(200));
            (o.lock_timeout, o.statement_timeout) = (PATIENCE, PATIENCE);
        })
        .await;
    let blocker = schema.client().await;
    blocker.batch_execute("BEGIN; LOCK TABLE documents IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.document("c", "d").await })
        })
        .collect();
    until(&blocker, "SELECT count(*) = 2 FROM pg_locks WHERE relation = 'documents'::regclass AND NOT granted").await;
    let dry = store.cursor("x").await.expect_err("no connection is free");
    assert!(dry.to_string().contains("connection"), "{dry}");
    blocker.batch_execute("COMMIT").await.expect("let go");
    for reader in stuck {
        assert_eq!(reader.await.expect("joined").expect("read"), None);
    }
    assert_eq!(store.cursor("x").await.expect("read"), 0);
}

#[tokio::test]
async fn a_process_that_stops_inside_the_critical_section_is_put_out_of_it() {
    let Some(url) = database_url() else { return left_out("a stopped process") };
    let schema = Schema::create(&url).await;
    let store = schema.open().await;
    let brake = Brake::hold(&schema).await;
    let commit = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(append("z/1", Expected::Any, &["held"], true)).await }
    });
    // Whoever stands at the brake is inside; its lock is the section's.
    let inside = brake.caught().await;
    let sql = "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks \
               WHERE pid = $1 AND locktype = 'advisory' AND granted AND objsubid = 1";
    let section: i64 = brake.client().query_one(sql, &[&inside]).await.expect("a lock").get(0);
    brake.release().await;
    commit.await.expect("joined").expect("ok");
    // A process that entered and then hangs, with the limit that the store's connections have.
    let zombie = connect(&url).await;
    let enter =
        format!("SET idle_in_transaction_session_timeout TO 500; BEGIN; SELECT pg_advisory_xact_lock({section})");
    zombie.batch_execute(&enter).await.expect("inside");
    store.commit(append("z/1", Expected::Any, &["x"], true)).await.expect("after the other was put out");
    assert!(zombie.batch_execute("COMMIT").await.is_err(), "its late write is refused");
}

#[tokio::test]
async fn a_commit_that_cannot_be_stored_does_not_take_others_with_it() {
    let Some(url) = database_url() else { return left_out("commits that can't be stored") };
    let schema = Schema::create(&url).await;
    let store = schema.open().await;
    let brake = Brake::hold(&schema).await;
    let held = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(append("b/0", Expected::Any, &["held"], true)).await }
    });
    brake.caught().await;
    // These queue behind it and make one group; PostgreSQL stores no text with a zero byte.
    let commits =
        ["b/1", "b/2\0", "b/3"].map(|stream| store.commit(append(stream, Expected::Version(0), &["x"], true)));
    let mut group = Box::pin(futures::future::join_all(commits));
    assert!(futures::poll!(&mut group).is_pending(), "they are queued");
    brake.release().await;
    held.await.expect("joined").expect("ok");
    let outcomes = group.await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert!(matches!(outcomes[1], Err(CommitError::Unavailable(_))), "{outcomes:?}");
    assert_eq!((count(&store, "b/1").await, count(&store, "b/3").await), (1, 1));
}

#[tokio::test]
async fn no_connection_writes_without_waiting_for_the_disk() {
    let Some(url) = database_url() else { return left_out("synchronous commits") };
    let mut schema = Schema::create(&url).await;
    let divider = if url.contains('?') { '&' } else { '?' };
    schema.options.url = format!("{url}{divider}options=-c%20synchronous_commit%3Doff");
    let store = schema.open().await;
    let client = schema.client().await;
    client
        .batch_execute(
            "CREATE TABLE seen (value text); \
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$; \
             CREATE TRIGGER note AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await
        .expect("a trigger");
    store.commit(append("y/1", Expected::Any, &["x"], true)).await.expect("ok");
    let seen: String = client.query_one("SELECT value FROM seen", &[]).await.expect("seen").get(0);
    assert_eq!(seen, "on");
}
