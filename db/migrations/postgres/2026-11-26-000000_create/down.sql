DROP TABLE meta;
DROP TABLE writers;
DROP TABLE answers;
DROP TABLE cursors;
DROP TABLE documents;
DROP TABLE inbox;
DROP TABLE events;
DROP TABLE streams;
