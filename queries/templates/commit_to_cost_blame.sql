-- name: commit_to_cost_blame
-- title: Commits by the cost of the day after them
-- sources: github, sentry, langfuse
-- default: days = 7
--
-- Errors first seen and generations started within 24 hours after each commit (seed 003, template 7.2). Each side is
-- summed per commit before they meet, so that neither multiplies the other.

WITH recent AS (
    SELECT
        sha,
        commit__message AS commit_message,
        coalesce(author__login, commit__author__name) AS author,
        commit__committer__date AS committed_date
    FROM github.commits
    WHERE owner = $owner
      AND repo = $repo
      AND commit__committer__date >= now() - CAST(concat($days, ' days') AS INTERVAL)
),
errors AS (
    SELECT recent.sha, count(DISTINCT issue.id) AS errors_after_commit
    FROM recent
    JOIN sentry.issues AS issue
      ON issue.first_seen > recent.committed_date
     AND issue.first_seen < recent.committed_date + INTERVAL '24 hours'
    WHERE issue.first_seen >= now() - CAST(concat($days, ' days') AS INTERVAL)
    GROUP BY recent.sha
),
costs AS (
    SELECT recent.sha, sum(call.total_cost) AS cost_after_commit
    FROM recent
    JOIN langfuse.observations AS call
      ON call.start_time > recent.committed_date
     AND call.start_time < recent.committed_date + INTERVAL '24 hours'
    WHERE call.type = 'GENERATION'
      AND call.start_time >= now() - CAST(concat($days, ' days') AS INTERVAL)
    GROUP BY recent.sha
)
SELECT
    recent.sha,
    recent.commit_message,
    recent.author,
    recent.committed_date,
    coalesce(errors.errors_after_commit, 0) AS errors_after_commit,
    costs.cost_after_commit
FROM recent
LEFT JOIN errors ON errors.sha = recent.sha
LEFT JOIN costs ON costs.sha = recent.sha
ORDER BY cost_after_commit DESC NULLS LAST, recent.committed_date DESC
LIMIT 10
