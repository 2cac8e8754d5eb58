-- name: commit_files
-- title: Files of the commits under suspicion
-- sources: github
-- max_rows: 2000
-- timeout: 60s

SELECT sha, filename, status, additions, deletions
FROM github.commit_files
WHERE owner = $owner
  AND repo = $repo
  AND sha = ANY($shas)
ORDER BY sha, filename
