-- What followed a commit is shared with the commits that landed within a day of it: errors have fractions now. What was measured
-- before counted in full for each commit, and is measured anew.

DROP VIEW file_risk_history;
DROP TABLE risk_files;
DROP TABLE risk_commits;

CREATE TABLE risk_commits (
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    repository      TEXT    NOT NULL,
    sha             TEXT    NOT NULL,
    committed_at    INTEGER NOT NULL,
    cost_before_usd REAL    NOT NULL,
    cost_after_usd  REAL    NOT NULL,
    errors_before   REAL    NOT NULL CHECK (errors_before >= 0),
    errors_after    REAL    NOT NULL CHECK (errors_after >= 0),
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
