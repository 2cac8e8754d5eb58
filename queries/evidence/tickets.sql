-- name: tickets
-- title: Linear issues that changed since the onset
-- sources: linear
-- optional: true
-- max_rows: 30
--
-- Work that is already under way about it, and whose it is.

SELECT identifier, title, state__name AS state, priority_label AS priority, assignee__name AS assignee, team__key AS team,
    created_at, updated_at, url
FROM linear.issues
WHERE updated_at >= $onset
  AND updated_at < $until
ORDER BY updated_at DESC
LIMIT 30
