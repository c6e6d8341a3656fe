//! `sslmode` in libpq's meaning, against a server whose certificate names `localhost` only.
//! `SHERS_TEST_DATABASE_TLS` names a directory with `ca.crt`, which signed it, and `other.crt`, which did not.

use crate::support::{Schema, database_url, left_out};
use shers_db::PostgresStore;

/// Whether the store's connections are under TLS, or why it was refused.
async fn encrypted(base: &str, host: &str, mode: &str, ca: Option<&str>) -> Result<bool, String> {
    let mut schema = Schema::create(base).await;
    let (before, after) = base.split_once("127.0.0.1").expect("the tests' server listens on 127.0.0.1");
    let authority = ca.map(|ca| format!("&sslrootcert={ca}")).unwrap_or_default();
    schema.options.url = format!("{before}{host}{after}?sslmode={mode}{authority}");
    let opened = PostgresStore::open(&schema.options).await;
    base.clone_into(&mut schema.options.url);
    let _store = opened.map_err(|error| error.to_string())?;
    let client = schema.client().await;
    let sql = "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
               WHERE a.application_name = current_schema()";
    // The listening connection is opened in the background.
    crate::support::until(&client, &sql.replace("bool_and(s.ssl)", "count(*) > 0")).await;
    Ok(client.query_one(sql, &[]).await.expect("asked").get(0))
}

#[tokio::test]
async fn sslmode_means_what_it_means_to_libpq() {
    let (url, directory) = (database_url(), std::env::var("SHERS_TEST_DATABASE_TLS").ok());
    let (Some(url), Some(directory)) = (url, directory) else {
        return left_out("TLS (which needs SHERS_TEST_DATABASE_TLS too)");
    };
    let (ca, other) = (format!("{directory}/ca.crt"), format!("{directory}/other.crt"));
    for (host, mode, ca, want) in [
        ("127.0.0.1", "disable", None, Some(false)),
        ("127.0.0.1", "prefer", None, Some(true)),
        ("127.0.0.1", "require", None, Some(true)),
        ("127.0.0.1", "require", Some(&ca), Some(true)),
        ("127.0.0.1", "require", Some(&other), None),
        ("127.0.0.1", "verify-ca", Some(&ca), Some(true)),
        ("127.0.0.1", "verify-ca", Some(&other), None),
        ("127.0.0.1", "verify-ca", None, None),
        ("127.0.0.1", "verify-full", Some(&ca), None),
        ("localhost", "verify-full", Some(&ca), Some(true)),
        ("localhost", "verify-full", Some(&other), None),
    ] {
        let found = encrypted(&url, host, mode, ca.map(String::as_str)).await;
        assert_eq!(found.clone().ok(), want, "{host} {mode} {ca:?}: {found:?}");
    }
}
