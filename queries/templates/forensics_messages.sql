-- name: forensics_messages
-- title: What was said in a window
-- sources: slack
--
-- Messages of the channels $channels from $since until before $until, in order.

SELECT channel, channel_name, ts_raw, ts AS at, coalesce(user, username, bot_id) AS author, text,
    -- How many there are; the first are drawn.
    count(*) OVER () AS in_window
FROM slack.messages
WHERE channel_name = ANY($channels)
  AND ts >= $since
  AND ts < $until
  AND text <> ''
ORDER BY ts
LIMIT 25
