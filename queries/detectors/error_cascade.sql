-- name: error_cascade
-- title: Error cascade
-- schedule: 10 */15 * * * *
-- window: 1h
-- sources: sentry, langfuse
-- input: active_issues
-- input: hour_baseline
-- stop_when_empty: bursts
-- list: issue_ids = active_issues.id
-- param: threshold = error_cascade_threshold
-- param: min_cost = error_cascade_min_cost_usd
-- param: generation_ratio = error_cascade_generation_ratio
-- param: sigmas = error_cascade_noise_sigmas
-- param: error_ratio = error_cascade_error_ratio
-- param: error_sigmas = error_cascade_error_sigmas
-- param: min_errors = error_cascade_min_errors
-- param: critical_ratio = error_cascade_critical_ratio
-- severity: severity
-- entity: feature
-- onset: onset
-- cost: cost_usd
-- json: issues
-- action: create_issue
-- description: {errors} errors ({top_issue_title}) while {entity} made {generations} generations for {cost_usd:usd}
--
-- Errors that rise together with the generations of a feature, which retries them (seed 003, error cascades): errors of
-- the window × US dollars of the generations that overlap them. Sentry's lifetime count is used only for an issue that
-- was first seen in the window; an older issue is elevated against its own past rate. An issue is counted once and a
-- generation is counted once, however many issues it overlaps.

WITH events AS (
    SELECT
        issue_id,
        event_id,
        min(timestamp) AS happened_at,
        count(*) OVER (PARTITION BY issue_id) AS events,
        row_number() OVER (PARTITION BY issue_id ORDER BY min(timestamp), event_id) - 1 AS events_before
    FROM sentry.issue_events
    WHERE issue_id = ANY($issue_ids)
      AND timestamp >= $window_start
      AND timestamp < $window_end
    GROUP BY issue_id, event_id
),
issue_events AS (
    SELECT
        issue.id AS issue_id,
        issue.title,
        issue.culprit,
        issue.first_seen,
        issue.last_seen,
        coalesce(issue.count, 0) AS lifetime_count,
        coalesce(events.events, 0) AS events,
        coalesce(events.events_before, 0) AS events_before,
        events.happened_at,
        CASE WHEN issue.first_seen < $window_start::timestamptz
             THEN greatest(coalesce(issue.count, 0) - coalesce(events.events, 0), 0)
                  -- An issue younger than a day is measured against a day, so that a burst is no past of itself.
                  / greatest(date_part('epoch', $window_start::timestamptz - issue.first_seen) / 3600.0, 24.0)
                  * date_part('epoch', $window_end::timestamptz - $window_start::timestamptz) / 3600.0
             ELSE 0.0 END AS past_errors
    FROM input.active_issues AS issue
    LEFT JOIN events ON events.issue_id = issue.id
),
issues AS (
    SELECT
        issue_id,
        title,
        culprit,
        past_errors,
        -- An issue that goes on after the window is counted by its events, where they are known.
        CASE WHEN first_seen >= $window_start::timestamptz AND (last_seen < $window_end::timestamptz OR events = 0)
             THEN greatest(lifetime_count, events) ELSE events END AS errors,
        -- The burst begins where events begin to come faster than before.
        coalesce(
            first_value(happened_at ORDER BY
                events_before - past_errors * date_part('epoch', happened_at - $window_start::timestamptz)
                    / date_part('epoch', $window_end::timestamptz - $window_start::timestamptz), happened_at),
            greatest(first_seen, $window_start::timestamptz)) AS active_from,
        coalesce(max(happened_at), least(last_seen, $window_end::timestamptz)) AS active_until
    FROM issue_events
    GROUP BY issue_id, title, culprit, past_errors, first_seen, last_seen, lifetime_count, events
),
bursts AS MATERIALIZED (
    SELECT *
    FROM issues
    WHERE errors >= $min_errors
      AND errors > $error_ratio * past_errors
      -- The square root makes the chance of so many the same for few and for many.
      AND 2.0 * (sqrt(errors) - sqrt(past_errors)) > $error_sigmas
),
ordinary AS (
    SELECT
        feature,
        -- What this time of day is like, once three days have shown it.
        CASE WHEN max(covered_hours) >= 72 THEN max(hour_generations)
             ELSE greatest(max(mean_generations), max(hour_generations)) END AS generations,
        max(p95_generations) AS p95_generations,
        max(spread_generations) AS spread_generations
    FROM input.hour_baseline
    WHERE hour_of_day = date_part('hour', $window_start::timestamptz)
       OR hour_of_day = date_part('hour', $window_end::timestamptz - INTERVAL '1 microsecond')
    GROUP BY feature
),
calls AS (
    SELECT
        id,
        CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature,
        start_time,
        coalesce(end_time, start_time) AS end_time,
        coalesce(total_cost, 0.0) AS cost_usd,
        count(*) OVER (PARTITION BY CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END) AS feature_generations
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $window_start
      AND start_time < $window_end
),
elevated AS MATERIALIZED (
    SELECT
        calls.*,
        coalesce(ordinary.generations, 0.0) AS ordinary_generations,
        calls.feature_generations - coalesce(ordinary.generations, 0.0) AS excess_generations
    FROM calls
    LEFT JOIN ordinary ON ordinary.feature = calls.feature
    WHERE calls.feature_generations > $generation_ratio * coalesce(ordinary.generations, 0.0)
      AND calls.feature_generations
          > least(coalesce(ordinary.p95_generations, 0.0), 2.0 * coalesce(ordinary.generations, 0.0))
      AND calls.feature_generations - coalesce(ordinary.generations, 0.0)
          > $sigmas * greatest(coalesce(ordinary.spread_generations, 0.0), 1.0)
),
-- Every generation with every burst it overlaps; of the features a burst overlaps, the one that rose most is meant.
pairs AS (
    SELECT
        bursts.*,
        elevated.id,
        elevated.feature,
        elevated.cost_usd,
        elevated.feature_generations,
        elevated.ordinary_generations,
        elevated.excess_generations,
        first_value(elevated.feature) OVER (PARTITION BY bursts.issue_id
            ORDER BY elevated.excess_generations DESC, elevated.feature) AS meant
    FROM bursts
    JOIN elevated ON elevated.start_time <= bursts.active_until AND elevated.end_time >= bursts.active_from
),
counted AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY feature, issue_id ORDER BY id) AS row_of_issue,
        row_number() OVER (PARTITION BY feature, id ORDER BY issue_id) AS row_of_call
    FROM pairs
    WHERE feature = meant
),
cascades AS (
    SELECT
        feature,
        sum(CASE WHEN row_of_issue = 1 THEN errors ELSE 0 END) AS errors,
        sum(CASE WHEN row_of_call = 1 THEN 1 ELSE 0 END) AS generations,
        sum(CASE WHEN row_of_call = 1 THEN cost_usd ELSE 0.0 END) AS cost_usd,
        max(feature_generations) AS window_generations,
        max(ordinary_generations) AS ordinary_generations,
        max(excess_generations) AS excess_generations,
        min(active_from) AS onset,
        max(active_until) AS last_error,
        first_value(issue_id ORDER BY errors DESC, issue_id) AS top_issue_id,
        first_value(title ORDER BY errors DESC, issue_id) AS top_issue_title,
        first_value(culprit ORDER BY errors DESC, issue_id) AS top_issue_culprit,
        concat('["', string_agg(CASE WHEN row_of_issue = 1 THEN issue_id END, '","' ORDER BY errors DESC, issue_id), '"]') AS issues
    FROM counted
    GROUP BY feature
)
SELECT
    feature,
    errors,
    generations,
    cost_usd,
    errors * cost_usd AS errors_times_cost,
    window_generations,
    ordinary_generations,
    excess_generations,
    onset,
    last_error,
    top_issue_id,
    top_issue_title,
    top_issue_culprit,
    issues,
    CASE WHEN errors * cost_usd / $threshold > $critical_ratio THEN 'critical' ELSE 'high' END AS severity
FROM cascades
WHERE cost_usd > $min_cost
  AND errors * cost_usd > $threshold
ORDER BY errors_times_cost DESC, feature
