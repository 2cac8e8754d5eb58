-- name: first_step_failure
-- title: First step failure
-- type: FIRST_STEP_FAILURE
-- severity: medium
-- param: max_step = first_step_failure_max_step
--
-- Something failed within the first $max_step steps. Looked for in this order: the run itself broke off; the model said
-- nothing; a tool failed.

WITH causes AS (
    SELECT
        run_id, 1 AS rank, 0 AS position, step_count AS failed_step, 0.9 AS confidence,
        'run_errored' AS reason, CAST(NULL AS VARCHAR) AS tool
    FROM ingest.runs
    WHERE exit_reason = 'error' AND step_count <= $max_step
    UNION ALL
    SELECT run_id, 2, call_index, step_index, 0.88, 'empty_llm_response', NULL
    FROM ingest.llm_calls
    WHERE step_index <= $max_step AND finish_reason = 'stop' AND output_length = 0
    UNION ALL
    SELECT run_id, 3, call_index, step_index, 0.85, 'tool_failure', tool_name
    FROM ingest.tool_calls
    WHERE step_index <= $max_step AND success = false
)
SELECT
    run_id,
    first_value(failed_step ORDER BY rank, position) AS at_step,
    first_value(confidence ORDER BY rank, position) AS confidence,
    first_value(reason ORDER BY rank, position) AS trigger,
    first_value(failed_step ORDER BY rank, position) AS failed_step,
    first_value(tool ORDER BY rank, position) AS tool,
    $max_step AS max_step
FROM causes
GROUP BY run_id
