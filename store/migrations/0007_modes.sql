-- What pull requests are judged by, and what the sampler has seen.

-- A commit whose effect was measured: once, when the 24 hours after it were over.
CREATE TABLE risk_commits (
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    repository      TEXT    NOT NULL,
    sha             TEXT    NOT NULL,
    committed_at    INTEGER NOT NULL,
    cost_before_usd REAL    NOT NULL,
    cost_after_usd  REAL    NOT NULL,
    errors_before   INTEGER NOT NULL CHECK (errors_before >= 0),
    errors_after    INTEGER NOT NULL CHECK (errors_after >= 0),
    measured_at     INTEGER NOT NULL,
    PRIMARY KEY (project_id, repository, sha)
) STRICT;
CREATE INDEX risk_commits_at ON risk_commits (project_id, repository, committed_at);

-- The files it changed.
CREATE TABLE risk_files (
    project_id    TEXT NOT NULL,
    repository    TEXT NOT NULL,
    sha           TEXT NOT NULL,
    path          TEXT NOT NULL,
    previous_path TEXT,
    PRIMARY KEY (project_id, repository, sha, path),
    FOREIGN KEY (project_id, repository, sha) REFERENCES risk_commits (project_id, repository, sha)
) STRICT;
CREATE INDEX risk_files_path ON risk_files (project_id, repository, path);

CREATE VIEW file_risk_history AS
SELECT
    f.project_id,
    c.repository,
    f.path AS file_path,
    f.previous_path,
    f.sha AS commit_sha,
    c.committed_at AS change_date,
    c.cost_before_usd,
    c.cost_after_usd,
    c.cost_after_usd - c.cost_before_usd AS cost_delta_usd,
    c.errors_before,
    c.errors_after,
    c.errors_after - c.errors_before AS error_delta,
    min(100, CAST(max(c.errors_after - c.errors_before, 0) * 4
        + min(max(c.cost_after_usd - c.cost_before_usd, 0.0) * 10.0, 50.0) + 0.000001 AS INTEGER)) AS risk_score,
    c.measured_at
FROM risk_files AS f
JOIN risk_commits AS c ON c.project_id = f.project_id AND c.repository = f.repository AND c.sha = f.sha;

-- Pull requests that wait for their score: one row each, however often they change meanwhile.
CREATE TABLE risk_requests (
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    repository      TEXT    NOT NULL,
    number          INTEGER NOT NULL CHECK (number > 0),
    closed          INTEGER NOT NULL CHECK (closed IN (0, 1)),
    requested_at    INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL,
    error           TEXT,
    PRIMARY KEY (project_id, repository, number)
) STRICT;

-- The newest score of each pull request, with its parts.
CREATE TABLE risk_scores (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    repository TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    head_sha   TEXT,
    scored_at  INTEGER NOT NULL,
    score      INTEGER NOT NULL CHECK (score BETWEEN 0 AND 100),
    complete   INTEGER NOT NULL CHECK (complete IN (0, 1)),
    report     TEXT    NOT NULL,
    PRIMARY KEY (project_id, repository, number)
) STRICT;

-- One row per run of the sampler.
CREATE TABLE sampling_stats (
    project_id     TEXT    NOT NULL REFERENCES projects (id),
    window_start   INTEGER NOT NULL,
    window_end     INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,
    total_traces   INTEGER NOT NULL,
    sampled_traces INTEGER NOT NULL,
    dropped_traces INTEGER NOT NULL,
    keep_reasons   TEXT    NOT NULL,
    PRIMARY KEY (project_id, window_end),
    CHECK (sampled_traces + dropped_traces = total_traces)
) STRICT;

-- The traces that were kept, with their scores.
CREATE TABLE sampled_traces (
    project_id       TEXT    NOT NULL REFERENCES projects (id),
    trace_id         TEXT    NOT NULL,
    started_at       INTEGER NOT NULL,
    score            INTEGER NOT NULL,
    reasons          TEXT    NOT NULL,
    generation_count INTEGER NOT NULL,
    cost_usd         REAL    NOT NULL,
    sampled_at       INTEGER NOT NULL,
    PRIMARY KEY (project_id, trace_id)
) STRICT;
CREATE INDEX sampled_traces_started_at ON sampled_traces (project_id, started_at);

-- Sets of tools that traces used, so that a new one is told from one that was seen before.
CREATE TABLE sampled_patterns (
    project_id     TEXT    NOT NULL REFERENCES projects (id),
    pattern        TEXT    NOT NULL,
    first_trace_id TEXT    NOT NULL,
    first_seen_at  INTEGER NOT NULL,
    PRIMARY KEY (project_id, pattern)
) STRICT;
