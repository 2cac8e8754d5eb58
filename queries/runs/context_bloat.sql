-- name: context_bloat
-- title: Context bloat
-- type: CONTEXT_BLOAT
-- severity: medium
-- param: growth_factor = context_bloat_growth_factor
-- param: min_calls = context_bloat_min_calls
-- param: min_last_tokens = context_bloat_min_last_tokens
-- param: inflation = context_bloat_inflation_factor
-- input: baselines
-- dynamic: threshold_factor
-- round: growth_factor = 2, threshold_factor = 2, baseline_p75 = 2
--
-- The prompt grew from a run's first model call to its last by $growth_factor or more; where confidence is dynamic and the
-- growth of earlier runs is known, by $inflation times that.

WITH ends AS (
    SELECT run_id, count(*) AS calls, min(call_index) AS first_call, max(call_index) AS last_call
    FROM ingest.llm_calls
    WHERE prompt_tokens > 0
    GROUP BY run_id
    HAVING count(*) >= $min_calls
),
growths AS (
    SELECT
        e.run_id,
        e.calls,
        f.prompt_tokens AS first_tokens,
        l.prompt_tokens AS last_tokens,
        f.step_index AS first_step,
        l.step_index AS last_step,
        CAST(l.prompt_tokens AS DOUBLE) / f.prompt_tokens AS growth
    FROM ends e
    JOIN ingest.llm_calls f ON f.run_id = e.run_id AND f.call_index = e.first_call
    JOIN ingest.llm_calls l ON l.run_id = e.run_id AND l.call_index = e.last_call
    WHERE f.prompt_tokens >= 10 AND l.prompt_tokens >= $min_last_tokens
),
grown AS (
    SELECT g.*, b.token_growth AS baseline, coalesce(b.token_growth * $inflation, $growth_factor) AS threshold
    FROM growths g
    LEFT JOIN input.baselines b ON b.run_id = g.run_id AND $dynamic
    WHERE g.growth >= coalesce(b.token_growth * $inflation, $growth_factor)
),
sequences AS (
    SELECT
        g.run_id,
        array_agg(named_struct('step', c.step_index, 'tokens', c.prompt_tokens) ORDER BY c.call_index) AS sequence
    FROM grown g
    JOIN ingest.llm_calls c ON c.run_id = g.run_id
    WHERE c.prompt_tokens > 0
    GROUP BY g.run_id
)
SELECT
    g.run_id,
    r.step_count AS at_step,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (g.growth / g.threshold - 1.0) * 0.4))
        ELSE 0.8
    END AS confidence,
    g.first_tokens,
    g.last_tokens,
    g.growth AS growth_factor,
    g.threshold AS threshold_factor,
    g.calls AS llm_call_count,
    g.first_step AS first_call_step,
    g.last_step AS last_call_step,
    s.sequence AS token_growth_sequence,
    g.baseline AS baseline_p75
FROM grown g
JOIN sequences s ON s.run_id = g.run_id
JOIN ingest.runs r ON r.run_id = g.run_id
