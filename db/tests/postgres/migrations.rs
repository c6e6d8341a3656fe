//! Schemas are made and migrated by several at once, with others at work, and checked before they are used.

use crate::support::{Schema, database_url, left_out};
use shers_db::{PostgresError, PostgresStore, postgres};
use shers_runtime::{Expected, Store, testing::store_suite::append};
use std::sync::Arc;

#[tokio::test]
async fn migrators_at_once_take_turns() {
    let Some(url) = database_url() else { return left_out("migrators at once") };
    let schema = Schema::unmigrated(&url).await;
    let all = futures::future::join_all((0..4).map(|_| postgres::migrate(&schema.options))).await;
    let run: Vec<usize> = all.into_iter().map(|run| run.expect("migrated").len()).collect();
    let once = run.iter().filter(|count| **count > 0).count();
    assert_eq!(once, 1, "one ran them, the others found them done: {run:?}");
    schema.open().await;
}

#[tokio::test]
async fn a_schema_that_is_not_migrated_is_refused_with_what_to_do() {
    let Some(url) = database_url() else { return left_out("schemas that are not migrated") };
    let schema = Schema::unmigrated(&url).await;
    let refused = PostgresStore::open(&schema.options).await.err().expect("refused");
    assert!(matches!(refused, PostgresError::NotMigrated { .. }), "{refused}");
    assert!(refused.to_string().contains("shers migrate"), "{refused}");
}

#[tokio::test]
async fn a_schema_that_a_newer_version_migrated_is_used_and_work_goes_on_meanwhile() {
    let Some(url) = database_url() else { return left_out("newer schemas") };
    let schema = Schema::create(&url).await;
    let old = schema.open().await;
    let epoch = old.epoch();
    let working = tokio::spawn({
        let old = Arc::clone(&old);
        async move {
            for n in 0..50 {
                old.commit(append("m/1", Expected::Version(n), &["x"], true)).await.expect("ok");
            }
        }
    });
    // What a later, additive migration does.
    let client = schema.client().await;
    client
        .batch_execute(
            "ALTER TABLE events ADD COLUMN later TEXT; \
             INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')",
        )
        .await
        .expect("migrated by a newer version");
    assert!(postgres::migrate(&schema.options).await.expect("nothing to do").is_empty());
    working.await.expect("the old one goes on");
    let opened = schema.open().await;
    assert_eq!(opened.epoch(), epoch, "the identity of a log stays");
    assert_eq!(opened.read_after(0, 100).await.expect("read").len(), 50);
}

#[tokio::test]
async fn each_schema_is_a_log_of_its_own() {
    let Some(url) = database_url() else { return left_out("two schemas") };
    let (one, two) = (Schema::create(&url).await, Schema::create(&url).await);
    let (first, second) = (one.open().await, two.open().await);
    first.commit(append("m/1", Expected::Version(0), &["x"], true)).await.expect("ok");
    assert!(second.read_after(0, 10).await.expect("read").is_empty());
    assert_ne!(first.epoch(), second.epoch());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_in_time() {
    let Some(url) = database_url() else { return left_out("a server that is not there") };
    let mut schema = Schema::create(&url).await;
    // Port 1 is nobody's.
    schema.options.url = "postgres://nobody@127.0.0.1:1/none".to_owned();
    let refused = PostgresStore::open(&schema.options).await.err().expect("refused").to_string();
    assert!(refused.contains("connecting"), "{refused}");
    schema.options.url = url;
}
