-- Runs: what was found in them, and what that rests on.

-- Findings of run detectors are anomalies too. Two runs may begin and end at the same microsecond, so the run is part of
-- what makes a finding one; '' stands for a finding that is about a window, not a run.
CREATE TABLE anomalies_with_runs (
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    id           TEXT    NOT NULL,
    incident_id  TEXT,
    detector     TEXT    NOT NULL,
    type         TEXT    NOT NULL,
    severity     TEXT    NOT NULL CHECK (severity IN ('info', 'medium', 'high', 'critical')),
    entity       TEXT    NOT NULL,
    fingerprint  TEXT    NOT NULL,
    window_start INTEGER NOT NULL,
    window_end   INTEGER NOT NULL,
    detected_at  INTEGER NOT NULL,
    description  TEXT    NOT NULL,
    evidence     TEXT    NOT NULL,
    cost_usd     REAL,
    onset_at     INTEGER,
    run_id        TEXT    NOT NULL DEFAULT '',
    -- Set for findings about runs only.
    signal_id     INTEGER,
    agent_id      TEXT,
    agent_version TEXT,
    step_index    INTEGER,
    confidence    REAL,
    co_signals    INTEGER,
    shadow        INTEGER NOT NULL DEFAULT 0 CHECK (shadow IN (0, 1)),
    alerted_at    INTEGER,
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, detector, fingerprint, window_start, window_end, run_id),
    FOREIGN KEY (project_id, incident_id) REFERENCES incidents (project_id, id),
    CHECK (window_start < window_end),
    CHECK ((run_id = '') = (signal_id IS NULL))
) STRICT;
INSERT INTO anomalies_with_runs
    (project_id, id, incident_id, detector, type, severity, entity, fingerprint, window_start, window_end, detected_at,
     description, evidence, cost_usd, onset_at)
SELECT
    project_id, id, incident_id, detector, type, severity, entity, fingerprint, window_start, window_end, detected_at,
    description, evidence, cost_usd, onset_at
FROM anomalies;
DROP TABLE anomalies;
ALTER TABLE anomalies_with_runs RENAME TO anomalies;
CREATE INDEX anomalies_detected_at ON anomalies (project_id, detected_at, id);
CREATE INDEX anomalies_incident ON anomalies (project_id, incident_id);
-- The number by which clients of the Dunetrace API know a finding.
CREATE UNIQUE INDEX anomalies_signal ON anomalies (signal_id) WHERE signal_id IS NOT NULL;
-- A run has each type of failure at most once.
CREATE UNIQUE INDEX anomalies_run ON anomalies (project_id, run_id, type) WHERE run_id <> '';
CREATE INDEX anomalies_agent ON anomalies (project_id, agent_id, detected_at) WHERE run_id <> '';
CREATE INDEX anomalies_unalerted ON anomalies (project_id, signal_id)
    WHERE run_id <> '' AND shadow = 0 AND alerted_at IS NULL;

-- The agent of an incident about runs, and its number; clean_windows counts clean runs then.
ALTER TABLE incidents ADD COLUMN agent_id TEXT;
ALTER TABLE incidents ADD COLUMN issue_id INTEGER;
CREATE UNIQUE INDEX incidents_issue ON incidents (issue_id) WHERE issue_id IS NOT NULL;
CREATE INDEX incidents_agent ON incidents (project_id, agent_id, status) WHERE agent_id IS NOT NULL;

-- Up to which event of the log it is known which runs there are.
CREATE TABLE run_watermarks (
    project_id TEXT    NOT NULL PRIMARY KEY REFERENCES projects (id),
    seq        INTEGER NOT NULL
) STRICT;

-- Runs that wait for their verdict.
CREATE TABLE run_watch (
    project_id       TEXT    NOT NULL REFERENCES projects (id),
    run_id           TEXT    NOT NULL,
    -- Number of its first event: where reading it begins.
    first_seq        INTEGER NOT NULL,
    started          INTEGER NOT NULL CHECK (started IN (0, 1)),
    last_received_at INTEGER NOT NULL,
    -- When its terminal event arrived.
    ended_at         INTEGER,
    PRIMARY KEY (project_id, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_watch_ended ON run_watch (project_id, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX run_watch_silent ON run_watch (project_id, last_received_at) WHERE ended_at IS NULL AND started = 1;

-- Verdicts: one row per run, in the order in which they were reached, with what later runs are compared with.
CREATE TABLE judged_runs (
    id              INTEGER NOT NULL PRIMARY KEY,
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    run_id          TEXT    NOT NULL,
    agent_id        TEXT    NOT NULL,
    agent_version   TEXT    NOT NULL,
    reason          TEXT    NOT NULL CHECK (reason IN ('completed', 'errored', 'stalled')),
    exit_reason     TEXT,
    judged_at       INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    ended_at        INTEGER NOT NULL,
    step_count      INTEGER NOT NULL,
    llm_calls       INTEGER NOT NULL,
    tool_calls      INTEGER NOT NULL,
    first_tool_step INTEGER,
    input_hash      TEXT,
    token_growth    REAL,
    -- JSON arrays of milliseconds.
    tool_gaps_ms    TEXT    NOT NULL,
    llm_gaps_ms     TEXT    NOT NULL,
    signal_count    INTEGER NOT NULL,
    live_count      INTEGER NOT NULL,
    UNIQUE (project_id, run_id)
) STRICT;
CREATE INDEX judged_runs_agent ON judged_runs (project_id, agent_id, judged_at);
CREATE INDEX judged_runs_version ON judged_runs (project_id, agent_id, agent_version, id) WHERE reason = 'completed';

-- What people say about a finding: the precision of a detector in shadow.
CREATE TABLE signal_feedback (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    signal_id  INTEGER NOT NULL,
    correct    INTEGER NOT NULL CHECK (correct IN (0, 1)),
    given_by   TEXT    NOT NULL,
    given_at   INTEGER NOT NULL,
    PRIMARY KEY (project_id, signal_id)
) STRICT;

-- Fixes that people applied for a finding.
CREATE TABLE fixes (
    id             INTEGER NOT NULL PRIMARY KEY,
    project_id     TEXT    NOT NULL REFERENCES projects (id),
    signal_id      INTEGER NOT NULL,
    applied_via    TEXT    NOT NULL CHECK (applied_via IN ('langfuse', 'clipboard')),
    prompt_name    TEXT,
    prompt_version INTEGER,
    fix_content    TEXT    NOT NULL,
    applied_at     INTEGER NOT NULL,
    applied_by     TEXT    NOT NULL
) STRICT;
CREATE INDEX fixes_signal ON fixes (project_id, signal_id, id);

CREATE TABLE digest_log (
    id         INTEGER NOT NULL PRIMARY KEY,
    project_id TEXT    NOT NULL REFERENCES projects (id),
    kind       TEXT    NOT NULL CHECK (kind IN ('weekly')),
    sent_at    INTEGER NOT NULL
) STRICT;
