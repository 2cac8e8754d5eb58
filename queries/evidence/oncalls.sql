-- name: oncalls
-- title: Who is on call
-- sources: pagerduty
-- optional: true
-- max_rows: 50
--
-- The first two levels of each escalation policy, now: whom to wake.

SELECT
    user__summary AS name,
    escalation_level AS level,
    escalation_policy__summary AS policy,
    schedule__summary AS schedule,
    "end" AS shift_ends_at
FROM pagerduty.oncalls
WHERE escalation_level <= 2
ORDER BY escalation_level, escalation_policy__summary, user__summary
