-- name: costly_traces
-- title: The costliest traces of the window
-- types: cost_spike, error_cascade
-- sources: langfuse
-- max_rows: 10

SELECT
    trace_id,
    max(user_id) AS user_id,
    count(*) AS generations,
    sum(coalesce(total_cost, 0.0)) AS cost_usd,
    min(start_time) AS started_at
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND (name = $feature OR ($feature = '(unnamed)' AND trim(coalesce(name, '')) = ''))
  AND start_time >= $window_start
  AND start_time < $until
GROUP BY trace_id
ORDER BY cost_usd DESC
LIMIT 10
