-- name: risk_pull
-- title: One pull request
-- sources: github
--
-- Pull request $number of $owner/$repo, as it is scored (seed 003, PR risk).

SELECT number, title, user__login AS author, state, head__sha AS head_sha, merged_at, merge_commit_sha, html_url
FROM github.pulls
WHERE owner = $owner
  AND repo = $repo
  AND number = $number
LIMIT 1
