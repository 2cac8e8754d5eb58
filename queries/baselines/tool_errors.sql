-- name: tool_errors
-- title: Events of Sentry issues that began in the window
-- over: window
-- sources: sentry
-- input: new_issues
-- list: issue_ids = new_issues.id

SELECT event.issue_id, event.event_id, event.timestamp, event.tags, issue.title, issue.culprit
FROM sentry.issue_events AS event
JOIN input.new_issues AS issue ON issue.id = event.issue_id
WHERE event.issue_id = ANY($issue_ids)
  AND event.timestamp >= $start
  AND event.timestamp < $end
