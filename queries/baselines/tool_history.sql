-- name: tool_history
-- title: What each tool returned in the week before
-- over: 7d
-- keep: 6h
-- sources: langfuse
-- param: short_ratio = tool_output_short_ratio
--
-- Per tool: how many outputs, the share of JSON objects and arrays, the average length in characters, the share of
-- outputs shorter than a fifth of it, and the share of five-minute bins with a call.

WITH calls AS (
    SELECT
        CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS tool,
        start_time,
        coalesce(json_get_str(output_shape, 'kind'), 'blank') AS kind,
        CAST(coalesce(json_get_int(output_shape, 'length'), 0) AS DOUBLE) AS length
    FROM langfuse.observations
    WHERE type IN ('SPAN', 'TOOL')
      AND start_time >= $start
      AND start_time < $end
      AND (output_shape IS NOT NULL OR end_time IS NOT NULL)
      AND coalesce(level, 'DEFAULT') NOT IN ('WARNING', 'ERROR')
),
measured AS (
    SELECT
        tool,
        start_time,
        length,
        avg(length) OVER (PARTITION BY tool) AS average_length,
        CASE WHEN kind IN ('object', 'array') THEN 1.0 ELSE 0.0 END AS is_json
    FROM calls
)
SELECT
    tool,
    count(*) AS outputs,
    avg(is_json) AS json_share,
    max(average_length) AS average_length,
    avg(CASE WHEN length < $short_ratio * average_length THEN 1.0 ELSE 0.0 END) AS short_share,
    count(DISTINCT date_bin(INTERVAL '5 minutes', start_time))
        / (date_part('epoch', $end::timestamptz - $start::timestamptz) / 300.0) AS busy_share
FROM measured
GROUP BY tool
