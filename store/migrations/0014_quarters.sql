-- The most that a quarter of an hour cost: what part of an hour is compared with. Unknown of hours kept before.
ALTER TABLE cost_baselines ADD COLUMN peak_usd REAL;
ALTER TABLE cost_baselines ADD COLUMN peak_generations INTEGER;
