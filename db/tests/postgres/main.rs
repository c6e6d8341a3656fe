//! The store suites on PostgreSQL. They need a server: `SHERS_TEST_DATABASE_URL` names a database on it in which
//! the role may make schemas. `scripts/test cluster` starts one.

mod faults;
mod migrations;
mod order;
mod proxy;
mod pruning;
mod support;
mod tls;

use shers_runtime::testing::{mirror_suite, store_suite};
use std::sync::Arc;
use support::{Schema, database_url, left_out};

#[tokio::test]
async fn the_postgres_store_keeps_the_ports_promises() {
    let Some(url) = database_url() else { return left_out("the suite of the store") };
    let schema = Schema::create(&url).await;
    store_suite::run(schema.open().await).await;
}

#[tokio::test]
async fn the_postgres_store_is_a_mirror() {
    let Some(url) = database_url() else { return left_out("the suite of the mirror") };
    let schema = Schema::create(&url).await;
    mirror_suite::run(schema.open().await).await;
}

#[tokio::test]
async fn views_and_streams_read_from_the_database_are_those_of_memory() {
    let Some(url) = database_url() else { return left_out("the suites without the recent end in memory") };
    let mut schema = Schema::create(&url).await;
    // Nothing stays in memory, so every read goes to the tables.
    schema.options.tail_events = 0;
    let store = schema.open().await;
    store_suite::run(Arc::clone(&store) as Arc<dyn shers_runtime::Store>).await;
    let mut schema = Schema::create(&url).await;
    schema.options.tail_events = 0;
    mirror_suite::run(schema.open().await).await;
}
