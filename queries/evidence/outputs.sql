-- name: outputs
-- title: The newest outputs
-- types: prompt_drift
-- sources: langfuse
-- content: output
-- max_rows: 20

SELECT start_time, id, trace_id, level, output
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND (name = $entity OR ($entity = '(unnamed)' AND trim(coalesce(name, '')) = ''))
  AND start_time >= $window_start
  AND start_time < $until
ORDER BY start_time DESC
LIMIT 20
