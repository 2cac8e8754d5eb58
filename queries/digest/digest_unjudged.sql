-- name: digest_unjudged
-- title: Windows of the week that were not judged completely
--
-- One row with scope 'total', one per detector. Windows that nobody tried yet are not among them: it is so many at least.

WITH tried AS (
    SELECT job, window_end, bool_or(status = 'ok') AS judged
    FROM agent.job_runs
    WHERE window_end > $week_start
      AND window_end <= $week_end
      AND status IN ('ok', 'gap', 'failed', 'timed_out')
    GROUP BY job, window_end
)
SELECT 'total' AS scope, CAST(NULL AS VARCHAR) AS detector, count(*) AS windows, min(window_end) AS first_window_end
FROM tried
WHERE NOT judged
UNION ALL
SELECT 'detector', job, count(*), min(window_end)
FROM tried
WHERE NOT judged
GROUP BY job
ORDER BY scope DESC, windows DESC, detector
