//! The one writer: drains its queue into one transaction, checks each commit before writing any of it,
//! syncs once, then answers all.

use super::schema::{answers, documents, events, inbox, streams};
use super::statements::{PutCursor, PutDocument, SetHead};
use super::tail::Tail;
use super::{Job, SqliteOptions};
use diesel::{connection::SimpleConnection, prelude::*};
use shers_contract::{Envelope, IncidentId, Timestamp, envelope::StreamName};
use shers_runtime::store::{
    Append, Commit, CommitError, Committed, Expected, NewEvent, Position, Recorded, StoreError,
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// Heads of streams kept in memory; beyond this the cache is emptied and fills again.
const MAX_CACHED_STREAMS: usize = 200_000;
/// Events deleted in one transaction when a journal is pruned, so that appends never wait long.
const PRUNE_CHUNK: i64 = 5_000;
/// Inbox marks are looked through for old ones this often at most: all of them are read for it.
const PRUNE_MARKS_EVERY: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy)]
struct Head {
    id: i64,
    version: u64,
    open: bool,
}

pub(super) struct Writer {
    connection: SqliteConnection,
    tail: Arc<Tail>,
    last: Position,
    group: usize,
    heads: HashMap<StreamName, Head>,
    keep_inbox: Duration,
    keep_answers: Duration,
    marks_pruned: Option<Instant>,
}

/// Why a commit of a group was not written.
enum Stop {
    /// It alone is refused; nothing of it was written.
    Refused(CommitError),
    /// The database failed; the whole group is rolled back.
    Failed(diesel::result::Error),
}

impl From<diesel::result::Error> for Stop {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error)
    }
}

/// SQLite's text of `SQLITE_FULL`, which diesel gives no kind of its own.
fn is_disk_full(error: &diesel::result::Error) -> bool {
    matches!(error, diesel::result::Error::DatabaseError(_, info) if info.message() == "database or disk is full")
}

type Reply = oneshot::Sender<Result<Committed, CommitError>>;

impl Writer {
    pub(super) fn new(connection: SqliteConnection, tail: Arc<Tail>, last: Position, options: &SqliteOptions) -> Self {
        Self {
            connection,
            tail,
            last,
            group: options.group_commits,
            heads: HashMap::new(),
            keep_inbox: options.keep_inbox,
            keep_answers: options.keep_answers,
            marks_pruned: None,
        }
    }

    /// Runs until every sender is gone and the queue is empty. A panic ends neither the thread nor the queue:
    /// what was being written is rolled back, and who waits for it hears that nobody knows.
    pub(super) fn run_for_ever(mut self, mut queue: mpsc::Receiver<Job>) {
        while catch_unwind(AssertUnwindSafe(|| self.run(&mut queue))).is_err() {
            metrics::counter!("shers_actor_deaths_total", "category" => "log-writer", "cause" => "panic").increment(1);
            tracing::error!("the writer of the log panicked; it goes on with the next commits");
            self.begin_again();
        }
    }

    /// Forgets what it believes and looks what the database holds.
    fn begin_again(&mut self) {
        // Without an open transaction this has nothing to do.
        let _ = self.connection.batch_execute("ROLLBACK");
        self.heads.clear();
        match super::rows::last_position(&mut self.connection) {
            Ok(last) => {
                self.last = last;
                self.tail.restart(last);
            }
            Err(error) => tracing::error!(%error, "asking where the log ends"),
        }
    }

    fn run(&mut self, queue: &mut mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut commits = Vec::new();
            let mut next = Some(first);
            let mut prune = None;
            while let Some(job) = next.take() {
                match job {
                    Job::Commit(commit, reply) => commits.push((commit, reply)),
                    Job::Prune(category, before, reply) => {
                        prune = Some((category, before, reply));
                        break;
                    }
                }
                if commits.len() < self.group {
                    next = queue.try_recv().ok();
                }
            }
            if !commits.is_empty() {
                self.write_group(commits);
            }
            if let Some((category, before, reply)) = prune {
                // Whoever asked may be gone; the rows are.
                let _ = reply.send(self.prune(&category, before));
            }
        }
    }

    fn write_group(&mut self, commits: Vec<(Box<Commit>, Reply)>) {
        metrics::histogram!("shers_log_group_commits").record(commits.len() as f64);
        let mut replies = Vec::with_capacity(commits.len());
        let mut recorded = Vec::new();
        let last_before = self.last;
        let mut failure = self.connection.batch_execute("BEGIN IMMEDIATE").err();
        let mut in_doubt = false;
        for (commit, reply) in commits {
            let outcome = match &failure {
                Some(error) => Err(CommitError::Unavailable(error.to_string())),
                None => match self.write(*commit, &mut recorded) {
                    Ok(committed) => Ok(committed),
                    Err(Stop::Refused(error)) => Err(error),
                    Err(Stop::Failed(error)) => {
                        let text = error.to_string();
                        failure = Some(error);
                        Err(CommitError::Unavailable(text))
                    }
                },
            };
            replies.push((outcome, reply));
        }
        if failure.is_none() {
            failure = self.connection.batch_execute("COMMIT").err();
            // A full disk stops before the frame that would make it a commit; of other failures nobody knows.
            in_doubt = failure.as_ref().is_some_and(|error| !is_disk_full(error));
        }
        if let Some(error) = failure {
            tracing::error!(%error, "writing to the log");
            metrics::counter!("shers_log_failures_total").increment(1);
            // A failed COMMIT may have rolled back by itself; then this has nothing to do.
            let _ = self.connection.batch_execute("ROLLBACK");
            self.heads.clear();
            self.last = last_before;
            recorded.clear();
            for (outcome, _) in &mut replies {
                if outcome.is_ok() {
                    let text = error.to_string();
                    *outcome = Err(if in_doubt { CommitError::Unknown(text) } else { CommitError::Unavailable(text) });
                }
            }
            if in_doubt {
                // If the commit did happen, positions go on after it.
                self.last = super::rows::last_position(&mut self.connection).unwrap_or(last_before).max(last_before);
            }
        }
        metrics::counter!("shers_log_events_total").increment(recorded.len() as u64);
        self.tail.extend(recorded);
        for (outcome, reply) in replies {
            // The asker may be gone; what is committed is committed.
            let _ = reply.send(outcome);
        }
        if self.heads.len() > MAX_CACHED_STREAMS {
            self.heads.clear();
        }
    }

    /// Checks one commit, then writes it. A refusal writes nothing.
    fn write(&mut self, commit: Commit, recorded: &mut Vec<Recorded>) -> Result<Committed, Stop> {
        for append in &commit.appends {
            let actual = self.head(&append.stream)?.map_or(0, |head| head.version);
            if let Expected::Version(expected) = append.expected
                && expected != actual
            {
                let stream = append.stream.clone();
                return Err(Stop::Refused(CommitError::Conflict { stream, expected, actual }));
            }
        }
        for mark in &commit.inbox {
            let seen: i64 = inbox::table
                .filter(
                    inbox::consumer.eq(mark.consumer).and(inbox::message_id.eq(mark.message_id.as_bytes().as_slice())),
                )
                .count()
                .get_result(&mut self.connection)?;
            if seen > 0 {
                let (consumer, message_id) = (mark.consumer, mark.message_id);
                return Err(Stop::Refused(CommitError::Repeated { consumer, message_id }));
            }
        }
        if let Some(answer) = &commit.answer {
            let seen: i64 =
                answers::table.filter(answers::key.eq(&answer.key)).count().get_result(&mut self.connection)?;
            if seen > 0 {
                return Err(Stop::Refused(CommitError::Answered));
            }
        }
        for mark in &commit.inbox {
            diesel::insert_into(inbox::table)
                .values((
                    inbox::consumer.eq(mark.consumer),
                    inbox::message_id.eq(mark.message_id.as_bytes().as_slice()),
                ))
                .execute(&mut self.connection)?;
        }
        let mut committed = Committed::default();
        for append in commit.appends {
            self.append(append, recorded, &mut committed)?;
        }
        self.write_documents(commit.documents)?;
        for (name, position) in &commit.cursors {
            PutCursor { name, position: signed(*position) }.execute(&mut self.connection)?;
        }
        if let Some(saved) = commit.answer {
            let text = serde_json::to_string(&saved.answer)
                .map_err(|error| Stop::Refused(CommitError::Unavailable(error.to_string())))?;
            diesel::insert_into(answers::table)
                .values((
                    answers::key.eq(saved.key),
                    answers::body_digest.eq(saved.body_digest),
                    answers::at.eq(saved.at.as_ms()),
                    answers::answer.eq(text),
                ))
                .execute(&mut self.connection)?;
        }
        Ok(committed)
    }

    fn write_documents(&mut self, writes: Vec<shers_runtime::store::DocumentWrite>) -> QueryResult<()> {
        for write in writes {
            match write.doc {
                Some(doc) => {
                    let (collection, id, tag, rank) = (write.collection, &write.id, &write.tag, write.rank);
                    PutDocument { collection, id, tag, rank, doc: &doc }.execute(&mut self.connection)?;
                }
                None => {
                    diesel::delete(
                        documents::table
                            .filter(documents::collection.eq(write.collection).and(documents::id.eq(write.id))),
                    )
                    .execute(&mut self.connection)?;
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, append: Append, recorded: &mut Vec<Recorded>, committed: &mut Committed) -> QueryResult<()> {
        let mut head = self.head_or_new(&append.stream)?;
        for event in append.events {
            head.version += 1;
            self.last += 1;
            self.insert(head, &event)?;
            recorded.push(Recorded { position: self.last, envelope: Arc::new(envelope(&append.stream, head, event)) });
        }
        head.open = append.open;
        SetHead { stream: head.id, version: signed(head.version), open: head.open }.execute(&mut self.connection)?;
        self.heads.insert(append.stream, head);
        committed.versions.push(head.version);
        committed.last_position = self.last;
        Ok(())
    }

    fn insert(&mut self, head: Head, event: &NewEvent) -> QueryResult<()> {
        let correlation = match &event.correlation_id {
            None => None,
            Some(incident) => Some(self.incident_stream(incident)?),
        };
        diesel::insert_into(events::table)
            .values((
                events::position.eq(signed(self.last)),
                events::stream.eq(head.id),
                events::version.eq(signed(head.version)),
                events::message_id.eq(event.id.as_bytes().as_slice()),
                events::kind.eq(event.kind.as_str()),
                events::v.eq(i32::from(event.v)),
                events::at.eq(event.at.as_ms()),
                events::correlation.eq(correlation),
                events::causation.eq(event.causation_id.as_ref().map(|id| id.as_bytes().as_slice())),
                events::traceparent.eq(event.traceparent.map(|t| t.to_string())),
                events::exercise.eq(event.exercise),
                events::data.eq(event.data.get()),
            ))
            .execute(&mut self.connection)?;
        Ok(())
    }

    fn incident_stream(&mut self, incident: &IncidentId) -> QueryResult<i64> {
        let name = StreamName::new("incident", incident.as_str());
        let head = self.head_or_new(&name)?;
        Ok(head.id)
    }

    /// The head of a stream, from memory or the database.
    fn head(&mut self, stream: &StreamName) -> QueryResult<Option<Head>> {
        if let Some(head) = self.heads.get(stream) {
            return Ok(Some(*head));
        }
        let found: Option<(i64, i64, bool)> = streams::table
            .filter(streams::name.eq(stream.as_str()))
            .select((streams::id, streams::version, streams::open))
            .first(&mut self.connection)
            .optional()?;
        let head = found.map(|(id, version, open)| Head { id, version: u64::try_from(version).unwrap_or(0), open });
        if let Some(head) = head {
            self.heads.insert(stream.clone(), head);
        }
        Ok(head)
    }

    fn head_or_new(&mut self, stream: &StreamName) -> QueryResult<Head> {
        if let Some(head) = self.head(stream)? {
            return Ok(head);
        }
        let id: i64 = diesel::insert_into(streams::table)
            .values((
                streams::name.eq(stream.as_str()),
                streams::category.eq(stream.category()),
                streams::version.eq(0_i64),
                streams::open.eq(false),
            ))
            .returning(streams::id)
            .get_result(&mut self.connection)?;
        let head = Head { id, version: 0, open: false };
        self.heads.insert(stream.clone(), head);
        Ok(head)
    }

    /// Deletes old events of a journal in small transactions; never the last event of the log, whose
    /// position must not be given out again.
    fn prune(&mut self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError> {
        let failed = |error: diesel::result::Error| StoreError(error.to_string());
        let of = streams::table.filter(streams::category.eq(category)).select(streams::id);
        let ids: Vec<i64> = of.load(&mut self.connection).map_err(failed)?;
        let mut gone = 0;
        let mut last = 0;
        loop {
            let old: Vec<i64> = events::table
                .filter(events::stream.eq_any(&ids).and(events::at.lt(before.as_ms())))
                .filter(events::position.lt(signed(self.last)))
                .order(events::position)
                .limit(PRUNE_CHUNK)
                .select(events::position)
                .load(&mut self.connection)
                .map_err(failed)?;
            let Some(highest) = old.last() else { break };
            last = u64::try_from(*highest).unwrap_or(0);
            gone += diesel::delete(events::table.filter(events::position.eq_any(&old)))
                .execute(&mut self.connection)
                .map_err(failed)? as u64;
        }
        diesel::delete(answers::table.filter(answers::at.lt(before.as_ms().saturating_sub(ms(self.keep_answers)))))
            .execute(&mut self.connection)
            .map_err(failed)?;
        self.prune_marks().map_err(failed)?;
        Ok((gone, last))
    }

    /// Deletes inbox marks whose time is over by the clock that made them.
    fn prune_marks(&mut self) -> QueryResult<()> {
        if self.marks_pruned.is_some_and(|at| at.elapsed() < PRUNE_MARKS_EVERY) {
            return Ok(());
        }
        diesel::sql_query("DELETE FROM inbox WHERE at < unixepoch() * 1000 - ?")
            .bind::<diesel::sql_types::BigInt, _>(ms(self.keep_inbox))
            .execute(&mut self.connection)?;
        self.marks_pruned = Some(Instant::now());
        Ok(())
    }
}

fn envelope(stream: &StreamName, head: Head, event: NewEvent) -> Envelope {
    Envelope {
        id: event.id,
        kind: event.kind,
        v: event.v,
        stream: stream.clone(),
        version: head.version,
        at: event.at,
        correlation_id: event.correlation_id,
        causation_id: event.causation_id,
        traceparent: event.traceparent,
        exercise: event.exercise,
        data: event.data,
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
