//! Connections for reading: so many at most, opened when needed, mended when broken, every wait limited.

use super::connect::Connector;
use super::options::PostgresOptions;
use deadpool_types::{Pool, PoolError};
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::{
    AsyncPgConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod},
};
use futures::{FutureExt, future::BoxFuture};
use shers_runtime::store::StoreError;
use std::time::Duration;
use tokio::{runtime::Handle, time::timeout};

mod deadpool_types {
    pub(super) type Pool = diesel_async::pooled_connection::deadpool::Pool<diesel_async::AsyncPgConnection>;
    pub(super) type PoolError = diesel_async::pooled_connection::deadpool::PoolError;
}

/// Tries of a query whose connection turned out to be broken: as many as the pool may hold, and one more.
const BROKEN_TRIES_BEYOND_THE_POOL: usize = 1;

pub(super) struct Readers {
    pool: Pool,
    limit: Duration,
    tries: usize,
}

impl Readers {
    /// A pool whose connections are driven by `runtime`, whoever asks for them.
    pub(super) fn new(connector: Connector, options: &PostgresOptions, runtime: Handle) -> Result<Self, String> {
        let mut config = ManagerConfig::default();
        // Whether a connection still works shows in its use: reading twice harms nobody.
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(move |_| {
            let connector = connector.clone();
            let opening = runtime.spawn(async move { connector.diesel().await });
            async move {
                let opened = opening.await;
                opened.map_err(|error| diesel::ConnectionError::BadConnection(error.to_string()))?
            }
            .boxed()
        });
        // The URL is in the connector.
        let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config("", config);
        let pool = Pool::builder(manager)
            .max_size(options.readers.max(1))
            .wait_timeout(Some(options.acquire_timeout))
            .create_timeout(Some(options.connect_timeout * 2))
            .recycle_timeout(Some(options.connect_timeout))
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        let tries = options.readers + BROKEN_TRIES_BEYOND_THE_POOL;
        // The server ends a statement at its limit; a server that is gone can't.
        Ok(Self { pool, limit: options.statement_timeout + options.connect_timeout, tries })
    }

    /// Runs `query`, which only reads or may safely run twice, on a free connection.
    pub(super) async fn run<T, Q>(&self, query: Q) -> Result<T, StoreError>
    where
        Q: for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T, ReadError>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut connection = self.pool.get().await.map_err(|error| StoreError(no_connection(&error)))?;
            match timeout(self.limit, query(&mut connection)).await {
                Ok(Ok(read)) => return Ok(read),
                Ok(Err(ReadError::Database(error))) if is_broken(&error) && tries < self.tries => {
                    drop(diesel_async::pooled_connection::deadpool::Object::take(connection));
                }
                Ok(Err(error)) => {
                    if matches!(&error, ReadError::Database(error) if is_broken(error)) {
                        drop(diesel_async::pooled_connection::deadpool::Object::take(connection));
                    }
                    return Err(StoreError(error.to_string()));
                }
                Err(_) => {
                    drop(diesel_async::pooled_connection::deadpool::Object::take(connection));
                    return Err(StoreError(format!("no answer within {} ms", self.limit.as_millis())));
                }
            }
        }
    }

    /// Connections that are open, and those of them that are free.
    pub(super) fn status(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size, status.available)
    }
}

fn no_connection(error: &PoolError) -> String {
    format!("no connection to the database: {error}")
}

/// Why a query gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Database(#[from] Error),
    #[error("{0}")]
    Row(String),
}

/// Whether the connection, not the query, is what failed: it broke, or the server is closing.
fn is_broken(error: &Error) -> bool {
    match error {
        Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection, _) => true,
        Error::DatabaseError(DatabaseErrorKind::Unknown, info) => info.message().starts_with("terminating connection"),
        _ => false,
    }
}
