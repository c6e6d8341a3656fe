//! The store of many processes: PostgreSQL, one schema for each service.
//!
//! Invariants of this module:
//! - Positions are handed out inside a critical section, an advisory lock of the schema that the transaction
//!   holds from its first look until it has committed. So positions become visible in their order, and a reader
//!   never skips a late commit.
//! - One writer for each process groups commits; each of a group stands or falls alone.
//! - A commit that was answered is on disk: no connection runs with `synchronous_commit=off`.
//! - Every wait has a limit: connecting, a free connection, a statement, a lock, a commit.

mod connect;
mod follow;
mod group;
mod migrate;
mod options;
mod pool;
mod prune;
mod rows;
mod schema;
mod statements;
mod tail;
mod tls;
mod writer;

use async_trait::async_trait;
use connect::{Connector, said};
use futures::FutureExt;
use group::{Done, Job};
use pool::Readers;
use shers_contract::{Envelope, IncidentId, Timestamp, envelope::StreamName};
use shers_runtime::{
    mirror::{Mirror, PartitionView, Partitioned},
    store::{Commit, CommitError, Committed, Document, Position, Recorded, SavedAnswer, Store, StoreError},
};
use std::{sync::Arc, time::Instant};
use tail::Tail;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use writer::Queued;

pub use migrate::migrate;
pub use options::{PostgresError, PostgresOptions};

/// The store. Dropping it ends the writer after the commits that wait.
pub struct PostgresStore {
    jobs: mpsc::Sender<Queued>,
    readers: Arc<Readers>,
    tail: Arc<Tail>,
    epoch: String,
    options: PostgresOptions,
}

/// What is learnt while opening.
struct Opening {
    epoch: String,
    last: Position,
    writer: uuid::Uuid,
}

impl PostgresStore {
    /// Opens the store in a schema that [`migrate()`] has made. It works on a thread of its own, so it goes on
    /// whoever of its callers ends.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn open(options: &PostgresOptions) -> Result<Arc<Self>, PostgresError> {
        let connector = Connector::new(options)?;
        migrate::check(&connector).await?;
        let opening = look(&connector).await?;
        let tail = Arc::new(Tail::new(opening.last, options.tail_events, options.tail_bytes));
        let (jobs, queue) = mpsc::channel(options.queue.max(1));
        let (announce, announced) = watch::channel(opening.last);
        let (running, runtime) = oneshot::channel();
        let (work, work_of) = oneshot::channel::<Work>();
        let thread = std::thread::Builder::new().name("shers-log".to_owned());
        let spawned = thread.spawn(move || run(running, work_of));
        spawned.map_err(|error| PostgresError::Database(error.to_string()))?;
        let runtime = runtime.await.map_err(|error| PostgresError::Database(error.to_string()))?;
        let runtime = runtime.map_err(PostgresError::Database)?;
        let readers = Readers::new(connector.clone(), options, runtime).map_err(PostgresError::Database)?;
        let readers = Arc::new(readers);
        let filler = Arc::new(follow::Filler::new(Arc::clone(&readers), Arc::clone(&tail), options));
        let writer = writer::Writer::new(
            connector.clone(),
            options,
            Arc::clone(&tail),
            Arc::clone(&filler),
            announce,
            opening.writer,
        );
        let following = follow::follow(connector, filler, announced, options.poll).boxed();
        let work_to_do = Work { writing: writer.run(queue).boxed(), following };
        work.send(work_to_do).map_err(|_| PostgresError::Database("the log's thread ended".to_owned()))?;
        Ok(Arc::new(Self { jobs, readers, tail, epoch: opening.epoch, options: options.clone() }))
    }

    /// Whether the database answers, for readiness.
    ///
    /// # Errors
    /// What it said, or that it said nothing within the limits.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.readers.run(|c| rows::last_position(c).boxed()).await.map(|_| ())
    }

    /// Connections for reading that are open, and those of them that are free.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        self.readers.status()
    }

    async fn ask(&self, job: Job) -> Result<Done, CommitError> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the log was closed".to_owned();
        let since = Instant::now();
        let sent = timeout(self.options.commit_timeout, self.jobs.send(Queued { job, reply, since })).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(CommitError::Unavailable(gone())),
            Err(_) => return Err(CommitError::Unavailable("too many commits wait".to_owned())),
        }
        answer.await.unwrap_or_else(|_| Err(CommitError::Unknown(gone())))
    }

    async fn after(&self, of: Option<u16>, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        if let Some(recent) = self.tail.after(of, after, limit) {
            return Ok(recent);
        }
        let seen = self.tail.last();
        let read = self.readers.run(move |c| rows::read_after(c, of, after, limit).boxed()).await?;
        if let Some(of) = of
            && read.len() < limit
        {
            self.tail.learn(of, after, &read, seen);
        }
        Ok(read)
    }
}

/// The tasks of the store's own thread.
struct Work {
    writing: futures::future::BoxFuture<'static, ()>,
    following: futures::future::BoxFuture<'static, ()>,
}

/// The store's own thread: connections live here, so they outlive whoever asked for them.
fn run(running: oneshot::Sender<Result<Handle, String>>, work: oneshot::Receiver<Work>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever opens has the reason, or is gone.
            let _ = running.send(Err(error.to_string()));
            return;
        }
    };
    if running.send(Ok(runtime.handle().clone())).is_err() {
        return;
    }
    runtime.block_on(async {
        let Ok(work) = work.await else { return };
        let following = tokio::spawn(work.following);
        work.writing.await;
        following.abort();
    });
}

/// Learns the state of the log.
async fn look(connector: &Connector) -> Result<Opening, PostgresError> {
    let client = connector.client().await.map_err(PostgresError::Database)?;
    let sql = "SELECT (SELECT value FROM meta WHERE name = 'epoch'), \
               coalesce((SELECT max(position) FROM events), 0), gen_random_uuid()";
    let row = client.query_one(sql, &[]).await;
    let row = row.map_err(|error| PostgresError::Database(said(&error)))?;
    let epoch: Option<String> = row.get(0);
    let epoch = epoch.ok_or_else(|| PostgresError::Database(format!("schema {} has no epoch", connector.schema)))?;
    Ok(Opening { epoch, last: rows::unsigned(row.get(1)), writer: row.get(2) })
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        match self.ask(Job::Commit(Box::new(commit))).await? {
            Done::Committed(committed) => Ok(committed),
            Done::Imported(_) => Err(CommitError::Unknown("the log answered something else".to_owned())),
        }
    }
    async fn read_stream(&self, stream: &StreamName, after_version: u64) -> Result<Vec<Recorded>, StoreError> {
        let stream = stream.clone();
        self.readers
            .run(move |c| {
                let stream = stream.clone();
                async move { rows::read_stream(c, &stream, after_version).await }.boxed()
            })
            .await
    }
    async fn read_open(&self, category: &str) -> Result<Vec<Recorded>, StoreError> {
        self.open_events(None, category).await
    }
    async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.after(None, after, limit).await
    }
    async fn read_back(&self, category: &str, before: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.back(None, category, before, limit).await
    }
    async fn read_incident(
        &self,
        incident: &IncidentId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        let incident = incident.clone();
        self.readers
            .run(move |c| {
                let incident = incident.clone();
                async move { rows::read_incident(c, &incident, after, limit).await }.boxed()
            })
            .await
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.tail.head()
    }
    fn epoch(&self) -> String {
        self.epoch.clone()
    }
    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        let name = name.to_owned();
        self.readers
            .run(move |c| {
                let name = name.clone();
                async move { rows::cursor(c, &name).await }.boxed()
            })
            .await
    }
    async fn answer(&self, key: &str) -> Result<Option<SavedAnswer>, StoreError> {
        let key = key.to_owned();
        self.readers
            .run(move |c| {
                let key = key.clone();
                async move { rows::answer(c, &key).await }.boxed()
            })
            .await
    }
    async fn document(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let (collection, id) = (collection.to_owned(), id.to_owned());
        self.readers
            .run(move |c| {
                let (collection, id) = (collection.clone(), id.clone());
                async move { rows::document(c, &collection, &id).await }.boxed()
            })
            .await
    }
    async fn documents(
        &self,
        collection: &str,
        tags: &[String],
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let (collection, tags) = (collection.to_owned(), tags.to_vec());
        self.readers
            .run(move |c| {
                let (collection, tags, after) = (collection.clone(), tags.clone(), after.clone());
                async move { rows::documents(c, &collection, &tags, after.as_ref(), limit).await }.boxed()
            })
            .await
    }
    async fn prune(&self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError> {
        prune::prune(&self.readers, &self.options, category, before).await
    }
}

impl PostgresStore {
    async fn open_events(&self, partition: Option<u16>, category: &str) -> Result<Vec<Recorded>, StoreError> {
        let category = category.to_owned();
        self.readers
            .run(move |c| {
                let category = category.clone();
                async move { rows::read_open(c, &category, partition).await }.boxed()
            })
            .await
    }

    async fn back(
        &self,
        partition: Option<u16>,
        category: &str,
        before: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        let category = category.to_owned();
        self.readers
            .run(move |c| {
                let category = category.clone();
                async move { rows::read_back(c, partition, &category, before, limit).await }.boxed()
            })
            .await
    }
}

#[async_trait]
impl Partitioned for PostgresStore {
    async fn read_after_of(&self, partition: u16, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.after(Some(partition), after, limit).await
    }
    async fn read_open_of(&self, partition: u16, category: &str) -> Result<Vec<Recorded>, StoreError> {
        self.open_events(Some(partition), category).await
    }
    async fn read_back_of(
        &self,
        partition: u16,
        category: &str,
        before: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        self.back(Some(partition), category, before, limit).await
    }
}

#[async_trait]
impl Mirror for PostgresStore {
    async fn import(&self, messages: Vec<Arc<Envelope>>) -> Result<usize, CommitError> {
        if messages.is_empty() {
            return Ok(0);
        }
        match self.ask(Job::Import(messages)).await? {
            Done::Imported(count) => Ok(count),
            Done::Committed(_) => Err(CommitError::Unknown("the log answered something else".to_owned())),
        }
    }
    async fn read_own_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.readers.run(move |c| rows::read_own_after(c, after, limit).boxed()).await
    }
    fn of_partition(self: Arc<Self>, partition: u16) -> Arc<dyn Store> {
        Arc::new(PartitionView::new(self, partition))
    }
    fn whole(self: Arc<Self>) -> Arc<dyn Store> {
        self
    }
}
