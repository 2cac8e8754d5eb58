-- name: pages
-- title: PagerDuty incidents since shortly before the onset
-- sources: pagerduty
-- optional: true
-- max_rows: 50
-- at: created_at
-- kind: page
-- text: #{incident_number} {title} ({urgency}, {status}) — {service}
-- ref: id

SELECT id, incident_number, title, status, urgency, service__summary AS service, created_at, resolved_at, html_url
FROM pagerduty.incidents
WHERE created_at >= $before
  AND created_at < $until
ORDER BY created_at DESC
