//! What is old goes; what is kept stays.

use crate::support::{Schema, database_url, left_out};
use shers_contract::envelope::StreamName;
use shers_runtime::{
    Commit, CommitError, Expected, Store,
    store::InboxMark,
    testing::{TEST_START, store_suite::append},
};

#[tokio::test]
async fn pruning_a_journal_keeps_other_streams_and_never_reuses_a_position() {
    let Some(url) = database_url() else { return left_out("pruning") };
    let schema = Schema::create(&url).await;
    let store = schema.open().await;
    store.commit(append("kept/1", Expected::Any, &["k"], true)).await.expect("ok");
    let last = store.commit(append("readings/p00", Expected::Any, &["a", "b"], false)).await.expect("ok");
    let (gone, at) = store.prune("readings", TEST_START.plus_ms(1)).await.expect("pruned");
    assert_eq!((gone, at), (1, last.last_position - 1), "the last event of the log stays");
    assert_eq!(store.read_stream(&StreamName::new("kept", "1"), 0).await.expect("read").len(), 1);
    let next = store.commit(append("readings/p00", Expected::Any, &["c"], false)).await.expect("ok");
    assert!(next.last_position > last.last_position);
    assert_eq!(store.prune("readings", TEST_START).await.expect("pruned"), (0, 0), "nothing is old enough");
}

#[tokio::test]
async fn inbox_marks_go_when_their_time_is_over() {
    let Some(url) = database_url() else { return left_out("inbox marks") };
    let schema = Schema::create(&url).await;
    let store = schema.open().await;
    let marked = |n: u128| {
        let mark = InboxMark { consumer: "pruned", message_id: uuid::Uuid::from_u128(n) };
        Commit { inbox: vec![mark], ..Commit::default() }
    };
    for n in [1, 2] {
        store.commit(marked(n)).await.expect("ok");
    }
    let client = schema.client().await;
    let old = "UPDATE inbox SET at = now() - interval '8 days' WHERE message_id = $1";
    assert_eq!(client.execute(old, &[&uuid::Uuid::from_u128(1)]).await.expect("aged"), 1);
    store.prune("readings", TEST_START).await.expect("pruned");
    store.commit(marked(1)).await.expect("forgotten");
    let kept = store.commit(marked(2)).await;
    assert!(matches!(kept, Err(CommitError::Repeated { .. })), "{kept:?}");
}
