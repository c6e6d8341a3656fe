//! Connections for reading, used on blocking threads.

use super::connect;
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection, sql_types};
use shers_runtime::store::StoreError;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

pub(super) struct Readers {
    free: Arc<Mutex<Vec<SqliteConnection>>>,
    permits: Arc<Semaphore>,
    path: PathBuf,
}

#[derive(QueryableByName)]
struct Synchronous {
    #[diesel(sql_type = sql_types::Integer)]
    synchronous: i32,
}

impl Readers {
    pub(super) fn new(path: PathBuf, count: usize) -> Result<Self, String> {
        let connections = (0..count.max(1)).map(|_| connect(&path)).collect::<Result<Vec<_>, _>>()?;
        let permits = Arc::new(Semaphore::new(connections.len()));
        Ok(Self { free: Arc::new(Mutex::new(connections)), permits, path })
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
            let taken = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            // A panic in a query loses its connection; the next one opens another.
            let mut connection = match taken {
                Some(connection) => connection,
                None => connect(&path).map_err(StoreError)?,
            };
            let result = query(&mut connection);
            free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
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
            for connection in free.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                all.push(ask(connection)?);
            }
            Ok(all)
        })
        .await
    }
}
