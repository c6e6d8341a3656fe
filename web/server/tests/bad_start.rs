//! Starts that cannot work end with exit code 1 and a text that helps, never with a panic; and a full
//! disk, which must be survived.

mod support;

use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use support::{Client, Start, eventually, ledger, run, server::data_dir, world};

const LIMIT: Duration = Duration::from_secs(90);
/// A start that fails does so soon.
const FAILS_WITHIN: Duration = Duration::from_secs(20);

/// Starts it; it must fail and say `words`.
async fn check(what: &str, start: Start, words: &[&str]) {
    let output = start.ends(FAILS_WITHIN).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{what}: {text}");
    for word in words {
        assert!(text.contains(word), "{what}: {word:?} is not in\n{text}");
    }
    assert!(!text.contains("panic"), "{what}: {text}");
    assert!(output.stdout.is_empty(), "{what}: no link is printed");
}

fn file(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).expect("written");
    path
}

fn with_map(data: &Path, map: &Path) -> Start {
    Start::serve(data).arguments(&["--map", &map.to_string_lossy()])
}

#[test]
fn bad_configurations_list_every_problem_and_open_nothing() {
    run(LIMIT, async {
        let (_kept, data) = data_dir();
        let serve = || Start::serve(&data);
        let token = serve().environment("SHERS_TOKEN", "short-secret");
        check("short token", token, &["token", "32 characters"]).await;
        let alone = serve().arguments(&["--service", "dispatch"]);
        check("a subset of services", alone, &["dispatch", "AMQP", "all eight"]).await;
        let unknown = serve().arguments(&["--service", "dispach"]);
        check("an unknown service", unknown, &["dispach", "dispatch"]).await;
        let keys = serve().environment("SHERS_LISTN", "x").environment("SHERS_TRIAGE__NO_SUCH", "1");
        let keys = keys.environment("SHERS_DISPATCH__NEITHER", "2").environment("SHERS_WEB__BODY_BYTES", "many");
        check("unknown keys", keys, &["4 problem", "listn", "triage.no_such", "dispatch.neither", "web.body_bytes"])
            .await;
        let missing = serve().environment("SHERS_CONFIG", "/no/such/file.toml");
        check("no such file", missing, &["/no/such/file.toml"]).await;
        let directory = data.to_string_lossy();
        let few = Start::with(&["demo", "--data-dir", &directory, "--patients", "5", "--units", "10"]);
        check("a plot without its people", few, &["--patients 5", "--units 10", "13 or more"]).await;
        check("bad address", Start::serve_on("everywhere", &data), &["listen"]).await;
        assert!(!data.exists(), "nothing was opened");
    });
}

#[test]
fn a_secret_in_a_bad_configuration_is_not_repeated() {
    run(LIMIT, async {
        let (_kept, data) = data_dir();
        let output = Start::serve(&data).environment("SHERS_TOKEN", "short-secret").ends(FAILS_WITHIN).await;
        assert!(!String::from_utf8_lossy(&output.stderr).contains("short-secret"));
    });
}

#[test]
fn maps_that_cannot_be_used_are_named_with_what_to_do() {
    run(LIMIT, async {
        let (kept, data) = data_dir();
        let directory = kept.path();
        let no_roads = file(directory, "no-roads.osm.pbf", &map_without_roads());
        check("missing", with_map(&data, &directory.join("none.osm.pbf")), &["none.osm.pbf", "readable"]).await;
        check("a directory", with_map(&data, directory), &["readable"]).await;
        check("empty", with_map(&data, &file(directory, "empty.osm.pbf", b"")), &["empty.osm.pbf", "0 bytes"]).await;
        let xml = file(directory, "city.osm.pbf", b"<?xml version='1.0'?><osm version='0.6'></osm>");
        check("XML", with_map(&data, &xml), &["city.osm.pbf", "XML"]).await;
        let noise = file(directory, "noise.osm.pbf", &[0x5a; 4096]);
        check("noise", with_map(&data, &noise), &["noise.osm.pbf"]).await;
        check("no roads", with_map(&data, &no_roads), &["no-roads.osm.pbf", "no road network", "highway"]).await;
    });
}

/// The smallest extract there is: a header block that asks for nothing, and no data.
fn map_without_roads() -> Vec<u8> {
    // Blob: raw = HeaderBlock { required_features: "OsmSchema-V0.6" }, raw_size.
    let feature = b"OsmSchema-V0.6";
    let mut header_block = vec![0x22, u8::try_from(feature.len()).expect("short")];
    header_block.extend_from_slice(feature);
    let mut blob = vec![0x0a, u8::try_from(header_block.len()).expect("short")];
    blob.extend_from_slice(&header_block);
    blob.extend_from_slice(&[0x10, u8::try_from(header_block.len()).expect("short")]);
    // BlobHeader: type = "OSMHeader", datasize.
    let mut blob_header = vec![0x0a, 9];
    blob_header.extend_from_slice(b"OSMHeader");
    blob_header.extend_from_slice(&[0x18, u8::try_from(blob.len()).expect("short")]);
    let mut map = u32::try_from(blob_header.len()).expect("short").to_be_bytes().to_vec();
    map.extend(blob_header);
    map.extend(blob);
    map
}

#[test]
fn data_directories_that_cannot_be_written_are_named() {
    run(LIMIT, async {
        let (kept, _) = data_dir();
        let plain = file(kept.path(), "plain", b"not a directory");
        check("a file", Start::serve(&plain), &["plain", "--data-dir", "because"]).await;
        check("below a file", Start::serve(&plain.join("data")), &["plain/data", "--data-dir"]).await;
        check("no place to write", Start::serve(Path::new("/proc/shers-data")), &["/proc/shers-data", "--data-dir"])
            .await;
        let other = kept.path().join("other");
        fs::create_dir(&other).expect("made");
        file(&other, "shers.db", b"this is a text and no database, whatever its name says. ".repeat(40).as_slice());
        check("another file in its place", Start::serve(&other), &["shers.db", "not a database"]).await;
    });
}

#[test]
fn a_port_in_use_and_a_data_directory_in_use_refuse_the_second_and_leave_the_first() {
    run(LIMIT, async {
        let (kept, data) = data_dir();
        let server = Start::serve(&data).ready().await;
        let elsewhere = kept.path().join("elsewhere");
        let same_port = Start::serve_on(server.address(), &elsewhere);
        check("port in use", same_port, &[server.address(), "in use", "--listen"]).await;
        check("data in use", Start::serve(&data), &["data", "in use", "another shers process", "--data-dir"]).await;
        world::register_patient(&server.client(), "p-1", &world::patient("pm_card_visa", "+41790001234")).await;
    });
}

#[test]
fn sigterm_drains_and_a_restart_finds_everything() {
    run(LIMIT, async {
        let (_kept, data) = data_dir();
        let mut server = Start::serve(&data).ready().await;
        world::register_patient(&server.client(), "p-1", &world::patient("pm_card_visa", "+41790001234")).await;
        server.client().post("/vitals", &world::well("p-1", 1)).await.expect(202);
        assert_eq!(server.terminate(Duration::from_secs(20)).await.code(), Some(0));
        let server = Start::serve(&data).ready().await;
        let patient = server.client().get("/patients/p-1").await.expect(200);
        assert_eq!(patient["name"], "Ottilie Marxer");
        assert_eq!(server.client().get("/patients/p-1/vitals").await.expect(200)["items"][0]["seq"], 1);
    });
}

/// A small disk of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(at).output();
        let mounted = mounted.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
        if mounted.status.success() { Ok(Self(at.to_owned())) } else { Err(said) }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may be ending still. Whatever fails here, the directory is a temporary one.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Posts readings until the disk is full; gives the numbers that were accepted.
async fn fill(client: &Client, from: u64) -> (BTreeSet<u64>, Value) {
    let mut accepted = BTreeSet::new();
    for first in (from..).step_by(100) {
        let batch: Vec<Value> = (first..first + 100).map(|seq| world::well("p-1", seq)).collect();
        let answer = client.post("/vitals", &json!(batch)).await;
        if answer.status != 202 {
            return (accepted, answer.expect_problem(503, "unavailable", &["not be stored", "send them again"]));
        }
        accepted.extend(first..first + 100);
        assert!(accepted.len() < 200_000, "the disk is small");
    }
    unreachable!("the numbers do not end")
}

async fn recorded(client: &Client) -> Vec<u64> {
    let log = ledger::log_after(client, 0, "wearable.#").await;
    let readings = log.iter().flat_map(|event| event.data["readings"].as_array().expect("readings"));
    readings.map(|reading| reading["seq"].as_u64().expect("a number")).collect()
}

#[test]
fn a_full_disk_is_a_503_loses_nothing_that_was_accepted_and_is_over_when_there_is_space() {
    run(2 * LIMIT, async {
        let (_kept, data) = data_dir();
        let disk = match SmallDisk::mount(&data) {
            Ok(disk) => disk,
            Err(why) if std::env::var("CI").as_deref() == Ok("true") => panic!("CI can mount a tmpfs: {why}"),
            Err(why) => return println!("NOT TESTED: a full disk needs a small tmpfs, and mount said: {why}"),
        };
        let ballast = file(&data, "ballast", &vec![1; 2 << 20]);
        let mut server = Start::serve(&data).ready().await;
        let client = server.client();
        world::register_patient(&client, "p-1", &world::patient("pm_card_visa", "+41790001234")).await;
        let (mut accepted, _) = fill(&client, 1).await;
        assert!(accepted.len() >= 1000, "{}", accepted.len());
        assert_eq!(client.get("/health/live").await.status, 200);

        fs::remove_file(ballast).expect("space again");
        let next = accepted.last().copied().unwrap_or_default() + 1_000;
        eventually("readings are taken again", async || {
            let answer = client.post("/vitals", &world::well("p-1", next)).await;
            if answer.status == 202 { Ok(()) } else { Err(answer.body.to_string()) }
        })
        .await;
        client.post("/vitals", &world::ill("p-1", next + 1)).await.expect(202);
        accepted.extend([next, next + 1]);
        world::incident_where(&client, "p-1", "the whole house works again", |i| i["waiting_reason"].is_string()).await;
        check_recorded(&client, &accepted).await;
        assert!(server.terminate(Duration::from_secs(20)).await.success());
        let server = Start::serve(&data).ready().await;
        check_recorded(&server.client(), &accepted).await;
        drop(server);
        drop(disk);
    });
}

/// Each accepted reading is there once, and no other.
async fn check_recorded(client: &Client, accepted: &BTreeSet<u64>) {
    let recorded = recorded(client).await;
    let once: BTreeSet<u64> = recorded.iter().copied().collect();
    assert_eq!(once.len(), recorded.len(), "no reading twice");
    assert_eq!(&once, accepted, "what was accepted is there, and nothing else");
}
