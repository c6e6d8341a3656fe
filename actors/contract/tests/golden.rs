//! The stored and published form of every kind, byte for byte.
//!
//! Each kind has one file `golden/<kind>.v1.json`: an envelope on one line, as it stands in the log, on the
//! wire and on the websocket. A build must write exactly these bytes and read them back as the same event.
//! A change here is a change of what other replicas, older logs and clients read: add a schema version
//! instead of editing a file. A new kind gets its file by running with `SHERS_UPDATE_GOLDEN=1`; files that
//! exist and differ are never overwritten silently, as the diff of the commit shows.

#[path = "golden/samples.rs"]
mod samples;

use samples::{Sample, samples};
use shers_contract::{DomainEvent, Envelope, Kind};
use std::{collections::BTreeSet, fs, path::PathBuf};

fn file_of(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{kind}.v1.json"))
}

fn updating() -> bool {
    std::env::var_os("SHERS_UPDATE_GOLDEN").is_some_and(|v| v == "1")
}

/// Writes the sample's envelope, compares it with its file, and reads the file back.
fn check(sample: &Sample) {
    let kind = sample.envelope.kind.as_str();
    let written = serde_json::to_string(&sample.envelope).expect("an envelope can be written") + "\n";
    let path = file_of(kind);
    if updating() {
        fs::write(&path, &written).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{kind}: {} ({error}); run with SHERS_UPDATE_GOLDEN=1", path.display()));
    assert_eq!(written, golden, "{kind} is written in another form than its golden file");
    let read: Envelope = serde_json::from_str(&golden).unwrap_or_else(|error| panic!("{kind}: {error}"));
    assert!((sample.reads_back)(&read), "{kind} reads back as another event");
    let again = serde_json::to_string(&read).expect("an envelope can be written") + "\n";
    assert_eq!(again, golden, "{kind} does not survive a round trip");
}

#[test]
fn every_event_is_written_and_read_as_its_golden_file_says() {
    for sample in samples() {
        check(&sample);
    }
}

#[test]
fn every_kind_has_a_sample_and_a_golden_file_and_no_file_is_left_over() {
    let sampled: Vec<&str> = samples().iter().map(|s| s.envelope.kind.as_str()).collect();
    let kinds: BTreeSet<&str> = Kind::ALL.iter().map(|k| k.as_str()).collect();
    assert_eq!(sampled.iter().copied().collect::<BTreeSet<_>>(), kinds, "samples and Kind::ALL differ");
    assert_eq!(sampled.len(), kinds.len(), "a kind has two samples");
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files: BTreeSet<String> = fs::read_dir(directory)
        .expect("the directory can be read")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".v1.json").map(str::to_owned))
        .collect();
    let wanted: BTreeSet<String> = kinds.iter().map(|k| (*k).to_owned()).collect();
    // While updating, the other test may still be writing.
    assert!(updating() || files == wanted, "missing {:?}, left over {:?}", &wanted - &files, &files - &wanted);
}

#[test]
fn an_event_of_a_later_build_with_more_fields_is_still_read() {
    for sample in samples() {
        let kind = sample.envelope.kind;
        // These bodies are also request bodies, which refuse what they do not know.
        let strict = ["patient.", "wearable.", "unit.registered", "unit.updated", "unit.location", "hospital."];
        if strict.iter().any(|prefix| kind.as_str().starts_with(prefix)) {
            continue;
        }
        let data = sample.envelope.data.get().replacen('{', "{\"added_later\":true,", 1);
        let data = serde_json::value::RawValue::from_string(data).expect("still JSON");
        let envelope = Envelope { data, ..sample.envelope.clone() };
        assert!((sample.reads_back)(&envelope), "{kind} refuses a field that a later build may add");
    }
}

#[test]
fn every_kind_belongs_to_a_set_of_events() {
    use shers_contract::{billing, care, dispatch, incident, notification, patient, supervision, triage, vitals};
    for sample in samples() {
        let e = &sample.envelope;
        let owners = [
            patient::PatientEvent::from_envelope(e).is_some(),
            vitals::WearableEvent::from_envelope(e).is_some(),
            triage::TriageEvent::from_envelope(e).is_some(),
            incident::IncidentEvent::from_envelope(e).is_some(),
            dispatch::UnitEvent::from_envelope(e).is_some(),
            dispatch::DispatchEvent::from_envelope(e).is_some(),
            dispatch::WaitEvent::from_envelope(e).is_some(),
            care::HospitalEvent::from_envelope(e).is_some(),
            notification::NotificationEvent::from_envelope(e).is_some(),
            billing::BillingEvent::from_envelope(e).is_some(),
            supervision::SupervisionEvent::from_envelope(e).is_some(),
        ];
        // The wait of an incident has a set of its own, which shares its beginning with dispatch's.
        let most = if e.kind == Kind::DISPATCH_WAITING { 2 } else { 1 };
        assert_eq!(owners.iter().filter(|owner| **owner).count(), most, "{}", e.kind);
    }
}
