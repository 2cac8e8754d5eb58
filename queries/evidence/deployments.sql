-- name: deployments
-- title: Deployments before the onset and since
-- sources: github
-- max_rows: 300
-- at: created_at
-- kind: deploy
-- text: {sha} to {environment}
-- ref: sha

SELECT id, sha, ref, environment, production_environment, description, creator__login AS creator, created_at
FROM github.deployments
WHERE owner = $owner
  AND repo = $repo
  AND created_at >= $history
  AND created_at < $until
ORDER BY created_at DESC
