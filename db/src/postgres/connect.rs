//! Connections: how they are opened, and the settings that every one of them has.

use super::options::{PostgresError, PostgresOptions};
use super::tls::{self, Check};
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use std::{error::Error as _, path::PathBuf, time::Duration};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::{SslMode, TargetSessionAttrs},
    error::SqlState,
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// The longest name of a schema; what is made of it must fit into an identifier of PostgreSQL.
const MAX_SCHEMA: usize = 48;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    session: String,
    limit: Duration,
    pub(super) schema: String,
    /// Key of the advisory lock that is the critical section of this schema's log.
    pub(super) lock_key: i64,
}

/// What PostgreSQL said, without the details, which may hold data.
pub(super) fn said(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// FNV-1a, so that every version and every process takes the same lock.
fn lock_key(purpose: &str, schema: &str) -> i64 {
    let bytes = purpose.bytes().chain([0]).chain(schema.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    hash.cast_signed()
}

/// The URL without what tokio-postgres does not know, `sslmode` and the file of certificates.
fn split_url(url: &str) -> Result<(String, String, Option<PathBuf>), PostgresError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(PostgresError::Url("does not begin with postgres://".to_owned()));
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots, mut kept) = ("prefer".to_owned(), None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = value.to_owned(),
            Some(("sslrootcert", value)) => roots = Some(PathBuf::from(value.replace("%2F", "/"))),
            _ => kept.push(pair),
        }
    }
    let kept = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    Ok((kept, mode, roots))
}

fn schema_is_a_name(schema: &str) -> bool {
    let first = schema.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let rest = schema.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    first && rest && schema.len() <= MAX_SCHEMA
}

impl Connector {
    /// Reads the options; opens nothing.
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, PostgresError> {
        if !schema_is_a_name(&options.schema) {
            return Err(PostgresError::Schema(options.schema.clone()));
        }
        let (url, mode, roots) = split_url(&options.url)?;
        let ca_file = options.ca_file.clone().or(roots);
        let (ssl, check) = match (mode.as_str(), &ca_file) {
            ("disable", _) => (SslMode::Disable, Check::Nothing),
            ("prefer", _) => (SslMode::Prefer, Check::Nothing),
            ("require", None) => (SslMode::Require, Check::Nothing),
            ("require", Some(_)) | ("verify-ca", _) => (SslMode::Require, Check::Signer),
            ("verify-full", _) => (SslMode::Require, Check::SignerAndName),
            _ => {
                let known = "disable, prefer, require, verify-ca and verify-full";
                return Err(PostgresError::Url(format!("has an sslmode that is none of {known}")));
            }
        };
        let tls = MakeRustlsConnect::new(tls::client_config(check, ca_file.as_deref())?);
        // The parser names what is wrong, not the value.
        let mut config: Config =
            url.parse().map_err(|error| PostgresError::Url(format!("can't be read: {}", said(&error))))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(PostgresError::Url("names no host".to_owned()));
        }
        if config.get_application_name().is_none() {
            config.application_name(&options.schema);
        }
        config.ssl_mode(ssl).connect_timeout(options.connect_timeout);
        // Of several hosts the one that takes writes, and never a server that has become a replica.
        if config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        // A peer that vanished is noticed by these, whichever side waits.
        config.tcp_user_timeout(options.statement_timeout).keepalives_idle(Duration::from_secs(15));
        config.keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
        let session = format!(
            "SET search_path TO \"{}\"; SET statement_timeout TO {}; SET lock_timeout TO {}; \
             SET idle_in_transaction_session_timeout TO {}; SET default_transaction_isolation TO 'read committed'; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
            options.schema,
            options.statement_timeout.as_millis(),
            options.lock_timeout.as_millis(),
            options.idle_timeout.as_millis(),
        );
        let lock_key = lock_key("shers log", &options.schema);
        // TCP, TLS and the session's settings, each of which may wait for a round trip.
        let limit = options.connect_timeout * 2;
        Ok(Self { config, tls, session, limit, schema: options.schema.clone(), lock_key })
    }

    /// Key of the lock that migrators of this schema take.
    pub(super) fn migration_key(&self) -> i64 {
        lock_key("shers migrate", &self.schema)
    }

    async fn open(&self) -> Result<(Client, Connection<Socket, Stream>), tokio_postgres::Error> {
        let first = self.config.connect(self.tls.clone()).await;
        let Err(error) = &first else { return first };
        // `prefer` goes on without TLS when the server turns TLS down, be it by its list of who may connect.
        let refused = error.code().is_some_and(|code| *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
            || (error.code().is_none() && error.to_string().contains("TLS"));
        if self.config.get_ssl_mode() != SslMode::Prefer || !refused {
            return first;
        }
        let mut plain = self.config.clone();
        plain.ssl_mode(SslMode::Disable);
        plain.connect(self.tls.clone()).await
    }

    /// A connection with nothing set, and what drives it.
    pub(super) async fn raw(&self) -> Result<(Client, Connection<Socket, Stream>), String> {
        match timeout(self.limit, self.open()).await {
            Ok(opened) => opened.map_err(|error| format!("connecting: {}", said(&error))),
            Err(_) => Err(format!("connecting took longer than {} ms", self.limit.as_millis())),
        }
    }

    /// The statements that give a connection its settings.
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// Within how long a connection is opened or set up.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// A connection with the store's settings, driven by a task of the current runtime.
    pub(super) async fn client(&self) -> Result<Client, String> {
        let (client, connection) = self.raw().await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = said(&error), "a connection to the database ended");
            }
        });
        match timeout(self.limit, client.batch_execute(&self.session)).await {
            Ok(set) => set.map_err(|error| format!("setting up a connection: {}", said(&error)))?,
            Err(_) => return Err("setting up a connection took too long".to_owned()),
        }
        Ok(client)
    }

    /// The same for diesel.
    pub(super) async fn diesel(&self) -> ConnectionResult<AsyncPgConnection> {
        use diesel_async::SimpleAsyncConnection;
        let (client, connection) = self.raw().await.map_err(ConnectionError::BadConnection)?;
        let opening = async {
            let mut opened = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
            opened.batch_execute(&self.session).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(opened)
        };
        let late = || ConnectionError::BadConnection("setting up a connection took too long".to_owned());
        timeout(self.limit, opening).await.map_err(|_| late())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector(url: &str) -> Result<Connector, PostgresError> {
        Connector::new(&PostgresOptions::new(url, "shers_test"))
    }

    #[test]
    fn a_url_says_how_much_of_a_certificate_is_looked_at() {
        for (url, mode) in [
            ("postgres://u:p@h/d", SslMode::Prefer),
            ("postgres://u:p@h/d?sslmode=disable", SslMode::Disable),
            ("postgresql://u:p@h:1/d?application_name=x&sslmode=require", SslMode::Require),
        ] {
            assert_eq!(connector(url).expect(url).config.get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for url in [
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@h/d?sslmode=allow",
            "postgres://u:hunter2@h/d?sslmode=verify-full",
            "postgres://u:hunter2@h:port/d",
            "postgres://",
        ] {
            let error = connector(url).err().expect(url).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let shown = format!("{:?}", PostgresOptions::new("postgres://u:hunter2@h/d", "s"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_schema_is_a_plain_identifier() {
        for bad in ["", "1a", "a\"b", "A", "a-b", &"a".repeat(49)] {
            let made = Connector::new(&PostgresOptions::new("postgres://u@h/d", bad));
            assert!(matches!(made, Err(PostgresError::Schema(_))), "{bad}");
        }
    }
}
