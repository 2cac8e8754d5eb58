-- name: tool_loop
-- title: Tool loop
-- type: TOOL_LOOP
-- severity: high
-- param: window = tool_loop_window
-- param: threshold = tool_loop_threshold
-- always: success_rate, wasted_tokens
--
-- Among the last $window tool calls of a run one tool occurs $threshold times or more. Where several do, the one that
-- appears first in the window is meant. Counts and hashes in the evidence are of the whole run.

WITH recent AS (
    SELECT c.run_id, c.tool_name, c.call_index, c.step_index, r.tool_calls
    FROM ingest.tool_calls c
    JOIN ingest.runs r ON r.run_id = c.run_id
    WHERE r.tool_calls >= $window AND c.call_index > r.tool_calls - $window
),
repeated AS (
    SELECT run_id, tool_name, min(call_index) AS appears
    FROM recent
    GROUP BY run_id, tool_name
    HAVING count(*) >= $threshold
),
looping AS (
    SELECT run_id, first_value(tool_name ORDER BY appears) AS tool_name
    FROM repeated
    GROUP BY run_id
),
ends AS (
    SELECT run_id, step_index AS at_step FROM recent WHERE call_index = tool_calls
),
calls AS (
    SELECT
        c.run_id,
        c.tool_name,
        count(*) AS calls,
        min(c.step_index) AS first_step,
        max(c.step_index) AS last_step,
        array_agg(c.step_index ORDER BY c.call_index) AS step_indices,
        array_agg(c.args_hash ORDER BY c.call_index) AS args_hashes,
        count(DISTINCT coalesce(c.args_hash, '')) AS different_args,
        CAST(count(*) FILTER (WHERE c.success) AS DOUBLE) / nullif(count(c.success), 0) AS success_rate
    FROM ingest.tool_calls c
    JOIN looping l ON l.run_id = c.run_id AND l.tool_name = c.tool_name
    GROUP BY c.run_id, c.tool_name
),
wasted AS (
    SELECT c.run_id, nullif(sum(l.prompt_tokens), 0) AS tokens
    FROM calls c
    JOIN ingest.llm_calls l ON l.run_id = c.run_id AND l.step_index > c.first_step AND l.step_index <= c.last_step
    GROUP BY c.run_id
)
SELECT
    c.run_id,
    e.at_step,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (CAST(c.calls AS DOUBLE) / CAST($threshold AS DOUBLE) - 1.0) * 0.4))
        ELSE 0.95
    END AS confidence,
    c.tool_name AS tool,
    c.calls AS count,
    $window AS "window",
    c.first_step,
    c.last_step,
    c.step_indices,
    c.args_hashes,
    c.different_args = 1 AS args_identical,
    c.different_args <= 2 AS args_similar,
    c.success_rate,
    w.tokens AS wasted_tokens
FROM calls c
JOIN ends e ON e.run_id = c.run_id
LEFT JOIN wasted w ON w.run_id = c.run_id
