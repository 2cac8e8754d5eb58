-- name: weekly_digest_shipped
-- title: What was merged this week
-- sources: github
-- default: days = 7
--
-- Pull requests merged in the last $days days (seed 003, template 7.6). Lines added and removed cost a request each.

SELECT title, number, user__login AS author, merged_at, additions, deletions
FROM github.pulls
WHERE owner = $owner
  AND repo = $repo
  AND state = 'closed'
  AND merged_at >= now() - CAST(concat($days, ' days') AS INTERVAL)
ORDER BY merged_at DESC
