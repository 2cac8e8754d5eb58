-- name: risk_errors
-- title: Issues by when they were first seen
-- sources: sentry
--
-- Issues first seen from $since until before $until.

SELECT id, first_seen
FROM sentry.issues
WHERE first_seen >= $since
  AND first_seen < $until
