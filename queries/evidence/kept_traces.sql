-- name: kept_traces
-- title: Traces that the sampler kept
-- types: cost_spike, error_cascade, prompt_drift, agent_loop, silent_tool_failure
-- sources: agent
-- max_rows: 50
--
-- What is worth looking at since six hours before the onset, of the feature and of any other: docs/sampling.md. No rows: the sampler
-- kept none, or has not run yet (agent.sampling_stats says which).

SELECT
    trace_id,
    feature,
    started_at,
    score,
    reasons,
    generation_count,
    cost_usd
FROM agent.sampled_traces
WHERE started_at >= $before
  AND started_at < $until
ORDER BY (trace_id = $entity) DESC, (coalesce(feature, '') = $feature) DESC, score DESC, cost_usd DESC NULLS LAST, trace_id
LIMIT 50
