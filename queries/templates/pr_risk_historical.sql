-- name: pr_risk_historical
-- title: What followed past commits
-- sources: github, sentry, langfuse
-- default: days = 90
--
-- Cost and new errors within 24 hours after each commit of the last $days days (seed 003, template 7.5), each side
-- summed per commit before they meet.

WITH recent AS (
    SELECT sha, commit__message AS message, commit__committer__date AS committed_date
    FROM github.commits
    WHERE owner = $owner
      AND repo = $repo
      AND commit__committer__date >= now() - CAST(concat($days, ' days') AS INTERVAL)
),
errors AS (
    SELECT recent.sha, count(DISTINCT issue.id) AS errors_after
    FROM recent
    JOIN sentry.issues AS issue
      ON issue.first_seen >= recent.committed_date
     AND issue.first_seen <= recent.committed_date + INTERVAL '24 hours'
    WHERE issue.first_seen >= now() - CAST(concat($days, ' days') AS INTERVAL)
    GROUP BY recent.sha
),
costs AS (
    SELECT recent.sha, sum(call.total_cost) AS cost_after
    FROM recent
    JOIN langfuse.observations AS call
      ON call.start_time >= recent.committed_date
     AND call.start_time <= recent.committed_date + INTERVAL '24 hours'
    WHERE call.type = 'GENERATION'
      AND call.start_time >= now() - CAST(concat($days, ' days') AS INTERVAL)
    GROUP BY recent.sha
)
SELECT
    recent.sha,
    recent.message,
    recent.committed_date,
    costs.cost_after,
    coalesce(errors.errors_after, 0) AS errors_after
FROM recent
LEFT JOIN errors ON errors.sha = recent.sha
LEFT JOIN costs ON costs.sha = recent.sha
ORDER BY recent.committed_date DESC
