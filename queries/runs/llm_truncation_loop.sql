-- name: llm_truncation_loop
-- title: Truncated answers
-- type: LLM_TRUNCATION_LOOP
-- severity: high
-- param: threshold = llm_truncation_loop_threshold
--
-- $threshold or more of a run's model calls were cut off at the limit of tokens. The token counts in the evidence are those
-- of their prompts.

WITH truncated AS (
    SELECT
        run_id,
        count(*) AS truncations,
        min(call_index) AS first_call,
        max(call_index) AS last_call,
        first_value(step_index ORDER BY call_index) AS first_step,
        last_value(step_index ORDER BY call_index) AS last_step,
        array_agg(prompt_tokens ORDER BY call_index) FILTER (WHERE prompt_tokens IS NOT NULL) AS tokens,
        array_sort(array_agg(DISTINCT model)) AS models
    FROM ingest.llm_calls
    WHERE finish_reason = 'length'
    GROUP BY run_id
    HAVING count(*) >= $threshold
)
SELECT
    t.run_id,
    r.step_count AS at_step,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (CAST(t.truncations AS DOUBLE) / CAST($threshold AS DOUBLE) - 1.0) * 0.4))
        ELSE 0.9
    END AS confidence,
    t.truncations AS truncation_count,
    r.llm_calls AS total_llm_calls,
    t.first_step AS first_truncation_step,
    t.last_step AS last_truncation_step,
    coalesce(t.tokens, make_array()) AS token_counts_at_truncation,
    t.models
FROM truncated t
JOIN ingest.runs r ON r.run_id = t.run_id
