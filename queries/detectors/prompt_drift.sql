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
-- json: missing_keys, broken_keys, examples
-- action: create_issue
-- description: {entity} drifted ({drift_type}): {failed} of its newest {judged} outputs break its schema
--
-- Strategy A, schema_break: the newest 20 outputs of each feature against the schema of its healthy outputs
-- (input.output_shapes, one row per feature; input.output_shapes_keys, one row per key). An output fails that is blank,
-- that is not JSON of the feature's kind, that lacks a required key, whose value has a type never seen at that key, or
-- whose text has another format than all healthy texts at that key had (an integer is a number too).
-- A text feature fails only by being blank; a feature of mixed outputs, or without a schema yet, is not judged.
-- Outputs are judged in blocks of 20: the newest, and every other one that has outputs since the run before.
-- An output is judged by its shape, which local copies keep: its text is not asked for.
-- Strategy B, score_regression: the average of a score in the window, and of its newest scores, against the 7 days before
-- it, per name and data type, each score counted once per feature (seed 003, prompt drift).

WITH outputs AS MATERIALIZED (
    SELECT
        id,
        trace_id,
        CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature,
        start_time,
        coalesce(total_cost, 0.0) AS cost_usd,
        -- Of a chat message: what the model said is its content.
        coalesce(json_get_str(output_shape, 'said'), 'blank') AS kind,
        json_get_json(output_shape, 'keys') AS said_keys,
        json_get_json(output_shape, 'formats') AS said_formats
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $window_start
      AND start_time < $window_end
      AND (output_shape IS NOT NULL OR end_time IS NOT NULL)
      -- A call that failed aloud is an error, not drift.
      AND coalesce(level, 'DEFAULT') <> 'ERROR'
),
kinds AS MATERIALIZED (
    SELECT
        outputs.*,
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
        key.kinds,
        key.format,
        json_get_str(kinds.said_keys, key.key) AS found_kind,
        json_get_str(kinds.said_formats, key.key) AS found_format,
        CASE
            WHEN key.required AND coalesce(json_get_str(kinds.said_keys, key.key), 'null') = 'null' THEN 'missing'
            WHEN strpos(key.kinds, concat('|', coalesce(json_get_str(kinds.said_keys, key.key), 'null'), '|')) = 0
                 AND coalesce(json_get_str(kinds.said_keys, key.key), 'null') <> 'null' THEN 'type'
            -- A shape that was made before formats tells none: that is no failure.
            WHEN json_get_str(kinds.said_formats, key.key) <> key.format
                 AND NOT (key.format = 'number' AND json_get_str(kinds.said_formats, key.key) = 'integer') THEN 'format'
        END AS problem
    FROM kinds
    JOIN input.output_shapes_keys AS key ON key.feature = kinds.feature
    WHERE kinds.kind = 'object'
      AND kinds.expected_kind = 'object'
      -- Of an object with hundreds of keys they are not known.
      AND kinds.said_keys IS NOT NULL
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
-- Blocks of 20, from the newest on. What came since the detector ran last is judged whole, and so are the newest 20.
blocks AS (
    SELECT
        feature,
        CAST(floor((newest - 1) / 20.0) AS BIGINT) AS block,
        count(*) AS judged,
        sum(fails) AS failed,
        max(chance) AS chance
    FROM balanced
    GROUP BY feature, CAST(floor((newest - 1) / 20.0) AS BIGINT)
    HAVING min(newest) = 1 OR max(start_time) >= $window_end::timestamptz - INTERVAL '15 minutes'
),
broken_blocks AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY feature ORDER BY block) AS newest_first
    FROM blocks
    WHERE judged >= $min_outputs
      AND failed >= $min_failures
      AND CAST(failed AS DOUBLE) / judged > $fail_rate
      AND CAST(failed AS DOUBLE) / judged > chance
      -- More than chance makes of the failures that the feature always had: the deviance of so many against so many.
      AND sqrt(greatest(2.0 * (failed * ln(failed / (judged * chance))
          + (judged - failed) * ln(greatest(judged - failed, 0.5) / (judged * (1.0 - chance)))), 0.0)) > $fail_sigmas
),
schema_breaks AS MATERIALIZED (
    SELECT
        balanced.feature,
        broken_blocks.block,
        max(broken_blocks.judged) AS judged,
        max(broken_blocks.failed) AS failed,
        first_value(start_time ORDER BY balance, start_time, id) FILTER (WHERE fails = 1) AS onset,
        first_value(id ORDER BY balance, start_time, id) FILTER (WHERE fails = 1) AS first_failing_observation_id,
        sum(fails) AS failed_in_window,
        sum(CASE WHEN fails = 1 THEN cost_usd ELSE 0.0 END) AS cost_usd,
        concat('["', string_agg(replace(CASE WHEN fails = 1 AND newest > 20 * broken_blocks.block
            AND newest <= 20 * broken_blocks.block + 5 THEN id END, '"', ''), '","' ORDER BY newest), '"]') AS examples
    FROM balanced
    JOIN broken_blocks ON broken_blocks.feature = balanced.feature AND broken_blocks.newest_first = 1
    GROUP BY balanced.feature, broken_blocks.block
),
missing_keys AS (
    SELECT
        feature,
        concat('["', string_agg(
            replace(replace(regexp_replace(key, '[[:cntrl:]]', ' ', 'g'), '\', '\\'), '"', '\"'), '","' ORDER BY key), '"]') AS missing_keys
    FROM (
        SELECT DISTINCT kinds.feature, broken_keys.key
        FROM broken_keys
        JOIN kinds ON kinds.id = broken_keys.id
        JOIN schema_breaks ON schema_breaks.feature = kinds.feature
        WHERE broken_keys.problem = 'missing'
          AND kinds.newest > 20 * schema_breaks.block AND kinds.newest <= 20 * schema_breaks.block + 20
    )
    GROUP BY feature
),
-- Which keys broke and how: what was expected there and what was found most, as types and formats, never a value.
broken_how AS (
    SELECT
        feature,
        key,
        problem,
        expected,
        found,
        outputs,
        row_number() OVER (PARTITION BY feature ORDER BY outputs DESC, key, problem) AS place
    FROM (
        SELECT
            kinds.feature,
            broken_keys.key,
            broken_keys.problem,
            CASE broken_keys.problem
                WHEN 'format' THEN max(broken_keys.format)
                ELSE replace(btrim(max(broken_keys.kinds), '|'), '|', ' or ') END AS expected,
            CASE broken_keys.problem
                WHEN 'missing' THEN 'nothing'
                WHEN 'type' THEN broken_keys.found_kind
                ELSE broken_keys.found_format END AS found,
            count(*) AS outputs
        FROM broken_keys
        JOIN kinds ON kinds.id = broken_keys.id
        JOIN schema_breaks ON schema_breaks.feature = kinds.feature
        WHERE broken_keys.problem IS NOT NULL
          AND kinds.newest > 20 * schema_breaks.block AND kinds.newest <= 20 * schema_breaks.block + 20
        GROUP BY kinds.feature, broken_keys.key, broken_keys.problem,
            CASE broken_keys.problem
                WHEN 'missing' THEN 'nothing'
                WHEN 'type' THEN broken_keys.found_kind
                ELSE broken_keys.found_format END
    )
),
broken_lists AS (
    SELECT
        feature,
        concat('[', string_agg(
            concat('{"key":"', replace(replace(regexp_replace(key, '[[:cntrl:]]', ' ', 'g'), '\', '\\'), '"', '\"'),
                '","problem":"', problem, '","expected":"', expected, '","found":"', found, '","outputs":', outputs, '}'),
            ',' ORDER BY place), ']') AS broken_keys
    FROM broken_how
    WHERE place <= 8
    GROUP BY feature
),
-- A score belongs to the feature of its observation, else to every feature of its trace; once each.
scored AS MATERIALIZED (
    SELECT score.id, score.name, score.data_type, score.value, outputs.feature, min(outputs.start_time) AS start_time
    FROM langfuse.scores AS score
    JOIN outputs ON outputs.trace_id = score.trace_id
    WHERE score.timestamp >= $window_start
      AND score.timestamp < $window_end
      AND score.value IS NOT NULL
      AND score.data_type IN ('NUMERIC', 'BOOLEAN')
      AND (score.observation_id IS NULL OR score.observation_id = outputs.id
           OR score.observation_id NOT IN (SELECT id FROM outputs))
    GROUP BY score.id, score.name, score.data_type, score.value, outputs.feature
),
compared_scores AS MATERIALIZED (
    SELECT
        scored.*,
        history.average AS baseline_average,
        history.deviation,
        history.scores AS baseline_scores,
        -- How far a score can lie below the average: what single bad scores can do to a mean.
        greatest(history.average - history.lowest, history.deviation) AS reach,
        row_number() OVER (PARTITION BY scored.feature, scored.name, scored.data_type
            ORDER BY scored.start_time DESC, scored.id DESC) AS newest
    FROM scored
    JOIN input.score_history AS history
      ON history.feature = scored.feature AND history.score_name = scored.name AND history.data_type = scored.data_type
    WHERE history.scores >= $min_scores
),
-- The whole window, as the seed has it, and the newest 10, 20 and 40 scores: a fall that began an hour ago is lost in a day.
recent_scores AS (
    SELECT
        compared.feature,
        compared.name,
        compared.data_type,
        sizes.size,
        CAST(count(*) AS DOUBLE) AS scores,
        avg(compared.value) AS average,
        max(compared.baseline_average) AS baseline_average,
        max(compared.deviation) AS deviation,
        max(compared.baseline_scores) AS baseline_scores,
        max(compared.reach) AS reach
    FROM compared_scores AS compared
    JOIN (VALUES (10), (20), (40), (1000000)) AS sizes (size) ON compared.newest <= sizes.size
    GROUP BY compared.feature, compared.name, compared.data_type, sizes.size
),
fallen AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY feature ORDER BY size DESC, baseline_average - average DESC, name) AS worst
    FROM recent_scores
    WHERE scores >= $min_scores
      AND (size > 40 OR scores = size)
      AND baseline_average - average > $score_delta
      AND baseline_average - average > $sigmas * deviation * sqrt(1.0 / scores + 1.0 / baseline_scores)
      -- Of few scores more is asked (Bernstein's bound, by one deviation more): their mean is no normal one.
      AND (size > 40
           OR power(baseline_average - average, 2.0)
              > power($sigmas + 1.0, 2.0) * (1.0 / scores + 1.0 / baseline_scores)
                * (power(deviation, 2.0) + reach * (baseline_average - average) / 3.0))
),
-- Where scores begin to be lower than the middle between then and now.
score_balances AS (
    SELECT
        compared.feature,
        compared.start_time,
        compared.id,
        sum((fallen.baseline_average + fallen.average) / 2.0 - compared.value)
            OVER (PARTITION BY compared.feature ORDER BY compared.start_time, compared.id
                  ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
          - ((fallen.baseline_average + fallen.average) / 2.0 - compared.value) AS balance
    FROM compared_scores AS compared
    JOIN fallen ON fallen.worst = 1 AND fallen.feature = compared.feature AND fallen.name = compared.name
        AND fallen.data_type = compared.data_type
),
score_onsets AS (
    SELECT feature, first_value(start_time ORDER BY balance, start_time, id) AS onset
    FROM score_balances
    GROUP BY feature
),
regressions AS MATERIALIZED (
    SELECT
        fallen.feature,
        fallen.name AS score_name,
        fallen.average AS recent_average,
        fallen.baseline_average,
        fallen.baseline_average - fallen.average AS delta,
        CAST(fallen.scores AS BIGINT) AS recent_scores,
        score_onsets.onset
    FROM fallen
    JOIN score_onsets ON score_onsets.feature = fallen.feature
    WHERE fallen.worst = 1
),
drifts AS (
    SELECT
        schema_breaks.feature,
        'schema_break' AS drift_type,
        block,
        CAST(failed AS DOUBLE) / judged AS fail_rate,
        failed,
        judged,
        failed_in_window,
        coalesce(missing_keys, '[]') AS missing_keys,
        coalesce(broken_keys, '[]') AS broken_keys,
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
    LEFT JOIN broken_lists ON broken_lists.feature = schema_breaks.feature
    UNION ALL
    SELECT
        feature,
        'score_regression' AS drift_type,
        CAST(NULL AS BIGINT) AS block,
        CAST(NULL AS DOUBLE) AS fail_rate,
        0 AS failed,
        recent_scores AS judged,
        0 AS failed_in_window,
        '[]' AS missing_keys,
        '[]' AS broken_keys,
        CAST(NULL AS VARCHAR) AS first_failing_observation_id,
        '[]' AS examples,
        onset,
        CAST(NULL AS DOUBLE) AS cost_usd,
        score_name,
        recent_average,
        baseline_average,
        delta,
        'medium' AS severity,
        2 AS strategy
    FROM regressions
)
SELECT
    feature,
    drift_type,
    block,
    fail_rate,
    failed,
    judged,
    failed_in_window,
    missing_keys,
    broken_keys,
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
