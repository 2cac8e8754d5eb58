-- The state of Tripline, first version.
--
-- Times are microseconds since 1970 (UTC). JSON is text. Every table begins with its project; keys and foreign keys
-- include it, so that a row cannot point into another project. STRICT: a column holds its type and no other.

CREATE TABLE projects (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER
) STRICT;
INSERT INTO projects (id, name) VALUES ('default', 'Default project');

-- Conditions -------------------------------------------------------------------------------------------------------

CREATE TABLE incidents (
    project_id       TEXT    NOT NULL REFERENCES projects (id),
    id               TEXT    NOT NULL,
    detector         TEXT    NOT NULL,
    type             TEXT    NOT NULL,
    severity         TEXT    NOT NULL CHECK (severity IN ('info', 'medium', 'high', 'critical')),
    entity           TEXT    NOT NULL,
    fingerprint      TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    status           TEXT    NOT NULL CHECK (status IN ('open', 'resolved')),
    opened_at        INTEGER NOT NULL,
    window_start     INTEGER NOT NULL,
    window_end       INTEGER NOT NULL,
    last_seen_at     INTEGER NOT NULL,
    occurrences      INTEGER NOT NULL,
    reopened_count   INTEGER NOT NULL,
    -- The run of clean windows since it was last seen: how many, and from where to where.
    clean_windows    INTEGER NOT NULL,
    clean_from       INTEGER,
    clean_until      INTEGER,
    resolved_at      INTEGER,
    culprit_sha      TEXT,
    -- The largest figure of its anomalies, and the investigation's, which is preferred.
    anomaly_cost_usd REAL,
    cost_usd         REAL,
    narrative        TEXT,
    narrative_parts  TEXT,
    narrator         TEXT,
    suspects         TEXT    NOT NULL DEFAULT '[]',
    timeline         TEXT    NOT NULL DEFAULT '[]',
    gaps             TEXT    NOT NULL DEFAULT '[]',
    evidence_sha256  TEXT,
    investigated_at  INTEGER,
    slack_channel    TEXT,
    slack_ts         TEXT,
    github_issue_url TEXT,
    updated_at       INTEGER NOT NULL,
    PRIMARY KEY (project_id, id),
    CHECK (window_start < window_end),
    CHECK ((status = 'resolved') = (resolved_at IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX incidents_open_fingerprint ON incidents (project_id, fingerprint) WHERE status = 'open';
CREATE INDEX incidents_fingerprint ON incidents (project_id, fingerprint, opened_at);
CREATE INDEX incidents_opened_at ON incidents (project_id, opened_at, id);
CREATE INDEX incidents_open_detector ON incidents (project_id, detector) WHERE status = 'open';

CREATE TABLE anomalies (
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
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, detector, fingerprint, window_start, window_end),
    FOREIGN KEY (project_id, incident_id) REFERENCES incidents (project_id, id),
    CHECK (window_start < window_end)
) STRICT;
CREATE INDEX anomalies_detected_at ON anomalies (project_id, detected_at, id);
CREATE INDEX anomalies_incident ON anomalies (project_id, incident_id);

CREATE TABLE evidence (
    project_id  TEXT    NOT NULL,
    incident_id TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    sources     TEXT    NOT NULL,
    sql         TEXT    NOT NULL,
    params      TEXT    NOT NULL,
    status      TEXT    NOT NULL CHECK (status IN ('ok', 'empty', 'unknown')),
    error       TEXT,
    rows        TEXT    NOT NULL,
    row_count   INTEGER NOT NULL,
    truncated   INTEGER NOT NULL CHECK (truncated IN (0, 1)),
    fetched_at  INTEGER NOT NULL,
    PRIMARY KEY (project_id, incident_id, name),
    FOREIGN KEY (project_id, incident_id) REFERENCES incidents (project_id, id)
) STRICT;

-- Decisions and what follows from them -----------------------------------------------------------------------------

CREATE TABLE approvals (
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    id              TEXT    NOT NULL,
    incident_id     TEXT    NOT NULL,
    incident_type   TEXT    NOT NULL,
    severity        TEXT    NOT NULL CHECK (severity IN ('info', 'medium', 'high', 'critical')),
    action_type     TEXT    NOT NULL,
    target          TEXT,
    status          TEXT    NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'expired')),
    payload         TEXT    NOT NULL,
    payload_sha256  TEXT    NOT NULL,
    evidence_sha256 TEXT,
    summary         TEXT    NOT NULL,
    max_attempts    INTEGER NOT NULL CHECK (max_attempts >= 1),
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    resolved_at     INTEGER,
    resolved_by     TEXT,
    resolved_via    TEXT CHECK (resolved_via IN ('slack', 'api', 'policy')),
    reason          TEXT,
    slack_channel   TEXT,
    slack_ts        TEXT,
    PRIMARY KEY (project_id, id),
    FOREIGN KEY (project_id, incident_id) REFERENCES incidents (project_id, id),
    CHECK ((status = 'pending') = (resolved_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX approvals_pending ON approvals (project_id, incident_id, action_type) WHERE status = 'pending';
CREATE INDEX approvals_expiry ON approvals (project_id, expires_at) WHERE status = 'pending';
CREATE INDEX approvals_created_at ON approvals (project_id, created_at, id);
CREATE INDEX approvals_incident ON approvals (project_id, incident_id);

-- A decision that was made stays made, whatever a program does.
CREATE TRIGGER approvals_decide_once BEFORE UPDATE OF status, payload, payload_sha256, expires_at ON approvals
WHEN old.status <> 'pending'
BEGIN
    SELECT RAISE (ABORT, 'a resolved approval does not change');
END;

CREATE TABLE actions (
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    id              TEXT    NOT NULL,
    kind            TEXT    NOT NULL CHECK (kind IN ('remediation', 'notification')),
    type            TEXT    NOT NULL,
    target          TEXT,
    incident_id     TEXT,
    approval_id     TEXT,
    payload         TEXT    NOT NULL,
    payload_sha256  TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    status          TEXT    NOT NULL
        CHECK (status IN ('pending', 'sending', 'done', 'failed', 'unknown', 'requested')),
    attempts        INTEGER NOT NULL,
    max_attempts    INTEGER NOT NULL CHECK (max_attempts >= 1),
    next_attempt_at INTEGER NOT NULL,
    lease_holder    TEXT,
    lease_until     INTEGER,
    result          TEXT,
    error           TEXT,
    depends_on      TEXT,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    completed_at    INTEGER,
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, idempotency_key),
    FOREIGN KEY (project_id, incident_id) REFERENCES incidents (project_id, id),
    FOREIGN KEY (project_id, approval_id) REFERENCES approvals (project_id, id),
    FOREIGN KEY (project_id, depends_on) REFERENCES actions (project_id, id),
    CHECK ((status = 'sending') = (lease_holder IS NOT NULL)),
    CHECK ((status = 'sending') = (lease_until IS NOT NULL))
) STRICT;
CREATE INDEX actions_due ON actions (project_id, next_attempt_at, id) WHERE status IN ('pending', 'sending');
CREATE INDEX actions_created_at ON actions (project_id, created_at, id);
CREATE INDEX actions_incident ON actions (project_id, incident_id);
CREATE INDEX actions_approval ON actions (project_id, approval_id);
CREATE INDEX actions_depends_on ON actions (project_id, depends_on) WHERE status = 'pending';

-- What is approved is what runs.
CREATE TRIGGER actions_payload_is_fixed BEFORE UPDATE OF payload, payload_sha256, idempotency_key, type ON actions
BEGIN
    SELECT RAISE (ABORT, 'the payload of an action does not change');
END;
CREATE TRIGGER actions_done_is_final BEFORE UPDATE OF status ON actions
WHEN old.status IN ('done', 'failed')
BEGIN
    SELECT RAISE (ABORT, 'a finished action does not change');
END;

CREATE TABLE kills (
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    target          TEXT    NOT NULL,
    original_id     TEXT    NOT NULL,
    incident_id     TEXT,
    action_id       TEXT,
    requested_by    TEXT    NOT NULL,
    requested_at    INTEGER NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('requested', 'stopped')),
    acknowledged_at INTEGER,
    PRIMARY KEY (project_id, target),
    FOREIGN KEY (project_id, incident_id) REFERENCES incidents (project_id, id),
    FOREIGN KEY (project_id, action_id) REFERENCES actions (project_id, id),
    CHECK ((state = 'stopped') = (acknowledged_at IS NOT NULL))
) STRICT;
CREATE INDEX kills_action ON kills (project_id, action_id);
CREATE INDEX kills_requested_at ON kills (project_id, requested_at);

-- The record -------------------------------------------------------------------------------------------------------

CREATE TABLE audit_log (
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    seq          INTEGER NOT NULL,
    recorded_at  INTEGER NOT NULL,
    actor        TEXT    NOT NULL,
    event        TEXT    NOT NULL,
    subject_type TEXT    NOT NULL,
    subject_id   TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    prev_hash    TEXT    NOT NULL,
    hash         TEXT    NOT NULL,
    PRIMARY KEY (project_id, seq)
) STRICT;
CREATE INDEX audit_log_subject ON audit_log (project_id, subject_type, subject_id, seq);

-- The end of each log, kept beside it: rows cut off the end are missed by it.
CREATE TABLE audit_head (
    project_id TEXT    NOT NULL PRIMARY KEY REFERENCES projects (id),
    seq        INTEGER NOT NULL,
    hash       TEXT    NOT NULL
) STRICT;

CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
BEGIN
    SELECT RAISE (ABORT, 'audit_log is append-only');
END;
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
BEGIN
    SELECT RAISE (ABORT, 'audit_log is append-only');
END;
-- INSERT OR REPLACE removes the old row without a delete trigger unless recursive_triggers is on.
CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
WHEN EXISTS (SELECT 1 FROM audit_log WHERE project_id = new.project_id AND seq = new.seq)
BEGIN
    SELECT RAISE (ABORT, 'audit_log is append-only');
END;

-- Jobs -------------------------------------------------------------------------------------------------------------

CREATE TABLE job_runs (
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    id           TEXT    NOT NULL,
    job          TEXT    NOT NULL,
    window_start INTEGER,
    window_end   INTEGER,
    due_at       INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    finished_at  INTEGER,
    status       TEXT    NOT NULL
        CHECK (status IN ('running', 'ok', 'failed', 'gap', 'timed_out', 'skipped', 'abandoned')),
    attempt      INTEGER NOT NULL,
    holder       TEXT    NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    lease_until  INTEGER NOT NULL,
    error        TEXT,
    detail       TEXT,
    PRIMARY KEY (project_id, id),
    CHECK ((window_start IS NULL) = (window_end IS NULL)),
    CHECK ((status = 'running') = (finished_at IS NULL))
) STRICT;
-- Single flight: one run of a job at a time.
CREATE UNIQUE INDEX job_runs_running ON job_runs (project_id, job) WHERE status = 'running';
CREATE INDEX job_runs_started_at ON job_runs (project_id, started_at, id);
CREATE INDEX job_runs_window ON job_runs (project_id, job, window_start, window_end);

CREATE TABLE job_watermarks (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    job        TEXT    NOT NULL,
    watermark  INTEGER NOT NULL,
    PRIMARY KEY (project_id, job)
) STRICT;
CREATE TRIGGER job_watermarks_never_back BEFORE UPDATE ON job_watermarks
WHEN new.watermark < old.watermark
BEGIN
    SELECT RAISE (ABORT, 'a watermark does not go back');
END;

-- What detectors compare with --------------------------------------------------------------------------------------

CREATE TABLE cost_hours (
    project_id  TEXT    NOT NULL REFERENCES projects (id),
    hour_start  INTEGER NOT NULL CHECK (hour_start % 3600000000 = 0),
    complete    INTEGER NOT NULL CHECK (complete IN (0, 1)),
    observed_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, hour_start)
) STRICT;

CREATE TABLE cost_baselines (
    project_id  TEXT    NOT NULL,
    feature     TEXT    NOT NULL,
    hour_start  INTEGER NOT NULL,
    cost_usd    REAL    NOT NULL,
    generations INTEGER NOT NULL,
    observed_at INTEGER NOT NULL,
    complete    INTEGER NOT NULL CHECK (complete IN (0, 1)),
    PRIMARY KEY (project_id, hour_start, feature),
    FOREIGN KEY (project_id, hour_start) REFERENCES cost_hours (project_id, hour_start)
) STRICT;
CREATE INDEX cost_baselines_feature ON cost_baselines (project_id, feature, hour_start);

CREATE TABLE schema_snapshots (
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    feature      TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    schema       TEXT    NOT NULL,
    sample_count INTEGER NOT NULL,
    captured_at  INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    window_end   INTEGER NOT NULL,
    PRIMARY KEY (project_id, feature, version)
) STRICT;

-- The door ---------------------------------------------------------------------------------------------------------

CREATE TABLE api_keys (
    project_id    TEXT    NOT NULL REFERENCES projects (id),
    id            TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    person        TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,
    prefix        TEXT    NOT NULL,
    secret_sha256 TEXT    NOT NULL UNIQUE,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER,
    revoked_at    INTEGER,
    revoked_by    TEXT,
    PRIMARY KEY (project_id, id)
) STRICT;
CREATE UNIQUE INDEX api_keys_live_name ON api_keys (project_id, name) WHERE revoked_at IS NULL;

CREATE TABLE accepted_signatures (
    project_id       TEXT    NOT NULL REFERENCES projects (id),
    signature_sha256 TEXT    NOT NULL,
    expires_at       INTEGER NOT NULL,
    PRIMARY KEY (project_id, signature_sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX accepted_signatures_expiry ON accepted_signatures (expires_at);

-- Ingest -----------------------------------------------------------------------------------------------------------

CREATE TABLE events (
    seq         INTEGER NOT NULL PRIMARY KEY,
    project_id  TEXT    NOT NULL REFERENCES projects (id),
    event_id    TEXT,
    run_id      TEXT,
    agent_id    TEXT,
    session_id  TEXT,
    event_type  TEXT    NOT NULL,
    occurred_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    payload     TEXT    NOT NULL,
    sha256      TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_event_id ON events (project_id, event_id) WHERE event_id IS NOT NULL;
CREATE UNIQUE INDEX events_sha256 ON events (project_id, sha256);
CREATE INDEX events_run ON events (project_id, run_id, occurred_at);
CREATE INDEX events_occurred_at ON events (project_id, occurred_at);

CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE (ABORT, 'events are immutable');
END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN
    SELECT RAISE (ABORT, 'events are immutable');
END;
