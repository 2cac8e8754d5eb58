-- name: active_issues
-- title: Sentry issues that may have events in the window
-- over: window
-- sources: sentry
-- input: recent_issues

SELECT id, title, culprit, project, count, first_seen, last_seen
FROM input.recent_issues
WHERE last_seen >= $start
  AND first_seen < $end
