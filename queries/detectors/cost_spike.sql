-- name: cost_spike
-- title: Cost spike
-- schedule: 0 */15 * * * *
-- window: 1h
-- sources: langfuse
-- input: hour_baseline
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
-- the clock hours of the 7 days before it (queries/baselines/hour_baseline.sql):
--   baseline    the mean of all hours, earlier spikes cut off; the median of the same clock hour on the days before, so
--               that a nightly batch is no spike; for a feature that seldom runs, the median of the hours in which it did;
--   high        the 95th percentile of all hours, and the same clock hour a week ago: a weekly report is no spike;
--   noise       how much an ordinary hour differs from its time of day.
-- When all features together spike but none does alone (a feature too new to have a baseline), the finding is about the
-- feature that rose most.

WITH expected AS MATERIALIZED (
    SELECT
        feature,
        max(covered_hours) AS covered_hours,
        greatest(max(mean_usd), max(hour_usd),
            CASE WHEN max(active_hours) < 0.25 * max(covered_hours) THEN max(active_usd) ELSE 0.0 END) AS baseline_usd,
        max(mean_usd) AS mean_usd,
        max(hour_usd) AS same_hour_usd,
        greatest(max(p95_usd), max(last_week_usd)) AS high_usd,
        max(spread_usd) AS noise_usd,
        max(call_p95_usd) AS call_p95_usd
    FROM input.hour_baseline
    -- The clock hours that the window lies in.
    WHERE hour_of_day = date_part('hour', $window_start::timestamptz)
       OR hour_of_day = date_part('hour', $window_end::timestamptz - INTERVAL '1 microsecond')
    GROUP BY feature
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
-- Where the spike begins: before that call the balance against the middle between the baseline and now is at its lowest.
balanced AS (
    SELECT
        calls.feature,
        calls.start_time,
        calls.cost_usd,
        sum(calls.cost_usd) OVER (PARTITION BY calls.feature, calls.model) AS model_usd,
        calls.model,
        sum(calls.cost_usd) OVER (PARTITION BY calls.feature ORDER BY calls.start_time, calls.id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - calls.cost_usd
          - (coalesce(expected.baseline_usd, 0.0) + sum(calls.cost_usd) OVER (PARTITION BY calls.feature)) / 2.0
            * date_part('epoch', calls.start_time - $window_start::timestamptz)
            / date_part('epoch', $window_end::timestamptz - $window_start::timestamptz) AS balance_usd
    FROM calls
    LEFT JOIN expected ON expected.feature = calls.feature
),
by_feature AS MATERIALIZED (
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
