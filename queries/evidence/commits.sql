-- name: commits
-- title: Commits of the week before the onset
-- sources: github
-- max_rows: 500
-- timeout: 60s
-- at: committed_at
-- kind: commit
-- text: {message_line} — {author}
-- ref: sha
--
-- A week, because what was committed days ago may have been deployed minutes before the onset.

SELECT
    sha,
    split_part(commit__message, chr(10), 1) AS message_line,
    commit__message AS message,
    coalesce(author__login, commit__author__name) AS author,
    commit__committer__date AS committed_at,
    json_length(parents) AS parents,
    html_url
FROM github.commits
WHERE owner = $owner
  AND repo = $repo
  AND commit__committer__date >= $history
  AND commit__committer__date < $until
ORDER BY commit__committer__date DESC
