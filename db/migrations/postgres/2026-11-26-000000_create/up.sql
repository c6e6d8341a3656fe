-- Runs in the service's own schema, which is first in the search path. Text keys are compared byte by byte, as
-- the program compares them.
CREATE TABLE streams (
    id BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    category TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    open BOOLEAN NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX streams_open ON streams (category) WHERE open;
CREATE INDEX streams_category ON streams (category);

-- own: written by this service; a copy of another's message otherwise.
CREATE TABLE events (
    position BIGINT PRIMARY KEY,
    stream BIGINT NOT NULL,
    version BIGINT NOT NULL,
    message_id UUID NOT NULL,
    kind TEXT NOT NULL,
    v INTEGER NOT NULL,
    at BIGINT NOT NULL,
    correlation BIGINT,
    causation UUID,
    traceparent TEXT,
    exercise BOOLEAN NOT NULL,
    own BOOLEAN NOT NULL,
    partition SMALLINT NOT NULL,
    data TEXT NOT NULL
);
CREATE UNIQUE INDEX events_of_stream ON events (stream, version);
CREATE INDEX events_of_incident ON events (correlation, position) WHERE correlation IS NOT NULL;
CREATE INDEX events_of_partition ON events (partition, position);
CREATE INDEX events_own ON events (position) WHERE own;

CREATE TABLE inbox (
    consumer TEXT COLLATE "C" NOT NULL,
    message_id UUID NOT NULL,
    at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_at ON inbox USING brin (at);

CREATE TABLE documents (
    collection TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    tag TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (collection, id)
) WITH (fillfactor = 80);
CREATE INDEX documents_ranked ON documents (collection, rank, id);

CREATE TABLE cursors (
    name TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE answers (
    key TEXT COLLATE "C" PRIMARY KEY,
    body_digest TEXT NOT NULL,
    at BIGINT NOT NULL,
    answer TEXT NOT NULL
);
CREATE INDEX answers_at ON answers USING brin (at);

-- One row for each process that writes, with the number of its last group of commits: how a process whose
-- connection broke at COMMIT finds out whether it happened.
CREATE TABLE writers (
    id UUID PRIMARY KEY,
    last_group BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE meta (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO meta (name, value) VALUES ('epoch', left(replace(gen_random_uuid()::text, '-', ''), 16));

-- Long bodies are compressed by the cheaper way where the server was built with it.
DO $$
BEGIN
    EXECUTE 'ALTER TABLE events ALTER COLUMN data SET COMPRESSION lz4';
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    NULL;
END
$$;
