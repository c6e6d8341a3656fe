//! The one writer of this process: drains its queue into one transaction, decides inside the critical section,
//! commits, then answers all.
//!
//! What a broken connection leaves in doubt is read back: the transaction holds the critical section until it
//! ends, and notes the number of its group; who enters the section after it sees whether it happened.

use super::connect::{Connector, said};
use super::group::{self, Done, EventRow, Job, Known, Plan};
use super::options::PostgresOptions;
use super::statements::Statements;
use super::tail::{Hole, Tail};
use shers_runtime::store::{CommitError, Position, Recorded};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, timeout_at},
};
use tokio_postgres::{
    Client, Error,
    error::{Severity, SqlState},
};
use uuid::Uuid;

/// Pauses between tries grow from here, twofold, up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// After a large group the next one is gathered for this part of what writing took, and no longer than this.
const GATHER_PART: u32 = 10;
const LONGEST_GATHER: Duration = Duration::from_millis(1);

/// How the last group went.
#[derive(Clone, Copy)]
struct Pace {
    size: usize,
    took: Duration,
}

pub(super) type Reply = oneshot::Sender<Result<Done, CommitError>>;

/// A job with who waits for it since when.
pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) reply: Reply,
    pub(super) since: Instant,
}

struct Link {
    client: Client,
    statements: Statements,
}

pub(super) struct Writer {
    connector: Connector,
    link: Option<Link>,
    tail: Arc<Tail>,
    /// Reads from the log what others wrote before this group.
    filler: Arc<super::follow::Filler>,
    /// Tells other processes how far the log is.
    announce: watch::Sender<Position>,
    id: Uuid,
    group: i64,
    group_commits: usize,
    group_bytes: usize,
    limit: Duration,
}

/// Why a try of a group ended without a commit.
enum Stop {
    /// Nothing was stored; another try may do better.
    Again(String),
    /// Nothing was stored, and it would be the same again: something in the group can't be stored.
    Unstorable(String),
    /// Nobody knows.
    Unknown(String),
}

/// What a try that ended well has to hand on.
struct Success {
    outcomes: Vec<Result<Done, CommitError>>,
    before: Position,
    recorded: Vec<Recorded>,
}

/// Whether the connection is lost with this error, so that what was sent may have happened.
fn is_lost(error: &Error) -> bool {
    error.as_db_error().is_none_or(|db| {
        // A server that ends the session says so as FATAL or PANIC.
        matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) || db.severity() == "FATAL"
    })
}

/// Whether the data of the group is to blame: it can't be stored as it is.
fn is_unstorable(error: &Error) -> bool {
    let class =
        |code: &SqlState| code.code().get(..2).is_some_and(|class| class == "22" || class == "23" || class == "54");
    error.code().is_some_and(class)
}

/// Whether the connection is as good as before. Not after a server that has become read-only, a schema that
/// is gone, a full disk: another connection may find another server.
fn is_passing(error: &Error) -> bool {
    let class = |code: &SqlState| code.code().get(..2).is_some_and(|class| class == "40" || class == "55");
    !is_lost(error) && (is_unstorable(error) || error.code().is_some_and(class))
}

impl Writer {
    pub(super) fn new(
        connector: Connector,
        options: &PostgresOptions,
        tail: Arc<Tail>,
        filler: Arc<super::follow::Filler>,
        announce: watch::Sender<Position>,
        id: Uuid,
    ) -> Self {
        Self {
            connector,
            link: None,
            tail,
            filler,
            announce,
            id,
            group: 0,
            group_commits: options.group_commits.max(1),
            group_bytes: options.group_bytes,
            limit: options.commit_timeout,
        }
    }

    /// Runs until every sender is gone and the queue is empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Queued>) {
        let mut pace = Pace { size: 1, took: Duration::ZERO };
        while let Some(first) = queue.recv().await {
            let batch = self.gather(first, &mut queue, pace).await;
            let size = batch.len();
            let started = Instant::now();
            self.write_group(batch).await;
            pace = Pace { size, took: started.elapsed() };
        }
    }

    /// A group: what waits, within the limits. Those who were answered together come again together, a moment
    /// later; so after a large group the next one waits for them, for a small part of what writing takes.
    async fn gather(&self, first: Queued, queue: &mut mpsc::Receiver<Queued>, pace: Pace) -> Vec<Queued> {
        let mut bytes = first.job.size();
        let mut batch = vec![first];
        let until = Instant::now() + (pace.took / GATHER_PART).min(LONGEST_GATHER);
        loop {
            if batch.len() >= self.group_commits || bytes >= self.group_bytes {
                return batch;
            }
            match queue.try_recv() {
                Ok(next) => {
                    bytes += next.job.size();
                    batch.push(next);
                }
                Err(_) if batch.len() >= pace.size * 3 / 4 || Instant::now() >= until => return batch,
                // Timers are too coarse for this.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Writes a group, however many tries that takes within the limit of its oldest job, and answers.
    async fn write_group(&mut self, batch: Vec<Queued>) {
        metrics::histogram!("shers_log_group_commits").record(batch.len() as f64);
        let oldest = batch.iter().map(|queued| queued.since).min().unwrap_or_else(Instant::now);
        let deadline = oldest + self.limit;
        let (jobs, replies): (Vec<Job>, Vec<Reply>) = batch.into_iter().map(|q| (q.job, q.reply)).unzip();
        match self.try_until(&jobs, deadline).await {
            Ok(outcomes) => answer(replies, outcomes),
            Err(Stop::Unstorable(_)) if jobs.len() > 1 => {
                // Which of them it is shows when each is alone.
                for (job, reply) in jobs.into_iter().zip(replies) {
                    let alone = self.try_until(std::slice::from_ref(&job), deadline).await;
                    answer(vec![reply], alone.unwrap_or_else(|stop| vec![Err(refusal(&stop))]));
                }
            }
            Err(stop) => {
                let error = refusal(&stop);
                answer(replies, jobs.iter().map(|_| Err(error.clone())).collect());
            }
        }
    }

    async fn try_until(&mut self, jobs: &[Job], deadline: Instant) -> Result<Vec<Result<Done, CommitError>>, Stop> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_once(jobs, deadline).await {
                Ok(success) => {
                    metrics::counter!("shers_log_events_total").increment(success.recorded.len() as u64);
                    self.publish(success.before, success.recorded).await;
                    return Ok(success.outcomes);
                }
                Err(Stop::Again(reason)) => {
                    metrics::counter!("shers_log_failures_total").increment(1);
                    if Instant::now() + pause >= deadline {
                        tracing::error!(reason, "writing to the log; given up");
                        return Err(Stop::Again(reason));
                    }
                    tracing::warn!(reason, "writing to the log; trying again");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(stop) => {
                    metrics::counter!("shers_log_failures_total").increment(1);
                    let (Stop::Again(reason) | Stop::Unstorable(reason) | Stop::Unknown(reason)) = &stop;
                    tracing::error!(reason, "writing to the log");
                    return Err(stop);
                }
            }
        }
    }

    /// Hands the group's events to the followers, in this process and the others.
    async fn publish(&self, before: Position, recorded: Vec<Recorded>) {
        let Some(last) = recorded.last().map(|r| r.position) else { return };
        if let Err(Hole) = self.tail.extend(before, recorded) {
            // Others wrote since; what they wrote comes first, and ours is read with it.
            self.filler.fill_to(last).await;
        }
        self.announce.send_replace(last);
    }

    async fn link(&mut self) -> Result<Link, Stop> {
        if let Some(link) = self.link.take()
            && !link.client.is_closed()
        {
            return Ok(link);
        }
        let client = self.connector.client().await.map_err(Stop::Again)?;
        let statements = Statements::prepare(&client).await.map_err(|error| Stop::Again(said(&error)))?;
        Ok(Link { client, statements })
    }

    /// One try. The connection is kept only when it is known to be in order.
    async fn try_once(&mut self, jobs: &[Job], deadline: Instant) -> Result<Success, Stop> {
        let until = tokio::time::Instant::from_std(deadline);
        let late = |what: &str| format!("{what}: the limit of {} ms is over", self.limit.as_millis());
        let connecting = late("connecting");
        let deciding = late("deciding");
        let committing = late("committing");
        let link = timeout_at(until, self.link()).await.map_err(|_| Stop::Again(connecting))??;
        // Nothing was sent that could commit, so a lost connection means that nothing happened.
        let known = match timeout_at(until, look(&link, &self.connector, jobs)).await {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                self.leave(link, until, is_passing(&error)).await;
                let said = said(&error);
                return Err(if is_unstorable(&error) { Stop::Unstorable(said) } else { Stop::Again(said) });
            }
            Err(_) => return Err(Stop::Again(deciding)),
        };
        let before = known.last;
        let (plan, known) = group::decide(jobs, known);
        if plan.outcomes.iter().all(Result::is_err) {
            self.leave(link, until, true).await;
            return Ok(success(plan, before));
        }
        self.group += 1;
        let writing = link.statements.write(&link.client, &plan, &known, self.id, self.group);
        match timeout_at(until, writing).await {
            Ok(Ok(())) => {
                self.link = Some(link);
                Ok(success(plan, before))
            }
            Ok(Err((error, at_commit))) if !is_lost(&error) => {
                // COMMIT after an error is a ROLLBACK, and one that fails by itself is one too.
                self.leave(link, until, is_passing(&error)).await;
                let said = said(&error);
                let data = is_unstorable(&error) && !at_commit;
                Err(if data { Stop::Unstorable(said) } else { Stop::Again(said) })
            }
            Ok(Err((error, _))) => {
                drop(link);
                self.read_back(plan, before, deadline, said(&error)).await
            }
            Err(_) => {
                drop(link);
                self.read_back(plan, before, deadline, committing).await
            }
        }
    }

    /// Leaves the critical section with nothing done, and keeps the connection if it is of further use.
    async fn leave(&mut self, link: Link, until: tokio::time::Instant, keep: bool) {
        if keep && matches!(timeout_at(until, link.client.batch_execute("ROLLBACK")).await, Ok(Ok(()))) {
            self.link = Some(link);
        }
    }

    /// Finds out whether the group happened. It gets as long again as the group had, for not to know is worse
    /// than to wait.
    async fn read_back(
        &mut self,
        plan: Plan<'_>,
        before: Position,
        deadline: Instant,
        reason: String,
    ) -> Result<Success, Stop> {
        let until = tokio::time::Instant::from_std(deadline + self.limit);
        let mut pause = FIRST_PAUSE;
        loop {
            match timeout_at(until, self.group_is_there()).await {
                Ok(Ok(true)) => {
                    tracing::warn!(reason, "the connection broke at COMMIT, which did happen");
                    return Ok(success(plan, before));
                }
                Ok(Ok(false)) => return Err(Stop::Again(reason)),
                Ok(Err(error)) => {
                    tracing::warn!(reason, error, "reading back a commit");
                    if timeout_at(until, sleep(pause)).await.is_err() {
                        return Err(Stop::Unknown(reason));
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(_) => return Err(Stop::Unknown(reason)),
            }
        }
    }

    /// Whether the current group was committed, asked from inside the critical section, which its transaction
    /// holds until it ends.
    async fn group_is_there(&mut self) -> Result<bool, String> {
        let client = self.connector.client().await?;
        let database = |error: Error| said(&error);
        let enter = format!("BEGIN; SELECT pg_advisory_xact_lock({})", self.connector.lock_key);
        client.batch_execute(&enter).await.map_err(database)?;
        let found = client.query_opt("SELECT last_group FROM writers WHERE id = $1", &[&self.id]).await;
        let found = found.map_err(database)?.map(|row| row.get::<_, i64>(0));
        client.batch_execute("ROLLBACK").await.map_err(database)?;
        Ok(found == Some(self.group))
    }
}

/// Enters the critical section and asks all that the group needs.
async fn look(link: &Link, connector: &Connector, jobs: &[Job]) -> Result<Known, Error> {
    let wanted = group::wanted(jobs);
    let mut known = link.statements.begin(&link.client, connector.lock_key, &wanted).await?;
    let doubtful = known.doubtful(jobs);
    if !doubtful.is_empty() {
        known.copies = link.statements.copies(&link.client, &doubtful).await?.into_iter().collect();
    }
    Ok(known)
}

fn success(plan: Plan<'_>, before: Position) -> Success {
    let recorded = plan.events.into_iter().map(|EventRow { recorded, .. }| recorded).collect();
    Success { outcomes: plan.outcomes, before, recorded }
}

fn refusal(stop: &Stop) -> CommitError {
    match stop {
        Stop::Again(reason) | Stop::Unstorable(reason) => CommitError::Unavailable(reason.clone()),
        Stop::Unknown(reason) => CommitError::Unknown(reason.clone()),
    }
}

fn answer(replies: Vec<Reply>, outcomes: Vec<Result<Done, CommitError>>) {
    for (reply, outcome) in replies.into_iter().zip(outcomes) {
        // The asker may be gone; what is committed is committed.
        let _ = reply.send(outcome);
    }
}
