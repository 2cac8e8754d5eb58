//! Where the events of runs come from: the event log, or batches at hand.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::common::DataFusionError;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::events::{Columns, sorted_runs, text};
use crate::ingest::{EventFilter, EventLog, TimeRange, events_schema};
use crate::model::Scope;
use crate::{Result, StoreError};

/// Which runs are wanted. An empty filter wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only these.
    pub run_ids: Option<Vec<String>>,
    /// Only of these agents.
    pub agent_ids: Option<Vec<String>>,
    /// Only those with an event at or after, in microseconds since 1970.
    pub from: Option<i64>,
    /// Only those with an event at or before, in microseconds since 1970.
    pub until: Option<i64>,
}

/// The columns that tell which runs wait for a verdict.
const ACTIVITY: [&str; 5] = ["seq", "run_id", "event_type", "received_at", "payload"];

/// A log of events, as the run builder needs it.
#[async_trait]
pub trait RunEvents: fmt::Debug + Send + Sync {
    /// Ids of the runs with an event that matches, each once, sorted. More than match may be returned, never fewer.
    async fn run_ids(&self, scope: &Scope, filter: &RunFilter) -> Result<Vec<String>>;

    /// All events of these runs with a number above `seq`, as batches with the columns of `ingest.events`.
    async fn of_runs(&self, scope: &Scope, run_ids: &[String], seq: i64) -> Result<Vec<RecordBatch>>;

    /// All events that arrived after event `seq`, in no particular order: at least the columns `seq`, `run_id`,
    /// `event_type`, `received_at` and `payload`.
    async fn after(&self, scope: &Scope, seq: i64) -> Result<BoxStream<'static, Result<RecordBatch>>>;
}

/// The event log of an installation.
#[derive(Clone)]
pub struct LogEvents {
    log: Arc<dyn EventLog>,
}

impl fmt::Debug for LogEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogEvents").finish_non_exhaustive()
    }
}

impl LogEvents {
    /// The runs of this log.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log }
    }

    async fn scan(&self, scope: &Scope, filter: EventFilter) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        Ok(self.log.scan(scope, filter).await?.map_err(read).boxed())
    }
}

fn read(error: DataFusionError) -> StoreError {
    StoreError::Corrupt { what: "event log", reason: error.strip_backtrace() }
}

/// Where columns of `ingest.events` are.
fn columns(names: &[&str]) -> Option<Vec<usize>> {
    Some(names.iter().filter_map(|name| events_schema().index_of(name).ok()).collect())
}

#[async_trait]
impl RunEvents for LogEvents {
    async fn run_ids(&self, scope: &Scope, filter: &RunFilter) -> Result<Vec<String>> {
        let set = |ids: &Option<Vec<String>>| ids.as_ref().map(|ids| ids.iter().cloned().collect());
        let filter = EventFilter {
            run_ids: set(&filter.run_ids),
            agent_ids: set(&filter.agent_ids),
            occurred: TimeRange {
                from: filter.from.and_then(DateTime::from_timestamp_micros),
                until: filter.until.and_then(|until| DateTime::from_timestamp_micros(until.saturating_add(1))),
            },
            columns: columns(&["run_id"]),
            ..EventFilter::default()
        };
        let mut ids = BTreeSet::new();
        let mut batches = self.scan(scope, filter).await?;
        while let Some(batch) = batches.try_next().await? {
            let column = batch.column(0);
            let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8)
                .map_err(|error| StoreError::Corrupt { what: "event batch", reason: error.to_string() })?;
            let mut last = "";
            for id in arrow::array::AsArray::as_string::<i32>(&column).iter().flatten() {
                // Events of a run often lie together.
                if id != last && !ids.contains(id) {
                    ids.insert(id.to_owned());
                }
                last = id;
            }
        }
        Ok(ids.into_iter().collect())
    }

    async fn of_runs(&self, scope: &Scope, run_ids: &[String], seq: i64) -> Result<Vec<RecordBatch>> {
        let run_ids = Some(run_ids.iter().cloned().collect());
        let filter = EventFilter { run_ids, seq_after: (seq > 0).then_some(seq), ..EventFilter::default() };
        self.scan(scope, filter).await?.try_collect().await
    }

    async fn after(&self, scope: &Scope, seq: i64) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let filter = EventFilter { seq_after: Some(seq), columns: columns(&ACTIVITY), ..EventFilter::default() };
        self.scan(scope, filter).await
    }
}

/// A log in memory, for tests and for judging batches that are at hand.
#[derive(Debug, Clone, Default)]
pub struct MemoryEvents {
    batches: Vec<RecordBatch>,
}

impl MemoryEvents {
    /// A log of these batches.
    #[must_use]
    pub fn new(batches: Vec<RecordBatch>) -> Self {
        Self { batches }
    }

    fn keep(&self, wanted: impl Fn(&Columns, usize) -> bool) -> Result<Vec<RecordBatch>> {
        let mut kept = Vec::new();
        for batch in &self.batches {
            let columns = Columns::of(batch)?;
            let mask: arrow::array::BooleanArray =
                (0..batch.num_rows()).map(|row| Some(wanted(&columns, row))).collect();
            let batch = arrow::compute::filter_record_batch(batch, &mask)
                .map_err(|error| StoreError::Corrupt { what: "event batch", reason: error.to_string() })?;
            if batch.num_rows() > 0 {
                kept.push(batch);
            }
        }
        Ok(kept)
    }
}

#[async_trait]
impl RunEvents for MemoryEvents {
    async fn run_ids(&self, _: &Scope, filter: &RunFilter) -> Result<Vec<String>> {
        let among = |wanted: &Option<Vec<String>>, value: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| value.is_some_and(|value| wanted.iter().any(|w| w == value)))
        };
        let matching = self.keep(|columns, row| {
            let at = columns.occurred_at.value(row);
            among(&filter.run_ids, text(&columns.run_id, row))
                && among(&filter.agent_ids, text(&columns.agent_id, row))
                && filter.from.is_none_or(|from| at >= from)
                && filter.until.is_none_or(|until| at <= until)
        })?;
        let ids: BTreeSet<String> = sorted_runs(&matching)?.into_iter().collect();
        Ok(ids.into_iter().collect())
    }

    async fn of_runs(&self, _: &Scope, run_ids: &[String], seq: i64) -> Result<Vec<RecordBatch>> {
        let wanted: BTreeSet<&str> = run_ids.iter().map(String::as_str).collect();
        self.keep(|columns, row| {
            columns.seq.value(row) > seq && text(&columns.run_id, row).is_some_and(|id| wanted.contains(id))
        })
    }

    async fn after(&self, _: &Scope, seq: i64) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let batches = self.keep(|columns, row| columns.seq.is_valid(row) && columns.seq.value(row) > seq)?;
        Ok(stream::iter(batches.into_iter().map(Ok)).boxed())
    }
}
