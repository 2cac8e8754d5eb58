-- What a model was asked to explain a signal: by whom, and what became of it. Neither what was sent nor the answer: they may
-- hold the content of a trace, which is never kept.
CREATE TABLE explanations (
    project_id        TEXT    NOT NULL REFERENCES projects (id),
    id                TEXT    NOT NULL,
    signal_id         INTEGER NOT NULL,
    asked_by          TEXT    NOT NULL,
    asked_at          INTEGER NOT NULL,
    provider          TEXT    NOT NULL,
    model             TEXT    NOT NULL,
    host              TEXT    NOT NULL,
    outcome           TEXT    NOT NULL
        CHECK (outcome IN ('accepted', 'repaired', 'rejected', 'unavailable', 'over_budget')),
    reason            TEXT,
    requests          INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    sent_sha256       TEXT    NOT NULL,
    redactions        TEXT    NOT NULL,
    PRIMARY KEY (project_id, id)
) STRICT;
CREATE INDEX explanations_asked_at ON explanations (project_id, asked_at);
CREATE INDEX explanations_asked_by ON explanations (project_id, asked_by, asked_at);
