-- name: hour_baseline
-- title: An ordinary hour of each feature
-- over: 7d
-- keep: 45m
-- sources: langfuse
-- input: cost_hours
--
-- One row per feature, hour of the day (0 to 23, UTC) and kind of day (weekend or not), from the clock hours of the 7 days
-- before; the empty name stands for all features together. Hours without calls count as 0 from the feature's first call on.
--
-- A feature with calls in half of its hours or more is regular: what is usual at an hour is the median of that hour and its
-- neighbours on days of its kind (of that hour alone, where that is more: a nightly batch), what is high is their 80th
-- percentile and that hour a week ago. So a quiet night is compared with nights, and a Sunday with weekends. Where there are not yet two
-- such days, and for a feature that is not regular, usual is the largest of the mean hour, the median of that hour of the
-- day and, of a feature that seldom runs, the median of hours with calls; high is the 95th percentile of all hours, and that hour a week ago.
--   usual_usd, usual_generations, high_usd, high_generations   as above, per hour;
--   peak_usd, peak_generations               of a regular feature: what a quarter of that hour or its neighbours had at most,
--                                            nine times in ten, and that hour's a week ago;
--   dispersion_usd, dispersion_generations   variance of an hour divided by its mean: what one unit of chance is worth;
--   call_usd, call_dispersion_usd            the median cost per call of an hour, and the variance of a call's cost divided by it;
--   covered_hours, active_hours              hours since the first call, and those with calls;
--   mean_usd, same_hour_usd                  the mean hour (hours above the 95th percentile count as that, so that an
--                                            earlier spike does not hide a lasting one), the median of that hour of the day.

WITH costs AS MATERIALIZED (
    SELECT
        feature,
        hour_start,
        cost_usd,
        CAST(generations AS DOUBLE) AS generations,
        coalesce(peak_usd, cost_usd) AS peak_usd,
        CAST(coalesce(peak_generations, generations) AS DOUBLE) AS peak_generations
    FROM input.cost_hours
    UNION ALL
    SELECT
        '' AS feature,
        hour_start,
        sum(cost_usd) AS cost_usd,
        CAST(sum(generations) AS DOUBLE) AS generations,
        sum(coalesce(peak_usd, cost_usd)) AS peak_usd,
        CAST(sum(coalesce(peak_generations, generations)) AS DOUBLE) AS peak_generations
    FROM input.cost_hours
    GROUP BY hour_start
),
hours AS MATERIALIZED (
    SELECT
        known.feature,
        covered.hour_start,
        CAST(date_part('hour', covered.hour_start) AS BIGINT) AS hour_of_day,
        date_part('dow', covered.hour_start) IN (0, 6) AS weekend,
        coalesce(costs.cost_usd, 0.0) AS cost_usd,
        coalesce(costs.generations, 0.0) AS generations,
        coalesce(costs.peak_usd, 0.0) AS peak_usd,
        coalesce(costs.peak_generations, 0.0) AS peak_generations
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
        median(CASE WHEN generations > 0 THEN generations END) AS active_generations,
        coalesce(median(CASE WHEN generations > 0 THEN cost_usd / generations END), 0.0) AS call_usd,
        avg(cost_usd) AS mean_cost_usd,
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
        max(CASE WHEN hour_start < $start::timestamptz + INTERVAL '24 hours' THEN cost_usd ELSE 0.0 END) AS last_week_usd,
        max(CASE WHEN hour_start < $start::timestamptz + INTERVAL '24 hours' THEN peak_usd ELSE 0.0 END) AS last_week_peak_usd,
        max(CASE WHEN hour_start < $start::timestamptz + INTERVAL '24 hours' THEN peak_generations ELSE 0.0 END)
            AS last_week_peak_generations
    FROM hours
    GROUP BY feature, hour_of_day
),
near AS MATERIALIZED (
    SELECT
        hours.feature,
        hours.weekend,
        (hours.hour_of_day + shifts.shift) % 24 AS hour_of_day,
        sum(CASE WHEN shifts.shift = 24 THEN 1 ELSE 0 END) AS days,
        median(hours.cost_usd) AS near_usd,
        median(hours.generations) AS near_generations,
        coalesce(median(CASE WHEN shifts.shift = 24 THEN hours.cost_usd END), 0.0) AS own_usd,
        coalesce(median(CASE WHEN shifts.shift = 24 THEN hours.generations END), 0.0) AS own_generations,
        percentile_cont(0.8) WITHIN GROUP (ORDER BY hours.cost_usd) AS high_usd,
        percentile_cont(0.8) WITHIN GROUP (ORDER BY hours.generations) AS high_generations,
        percentile_cont(0.9) WITHIN GROUP (ORDER BY hours.peak_usd) AS peak_usd,
        percentile_cont(0.9) WITHIN GROUP (ORDER BY hours.peak_generations) AS peak_generations
    FROM hours
    CROSS JOIN (VALUES (23), (24), (25)) AS shifts (shift)
    GROUP BY hours.feature, hours.weekend, (hours.hour_of_day + shifts.shift) % 24
),
spreads AS MATERIALIZED (
    SELECT
        hours.feature,
        avg(least(hours.cost_usd, features.p95_usd)) AS mean_usd,
        avg(power(least(hours.cost_usd, features.p95_usd)
            - least(coalesce(greatest(near.near_usd, near.own_usd),
                -- Of less than three days an hour of the day is one or two numbers, around whose median nothing varies.
                CASE WHEN features.covered_hours >= 72 THEN times.hour_usd ELSE features.mean_cost_usd END),
                features.p95_usd), 2.0)) AS variance_usd,
        avg(power(least(hours.generations, features.p95_generations)
            - least(coalesce(greatest(near.near_generations, near.own_generations),
                CASE WHEN features.covered_hours >= 72 THEN times.hour_generations ELSE features.mean_generations END),
                features.p95_generations), 2.0))
            AS variance_generations,
        -- The hours that cost most are not asked: one dear hour is no chance of ordinary ones.
        avg(CASE WHEN hours.generations > 0 AND hours.cost_usd <= features.p95_usd
                 THEN power(hours.cost_usd - hours.generations * features.call_usd, 2.0) / hours.generations END) AS call_variance_usd
    FROM hours
    JOIN features ON features.feature = hours.feature
    JOIN times ON times.feature = hours.feature AND times.hour_of_day = hours.hour_of_day
    LEFT JOIN near ON near.feature = hours.feature AND near.hour_of_day = hours.hour_of_day
        AND near.weekend = hours.weekend AND near.days >= 2
    GROUP BY hours.feature
),
compared AS (
    SELECT
        times.feature,
        times.hour_of_day,
        kinds.weekend,
        times.hour_usd,
        times.hour_generations,
        times.last_week_usd,
        greatest(near.peak_usd, times.last_week_peak_usd) AS peak_usd,
        greatest(near.peak_generations, times.last_week_peak_generations) AS peak_generations,
        features.active_hours >= 0.5 * features.covered_hours AND coalesce(near.days, 0) >= 2 AS regular,
        features.active_hours < 0.25 * features.covered_hours AS seldom,
        near.near_usd,
        near.near_generations,
        near.own_usd,
        near.own_generations,
        near.high_usd,
        near.high_generations,
        features.covered_hours,
        features.active_hours,
        features.p95_usd,
        features.p95_generations,
        features.active_usd,
        features.active_generations,
        features.call_usd,
        features.mean_generations,
        spreads.mean_usd,
        spreads.variance_usd,
        spreads.variance_generations,
        spreads.call_variance_usd
    FROM times
    CROSS JOIN (VALUES (FALSE), (TRUE)) AS kinds (weekend)
    JOIN features ON features.feature = times.feature
    JOIN spreads ON spreads.feature = times.feature
    LEFT JOIN near ON near.feature = times.feature AND near.hour_of_day = times.hour_of_day AND near.weekend = kinds.weekend
)
SELECT
    feature,
    hour_of_day,
    weekend,
    regular,
    covered_hours,
    active_hours,
    CASE WHEN regular THEN greatest(near_usd, own_usd, 0.1 * mean_usd)
         WHEN seldom THEN greatest(mean_usd, hour_usd, coalesce(active_usd, 0.0))
         ELSE greatest(mean_usd, hour_usd) END AS usual_usd,
    CASE WHEN regular THEN greatest(near_generations, own_generations, 0.1 * mean_generations)
         WHEN seldom THEN greatest(mean_generations, hour_generations, coalesce(active_generations, 0.0))
         ELSE greatest(mean_generations, hour_generations) END AS usual_generations,
    greatest(CASE WHEN regular THEN high_usd ELSE p95_usd END, last_week_usd) AS high_usd,
    CASE WHEN regular THEN high_generations ELSE p95_generations END AS high_generations,
    CASE WHEN regular THEN peak_usd END AS peak_usd,
    CASE WHEN regular THEN peak_generations END AS peak_generations,
    -- Cutting off the highest hours takes a quarter of the variance; one call more or less is chance in any hour.
    CASE WHEN mean_usd > 0.0 THEN greatest(1.3 * variance_usd, call_usd * call_usd) / mean_usd ELSE call_usd END AS dispersion_usd,
    CASE WHEN mean_generations > 0.0 THEN greatest(1.3 * variance_generations, 1.0) / mean_generations ELSE 1.0 END
        AS dispersion_generations,
    call_usd,
    CASE WHEN call_usd > 0.0 THEN greatest(coalesce(call_variance_usd, 0.0) / call_usd, 0.1 * call_usd) ELSE 0.0 END AS call_dispersion_usd,
    mean_usd,
    hour_usd AS same_hour_usd
FROM compared
