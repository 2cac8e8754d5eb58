-- name: issues
-- title: Sentry issues seen around the onset
-- sources: sentry
-- max_rows: 50
-- at: first_seen
-- kind: error
-- text: {title} ({count} events, last {last_seen})
-- ref: id

SELECT id, short_id, title, culprit, level, count, first_seen, last_seen, permalink, metadata
FROM sentry.issues
WHERE last_seen >= $onset
  AND first_seen < $until
ORDER BY last_seen DESC
