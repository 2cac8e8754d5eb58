-- name: cost_spike_detection
-- title: Cost per hour
-- sources: langfuse
-- default: hours = 24
--
-- What generations cost in each of the last $hours hours (seed 003, template 7.1). The detector `cost_spike` judges;
-- this shows.

SELECT
    date_trunc('hour', start_time) AS hour,
    sum(total_cost) AS hourly_cost,
    count(*) AS generation_count,
    avg(total_cost) AS avg_cost_per_call
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= now() - CAST(concat($hours, ' hours') AS INTERVAL)
GROUP BY 1
ORDER BY 1 DESC
