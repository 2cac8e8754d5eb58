-- name: calls
-- title: Model calls of the feature around the onset
-- types: cost_spike, error_cascade, prompt_drift, agent_loop
-- sources: langfuse
-- max_rows: 3000
--
-- Newest first. From these the onset of a spike is found, and how many calls lie between a deploy and the onset.

SELECT start_time, id, trace_id, model, total_cost AS cost_usd, input_tokens, output_tokens, level
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND (name = $feature OR ($feature = '(unnamed)' AND trim(coalesce(name, '')) = ''))
  AND start_time >= $before
  AND start_time < $until
ORDER BY start_time DESC
