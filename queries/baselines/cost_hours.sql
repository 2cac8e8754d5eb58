-- name: cost_hours
-- title: Cost and generations per feature and hour
-- over: 7d
-- keep: cost_hours
-- sources: langfuse
--
-- Runs once per complete hour; what it returns is kept in agent.cost_baselines. A detector sees two tables of it:
-- input.cost_hours (feature, hour_start, cost_usd, generations) and input.covered_hours (hour_start), the hours that were
-- looked at, so that an hour without cost is told from an hour nobody looked at.

SELECT
    coalesce(nullif(trim(name), ''), '(unnamed)') AS feature,
    date_trunc('hour', start_time) AS hour_start,
    sum(coalesce(total_cost, 0.0)) AS cost_usd,
    count(*) AS generations
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= $start
  AND start_time < $end
GROUP BY coalesce(nullif(trim(name), ''), '(unnamed)'), date_trunc('hour', start_time)
