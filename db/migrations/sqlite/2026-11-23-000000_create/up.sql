-- Streams have integer ids, so that the unique key of the log is two integers: a unique text index
-- costs three to five times as much per append.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    category TEXT NOT NULL,
    version BIGINT NOT NULL,
    open BOOLEAN NOT NULL
);
CREATE INDEX streams_open ON streams (category) WHERE open;
CREATE INDEX streams_category ON streams (category);

CREATE TABLE events (
    position INTEGER PRIMARY KEY NOT NULL,
    stream BIGINT NOT NULL,
    version BIGINT NOT NULL,
    message_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    v INTEGER NOT NULL,
    at BIGINT NOT NULL,
    correlation BIGINT,
    causation BLOB,
    traceparent TEXT,
    exercise BOOLEAN NOT NULL,
    data TEXT NOT NULL
);
CREATE UNIQUE INDEX events_of_stream ON events (stream, version);
CREATE INDEX events_of_incident ON events (correlation, position) WHERE correlation IS NOT NULL;

CREATE TABLE inbox (
    consumer TEXT NOT NULL,
    message_id BLOB NOT NULL,
    PRIMARY KEY (consumer, message_id)
) WITHOUT ROWID;

CREATE TABLE documents (
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    tag TEXT NOT NULL,
    rank BIGINT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (collection, id)
) WITHOUT ROWID;
CREATE INDEX documents_ranked ON documents (collection, rank, id);

CREATE TABLE cursors (
    name TEXT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE answers (
    key TEXT NOT NULL PRIMARY KEY,
    body_digest TEXT NOT NULL,
    at BIGINT NOT NULL,
    answer TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
