-- What is told: weekly digests, what was sent to models, and what people say about incidents.

CREATE TABLE digests (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    id         TEXT    NOT NULL,
    week_start INTEGER NOT NULL,
    week_end   INTEGER NOT NULL,
    time_zone  TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    narrator   TEXT    NOT NULL,
    report     TEXT    NOT NULL,
    -- JSON: bullets per section; figures with the query, row and field each is from; the queries with their rows; what is unknown.
    sections   TEXT    NOT NULL,
    figures    TEXT    NOT NULL,
    queries    TEXT    NOT NULL,
    gaps       TEXT    NOT NULL,
    cost_usd   REAL,
    PRIMARY KEY (project_id, id),
    CHECK (week_start < week_end)
) STRICT;
CREATE INDEX digests_week_end ON digests (project_id, week_end, id);

-- One row per text that a model was asked for.
CREATE TABLE narrations (
    project_id        TEXT    NOT NULL REFERENCES projects (id),
    id                TEXT    NOT NULL,
    kind              TEXT    NOT NULL CHECK (kind IN ('incident', 'pr_risk', 'digest')),
    subject_id        TEXT    NOT NULL,
    told_at           INTEGER NOT NULL,
    provider          TEXT    NOT NULL,
    model             TEXT    NOT NULL,
    host              TEXT    NOT NULL,
    outcome           TEXT    NOT NULL
        CHECK (outcome IN ('accepted', 'repaired', 'rejected', 'unavailable', 'over_budget')),
    reason            TEXT,
    requests          INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    -- Exactly what left the machine; '' when nothing did.
    sent              TEXT    NOT NULL,
    sent_sha256       TEXT    NOT NULL,
    redactions        TEXT    NOT NULL,
    answer            TEXT,
    PRIMARY KEY (project_id, id)
) STRICT;
CREATE INDEX narrations_told_at ON narrations (project_id, told_at, id);
CREATE INDEX narrations_subject ON narrations (project_id, kind, subject_id, told_at, id);

-- Whether an incident is right, one verdict per person; the newest of an incident counts.
CREATE TABLE incident_feedback (
    project_id  TEXT    NOT NULL,
    incident_id TEXT    NOT NULL,
    given_by    TEXT    NOT NULL,
    correct     INTEGER NOT NULL CHECK (correct IN (0, 1)),
    comment     TEXT,
    via         TEXT    NOT NULL CHECK (via IN ('slack', 'api')),
    given_at    INTEGER NOT NULL,
    PRIMARY KEY (project_id, incident_id, given_by),
    FOREIGN KEY (project_id, incident_id) REFERENCES incidents (project_id, id)
) STRICT;

CREATE VIEW incident_verdicts AS
SELECT project_id, incident_id, correct
FROM (
    SELECT project_id, incident_id, correct,
           row_number() OVER (PARTITION BY project_id, incident_id ORDER BY given_at DESC, given_by DESC) AS newest
    FROM incident_feedback
)
WHERE newest = 1;

CREATE VIEW detector_precision AS
SELECT
    incidents.project_id AS project_id,
    incidents.detector AS detector,
    count(*) AS incidents,
    coalesce(sum(verdict.correct), 0) AS marked_right,
    coalesce(sum(1 - verdict.correct), 0) AS marked_wrong,
    CAST(sum(verdict.correct) AS REAL) / count(verdict.correct) AS precision
FROM incidents
LEFT JOIN incident_verdicts AS verdict
    ON verdict.project_id = incidents.project_id AND verdict.incident_id = incidents.id
GROUP BY incidents.project_id, incidents.detector;

-- That a digest was sent is known by its key in the outbox.
DROP TABLE digest_log;
