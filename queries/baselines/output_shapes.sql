-- name: output_shapes
-- title: What the outputs of each feature look like
-- over: 7d
-- keep: schemas
-- sources: langfuse
-- param: min_history = drift_min_history
-- param: required_share = drift_required_key_share
--
-- One row per feature with a NULL key: how many outputs, their kind when 95 of 100 agree (object, array, text), else
-- 'mixed', and the share of them that breaks the schema all the same. And one row per key of a feature whose outputs are objects: whether it is required, the JSON types seen
-- there, and the format of its texts where every one of them had it (connectors/src/content/format.rs; a shape that was made before formats tells none).
-- A key that is absent or null now and then is optional. $skip_newest is 0 over history; for a feature without any, the
-- window itself stands in, without the newest outputs, which are judged.

WITH outputs AS MATERIALIZED (
    SELECT
        id,
        start_time,
        CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature,
        coalesce(json_get_str(output_shape, 'said'), 'blank') AS said,
        json_get_json(output_shape, 'keys') AS said_keys,
        json_get_json(output_shape, 'formats') AS said_formats
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $start
      AND start_time < $end
      AND (output_shape IS NOT NULL OR end_time IS NOT NULL)
      AND coalesce(level, 'DEFAULT') <> 'ERROR'
),
kinds AS MATERIALIZED (
    SELECT
        outputs.*,
        CASE WHEN said IN ('object', 'array', 'blank') THEN said ELSE 'text' END AS kind
    FROM outputs
    QUALIFY row_number() OVER (PARTITION BY feature ORDER BY start_time DESC, id DESC) > $skip_newest
),
features AS MATERIALIZED (
    SELECT
        feature,
        count(*) AS outputs,
        sum(CASE WHEN kind = 'object' THEN 1 ELSE 0 END) AS objects,
        sum(CASE WHEN kind = 'array' THEN 1 ELSE 0 END) AS arrays,
        sum(CASE WHEN kind = 'text' THEN 1 ELSE 0 END) AS texts
    FROM kinds
    GROUP BY feature
),
keys AS (
    SELECT feature, id, key, json_get_str(said_keys, key) AS value_kind, json_get_str(said_formats, key) AS format
    FROM (SELECT feature, id, said_keys, said_formats, unnest(json_object_keys(said_keys)) AS key FROM kinds WHERE said_keys IS NOT NULL)
),
schema_keys AS MATERIALIZED (
    SELECT
        keys.feature,
        keys.key,
        max(features.outputs) AS outputs,
        CAST(count(DISTINCT CASE WHEN keys.value_kind <> 'null' THEN keys.id END) AS DOUBLE) / max(features.objects) AS present_share,
        concat('|', string_agg(DISTINCT keys.value_kind, '|'), '|') AS kinds,
        -- One format that all texts there had, of enough of them. An integer is a number, and no other name is between theirs.
        CASE
            WHEN count(keys.format) < $min_history OR max(keys.format) = 'text' THEN NULL
            WHEN min(keys.format) = max(keys.format) THEN min(keys.format)
            WHEN min(keys.format) = 'integer' AND max(keys.format) = 'number' THEN 'number'
        END AS format
    FROM keys
    JOIN features ON features.feature = keys.feature
    WHERE features.outputs >= $min_history
      AND features.objects >= 0.95 * features.outputs
    GROUP BY keys.feature, keys.key
),
weakest AS (
    SELECT feature, min(present_share) AS present_share
    FROM schema_keys
    WHERE present_share >= $required_share
    GROUP BY feature
)
SELECT
    features.feature,
    outputs,
    CASE
        WHEN objects >= 0.95 * outputs THEN 'object'
        WHEN arrays >= 0.95 * outputs THEN 'array'
        WHEN texts >= 0.95 * outputs THEN 'text'
        ELSE 'mixed'
    END AS kind,
    -- How often a healthy output breaks the schema all the same.
    1.0 - CAST(greatest(objects, arrays, texts) AS DOUBLE) / outputs * coalesce(weakest.present_share, 1.0) AS fail_share,
    CAST(NULL AS VARCHAR) AS key,
    CAST(NULL AS BOOLEAN) AS required,
    CAST(NULL AS VARCHAR) AS kinds,
    CAST(NULL AS VARCHAR) AS format
FROM features
LEFT JOIN weakest ON weakest.feature = features.feature
WHERE outputs >= $min_history
UNION ALL
SELECT
    feature,
    outputs,
    'key' AS kind,
    CAST(NULL AS DOUBLE) AS fail_share,
    key,
    present_share >= $required_share AS required,
    kinds,
    format
FROM schema_keys
