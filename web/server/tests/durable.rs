//! An answer follows the disk. Killing a process cannot show that, because the kernel keeps what was
//! written; so the system calls are watched: between a request's arrival and its answer there is a sync.

mod support;

use serde_json::json;
use std::{process::Command, time::Duration};
use support::{Start, run, server::data_dir, world};

#[test]
fn the_log_is_synced_between_a_reading_and_its_202() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is needed in CI; scripts/test installs it");
        println!("left out: strace is not installed, so the sync before the answer was not watched");
        return;
    }
    let (_keep, directory) = data_dir();
    let trace = directory.with_extension("strace");
    let path = trace.to_string_lossy().into_owned();
    let marker = "patient-of-the-durable-test";
    run(Duration::from_secs(120), async {
        let watch = [
            "strace",
            "-f",
            "-s",
            "4096",
            "-e",
            "trace=fdatasync,fsync,read,recvfrom,write,writev,sendto",
            "-o",
            &path,
        ];
        let mut server = Start::serve(&directory).under(&watch).ready().await;
        let client = server.client();
        world::register_patient(&client, marker, &world::patient("pm_card_visa", "+41790000001")).await;
        let reading =
            json!({"patient_id": marker, "at": world::seconds_from_now(0), "heart_rate_bpm": 71, "seq": 424_242});
        client.post("/api/v1/vitals", &reading).await.expect(202);
        let status = server.terminate(Duration::from_secs(60)).await;
        assert!(status.success(), "{status}");
    });
    let trace = run(
        Duration::from_secs(30),
        support::eventually("the trace is complete", async || {
            let text = std::fs::read_to_string(&trace).map_err(|error| error.to_string())?;
            if text.contains("+++ exited with 0 +++") { Ok(text) } else { Err(format!("{} bytes", text.len())) }
        }),
    );
    let lines: Vec<&str> = trace.lines().collect();
    let asked =
        lines.iter().position(|line| line.contains("424242") && (line.contains("read") || line.contains("recvfrom")));
    let asked = asked.expect("the request's arrival is in the trace");
    let answer = |line: &&str| line.contains("202 Accepted") && (line.contains("write") || line.contains("sendto"));
    let answered = asked + lines[asked..].iter().position(|line| answer(&line)).expect("the answer is in the trace");
    // A call that another thread interrupts is printed in two lines; the second one says that it ended.
    let ended = |line: &&&str| line.contains("sync") && !line.contains("unfinished") && line.contains("= 0");
    let synced = lines[asked..answered].iter().filter(ended).count();
    assert!(synced >= 1, "no sync between\n{}\nand\n{}", lines[asked], lines[answered]);
}
