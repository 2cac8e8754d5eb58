-- name: agent_loop_detection
-- title: Loops of the last hour
-- sources: langfuse
-- param: threshold = agent_loop_generation_threshold
--
-- Traces with more generations than the threshold within an hour, for a quick look (seed 003, template 7.7).

SELECT
    trace_id,
    count(*) AS generation_count,
    min(start_time) AS first_gen,
    max(start_time) AS last_gen,
    sum(total_cost) AS total_cost
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= now() - INTERVAL '1 hour'
GROUP BY trace_id
HAVING count(*) > CAST($threshold AS BIGINT)
ORDER BY generation_count DESC, trace_id
LIMIT 10
