-- name: cascading_tool_failure
-- title: Cascading tool failure
-- type: CASCADING_TOOL_FAILURE
-- severity: high
-- param: threshold = cascading_tool_failure_threshold
--
-- The last $threshold tool calls of a run, or more, all failed, and more than one tool is among them.

WITH last_good AS (
    SELECT run_id, max(call_index) AS call_index
    FROM ingest.tool_calls
    WHERE success IS DISTINCT FROM false
    GROUP BY run_id
),
trailing AS (
    SELECT
        r.run_id,
        r.step_count,
        coalesce(g.call_index, 0) AS last_good,
        r.tool_calls - coalesce(g.call_index, 0) AS failures
    FROM ingest.runs r
    LEFT JOIN last_good g ON g.run_id = r.run_id
    WHERE r.tool_calls - coalesce(g.call_index, 0) >= $threshold
),
tools AS (
    SELECT t.run_id, array_sort(array_agg(DISTINCT c.tool_name)) AS tools, min(c.call_index) AS first_call
    FROM trailing t
    JOIN ingest.tool_calls c ON c.run_id = t.run_id AND c.call_index > t.last_good
    GROUP BY t.run_id
)
SELECT
    t.run_id,
    t.step_count AS at_step,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (CAST(t.failures AS DOUBLE) / CAST($threshold AS DOUBLE) - 1.0) * 0.4))
        ELSE 0.88
    END AS confidence,
    t.failures AS consecutive_failures,
    u.tools AS distinct_tools,
    $threshold AS threshold,
    c.step_index AS first_fail_step
FROM trailing t
JOIN tools u ON u.run_id = t.run_id
JOIN ingest.tool_calls c ON c.run_id = t.run_id AND c.call_index = u.first_call
WHERE cardinality(u.tools) >= 2
