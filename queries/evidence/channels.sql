-- name: channels
-- title: Slack channels that can be read
-- sources: slack
-- max_rows: 1000

SELECT id, name, is_member
FROM slack.channels
WHERE is_archived IS NOT TRUE
ORDER BY name
