-- name: issue_events
-- title: Events of the issues that began with the incident
-- sources: sentry
-- max_rows: 200
--
-- Of the issues first seen around the onset, and those that the detector names.

SELECT issue_id, event_id, timestamp, title, culprit, location, tags, metadata
FROM sentry.issue_events
WHERE issue_id = ANY($issue_ids)
  AND timestamp >= $before
  AND timestamp < $until
ORDER BY timestamp DESC
