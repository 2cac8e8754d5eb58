-- name: changes
-- title: Models, prompt versions and flags that came into use since shortly before the onset
-- types: cost_spike, error_cascade, prompt_drift, agent_loop, silent_tool_failure
-- sources: langfuse
-- max_rows: 50
-- at: first_used
-- kind: change
-- text: {what} {shown} is used for the first time in a day
--
-- A change that the data shows, whether or not a commit did it: a value that was not in use for a day, while another one was.
-- What a feature without a past uses is no change. Flags are what the metadata of a call has under `feature_flags` or
-- `flags`: an object of flags and their values; a flag that calls before did not have counts too. Beside each change is how
-- often it was used before and since the onset, what such a call costs, how often it goes otherwise than calls did before the
-- onset (an error, or an output of keys and a kind that none had), and what other calls before and since did.
-- Of a tool the calls are its own: each uses what the model call before it in its trace used, and the flags of either.

WITH tool_calls AS (
    SELECT
        id,
        trace_id,
        start_time,
        total_cost,
        level,
        coalesce(json_get_json(metadata, 'feature_flags'), json_get_json(metadata, 'flags')) AS flags,
        coalesce(json_get_str(output_shape, 'kind'), 'blank') AS looks
    FROM langfuse.observations
    WHERE $type = 'silent_tool_failure'
      AND type IN ('SPAN', 'TOOL')
      AND (name = $entity OR ($entity = '(unnamed)' AND trim(coalesce(name, '')) = ''))
      AND start_time >= $since
      AND start_time < $until
),
callers AS (
    SELECT
        trace_id,
        start_time,
        model,
        prompt_name,
        prompt_version,
        coalesce(json_get_json(metadata, 'feature_flags'), json_get_json(metadata, 'flags')) AS flags
    FROM langfuse.observations
    WHERE $type = 'silent_tool_failure'
      AND type = 'GENERATION'
      AND start_time >= $since
      AND start_time < $until
),
called AS (
    SELECT
        tool_calls.id,
        tool_calls.start_time,
        tool_calls.total_cost AS cost_usd,
        tool_calls.level,
        callers.model,
        callers.prompt_name,
        callers.prompt_version,
        coalesce(tool_calls.flags, callers.flags) AS flags,
        tool_calls.looks
    FROM tool_calls
    LEFT JOIN callers ON callers.trace_id = tool_calls.trace_id AND callers.start_time <= tool_calls.start_time
    QUALIFY row_number() OVER (PARTITION BY tool_calls.id ORDER BY callers.start_time DESC NULLS LAST) = 1
),
looked AS (
    SELECT * FROM called
    UNION ALL
    SELECT
        id,
        start_time,
        total_cost,
        level,
        model,
        prompt_name,
        prompt_version,
        coalesce(json_get_json(metadata, 'feature_flags'), json_get_json(metadata, 'flags')),
        concat(
            coalesce(json_get_str(output_shape, 'said'), 'blank'), ' ',
            array_to_string(json_object_keys(json_get_json(output_shape, 'keys')), ' '))
    FROM langfuse.observations
    WHERE $type <> 'silent_tool_failure'
      AND type = 'GENERATION'
      AND (name = $feature OR ($feature = '(unnamed)' AND trim(coalesce(name, '')) = ''))
      AND start_time >= $history
      AND start_time < $until
),
judged AS (
    SELECT
        *,
        CASE
            WHEN level = 'ERROR' THEN 1.0
            WHEN sum(CASE WHEN start_time < $began THEN 1 ELSE 0 END) OVER (PARTITION BY looks) = 0 THEN 1.0
            ELSE 0.0
        END AS odd
    FROM looked
),
calls AS (
    SELECT
        *,
        sum(CASE WHEN start_time < $before THEN 1 ELSE 0 END) OVER () AS past_calls,
        sum(CASE WHEN start_time >= $began THEN 1 ELSE 0 END) OVER () AS all_calls_since,
        avg(CASE WHEN start_time >= $before AND start_time < $began THEN cost_usd END) OVER () AS cost_per_call_before_usd,
        avg(CASE WHEN start_time >= $began THEN cost_usd END) OVER () AS cost_per_call_since_usd,
        avg(CASE WHEN start_time >= $before AND start_time < $began THEN odd END) OVER () AS odd_share_before,
        avg(CASE WHEN start_time >= $began THEN odd END) OVER () AS odd_share_since
    FROM judged
),
-- What each call uses: one row for its model, one for its prompt, one for each flag. One reading of the calls serves all.
slots AS (
    SELECT
        *,
        unnest(CASE WHEN json_kind(flags) = 'object'
            THEN array_concat(make_array(chr(1), chr(2)), json_object_keys(flags))
            ELSE make_array(chr(1), chr(2)) END) AS slot
    FROM calls
),
used AS (
    SELECT
        *,
        CASE slot WHEN chr(1) THEN 'model' WHEN chr(2) THEN 'prompt' ELSE 'flag' END AS what,
        CASE slot WHEN chr(1) THEN '' WHEN chr(2) THEN coalesce(prompt_name, '') ELSE slot END AS name,
        CASE slot
            WHEN chr(1) THEN coalesce(model, '')
            WHEN chr(2) THEN coalesce(CAST(prompt_version AS VARCHAR), '')
            ELSE coalesce(json_as_text(flags, slot), 'null') END AS value
    FROM slots
    WHERE (slot <> chr(1) OR model <> '')
      AND (slot <> chr(2) OR prompt_name <> '')
),
ordered AS (
    SELECT
        *,
        lag(start_time) OVER (PARTITION BY slot, name, value ORDER BY start_time, id) AS used_before,
        lag(concat(name, ' ', value)) OVER (PARTITION BY slot ORDER BY start_time, id) AS replaced
    FROM used
),
switched AS (
    SELECT
        *,
        max(CASE WHEN start_time >= $before
                  AND (used_before IS NULL OR start_time - used_before > INTERVAL '1 day')
                  AND (replaced <> concat(name, ' ', value) OR (replaced IS NULL AND what = 'flag' AND past_calls > 0))
                 THEN start_time END) OVER (PARTITION BY slot, name, value) AS first_used
    FROM ordered
)
SELECT
    what,
    name,
    value,
    CASE what
        WHEN 'prompt' THEN concat(name, ' version ', value)
        WHEN 'flag' THEN concat(name, ' = ', value)
        ELSE value END AS shown,
    first_used,
    count(*) AS generations,
    sum(CASE WHEN start_time < $began THEN 1 ELSE 0 END) AS calls_before,
    sum(CASE WHEN start_time >= $began THEN 1 ELSE 0 END) AS calls_since,
    max(all_calls_since) AS all_calls_since,
    avg(cost_usd) AS cost_per_call_usd,
    max(cost_per_call_before_usd) AS cost_per_call_before_usd,
    max(cost_per_call_since_usd) AS cost_per_call_since_usd,
    avg(odd) AS odd_share,
    max(odd_share_before) AS odd_share_before,
    max(odd_share_since) AS odd_share_since
FROM switched
WHERE start_time >= first_used
GROUP BY what, name, value, first_used
ORDER BY first_used, what, shown
