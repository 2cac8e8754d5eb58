-- name: silent_tool_failure
-- title: Silent tool failure
-- schedule: 30 */15 * * * *
-- window: 6h
-- sources: langfuse, sentry
-- input: tool_history
-- input: tool_errors optional
-- param: share = tool_failure_share_threshold
-- param: min_failures = tool_failure_min_failures
-- param: fail_sigmas = tool_failure_noise_sigmas
-- param: min_history = tool_failure_min_history
-- param: json_share = tool_failure_json_share
-- param: short_ratio = tool_output_short_ratio
-- param: min_length = tool_output_min_average_length
-- param: own_share_ratio = tool_output_own_share_ratio
-- param: within_minutes = tool_error_within_minutes
-- param: min_following = tool_error_min_following
-- param: lift = tool_error_lift
-- param: sigmas = tool_error_noise_sigmas
-- severity: high
-- entity: tool
-- onset: onset
-- cost: cost_usd
-- json: strategies, examples
-- action: create_issue
-- description: Tool {entity} fails without an error: {failed} of its newest {judged} outputs ({strategies})
--
-- Calls that end well and return something wrong (seed 003, silent tool failures). Strategies:
--   schema_failure      a tool that returned JSON objects or arrays before the window returns something else, or nothing;
--   output_anomaly      its outputs are shorter than a fifth of what they were on average, more often than ever before;
--   sentry_correlation  new Sentry issues follow its calls within five minutes, beyond coincidence: nearly all of an
--                       issue's events carry the trace id of such a call, or they follow calls far more often than
--                       chance would have it, or the issue names the tool.

WITH calls AS MATERIALIZED (
    SELECT
        id,
        trace_id,
        CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS tool,
        start_time,
        coalesce(total_cost, 0.0) AS cost_usd,
        -- Local copies keep the shape of an output: its text is not asked for.
        coalesce(json_get_str(output_shape, 'kind'), 'blank') AS kind,
        coalesce(json_get_int(output_shape, 'length'), 0) AS length
    FROM langfuse.observations
    WHERE type IN ('SPAN', 'TOOL')
      AND start_time >= $window_start
      AND start_time < $window_end
      AND (output_shape IS NOT NULL OR end_time IS NOT NULL)
      AND coalesce(level, 'DEFAULT') NOT IN ('WARNING', 'ERROR')
),
judged AS (
    SELECT
        calls.id,
        calls.trace_id,
        calls.tool,
        calls.start_time,
        calls.cost_usd,
        row_number() OVER (PARTITION BY calls.tool ORDER BY calls.start_time DESC, calls.id DESC) AS newest,
        history.outputs >= $min_history AND history.json_share >= $json_share
            AND calls.kind NOT IN ('object', 'array') AS no_json,
        history.outputs >= $min_history AND history.average_length > $min_length
            AND calls.length < $short_ratio * history.average_length AS short,
        greatest(history.short_share, 1.0 / (history.outputs + 2)) AS short_share,
        greatest(1.0 - history.json_share, 1.0 / (history.outputs + 2)) AS no_json_share,
        history.average_length
    FROM calls
    JOIN input.tool_history AS history ON history.tool = calls.tool
),
balanced AS (
    SELECT
        *,
        sum(CASE WHEN no_json OR short THEN 1.0 ELSE 0.0 END - $share) OVER (PARTITION BY tool ORDER BY start_time, id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
          - (CASE WHEN no_json OR short THEN 1.0 ELSE 0.0 END - $share) AS balance
    FROM judged
),
blocks AS (
    SELECT
        balanced.tool,
        sizes.size,
        sum(CASE WHEN newest <= sizes.size THEN 1 ELSE 0 END) AS judged,
        sum(CASE WHEN newest <= sizes.size AND (no_json OR short) THEN 1 ELSE 0 END) AS failed,
        CAST(sum(CASE WHEN newest <= sizes.size AND no_json THEN 1 ELSE 0 END) AS DOUBLE) AS no_json,
        CAST(sum(CASE WHEN newest <= sizes.size AND short THEN 1 ELSE 0 END) AS DOUBLE) AS short,
        max(short_share) AS short_share,
        max(no_json_share) AS no_json_share
    FROM balanced
    -- The newest five tell of a failure that has just begun, the newest twenty of one that comes and goes.
    CROSS JOIN (VALUES (5), (20)) AS sizes (size)
    GROUP BY balanced.tool, sizes.size
),
block_verdicts AS (
    SELECT
        *,
        no_json >= CASE WHEN size = 5 THEN greatest($min_failures, 3) ELSE $min_failures END
            AND no_json / judged > $share
            AND no_json / judged > no_json_share
            -- More than chance makes of the failures that the tool always had: the deviance; the same below.
            AND sqrt(greatest(2.0 * (no_json * ln(greatest(no_json, 1.0) / (judged * no_json_share))
                + (judged - no_json) * ln(greatest(judged - no_json, 0.5) / (judged * (1.0 - no_json_share)))), 0.0)) > $fail_sigmas
            AS schema_failure,
        short >= CASE WHEN size = 5 THEN greatest($min_failures, 3) ELSE $min_failures END
            AND short / judged > $share
            AND short / judged > $own_share_ratio * short_share
            AND sqrt(greatest(2.0 * (short * ln(greatest(short, 1.0) / (judged * short_share))
                + (judged - short) * ln(greatest(judged - short, 0.5) / (judged * (1.0 - short_share)))), 0.0)) > $fail_sigmas
            AS output_anomaly
    FROM blocks
),
failing AS (
    SELECT
        tool,
        max(CASE WHEN size = 20 THEN judged END) AS judged,
        max(CASE WHEN size = 20 THEN failed END) AS failed,
        bool_or(schema_failure) AS schema_failure,
        bool_or(output_anomaly) AS output_anomaly
    FROM block_verdicts
    GROUP BY tool
),
told AS (
    SELECT
        tool,
        max(average_length) AS average_length,
        sum(CASE WHEN no_json OR short THEN 1 ELSE 0 END) AS failed_in_window,
        sum(CASE WHEN no_json OR short THEN cost_usd ELSE 0.0 END) AS cost_usd,
        first_value(start_time ORDER BY balance, start_time, id) FILTER (WHERE no_json OR short) AS onset,
        first_value(id ORDER BY balance, start_time, id) FILTER (WHERE no_json OR short) AS first_failing_observation_id,
        concat('["', string_agg(replace(CASE WHEN (no_json OR short) AND newest <= 5 THEN id END, '"', ''), '","' ORDER BY newest), '"]') AS examples
    FROM balanced
    GROUP BY tool
),
outputs AS MATERIALIZED (
    SELECT
        told.*,
        failing.judged,
        failing.failed,
        failing.schema_failure,
        failing.output_anomaly
    FROM told
    JOIN failing ON failing.tool = told.tool
),
-- How often a moment chosen at random follows a call of the tool, by the window's own traffic or the week's, whichever is more.
chance AS MATERIALIZED (
    SELECT
        busy.tool,
        least(0.999, greatest(coalesce(history.busy_share, 0.0),
            busy.bins / (date_part('epoch', $window_end::timestamptz - $window_start::timestamptz) / 300.0))) AS probability
    FROM (
        SELECT tool, CAST(count(DISTINCT date_bin(INTERVAL '5 minutes', start_time)) AS DOUBLE) AS bins
        FROM calls
        GROUP BY tool
    ) AS busy
    LEFT JOIN input.tool_history AS history ON history.tool = busy.tool
),
issue_totals AS (
    SELECT
        issue_id,
        CAST(count(DISTINCT event_id) AS DOUBLE) AS events,
        CAST(count(DISTINCT date_bin(INTERVAL '5 minutes', timestamp)) AS DOUBLE) AS bins
    FROM input.tool_errors
    GROUP BY issue_id
),
following AS MATERIALIZED (
    SELECT
        calls.tool,
        calls.id,
        calls.trace_id,
        calls.start_time,
        error.issue_id,
        error.event_id,
        error.timestamp,
        error.title,
        coalesce(strpos(replace(lower(error.tags), '-', ''), replace(lower(calls.trace_id), '-', '')), 0) > 0
            AND character_length(calls.trace_id) >= 8 AS same_trace,
        strpos(
            concat(' ', regexp_replace(lower(concat(error.title, ' ', coalesce(error.culprit, ''))), '[^a-z0-9_-]+', ' ', 'g'), ' '),
            concat(' ', trim(regexp_replace(lower(calls.tool), '[^a-z0-9_-]+', ' ', 'g')), ' ')) > 0 AS named
    FROM calls
    JOIN input.tool_errors AS error
      ON error.timestamp >= calls.start_time
     AND error.timestamp <= calls.start_time + CAST(concat($within_minutes, ' minutes') AS INTERVAL)
),
related AS (
    SELECT
        following.tool,
        following.issue_id,
        max(following.title) AS title,
        max(issue_totals.events) AS events,
        max(issue_totals.bins) AS bins,
        CAST(count(DISTINCT following.event_id) AS DOUBLE) AS following_events,
        CAST(count(DISTINCT CASE WHEN same_trace THEN following.event_id END) AS DOUBLE) AS same_trace_events,
        CAST(count(DISTINCT CASE WHEN same_trace THEN following.trace_id END) AS DOUBLE) AS same_traces,
        CAST(count(DISTINCT date_bin(INTERVAL '5 minutes', following.timestamp)) AS DOUBLE) AS following_bins,
        max(chance.probability) AS probability,
        bool_or(named) AS named,
        min(following.start_time) AS onset
    FROM following
    JOIN issue_totals ON issue_totals.issue_id = following.issue_id
    JOIN chance ON chance.tool = following.tool
    GROUP BY following.tool, following.issue_id
),
correlated AS MATERIALIZED (
    SELECT
        tool,
        sum(following_events) AS following_events,
        first_value(issue_id ORDER BY following_events DESC, issue_id) AS sentry_issue_id,
        first_value(title ORDER BY following_events DESC, issue_id) AS sentry_issue_title,
        min(onset) AS onset
    FROM related
    WHERE named
       OR (same_traces >= 2.0 AND same_trace_events >= 0.9 * events)
       OR (following_events >= $min_following
           AND following_bins >= 3.0
           AND following_bins / bins >= $lift * probability
           AND following_bins - bins * probability > $sigmas * sqrt(bins * probability * (1.0 - probability)))
    GROUP BY tool
),
verdicts AS (
    SELECT
        coalesce(outputs.tool, correlated.tool) AS tool,
        outputs.judged,
        outputs.failed,
        outputs.failed_in_window,
        outputs.average_length,
        coalesce(outputs.cost_usd, 0.0) AS cost_usd,
        outputs.first_failing_observation_id,
        outputs.examples,
        outputs.onset AS output_onset,
        correlated.onset AS error_onset,
        correlated.following_events,
        correlated.sentry_issue_id,
        correlated.sentry_issue_title,
        coalesce(outputs.schema_failure, FALSE) AS schema_failure,
        coalesce(outputs.output_anomaly, FALSE) AS output_anomaly,
        correlated.tool IS NOT NULL AS sentry_correlation
    FROM outputs
    FULL JOIN correlated ON correlated.tool = outputs.tool
)
SELECT
    tool,
    concat('["', concat_ws('","',
        CASE WHEN schema_failure THEN 'schema_failure' END,
        CASE WHEN sentry_correlation THEN 'sentry_correlation' END,
        CASE WHEN output_anomaly THEN 'output_anomaly' END), '"]') AS strategies,
    judged,
    failed,
    failed_in_window,
    average_length,
    first_failing_observation_id,
    examples,
    sentry_issue_id,
    sentry_issue_title,
    following_events,
    CASE WHEN schema_failure OR output_anomaly THEN output_onset ELSE error_onset END AS onset,
    cost_usd
FROM verdicts
WHERE schema_failure OR output_anomaly OR sentry_correlation
ORDER BY tool
