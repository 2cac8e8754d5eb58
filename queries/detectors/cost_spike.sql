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
-- description: {entity} cost {current_cost_usd:usd} in {minutes} minutes, {ratio:1} times its baseline of {baseline_usd:usd}
--
-- The window is a whole hour that slides with the schedule (seed 003, cost spikes), so that no hour is ever partial; its
-- newest 15 and 30 minutes are judged too, projected to an hour, so that what is large is found at once and what is small an hour later.
-- It is compared with what is usual at this hour on such a day (queries/baselines/hour_baseline.sql):
--   usual       so many times as much is a spike,
--   high        and more than this, with a margin,
--   dispersion  and more than chance makes of it: the signed root of the deviance, which is as right for two calls as
--               for two thousand; or calls themselves are dearer than chance makes them.
-- Part of an hour is a spike only where it alone costs more than as many of the dearest quarters of such hours do, or than
-- the whole hour does: what comes in bursts, on the hour or at its end, is no spike. When all features together spike and none does alone (a feature too new to have a
-- baseline), the finding is about the feature that rose most.

WITH expected AS MATERIALIZED (
    SELECT
        feature,
        max(covered_hours) AS covered_hours,
        bool_and(regular) AS regular,
        max(usual_usd) AS usual_usd,
        max(usual_generations) AS usual_generations,
        max(high_usd) AS high_usd,
        max(peak_usd) AS peak_usd,
        max(dispersion_usd) AS dispersion_usd,
        max(call_usd) AS call_usd,
        max(call_dispersion_usd) AS call_dispersion_usd,
        max(mean_usd) AS mean_usd,
        max(same_hour_usd) AS same_hour_usd
    FROM input.hour_baseline
    -- The clock hours that the window lies in, and the next one if it is near: clocks of batches are not exact.
    WHERE (hour_of_day = date_part('hour', $window_start::timestamptz)
           AND weekend = (date_part('dow', $window_start::timestamptz) IN (0, 6)))
       OR (hour_of_day = date_part('hour', $window_end::timestamptz + INTERVAL '10 minutes')
           AND weekend = (date_part('dow', $window_end::timestamptz + INTERVAL '10 minutes') IN (0, 6)))
       OR (hour_of_day = date_part('hour', $window_end::timestamptz - INTERVAL '1 microsecond')
           AND weekend = (date_part('dow', $window_end::timestamptz - INTERVAL '1 microsecond') IN (0, 6)))
    GROUP BY feature
),
calls AS MATERIALIZED (
    SELECT
        CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature,
        id,
        start_time,
        coalesce(total_cost, 0.0) AS cost_usd,
        coalesce(nullif(model, ''), 'unknown') AS model,
        date_part('epoch', $window_end::timestamptz - start_time) / 60.0 AS minutes_ago
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
          - (coalesce(expected.usual_usd, 0.0) + sum(calls.cost_usd) OVER (PARTITION BY calls.feature)) / 2.0
            * date_part('epoch', calls.start_time - $window_start::timestamptz)
            / date_part('epoch', $window_end::timestamptz - $window_start::timestamptz) AS balance_usd
    FROM calls
    LEFT JOIN expected ON expected.feature = calls.feature
),
begins AS (
    SELECT
        feature,
        first_value(start_time ORDER BY balance_usd, start_time) AS onset,
        first_value(model ORDER BY model_usd DESC, model) AS top_model
    FROM balanced
    GROUP BY feature
),
by_span AS (
    SELECT
        calls.feature,
        spans.minutes,
        spans.minutes / 60.0 AS part,
        sum(calls.cost_usd) AS current_cost_usd,
        count(*) AS generations
    FROM calls
    JOIN (VALUES (15), (30), (60)) AS spans (minutes) ON calls.minutes_ago <= spans.minutes
    GROUP BY calls.feature, spans.minutes
),
measured AS (
    SELECT
        now_.*,
        own.covered_hours,
        own.regular,
        own.usual_usd,
        own.usual_generations,
        own.high_usd,
        own.peak_usd,
        own.call_usd,
        own.mean_usd,
        own.same_hour_usd,
        now_.part * coalesce(own.usual_usd, 0.0) AS baseline_usd,
        CASE WHEN now_.current_cost_usd > now_.part * own.usual_usd
             THEN sqrt(greatest(2.0 / nullif(own.dispersion_usd, 0.0)
                  * (now_.current_cost_usd * ln(now_.current_cost_usd / nullif(now_.part * own.usual_usd, 0.0))
                     - now_.current_cost_usd + now_.part * own.usual_usd), 0.0))
             ELSE 0.0 END AS surprise,
        CASE WHEN now_.current_cost_usd > now_.generations * own.call_usd
             THEN sqrt(greatest(2.0 / nullif(own.call_dispersion_usd, 0.0)
                  * (now_.current_cost_usd * ln(now_.current_cost_usd / nullif(now_.generations * own.call_usd, 0.0))
                     - now_.current_cost_usd + now_.generations * own.call_usd), 0.0))
             ELSE 0.0 END AS price_surprise,
        sum(now_.current_cost_usd) OVER (PARTITION BY now_.minutes) AS all_cost_usd
    FROM by_span AS now_
    LEFT JOIN expected AS own ON own.feature = now_.feature
),
compared AS (
    SELECT
        measured.*,
        coalesce(together.usual_usd, 0.0) AS all_baseline_usd,
        coalesce(measured.usual_usd > 0.0
            AND measured.covered_hours >= $min_hours
            AND measured.current_cost_usd > $multiplier * measured.baseline_usd
            AND measured.current_cost_usd > $p95_ratio * measured.part * measured.high_usd
            AND measured.current_cost_usd - measured.baseline_usd >= $floor_usd
            AND (measured.minutes = 60
                 OR (measured.regular
                     AND measured.current_cost_usd
                         > $p95_ratio * least(measured.usual_usd, measured.minutes / 15.0 * measured.peak_usd)))
            AND (measured.surprise > $sigmas
                 OR (measured.price_surprise > $sigmas AND measured.generations >= 3
                     AND measured.current_cost_usd > 2.0 * measured.generations * measured.call_usd)), FALSE) AS spikes,
        coalesce(measured.minutes = 60
            AND together.usual_usd > 0.0
            AND together.covered_hours >= $min_hours
            AND measured.all_cost_usd > $multiplier * together.usual_usd
            AND measured.all_cost_usd > $p95_ratio * together.high_usd
            AND measured.all_cost_usd - together.usual_usd >= $floor_usd
            AND sqrt(greatest(2.0 / nullif(together.dispersion_usd, 0.0)
                * (measured.all_cost_usd * ln(measured.all_cost_usd / nullif(together.usual_usd, 0.0))
                   - measured.all_cost_usd + together.usual_usd), 0.0)) > $sigmas, FALSE) AS all_spike
    FROM measured
    LEFT JOIN expected AS together ON together.feature = ''
),
ranked AS (
    SELECT
        *,
        max(CASE WHEN spikes THEN 1 ELSE 0 END) OVER () AS any_spikes,
        row_number() OVER (PARTITION BY minutes ORDER BY current_cost_usd - baseline_usd DESC, feature) AS rank_by_excess,
        -- The whole hour tells most.
        row_number() OVER (PARTITION BY feature ORDER BY CASE WHEN spikes THEN minutes ELSE 0 END DESC, minutes DESC) AS widest
    FROM compared
)
SELECT
    ranked.feature,
    CAST(minutes AS BIGINT) AS minutes,
    current_cost_usd,
    baseline_usd,
    CASE WHEN spikes THEN current_cost_usd / baseline_usd ELSE all_cost_usd / all_baseline_usd END AS ratio,
    current_cost_usd - baseline_usd AS excess_usd,
    generations,
    coalesce(usual_generations, 0.0) * part AS ordinary_generations,
    current_cost_usd / generations AS cost_per_call_usd,
    call_usd AS ordinary_cost_per_call_usd,
    -- How much of the rise is dearer calls, and how much is more of them; their product is about the whole.
    CASE WHEN call_usd > 0.0 THEN current_cost_usd / generations / call_usd END AS price_ratio,
    CASE WHEN usual_generations > 0.0 THEN generations / (usual_generations * part) END AS volume_ratio,
    onset,
    top_model,
    coalesce(mean_usd, 0.0) AS mean_usd,
    coalesce(same_hour_usd, 0.0) AS same_hour_usd,
    coalesce(high_usd, 0.0) AS high_usd,
    coalesce(covered_hours, 0) AS covered_hours,
    all_cost_usd,
    all_baseline_usd,
    CASE WHEN CASE WHEN spikes THEN current_cost_usd / baseline_usd ELSE all_cost_usd / all_baseline_usd END > $critical_ratio
         THEN 'critical' ELSE 'high' END AS severity
FROM ranked
JOIN begins ON begins.feature = ranked.feature
WHERE (spikes AND widest = 1)
   OR (any_spikes = 0 AND all_spike AND rank_by_excess = 1)
ORDER BY excess_usd DESC, ranked.feature
