-- name: tool_calls
-- title: Calls of the tool around the onset
-- types: silent_tool_failure
-- sources: langfuse
-- max_rows: 3000
--
-- Newest first.

SELECT start_time, id, trace_id, level
FROM langfuse.observations
WHERE type IN ('SPAN', 'TOOL')
  AND (name = $entity OR ($entity = '(unnamed)' AND trim(coalesce(name, '')) = ''))
  AND start_time >= $before
  AND start_time < $until
ORDER BY start_time DESC
