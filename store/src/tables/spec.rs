//! Which tables and columns there are. A column is listed here or it cannot be seen.

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// The type of a column, as SQL sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// `Utf8`; JSON is text too.
    Text,
    /// `Int64`.
    Integer,
    /// `Float64`.
    Float,
    /// `Boolean`, kept as 0 or 1.
    Boolean,
    /// `Timestamp(Microsecond, UTC)`, kept as microseconds since 1970.
    Time,
}

impl ColumnKind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct ColumnSpec {
    /// Its name in SQL.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnKind,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// The SQLite expression behind it, out of this file only.
    pub(super) expression: &'static str,
}

/// A table.
#[derive(Debug, Clone, Copy)]
pub struct TableSpec {
    /// Its SQL schema.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it shows, one line.
    pub guide: &'static str,
    /// Its columns, in order.
    pub columns: &'static [ColumnSpec],
    /// The SQLite table behind it.
    pub(super) from: &'static str,
}

impl TableSpec {
    /// The Arrow schema.
    pub fn arrow_schema(&self) -> SchemaRef {
        let fields =
            self.columns.iter().map(|column| Field::new(column.name, column.kind.data_type(), column.nullable));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// Every table of the store.
pub fn table_specs() -> &'static [TableSpec] {
    TABLES
}

use super::{modes, sessions, told};
use ColumnKind::{Boolean, Float, Integer, Text, Time};

pub(super) const fn column(name: &'static str, kind: ColumnKind) -> ColumnSpec {
    ColumnSpec { name, kind, nullable: false, expression: name }
}

pub(super) const fn optional(name: &'static str, kind: ColumnKind) -> ColumnSpec {
    ColumnSpec { name, kind, nullable: true, expression: name }
}

pub(super) const fn computed(name: &'static str, kind: ColumnKind, expression: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, nullable: true, expression }
}

static TABLES: &[TableSpec] = &[
    sessions::SESSIONS,
    sessions::SESSION_EVENTS,
    sessions::ERROR_CLUSTERS,
    sessions::EVENT_CORRELATIONS,
    sessions::AGENT_PERFORMANCE,
    sessions::INSIGHTS,
    told::DIGESTS,
    told::NARRATIONS,
    told::INCIDENT_FEEDBACK,
    told::DETECTOR_PRECISION,
    modes::FILE_RISK_HISTORY,
    modes::RISK_SCORES,
    modes::SAMPLING_STATS,
    modes::SAMPLED_TRACES,
    TableSpec {
        schema: "agent",
        name: "incidents",
        guide: "Conditions as long as they last: one row per incident, with its narrative, cost and first suspect.",
        from: "incidents",
        columns: &[
            column("id", Text),
            column("detector", Text),
            column("type", Text),
            column("severity", Text),
            column("entity", Text),
            column("fingerprint", Text),
            column("description", Text),
            column("status", Text),
            column("opened_at", Time),
            column("window_start", Time),
            column("window_end", Time),
            column("last_seen_at", Time),
            column("occurrences", Integer),
            column("reopened_count", Integer),
            column("clean_windows", Integer),
            optional("resolved_at", Time),
            optional("culprit_sha", Text),
            computed("cost_usd", Float, "coalesce(cost_usd, anomaly_cost_usd)"),
            optional("narrative", Text),
            optional("narrative_parts", Text),
            optional("narrator", Text),
            column("suspects", Text),
            column("timeline", Text),
            column("gaps", Text),
            optional("evidence_sha256", Text),
            optional("investigated_at", Time),
            optional("slack_channel", Text),
            optional("slack_ts", Text),
            optional("github_issue_url", Text),
            column("updated_at", Time),
            optional("agent_id", Text),
            optional("issue_id", Integer),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "anomalies",
        guide: "Findings of detectors: one row per detector, fingerprint and window, with the detector's row as JSON.",
        from: "anomalies",
        columns: &[
            column("id", Text),
            optional("incident_id", Text),
            column("detector", Text),
            column("type", Text),
            column("severity", Text),
            column("entity", Text),
            column("fingerprint", Text),
            column("window_start", Time),
            column("window_end", Time),
            column("detected_at", Time),
            column("description", Text),
            column("evidence", Text),
            optional("cost_usd", Float),
            optional("onset_at", Time),
            computed("run_id", Text, "nullif(run_id, '')"),
            optional("signal_id", Integer),
            optional("agent_id", Text),
            optional("agent_version", Text),
            optional("step_index", Integer),
            optional("confidence", Float),
            optional("co_signals", Integer),
            column("shadow", Boolean),
            optional("alerted_at", Time),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "judged_runs",
        guide: "Verdicts: one row per judged run of an agent, clean or not. The basis of every rate of failures.",
        from: "judged_runs",
        columns: &[
            column("run_id", Text),
            column("agent_id", Text),
            column("agent_version", Text),
            column("reason", Text),
            optional("exit_reason", Text),
            column("judged_at", Time),
            column("started_at", Time),
            column("ended_at", Time),
            column("step_count", Integer),
            column("llm_calls", Integer),
            column("tool_calls", Integer),
            optional("first_tool_step", Integer),
            optional("input_hash", Text),
            optional("token_growth", Float),
            column("signal_count", Integer),
            column("live_count", Integer),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "signal_feedback",
        guide: "What people say about findings of run detectors: whether each is right.",
        from: "signal_feedback",
        columns: &[
            column("signal_id", Integer),
            column("correct", Boolean),
            column("given_by", Text),
            column("given_at", Time),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "fixes",
        guide: "Fixes that people applied for a finding: a new version of a prompt, or a text that was copied.",
        from: "fixes",
        columns: &[
            column("id", Integer),
            column("signal_id", Integer),
            column("applied_via", Text),
            optional("prompt_name", Text),
            optional("prompt_version", Integer),
            column("fix_content", Text),
            column("applied_at", Time),
            column("applied_by", Text),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "evidence",
        guide: "What was gathered for each incident: the query, its parameters and its rows; status 'unknown' is not 'empty'.",
        from: "evidence",
        columns: &[
            column("incident_id", Text),
            column("name", Text),
            column("sources", Text),
            column("sql", Text),
            column("params", Text),
            column("status", Text),
            optional("error", Text),
            column("rows", Text),
            column("row_count", Integer),
            column("truncated", Boolean),
            column("fetched_at", Time),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "approvals",
        guide: "Decisions about actions: who was asked what, and who said what, when and how.",
        from: "approvals",
        columns: &[
            column("id", Text),
            column("incident_id", Text),
            column("incident_type", Text),
            column("severity", Text),
            column("action_type", Text),
            optional("target", Text),
            column("status", Text),
            column("payload", Text),
            column("payload_sha256", Text),
            optional("evidence_sha256", Text),
            column("summary", Text),
            column("created_at", Time),
            column("expires_at", Time),
            optional("resolved_at", Time),
            optional("resolved_by", Text),
            optional("resolved_via", Text),
            optional("reason", Text),
            optional("slack_channel", Text),
            optional("slack_ts", Text),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "actions",
        guide: "The outbox: every side effect outside, its attempts and what came of it.",
        from: "actions",
        columns: &[
            column("id", Text),
            column("kind", Text),
            column("type", Text),
            optional("target", Text),
            optional("incident_id", Text),
            optional("approval_id", Text),
            // Slack's response addresses are secrets: whoever knows one can post.
            computed("payload", Text, "CASE WHEN type <> 'slack_respond' THEN payload END"),
            column("payload_sha256", Text),
            column("idempotency_key", Text),
            column("status", Text),
            column("attempts", Integer),
            column("max_attempts", Integer),
            column("next_attempt_at", Time),
            optional("lease_holder", Text),
            optional("lease_until", Time),
            optional("result", Text),
            optional("error", Text),
            optional("depends_on", Text),
            column("created_at", Time),
            column("updated_at", Time),
            optional("completed_at", Time),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "kills",
        guide: "Requests that a run stop, and whether it has said that it did.",
        from: "kills",
        columns: &[
            column("target", Text),
            column("original_id", Text),
            optional("incident_id", Text),
            optional("action_id", Text),
            column("requested_by", Text),
            column("requested_at", Time),
            column("state", Text),
            optional("acknowledged_at", Time),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "audit_log",
        guide: "The record: every decision and step, each row hashed together with the hash of the row before.",
        from: "audit_log",
        columns: &[
            column("seq", Integer),
            column("recorded_at", Time),
            column("actor", Text),
            column("event", Text),
            column("subject_type", Text),
            column("subject_id", Text),
            column("detail", Text),
            column("prev_hash", Text),
            column("hash", Text),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "job_runs",
        guide: "Runs of detectors, patrols and digests: when, for which window, and how they went.",
        from: "job_runs",
        columns: &[
            column("id", Text),
            column("job", Text),
            optional("window_start", Time),
            optional("window_end", Time),
            column("due_at", Time),
            column("started_at", Time),
            optional("finished_at", Time),
            column("status", Text),
            column("attempt", Integer),
            column("holder", Text),
            column("heartbeat_at", Time),
            column("lease_until", Time),
            optional("error", Text),
            optional("detail", Text),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "cost_baselines",
        guide: "What each feature cost in each hour; an hour without a row cost nothing only if agent.cost_hours lists it.",
        from: "cost_baselines",
        columns: &[
            column("feature", Text),
            column("hour_start", Time),
            column("cost_usd", Float),
            column("generations", Integer),
            column("observed_at", Time),
            column("complete", Boolean),
            optional("peak_usd", Float),
            optional("peak_generations", Integer),
        ],
    },
    TableSpec {
        schema: "agent",
        name: "cost_hours",
        guide: "The hours that cost was looked at: tells an hour without cost from an hour nobody looked at.",
        from: "cost_hours",
        columns: &[column("hour_start", Time), column("complete", Boolean), column("observed_at", Time)],
    },
    TableSpec {
        schema: "agent",
        name: "schema_snapshots",
        guide: "What the output of each feature looked like, version by version.",
        from: "schema_snapshots",
        columns: &[
            column("feature", Text),
            column("version", Integer),
            column("schema", Text),
            column("sample_count", Integer),
            column("captured_at", Time),
            column("window_start", Time),
            column("window_end", Time),
        ],
    },
];
