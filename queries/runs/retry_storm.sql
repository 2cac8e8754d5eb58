-- name: retry_storm
-- title: Retry storm
-- type: RETRY_STORM
-- severity: high
-- param: threshold = retry_storm_threshold
-- always: failure_reason_hash
--
-- One tool failed $threshold times or more, call after call. The longest such streak is the finding, of several equally long
-- ones the newest. Where confidence is dynamic, a tool that succeeded afterwards has recovered and is no finding.

WITH failed AS (
    SELECT
        run_id,
        tool_name,
        call_index,
        call_index - row_number() OVER (PARTITION BY run_id, tool_name ORDER BY call_index) AS streak
    FROM ingest.tool_calls
    WHERE success = false
),
streaks AS (
    SELECT run_id, tool_name, count(*) AS fails, min(call_index) AS first_call, max(call_index) AS last_call
    FROM failed
    GROUP BY run_id, tool_name, streak
    HAVING count(*) >= $threshold
),
longest AS (
    SELECT *, row_number() OVER (PARTITION BY run_id ORDER BY fails DESC, last_call DESC) AS position
    FROM streaks
),
storms AS (
    SELECT
        l.run_id,
        l.tool_name,
        l.fails,
        min(c.step_index) AS first_fail_step,
        max(c.step_index) AS last_fail_step,
        array_agg(c.step_index ORDER BY c.call_index) AS step_indices,
        count(DISTINCT coalesce(c.args_hash, '')) AS different_args,
        array_agg(c.error_hash ORDER BY c.call_index) AS error_hashes,
        count(c.error_hash) = count(*) AND min(c.error_hash) = max(c.error_hash) AS reason_identical,
        min(c.error_hash) AS error_hash
    FROM longest l
    JOIN ingest.tool_calls c
        ON c.run_id = l.run_id AND c.call_index >= l.first_call AND c.call_index <= l.last_call
    WHERE l.position = 1
    GROUP BY l.run_id, l.tool_name, l.fails
),
recovered AS (
    SELECT DISTINCT s.run_id
    FROM storms s
    JOIN ingest.tool_calls c ON c.run_id = s.run_id AND c.tool_name = s.tool_name
    WHERE c.success AND c.step_index > s.last_fail_step
)
SELECT
    s.run_id,
    r.step_count AS at_step,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (CAST(s.fails AS DOUBLE) / CAST($threshold AS DOUBLE) - 1.0) * 0.4))
        ELSE 0.92
    END AS confidence,
    s.tool_name AS tool,
    s.fails AS consecutive_fails,
    $threshold AS threshold,
    s.first_fail_step,
    s.step_indices,
    s.different_args = 1 AS args_identical,
    s.error_hashes,
    CASE WHEN s.reason_identical THEN s.error_hash END AS failure_reason_hash,
    coalesce(s.reason_identical, false) AS reason_identical
FROM storms s
JOIN ingest.runs r ON r.run_id = s.run_id
LEFT JOIN recovered v ON v.run_id = s.run_id
WHERE v.run_id IS NULL OR NOT $dynamic
