-- name: prompt_drift
-- title: Prompt drift
-- schedule: 20 */15 * * * *
-- window: 24h
-- sources: langfuse
-- input: output_shapes
-- input: score_history
-- param: fail_rate = drift_fail_rate_threshold
-- param: high_fail_rate = drift_high_fail_rate
-- param: min_outputs = drift_min_outputs
-- param: min_failures = drift_min_failures
-- param: fail_sigmas = drift_noise_sigmas
-- param: score_delta = score_regression_delta
-- param: min_scores = score_regression_min_samples
-- param: sigmas = score_regression_noise_sigmas
-- severity: severity
-- entity: feature
-- onset: onset
-- cost: cost_usd
-- json: missing_keys, examples
-- action: create_issue
-- description: {entity} drifted ({drift_type}): {failed} of its newest {judged} outputs break its schema
--
-- Strategy A, schema_break: the newest 20 outputs of each feature against the schema of its healthy outputs
-- (input.output_shapes, one row per feature; input.output_shapes_keys, one row per key). An output fails that is blank,
-- that is not JSON of the feature's kind, that lacks a required key, or whose value has a type never seen at that key.
-- A text feature fails only by being blank; a feature of mixed outputs, or without a schema yet, is not judged.
-- Strategy B, score_regression: the average of a score in the window against the 7 days before it, per name and data
-- type, each score counted once per feature (seed 003, prompt drift).

WITH outputs AS MATERIALIZED (
    SELECT
        id,
        trace_id,
        coalesce(nullif(trim(name), ''), '(unnamed)') AS feature,
        start_time,
        coalesce(total_cost, 0.0) AS cost_usd,
        CASE json_kind(output)
            WHEN 'string' THEN json_as_text(concat('[', output, ']'), 0)
            -- A chat message: what the model said is its content.
            WHEN 'object' THEN CASE WHEN json_contains(output, 'role')
                THEN coalesce(json_get_str(output, 'content'), output) ELSE output END
            ELSE coalesce(output, '') END AS text
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $window_start
      AND start_time < $window_end
      AND (output IS NOT NULL OR end_time IS NOT NULL)
      -- A call that failed aloud is an error, not drift.
      AND coalesce(level, 'DEFAULT') <> 'ERROR'
),
kinds AS MATERIALIZED (
    SELECT
        outputs.*,
        json_kind(text) AS kind,
        shape.kind AS expected_kind,
        greatest(shape.fail_share, 1.0 / (shape.outputs + 2)) AS chance,
        row_number() OVER (PARTITION BY outputs.feature ORDER BY start_time DESC, outputs.id DESC) AS newest
    FROM outputs
    JOIN input.output_shapes AS shape ON shape.feature = outputs.feature
    WHERE shape.kind <> 'mixed'
),
broken_keys AS MATERIALIZED (
    SELECT
        kinds.id,
        key.key,
        CASE
            WHEN key.required AND coalesce(json_kind(json_get_json(kinds.text, key.key)), 'null') = 'null' THEN 'missing'
            WHEN strpos(key.kinds, concat('|', coalesce(json_kind(json_get_json(kinds.text, key.key)), 'null'), '|')) = 0
                 AND coalesce(json_kind(json_get_json(kinds.text, key.key)), 'null') <> 'null' THEN 'type'
        END AS problem
    FROM kinds
    JOIN input.output_shapes_keys AS key ON key.feature = kinds.feature
    WHERE kinds.kind = 'object'
      AND kinds.expected_kind = 'object'
),
broken AS (
    SELECT
        id,
        count(*) AS problems,
        min(CASE WHEN problem = 'missing' THEN key END) AS first_missing
    FROM broken_keys
    WHERE problem IS NOT NULL
    GROUP BY id
),
verdicts AS MATERIALIZED (
    SELECT
        kinds.id,
        kinds.trace_id,
        kinds.feature,
        kinds.start_time,
        kinds.cost_usd,
        kinds.newest,
        kinds.chance,
        CASE
            WHEN kinds.kind = 'blank' THEN 1
            WHEN kinds.expected_kind = 'text' THEN 0
            WHEN kinds.kind <> kinds.expected_kind THEN 1
            WHEN broken.problems > 0 THEN 1
            ELSE 0
        END AS fails
    FROM kinds
    LEFT JOIN broken ON broken.id = kinds.id
),
-- Where failures begin to come faster than the allowed rate: before that output the balance is at its lowest.
balanced AS (
    SELECT
        *,
        sum(CAST(fails AS DOUBLE) - $fail_rate) OVER (PARTITION BY feature ORDER BY start_time, id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - (CAST(fails AS DOUBLE) - $fail_rate) AS balance
    FROM verdicts
),
schema_breaks AS MATERIALIZED (
    SELECT
        feature,
        sum(CASE WHEN newest <= 20 THEN 1 ELSE 0 END) AS judged,
        sum(CASE WHEN newest <= 20 THEN fails ELSE 0 END) AS failed,
        first_value(start_time ORDER BY balance, start_time, id) FILTER (WHERE fails = 1) AS onset,
        first_value(id ORDER BY balance, start_time, id) FILTER (WHERE fails = 1) AS first_failing_observation_id,
        max(chance) AS chance,
        sum(fails) AS failed_in_window,
        sum(CASE WHEN fails = 1 THEN cost_usd ELSE 0.0 END) AS cost_usd,
        concat('["', string_agg(replace(CASE WHEN fails = 1 AND newest <= 5 THEN id END, '"', ''), '","' ORDER BY newest), '"]') AS examples
    FROM balanced
    GROUP BY feature
),
missing_keys AS (
    SELECT feature, concat('["', string_agg(replace(replace(key, '\', '\\'), '"', '\"'), '","' ORDER BY key), '"]') AS missing_keys
    FROM (
        SELECT DISTINCT kinds.feature, broken_keys.key
        FROM broken_keys
        JOIN kinds ON kinds.id = broken_keys.id
        WHERE broken_keys.problem = 'missing' AND kinds.newest <= 20
    )
    GROUP BY feature
),
-- A score belongs to the feature of its observation, else to every feature of its trace; once each.
scored AS MATERIALIZED (
    SELECT DISTINCT score.id, score.name, score.data_type, score.value, outputs.feature
    FROM langfuse.scores AS score
    JOIN outputs ON outputs.trace_id = score.trace_id
    WHERE score.timestamp >= $window_start
      AND score.timestamp < $window_end
      AND score.value IS NOT NULL
      AND score.data_type IN ('NUMERIC', 'BOOLEAN')
      AND (score.observation_id IS NULL OR score.observation_id = outputs.id
           OR score.observation_id NOT IN (SELECT id FROM outputs))
),
recent_scores AS (
    SELECT feature, name, data_type, count(*) AS scores, avg(value) AS average
    FROM scored
    GROUP BY feature, name, data_type
),
regressions AS MATERIALIZED (
    SELECT
        recent.feature,
        recent.name AS score_name,
        recent.average AS recent_average,
        history.average AS baseline_average,
        history.average - recent.average AS delta,
        recent.scores AS recent_scores,
        row_number() OVER (PARTITION BY recent.feature ORDER BY history.average - recent.average DESC, recent.name) AS worst
    FROM recent_scores AS recent
    JOIN input.score_history AS history
      ON history.feature = recent.feature AND history.score_name = recent.name AND history.data_type = recent.data_type
    WHERE recent.scores >= $min_scores
      AND history.scores >= $min_scores
      AND history.average - recent.average > $score_delta
      AND history.average - recent.average
          > $sigmas * history.deviation * sqrt(1.0 / recent.scores + 1.0 / history.scores)
),
drifts AS (
    SELECT
        schema_breaks.feature,
        'schema_break' AS drift_type,
        CAST(failed AS DOUBLE) / judged AS fail_rate,
        failed,
        judged,
        failed_in_window,
        coalesce(missing_keys, '[]') AS missing_keys,
        first_failing_observation_id,
        examples,
        onset,
        cost_usd,
        CAST(NULL AS VARCHAR) AS score_name,
        CAST(NULL AS DOUBLE) AS recent_average,
        CAST(NULL AS DOUBLE) AS baseline_average,
        CAST(NULL AS DOUBLE) AS delta,
        CASE WHEN CAST(failed AS DOUBLE) / judged > $high_fail_rate THEN 'high' ELSE 'medium' END AS severity,
        1 AS strategy
    FROM schema_breaks
    LEFT JOIN missing_keys ON missing_keys.feature = schema_breaks.feature
    WHERE judged >= $min_outputs
      AND failed >= $min_failures
      AND CAST(failed AS DOUBLE) / judged > $fail_rate
      -- More than chance makes of the failures that the feature always had.
      AND failed - judged * chance > $fail_sigmas * sqrt(judged * chance * (1.0 - chance))
    UNION ALL
    SELECT
        feature,
        'score_regression' AS drift_type,
        CAST(NULL AS DOUBLE) AS fail_rate,
        0 AS failed,
        recent_scores AS judged,
        0 AS failed_in_window,
        '[]' AS missing_keys,
        CAST(NULL AS VARCHAR) AS first_failing_observation_id,
        '[]' AS examples,
        -- A regression shows over the whole window; it says no more about when it began.
        $window_start::timestamptz AS onset,
        CAST(NULL AS DOUBLE) AS cost_usd,
        score_name,
        recent_average,
        baseline_average,
        delta,
        'medium' AS severity,
        2 AS strategy
    FROM regressions
    WHERE worst = 1
)
SELECT
    feature,
    drift_type,
    fail_rate,
    failed,
    judged,
    failed_in_window,
    missing_keys,
    first_failing_observation_id,
    examples,
    score_name,
    recent_average,
    baseline_average,
    delta,
    onset,
    cost_usd,
    severity
FROM drifts
QUALIFY row_number() OVER (PARTITION BY feature ORDER BY strategy) = 1
ORDER BY feature
