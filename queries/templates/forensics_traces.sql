-- name: forensics_traces
-- title: The dearest traces of a window
-- sources: langfuse
--
-- Traces with generations from $since until before $until, the dearest first (seed 003, forensics).

SELECT
    trace_id,
    -- Of the calls that have a price; null when none has.
    sum(total_cost) AS cost_usd,
    sum(CASE WHEN total_cost IS NULL THEN 1 ELSE 0 END) AS unpriced,
    count(*) AS generations,
    min(start_time) AS started_at,
    max(coalesce(end_time, start_time)) AS ended_at,
    -- How many there are; the dearest are drawn.
    count(*) OVER () AS in_window
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= $since
  AND start_time < $until
GROUP BY trace_id
ORDER BY cost_usd DESC NULLS LAST, trace_id
LIMIT 25
