-- name: tool_thrashing
-- title: Tool thrashing
-- type: TOOL_THRASHING
-- severity: high
-- param: window = tool_thrashing_window
--
-- The last $window tool calls alternate strictly between exactly two tools.

WITH recent AS (
    SELECT
        c.run_id,
        r.step_count,
        array_agg(c.tool_name ORDER BY c.call_index) AS pattern,
        count(DISTINCT c.tool_name) AS tools,
        count(DISTINCT c.tool_name) FILTER (WHERE c.call_index % 2 = 0) AS even_tools,
        count(DISTINCT c.tool_name) FILTER (WHERE c.call_index % 2 = 1) AS odd_tools
    FROM ingest.tool_calls c
    JOIN ingest.runs r ON r.run_id = c.run_id
    WHERE r.tool_calls >= $window AND c.call_index > r.tool_calls - $window
    GROUP BY c.run_id, r.step_count
)
SELECT
    run_id,
    step_count AS at_step,
    0.9 AS confidence,
    pattern[1] AS tool_a,
    pattern[2] AS tool_b,
    pattern,
    $window AS count
FROM recent
WHERE tools = 2 AND even_tools = 1 AND odd_tools = 1
