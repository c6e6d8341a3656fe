//! The one writer of readings: drains what has queued up meanwhile, makes envelopes of it, commits, and
//! answers everybody. Nothing waits on purpose: groups form by themselves while a commit is under way.
//!
//! Invariants:
//! - A reading is durable before its device hears 202.
//! - A repeat is recognised before it is written, also within one group. Whoever leans on a reading that
//!   another request is writing in the same round hears of success only when that one succeeds.
//! - A request with a reading that alarms travels in envelopes of its own, so its trace is the trace of
//!   what follows. Exercise and earnest never share an envelope.
//! - A request with an idempotency key is a commit of its own, with its answer.

use crate::model::track::Entry;
use crate::wearers::{Wearer, Wearers};
use futures::{FutureExt, future::join_all};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use shers_contract::{
    Kind, Problem, Timestamp, Traceparent,
    api::{Answer, Idempotency},
    envelope::StreamName,
};
use shers_runtime::{
    Append, Clock, Commit, CommitError, Committed, Expected, Ids, InboxMark, Life, NewEvent, Position, SavedAnswer,
    Store,
};
use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Name under which commits are marked, so that one of unknown outcome is not stored twice.
const WRITER: &str = "wearable.writer";
/// Wait before a commit of unknown outcome is asked about; doubles each time.
const UNKNOWN_RETRY: Duration = Duration::from_millis(20);
/// Once the wait would be longer the device is told that nobody knows.
const UNKNOWN_RETRY_MAX: Duration = Duration::from_secs(2);
/// A round that ended so many lives of the writer is given up.
const ROUND_LIVES: u32 = 3;
/// Envelopes among which such a commit is looked for.
const NEWEST: usize = 64;

/// A reading on its way.
pub(crate) struct Item {
    pub(crate) wearer: Arc<Wearer>,
    pub(crate) at: Timestamp,
    pub(crate) fingerprint: u64,
    pub(crate) json: Box<RawValue>,
}

/// What one request brings.
pub(crate) struct Submission {
    pub(crate) items: Vec<Item>,
    /// A reading among them alarms.
    pub(crate) urgent: bool,
    pub(crate) exercise: bool,
    pub(crate) cause: Uuid,
    pub(crate) traceparent: Traceparent,
    /// The key, and the answer to keep under it.
    pub(crate) idempotency: Option<(Idempotency, Answer)>,
    pub(crate) done: oneshot::Sender<Written>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// Durable.
    Stored,
    /// Somebody with the same key was quicker: that answer holds.
    Answered,
    /// Not stored, or not known.
    Failed(Problem),
}

/// See the module.
pub(crate) struct Writer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) wearers: Arc<Wearers>,
    pub(crate) envelope_readings: usize,
    pub(crate) commit_readings: usize,
}

/// An envelope being filled.
struct Draft {
    partition: u16,
    exercise: bool,
    /// The request it belongs to alone.
    alone: Option<usize>,
    cause: Uuid,
    traceparent: Traceparent,
    readings: Vec<Box<RawValue>>,
    tracks: Vec<(Arc<Wearer>, Timestamp, u64)>,
}

/// One commit of a round, and who waits for it.
#[derive(Default)]
struct Plan {
    drafts: Vec<Draft>,
    answer: Option<(Idempotency, Answer)>,
    waiting: Vec<(oneshot::Sender<Written>, bool)>,
}

/// The body of an envelope; the same JSON as the contract's `ReadingBatch`, from readings already written.
#[derive(Serialize)]
struct Batch<'a> {
    received_at: Timestamp,
    readings: &'a [Box<RawValue>],
}

/// What waits for the writer; outlives each of its lives.
pub(crate) struct InTray {
    queue: mpsc::Receiver<Submission>,
    /// The round that a life had in hand when it ended.
    unfinished: Option<Round>,
}

impl InTray {
    pub(crate) const fn new(queue: mpsc::Receiver<Submission>) -> Self {
        Self { queue, unfinished: None }
    }
}

/// Plans and their commits, the same however often they are tried: each commit's mark makes it one.
struct Round {
    work: Vec<(Plan, Option<Commit>)>,
    lives: u32,
}

impl Writer {
    /// Writes until every sender is gone; then there is nothing left to do for ever.
    pub(crate) async fn run(&self, tray: &mut InTray, life: Life) {
        loop {
            if let Some(round) = &mut tray.unfinished {
                round.lives += 1;
                life.begin(round.work.len());
                let results = self.write(round).await;
                if let Some(round) = tray.unfinished.take() {
                    self.tell(round, results);
                }
                life.end();
            }
            let Some(first) = tray.queue.recv().await else { return std::future::pending().await };
            let mut count = first.items.len();
            let mut round = vec![first];
            while count < self.commit_readings {
                let Ok(next) = tray.queue.try_recv() else { break };
                count += next.items.len();
                round.push(next);
            }
            let now = self.clock.now();
            let work = self.plan(round).into_iter().map(|plan| {
                let commit = self.prepare(&plan, now);
                (plan, commit)
            });
            tray.unfinished = Some(Round { work: work.collect(), lives: 0 });
        }
    }

    /// Commits what a round holds. One that ended too many lives of the writer is given up: nobody knows.
    async fn write(&self, round: &Round) -> Vec<Result<Committed, CommitError>> {
        if round.lives > ROUND_LIVES {
            let given_up = || Err(CommitError::Unknown("this round ended every life of the writer".to_owned()));
            return round.work.iter().map(|_| given_up()).collect();
        }
        let in_doubt = round.lives > 1;
        let commits = round.work.iter().map(|(_, commit)| async move {
            match commit {
                None => Ok(Committed::default()),
                // A panic in there must not take the other commits along: what became of this one is unknown.
                Some(commit) => AssertUnwindSafe(self.commit_surely(commit.clone(), in_doubt))
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|_| Err(CommitError::Unknown("the store panicked".to_owned()))),
            }
        });
        join_all(commits).await
    }

    /// Notes what became of a round and answers everybody.
    fn tell(&self, round: Round, results: Vec<Result<Committed, CommitError>>) {
        let all_stored = results.iter().all(Result::is_ok);
        for ((plan, _), result) in round.work.into_iter().zip(results) {
            match &result {
                Ok(committed) => self.record(&plan.drafts, committed),
                Err(_) => forget(&plan.drafts),
            }
            let written = outcome(result);
            for (done, leans) in plan.waiting {
                let shaky = leans && !all_stored && matches!(written, Written::Stored);
                // The asker may have gone; what is stored is stored.
                let _ = done.send(if shaky { Written::Failed(not_stored()) } else { written.clone() });
            }
        }
    }

    /// Sorts a round into commits: one for all, and one for each request with a key. Notes every reading
    /// as seen on the way.
    fn plan(&self, round: Vec<Submission>) -> Vec<Plan> {
        let mut shared = Plan::default();
        let mut plans = Vec::new();
        let mut this_round: HashSet<u64> = HashSet::new();
        for (index, submission) in round.into_iter().enumerate() {
            let mut own = Plan::default();
            let plan = if submission.idempotency.is_some() { &mut own } else { &mut shared };
            let alone = submission.urgent.then_some(index);
            let mut leans = false;
            for item in submission.items {
                {
                    let mut track = item.wearer.track();
                    if track.has_seen(item.fingerprint) {
                        leans |= this_round.contains(&item.fingerprint);
                        continue;
                    }
                    track.see(item.fingerprint, self.wearers.bounds);
                }
                this_round.insert(item.fingerprint);
                let (cause, traceparent) = (submission.cause, submission.traceparent);
                let draft = self.draft(plan, &item.wearer, alone, submission.exercise, cause, traceparent);
                if let Some(draft) = draft {
                    draft.readings.push(item.json);
                    draft.tracks.push((item.wearer, item.at, item.fingerprint));
                }
            }
            plan.waiting.push((submission.done, leans));
            if submission.idempotency.is_some() {
                own.answer = submission.idempotency;
                plans.push(own);
            }
        }
        if !shared.waiting.is_empty() {
            plans.push(shared);
        }
        for plan in &mut plans {
            // One append per stream, and positions in the order of the drafts.
            plan.drafts.sort_by_key(|draft| draft.partition);
        }
        plans
    }

    /// The draft that takes the next reading of `wearer`: the last one of its partition, if it fits.
    fn draft<'a>(
        &self,
        plan: &'a mut Plan,
        wearer: &Wearer,
        alone: Option<usize>,
        exercise: bool,
        cause: Uuid,
        traceparent: Traceparent,
    ) -> Option<&'a mut Draft> {
        let partition = wearer.partition;
        let last = plan.drafts.iter().rposition(|d| d.partition == partition).filter(|index| {
            plan.drafts.get(*index).is_some_and(|d| {
                d.alone == alone && d.exercise == exercise && d.readings.len() < self.envelope_readings.max(1)
            })
        });
        let index = last.unwrap_or_else(|| {
            let (readings, tracks) = (Vec::new(), Vec::new());
            plan.drafts.push(Draft { partition, exercise, alone, cause, traceparent, readings, tracks });
            plan.drafts.len() - 1
        });
        plan.drafts.get_mut(index)
    }

    /// The commit of a plan, if it needs one.
    fn prepare(&self, plan: &Plan, now: Timestamp) -> Option<Commit> {
        if plan.drafts.is_empty() && plan.answer.is_none() {
            return None;
        }
        let mut appends: Vec<Append> = Vec::new();
        for draft in &plan.drafts {
            let stream = StreamName::new("readings", format!("p{:02}", draft.partition));
            let event = self.event(draft, now);
            match appends.last_mut().filter(|append| append.stream == stream) {
                Some(append) => append.events.push(event),
                None => appends.push(Append { stream, expected: Expected::Any, events: vec![event], open: false }),
            }
        }
        let answer = plan.answer.clone().map(|(idempotency, answer)| SavedAnswer {
            key: idempotency.key,
            body_digest: idempotency.body_digest,
            at: now,
            answer,
        });
        let inbox = appends.iter().flat_map(|append| &append.events).take(1);
        let inbox = inbox.map(|event| InboxMark { consumer: WRITER, message_id: event.id }).collect();
        Some(Commit { appends, answer, inbox, ..Commit::default() })
    }

    /// Commits; asks again while nobody knows the outcome. The commit's own mark stops it from being stored
    /// twice, and a device that hears "unknown" would send its readings again. `in_doubt`: a life before tried.
    async fn commit_surely(&self, commit: Commit, mut in_doubt: bool) -> Result<Committed, CommitError> {
        let mut wait = UNKNOWN_RETRY;
        loop {
            let outcome = self.store.commit(commit.clone()).await;
            match outcome {
                Err(CommitError::Repeated { .. }) if in_doubt => return Ok(self.found(&commit).await),
                // The answer under this key is perhaps this commit's own.
                Err(CommitError::Answered) if in_doubt => {
                    let found = self.found(&commit).await;
                    return if found.last_position > 0 { Ok(found) } else { outcome };
                }
                Err(CommitError::Unknown(_)) => in_doubt = true,
                Err(CommitError::Unavailable(_)) if in_doubt => {}
                other => return other,
            }
            if wait > UNKNOWN_RETRY_MAX {
                return outcome.map_err(|error| CommitError::Unknown(error.to_string()));
            }
            self.clock.sleep(wait).await;
            wait *= 2;
        }
    }

    /// Where a commit lies that was stored without an answer. When the log can't be read its readings are
    /// recognised all the same, and missing in the history until the next start.
    async fn found(&self, commit: &Commit) -> Committed {
        let last = commit.appends.last().and_then(|append| append.events.last()).map(|event| event.id);
        let newest = self.store.read_back("readings", Position::MAX >> 1, NEWEST).await.unwrap_or_default();
        let found = newest.iter().find(|recorded| Some(recorded.envelope.id) == last);
        Committed { last_position: found.map_or(0, |recorded| recorded.position), versions: Vec::new() }
    }

    fn event(&self, draft: &Draft, now: Timestamp) -> NewEvent {
        let data = to_raw_value(&Batch { received_at: now, readings: &draft.readings });
        NewEvent {
            id: self.ids.uuid(now),
            kind: Kind::READING_RECORDED,
            v: 1,
            at: now,
            correlation_id: None,
            causation_id: Some(draft.cause),
            traceparent: Some(draft.traceparent),
            exercise: draft.exercise,
            // Readings that are JSON already: writing them cannot fail.
            data: data.unwrap_or_else(|_| RawValue::NULL.to_owned()),
        }
    }

    /// Notes where everything lies.
    fn record(&self, drafts: &[Draft], committed: &Committed) {
        let span = u32::try_from(drafts.len()).unwrap_or(u32::MAX);
        for (index, draft) in drafts.iter().enumerate() {
            let after = u64::try_from(drafts.len() - 1 - index).unwrap_or(0);
            let position = committed.last_position.saturating_sub(after);
            for (wearer, at, fingerprint) in &draft.tracks {
                let entry = Entry { at: *at, fingerprint: *fingerprint, position, last: committed.last_position, span };
                wearer.track().record(entry, self.wearers.bounds);
            }
        }
    }
}

/// What was not recorded has not been seen.
fn forget(drafts: &[Draft]) {
    for (wearer, _, fingerprint) in drafts.iter().flat_map(|draft| &draft.tracks) {
        wearer.track().unsee(*fingerprint);
    }
}

fn outcome(result: Result<Committed, CommitError>) -> Written {
    match result {
        Ok(_) => Written::Stored,
        Err(CommitError::Answered) => Written::Answered,
        Err(CommitError::Unknown(error)) => {
            tracing::error!(error, "nobody knows whether readings were stored");
            Written::Failed(Problem::unknown_outcome())
        }
        Err(error) => {
            tracing::error!(%error, "readings could not be stored");
            Written::Failed(not_stored())
        }
    }
}

fn not_stored() -> Problem {
    Problem::unavailable("the readings could not be stored; nothing was accepted, send them again")
}
