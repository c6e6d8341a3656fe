//! The store suite on SQLite, and what only a real database can show.

use diesel::{Connection, RunQueryDsl, SqliteConnection, connection::SimpleConnection};
use shers_contract::envelope::StreamName;
use shers_db::{OpenError, SqliteOptions, SqliteStore};
use shers_runtime::{
    Commit, CommitError, Expected, Store,
    store::InboxMark,
    testing::{TEST_START, store_suite},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

fn open(directory: &tempfile::TempDir) -> Arc<SqliteStore> {
    SqliteStore::open(directory.path(), &SqliteOptions::default()).expect("opened")
}

#[tokio::test]
async fn the_sqlite_store_keeps_the_ports_promises() {
    let directory = tempfile::tempdir().expect("a directory");
    store_suite::run(open(&directory)).await;
}

#[tokio::test]
async fn every_connection_syncs_fully_before_it_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let synchronous = open(&directory).synchronous_of_all_connections().await.expect("asked");
    assert!(synchronous.len() >= 4 && synchronous.iter().all(|level| *level == 2), "{synchronous:?}");
}

#[tokio::test]
async fn a_second_process_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let _first = open(&directory);
    let second = SqliteStore::open(directory.path(), &SqliteOptions::default());
    assert!(matches!(second, Err(OpenError::InUse { .. })));
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again_and_positions_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let (epoch, last) = {
        let store = open(&directory);
        let done = store.commit(store_suite::append("p/1", Expected::Version(0), &["a", "b"], true)).await.expect("ok");
        (store.epoch(), done.last_position)
    };
    // The store is gone when its writer has ended; the lock goes with it.
    let store = open(&directory);
    assert_eq!((store.epoch(), *store.head().borrow()), (epoch, last));
    assert_eq!(store.read_after(0, 10).await.expect("read").len(), 2, "read from disk, not from memory");
    let next = store.commit(store_suite::append("p/1", Expected::Version(2), &["c"], true)).await.expect("ok");
    assert!(next.last_position > last);
}

/// A connection that is closed late removes the side files of its database by name: also those of a newer one.
#[tokio::test]
async fn a_store_that_was_dropped_holds_no_file_open_and_can_be_removed_and_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..20 {
        let store = open(&directory);
        store
            .commit(store_suite::append("p/1", Expected::Version(0), &["a"], true))
            .await
            .expect("the first of its log");
        assert!(matches!(SqliteStore::remove(directory.path()), Err(OpenError::InUse { .. })));
        drop(store);
        let held = held_under(directory.path());
        assert!(held.is_empty(), "still open: {held:?}");
        SqliteStore::remove(directory.path()).expect("removed");
    }
}

/// The files under `directory` that this process has open.
fn held_under(directory: &Path) -> Vec<PathBuf> {
    let open = std::fs::read_dir("/proc/self/fd").expect("the process's files");
    let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(directory)).collect()
}

#[tokio::test]
async fn pruning_a_journal_keeps_other_streams_and_never_reuses_a_position() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    store.commit(store_suite::append("kept/1", Expected::Any, &["k"], true)).await.expect("ok");
    let last = store.commit(store_suite::append("readings/p00", Expected::Any, &["a", "b"], false)).await.expect("ok");
    let (gone, _) = store.prune("readings", TEST_START.plus_ms(1)).await.expect("pruned");
    assert_eq!(gone, 1, "the last event of the log stays");
    assert_eq!(store.read_stream(&StreamName::new("kept", "1"), 0).await.expect("read").len(), 1);
    let next = store.commit(store_suite::append("readings/p00", Expected::Any, &["c"], false)).await.expect("ok");
    assert!(next.last_position > last.last_position);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = SqliteStore::open(&file.path().join("below"), &SqliteOptions::default()).err().expect("refused");
    assert!(error.to_string().contains("--data-dir"), "{error}");
}

#[tokio::test]
async fn inbox_marks_go_when_their_time_is_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    let marked = |n: u128| {
        let mark = InboxMark { consumer: "pruned", message_id: uuid::Uuid::from_u128(n) };
        Commit { inbox: vec![mark], ..Commit::default() }
    };
    for n in [1, 2] {
        store.commit(marked(n)).await.expect("ok");
    }
    let path = directory.path().join("shers.db");
    let mut beside = SqliteConnection::establish(&path.to_string_lossy()).expect("opened beside the store");
    beside.batch_execute("PRAGMA busy_timeout=60000").expect("set");
    let aged = diesel::sql_query("UPDATE inbox SET at = at - 8 * 86400000 WHERE message_id = ?")
        .bind::<diesel::sql_types::Binary, _>(uuid::Uuid::from_u128(1).as_bytes().to_vec())
        .execute(&mut beside);
    assert_eq!(aged.expect("aged"), 1);
    store.prune("readings", TEST_START).await.expect("pruned");
    store.commit(marked(1)).await.expect("forgotten");
    let kept = store.commit(marked(2)).await;
    assert!(matches!(kept, Err(CommitError::Repeated { .. })), "{kept:?}");
}
