-- name: cost_spike
-- title: Cost spike
-- schedule: 0 */15 * * * *
-- window: 1h
-- sources: langfuse
-- input: cost_hours
-- param: multiplier = cost_spike_multiplier
-- param: p95_ratio = cost_spike_p95_ratio
-- param: sigmas = cost_spike_noise_sigmas
-- param: floor_usd = cost_spike_floor_usd
-- param: min_hours = cost_spike_min_covered_hours
-- param: critical_ratio = cost_spike_critical_ratio
-- severity: severity
-- entity: feature
-- onset: onset
-- cost: excess_usd
-- action: create_issue
-- description: {entity} cost {current_cost_usd:usd} in an hour, {ratio:1} times its baseline of {baseline_usd:usd}
--
-- The window is always a whole hour and slides with the schedule (seed 003, cost spikes). What it is compared with are
-- the clock hours of the 7 days before it:
--   mean        of all hours since the feature's first call; hours without calls count as 0, hours above the 95th
--               percentile count as that percentile, so that an earlier spike does not hide a lasting one;
--   same hour   the median of the same clock hour on the days before: a nightly batch is no spike;
--   last week   the same clock hour a week ago: a weekly report is no spike;
--   noise       how much an ordinary hour differs from its time of day, at least what chance does to so few calls.
-- When all features together spike but none does alone (a feature too new to have a baseline), the finding is about the
-- feature that rose most.

WITH costs AS (
    SELECT feature, hour_start, cost_usd, generations FROM input.cost_hours
    UNION ALL
    -- The empty name stands for all features together; no feature is called so.
    SELECT '' AS feature, hour_start, sum(cost_usd) AS cost_usd, sum(generations) AS generations
    FROM input.cost_hours
    GROUP BY hour_start
),
hours AS (
    SELECT
        known.feature,
        covered.hour_start,
        date_part('hour', covered.hour_start) AS hour_of_day,
        coalesce(costs.cost_usd, 0.0) AS cost_usd,
        coalesce(costs.generations, 0) AS generations
    FROM (SELECT feature, min(hour_start) AS first_hour FROM costs GROUP BY feature) AS known
    JOIN input.covered_hours AS covered ON covered.hour_start >= known.first_hour
    LEFT JOIN costs ON costs.feature = known.feature AND costs.hour_start = covered.hour_start
),
spread AS (
    SELECT
        feature,
        count(*) AS covered_hours,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY cost_usd) AS p95_usd,
        sum(CASE WHEN generations > 0 THEN 1 ELSE 0 END) AS active_hours,
        median(CASE WHEN generations > 0 THEN cost_usd END) AS active_median_usd,
        median(CASE WHEN generations > 0 THEN cost_usd / generations END) AS call_usd,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY CASE WHEN generations > 0 THEN cost_usd / generations END) AS call_p95_usd
    FROM hours
    GROUP BY feature
),
time_of_day AS (
    SELECT feature, hour_of_day, median(cost_usd) AS cost_usd, median(CAST(generations AS DOUBLE)) AS generations
    FROM hours
    GROUP BY feature, hour_of_day
),
baseline AS (
    SELECT
        hours.feature,
        avg(least(hours.cost_usd, spread.p95_usd)) AS mean_usd,
        avg(CAST(hours.generations AS DOUBLE)) AS mean_generations,
        coalesce(stddev(least(hours.cost_usd, spread.p95_usd) - least(time_of_day.cost_usd, spread.p95_usd)), 0.0) AS spread_usd,
        max(CASE WHEN hours.hour_of_day = date_part('hour', $window_start::timestamptz)
                   OR hours.hour_of_day = date_part('hour', $window_end::timestamptz - INTERVAL '1 microsecond')
                 THEN time_of_day.cost_usd ELSE 0.0 END) AS same_hour_usd,
        max(CASE WHEN hours.hour_of_day = date_part('hour', $window_start::timestamptz)
                   OR hours.hour_of_day = date_part('hour', $window_end::timestamptz - INTERVAL '1 microsecond')
                 THEN time_of_day.generations ELSE 0.0 END) AS same_hour_generations,
        max(CASE WHEN hours.hour_start = date_trunc('hour', $window_start::timestamptz) - INTERVAL '7 days'
                   OR hours.hour_start = date_trunc('hour', $window_end::timestamptz - INTERVAL '1 microsecond') - INTERVAL '7 days'
                 THEN hours.cost_usd ELSE 0.0 END) AS last_week_usd
    FROM hours
    JOIN spread ON spread.feature = hours.feature
    JOIN time_of_day ON time_of_day.feature = hours.feature AND time_of_day.hour_of_day = hours.hour_of_day
    GROUP BY hours.feature
),
expected AS (
    SELECT
        baseline.feature,
        spread.covered_hours,
        -- A feature that runs in few hours is compared with such hours, not with the empty ones between.
        greatest(mean_usd, same_hour_usd,
            CASE WHEN active_hours < 0.25 * covered_hours THEN active_median_usd ELSE 0.0 END) AS baseline_usd,
        mean_usd,
        same_hour_usd,
        greatest(p95_usd, last_week_usd) AS high_usd,
        greatest(spread_usd, coalesce(call_usd, 0.0) * sqrt(greatest(mean_generations, same_hour_generations))) AS noise_usd,
        coalesce(call_p95_usd, 0.0) AS call_p95_usd
    FROM baseline
    JOIN spread ON spread.feature = baseline.feature
),
calls AS (
    SELECT
        coalesce(nullif(trim(name), ''), '(unnamed)') AS feature,
        id,
        start_time,
        coalesce(total_cost, 0.0) AS cost_usd,
        coalesce(nullif(model, ''), 'unknown') AS model
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $window_start
      AND start_time < $window_end
),
-- Where costs begin to exceed what was to be expected by then: before that call the balance is at its lowest.
balanced AS (
    SELECT
        calls.feature,
        calls.start_time,
        calls.cost_usd,
        sum(calls.cost_usd) OVER (PARTITION BY calls.feature, calls.model) AS model_usd,
        calls.model,
        sum(calls.cost_usd) OVER (PARTITION BY calls.feature ORDER BY calls.start_time, calls.id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - calls.cost_usd
          - coalesce(expected.mean_usd, 0.0)
            * date_part('epoch', calls.start_time - $window_start::timestamptz) / date_part('epoch', $window_end::timestamptz - $window_start::timestamptz) AS balance_usd
    FROM calls
    LEFT JOIN expected ON expected.feature = calls.feature
),
by_feature AS (
    SELECT
        feature,
        sum(cost_usd) AS current_cost_usd,
        count(*) AS generations,
        first_value(start_time ORDER BY balance_usd, start_time) AS onset,
        first_value(model ORDER BY model_usd DESC, model) AS top_model
    FROM balanced
    GROUP BY feature
),
compared AS (
    SELECT
        now_.feature,
        now_.current_cost_usd,
        now_.generations,
        now_.onset,
        now_.top_model,
        now_.current_cost_usd / now_.generations AS cost_per_call_usd,
        coalesce(own.baseline_usd, 0.0) AS baseline_usd,
        coalesce(own.mean_usd, 0.0) AS mean_usd,
        coalesce(own.same_hour_usd, 0.0) AS same_hour_usd,
        coalesce(own.high_usd, 0.0) AS high_usd,
        coalesce(own.covered_hours, 0) AS covered_hours,
        now_.current_cost_usd - coalesce(own.baseline_usd, 0.0) AS excess_usd,
        own.baseline_usd > 0.0
            AND own.covered_hours >= $min_hours
            AND now_.current_cost_usd > $multiplier * own.baseline_usd
            AND now_.current_cost_usd > $p95_ratio * own.high_usd
            AND now_.current_cost_usd - own.baseline_usd >= $floor_usd
            AND (now_.current_cost_usd - own.baseline_usd > $sigmas * own.noise_usd
                 OR (now_.generations >= 5 AND now_.current_cost_usd / now_.generations > 2.0 * own.call_p95_usd))
            AS spikes,
        sum(now_.current_cost_usd) OVER () AS all_cost_usd,
        together.baseline_usd AS all_baseline_usd,
        together.baseline_usd > 0.0
            AND together.covered_hours >= $min_hours
            AND sum(now_.current_cost_usd) OVER () > $multiplier * together.baseline_usd
            AND sum(now_.current_cost_usd) OVER () > $p95_ratio * together.high_usd
            AND sum(now_.current_cost_usd) OVER () - together.baseline_usd >= $floor_usd
            AND sum(now_.current_cost_usd) OVER () - together.baseline_usd > $sigmas * together.noise_usd
            AS all_spike
    FROM by_feature AS now_
    LEFT JOIN expected AS own ON own.feature = now_.feature
    LEFT JOIN expected AS together ON together.feature = ''
),
ranked AS (
    SELECT
        *,
        max(CASE WHEN spikes THEN 1 ELSE 0 END) OVER () AS any_spikes,
        row_number() OVER (ORDER BY excess_usd DESC, feature) AS rank_by_excess
    FROM compared
)
SELECT
    feature,
    current_cost_usd,
    baseline_usd,
    CASE WHEN spikes THEN current_cost_usd / baseline_usd ELSE all_cost_usd / all_baseline_usd END AS ratio,
    excess_usd,
    generations,
    onset,
    top_model,
    cost_per_call_usd,
    mean_usd,
    same_hour_usd,
    high_usd,
    covered_hours,
    all_cost_usd,
    all_baseline_usd,
    CASE WHEN CASE WHEN spikes THEN current_cost_usd / baseline_usd ELSE all_cost_usd / all_baseline_usd END > $critical_ratio
         THEN 'critical' ELSE 'high' END AS severity
FROM ranked
WHERE spikes
   OR (any_spikes = 0 AND all_spike AND rank_by_excess = 1)
ORDER BY excess_usd DESC, feature
