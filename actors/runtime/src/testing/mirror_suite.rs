//! The suite that every implementation of [`Mirror`] passes.

use super::store_suite::{append, event};
use crate::mirror::Mirror;
use crate::store::{Append, Commit, Expected, Recorded};
use shers_contract::{
    Envelope, IncidentId, PatientId,
    envelope::StreamName,
    routing::{PARTITIONS, partition},
};
use std::sync::Arc;

/// A message of another service: version `version` of `stream`, saying `text`.
#[must_use]
pub fn message(stream: &str, version: u64, text: &str, incident: Option<&IncidentId>) -> Arc<Envelope> {
    let event = event(text, incident);
    Arc::new(Envelope {
        id: event.id,
        kind: event.kind,
        v: event.v,
        stream: StreamName::from_stored(stream),
        version,
        at: event.at,
        correlation_id: event.correlation_id,
        causation_id: event.causation_id,
        traceparent: event.traceparent,
        exercise: event.exercise,
        data: event.data,
    })
}

/// Runs the whole suite. `mirror` must be empty.
///
/// # Panics
/// When it does not keep the port's promises.
pub async fn run(mirror: Arc<dyn Mirror>) {
    copies_keep_their_envelopes_and_their_order(&mirror).await;
    what_is_there_already_is_passed_over(&mirror).await;
    own_events_are_told_from_copies(&mirror).await;
    an_own_message_that_comes_back_stays_ones_own(&mirror).await;
    copies_live_beside_own_events_of_a_stream(&mirror).await;
    views_see_their_partition_only(&mirror).await;
    cursors_belong_to_their_view(&mirror).await;
    views_share_what_is_not_theirs_alone(&mirror).await;
    imports_at_once_copy_each_message_once(&mirror).await;
}

fn names(events: &[Recorded]) -> Vec<(String, u64)> {
    events.iter().map(|r| (r.envelope.stream.to_string(), r.envelope.version)).collect()
}

fn head(mirror: &Arc<dyn Mirror>) -> u64 {
    *mirror.head().borrow()
}

/// An incident of a patient of `wanted`.
#[expect(clippy::expect_used, reason = "a test suite says what is wrong by panicking")]
fn incident_in(wanted: u16, number: u64) -> IncidentId {
    let patients = (0..).map(|n| PatientId::new(format!("mirror-{n}")).expect("an id"));
    let mut incidents = patients.map(|patient| IncidentId::of_patient(&patient, number));
    incidents.find(|incident| incident.partition() == wanted).expect("every partition has patients")
}

#[expect(clippy::expect_used, reason = "a test suite says what is wrong by panicking")]
async fn copies_keep_their_envelopes_and_their_order(mirror: &Arc<dyn Mirror>) {
    let before = head(mirror);
    let incident = incident_in(3, 1);
    // Versions have gaps, for only what was subscribed to arrives, and a late one may come after a later one.
    let sent = vec![
        message("there/a", 4, "a4", Some(&incident)),
        message("there/b", 2, "b2", None),
        message("there/a", 9, "a9", None),
        message("there/a", 7, "a7", None),
    ];
    assert_eq!(mirror.import(sent.clone()).await.expect("imported"), 4);
    let read = mirror.read_after(before, 10).await.expect("read");
    assert_eq!(names(&read), [4, 2, 9, 7].map(|v| (if v == 2 { "there/b" } else { "there/a" }.to_owned(), v)));
    for (copy, original) in read.iter().zip(&sent) {
        let (copy, original) = (serde_json::to_string(&copy.envelope), serde_json::to_string(original));
        assert_eq!(copy.expect("JSON"), original.expect("JSON"));
    }
    assert_eq!(head(mirror), read.last().map_or(0, |r| r.position), "the head follows an import");
    let stream = mirror.read_stream(&StreamName::new("there", "a"), 4).await.expect("read");
    assert_eq!(names(&stream), [("there/a".to_owned(), 7), ("there/a".to_owned(), 9)]);
    let of = mirror.read_incident(&incident, before, 10).await.expect("read");
    assert_eq!(names(&of), [("there/a".to_owned(), 4)]);
    assert_eq!(mirror.read_back("there", u64::MAX >> 1, 1).await.expect("read").len(), 1);
    assert!(mirror.read_open("there").await.expect("read").is_empty(), "only a writer opens a stream");
}

#[expect(clippy::expect_used, reason = "a test suite says what is wrong by panicking")]
async fn what_is_there_already_is_passed_over(mirror: &Arc<dyn Mirror>) {
    let before = head(mirror);
    let again = vec![message("there/a", 4, "a4", None), message("there/b", 2, "b2", None)];
    assert_eq!(mirror.import(again.clone()).await.expect("imported"), 0);
    assert_eq!(head(mirror), before);
    let mut mixed = again;
    mixed.push(message("there/b", 3, "b3", None));
    mixed.push(message("there/b", 3, "b3", None));
    assert_eq!(mirror.import(mixed).await.expect("imported"), 1, "a repeat within one import counts once");
    let read = mirror.read_after(before, 10).await.expect("read");
    assert_eq!(names(&read), [("there/b".to_owned(), 3)]);
    assert_eq!(mirror.import(Vec::new()).await.expect("imported"), 0);
}

#[expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test suite says what is wrong by panicking")]
async fn own_events_are_told_from_copies(mirror: &Arc<dyn Mirror>) {
    let before = head(mirror);
    mirror.commit(append("here/a", Expected::Version(0), &["h1"], true)).await.expect("ok");
    mirror.import(vec![message("there/c", 1, "c1", None), message("there/c", 2, "c2", None)]).await.expect("ok");
    mirror.commit(append("here/a", Expected::Version(1), &["h2", "h3"], true)).await.expect("ok");
    let own = mirror.read_own_after(before, 10).await.expect("read");
    assert_eq!(names(&own), [1, 2, 3].map(|v| ("here/a".to_owned(), v)));
    assert_eq!(mirror.read_after(before, 10).await.expect("read").len(), 5);
    let rest = mirror.read_own_after(own[0].position, 1).await.expect("read");
    assert_eq!(names(&rest), [("here/a".to_owned(), 2)]);
    assert!(mirror.read_own_after(own[2].position, 10).await.expect("read").is_empty());
}

#[expect(clippy::expect_used, reason = "a test suite says what is wrong by panicking")]
async fn an_own_message_that_comes_back_stays_ones_own(mirror: &Arc<dyn Mirror>) {
    assert_eq!(mirror.import(vec![message("here/a", 2, "h2", None)]).await.expect("imported"), 0);
    let own = mirror.read_own_after(0, 100).await.expect("read");
    assert_eq!(names(&own).iter().filter(|(stream, _)| stream == "here/a").count(), 3);
}

#[expect(clippy::expect_used, reason = "a test suite says what is wrong by panicking")]
async fn copies_live_beside_own_events_of_a_stream(mirror: &Arc<dyn Mirror>) {
    mirror.import(vec![message("both/a", 2, "x2", None)]).await.expect("imported");
    let done = mirror.commit(append("both/a", Expected::Any, &["x3"], true)).await.expect("ok");
    assert_eq!(done.versions, [3], "a version is given out once");
    let own = mirror.read_own_after(done.last_position - 1, 10).await.expect("read");
    assert_eq!(names(&own), [("both/a".to_owned(), 3)]);
}

#[expect(clippy::expect_used, reason = "a test suite says what is wrong by panicking")]
async fn views_see_their_partition_only(mirror: &Arc<dyn Mirror>) {
    let before = head(mirror);
    let (left, right) = (incident_in(5, 2), incident_in(11, 2));
    for incident in [&left, &right] {
        let events = (1..=3).map(|n| event(&format!("{incident}-{n}"), Some(incident))).collect();
        let stream = StreamName::new("incident", incident.as_str());
        let append = Append { stream, expected: Expected::Version(0), events, open: true };
        mirror.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("ok");
    }
    let copies = (0..PARTITIONS).map(|p| message(&format!("readings/p{p:02}"), 1, "r", None)).collect();
    mirror.import(copies).await.expect("ok");
    let mut seen = 0;
    for p in 0..PARTITIONS {
        let view = Arc::clone(mirror).of_partition(p);
        let after = view.read_after(before, 100).await.expect("read");
        assert!(after.iter().all(|r| partition(&r.envelope.stream, r.envelope.correlation_id.as_ref()) == p));
        assert!(after.windows(2).all(|w| matches!(w, [a, b] if a.position < b.position)));
        let want = if p == 5 || p == 11 { 4 } else { 1 };
        assert_eq!(after.len(), want, "partition {p}");
        assert_eq!(view.read_after(before, 1).await.expect("read").len(), 1);
        let last = after.last().map_or(0, |r| r.position);
        assert!(view.read_after(last, 100).await.expect("read").is_empty());
        let open = view.read_open("incident").await.expect("read");
        assert_eq!(open.len(), want - 1, "partition {p}");
        let back = view.read_back("readings", u64::MAX >> 1, 10).await.expect("read");
        assert_eq!(names(&back), [(format!("readings/p{p:02}"), 1)]);
        seen += after.len();
    }
    assert_eq!(seen, mirror.read_after(before, 100).await.expect("read").len(), "each event has one partition");
}

#[expect(clippy::expect_used, reason = "a test suite says what is wrong by panicking")]
async fn cursors_belong_to_their_view(mirror: &Arc<dyn Mirror>) {
    let views: Vec<_> = [2, 3].into_iter().map(|p| Arc::clone(mirror).of_partition(p)).collect();
    let whole = Arc::clone(mirror).whole();
    let stores = views.into_iter().chain([whole]);
    let stores: Vec<_> = stores.zip([20, 30, 40]).collect();
    for (store, position) in &stores {
        let cursors = vec![("reader".to_owned(), *position)];
        store.commit(Commit { cursors, ..Commit::default() }).await.expect("ok");
    }
    for (store, position) in &stores {
        assert_eq!(store.cursor("reader").await.expect("read"), *position);
    }
    let other = Arc::clone(mirror).of_partition(4);
    assert_eq!(other.cursor("reader").await.expect("read"), 0);
}

#[expect(clippy::expect_used, reason = "a test suite says what is wrong by panicking")]
async fn views_share_what_is_not_theirs_alone(mirror: &Arc<dyn Mirror>) {
    let (one, two) = (Arc::clone(mirror).of_partition(1), Arc::clone(mirror).of_partition(2));
    let done = one.commit(append("shared/a", Expected::Version(0), &["s1"], true)).await.expect("ok");
    assert!(two.commit(append("shared/a", Expected::Version(0), &["s2"], true)).await.is_err(), "one version check");
    assert_eq!(two.read_stream(&StreamName::new("shared", "a"), 0).await.expect("read").len(), 1);
    assert_eq!((*one.head().borrow(), *two.head().borrow()), (done.last_position, done.last_position));
    assert_eq!(one.epoch(), mirror.epoch());
}

#[expect(clippy::expect_used, reason = "a test suite says what is wrong by panicking")]
async fn imports_at_once_copy_each_message_once(mirror: &Arc<dyn Mirror>) {
    let before = head(mirror);
    let batches = (0..20_u64).map(|n| {
        let mirror = Arc::clone(mirror);
        // Each message is in two batches, as after a redelivery to another owner.
        let messages = [n / 2, (n / 2 + 1) % 10];
        let messages = messages.map(|stream| (1..=5).map(move |v| message(&format!("rush/{stream}"), v, "r", None)));
        async move { mirror.import(messages.into_iter().flatten().collect()).await }
    });
    let new: usize = futures::future::join_all(batches).await.into_iter().map(|n| n.expect("imported")).sum();
    assert_eq!(new, 50);
    let read = mirror.read_after(before, 1_000).await.expect("read");
    let mut seen = names(&read);
    seen.sort();
    seen.dedup();
    assert_eq!((read.len(), seen.len()), (50, 50));
    for stream in 0..10 {
        let events = mirror.read_stream(&StreamName::new("rush", stream.to_string()), 0).await.expect("read");
        assert!(events.windows(2).all(|w| matches!(w, [a, b] if a.position < b.position)), "order is kept");
    }
}
