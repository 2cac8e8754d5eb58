-- name: agent_loop
-- title: Agent loop
-- schedule: 0 */15 * * * *
-- window: 2h
-- sources: langfuse
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

WITH by_name AS (
    SELECT
        trace_id,
        coalesce(nullif(trim(name), ''), '(unnamed)') AS name,
        count(*) AS calls,
        sum(coalesce(total_cost, 0)) AS cost_usd,
        min(start_time) AS first_generation,
        max(start_time) AS last_generation
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $window_start
      AND start_time < $window_end
    GROUP BY trace_id, coalesce(nullif(trim(name), ''), '(unnamed)')
),
by_trace AS (
    SELECT
        trace_id,
        sum(calls) AS generations,
        first_value(name ORDER BY calls DESC, name) AS most_repeated_name,
        max(calls) AS repeat_count,
        sum(cost_usd) AS cost_usd,
        min(first_generation) AS first_generation,
        max(last_generation) AS last_generation,
        concat('{', string_agg(
            concat('"', replace(replace(regexp_replace(name, '[[:cntrl:]]', ' ', 'g'), '\', '\\'), '"', '\"'), '":', calls),
            ',' ORDER BY calls DESC, name), '}') AS histogram
    FROM by_name
    WHERE trace_id IS NOT NULL
    GROUP BY trace_id
)
SELECT
    trace_id,
    most_repeated_name AS feature,
    generations,
    most_repeated_name,
    repeat_count,
    cost_usd,
    cost_usd / greatest(date_part('epoch', last_generation - first_generation) / 60.0, 0.1) AS cost_velocity_per_min,
    first_generation,
    last_generation,
    histogram,
    CASE WHEN generations > $critical THEN 'critical' ELSE 'high' END AS severity
FROM by_trace
WHERE generations > $threshold
ORDER BY generations DESC, trace_id
