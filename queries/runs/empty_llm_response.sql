-- name: empty_llm_response
-- title: Empty answer
-- type: EMPTY_LLM_RESPONSE
-- severity: high
--
-- A model call ended by itself and said nothing.

SELECT
    run_id,
    first_value(step_index ORDER BY call_index) AS at_step,
    0.95 AS confidence,
    count(*) AS occurrences,
    first_value(step_index ORDER BY call_index) AS first_step,
    'stop' AS finish_reason
FROM ingest.llm_calls
WHERE finish_reason = 'stop' AND output_length = 0
GROUP BY run_id
