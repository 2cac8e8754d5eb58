-- name: digest_waiting
-- title: Decisions that wait

SELECT count(*) AS approvals, min(expires_at) AS first_expires_at
FROM agent.approvals
WHERE status = 'pending'
  AND created_at < $week_end
