//! The tables of the modes: what pull requests are judged by, and what the sampler kept.

use super::spec::ColumnKind::{Boolean, Float, Integer, Text, Time};
use super::spec::{TableSpec, column, optional};

pub(super) const FILE_RISK_HISTORY: TableSpec = TableSpec {
    schema: "agent",
    name: "file_risk_history",
    guide: "What followed each past commit, file by file: cost and new errors of the 24 hours after against those before.",
    from: "file_risk_history",
    columns: &[
        column("repository", Text),
        column("file_path", Text),
        optional("previous_path", Text),
        column("commit_sha", Text),
        column("change_date", Time),
        column("cost_before_usd", Float),
        column("cost_after_usd", Float),
        column("cost_delta_usd", Float),
        column("errors_before", Float),
        column("errors_after", Float),
        column("error_delta", Float),
        column("risk_score", Integer),
        column("measured_at", Time),
    ],
};

pub(super) const RISK_SCORES: TableSpec = TableSpec {
    schema: "agent",
    name: "risk_scores",
    guide: "The newest risk score of each pull request, with its parts as JSON.",
    from: "risk_scores",
    columns: &[
        column("repository", Text),
        column("number", Integer),
        optional("head_sha", Text),
        column("scored_at", Time),
        column("score", Integer),
        column("complete", Boolean),
        column("report", Text),
    ],
};

pub(super) const SAMPLING_STATS: TableSpec = TableSpec {
    schema: "agent",
    name: "sampling_stats",
    guide: "Runs of the sampler: how many traces there were, how many were kept, and why, as JSON.",
    from: "sampling_stats",
    columns: &[
        column("window_start", Time),
        column("window_end", Time),
        column("recorded_at", Time),
        column("total_traces", Integer),
        column("sampled_traces", Integer),
        column("dropped_traces", Integer),
        column("keep_reasons", Text),
    ],
};

pub(super) const SAMPLED_TRACES: TableSpec = TableSpec {
    schema: "agent",
    name: "sampled_traces",
    guide: "The traces that the sampler kept, with score and reasons.",
    from: "sampled_traces",
    columns: &[
        column("trace_id", Text),
        optional("feature", Text),
        column("started_at", Time),
        column("score", Integer),
        column("reasons", Text),
        column("generation_count", Integer),
        optional("cost_usd", Float),
        column("sampled_at", Time),
    ],
};
