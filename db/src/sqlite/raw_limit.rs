//! What SQLite itself does with the settings and the tables of the store, with nothing above it: the
//! measure that `scripts/bench` compares the house with. Not for use elsewhere.

use super::{MIGRATIONS, connect, schema::events, schema::streams};
use diesel::{connection::SimpleConnection, prelude::*};
use diesel_migrations::MigrationHarness;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Inserts single rows like those of the log, `rows_per_commit` in each synced transaction, until
/// `lasting` is over. Says how many rows that were, and how long it took.
///
/// # Errors
/// What SQLite said.
pub fn group_commits(
    directory: &Path,
    rows_per_commit: i64,
    data: &str,
    lasting: Duration,
) -> Result<(i64, Duration), String> {
    let text = |error: diesel::result::Error| error.to_string();
    let mut connection = connect(&directory.join("shers.db"))?;
    connection.run_pending_migrations(MIGRATIONS).map_err(|error| error.to_string())?;
    let id = [7_u8; 16];
    let started = Instant::now();
    let mut rows = 0;
    while started.elapsed() < lasting {
        connection.batch_execute("BEGIN IMMEDIATE").map_err(text)?;
        for _ in 0..rows_per_commit {
            rows += 1;
            diesel::insert_into(events::table)
                .values((
                    events::position.eq(rows),
                    events::stream.eq(1_i64),
                    events::version.eq(rows),
                    events::message_id.eq(id.as_slice()),
                    events::kind.eq("wearable.reading.recorded"),
                    events::v.eq(1),
                    events::at.eq(1_767_225_600_000_i64),
                    events::correlation.eq(None::<i64>),
                    events::causation.eq(Some(id.as_slice())),
                    events::traceparent.eq(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
                    events::exercise.eq(false),
                    events::data.eq(data),
                ))
                .execute(&mut connection)
                .map_err(text)?;
        }
        connection.batch_execute("COMMIT").map_err(text)?;
    }
    Ok((rows, started.elapsed()))
}

/// Stream, kind, time and body of an event.
pub type RawEvent = (i64, String, i64, String);

/// The events of all open streams of a category in one plain query, by stream and version.
///
/// # Errors
/// What SQLite said.
pub fn open_events(directory: &Path, category: &str) -> Result<Vec<RawEvent>, String> {
    let mut connection = connect(&directory.join("shers.db"))?;
    let open = streams::table.filter(streams::category.eq(category).and(streams::open.eq(true))).select(streams::id);
    events::table
        .filter(events::stream.eq_any(open))
        .order((events::stream, events::version))
        .select((events::stream, events::kind, events::at, events::data))
        .load(&mut connection)
        .map_err(|error| error.to_string())
}
