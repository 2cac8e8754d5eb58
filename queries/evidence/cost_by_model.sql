-- name: cost_by_model
-- title: Cost of the window by model
-- types: cost_spike, error_cascade
-- sources: langfuse

SELECT
    coalesce(nullif(model, ''), 'unknown') AS model,
    count(*) AS generations,
    sum(coalesce(total_cost, 0.0)) AS cost_usd,
    avg(output_tokens) AS output_tokens_per_call
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND (name = $feature OR ($feature = '(unnamed)' AND trim(coalesce(name, '')) = ''))
  AND start_time >= $window_start
  AND start_time < $until
GROUP BY coalesce(nullif(model, ''), 'unknown')
ORDER BY cost_usd DESC
