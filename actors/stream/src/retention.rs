//! Takes what ended long ago out of the read models, so that they stay bounded. The log keeps it.

use crate::model::{Collection, DocKey, incident::ended_rank};
use crate::projector::{ProjectError, Projector};
use shers_contract::Timestamp;
use std::{rc::Rc, time::Duration};

/// Documents deleted in one commit.
const CHUNK: usize = 500;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Looks for the old from time to time, for ever.
pub(crate) async fn run(projector: Rc<Projector>) {
    loop {
        let interval = Duration::from_secs(projector.settings.retention_interval_s.max(1));
        projector.deps.clock.sleep(projector.real(interval)).await;
        match sweep(&projector).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(documents = gone, "old documents left the read models"),
            Err(error) => tracing::warn!(%error, "removing old documents failed; it is tried again later"),
        }
    }
}

/// Removes what is older than the settings say. Returns how many documents went.
pub(crate) async fn sweep(projector: &Projector) -> Result<usize, ProjectError> {
    let age_ms = i64::from(projector.settings.retention_days).saturating_mul(DAY_MS);
    let before = projector.deps.clock.now().plus_ms(age_ms.saturating_neg());
    let mut gone = 0;
    for (collection, tags, rank) in old(before) {
        gone += remove_behind(projector, collection, tags, rank).await?;
    }
    Ok(gone)
}

/// Each collection's tags that may go, and the rank behind which they are older than `before`: all are
/// sorted newest first within these tags.
fn old(before: Timestamp) -> [(Collection, &'static [&'static str], i64); 4] {
    let newest_first = before.as_ms().saturating_neg();
    [
        (Collection::Incident, &["closed", "cancelled", "unknown"], ended_rank(before)),
        (Collection::Bill, &["PAID", "FAILED", "unknown"], newest_first),
        (Collection::Notification, &["queued", "attempted", "sent", "failed", "ambiguous", "unknown"], newest_first),
        (Collection::Kpi, &["ended", "unknown"], newest_first),
    ]
}

async fn remove_behind(
    projector: &Projector,
    collection: Collection,
    tags: &[&str],
    rank: i64,
) -> Result<usize, ProjectError> {
    let tags: Vec<String> = tags.iter().map(|t| (*t).to_owned()).collect();
    let mut gone = 0;
    loop {
        let after = Some((rank, String::new()));
        let found = projector.deps.store.documents(collection.as_str(), &tags, after, CHUNK).await?;
        let count = found.len();
        if count == 0 {
            return Ok(gone);
        }
        let keys = found.into_iter().map(|d| DocKey { collection, id: d.id }).collect();
        projector.delete(keys).await?;
        gone += count;
    }
}
