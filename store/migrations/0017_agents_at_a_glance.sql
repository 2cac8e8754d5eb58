-- What lists of an agent say beside their rows is kept, not counted: how many of its runs had a live signal, its live signals
-- by day. They change in the transaction that keeps a verdict.

-- Runs with a live signal.
ALTER TABLE run_agents ADD COLUMN failing INTEGER NOT NULL DEFAULT 0;
UPDATE run_agents SET failing = (
    SELECT coalesce(sum(h.failing), 0) FROM run_hours h
    WHERE h.project_id = run_agents.project_id AND h.agent_id = run_agents.agent_id);

CREATE TABLE run_agent_days (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    agent_id   TEXT    NOT NULL,
    -- Days since 1970 (UTC) of when it was found.
    day        INTEGER NOT NULL,
    -- Live signals.
    signals    INTEGER NOT NULL,
    PRIMARY KEY (project_id, agent_id, day)
) STRICT, WITHOUT ROWID;
INSERT INTO run_agent_days
SELECT project_id, agent_id, hour / 24 AS day, sum(signals) FROM signal_hours GROUP BY project_id, agent_id, day;

-- Runs with a live signal are listed without going through those without.
CREATE INDEX judged_runs_failing ON judged_runs (project_id, agent_id, judged_at) WHERE live_count > 0;

-- A type or a severity is looked for in the index.
DROP INDEX anomalies_agent;
CREATE INDEX anomalies_agent ON anomalies (project_id, agent_id, shadow, detected_at, signal_id, type, severity, run_id)
    WHERE run_id <> '';
