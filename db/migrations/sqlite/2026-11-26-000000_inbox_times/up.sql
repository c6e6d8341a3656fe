-- Marks get the time when they were made, so that old ones can go. A column that is added later can't have a
-- default that is computed, so the table is made anew; the marks that are there count from now.
CREATE TABLE inbox_with_times (
    consumer TEXT NOT NULL,
    message_id BLOB NOT NULL,
    at BIGINT NOT NULL DEFAULT (unixepoch() * 1000),
    PRIMARY KEY (consumer, message_id)
) WITHOUT ROWID;
INSERT INTO inbox_with_times (consumer, message_id) SELECT consumer, message_id FROM inbox;
DROP TABLE inbox;
ALTER TABLE inbox_with_times RENAME TO inbox;
