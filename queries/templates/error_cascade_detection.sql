-- name: error_cascade_detection
-- title: Errors and the generations that overlap them
-- sources: sentry, langfuse
-- default: hours = 48
-- param: min_cost = error_cascade_min_cost_usd
--
-- Issues active in the last $hours hours and what generations cost while they lasted (seed 003, template 7.3); an issue
-- that is older counts from the beginning of the window. `error_count` is of the issue's whole life: the detector
-- `error_cascade` counts the events of a window.

WITH active AS (
    SELECT
        id,
        title AS error_title,
        count AS error_count,
        first_seen,
        last_seen,
        greatest(first_seen, now() - CAST(concat($hours, ' hours') AS INTERVAL)) AS active_from,
        last_seen + INTERVAL '1 microsecond' AS active_until
    FROM sentry.issues
    WHERE last_seen >= now() - CAST(concat($hours, ' hours') AS INTERVAL)
)
SELECT
    active.error_title,
    active.error_count,
    active.first_seen,
    active.last_seen,
    sum(call.total_cost) AS associated_cost,
    count(*) AS retry_generations
FROM active
JOIN langfuse.observations AS call
  ON call.start_time >= active.active_from
 AND call.start_time < active.active_until
WHERE call.type = 'GENERATION'
  AND call.start_time >= now() - CAST(concat($hours, ' hours') AS INTERVAL)
GROUP BY active.id, active.error_title, active.error_count, active.first_seen, active.last_seen
HAVING sum(call.total_cost) > CAST($min_cost AS DOUBLE)
ORDER BY associated_cost DESC
LIMIT 10
