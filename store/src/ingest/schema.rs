//! The columns of `ingest.events`, and building them from the log's rows.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::codec::Stored;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Seq,
    EventId,
    RunId,
    AgentId,
    AgentVersion,
    ParentRunId,
    TraceId,
    ConversationId,
    SessionId,
    EventType,
    StepIndex,
    OccurredAt,
    ReceivedAt,
    Payload,
    Sha256,
}

impl Column {
    /// Every column, in order.
    pub(super) const ALL: [Self; 15] = [
        Self::Seq,
        Self::EventId,
        Self::RunId,
        Self::AgentId,
        Self::AgentVersion,
        Self::ParentRunId,
        Self::TraceId,
        Self::ConversationId,
        Self::SessionId,
        Self::EventType,
        Self::StepIndex,
        Self::OccurredAt,
        Self::ReceivedAt,
        Self::Payload,
        Self::Sha256,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Seq => "seq",
            Self::EventId => "event_id",
            Self::RunId => "run_id",
            Self::AgentId => "agent_id",
            Self::AgentVersion => "agent_version",
            Self::ParentRunId => "parent_run_id",
            Self::TraceId => "trace_id",
            Self::ConversationId => "conversation_id",
            Self::SessionId => "session_id",
            Self::EventType => "event_type",
            Self::StepIndex => "step_index",
            Self::OccurredAt => "occurred_at",
            Self::ReceivedAt => "received_at",
            Self::Payload => "payload",
            Self::Sha256 => "sha256",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name() == name)
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Seq | Self::StepIndex => DataType::Int64,
            Self::OccurredAt | Self::ReceivedAt => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8,
        }
    }

    fn is_nullable(self) -> bool {
        !matches!(
            self,
            Self::Seq | Self::EventType | Self::OccurredAt | Self::ReceivedAt | Self::Payload | Self::Sha256
        )
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |column: Column| Field::new(column.name(), column.data_type(), column.is_nullable());
    Arc::new(Schema::new(Column::ALL.map(field).to_vec()))
});

/// The Arrow schema of `ingest.events`.
#[must_use]
pub fn events_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Time(TimestampMicrosecondBuilder),
}

/// Some columns of some events in the making.
pub(super) struct Rows {
    columns: Vec<Column>,
    schema: SchemaRef,
    builders: Vec<Builder>,
    pub(super) count: usize,
    /// Bytes of text in it.
    pub(super) bytes: usize,
}

impl Rows {
    /// Of these columns, in this order.
    pub(super) fn new(columns: &[Column]) -> Result<Self, ArrowError> {
        let indexes: Vec<usize> = columns.iter().map(|column| column.index()).collect();
        let schema = Arc::new(events_schema().project(&indexes)?);
        Ok(Self { builders: builders(columns), columns: columns.to_vec(), schema, count: 0, bytes: 0 })
    }

    pub(super) fn push(&mut self, seq: i64, event: &Stored<'_>) {
        let mut hash = [0; 64];
        for (builder, column) in self.builders.iter_mut().zip(&self.columns) {
            let text = match column {
                Column::Seq => {
                    integer(builder, seq);
                    continue;
                }
                Column::StepIndex => {
                    integer(builder, event.step_index);
                    continue;
                }
                Column::OccurredAt => {
                    integer(builder, event.occurred_at);
                    continue;
                }
                Column::ReceivedAt => {
                    integer(builder, event.received_at);
                    continue;
                }
                Column::EventId => event.event_id,
                Column::RunId => Some(event.run_id),
                Column::AgentId => Some(event.agent_id),
                Column::AgentVersion => Some(event.agent_version),
                Column::ParentRunId => event.parent_run_id,
                Column::TraceId => event.trace_id,
                Column::ConversationId => event.conversation_id,
                Column::SessionId => event.session_id,
                Column::EventType => Some(event.event_type),
                Column::Payload => Some(event.payload),
                // 32 bytes are 64 digits.
                Column::Sha256 => {
                    hex::encode_to_slice(event.sha256, &mut hash).ok().and_then(|()| std::str::from_utf8(&hash).ok())
                }
            };
            if let Builder::Text(builder) = builder {
                self.bytes += text.map_or(0, str::len);
                builder.append_option(text);
            }
        }
        self.count += 1;
    }

    /// The rows so far, as a batch; begins anew.
    pub(super) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let builders = std::mem::replace(&mut self.builders, builders(&self.columns));
        let arrays = builders.into_iter().map(finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.count));
        (self.count, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
    }
}

fn builders(columns: &[Column]) -> Vec<Builder> {
    let builder = |column: &Column| match column.data_type() {
        DataType::Int64 => Builder::Integer(Int64Builder::new()),
        DataType::Utf8 => Builder::Text(StringBuilder::new()),
        _ => Builder::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
    };
    columns.iter().map(builder).collect()
}

fn integer(builder: &mut Builder, value: i64) {
    match builder {
        Builder::Integer(builder) => builder.append_value(value),
        Builder::Time(builder) => builder.append_value(value),
        Builder::Text(builder) => builder.append_null(),
    }
}

fn finish(builder: Builder) -> ArrayRef {
    match builder {
        Builder::Text(mut builder) => Arc::new(builder.finish()),
        Builder::Integer(mut builder) => Arc::new(builder.finish()),
        Builder::Time(mut builder) => Arc::new(builder.finish()),
    }
}
