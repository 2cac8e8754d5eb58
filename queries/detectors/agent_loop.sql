-- name: agent_loop
-- title: Agent loop
-- schedule: 0 */15 * * * *
-- window: 2h
-- sources: langfuse, ingest
-- input: trace_calls optional
-- param: threshold = agent_loop_generation_threshold
-- param: critical = agent_loop_critical_generations
-- severity: severity
-- entity: trace_id
-- onset: first_generation
-- cost: cost_usd
-- json: histogram
-- action: kill_loop
-- description: Trace {entity} made {generations} generations ({most_repeated_name} ×{repeat_count}) and cost {cost_usd:usd}
--
-- A trace with more generations than the threshold within the window is an agent that calls again and again
-- (seed 003, agent loops). Every such trace is a finding, not only the worst.
-- Traces are those of Langfuse and those of the runs that agents sent to Tripline, whose model calls are named by their model and
-- have no price; a run without a trace id is one by itself. A trace that both tell of is judged once, by the one that knows more calls.

WITH local_calls AS (
    SELECT
        coalesce(nullif(trace_id, ''), run_id) AS trace_id,
        run_id,
        min(agent_id) AS agent,
        -- A call and its answer share a step.
        coalesce(max(nullif(json_get_str(payload, 'model'), '')), 'model') AS name,
        max(coalesce(json_get_int(payload, 'prompt_tokens'), 0)) + max(coalesce(json_get_int(payload, 'completion_tokens'), 0)) AS tokens,
        min(occurred_at) AS called_at
    FROM ingest.events
    WHERE event_type IN ('llm.called', 'llm.responded')
      AND occurred_at >= $window_start
      AND occurred_at < $window_end
      AND run_id IS NOT NULL
    GROUP BY coalesce(nullif(trace_id, ''), run_id), run_id, coalesce(step_index, -seq)
),
by_name AS (
    SELECT 'langfuse' AS told_by, trace_id, name, name AS feature, calls, cost_usd, CAST(NULL AS BIGINT) AS tokens, first_generation, last_generation
    FROM input.trace_calls
    UNION ALL
    SELECT 'ingest', trace_id, name, min(agent), count(*), CAST(NULL AS DOUBLE), sum(tokens), min(called_at), max(called_at)
    FROM local_calls
    GROUP BY trace_id, name
),
by_trace AS (
    SELECT
        told_by,
        trace_id,
        sum(calls) AS generations,
        first_value(name ORDER BY calls DESC, name) AS most_repeated_name,
        first_value(feature ORDER BY calls DESC, name) AS feature,
        max(calls) AS repeat_count,
        sum(cost_usd) AS cost_usd,
        sum(tokens) AS tokens,
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
    trace_id,
    feature,
    generations,
    most_repeated_name,
    repeat_count,
    cost_usd,
    cost_usd / minutes AS cost_velocity_per_min,
    tokens,
    tokens / minutes AS tokens_per_min,
    told_by,
    first_generation,
    last_generation,
    histogram,
    CASE WHEN generations > $critical THEN 'critical' ELSE 'high' END AS severity
FROM told
WHERE generations > $threshold
  AND place = 1
ORDER BY generations DESC, trace_id
