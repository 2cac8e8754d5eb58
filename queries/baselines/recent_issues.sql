-- name: recent_issues
-- title: Sentry issues with events in the last six hours
-- over: last 6h
-- keep: 60s
-- sources: sentry
--
-- One listing for all detectors of a cycle. An issue that is seen again later is here all the same.

SELECT id, title, culprit, project, count, first_seen, last_seen
FROM sentry.issues
WHERE last_seen >= $start
  AND first_seen < $end
