-- name: trace_calls
-- title: Model calls of the window per trace and name
-- over: window
-- sources: langfuse

SELECT
    trace_id,
    CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS name,
    count(*) AS calls,
    sum(coalesce(total_cost, 0.0)) AS cost_usd,
    min(start_time) AS first_generation,
    max(start_time) AS last_generation
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= $start
  AND start_time < $end
  AND trace_id IS NOT NULL
GROUP BY trace_id, CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END
