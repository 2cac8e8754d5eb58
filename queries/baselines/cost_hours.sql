-- name: cost_hours
-- title: Cost and generations per feature and hour
-- over: 7d
-- keep: cost_hours
-- sources: langfuse
--
-- Runs once per complete hour; what it returns is kept in agent.cost_baselines. A detector sees two tables of it:
-- input.cost_hours (feature, hour_start, cost_usd, generations, peak_usd, peak_generations) and input.covered_hours
-- (hour_start), the hours that were looked at, so that an hour without cost is told from an hour nobody looked at. Peaks are
-- of the quarter of the hour that had most; a file without them is as good, but part of an hour is then compared with a whole one.

WITH quarters AS (
    SELECT
        CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature,
        date_bin(INTERVAL '15 minutes', start_time) AS quarter_start,
        sum(coalesce(total_cost, 0.0)) AS cost_usd,
        count(*) AS generations
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $start
      AND start_time < $end
    GROUP BY CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END,
        date_bin(INTERVAL '15 minutes', start_time)
)
SELECT
    feature,
    date_trunc('hour', quarter_start) AS hour_start,
    sum(cost_usd) AS cost_usd,
    sum(generations) AS generations,
    max(cost_usd) AS peak_usd,
    max(generations) AS peak_generations
FROM quarters
GROUP BY feature, date_trunc('hour', quarter_start)
