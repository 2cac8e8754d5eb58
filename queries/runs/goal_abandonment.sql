-- name: goal_abandonment
-- title: Goal abandonment
-- type: GOAL_ABANDONMENT
-- severity: medium
-- param: stall_steps = goal_abandonment_stall_steps
--
-- A run that never ended: it used a tool, and its last $stall_steps events are all about the model. Only runs that
-- are judged because they stalled can be meant.

WITH open_runs AS (
    SELECT run_id, step_count, tool_calls
    FROM ingest.runs
    WHERE exit_reason IS NULL AND tool_calls > 0
),
ordered AS (
    SELECT
        e.run_id,
        e.event_type,
        CAST(row_number() OVER (
            PARTITION BY e.run_id ORDER BY e.step_index DESC, e.occurred_at DESC, e.seq DESC
        ) AS BIGINT) AS from_end
    FROM ingest.events e
    JOIN open_runs o ON o.run_id = e.run_id
),
tails AS (
    SELECT
        run_id,
        array_agg(event_type ORDER BY from_end DESC) AS sequence,
        count(*) AS events,
        count(*) FILTER (WHERE starts_with(event_type, 'llm.')) AS model_events
    FROM ordered
    WHERE from_end <= $stall_steps
    GROUP BY run_id
),
abandoned AS (
    SELECT
        o.run_id,
        o.step_count,
        t.sequence,
        c.step_index AS last_tool_step,
        c.tool_name AS last_tool,
        o.step_count - c.step_index AS since
    FROM open_runs o
    JOIN tails t ON t.run_id = o.run_id
    JOIN ingest.tool_calls c ON c.run_id = o.run_id AND c.call_index = o.tool_calls
    WHERE t.events = $stall_steps AND t.model_events = t.events
)
SELECT
    run_id,
    step_count AS at_step,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (CAST(since AS DOUBLE) / CAST($stall_steps AS DOUBLE) - 1.0) * 0.4))
        ELSE 0.7
    END AS confidence,
    $stall_steps AS stall_steps,
    last_tool_step,
    last_tool AS last_tool_used,
    step_count AS current_step,
    since AS steps_since_last_tool,
    sequence AS stall_event_sequence
FROM abandoned
