-- name: tags
-- title: GitHub releases before the onset
-- sources: github
-- max_rows: 50
-- at: published_at
-- kind: release
-- text: {tag_name}
-- ref: tag_name

SELECT tag_name, name, target_commitish, published_at
FROM github.releases
WHERE owner = $owner
  AND repo = $repo
  AND published_at >= $since
  AND published_at < $until
ORDER BY published_at DESC
