-- name: forensics_commits
-- title: Commits of a window
-- sources: github
--
-- Commits of $owner/$repo from a day before $since until $until: what may have led to errors of the window.

SELECT
    sha,
    split_part(commit__message, chr(10), 1) AS message,
    coalesce(author__login, commit__author__name) AS author,
    commit__committer__date AS at,
    html_url AS url
FROM github.commits
WHERE owner = $owner
  AND repo = $repo
  AND commit__committer__date >= $since - INTERVAL '24 hours'
  AND commit__committer__date < $until
ORDER BY commit__committer__date DESC
LIMIT 50
