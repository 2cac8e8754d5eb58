-- name: loop_detection_q16
-- title: Loops of the last two hours
-- sources: langfuse
-- default: threshold = 8
--
-- As agent_loop_detection, over two hours and with the number of different names (seed 003, query 16).

SELECT
    trace_id,
    count(*) AS generation_count,
    count(DISTINCT name) AS unique_names,
    min(start_time) AS first_gen,
    max(start_time) AS last_gen,
    sum(total_cost) AS total_cost
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= now() - INTERVAL '2 hours'
GROUP BY trace_id
HAVING count(*) > CAST($threshold AS BIGINT)
ORDER BY generation_count DESC, trace_id
LIMIT 20
