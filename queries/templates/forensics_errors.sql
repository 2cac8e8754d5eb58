-- name: forensics_errors
-- title: Issues first seen in a window
-- sources: sentry
--
-- Issues first seen from $since until before $until, the most frequent first (seed 003, forensics).

SELECT id, short_id, title, count, first_seen, last_seen, permalink AS url,
    -- How many there are; the most frequent are drawn.
    count(*) OVER () AS in_window
FROM sentry.issues
WHERE first_seen >= $since
  AND first_seen < $until
ORDER BY count DESC, first_seen
LIMIT 25
