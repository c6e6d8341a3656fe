//! Positions become visible in their order: a reader never skips what commits late.

use crate::support::{Brake, Schema, database_url, left_out};
use shers_contract::envelope::StreamName;
use shers_runtime::{CommitError, Expected, Recorded, Store, mirror::Mirror, testing::store_suite::append};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(120);

fn texts(events: &[Recorded]) -> Vec<String> {
    events.iter().map(|r| r.envelope.data.get().to_owned()).collect()
}

#[tokio::test]
async fn a_reader_does_not_skip_a_commit_that_is_late() {
    let Some(url) = database_url() else { return left_out("late commits") };
    let schema = Schema::create(&url).await;
    let patient = |o: &mut shers_db::PostgresOptions| {
        (o.lock_timeout, o.statement_timeout, o.commit_timeout) = (PATIENCE, PATIENCE, PATIENCE);
        o.tail_events = 0;
    };
    let (slow, fast, reader) =
        (schema.open_with(patient).await, schema.open_with(patient).await, schema.open_with(patient).await);
    let brake = Brake::hold(&schema).await;
    let first = slow.commit(append("s/1", Expected::Any, &["before"], true)).await.expect("ok").last_position;
    let late = tokio::spawn({
        let slow = Arc::clone(&slow);
        async move { slow.commit(append("s/1", Expected::Any, &["held"], true)).await }
    });
    brake.caught().await;
    // The late one has its position and is not visible; now another process commits.
    let quick = tokio::spawn({
        let fast = Arc::clone(&fast);
        async move { fast.commit(append("s/2", Expected::Any, &["quick"], true)).await }
    });
    brake.queue_outside(1).await;
    assert!(reader.read_after(first, 10).await.expect("read").is_empty(), "nothing is visible before it");
    assert!(reader.read_own_after(first, 10).await.expect("read").is_empty());
    let opened_now = schema.open_with(patient).await;
    assert_eq!(*opened_now.head().borrow(), first);
    let visible = brake.client().query_one("SELECT max(position) FROM events", &[]).await.expect("asked");
    assert_eq!(visible.get::<_, i64>(0).cast_unsigned(), first, "whoever looks");
    brake.release().await;
    let late = late.await.expect("joined").expect("ok").last_position;
    let quick = quick.await.expect("joined").expect("ok").last_position;
    assert!(late < quick, "positions are given out in the order of the commits");
    // The reader is told, or looks by itself.
    let mut head = reader.head();
    let heard = tokio::time::timeout(PATIENCE, head.wait_for(|head| *head >= quick)).await;
    assert_eq!(*heard.expect("in time").expect("the store lives"), quick);
    let read = reader.read_after(first, 10).await.expect("read");
    assert_eq!(read.iter().map(|r| r.position).collect::<Vec<_>>(), [late, quick]);
}

/// Follows the log as its consumers do, by position, until it has seen so many events.
async fn follow(store: Arc<shers_db::PostgresStore>, count: usize) -> Vec<Recorded> {
    let mut head = store.head();
    let (mut position, mut seen) = (0, Vec::new());
    while seen.len() < count {
        let read = store.read_after(position, 7).await.expect("read");
        if let Some(last) = read.last() {
            position = last.position;
            seen.extend(read);
        } else {
            head.changed().await.expect("the store lives");
        }
    }
    seen
}

#[tokio::test]
async fn followers_in_three_processes_see_one_order_without_a_gap() {
    const EACH: usize = 150;
    let Some(url) = database_url() else { return left_out("followers of three processes") };
    let schema = Schema::create(&url).await;
    let small_ring = |o: &mut shers_db::PostgresOptions| o.tail_events = 20;
    let stores = [schema.open().await, schema.open_with(small_ring).await, schema.open().await];
    let followers: Vec<_> = stores.iter().map(|store| tokio::spawn(follow(Arc::clone(store), 3 * EACH))).collect();
    let mut writers = Vec::new();
    for (process, store) in stores.iter().enumerate() {
        for n in 0..EACH {
            let store = Arc::clone(store);
            writers.push(tokio::spawn(async move {
                let text = format!("{process}-{n}");
                store.commit(append(&format!("f/{}", n % 5), Expected::Any, &[&text], true)).await.expect("ok");
            }));
        }
    }
    for writer in writers {
        writer.await.expect("joined");
    }
    let mut orders = Vec::new();
    for follower in followers {
        let seen = tokio::time::timeout(PATIENCE, follower).await.expect("it sees all in time").expect("joined");
        assert!(seen.windows(2).all(|w| w[0].position < w[1].position));
        orders.push(texts(&seen));
    }
    assert_eq!(orders[0].iter().collect::<BTreeSet<_>>().len(), 3 * EACH, "each once");
    assert!(orders.iter().all(|order| *order == orders[0]), "one order for all");
    for stream in 0..5 {
        let events = stores[0].read_stream(&StreamName::new("f", stream.to_string()), 0).await.expect("read");
        let versions: Vec<u64> = events.iter().map(|r| r.envelope.version).collect();
        assert_eq!(versions, (1..=90).collect::<Vec<u64>>(), "a version is given out once");
    }
}

#[tokio::test]
async fn of_two_processes_that_decide_from_the_same_version_one_is_refused() {
    let Some(url) = database_url() else { return left_out("two writers of one stream") };
    let schema = Schema::create(&url).await;
    let stores = [schema.open().await, schema.open().await];
    for round in 0..40 {
        let commits = stores.iter().map(|store| store.commit(append("w/1", Expected::Version(round), &["w"], true)));
        let done = futures::future::join_all(commits).await;
        let (won, lost): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 1), "{lost:?}");
        let conflict =
            matches!(&lost[0], Err(CommitError::Conflict { expected, actual, .. }) if *actual == expected + 1);
        assert!(conflict, "{lost:?}");
    }
    assert_eq!(stores[0].read_stream(&StreamName::new("w", "1"), 0).await.expect("read").len(), 40);
}
