-- name: pulls
-- title: Pull requests merged before the onset
-- sources: github
-- max_rows: 200
-- at: merged_at
-- kind: merge
-- text: #{number} {title} — {author}
-- ref: merge_commit_sha

SELECT number, title, user__login AS author, merged_at, merge_commit_sha, head__sha AS head_sha, html_url
FROM github.pulls
WHERE owner = $owner
  AND repo = $repo
  AND merged_at >= $since
  AND merged_at < $until
ORDER BY merged_at DESC
