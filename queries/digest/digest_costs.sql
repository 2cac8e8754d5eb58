-- name: digest_costs
-- title: What model calls cost in the week, and in the week before
-- sources: langfuse
--
-- One row with scope 'total', one per feature, one per day (24 hours, counted from the week's begin). Sums are rounded to a
-- millionth of a dollar: in which order they are added must not show.

WITH calls AS (
    SELECT
        CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature,
        date_bin(INTERVAL '1 day', start_time, $week_start) AS day_start,
        start_time >= $week_start AS this_week,
        coalesce(total_cost, 0.0) AS cost_usd
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $week_before
      AND start_time < $week_end
),
sums AS (
    SELECT
        'total' AS scope,
        CAST(NULL AS VARCHAR) AS feature,
        CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS day_start,
        round(coalesce(sum(CASE WHEN this_week THEN cost_usd END), 0.0), 6) AS cost_usd,
        coalesce(sum(CASE WHEN this_week THEN 1 END), 0) AS generations,
        round(coalesce(sum(CASE WHEN NOT this_week THEN cost_usd END), 0.0), 6) AS previous_cost_usd,
        coalesce(sum(CASE WHEN NOT this_week THEN 1 END), 0) AS previous_generations
    FROM calls
    UNION ALL
    SELECT
        CASE WHEN grouping(feature) = 0 THEN 'feature' ELSE 'day' END,
        feature,
        day_start,
        round(coalesce(sum(CASE WHEN this_week THEN cost_usd END), 0.0), 6),
        coalesce(sum(CASE WHEN this_week THEN 1 END), 0),
        round(coalesce(sum(CASE WHEN NOT this_week THEN cost_usd END), 0.0), 6),
        coalesce(sum(CASE WHEN NOT this_week THEN 1 END), 0)
    FROM calls
    GROUP BY GROUPING SETS ((feature), (day_start))
)
SELECT scope, feature, day_start, cost_usd, generations, previous_cost_usd, previous_generations,
    round(cost_usd - previous_cost_usd, 6) AS change_usd
FROM sums
WHERE scope <> 'day' OR day_start >= $week_start
ORDER BY scope DESC, CASE WHEN scope = 'day' THEN 0.0 ELSE cost_usd END DESC, day_start, feature
