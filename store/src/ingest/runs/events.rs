//! Reading events out of batches: typed columns, and the order in which a run's events count.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};

use super::schema::time_type;
use crate::ingest::steps::{FIRST_TIME, renumber};
use crate::{Result, StoreError};

/// The columns of one batch that a run is built from.
pub(super) struct Columns {
    pub(super) run_id: StringArray,
    pub(super) agent_id: StringArray,
    pub(super) agent_version: StringArray,
    pub(super) parent_run_id: StringArray,
    pub(super) trace_id: StringArray,
    pub(super) conversation_id: StringArray,
    pub(super) event_type: StringArray,
    pub(super) payload: StringArray,
    pub(super) seq: Int64Array,
    pub(super) step_index: Int64Array,
    pub(super) occurred_at: TimestampMicrosecondArray,
    pub(super) received_at: TimestampMicrosecondArray,
}

impl Columns {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let column = |name: &'static str, kind: &DataType| {
            let wrong =
                |reason: String| StoreError::Corrupt { what: "event batch", reason: format!("column {name}: {reason}") };
            let array = batch.column_by_name(name).ok_or_else(|| wrong("it is missing".to_owned()))?;
            if array.data_type() == kind { Ok(Arc::clone(array)) } else { cast(array, kind).map_err(|e| wrong(e.to_string())) }
        };
        let text = |name| Ok::<_, StoreError>(column(name, &DataType::Utf8)?.as_string::<i32>().clone());
        let whole = |name| Ok::<_, StoreError>(column(name, &DataType::Int64)?.as_primitive::<Int64Type>().clone());
        let time = |name| {
            Ok::<_, StoreError>(column(name, &time_type())?.as_primitive::<TimestampMicrosecondType>().clone())
        };
        Ok(Self {
            run_id: text("run_id")?,
            agent_id: text("agent_id")?,
            agent_version: text("agent_version")?,
            parent_run_id: text("parent_run_id")?,
            trace_id: text("trace_id")?,
            conversation_id: text("conversation_id")?,
            event_type: text("event_type")?,
            payload: text("payload")?,
            seq: whole("seq")?,
            step_index: whole("step_index")?,
            occurred_at: time("occurred_at")?,
            received_at: time("received_at")?,
        })
    }
}

/// A value that may be NULL.
pub(super) fn text(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

/// One event: where it is, and what it is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Number of its run.
    run: u32,
    step: i64,
    occurred_at: i64,
    seq: i64,
    batch: u32,
    row: u32,
}

/// Batches, and their events sorted by run and then as a run's events count: step, time, arrival.
pub(super) struct Sorted {
    columns: Vec<Columns>,
    places: Vec<Place>,
}

/// One event of a run.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) columns: &'a Columns,
    pub(super) row: usize,
    pub(super) step: i64,
    /// Microseconds since 1970.
    pub(super) occurred_at: i64,
}

impl<'a> Event<'a> {
    pub(super) fn kind(&self) -> &'a str {
        self.columns.event_type.value(self.row)
    }

    pub(super) fn payload(&self) -> &'a str {
        self.columns.payload.value(self.row)
    }

    pub(super) fn received_at(&self) -> i64 {
        self.columns.received_at.value(self.row)
    }
}

impl Sorted {
    /// Sorts the events of batches with the columns of `ingest.events`; those without a run are left out. Runs come in
    /// the order in which they appear first.
    pub(super) fn new(batches: &[RecordBatch]) -> Result<Self> {
        let columns = batches.iter().map(Columns::of).collect::<Result<Vec<_>>>()?;
        let mut places = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        let mut runs: HashMap<&str, u32> = HashMap::new();
        for (batch, of) in columns.iter().enumerate() {
            let mut last: Option<(&str, u32)> = None;
            for row in 0..of.run_id.len() {
                let Some(run_id) = text(&of.run_id, row) else { continue };
                let run = match last {
                    Some((id, run)) if id == run_id => run,
                    _ => {
                        let next = u32::try_from(runs.len()).unwrap_or(u32::MAX);
                        *runs.entry(run_id).or_insert(next)
                    }
                };
                last = Some((run_id, run));
                places.push(Place {
                    run,
                    step: if of.step_index.is_valid(row) { of.step_index.value(row) } else { 0 },
                    occurred_at: of.occurred_at.value(row),
                    seq: of.seq.value(row),
                    batch: u32::try_from(batch).unwrap_or(u32::MAX),
                    row: u32::try_from(row).unwrap_or(u32::MAX),
                });
            }
        }
        drop(runs);
        if !places.is_sorted() {
            places.sort_unstable();
        }
        for run in places.chunk_by_mut(|a, b| a.run == b.run) {
            // Steps are sorted: the last says whether any is a time.
            if run.last().is_some_and(|place| place.step >= FIRST_TIME) {
                number(&columns, run);
            }
        }
        Ok(Self { columns, places })
    }

    /// The events of each run.
    pub(super) fn runs(&self) -> impl Iterator<Item = impl ExactSizeIterator<Item = Event<'_>> + Clone> {
        self.places.chunk_by(|a, b| a.run == b.run).map(|places| places.iter().map(|place| self.event(place)))
    }

    fn event(&self, place: &Place) -> Event<'_> {
        Event {
            columns: &self.columns[place.batch as usize],
            row: place.row as usize,
            step: place.step,
            occurred_at: place.occurred_at,
        }
    }
}

/// Gives the events of one run whose steps are times numbers for steps.
fn number(columns: &[Columns], run: &mut [Place]) {
    let is_call = |place: &Place| columns[place.batch as usize].event_type.value(place.row as usize).ends_with(".called");
    let mut steps: Vec<(i64, bool)> = run.iter().map(|place| (place.step, is_call(place))).collect();
    renumber(&mut steps);
    for (place, (step, _)) in run.iter_mut().zip(steps) {
        place.step = step;
    }
    run.sort_unstable();
}

/// Ids of the runs in these batches, in the order of their first event.
///
/// # Errors
/// When a batch lacks a column of `ingest.events`.
pub(super) fn sorted_runs(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let sorted = Sorted::new(batches)?;
    let ids = sorted.runs().filter_map(|mut events| {
        let first = events.next()?;
        text(&first.columns.run_id, first.row).map(str::to_owned)
    });
    Ok(ids.collect())
}
