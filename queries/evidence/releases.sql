-- name: releases
-- title: Sentry releases before the onset and since
-- sources: sentry
-- max_rows: 100
-- at: effective_at
-- kind: release
-- text: {version}
-- ref: version

SELECT version, effective_at, last_commit__id AS last_commit, project
FROM sentry.releases
WHERE effective_at >= $since
  AND effective_at < $until
ORDER BY effective_at DESC
