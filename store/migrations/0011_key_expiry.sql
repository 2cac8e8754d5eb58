-- API keys may end by themselves. NULL is for ever.

ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
