-- name: costly_traces
-- title: The costliest traces of the window, those first that the sampler kept
-- types: cost_spike, error_cascade
-- sources: langfuse
-- max_rows: 10
--
-- `kept_for` says why the sampler kept a trace; null: it did not, or has not judged it yet.

WITH traces AS (
    SELECT
        trace_id,
        max(user_id) AS user_id,
        count(*) AS generations,
        count(total_cost) AS priced,
        sum(total_cost) AS cost_usd,
        min(start_time) AS started_at
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND (name = $feature OR ($feature = '(unnamed)' AND trim(coalesce(name, '')) = ''))
      AND start_time >= $window_start
      AND start_time < $until
    GROUP BY trace_id
)
SELECT
    traces.trace_id,
    traces.user_id,
    traces.generations,
    traces.priced,
    traces.cost_usd,
    traces.started_at,
    kept.score AS sampler_score,
    kept.reasons AS kept_for
FROM traces
LEFT JOIN agent.sampled_traces AS kept ON kept.trace_id = traces.trace_id
ORDER BY kept.score IS NULL, traces.cost_usd DESC NULLS LAST, traces.trace_id
LIMIT 10
