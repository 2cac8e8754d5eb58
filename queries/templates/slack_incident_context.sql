-- name: slack_incident_context
-- title: What was said about an incident
-- sources: slack
-- default: channels = incidents,engineering,backend,alerts
--
-- Messages between $start and $end, ISO times, in channels of these names (seed 003, template 7.4). A source that
-- fails is an error, not silence.

SELECT
    text,
    coalesce("user", username, bot_id) AS author,
    ts AS posted_at,
    channel_name
FROM slack.messages
WHERE ts > CAST($start AS TIMESTAMP WITH TIME ZONE)
  AND ts < CAST($end AS TIMESTAMP WITH TIME ZONE)
  AND strpos(concat(',', replace($channels, ' ', ''), ','), concat(',', channel_name, ',')) > 0
ORDER BY ts
LIMIT 20
