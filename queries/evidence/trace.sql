-- name: trace
-- title: The observations of the trace
-- types: agent_loop
-- sources: langfuse
-- content: input, output
-- max_rows: 300
--
-- What was said is not kept: only its length, kind, keys and hash. Equal hashes show a call that repeats itself.

SELECT start_time, id, type, name, model, level, total_cost AS cost_usd, input, output
FROM langfuse.observations
WHERE trace_id = $entity
ORDER BY start_time
