-- name: digest_errors
-- title: Sentry issues with events in the week
-- sources: sentry
--
-- One row per issue, and one with scope 'total'. Events are those of the week, counted one by one, and not the count of an
-- issue's whole life; of more than 100 issues the 100 seen last are counted.

WITH seen AS (
    SELECT id, short_id, title, level, status, project, first_seen, last_seen, permalink
    FROM sentry.issues
    WHERE last_seen >= $week_start
      AND first_seen < $week_end
      AND coalesce(level, 'error') NOT IN ('info', 'debug', 'sample')
    ORDER BY last_seen DESC
    LIMIT 100
),
happened AS (
    SELECT event.issue_id, count(*) AS events
    FROM seen
    JOIN sentry.issue_events AS event ON event.issue_id = seen.id
    WHERE event.timestamp >= $week_start
      AND event.timestamp < $week_end
    GROUP BY event.issue_id
),
issues AS (
    SELECT seen.*, happened.events, first_seen >= $week_start AS is_new
    FROM seen
    JOIN happened ON happened.issue_id = seen.id
)
SELECT
    'total' AS scope,
    CAST(NULL AS VARCHAR) AS id,
    CAST(NULL AS VARCHAR) AS short_id,
    CAST(NULL AS VARCHAR) AS title,
    CAST(NULL AS VARCHAR) AS project,
    CAST(NULL AS VARCHAR) AS status,
    CAST(NULL AS VARCHAR) AS permalink,
    count(*) AS issues,
    coalesce(sum(CASE WHEN is_new THEN 1 ELSE 0 END), 0) AS new_issues,
    coalesce(sum(events), 0) AS events
FROM issues
UNION ALL
SELECT 'issue', id, short_id, title, project, status, permalink, CAST(NULL AS BIGINT), CASE WHEN is_new THEN 1 ELSE 0 END, events
FROM issues
ORDER BY scope DESC, events DESC, id
