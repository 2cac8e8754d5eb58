-- name: digest_merges
-- title: Pull requests merged in the week
-- sources: github

SELECT number, title, user__login AS author, merged_at, merge_commit_sha, html_url
FROM github.pulls
WHERE owner = $owner
  AND repo = $repo
  AND state = 'closed'
  AND merged_at >= $week_start
  AND merged_at < $week_end
ORDER BY merged_at DESC, number DESC
