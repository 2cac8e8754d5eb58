-- name: agent_loop
-- title: Agent loop
-- schedule: 0 */15 * * * *
-- window: 2h
-- sources: langfuse, ingest
-- input: trace_calls optional
-- param: threshold = agent_loop_generation_threshold
-- param: critical = agent_loop_critical_generations
-- param: prices = model_prices
-- severity: severity
-- entity: trace_id
-- onset: first_generation
-- last_sign: last_generation
-- cost: cost_usd
-- json: histogram, runs
-- action: kill_loop
-- description: Trace {entity} made {generations} generations ({most_repeated_name} ×{repeat_count}) and cost {cost_usd:usd}
--
-- A trace with more generations than the threshold within the window is an agent that calls again and again
-- (seed 003, agent loops). Every such trace is a finding, not only the worst.
-- Traces are those of Langfuse and those of the runs that agents sent to Tripline, whose model calls are named by their model and
-- have the price that the settings give to it; a run without a trace id is one by itself. A trace that both tell of is judged once,
-- by the one that knows more calls. What of it ran here is listed whoever tells of it: only that can be asked to stop.

-- What is read of the calls and ends of runs, once for all that follows.
WITH local_events AS MATERIALIZED (
    SELECT
        run_id,
        coalesce(nullif(trace_id, ''), run_id) AS trace_id,
        agent_id,
        event_type IN ('llm.called', 'llm.responded') AS is_call,
        -- A call and its answer share a step.
        coalesce(step_index, -seq) AS step,
        occurred_at,
        nullif(json_get_str(payload, 'model'), '') AS model,
        json_get_int(payload, 'prompt_tokens') AS prompt_tokens,
        json_get_int(payload, 'completion_tokens') AS completion_tokens,
        json_get_bool(payload, 'provisional') AS provisional
    FROM ingest.events
    WHERE event_type IN ('llm.called', 'llm.responded', 'run.completed', 'run.errored')
      AND occurred_at >= $window_start
      AND occurred_at < $window_end
      AND run_id IS NOT NULL
),
local_calls AS (
    SELECT
        trace_id,
        run_id,
        min(agent_id) AS agent,
        max(model) AS model,
        max(prompt_tokens) AS prompt_tokens,
        max(completion_tokens) AS completion_tokens,
        min(occurred_at) AS called_at
    FROM local_events
    WHERE is_call
    GROUP BY trace_id, run_id, step
),
prices AS (
    SELECT
        CAST(split_part(price, chr(9), 1) AS DOUBLE) AS input_usd,
        CAST(split_part(price, chr(9), 2) AS DOUBLE) AS output_usd,
        split_part(price, chr(9), 3) AS pattern
    FROM (SELECT unnest(CAST($prices AS VARCHAR[])) AS price)
),
-- Of the patterns that fit a model the longest says most about it.
model_prices AS (
    SELECT
        model,
        first_value(input_usd ORDER BY length(pattern) DESC, pattern) AS input_usd,
        first_value(output_usd ORDER BY length(pattern) DESC, pattern) AS output_usd
    FROM (SELECT DISTINCT model FROM local_calls WHERE model IS NOT NULL) AS models
    JOIN prices ON lower(models.model) LIKE prices.pattern
    GROUP BY model
),
priced_calls AS (
    SELECT
        local_calls.*,
        prompt_tokens * input_usd + completion_tokens * output_usd AS cost_usd
    FROM local_calls
    LEFT JOIN model_prices ON model_prices.model = local_calls.model
),
-- A run ends once; an end that may be that of a part of it is none.
ended AS (
    SELECT run_id, min(occurred_at) AS ended_at
    FROM local_events
    WHERE NOT is_call
      AND provisional IS NOT TRUE
    GROUP BY run_id
),
local_runs AS (
    SELECT
        trace_id,
        run_id,
        ended_at,
        row_number() OVER (PARTITION BY trace_id ORDER BY calls DESC, run_id) AS place
    FROM (
        SELECT trace_id, calls.run_id, ended_at, count(*) AS calls
        FROM local_calls AS calls
        LEFT JOIN ended ON ended.run_id = calls.run_id
        GROUP BY trace_id, calls.run_id, ended_at
    )
),
runs_of_traces AS (
    SELECT
        trace_id,
        concat('[', string_agg(
            CASE WHEN ended_at IS NULL AND place <= 20
                THEN concat('"', replace(replace(regexp_replace(run_id, '[[:cntrl:]]', ' ', 'g'), '\', '\\'), '"', '\"'), '"') END,
            ',' ORDER BY place), ']') AS runs,
        sum(CASE WHEN ended_at IS NULL THEN 0 ELSE 1 END) AS ended_runs
    FROM local_runs
    GROUP BY trace_id
),
by_name AS (
    SELECT
        'langfuse' AS told_by,
        trace_id,
        name,
        name AS feature,
        calls,
        cost_usd,
        CAST(NULL AS BIGINT) AS tokens,
        unpriced_calls,
        first_generation,
        last_generation
    FROM input.trace_calls
    UNION ALL
    SELECT
        'ingest',
        trace_id,
        coalesce(model, 'model'),
        min(agent),
        count(*),
        sum(cost_usd),
        sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)),
        count(*) - count(cost_usd),
        min(called_at),
        max(called_at)
    FROM priced_calls
    GROUP BY trace_id, coalesce(model, 'model')
),
by_trace AS (
    SELECT
        told_by,
        trace_id,
        sum(calls) AS generations,
        first_value(name ORDER BY calls DESC, name) AS most_repeated_name,
        first_value(feature ORDER BY calls DESC, name) AS feature,
        max(calls) AS repeat_count,
        -- At least this, where calls have no price.
        sum(cost_usd) AS cost_usd,
        sum(tokens) AS tokens,
        sum(unpriced_calls) AS unpriced_calls,
        min(first_generation) AS first_generation,
        max(last_generation) AS last_generation,
        greatest(date_part('epoch', max(last_generation) - min(first_generation)) / 60.0, 0.1) AS minutes,
        concat('{', string_agg(
            concat('"', replace(replace(regexp_replace(name, '[[:cntrl:]]', ' ', 'g'), '\', '\\'), '"', '\"'), '":', calls),
            ',' ORDER BY calls DESC, name), '}') AS histogram
    FROM by_name
    GROUP BY told_by, trace_id
),
told AS (
    SELECT *, row_number() OVER (PARTITION BY trace_id ORDER BY generations DESC, told_by DESC) AS place
    FROM by_trace
)
SELECT
    told.trace_id,
    feature,
    generations,
    most_repeated_name,
    repeat_count,
    cost_usd,
    cost_usd / minutes AS cost_velocity_per_min,
    tokens,
    tokens / minutes AS tokens_per_min,
    unpriced_calls,
    told_by,
    coalesce(runs, '[]') AS runs,
    coalesce(ended_runs, 0) AS ended_runs,
    first_generation,
    last_generation,
    histogram,
    -- What has ended costs no more.
    CASE WHEN coalesce(runs, '[]') = '[]' AND ended_runs > 0 THEN 'medium'
         WHEN generations > $critical THEN 'critical' ELSE 'high' END AS severity
FROM told
LEFT JOIN runs_of_traces ON runs_of_traces.trace_id = told.trace_id
WHERE generations > $threshold
  AND place = 1
ORDER BY generations DESC, told.trace_id
