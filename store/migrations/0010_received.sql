-- When the last event of a run had arrived that its verdict rests on: whether it came after a fix.
ALTER TABLE judged_runs ADD COLUMN received_at INTEGER;
