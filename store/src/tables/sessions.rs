//! The tables of sessions: what was sent, and what was derived of it.

use super::spec::ColumnKind::{Boolean, Float, Integer, Text, Time};
use super::spec::{TableSpec, column, computed, optional};

pub(super) const SESSIONS: TableSpec = TableSpec {
    schema: "ingest",
    name: "sessions",
    guide: "Working sessions of agents and developers, with their activity and errors per 100 events.",
    from: "sessions",
    columns: &[
        column("id", Text),
        optional("external_session_key", Text),
        column("user_id", Text),
        column("workspace_id", Text),
        column("start_time", Time),
        optional("end_time", Time),
        column("status", Text),
        column("event_count", Integer),
        column("agent_activity_score", Float),
        column("human_activity_score", Float),
        column("error_density", Float),
        column("milestone_breakdown", Text),
        column("tags", Text),
        column("config_snapshot", Text),
        computed("requires_processing", Boolean, "(revision > processed_revision)"),
        optional("last_processed_at", Time),
        computed(
            "ready_for_deep",
            Boolean,
            "(status = 'ended' AND revision = processed_revision AND revision > deep_revision)",
        ),
        optional("deep_processed_at", Time),
        optional("session_report", Text),
        column("created_at", Time),
        column("updated_at", Time),
    ],
};

pub(super) const SESSION_EVENTS: TableSpec = TableSpec {
    schema: "ingest",
    name: "session_events",
    guide: "Events of sessions, immutable: actions, edits, test runs, errors, each with who made it.",
    from: "session_events",
    columns: &[
        column("seq", Integer),
        column("id", Text),
        column("session_id", Text),
        column("event_type", Text),
        column("source_type", Text),
        optional("source_name", Text),
        optional("file_path", Text),
        optional("project_root", Text),
        optional("language", Text),
        column("payload", Text),
        optional("raw_message", Text),
        optional("attribution_source", Text),
        optional("attribution_confidence", Float),
        column("client_timestamp", Time),
        column("server_timestamp", Time),
        column("event_hash", Text),
        column("metadata", Text),
    ],
};

pub(super) const ERROR_CLUSTERS: TableSpec = TableSpec {
    schema: "ingest",
    name: "error_clusters",
    guide: "Errors of a session that say the same, whatever paths, lines and numbers are in them.",
    from: "error_clusters",
    columns: &[
        column("id", Text),
        column("session_id", Text),
        column("normalized_error", Text),
        column("error_type", Text),
        column("representative_event_id", Text),
        column("occurrence_count", Integer),
        column("last_seen_at", Time),
        column("metadata", Text),
        column("created_at", Time),
        column("updated_at", Time),
    ],
};

pub(super) const EVENT_CORRELATIONS: TableSpec = TableSpec {
    schema: "ingest",
    name: "event_correlations",
    guide: "Errors of sessions and the action before each, with how likely the one caused the other.",
    from: "event_correlations",
    columns: &[
        column("id", Text),
        column("session_id", Text),
        column("cause_event_id", Text),
        column("effect_event_id", Text),
        column("correlation_type", Text),
        column("confidence", Float),
        column("time_delta_ms", Integer),
        column("file_match", Boolean),
        column("metadata", Text),
        column("created_at", Time),
    ],
};

pub(super) const AGENT_PERFORMANCE: TableSpec = TableSpec {
    schema: "ingest",
    name: "agent_performance",
    guide: "What each agent did in each analysed session: actions, errors after them, edits that overrode them.",
    from: "agent_performance",
    columns: &[
        column("id", Text),
        column("agent_id", Text),
        column("session_id", Text),
        column("total_actions", Integer),
        column("successful_actions", Integer),
        column("induced_error_count", Integer),
        column("override_count", Integer),
        optional("success_rate", Float),
        optional("induced_error_rate", Float),
        optional("override_rate", Float),
        column("metrics_version", Text),
        column("regression_flags", Text),
        column("created_at", Time),
    ],
};

pub(super) const INSIGHTS: TableSpec = TableSpec {
    schema: "ingest",
    name: "insights",
    guide: "What somebody should know of a session: dense errors, agents that cause them, break-fix cycles.",
    from: "insights",
    columns: &[
        column("id", Text),
        column("session_id", Text),
        optional("agent_id", Text),
        column("severity", Text),
        column("category", Text),
        column("title", Text),
        column("message", Text),
        column("payload", Text),
        column("insight_key", Text),
        column("created_at", Time),
    ],
};
