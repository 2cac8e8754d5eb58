-- name: score_history
-- title: Average scores per feature
-- over: 7d
-- keep: 24h
-- sources: langfuse
--
-- Per feature, score name and data type; each score counted once per feature, whatever the number of its generations.

WITH calls AS MATERIALIZED (
    SELECT id, trace_id, CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $start
      AND start_time < $end
),
scored AS MATERIALIZED (
    SELECT DISTINCT score.id, score.name, score.data_type, score.value, calls.feature
    FROM langfuse.scores AS score
    JOIN calls ON calls.trace_id = score.trace_id
    WHERE score.timestamp >= $start
      AND score.timestamp < $end
      AND score.value IS NOT NULL
      AND score.data_type IN ('NUMERIC', 'BOOLEAN')
      AND (score.observation_id IS NULL OR score.observation_id = calls.id
           OR score.observation_id NOT IN (SELECT id FROM calls))
)
SELECT
    feature,
    name AS score_name,
    data_type,
    count(*) AS scores,
    avg(value) AS average,
    coalesce(stddev(value), 0.0) AS deviation,
    min(value) AS lowest
FROM scored
GROUP BY feature, name, data_type
