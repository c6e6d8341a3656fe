//! A schema for each test on the server that the tests are given.

use shers_db::{PostgresOptions, PostgresStore, postgres};
use std::{io::Write, sync::Arc, time::Duration};
use tokio_postgres::{Client, NoTls};

/// The database that the tests may use.
pub fn database_url() -> Option<String> {
    std::env::var("SHERS_TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())
}

/// Says that a test was left out, in the words that `scripts/test` shows.
pub fn left_out(what: &str) {
    // Past the capture of the test harness, which would keep it to itself.
    let said = writeln!(
        std::io::stdout(),
        "left out: {what} on PostgreSQL: SHERS_TEST_DATABASE_URL is not set; scripts/test cluster sets it"
    );
    said.expect("said");
}

/// A schema of its own, dropped with its test.
pub struct Schema {
    pub options: PostgresOptions,
}

impl Schema {
    /// A migrated one.
    pub async fn create(url: &str) -> Self {
        let schema = Self::unmigrated(url).await;
        postgres::migrate(&schema.options).await.expect("migrated");
        schema
    }

    /// A name that nothing has yet.
    pub async fn unmigrated(url: &str) -> Self {
        let client = connect(url).await;
        let row = client.query_one("SELECT 'shers_test_' || left(replace(gen_random_uuid()::text, '-', ''), 20)", &[]);
        let name: String = row.await.expect("a name").get(0);
        Self { options: PostgresOptions::new(url, name) }
    }

    pub async fn open(&self) -> Arc<PostgresStore> {
        PostgresStore::open(&self.options).await.expect("opened")
    }

    /// A store with other settings on the same schema, as of another process.
    pub async fn open_with(&self, change: impl FnOnce(&mut PostgresOptions)) -> Arc<PostgresStore> {
        let mut options = self.options.clone();
        change(&mut options);
        PostgresStore::open(&options).await.expect("opened")
    }

    /// A connection beside the store, in its schema.
    pub async fn client(&self) -> Client {
        let client = connect(&self.options.url).await;
        client.batch_execute(&format!("SET search_path TO {}", self.options.schema)).await.expect("set");
        client
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (url, name) = (self.options.url.clone(), self.options.schema.clone());
        // Dropping happens inside a test's runtime, where nothing may block on another future.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = connect(&url).await;
                let gone = client.batch_execute(&format!("DROP SCHEMA IF EXISTS {name} CASCADE")).await;
                gone.expect("the schema of the test is dropped");
            });
        });
        let dropped = dropping.join();
        assert!(dropped.is_ok() || std::thread::panicking(), "the schema of the test could not be dropped");
    }
}

/// A plain connection.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connected");
    tokio::spawn(async move {
        // Ends with its client, or with the server that the test stops.
        let _ = connection.await;
    });
    client
}

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the query gives true.
pub async fn until(client: &Client, query: &str) {
    let waiting = async {
        while !client.query_one(query, &[]).await.expect("asked").get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never true: {query}"));
}

/// A switch in the database: commits of events whose body holds `held` stop at their end, inside their
/// transaction, for as long as the switch is held.
pub struct Brake {
    client: Client,
    key: i32,
}

impl Brake {
    /// Puts the brake into a schema, and holds it.
    pub async fn hold(schema: &Schema) -> Self {
        let client = schema.client().await;
        let key: i32 = client.query_one("SELECT hashtext(current_schema())", &[]).await.expect("a key").get(0);
        client
            .batch_execute(&format!(
                "CREATE FUNCTION wait_for_the_brake() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF NEW.data LIKE '%held%' THEN PERFORM pg_advisory_xact_lock_shared(77, {key}); END IF; \
                 RETURN NULL; END $$; \
                 CREATE CONSTRAINT TRIGGER brake AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW EXECUTE FUNCTION wait_for_the_brake(); SELECT pg_advisory_lock(77, {key})"
            ))
            .await
            .expect("a brake");
        Self { client, key }
    }

    /// Waits until a commit stands at the brake; gives the backend that does.
    pub async fn caught(&self) -> i32 {
        let waiting = format!(
            "FROM pg_locks WHERE locktype = 'advisory' AND classid = 77 AND objid = ({}::bigint & 4294967295)::oid \
             AND NOT granted",
            self.key
        );
        until(&self.client, &format!("SELECT EXISTS (SELECT {waiting})")).await;
        self.client.query_one(&format!("SELECT pid {waiting}"), &[]).await.expect("a backend").get(0)
    }

    /// Waits until this many transactions wait to enter the critical section of the schema's log.
    pub async fn queue_outside(&self, count: i64) {
        let sql = format!(
            "SELECT count(*) >= {count} FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' \
             AND l.classid <> 77 AND NOT l.granted AND a.application_name = current_schema()"
        );
        until(&self.client, &sql).await;
    }

    /// Lets go.
    pub async fn release(&self) {
        let sql = format!("SELECT pg_advisory_unlock(77, {})", self.key);
        self.client.batch_execute(&sql).await.expect("released");
    }

    /// The connection beside the store.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
