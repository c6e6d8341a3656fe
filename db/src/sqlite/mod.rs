//! The store of a single process: SQLite in WAL mode under the data directory.

#[doc(hidden)]
pub mod raw_limit;
mod reader;
mod rows;
mod schema;
mod statements;
mod tail;
mod writer;

use crate::sqlite::reader::Readers;
use crate::sqlite::tail::Tail;
use async_trait::async_trait;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, connection::SimpleConnection, sql_types};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use shers_contract::{IncidentId, Timestamp, envelope::StreamName};
use shers_runtime::store::{
    Commit, CommitError, Committed, Document, Position, Recorded, SavedAnswer, Store, StoreError,
};
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Limits of the store.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Commits grouped into one transaction at most.
    pub group_commits: usize,
    /// Commits that may wait for the writer; further callers wait before they are queued.
    pub queue: usize,
    /// Connections for reading.
    pub readers: usize,
    /// Recent events kept in memory for those who follow the log.
    pub tail_events: usize,
    /// Bytes of their data kept at most.
    pub tail_bytes: usize,
    /// Inbox marks are kept this long by the machine's clock.
    pub keep_inbox: Duration,
    /// Saved answers are kept at least this long.
    pub keep_answers: Duration,
}

const HOUR: Duration = Duration::from_secs(3_600);

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            group_commits: 1_000,
            queue: 8_192,
            readers: 3,
            tail_events: 16_384,
            tail_bytes: 32 << 20,
            keep_inbox: 7 * 24 * HOUR,
            keep_answers: 24 * HOUR,
        }
    }
}

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory can't be made or written.
    #[error("the data directory {path} can't be used; name a writable one with --data-dir")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process works on it.
    #[error(
        "the data directory {path} is in use by another shers process; stop that one, or name another directory with --data-dir"
    )]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// SQLite says no.
    #[error("opening the database {path}: {reason}")]
    Database {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
}

/// A job for the writer.
enum Job {
    Commit(Box<Commit>, oneshot::Sender<Result<Committed, CommitError>>),
    Prune(String, Timestamp, oneshot::Sender<Result<(u64, Position), StoreError>>),
}

/// The store. Dropping it waits until the writer has done the commits that wait and has closed its connection;
/// only after the last connection is closed may another process use the directory.
pub struct SqliteStore {
    jobs: mpsc::Sender<Job>,
    writer: Option<JoinHandle<()>>,
    readers: Readers,
    tail: Arc<Tail>,
    epoch: String,
}

/// What SQLite keeps in the directory.
const FILES: [&str; 3] = ["shers.db", "shers.db-wal", "shers.db-shm"];

/// Takes the directory for this process, as long as the file that is returned is open.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Directory { path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(unusable)?;
    let lock = File::create(directory.join("lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

impl SqliteStore {
    /// Opens (and makes, and migrates) the store in `directory`, which one process at a time may use.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(directory: &Path, options: &SqliteOptions) -> Result<Arc<Self>, OpenError> {
        let lock = lock(directory)?;
        let path = directory.join(FILES[0]);
        let failed = |reason: String| OpenError::Database { path: path.clone(), reason };
        let mut connection = connect(&path).map_err(failed)?;
        connection.run_pending_migrations(MIGRATIONS).map_err(|error| failed(error.to_string()))?;
        let epoch = epoch(&mut connection).map_err(|error| failed(error.to_string()))?;
        let last = rows::last_position(&mut connection).map_err(|error| failed(error.to_string()))?;
        let tail = Arc::new(Tail::new(last, options.tail_events, options.tail_bytes));
        let (jobs, queue) = mpsc::channel(options.queue);
        let writer = writer::Writer::new(connection, Arc::clone(&tail), last, options);
        let thread = std::thread::Builder::new().name("shers-log".to_owned());
        let writer = thread.spawn(move || writer.run_for_ever(queue)).map_err(|error| failed(error.to_string()))?;
        let readers = Readers::new(path.clone(), options.readers, lock).map_err(failed)?;
        Ok(Arc::new(Self { jobs, writer: Some(writer), readers, tail, epoch }))
    }

    /// Removes the log in `directory` for good, if there is one and no process works on it. No connection is
    /// opened for it: SQLite removes its side files by name when it closes one, also those of a newer database.
    ///
    /// # Errors
    /// The directory is in use or can't be written.
    pub fn remove(directory: &Path) -> Result<(), OpenError> {
        let _lock = lock(directory)?;
        for file in FILES {
            match std::fs::remove_file(directory.join(file)) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(OpenError::Directory { path: directory.to_owned(), source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Job) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(make(reply)).await.ok()?;
        answer.await.ok()
    }

    /// The value of `PRAGMA synchronous` on every reading connection and on a new one (2 is FULL).
    ///
    /// # Errors
    /// A connection can't be asked.
    pub async fn synchronous_of_all_connections(&self) -> Result<Vec<i32>, StoreError> {
        self.readers.synchronous().await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel(1);
        // With the last sender gone, the writer ends after what waits.
        drop(std::mem::replace(&mut self.jobs, closed));
        if let Some(writer) = self.writer.take() {
            // It catches its own panics.
            let _ = writer.join();
        }
    }
}

/// Opens one connection with the settings that durability rests on.
fn connect(path: &Path) -> Result<SqliteConnection, String> {
    let mut connection = SqliteConnection::establish(&path.to_string_lossy()).map_err(|error| error.to_string())?;
    connection
        .batch_execute(
            "PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; \
             PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-16000; PRAGMA mmap_size=268435456;",
        )
        .map_err(|error| error.to_string())?;
    Ok(connection)
}

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = sql_types::Text)]
    value: String,
}

/// The identity of this log, made with it.
fn epoch(connection: &mut SqliteConnection) -> diesel::QueryResult<String> {
    diesel::sql_query("INSERT OR IGNORE INTO meta (name, value) VALUES ('epoch', lower(hex(randomblob(8))))")
        .execute(connection)?;
    let found: Value = diesel::sql_query("SELECT value FROM meta WHERE name = 'epoch'").get_result(connection)?;
    Ok(found.value)
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the log was closed".to_owned();
        let sent = self.jobs.send(Job::Commit(Box::new(commit), reply)).await;
        sent.map_err(|_| CommitError::Unavailable(gone()))?;
        answer.await.unwrap_or_else(|_| Err(CommitError::Unknown(gone())))
    }
    async fn read_stream(&self, stream: &StreamName, after_version: u64) -> Result<Vec<Recorded>, StoreError> {
        let stream = stream.clone();
        self.readers.run(move |c| rows::read_stream(c, &stream, after_version)).await
    }
    async fn read_open(&self, category: &str) -> Result<Vec<Recorded>, StoreError> {
        let category = category.to_owned();
        self.readers.run(move |c| rows::read_open(c, &category)).await
    }
    async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        if let Some(recent) = self.tail.after(after, limit) {
            return Ok(recent);
        }
        self.readers.run(move |c| rows::read_after(c, after, limit)).await
    }
    async fn read_back(&self, category: &str, before: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let category = category.to_owned();
        self.readers.run(move |c| rows::read_back(c, &category, before, limit)).await
    }
    async fn read_incident(
        &self,
        incident: &IncidentId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError> {
        let incident = incident.clone();
        self.readers.run(move |c| rows::read_incident(c, &incident, after, limit)).await
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.tail.head()
    }
    fn epoch(&self) -> String {
        self.epoch.clone()
    }
    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        let name = name.to_owned();
        self.readers.run(move |c| rows::cursor(c, &name)).await
    }
    async fn answer(&self, key: &str) -> Result<Option<SavedAnswer>, StoreError> {
        let key = key.to_owned();
        self.readers.run(move |c| rows::answer(c, &key)).await
    }
    async fn document(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let (collection, id) = (collection.to_owned(), id.to_owned());
        self.readers.run(move |c| rows::document(c, &collection, &id)).await
    }
    async fn documents(
        &self,
        collection: &str,
        tags: &[String],
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let (collection, tags) = (collection.to_owned(), tags.to_vec());
        self.readers.run(move |c| rows::documents(c, &collection, &tags, after, limit)).await
    }
    async fn prune(&self, category: &str, before: Timestamp) -> Result<(u64, Position), StoreError> {
        let answer = self.ask(|reply| Job::Prune(category.to_owned(), before, reply)).await;
        answer.unwrap_or_else(|| Err(StoreError("the log was closed".to_owned())))
    }
}
