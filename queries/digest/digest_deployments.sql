-- name: digest_deployments
-- title: Deployments of the week
-- sources: github

SELECT environment, count(*) AS deployments, max(created_at) AS latest_at
FROM github.deployments
WHERE owner = $owner
  AND repo = $repo
  AND created_at >= $week_start
  AND created_at < $week_end
GROUP BY environment
ORDER BY deployments DESC, environment
