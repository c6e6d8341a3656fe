//! Connections for reading, used on blocking threads.

use super::connect;
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection, sql_types};
use shers_runtime::store::StoreError;
use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Semaphore;

pub(super) struct Readers {
    free: Arc<Free>,
    permits: Arc<Semaphore>,
    path: PathBuf,
}

/// A query may outlive the store, and with it its connection: the directory's lock goes after the last one.
struct Free {
    connections: Mutex<Vec<SqliteConnection>>,
    _lock: File,
}

impl Free {
    fn connections(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(QueryableByName)]
struct Synchronous {
    #[diesel(sql_type = sql_types::Integer)]
    synchronous: i32,
}

impl Readers {
    pub(super) fn new(path: PathBuf, count: usize, lock: File) -> Result<Self, String> {
        let connections = (0..count.max(1)).map(|_| connect(&path)).collect::<Result<Vec<_>, _>>()?;
        let permits = Arc::new(Semaphore::new(connections.len()));
        let free = Free { connections: Mutex::new(connections), _lock: lock };
        Ok(Self { free: Arc::new(free), permits, path })
    }

    /// Runs `query` on a free connection.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let _permit = permit.map_err(|error| StoreError(error.to_string()))?;
        let free = Arc::clone(&self.free);
        let path = self.path.clone();
        let running = tokio::task::spawn_blocking(move || {
            let taken = free.connections().pop();
            // A panic in a query loses its connection; the next one opens another.
            let mut connection = match taken {
                Some(connection) => connection,
                None => connect(&path).map_err(StoreError)?,
            };
            let result = query(&mut connection);
            free.connections().push(connection);
            result
        });
        running.await.map_err(|error| StoreError(error.to_string()))?
    }

    pub(super) async fn synchronous(&self) -> Result<Vec<i32>, StoreError> {
        let (free, path) = (Arc::clone(&self.free), self.path.clone());
        self.run(move |mine| {
            let ask = |connection: &mut SqliteConnection| {
                diesel::sql_query("PRAGMA synchronous")
                    .get_result::<Synchronous>(connection)
                    .map(|row| row.synchronous)
                    .map_err(|error| StoreError(error.to_string()))
            };
            let mut all = vec![ask(mine)?, ask(&mut connect(&path).map_err(StoreError)?)?];
            for connection in free.connections().iter_mut() {
                all.push(ask(connection)?);
            }
            Ok(all)
        })
        .await
    }
}
