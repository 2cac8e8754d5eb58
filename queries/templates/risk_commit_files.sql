-- name: risk_commit_files
-- title: The files of commits
-- sources: github
--
-- What the commits $shas of $owner/$repo changed; one request per commit.

SELECT sha, filename, previous_filename
FROM github.commit_files
WHERE owner = $owner
  AND repo = $repo
  AND sha = ANY($shas)
