-- name: cost_by_minute
-- title: Cost and calls of the feature per minute of the window
-- types: cost_spike, error_cascade
-- sources: langfuse
-- max_rows: 400

SELECT
    date_trunc('minute', start_time) AS minute,
    count(*) AS generations,
    sum(coalesce(total_cost, 0.0)) AS cost_usd
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND (name = $feature OR ($feature = '(unnamed)' AND trim(coalesce(name, '')) = ''))
  AND start_time >= $window_start
  AND start_time < $until
GROUP BY date_trunc('minute', start_time)
ORDER BY minute
