-- Run detectors of the installation's own that failed, and why.
CREATE TABLE run_detector_failures (
    project_id     TEXT    NOT NULL REFERENCES projects (id),
    detector       TEXT    NOT NULL,
    failure_type   TEXT    NOT NULL,
    error          TEXT    NOT NULL,
    -- Of the file that failed: another text may work.
    file_sha256    TEXT    NOT NULL,
    -- Whether it was on trial no longer.
    live           INTEGER NOT NULL CHECK (live IN (0, 1)),
    -- Whether it failed when it was run last.
    failing        INTEGER NOT NULL CHECK (failing IN (0, 1)),
    failed_since   INTEGER NOT NULL,
    last_failed_at INTEGER NOT NULL,
    -- Runs that it did not judge.
    runs           INTEGER NOT NULL,
    PRIMARY KEY (project_id, detector)
) STRICT, WITHOUT ROWID;

-- Runs that a live one did not judge: judged again when it works.
CREATE TABLE run_unjudged (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    detector   TEXT    NOT NULL,
    run_id     TEXT    NOT NULL,
    judged_at  INTEGER NOT NULL,
    PRIMARY KEY (project_id, detector, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_unjudged_at ON run_unjudged (project_id, judged_at);

-- Number of a judged run's first event: where reading it again begins. Not known of runs that were judged before.
ALTER TABLE judged_runs ADD COLUMN first_seq INTEGER;
