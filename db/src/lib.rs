//! The stores. diesel is used here and nowhere else.
//!
//! Invariants of this crate:
//! - A commit that was answered is on disk: every connection runs with `synchronous=FULL`.
//! - One writer: concurrent commits are grouped into one transaction, and each of them stands or falls
//!   alone, because all its checks are made before its first row is written.
//! - Positions grow and are never given out twice.

pub mod postgres;
pub mod sqlite;

pub use postgres::{PostgresError, PostgresOptions, PostgresStore};
#[doc(hidden)]
pub use sqlite::raw_limit;
pub use sqlite::{OpenError, SqliteOptions, SqliteStore};
