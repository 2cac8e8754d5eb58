-- name: slow_step
-- title: Slow step
-- type: SLOW_STEP
-- severity: severity
-- param: tool_ms = slow_step_tool_ms
-- param: llm_ms = slow_step_llm_ms
-- param: default_ms = slow_step_default_ms
-- param: inflation = slow_step_inflation_factor
-- param: high_ratio = slow_step_high_ratio
-- input: baselines
-- round: ratio = 1, baseline_p75 = 1
-- json: all_slow_steps, coincident_signals
--
-- A step took longer than its kind may: a tool call $tool_ms, a model call $llm_ms, anything else $default_ms; where
-- confidence is dynamic and the latency of earlier runs is known, $inflation times that. The step that exceeds its limit
-- by most is the finding.

WITH steps AS (
    SELECT
        s.run_id,
        s.step_index,
        s.event_type,
        s.duration_ms,
        s.started_at,
        CASE
            WHEN s.event_type = 'tool.called' THEN 'tool execution'
            WHEN s.event_type = 'llm.called' THEN 'LLM call'
            ELSE 'step'
        END AS label,
        CASE
            WHEN s.event_type = 'tool.called' THEN $tool_ms
            WHEN s.event_type = 'llm.called' THEN $llm_ms
            ELSE $default_ms
        END AS fixed_ms,
        CASE
            WHEN s.event_type = 'tool.called' THEN b.tool_latency_ms
            WHEN s.event_type = 'llm.called' THEN b.llm_latency_ms
        END AS baseline
    FROM ingest.steps s
    LEFT JOIN input.baselines b ON b.run_id = s.run_id AND $dynamic
    WHERE s.duration_ms > 0
),
slow AS (
    SELECT
        *,
        CAST(duration_ms AS DOUBLE) / threshold_ms AS ratio,
        row_number() OVER (
            PARTITION BY run_id ORDER BY CAST(duration_ms AS DOUBLE) / threshold_ms DESC, step_index
        ) AS position
    FROM (
        SELECT *, coalesce(CAST(trunc(baseline * $inflation) AS BIGINT), fixed_ms) AS threshold_ms FROM steps
    )
    WHERE duration_ms > threshold_ms
),
all_slow AS (
    SELECT
        run_id,
        concat('{', string_agg(concat('"', step_index, '":', duration_ms), ',' ORDER BY step_index), '}') AS durations
    FROM slow
    GROUP BY run_id
),
signals AS (
    SELECT
        s.run_id,
        concat('[', string_agg(concat(
            '{"signal_name":', json_get_json(x.payload, 'signal_name'),
            CASE WHEN json_get_str(x.payload, 'source') <> ''
                THEN concat(',"source":', json_get_json(x.payload, 'source')) ELSE '' END,
            CASE WHEN json_length(x.payload, 'meta') > 0
                THEN concat(',"meta":', json_get_json(x.payload, 'meta')) ELSE '' END,
            '}'), ',' ORDER BY x.step_index, x.occurred_at, x.seq), ']') AS signals
    FROM slow s
    JOIN ingest.events x ON x.run_id = s.run_id
    WHERE s.position = 1
      AND x.event_type = 'external.signal'
      AND CAST(x.occurred_at AS BIGINT) - CAST(s.started_at AS BIGINT) BETWEEN 0 AND s.duration_ms * 1000
    GROUP BY s.run_id
)
SELECT
    s.run_id,
    s.step_index AS at_step,
    CASE WHEN s.ratio >= $high_ratio THEN 'high' ELSE 'medium' END AS severity,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (s.ratio - 1.0) * 0.4))
        ELSE 0.92
    END AS confidence,
    s.step_index,
    s.duration_ms,
    s.threshold_ms,
    s.event_type,
    s.label AS step_label,
    s.ratio,
    a.durations AS all_slow_steps,
    s.baseline AS baseline_p75,
    x.signals AS coincident_signals
FROM slow s
JOIN all_slow a ON a.run_id = s.run_id
LEFT JOIN signals x ON x.run_id = s.run_id
WHERE s.position = 1
