-- name: step_count_inflation
-- title: Step count inflation
-- type: STEP_COUNT_INFLATION
-- severity: medium
-- param: inflation = step_count_inflation_factor
-- input: baselines
-- round: baseline_p75 = 1, inflation_ratio = 2
--
-- The run took more than $inflation times as many steps as three in four of the agent's last 50 completed runs.

SELECT
    r.run_id,
    r.step_count AS at_step,
    CASE WHEN $dynamic
        THEN greatest(0.0, least(1.0, 0.5 + (CAST(r.step_count AS DOUBLE) / (b.steps * $inflation) - 1.0) * 0.4))
        ELSE 0.82
    END AS confidence,
    r.step_count AS current_steps,
    b.steps AS baseline_p75,
    CAST(r.step_count AS DOUBLE) / b.steps AS inflation_ratio,
    $inflation AS threshold_factor
FROM ingest.runs r
JOIN input.baselines b ON b.run_id = r.run_id
WHERE b.steps > 0 AND r.step_count > b.steps * $inflation
