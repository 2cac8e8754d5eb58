-- Signals of an agent, newest first, live ones and those on trial apart; counts of them are answered from the index alone.
DROP INDEX anomalies_agent;
CREATE INDEX anomalies_agent ON anomalies (project_id, agent_id, shadow, detected_at, signal_id, run_id) WHERE run_id <> '';
