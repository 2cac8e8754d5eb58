-- name: risk_pull_files
-- title: The files of a pull request
-- sources: github
--
-- Every file that pull request $number of $owner/$repo changes, all pages, with the path before a rename.

SELECT filename, previous_filename, status, additions, deletions
FROM github.pull_files
WHERE owner = $owner
  AND repo = $repo
  AND number = $number
ORDER BY filename
