//! Statements of the writer that diesel would have parsed anew each time: it keeps no prepared statement of
//! an UPDATE or an upsert, and parsing costs more than running these. As fragments with a static id they
//! are prepared once a connection.

use diesel::{
    QueryResult, RunQueryDsl, SqliteConnection,
    query_builder::{AstPass, QueryFragment, QueryId},
    sql_types::{BigInt, Bool, Text},
    sqlite::Sqlite,
};

/// Notes how far a stream is.
pub(super) struct SetHead {
    pub(super) stream: i64,
    pub(super) version: i64,
    pub(super) open: bool,
}

/// Writes a document over the one there may be.
pub(super) struct PutDocument<'a> {
    pub(super) collection: &'a str,
    pub(super) id: &'a str,
    pub(super) tag: &'a str,
    pub(super) rank: i64,
    pub(super) doc: &'a str,
}

/// Moves a cursor.
pub(super) struct PutCursor<'a> {
    pub(super) name: &'a str,
    pub(super) position: i64,
}

impl QueryId for SetHead {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryId for PutDocument<'_> {
    type QueryId = PutDocument<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryId for PutCursor<'_> {
    type QueryId = PutCursor<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for SetHead {}
impl RunQueryDsl<SqliteConnection> for PutDocument<'_> {}
impl RunQueryDsl<SqliteConnection> for PutCursor<'_> {}

impl QueryFragment<Sqlite> for SetHead {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("UPDATE streams SET version = ");
        out.push_bind_param::<BigInt, _>(&self.version)?;
        out.push_sql(", open = ");
        out.push_bind_param::<Bool, _>(&self.open)?;
        out.push_sql(" WHERE id = ");
        out.push_bind_param::<BigInt, _>(&self.stream)
    }
}

impl QueryFragment<Sqlite> for PutDocument<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("INSERT INTO documents (collection, id, tag, rank, doc) VALUES (");
        out.push_bind_param::<Text, _>(self.collection)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(self.id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(self.tag)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.rank)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(self.doc)?;
        out.push_sql(
            ") ON CONFLICT (collection, id) DO UPDATE SET tag = excluded.tag, rank = excluded.rank, doc = excluded.doc",
        );
        Ok(())
    }
}

impl QueryFragment<Sqlite> for PutCursor<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("INSERT INTO cursors (name, position) VALUES (");
        out.push_bind_param::<Text, _>(self.name)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.position)?;
        out.push_sql(") ON CONFLICT (name) DO UPDATE SET position = excluded.position");
        Ok(())
    }
}
