-- name: risk_costs
-- title: What generations cost, second by second
-- sources: langfuse
--
-- Cost of all generations from $since until before $until, a row per second: the sums around a commit are taken from these
-- rows, so that no join counts a call twice.

SELECT date_trunc('second', start_time) AS second, sum(coalesce(total_cost, 0.0)) AS cost_usd
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= $since
  AND start_time < $until
GROUP BY date_trunc('second', start_time)
