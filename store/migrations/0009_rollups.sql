-- Roll-ups of verdicts and of what was found, by hour: what an agent's insights are made of, so that reading them need not go
-- through its runs. They change in the transaction that keeps a verdict.

CREATE TABLE run_hours (
    project_id    TEXT    NOT NULL REFERENCES projects (id),
    agent_id      TEXT    NOT NULL,
    -- Hours since 1970 of the verdict.
    hour          INTEGER NOT NULL,
    agent_version TEXT    NOT NULL,
    runs          INTEGER NOT NULL,
    -- Those with a live signal, and how many of these there are.
    failing       INTEGER NOT NULL,
    signals       INTEGER NOT NULL,
    -- Those with a tool call, and the sum of the steps of the first ones.
    with_tool     INTEGER NOT NULL,
    tool_steps    INTEGER NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    PRIMARY KEY (project_id, agent_id, hour, agent_version)
) STRICT, WITHOUT ROWID;
INSERT INTO run_hours
SELECT project_id, agent_id, judged_at / 3600000000 AS hour, agent_version, count(*), count(*) FILTER (WHERE live_count > 0),
       sum(live_count), count(first_tool_step), coalesce(sum(first_tool_step), 0), min(started_at), max(ended_at)
FROM judged_runs GROUP BY project_id, agent_id, hour, agent_version;

CREATE TABLE run_tool_steps (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    agent_id   TEXT    NOT NULL,
    -- Step of the first tool call.
    step       INTEGER NOT NULL,
    runs       INTEGER NOT NULL,
    PRIMARY KEY (project_id, agent_id, step)
) STRICT, WITHOUT ROWID;
INSERT INTO run_tool_steps
SELECT project_id, agent_id, first_tool_step, count(*) FROM judged_runs WHERE first_tool_step IS NOT NULL
GROUP BY project_id, agent_id, first_tool_step;

CREATE TABLE run_inputs (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    agent_id   TEXT    NOT NULL,
    input_hash TEXT    NOT NULL,
    runs       INTEGER NOT NULL,
    PRIMARY KEY (project_id, agent_id, input_hash)
) STRICT, WITHOUT ROWID;
INSERT INTO run_inputs
SELECT project_id, agent_id, input_hash, count(*) FROM judged_runs WHERE input_hash IS NOT NULL
GROUP BY project_id, agent_id, input_hash;

CREATE TABLE run_input_types (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    agent_id   TEXT    NOT NULL,
    input_hash TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    runs       INTEGER NOT NULL,
    PRIMARY KEY (project_id, agent_id, input_hash, type)
) STRICT, WITHOUT ROWID;
INSERT INTO run_input_types
SELECT r.project_id, r.agent_id, r.input_hash, a.type, count(*) FROM judged_runs r
JOIN anomalies a ON a.project_id = r.project_id AND a.run_id = r.run_id AND a.run_id <> '' AND a.shadow = 0
WHERE r.input_hash IS NOT NULL GROUP BY r.project_id, r.agent_id, r.input_hash, a.type;

CREATE TABLE signal_hours (
    project_id    TEXT    NOT NULL REFERENCES projects (id),
    agent_id      TEXT    NOT NULL,
    -- Hours since 1970 of when it was found.
    hour          INTEGER NOT NULL,
    type          TEXT    NOT NULL,
    agent_version TEXT    NOT NULL,
    -- Live signals.
    signals       INTEGER NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    PRIMARY KEY (project_id, agent_id, hour, type, agent_version)
) STRICT, WITHOUT ROWID;
INSERT INTO signal_hours
SELECT project_id, agent_id, detected_at / 3600000000 AS hour, type, agent_version, count(*), min(detected_at), max(detected_at)
FROM anomalies WHERE run_id <> '' AND shadow = 0
GROUP BY project_id, agent_id, hour, type, agent_version;
