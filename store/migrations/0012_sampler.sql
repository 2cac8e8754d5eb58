-- What the sampler goes by: it runs live now, so that a trace's cost may be unknown and a trace is known by parts.

-- No job wrote this table before: it is made anew, with a cost that may be unknown.
DROP TABLE sampled_traces;
CREATE TABLE sampled_traces (
    project_id       TEXT    NOT NULL REFERENCES projects (id),
    trace_id         TEXT    NOT NULL,
    feature          TEXT,
    started_at       INTEGER NOT NULL,
    score            INTEGER NOT NULL,
    reasons          TEXT    NOT NULL,
    generation_count INTEGER NOT NULL,
    cost_usd         REAL,
    sampled_at       INTEGER NOT NULL,
    PRIMARY KEY (project_id, trace_id)
) STRICT;
CREATE INDEX sampled_traces_started_at ON sampled_traces (project_id, started_at);

-- What a trace did in a quarter of an hour: reading that time again replaces it, so that nothing counts twice.
CREATE TABLE sampler_parts (
    project_id       TEXT    NOT NULL REFERENCES projects (id),
    part_start       INTEGER NOT NULL,
    trace_id         TEXT    NOT NULL,
    started_at       INTEGER NOT NULL,
    last_at          INTEGER NOT NULL,
    generation_count INTEGER NOT NULL,
    cost_usd         REAL,
    has_error        INTEGER NOT NULL,
    schema_failed    INTEGER NOT NULL,
    features         TEXT    NOT NULL,
    tools            TEXT    NOT NULL,
    PRIMARY KEY (project_id, part_start, trace_id)
) STRICT, WITHOUT ROWID;
