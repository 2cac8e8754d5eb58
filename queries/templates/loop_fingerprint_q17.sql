-- name: loop_fingerprint_q17
-- title: The steps of a trace
-- sources: langfuse
--
-- Every observation of $trace_id in order: what repeats, how fast, at what cost (seed 003, query 17).

SELECT name, start_time, total_cost, model
FROM langfuse.observations
WHERE trace_id = $trace_id
ORDER BY start_time
