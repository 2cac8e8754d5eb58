-- name: reasoning_stall
-- title: Reasoning stall
-- type: REASONING_STALL
-- severity: severity
-- param: ratio = reasoning_stall_ratio_threshold
-- param: min_llm_calls = reasoning_stall_min_llm_calls
-- param: inflation = reasoning_stall_inflation_factor
-- input: baselines
-- dynamic: exit_reason
-- always: exit_reason
-- round: ratio = 2, baseline_p75 = 2
--
-- $min_llm_calls model calls or more, and $ratio times as many as tool calls: the agent thinks and does not act. With static
-- confidence only runs that ended with a final answer are judged; with dynamic confidence all that did not break off,
-- against $inflation times the ratio of earlier runs where it is known.

WITH judged AS (
    SELECT
        r.run_id,
        r.step_count,
        r.llm_calls,
        r.tool_calls,
        r.exit_reason,
        CAST(r.llm_calls AS DOUBLE) / greatest(r.tool_calls, 1) AS calls_ratio,
        b.llm_tool_ratio AS baseline,
        coalesce(b.llm_tool_ratio * $inflation, $ratio) AS threshold
    FROM ingest.runs r
    LEFT JOIN input.baselines b ON b.run_id = r.run_id AND $dynamic
    WHERE r.llm_calls >= $min_llm_calls
      AND (r.exit_reason = 'final_answer' OR ($dynamic AND r.exit_reason IS DISTINCT FROM 'error'))
),
stalled AS (
    SELECT * FROM judged WHERE calls_ratio >= threshold
),
sequences AS (
    SELECT
        s.run_id,
        array_agg(
            CASE e.event_type WHEN 'llm.called' THEN 'llm' ELSE 'tool' END
            ORDER BY e.step_index, e.occurred_at, e.seq
        ) AS sequence
    FROM stalled s
    JOIN ingest.events e ON e.run_id = s.run_id
    WHERE e.event_type IN ('llm.called', 'tool.called')
    GROUP BY s.run_id
)
SELECT
    s.run_id,
    s.step_count AS at_step,
    CASE WHEN $dynamic AND s.exit_reason IS DISTINCT FROM 'final_answer' THEN 'high' ELSE 'medium' END AS severity,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (s.calls_ratio / s.threshold - 1.0) * 0.4))
        ELSE 0.7
    END AS confidence,
    s.llm_calls,
    s.tool_calls,
    s.calls_ratio AS ratio,
    s.threshold,
    s.exit_reason,
    q.sequence AS event_sequence,
    s.baseline AS baseline_p75
FROM stalled s
LEFT JOIN sequences q ON q.run_id = s.run_id
