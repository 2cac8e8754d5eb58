//! The tables of what is told: digests, what models were sent, what people say about incidents.

use super::spec::ColumnKind::{Boolean, Float, Integer, Text, Time};
use super::spec::{TableSpec, column, optional};

pub(super) const DIGESTS: TableSpec = TableSpec {
    schema: "agent",
    name: "digests",
    guide: "Weekly digests: the text, its figures, and the queries with the rows behind them, as JSON.",
    from: "digests",
    columns: &[
        column("id", Text),
        column("week_start", Time),
        column("week_end", Time),
        column("time_zone", Text),
        column("created_at", Time),
        column("narrator", Text),
        column("report", Text),
        column("sections", Text),
        column("figures", Text),
        column("queries", Text),
        column("gaps", Text),
        optional("cost_usd", Float),
    ],
};

pub(super) const NARRATIONS: TableSpec = TableSpec {
    schema: "agent",
    name: "narrations",
    guide: "What was sent to a model, after redaction, and whether its text was used: one row per text asked for.",
    from: "narrations",
    columns: &[
        column("id", Text),
        column("kind", Text),
        column("subject_id", Text),
        column("told_at", Time),
        column("provider", Text),
        column("model", Text),
        column("host", Text),
        column("outcome", Text),
        optional("reason", Text),
        column("requests", Integer),
        column("prompt_tokens", Integer),
        column("completion_tokens", Integer),
        column("sent", Text),
        column("sent_sha256", Text),
        column("redactions", Text),
        optional("answer", Text),
    ],
};

pub(super) const INCIDENT_FEEDBACK: TableSpec = TableSpec {
    schema: "agent",
    name: "incident_feedback",
    guide: "What responders say about incidents: right or wrong, one verdict per person.",
    from: "incident_feedback",
    columns: &[
        column("incident_id", Text),
        column("given_by", Text),
        column("correct", Boolean),
        optional("comment", Text),
        column("via", Text),
        column("given_at", Time),
    ],
};

pub(super) const DETECTOR_PRECISION: TableSpec = TableSpec {
    schema: "agent",
    name: "detector_precision",
    guide: "How often each detector was right, as responders say; the newest verdict about an incident counts.",
    from: "detector_precision",
    columns: &[
        column("detector", Text),
        column("incidents", Integer),
        column("marked_right", Integer),
        column("marked_wrong", Integer),
        optional("precision", Float),
    ],
};
