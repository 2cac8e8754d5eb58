-- name: risk_commits
-- title: Commits that can be measured
-- sources: github
--
-- Commits of the default branch of $owner/$repo that landed from $since until before $until, newest first.

SELECT sha, commit__committer__date AS committed_at, parents
FROM github.commits
WHERE owner = $owner
  AND repo = $repo
  AND commit__committer__date >= $since
  AND commit__committer__date < $until
ORDER BY commit__committer__date DESC
