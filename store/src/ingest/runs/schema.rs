//! The derived tables and their columns.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::TimeDelta;

/// A run without an end that has been silent for so long has stalled (seed 000: 90 s).
pub const STALLED_AFTER: TimeDelta = TimeDelta::seconds(90);

/// One of the derived tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunTable {
    /// One row per run.
    Runs,
    /// One row per answered model call.
    LlmCalls,
    /// One row per tool call.
    ToolCalls,
    /// One row per answered retrieval.
    Retrievals,
    /// One row per step of a run.
    Steps,
}

impl RunTable {
    /// Every table.
    pub const ALL: [Self; 5] = [Self::Runs, Self::LlmCalls, Self::ToolCalls, Self::Retrievals, Self::Steps];

    /// Its name in schema `ingest`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::LlmCalls => "llm_calls",
            Self::ToolCalls => "tool_calls",
            Self::Retrievals => "retrievals",
            Self::Steps => "steps",
        }
    }

    /// What it shows, one line for people and agents.
    #[must_use]
    pub fn guide(self) -> &'static str {
        match self {
            Self::Runs => "Runs of agents, finished or not: one row per run_id, with its counts, its tokens and how it ended.",
            Self::LlmCalls => "Model calls that were answered, in order: tokens, latency, why the model stopped.",
            Self::ToolCalls => "Tool calls in order, answered or not: success, latency, hashes of arguments and errors.",
            Self::Retrievals => "Retrievals that were answered, in order: how many results, and the best score.",
            Self::Steps => "Steps of runs: what each began with, and how long until the next event.",
        }
    }

    /// Its columns.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<[SchemaRef; 5]> = LazyLock::new(|| RunTable::ALL.map(schema_of));
        let position = RunTable::ALL.iter().position(|table| *table == self).unwrap_or_default();
        Arc::clone(&SCHEMAS[position])
    }
}

/// `Timestamp(Microsecond, UTC)`.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema_of(table: RunTable) -> SchemaRef {
    use DataType::{Boolean, Float64, Int64, Utf8};
    let time = time_type;
    let columns: Vec<(&str, DataType, bool)> = match table {
        RunTable::Runs => vec![
            ("run_id", Utf8, false),
            ("agent_id", Utf8, false),
            ("agent_version", Utf8, false),
            ("parent_run_id", Utf8, true),
            ("trace_id", Utf8, true),
            ("conversation_id", Utf8, true),
            ("status", Utf8, false),
            ("exit_reason", Utf8, true),
            ("error_type", Utf8, true),
            ("error_hash", Utf8, true),
            ("started_at", time(), false),
            ("ended_at", time(), true),
            ("last_event_at", time(), false),
            ("last_received_at", time(), false),
            ("duration_ms", Int64, false),
            ("model", Utf8, true),
            ("input_hash", Utf8, true),
            ("available_tools", Utf8, false),
            ("events", Int64, false),
            ("step_count", Int64, false),
            ("llm_calls", Int64, false),
            ("tool_calls", Int64, false),
            ("failed_tool_calls", Int64, false),
            ("retrievals", Int64, false),
            ("first_tool_step", Int64, true),
            ("prompt_tokens", Int64, false),
            ("completion_tokens", Int64, false),
            ("injection_patterns", Int64, true),
            ("injection_labels", Utf8, true),
            ("injection_input_length", Int64, true),
        ],
        RunTable::LlmCalls => vec![
            ("run_id", Utf8, false),
            ("agent_id", Utf8, false),
            ("call_index", Int64, false),
            ("step_index", Int64, false),
            ("model", Utf8, false),
            ("called_at", time(), true),
            ("responded_at", time(), false),
            ("latency_ms", Int64, true),
            ("prompt_tokens", Int64, true),
            ("completion_tokens", Int64, true),
            ("reasoning_tokens", Int64, true),
            ("finish_reason", Utf8, true),
            ("output_length", Int64, true),
            ("output_hash", Utf8, true),
            ("error_hash", Utf8, true),
        ],
        RunTable::ToolCalls => vec![
            ("run_id", Utf8, false),
            ("agent_id", Utf8, false),
            ("call_index", Int64, false),
            ("step_index", Int64, false),
            ("tool_name", Utf8, false),
            ("args_hash", Utf8, true),
            ("called_at", time(), false),
            ("responded_at", time(), true),
            ("latency_ms", Int64, true),
            ("success", Boolean, true),
            ("output_length", Int64, true),
            ("error_hash", Utf8, true),
        ],
        RunTable::Retrievals => vec![
            ("run_id", Utf8, false),
            ("agent_id", Utf8, false),
            ("retrieval_index", Int64, false),
            ("step_index", Int64, false),
            ("index_name", Utf8, false),
            ("query_hash", Utf8, true),
            ("called_at", time(), true),
            ("responded_at", time(), false),
            ("latency_ms", Int64, true),
            ("result_count", Int64, true),
            ("top_score", Float64, true),
            ("error_hash", Utf8, true),
        ],
        RunTable::Steps => vec![
            ("run_id", Utf8, false),
            ("agent_id", Utf8, false),
            ("step_index", Int64, false),
            ("event_type", Utf8, true),
            ("started_at", time(), false),
            ("duration_ms", Int64, true),
        ],
    };
    let fields = columns.into_iter().map(|(name, kind, nullable)| Field::new(name, kind, nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
