//! What the store is told, and why it may refuse.

use std::{fmt, path::PathBuf, time::Duration};

/// Where the database is, and the limits of the store.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`. `sslmode` means what it means to libpq:
    /// `disable`, `prefer` (the default), `require`, `verify-ca` or `verify-full`.
    pub url: String,
    /// Certificates (PEM, any number) that a server's may be signed by; `sslrootcert` of the URL when `None`.
    pub ca_file: Option<PathBuf>,
    /// The service's schema.
    pub schema: String,
    /// Connections for reading at most. Two more are held: one writes, one listens.
    pub readers: usize,
    /// Commits grouped into one transaction at most.
    pub group_commits: usize,
    /// Bytes of event data and documents in one transaction, beyond which no further commit joins it.
    pub group_bytes: usize,
    /// Commits that may wait for the writer; further callers wait before they are queued.
    pub queue: usize,
    /// Recent events kept in memory for those who follow the log.
    pub tail_events: usize,
    /// Bytes of their data kept at most.
    pub tail_bytes: usize,
    /// To open one connection.
    pub connect_timeout: Duration,
    /// To wait for a free connection for reading.
    pub acquire_timeout: Duration,
    /// For one statement.
    pub statement_timeout: Duration,
    /// To wait for a lock, the critical section of another process included.
    pub lock_timeout: Duration,
    /// How long the server lets a transaction wait for the process that began it. A process that stops inside
    /// the critical section keeps the others out for no longer than this.
    pub idle_timeout: Duration,
    /// From queueing a commit to giving up on it, tries after a lost connection included.
    pub commit_timeout: Duration,
    /// The log is asked for what others wrote this often, when no notification comes.
    pub poll: Duration,
    /// Inbox marks are kept this long by the server's clock.
    pub keep_inbox: Duration,
    /// Saved answers are kept at least this long.
    pub keep_answers: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

impl PostgresOptions {
    /// The usual limits.
    #[must_use]
    pub fn new(url: impl Into<String>, schema: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca_file: None,
            schema: schema.into(),
            readers: 6,
            group_commits: 1_000,
            group_bytes: 8 << 20,
            queue: 8_192,
            tail_events: 16_384,
            tail_bytes: 32 << 20,
            connect_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: MINUTE / 2,
            lock_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(3),
            commit_timeout: MINUTE / 4,
            poll: Duration::from_millis(500),
            keep_inbox: 7 * 24 * HOUR,
            keep_answers: 24 * HOUR,
        }
    }
}

/// The URL holds a password, so it is not shown.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("schema", &self.schema)
            .field("ca_file", &self.ca_file)
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}

/// Why the store can't be opened or migrated.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL is no URL of a database.
    #[error("the database URL {0}; wanted is postgres://user:password@host:port/database?sslmode=verify-full")]
    Url(String),
    /// The schema's name is none.
    #[error("{0:?} is no name for a schema: a to z, 0 to 9 and _, beginning with a letter, at most 48 characters")]
    Schema(String),
    /// The certificates can't be used.
    #[error("the certificates of {path}: {reason}")]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another version of the program made the schema, or nobody did.
    #[error("schema {schema} is not migrated (missing: {missing}); run `shers migrate` with a role that owns it")]
    NotMigrated {
        /// Which.
        schema: String,
        /// What was not run on it.
        missing: String,
    },
    /// The database can't be reached, or says no.
    #[error("the database: {0}")]
    Database(String),
}
