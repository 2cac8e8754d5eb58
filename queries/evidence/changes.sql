-- name: changes
-- title: Models and prompt versions first used since shortly before the onset
-- types: cost_spike, error_cascade, prompt_drift, agent_loop
-- sources: langfuse
-- max_rows: 20
-- at: first_used
-- kind: change
-- text: {what} {value} is used for the first time in a week
--
-- A change that the data shows, whether or not a commit did it. What a feature without a past uses is no change.

WITH used AS (
    SELECT 'model' AS what, model AS value, min(start_time) AS first_used, count(*) AS generations
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND (name = $feature OR ($feature = '(unnamed)' AND trim(coalesce(name, '')) = ''))
      AND start_time >= $history
      AND start_time < $until
      AND model <> ''
    GROUP BY model
    UNION ALL
    SELECT
        'prompt' AS what,
        concat(prompt_name, ' version ', prompt_version) AS value,
        min(start_time) AS first_used,
        count(*) AS generations
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND (name = $feature OR ($feature = '(unnamed)' AND trim(coalesce(name, '')) = ''))
      AND start_time >= $history
      AND start_time < $until
      AND prompt_name <> ''
    GROUP BY prompt_name, prompt_version
)
SELECT what, value, first_used, generations
FROM used
WHERE first_used >= $before
  AND EXISTS (SELECT 1 FROM used AS earlier WHERE earlier.what = used.what AND earlier.first_used < $before)
ORDER BY first_used, what, value
