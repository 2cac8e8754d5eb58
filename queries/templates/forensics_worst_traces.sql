-- name: forensics_worst_traces
-- title: The dearest traces of a week
-- sources: langfuse
--
-- Traces from $since until before $until by cost, with their observations and errors (seed 003, forensics).

SELECT
    trace_id,
    count(*) AS observation_count,
    -- Of the calls that have a price; null when none has.
    sum(total_cost) AS total_cost,
    sum(CASE WHEN type = 'GENERATION' AND total_cost IS NULL THEN 1 ELSE 0 END) AS unpriced,
    min(start_time) AS started_at,
    sum(CASE WHEN level IN ('ERROR', 'WARNING') THEN 1 ELSE 0 END) AS error_count
FROM langfuse.observations
WHERE start_time >= $since
  AND start_time < $until
GROUP BY trace_id
ORDER BY total_cost DESC NULLS LAST, trace_id
LIMIT 100
