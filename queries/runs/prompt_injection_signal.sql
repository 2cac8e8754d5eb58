-- name: prompt_injection_signal
-- title: Prompt injection signal
-- type: PROMPT_INJECTION_SIGNAL
-- severity: critical
-- json: matched_patterns
--
-- The run's input matched patterns of prompt injection. They are matched before the input is hashed; what is kept are
-- the labels of the patterns, never the text.

SELECT
    run_id,
    0 AS at_step,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (CAST(injection_patterns AS DOUBLE) - 1.0) * 0.4))
        ELSE 0.85
    END AS confidence,
    injection_patterns AS matched_pattern_count,
    injection_labels AS matched_patterns,
    injection_input_length AS input_length
FROM ingest.runs
WHERE injection_patterns > 0
