-- name: trace_sizes
-- title: How many model calls a trace of each feature has
-- over: 7d
-- keep: 24h
-- sources: langfuse
--
-- Per feature the generations per trace of the week before: what tells retries, which make traces longer, from traffic, which makes
-- more of them. A call without a trace is one by itself.

SELECT
    CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature,
    CAST(count(*) AS DOUBLE) / count(DISTINCT coalesce(trace_id, id)) AS calls_per_trace
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= $start
  AND start_time < $end
GROUP BY CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END
