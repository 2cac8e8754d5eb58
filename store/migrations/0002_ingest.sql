-- The event log: accepted batches, the keys of their events, and which files hold what was sealed.

-- Replaced by the log below; nothing was ever written to it outside of tests.
DROP TABLE events;

-- The next sequence number. Numbers are given in the order of arrival, over all projects, without gaps.
CREATE TABLE ingest_head (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    next_seq INTEGER NOT NULL
) STRICT;
INSERT INTO ingest_head (id, next_seq) VALUES (1, 1);

-- One row per group of accepted batches; `events` is read by store::ingest::codec.
CREATE TABLE ingest_log (
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    first_seq       INTEGER NOT NULL PRIMARY KEY,
    last_seq        INTEGER NOT NULL,
    received_at     INTEGER NOT NULL,
    min_occurred_at INTEGER NOT NULL,
    max_occurred_at INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    events          BLOB    NOT NULL,
    CHECK (first_seq <= last_seq)
) STRICT;
CREATE INDEX ingest_log_project ON ingest_log (project_id, first_seq);

-- Files of sealed events: this is the manifest.
CREATE TABLE ingest_segments (
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    path            TEXT    NOT NULL,
    first_seq       INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL,
    rows            INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    min_occurred_at INTEGER NOT NULL,
    max_occurred_at INTEGER NOT NULL,
    min_received_at INTEGER NOT NULL,
    max_received_at INTEGER NOT NULL,
    sealed_at       INTEGER NOT NULL,
    PRIMARY KEY (project_id, path),
    CHECK (first_seq <= last_seq)
) STRICT;
CREATE INDEX ingest_segments_seq ON ingest_segments (project_id, first_seq);

-- Files that are being written, or that no query begins to read any more: to be removed.
CREATE TABLE ingest_garbage (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    path       TEXT    NOT NULL,
    retired_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, path)
) STRICT;

-- The keys by which events of the last day are known, 16 bytes each, in the order of the log's rows.
CREATE TABLE ingest_keys (
    project_id  TEXT    NOT NULL REFERENCES projects (id),
    first_seq   INTEGER NOT NULL PRIMARY KEY,
    received_at INTEGER NOT NULL,
    keys        BLOB    NOT NULL
) STRICT;
CREATE INDEX ingest_keys_received_at ON ingest_keys (received_at);

CREATE TRIGGER ingest_log_no_update BEFORE UPDATE ON ingest_log
BEGIN
    SELECT RAISE (ABORT, 'events are immutable');
END;
-- A row leaves the log only when a file holds its events.
CREATE TRIGGER ingest_log_sealed_only BEFORE DELETE ON ingest_log
WHEN NOT EXISTS (
    SELECT 1 FROM ingest_segments
    WHERE project_id = old.project_id AND first_seq <= old.first_seq AND last_seq >= old.last_seq
)
BEGIN
    SELECT RAISE (ABORT, 'events are immutable');
END;
-- INSERT OR REPLACE removes the old row without a delete trigger unless recursive_triggers is on.
CREATE TRIGGER ingest_log_no_replace BEFORE INSERT ON ingest_log
WHEN EXISTS (SELECT 1 FROM ingest_log WHERE first_seq = new.first_seq)
BEGIN
    SELECT RAISE (ABORT, 'events are immutable');
END;
