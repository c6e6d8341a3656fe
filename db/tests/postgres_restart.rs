//! The server is restarted under a store at work. A test binary of its own, for nothing else may use the server
//! meanwhile. `SHERS_TEST_DATABASE_RESTART` is a shell command that restarts it; `fast` or `immediate` is
//! appended.

#[path = "postgres/support.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod support;

use shers_contract::envelope::StreamName;
use shers_runtime::{CommitError, Expected, Store, testing::store_suite::append};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{Schema, database_url, left_out};

const PATIENCE: Duration = Duration::from_secs(180);

async fn restart(command: &str, mode: &str) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let script = format!("{command} {mode}");
    let running = move || std::process::Command::new("bash").current_dir(root).arg("-c").arg(script).output();
    let done = tokio::task::spawn_blocking(running).await.expect("joined").expect("bash");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn a_restart_of_the_server_loses_nothing_and_doubles_nothing() {
    let command = std::env::var("SHERS_TEST_DATABASE_RESTART").ok();
    let (Some(url), Some(command)) = (database_url(), command) else {
        return left_out("a restart of the server (which needs SHERS_TEST_DATABASE_RESTART too)");
    };
    let schema = Schema::create(&url).await;
    let patient = |o: &mut shers_db::PostgresOptions| (o.commit_timeout, o.lock_timeout) = (PATIENCE, PATIENCE);
    let stores = [schema.open_with(patient).await, schema.open_with(patient).await];
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..20)
        .map(|n| {
            let (store, done) = (Arc::clone(&stores[n % 2]), Arc::clone(&done));
            tokio::spawn(async move {
                let stream = format!("restart/{n}");
                let mut version = 0;
                while !done.load(Ordering::SeqCst) {
                    match store.commit(append(&stream, Expected::Version(version), &["x"], true)).await {
                        Ok(committed) => version = committed.versions[0],
                        Err(CommitError::Unavailable(_)) => {}
                        Err(other) => panic!("{stream} at {version}: {other}"),
                    }
                }
                (n, version)
            })
        })
        .collect();
    for mode in ["fast", "immediate"] {
        let before = *stores[0].head().borrow();
        restart(&command, mode).await;
        // Both go on by themselves, and hear of each other again.
        for store in &stores {
            let mut head = store.head();
            let on = head.wait_for(|head| *head > before + 50);
            tokio::time::timeout(PATIENCE, on).await.expect("it goes on after a restart").expect("the store lives");
        }
    }
    done.store(true, Ordering::SeqCst);
    for writer in writers {
        let (n, version) = writer.await.expect("joined");
        let events = stores[0].read_stream(&StreamName::new("restart", n.to_string()), 0).await.expect("read");
        let versions: Vec<u64> = events.iter().map(|r| r.envelope.version).collect();
        assert_eq!(versions, (1..=version).collect::<Vec<_>>(), "restart/{n}");
    }
}
