//! The tables, as diesel sees them. See `migrations/postgres`.

use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    pg::{Pg, PgValue},
};

diesel::table! {
    streams (id) {
        id -> BigInt,
        name -> Text,
        category -> Text,
        version -> BigInt,
        open -> Bool,
    }
}

diesel::table! {
    events (position) {
        position -> BigInt,
        stream -> BigInt,
        version -> BigInt,
        message_id -> Uuid,
        kind -> Text,
        v -> Integer,
        at -> BigInt,
        correlation -> Nullable<BigInt>,
        causation -> Nullable<Uuid>,
        traceparent -> Nullable<Text>,
        exercise -> Bool,
        own -> Bool,
        partition -> SmallInt,
        data -> Text,
    }
}

diesel::table! {
    documents (collection, id) {
        collection -> Text,
        id -> Text,
        tag -> Text,
        rank -> BigInt,
        doc -> Text,
    }
}

diesel::table! {
    cursors (name) {
        name -> Text,
        position -> BigInt,
    }
}

diesel::table! {
    answers (key) {
        key -> Text,
        body_digest -> Text,
        at -> BigInt,
        answer -> Text,
    }
}

diesel::table! {
    meta (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(streams, events);

/// A UUID as it comes from the database.
#[derive(Debug, Clone, Copy, FromSqlRow)]
pub(super) struct StoredUuid(pub(super) uuid::Uuid);

impl FromSql<diesel::sql_types::Uuid, Pg> for StoredUuid {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(uuid::Uuid::from_slice(value.as_bytes())?))
    }
}
