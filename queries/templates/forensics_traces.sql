-- name: forensics_traces
-- title: The dearest traces of a window
-- sources: langfuse
--
-- Traces with generations from $since until before $until, the dearest first (seed 003, forensics).

SELECT
    trace_id,
    sum(coalesce(total_cost, 0.0)) AS cost_usd,
    count(*) AS generations,
    min(start_time) AS started_at,
    max(coalesce(end_time, start_time)) AS ended_at
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= $since
  AND start_time < $until
GROUP BY trace_id
ORDER BY cost_usd DESC, trace_id
LIMIT 25
