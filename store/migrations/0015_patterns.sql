-- Sets of tools that nobody uses any more are forgotten, and of each feature so many are remembered: for that it is known
-- whose they are and when they were used last.
ALTER TABLE sampled_patterns ADD COLUMN feature TEXT NOT NULL DEFAULT '';
ALTER TABLE sampled_patterns ADD COLUMN last_seen_at INTEGER NOT NULL DEFAULT 0;
-- When those that are known were used last was not noted: they count as used in the newest run.
UPDATE sampled_patterns SET last_seen_at = coalesce(
    (SELECT max(window_end) FROM sampling_stats WHERE sampling_stats.project_id = sampled_patterns.project_id),
    first_seen_at);
CREATE INDEX sampled_patterns_by_feature ON sampled_patterns (project_id, feature, last_seen_at);
