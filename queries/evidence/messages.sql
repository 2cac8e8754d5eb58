-- name: messages
-- title: What was said around the onset
-- sources: slack
-- max_rows: 50
-- at: posted_at
-- kind: message
-- text: #{channel_name}: {text}
-- ref: ts_raw

SELECT ts AS posted_at, channel_name, coalesce(user, username, bot_id) AS author, text, ts_raw
FROM slack.messages
WHERE channel_name = ANY($channels)
  AND ts >= $onset
  AND ts < $until
  AND text <> ''
ORDER BY ts
