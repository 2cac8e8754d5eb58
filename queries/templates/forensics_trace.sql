-- name: forensics_trace
-- title: The observations of a trace
-- sources: langfuse
--
-- Every observation of $trace_id in order, with its parent.

SELECT
    id,
    parent_observation_id AS parent_id,
    type,
    name,
    model,
    start_time AS started_at,
    end_time AS ended_at,
    total_cost AS cost_usd,
    input_tokens,
    output_tokens,
    level,
    status_message
FROM langfuse.observations
WHERE trace_id = $trace_id
ORDER BY start_time, id
LIMIT 5000
