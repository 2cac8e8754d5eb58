-- name: new_issues
-- title: Sentry issues that began in the window
-- over: window
-- sources: sentry
-- input: recent_issues
-- param: min_count = tool_error_min_issue_count

SELECT id, title, culprit, count, first_seen
FROM input.recent_issues
WHERE first_seen >= $start
  AND first_seen < $end
  AND count >= $min_count
