-- name: error_cascade
-- title: Error cascade
-- schedule: 10 */15 * * * *
-- window: 1h
-- sources: sentry, langfuse
-- input: active_issues
-- input: hour_baseline
-- input: trace_sizes
-- stop_when_empty: bursts
-- list: issue_ids = active_issues.id
-- param: threshold = error_cascade_threshold
-- param: min_cost = error_cascade_min_cost_usd
-- param: floor_usd = error_cascade_floor_usd
-- param: generation_ratio = error_cascade_generation_ratio
-- param: sigmas = error_cascade_noise_sigmas
-- param: error_ratio = error_cascade_error_ratio
-- param: error_sigmas = error_cascade_error_sigmas
-- param: min_errors = error_cascade_min_errors
-- param: critical_ratio = error_cascade_critical_ratio
-- severity: severity
-- entity: feature
-- onset: onset
-- last_sign: last_error
-- cost: cost_usd
-- json: issues
-- action: create_issue
-- description: {errors} errors ({top_issue_title}) while {entity} made {generations} generations for {cost_usd:usd}
--
-- Errors that rise together with the generations of a feature, which retries them (seed 003, error cascades): errors of
-- the window × US dollars of the generations that overlap them. Of a feature whose ordinary hour costs less than a dollar,
-- that hour stands for the dollar: what a cascade is does not depend on how dear a model is.
-- The hour and its newest 15 and 30 minutes (projected to an hour) are judged together, both sides counted before they are joined: an issue is
-- counted once and a generation is counted once, however many issues it overlaps. Sentry's lifetime count is used only
-- for an issue that was first seen in the window; an older issue is elevated against its own past rate, and against
-- the traffic, since errors that rise only as there are more traces are no cascade.
-- Which feature retries is told by what rose when the errors did. The two hours before the window are read for that: of
-- errors that go on for longer than an hour the window no longer shows the beginning.

WITH events AS (
    SELECT
        issue_id,
        event_id,
        min(timestamp) AS happened_at
    FROM sentry.issue_events
    WHERE issue_id = ANY($issue_ids)
      AND timestamp >= $window_start::timestamptz - INTERVAL '2 hours'
      AND timestamp < $window_end
    GROUP BY issue_id, event_id
),
spans AS (
    SELECT
        minutes,
        minutes / 60.0 AS part,
        $window_end::timestamptz - CAST(concat(minutes, ' minutes') AS INTERVAL) AS span_start
    FROM (VALUES (15), (30), (60)) AS lengths (minutes)
),
numbered AS (
    SELECT
        spans.minutes,
        events.issue_id,
        events.happened_at,
        count(*) OVER (PARTITION BY spans.minutes, events.issue_id) AS events,
        row_number() OVER (PARTITION BY spans.minutes, events.issue_id ORDER BY events.happened_at, events.event_id) - 1 AS events_before
    FROM events
    JOIN spans ON events.happened_at >= spans.span_start
),
counted_in_hour AS (
    SELECT issue_id, count(*) AS events FROM events WHERE happened_at >= $window_start::timestamptz GROUP BY issue_id
),
issue_events AS (
    SELECT
        spans.minutes,
        spans.part,
        spans.span_start,
        issue.id AS issue_id,
        issue.title,
        issue.culprit,
        issue.first_seen,
        issue.last_seen,
        coalesce(issue.count, 0) AS lifetime_count,
        coalesce(counted_in_hour.events, 0) AS hour_events,
        coalesce(numbered.events, 0) AS events,
        coalesce(numbered.events_before, 0) AS events_before,
        numbered.happened_at,
        CASE WHEN issue.first_seen < $window_start::timestamptz
             THEN greatest(coalesce(issue.count, 0) - coalesce(counted_in_hour.events, 0), 0)
                  -- An issue younger than a day is measured against a day, so that a burst is no past of itself.
                  / greatest(date_part('epoch', $window_start::timestamptz - issue.first_seen) / 3600.0, 24.0)
                  * spans.part
             ELSE 0.0 END AS past_errors
    FROM input.active_issues AS issue
    CROSS JOIN spans
    LEFT JOIN counted_in_hour ON counted_in_hour.issue_id = issue.id
    LEFT JOIN numbered ON numbered.issue_id = issue.id AND numbered.minutes = spans.minutes
),
issues AS (
    SELECT
        minutes,
        part,
        issue_id,
        title,
        culprit,
        past_errors,
        -- An issue that goes on after the window is counted by its events, where they are known.
        CASE WHEN first_seen >= span_start AND (last_seen < $window_end::timestamptz OR hour_events = 0)
             THEN greatest(lifetime_count, events) ELSE events END AS errors,
        -- The burst begins where events begin to come faster than before.
        coalesce(
            first_value(happened_at ORDER BY
                events_before - past_errors * date_part('epoch', happened_at - span_start) / (part * 3600.0), happened_at),
            greatest(first_seen, span_start)) AS active_from,
        coalesce(max(happened_at), least(last_seen, $window_end::timestamptz)) AS active_until
    FROM issue_events
    GROUP BY minutes, part, span_start, issue_id, title, culprit, past_errors, first_seen, last_seen, lifetime_count, hour_events, events
),
-- When a burst began is told by the whole hour, whatever part of it shows the burst.
begun AS (
    SELECT issues.*, min(CASE WHEN minutes = 60 THEN active_from END) OVER (PARTITION BY issue_id) AS began
    FROM issues
),
-- Where events began to come faster, looking back two hours further.
looked_back AS (
    SELECT
        issue_id,
        first_value(happened_at ORDER BY events_before - past_errors * hours, happened_at) AS rose
    FROM (
        SELECT
            events.issue_id,
            events.happened_at,
            row_number() OVER (PARTITION BY events.issue_id ORDER BY events.happened_at, events.event_id) - 1 AS events_before,
            date_part('epoch', events.happened_at - $window_start::timestamptz) / 3600.0 + 2.0 AS hours,
            issues.past_errors
        FROM events
        JOIN issues ON issues.issue_id = events.issue_id AND issues.minutes = 60
    ) AS counted_back
    GROUP BY issue_id
),
bursts AS MATERIALIZED (
    SELECT
        begun.*,
        -- What goes on as the window begins, began before it.
        CASE WHEN begun.began < $window_start::timestamptz + INTERVAL '10 minutes'
             THEN least(begun.began, looked_back.rose) ELSE begun.began END AS rose
    FROM begun
    LEFT JOIN looked_back ON looked_back.issue_id = begun.issue_id
    WHERE errors >= $min_errors
      AND errors > $error_ratio * past_errors
      -- The square root makes the chance of so many the same for few and for many.
      AND 2.0 * (sqrt(errors) - sqrt(past_errors)) > $error_sigmas
),
ordinary AS MATERIALIZED (
    SELECT
        feature,
        max(usual_generations) AS generations,
        max(high_generations) AS high_generations,
        max(peak_generations) AS peak_generations,
        max(dispersion_generations) AS dispersion,
        max(usual_usd) AS usual_usd
    FROM input.hour_baseline
    WHERE (hour_of_day = date_part('hour', $window_start::timestamptz)
           AND weekend = (date_part('dow', $window_start::timestamptz) IN (0, 6)))
       OR (hour_of_day = date_part('hour', $window_end::timestamptz - INTERVAL '1 microsecond')
           AND weekend = (date_part('dow', $window_end::timestamptz - INTERVAL '1 microsecond') IN (0, 6)))
    GROUP BY feature
),
calls AS MATERIALIZED (
    SELECT
        id,
        coalesce(trace_id, id) AS trace_id,
        CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature,
        start_time,
        coalesce(end_time, start_time) AS end_time,
        coalesce(total_cost, 0.0) AS cost_usd,
        date_part('epoch', $window_end::timestamptz - start_time) / 60.0 AS minutes_ago
    FROM langfuse.observations
    WHERE type = 'GENERATION'
      AND start_time >= $window_start::timestamptz - INTERVAL '2 hours'
      AND start_time < $window_end
),
by_span AS (
    SELECT
        calls.feature,
        lengths.minutes,
        lengths.minutes / 60.0 AS part,
        CAST(count(*) AS DOUBLE) AS generations,
        CAST(count(DISTINCT calls.trace_id) AS DOUBLE) AS traces
    FROM calls
    JOIN (VALUES (15), (30), (60)) AS lengths (minutes) ON calls.minutes_ago <= lengths.minutes
    GROUP BY calls.feature, lengths.minutes
),
compared AS (
    SELECT
        now_.feature,
        now_.minutes,
        now_.generations AS feature_generations,
        now_.traces,
        now_.part * coalesce(ordinary.generations, 0.0) AS ordinary_generations,
        coalesce(ordinary.usual_usd, 0.0) AS usual_usd,
        -- Of as many traces as there are, what exceeds their usual calls.
        greatest(now_.generations - now_.traces * coalesce(sizes.calls_per_trace, 1.0), 0.0) AS retries,
        now_.traces * coalesce(sizes.calls_per_trace, 1.0)
            / greatest(now_.part * coalesce(ordinary.generations, 0.0), 1.0) AS traffic_ratio,
        -- The deviance of so many against so many, as right for few as for many.
        sqrt(greatest(2.0 / coalesce(ordinary.dispersion, 1.0)
            * (now_.generations * ln(now_.generations / greatest(now_.part * coalesce(ordinary.generations, 0.0), 0.5))
               - now_.generations + greatest(now_.part * coalesce(ordinary.generations, 0.0), 0.5)), 0.0)) AS surprise
    FROM by_span AS now_
    LEFT JOIN ordinary ON ordinary.feature = now_.feature
    LEFT JOIN input.trace_sizes AS sizes ON sizes.feature = now_.feature
    WHERE now_.generations > $generation_ratio * now_.part * coalesce(ordinary.generations, 0.0)
      AND now_.generations
          > now_.part * least(coalesce(ordinary.high_generations, 0.0), 2.0 * coalesce(ordinary.generations, 0.0))
      -- In part of an hour more than in as many of its fullest quarters, or in all of it: what comes in bursts is no rise.
      AND (now_.minutes = 60
           OR now_.generations > least(ordinary.generations, now_.minutes / 15.0 * ordinary.peak_generations)
           OR ordinary.generations IS NULL)
),
-- More calls than chance makes of it.
elevated AS MATERIALIZED (SELECT * FROM compared WHERE surprise > 0.75 * $sigmas),
-- Which feature a burst belongs to: of those that are elevated, the one whose calls rose most just as the burst began,
-- against the calls of the hour before that and the usual ones. What rises half an hour later is another matter.
moved AS MATERIALIZED (
    SELECT
        bursts.minutes,
        bursts.issue_id,
        elevated.feature,
        CAST(sum(CASE WHEN calls.start_time >= bursts.rose AND calls.start_time < bursts.rose + INTERVAL '30 minutes'
                      THEN 1 ELSE 0 END) AS DOUBLE) AS after_,
        least(greatest(max(date_part('epoch', $window_end::timestamptz - bursts.rose) / 3600.0), 0.02), 0.5)
            * greatest(max(elevated.ordinary_generations * 60.0 / elevated.minutes),
                CASE WHEN max(date_part('epoch', bursts.rose - $window_start::timestamptz)) >= 600.0 - 7200.0
                     THEN sum(CASE WHEN calls.start_time < bursts.rose AND calls.start_time >= bursts.rose - INTERVAL '1 hour'
                                   THEN 1 ELSE 0 END)
                          / least(max(date_part('epoch', bursts.rose - $window_start::timestamptz)) / 3600.0 + 2.0, 1.0)
                     ELSE 0.0 END, 0.5) AS expected
    FROM bursts
    JOIN elevated ON elevated.minutes = bursts.minutes
    JOIN calls ON calls.feature = elevated.feature
    GROUP BY bursts.minutes, bursts.issue_id, elevated.feature
),
belongs AS MATERIALIZED (
    SELECT minutes, issue_id, first_value(feature ORDER BY rise DESC, feature) AS feature
    FROM (
        SELECT minutes, issue_id, feature, after_ * ln(after_ / expected) - after_ + expected AS rise
        FROM moved
        -- Calls that rose before the errors did, and no further, have another cause.
        WHERE after_ > 1.2 * expected
    ) AS risen
    GROUP BY minutes, issue_id
),
-- Every generation with every burst it overlaps.
pairs AS (
    SELECT
        bursts.*,
        calls.id,
        calls.cost_usd,
        elevated.feature,
        elevated.feature_generations,
        elevated.ordinary_generations,
        elevated.usual_usd,
        elevated.retries,
        elevated.traces
    FROM bursts
    JOIN belongs ON belongs.minutes = bursts.minutes AND belongs.issue_id = bursts.issue_id
    JOIN elevated ON elevated.minutes = bursts.minutes AND elevated.feature = belongs.feature
        -- Errors that only keep pace with the traffic are no burst.
        AND bursts.errors > $error_ratio * bursts.past_errors * greatest(elevated.traffic_ratio, 1.0)
        -- Where the errors leave no doubt, less is asked of the calls: a cascade is both at once.
        AND (elevated.surprise > $sigmas
             OR 2.0 * (sqrt(bursts.errors) - sqrt(bursts.past_errors)) > 2.0 * $error_sigmas)
    JOIN calls ON calls.feature = elevated.feature
        AND calls.minutes_ago <= bursts.minutes
        AND calls.start_time <= bursts.active_until AND calls.end_time >= bursts.active_from
),
counted AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY minutes, feature, issue_id ORDER BY id) AS row_of_issue,
        row_number() OVER (PARTITION BY minutes, feature, id ORDER BY issue_id) AS row_of_call
    FROM pairs
),
cascades AS (
    SELECT
        feature,
        minutes,
        sum(CASE WHEN row_of_issue = 1 THEN errors ELSE 0 END) AS errors,
        sum(CASE WHEN row_of_call = 1 THEN 1 ELSE 0 END) AS generations,
        sum(CASE WHEN row_of_call = 1 THEN cost_usd ELSE 0.0 END) AS cost_usd,
        max(feature_generations) AS window_generations,
        max(ordinary_generations) AS ordinary_generations,
        max(usual_usd) AS usual_usd,
        max(retries) AS retries,
        max(traces) AS traces,
        min(coalesce(began, active_from)) AS onset,
        max(active_until) AS last_error,
        first_value(issue_id ORDER BY errors DESC, issue_id) AS top_issue_id,
        first_value(title ORDER BY errors DESC, issue_id) AS top_issue_title,
        first_value(culprit ORDER BY errors DESC, issue_id) AS top_issue_culprit,
        concat('["', string_agg(CASE WHEN row_of_issue = 1 THEN issue_id END, '","' ORDER BY errors DESC, issue_id), '"]') AS issues
    FROM counted
    GROUP BY feature, minutes
),
scaled AS (
    SELECT
        *,
        minutes / 60.0 AS part,
        -- What stands for a dollar; a feature without a past has no hour of its own.
        CASE WHEN usual_usd > 0.0 THEN least(usual_usd, 1.0) ELSE 1.0 END AS dollar_usd
    FROM cascades
)
SELECT
    feature,
    CAST(minutes AS BIGINT) AS minutes,
    errors,
    generations,
    cost_usd,
    errors * cost_usd AS errors_times_cost,
    usual_usd AS ordinary_hour_usd,
    CAST(window_generations AS BIGINT) AS window_generations,
    ordinary_generations,
    window_generations - ordinary_generations AS excess_generations,
    CAST(traces AS BIGINT) AS traces,
    CAST(round(retries) AS BIGINT) AS retries,
    onset,
    last_error,
    top_issue_id,
    top_issue_title,
    top_issue_culprit,
    issues,
    CASE WHEN errors * cost_usd / $threshold > $critical_ratio THEN 'critical' ELSE 'high' END AS severity
FROM scaled
WHERE cost_usd >= $floor_usd
  -- Projected to an hour, both the errors and the cost; the cost of a part has to be a rise itself.
  AND cost_usd > $min_cost * least(1.0, $generation_ratio * part) * dollar_usd
  AND errors * cost_usd > $threshold * part * part * dollar_usd
-- The longest span tells most.
QUALIFY row_number() OVER (PARTITION BY feature ORDER BY minutes DESC) = 1
ORDER BY errors_times_cost DESC, feature
