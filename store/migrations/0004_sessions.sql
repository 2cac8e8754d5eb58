-- Sessions of agents and developers (seed 002): what was sent, and what was derived of it.
--
-- A session's revision counts its batches and its end; the other revisions say from which of these states something was
-- derived. What waits for an analysis follows from them, so the flags cannot disagree with the events.

CREATE TABLE sessions (
    project_id           TEXT    NOT NULL REFERENCES projects (id),
    id                   TEXT    NOT NULL,
    external_session_key TEXT,
    user_id              TEXT    NOT NULL,
    workspace_id         TEXT    NOT NULL,
    start_time           INTEGER NOT NULL,
    end_time             INTEGER,
    status               TEXT    NOT NULL CHECK (status IN ('active', 'ended')),
    event_count          INTEGER NOT NULL DEFAULT 0,
    agent_activity_score REAL    NOT NULL DEFAULT 0,
    human_activity_score REAL    NOT NULL DEFAULT 0,
    error_density        REAL    NOT NULL DEFAULT 0,
    milestone_breakdown  TEXT    NOT NULL DEFAULT '{}',
    tags                 TEXT    NOT NULL,
    config_snapshot      TEXT    NOT NULL,
    last_processed_at    INTEGER,
    deep_processed_at    INTEGER,
    session_report       TEXT,
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL,
    revision             INTEGER NOT NULL DEFAULT 0,
    processed_revision   INTEGER NOT NULL DEFAULT 0,
    light_revision       INTEGER NOT NULL DEFAULT 0,
    deep_revision        INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, id),
    CHECK ((status = 'ended') = (end_time IS NOT NULL)),
    CHECK (end_time IS NULL OR end_time >= start_time),
    CHECK (processed_revision <= revision AND light_revision <= revision AND deep_revision <= revision)
) STRICT;
CREATE UNIQUE INDEX sessions_external_key ON sessions (project_id, external_session_key)
    WHERE external_session_key IS NOT NULL;
CREATE INDEX sessions_unprocessed ON sessions (project_id, updated_at) WHERE revision > processed_revision;
CREATE INDEX sessions_not_deep ON sessions (project_id, updated_at) WHERE status = 'ended' AND revision > deep_revision;
CREATE INDEX sessions_not_light ON sessions (project_id, updated_at)
    WHERE status = 'active' AND processed_revision > light_revision;
CREATE INDEX sessions_created_at ON sessions (project_id, created_at, id);

CREATE TABLE session_events (
    seq                    INTEGER NOT NULL PRIMARY KEY,
    project_id             TEXT    NOT NULL,
    id                     TEXT    NOT NULL,
    session_id             TEXT    NOT NULL,
    event_type             TEXT    NOT NULL,
    source_type            TEXT    NOT NULL,
    source_name            TEXT,
    file_path              TEXT,
    project_root           TEXT,
    language               TEXT,
    payload                TEXT    NOT NULL,
    raw_message            TEXT,
    attribution_source     TEXT,
    attribution_confidence REAL,
    client_timestamp       INTEGER NOT NULL,
    server_timestamp       INTEGER NOT NULL,
    event_hash             TEXT    NOT NULL,
    metadata               TEXT    NOT NULL,
    UNIQUE (project_id, id),
    FOREIGN KEY (project_id, session_id) REFERENCES sessions (project_id, id)
) STRICT;
CREATE INDEX session_events_time ON session_events (project_id, session_id, client_timestamp, id);
-- Repetitions are told by hash within a window of time: no unique index can say that.
CREATE INDEX session_events_hash ON session_events (project_id, session_id, event_hash, client_timestamp);

CREATE TRIGGER session_events_no_update BEFORE UPDATE ON session_events
BEGIN
    SELECT RAISE (ABORT, 'events of sessions are immutable');
END;
CREATE TRIGGER session_events_no_delete BEFORE DELETE ON session_events
BEGIN
    SELECT RAISE (ABORT, 'events of sessions are immutable');
END;

-- Derived by the processing worker -----------------------------------------------------------------------------------

CREATE TABLE error_clusters (
    project_id              TEXT    NOT NULL,
    id                      TEXT    NOT NULL,
    session_id              TEXT    NOT NULL,
    normalized_error        TEXT    NOT NULL,
    error_type              TEXT    NOT NULL,
    representative_event_id TEXT    NOT NULL,
    occurrence_count        INTEGER NOT NULL CHECK (occurrence_count >= 1),
    last_seen_at            INTEGER NOT NULL,
    metadata                TEXT    NOT NULL,
    created_at              INTEGER NOT NULL,
    updated_at              INTEGER NOT NULL,
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, session_id, error_type, normalized_error),
    FOREIGN KEY (project_id, session_id) REFERENCES sessions (project_id, id),
    FOREIGN KEY (project_id, representative_event_id) REFERENCES session_events (project_id, id)
) STRICT;
CREATE INDEX error_clusters_session ON error_clusters (project_id, session_id, created_at, id);

CREATE TABLE event_correlations (
    project_id       TEXT    NOT NULL,
    id               TEXT    NOT NULL,
    session_id       TEXT    NOT NULL,
    cause_event_id   TEXT    NOT NULL,
    effect_event_id  TEXT    NOT NULL,
    correlation_type TEXT    NOT NULL,
    confidence       REAL    NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    time_delta_ms    INTEGER NOT NULL CHECK (time_delta_ms >= 0),
    file_match       INTEGER NOT NULL CHECK (file_match IN (0, 1)),
    metadata         TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, cause_event_id, effect_event_id, correlation_type),
    FOREIGN KEY (project_id, session_id) REFERENCES sessions (project_id, id),
    FOREIGN KEY (project_id, cause_event_id) REFERENCES session_events (project_id, id),
    FOREIGN KEY (project_id, effect_event_id) REFERENCES session_events (project_id, id)
) STRICT;
CREATE INDEX event_correlations_session ON event_correlations (project_id, session_id, created_at, id);

-- Derived by the monitoring agent ------------------------------------------------------------------------------------

CREATE TABLE agent_performance (
    project_id           TEXT    NOT NULL,
    id                   TEXT    NOT NULL,
    agent_id             TEXT    NOT NULL,
    session_id           TEXT    NOT NULL,
    total_actions        INTEGER NOT NULL,
    successful_actions   INTEGER NOT NULL,
    induced_error_count  INTEGER NOT NULL,
    override_count       INTEGER NOT NULL,
    success_rate         REAL,
    induced_error_rate   REAL,
    override_rate        REAL,
    metrics_version      TEXT    NOT NULL,
    regression_flags     TEXT    NOT NULL,
    created_at           INTEGER NOT NULL,
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, session_id, agent_id, metrics_version),
    FOREIGN KEY (project_id, session_id) REFERENCES sessions (project_id, id)
) STRICT;
CREATE INDEX agent_performance_session ON agent_performance (project_id, session_id, created_at, id);

CREATE TABLE insights (
    project_id  TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    session_id  TEXT    NOT NULL,
    agent_id    TEXT,
    severity    TEXT    NOT NULL,
    category    TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    payload     TEXT    NOT NULL,
    insight_key TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, session_id, insight_key),
    FOREIGN KEY (project_id, session_id) REFERENCES sessions (project_id, id)
) STRICT;
CREATE INDEX insights_created_at ON insights (project_id, created_at, id);
CREATE INDEX insights_session ON insights (project_id, session_id, created_at, id);
