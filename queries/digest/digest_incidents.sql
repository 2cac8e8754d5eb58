-- name: digest_incidents
-- title: Incidents opened in the week, or open at its end
--
-- One row with scope 'total', one per incident. Of incidents about the week's end the state of now is told.

WITH listed AS (
    SELECT id, type, severity, entity, status, opened_at, resolved_at, culprit_sha, cost_usd,
        opened_at >= $week_start AS opened_this_week,
        resolved_at IS NULL OR resolved_at >= $week_end AS open_at_end,
        CASE severity WHEN 'critical' THEN 1 WHEN 'high' THEN 2 WHEN 'medium' THEN 3 ELSE 4 END AS rank
    FROM agent.incidents
    WHERE opened_at < $week_end
      AND (opened_at >= $week_start OR resolved_at IS NULL OR resolved_at >= $week_start)
)
SELECT
    'total' AS scope,
    CAST(NULL AS VARCHAR) AS id,
    CAST(NULL AS VARCHAR) AS type,
    CAST(NULL AS VARCHAR) AS severity,
    CAST(NULL AS VARCHAR) AS entity,
    CAST(NULL AS VARCHAR) AS culprit_sha,
    coalesce(sum(CASE WHEN opened_this_week THEN 1 ELSE 0 END), 0) AS opened,
    coalesce(sum(CASE WHEN open_at_end THEN 1 ELSE 0 END), 0) AS still_open,
    round(coalesce(sum(CASE WHEN opened_this_week THEN cost_usd END), 0.0), 6) AS cost_usd,
    0 AS rank
FROM listed
UNION ALL
SELECT 'incident', id, type, severity, entity, culprit_sha, CASE WHEN opened_this_week THEN 1 ELSE 0 END,
    CASE WHEN open_at_end THEN 1 ELSE 0 END, cost_usd, rank
FROM listed
ORDER BY scope DESC, rank, cost_usd DESC NULLS LAST, id
