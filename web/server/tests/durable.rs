//! An answer means durable: between the arrival of a request and its answer, the log was synced to disk.
//!
//! SIGKILL cannot show that, for the kernel keeps what was written. So the system calls are watched: the
//! request is read, the write-ahead log is written, the sync of it is over, and only then the answer goes
//! out. That every connection runs with `synchronous=FULL` is the store's own test.

mod support;

use serde_json::json;
use std::{collections::HashSet, fs, path::Path, process::Command, time::Duration};
use support::{Start, eventually, run, server::data_dir, world};

const CALLS: &str = "trace=read,recvfrom,write,writev,sendto,pwrite64,fsync,fdatasync";
/// Requests that are watched.
const POSTS: usize = 5;

/// Why strace can't be used here, if it can't.
fn strace_missing() -> Option<String> {
    match Command::new("strace").args(["-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn readings_are_synced_to_disk_before_they_are_answered() {
    if let Some(why) = strace_missing() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have strace: {why}");
        println!("NOT TESTED: the sync before the answer is seen with strace, which can't be used: {why}");
        return;
    }
    run(Duration::from_secs(120), async {
        let (kept, data) = data_dir();
        let trace = kept.path().join("trace");
        let trace_text = trace.to_string_lossy();
        // -D: the tracer is the grandchild, so the process we hold and end is the server.
        let strace = ["strace", "-D", "-f", "-y", "-s", "64", "-e", CALLS, "-o", &trace_text];
        let mut server = Start::serve(&data).under(&strace).ready().await;
        let client = server.client();
        world::register_patient(&client, "p-1", &world::patient("pm_card_visa", "+41790001234")).await;
        for seq in 1..=POSTS {
            client.post("/vitals", &world::well("p-1", seq as u64)).await.expect(202);
            client.post("/vitals", &json!({"broken": true})).await.expect(422);
        }
        assert!(server.terminate(Duration::from_secs(30)).await.success());
        let calls = eventually("the tracer has written all", async || complete(&trace)).await;
        check_order(&calls);
    });
}

/// The trace, once the last line says that the server ended.
fn complete(trace: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(trace).map_err(|error| error.to_string())?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let last = lines.last().cloned().unwrap_or_default();
    if last.contains("+++ exited with 0 +++") { Ok(lines) } else { Err(last) }
}

/// Where a watched request is.
#[derive(PartialEq, Debug)]
enum Stage {
    Idle,
    Read,
    Written,
    Synced,
}

/// Follows each request through the calls, in the order in which they were seen to begin and to end.
fn check_order(calls: &[String]) {
    let mut stage = Stage::Idle;
    let mut syncing = HashSet::new();
    let mut answered = 0;
    for call in calls {
        let (thread, call) = call.split_once(' ').expect("a thread and what it did");
        let call = call.trim_start();
        let wal = call.contains("shers.db-wal");
        let sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        let resumed = call.starts_with("<... fdatasync resumed") || call.starts_with("<... fsync resumed");
        if call.contains("\"POST /api/v1/vitals HTTP") {
            stage = Stage::Read;
        } else if call.starts_with("pwrite64(") && wal && stage == Stage::Read {
            stage = Stage::Written;
        } else if sync && wal && call.contains("<unfinished") && stage == Stage::Written {
            syncing.insert(thread);
        } else if (sync && wal && call.ends_with("= 0")) || (resumed && call.ends_with("= 0") && syncing.remove(thread))
        {
            // A sync that began before the write does not count.
            if stage == Stage::Written {
                stage = Stage::Synced;
            }
        } else if call.contains("\"HTTP/1.1 202 ") {
            assert_eq!(stage, Stage::Synced, "answered as accepted when the log was not yet synced");
            answered += 1;
        } else if call.contains("\"HTTP/1.1 422 ") {
            assert_eq!(stage, Stage::Read, "what is refused is not written");
        }
    }
    assert_eq!(answered, POSTS, "every answer was seen");
}
