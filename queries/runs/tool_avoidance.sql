-- name: tool_avoidance
-- title: Tool avoidance
-- type: TOOL_AVOIDANCE
-- severity: medium
-- json: available_tools
-- param: min_llm_calls = tool_avoidance_min_llm_calls
--
-- The run ended with a final answer, had tools, thought $min_llm_calls times or more, and called none of them.

SELECT
    run_id,
    step_count AS at_step,
    0.75 AS confidence,
    available_tools,
    tool_calls AS tool_calls_made,
    llm_calls
FROM ingest.runs
WHERE exit_reason = 'final_answer'
  AND tool_calls = 0
  AND llm_calls >= $min_llm_calls
  AND available_tools <> '[]'
