-- name: trace_calls
-- title: Model calls of the window per trace and name
-- over: window
-- sources: langfuse

SELECT
    trace_id,
    CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS name,
    count(*) AS calls,
    -- Of those that have a price: what none has is not known, which is not 0.
    sum(total_cost) AS cost_usd,
    count(*) - count(total_cost) AS unpriced_calls,
    min(start_time) AS first_generation,
    max(start_time) AS last_generation
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= $start
  AND start_time < $end
  AND trace_id IS NOT NULL
GROUP BY trace_id, CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END
