-- name: hour_baseline
-- title: An ordinary hour of each feature
-- over: 7d
-- keep: 45m
-- sources: langfuse
-- input: cost_hours
--
-- One row per feature and hour of the day (0 to 23, UTC), from the clock hours of the 7 days before; the empty name stands
-- for all features together. Hours without calls count as 0 from the feature's first call on. Per feature:
--   covered_hours, active_hours   hours since its first call, and those with calls;
--   mean_usd       the mean cost of an hour; hours above the 95th percentile count as that percentile, so that an
--                  earlier spike does not hide a lasting one;
--   p95_usd        that percentile;
--   active_usd     the median of hours with calls;
--   spread_usd, spread_generations   the standard deviation of an hour from the median of its time of day;
--   call_usd, call_p95_usd        the median and 95th percentile of an hour's cost per call;
--   mean_generations, p95_generations   the same for the number of calls.
-- Per hour of the day: hour_usd and hour_generations, the medians of that clock hour, and last_week_usd, that hour a week ago.

WITH costs AS MATERIALIZED (
    SELECT feature, hour_start, cost_usd, CAST(generations AS DOUBLE) AS generations FROM input.cost_hours
    UNION ALL
    SELECT '' AS feature, hour_start, sum(cost_usd) AS cost_usd, CAST(sum(generations) AS DOUBLE) AS generations
    FROM input.cost_hours
    GROUP BY hour_start
),
hours AS MATERIALIZED (
    SELECT
        known.feature,
        covered.hour_start,
        date_part('hour', covered.hour_start) AS hour_of_day,
        coalesce(costs.cost_usd, 0.0) AS cost_usd,
        coalesce(costs.generations, 0.0) AS generations
    FROM (SELECT feature, min(hour_start) AS first_hour FROM costs GROUP BY feature) AS known
    JOIN input.covered_hours AS covered ON covered.hour_start >= known.first_hour
    LEFT JOIN costs ON costs.feature = known.feature AND costs.hour_start = covered.hour_start
),
features AS MATERIALIZED (
    SELECT
        feature,
        count(*) AS covered_hours,
        sum(CASE WHEN generations > 0 THEN 1 ELSE 0 END) AS active_hours,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY cost_usd) AS p95_usd,
        median(CASE WHEN generations > 0 THEN cost_usd END) AS active_usd,
        median(CASE WHEN generations > 0 THEN cost_usd / generations END) AS call_usd,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY CASE WHEN generations > 0 THEN cost_usd / generations END) AS call_p95_usd,
        avg(generations) AS mean_generations,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY generations) AS p95_generations
    FROM hours
    GROUP BY feature
),
times AS MATERIALIZED (
    SELECT
        feature,
        hour_of_day,
        median(cost_usd) AS hour_usd,
        median(generations) AS hour_generations,
        max(CASE WHEN hour_start < $start::timestamptz + INTERVAL '24 hours' THEN cost_usd ELSE 0.0 END) AS last_week_usd
    FROM hours
    GROUP BY feature, hour_of_day
),
spreads AS (
    SELECT
        hours.feature,
        avg(least(hours.cost_usd, features.p95_usd)) AS mean_usd,
        coalesce(stddev(least(hours.cost_usd, features.p95_usd) - least(times.hour_usd, features.p95_usd)), 0.0) AS spread_usd,
        coalesce(stddev(least(hours.generations, features.p95_generations) - least(times.hour_generations, features.p95_generations)), 0.0) AS spread_generations
    FROM hours
    JOIN features ON features.feature = hours.feature
    JOIN times ON times.feature = hours.feature AND times.hour_of_day = hours.hour_of_day
    GROUP BY hours.feature
)
SELECT
    times.feature,
    CAST(times.hour_of_day AS BIGINT) AS hour_of_day,
    features.covered_hours,
    features.active_hours,
    spreads.mean_usd,
    features.p95_usd,
    features.active_usd,
    -- Of a feature that seldom runs the few hours tell nothing: what chance does to so few calls stands in.
    CASE WHEN features.active_hours < 0.25 * features.covered_hours
         THEN greatest(spreads.spread_usd, coalesce(features.call_usd, 0.0) * sqrt(features.mean_generations))
         ELSE spreads.spread_usd END AS spread_usd,
    CASE WHEN features.active_hours < 0.25 * features.covered_hours
         THEN greatest(spreads.spread_generations, sqrt(features.mean_generations))
         ELSE spreads.spread_generations END AS spread_generations,
    coalesce(features.call_usd, 0.0) AS call_usd,
    coalesce(features.call_p95_usd, 0.0) AS call_p95_usd,
    features.mean_generations,
    features.p95_generations,
    times.hour_usd,
    times.hour_generations,
    times.last_week_usd
FROM times
JOIN features ON features.feature = times.feature
JOIN spreads ON spreads.feature = times.feature
