-- name: alerts
-- title: What Datadog said since shortly before the onset
-- sources: datadog
-- optional: true
-- max_rows: 50
-- at: timestamp
-- kind: alert
-- text: {title} ({status})
-- ref: id

SELECT id, timestamp, title, status, service, monitor_id, monitor__name AS monitor, source_type_name AS source_type
FROM datadog.events
WHERE timestamp >= $before
  AND timestamp < $until
  AND status IN ('error', 'warn', 'critical')
ORDER BY timestamp DESC
