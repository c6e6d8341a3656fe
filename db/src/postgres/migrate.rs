//! Migrations: additive, so that older processes go on working on a schema that a newer one has migrated.

use super::connect::{Connector, said};
use super::options::{PostgresError, PostgresOptions};
use diesel::{migration::MigrationSource, pg::Pg};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection, async_connection_wrapper::AsyncConnectionWrapper};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::{collections::BTreeSet, time::Duration};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// A migrator waits this long for another one, and a migration this long for the locks of those who work.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes and migrates the schema; returns the names of the migrations that were run. Several migrators at once
/// take turns; processes that work on the schema meanwhile go on.
///
/// # Errors
/// See [`PostgresError`].
pub async fn migrate(options: &PostgresOptions) -> Result<Vec<String>, PostgresError> {
    let connector = Connector::new(options)?;
    let mut connection = connector.diesel().await.map_err(|error| PostgresError::Database(error.to_string()))?;
    let failed = |error: diesel::result::Error| PostgresError::Database(error.to_string());
    let lock = format!(
        "SET lock_timeout TO {}; SET statement_timeout TO 0; SELECT pg_advisory_lock({})",
        LOCK_TIMEOUT.as_millis(),
        connector.migration_key(),
    );
    connection.batch_execute(&lock).await.map_err(failed)?;
    // A role without the right to create schemas may find its own made for it.
    let create = format!(
        "DO $$ BEGIN IF to_regnamespace('{schema}') IS NULL THEN CREATE SCHEMA {schema}; END IF; END $$",
        schema = connector.schema,
    );
    connection.batch_execute(&create).await.map_err(failed)?;
    let mut harness = AsyncConnectionWrapper::<AsyncPgConnection>::from(connection);
    // The lock goes with the connection.
    let run = tokio::task::spawn_blocking(move || {
        let run = harness.run_pending_migrations(MIGRATIONS).map_err(|error| error.to_string());
        run.map(|versions| versions.iter().map(ToString::to_string).collect())
    });
    run.await.map_err(|error| PostgresError::Database(error.to_string()))?.map_err(PostgresError::Database)
}

/// Refuses a schema that lacks a migration of this program. More than it knows are fine.
pub(super) async fn check(connector: &Connector) -> Result<(), PostgresError> {
    let client = connector.client().await.map_err(PostgresError::Database)?;
    let database = |error: tokio_postgres::Error| PostgresError::Database(said(&error));
    let table = format!("{}.__diesel_schema_migrations", connector.schema);
    let exists = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await.map_err(database)?;
    let mut run = BTreeSet::new();
    if exists.get(0) {
        let rows = client.query("SELECT version FROM __diesel_schema_migrations", &[]).await.map_err(database)?;
        run.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    let wanted = MigrationSource::<Pg>::migrations(&MIGRATIONS);
    let wanted = wanted.map_err(|error| PostgresError::Database(error.to_string()))?;
    let missing: Vec<String> = wanted
        .iter()
        .filter(|migration| !run.contains(&migration.name().version().to_string()))
        .map(|migration| migration.name().to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(PostgresError::NotMigrated { schema: connector.schema.clone(), missing: missing.join(", ") })
}
