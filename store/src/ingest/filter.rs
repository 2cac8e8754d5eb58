//! A filter, made ready to be asked of events, batches and files.

use std::collections::{BTreeSet, HashSet};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::and;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::codec::Stored;
use super::schema::Column;
use super::segment::Segment;
use super::{EventFilter, TimeRange};

/// Microseconds `[from, until)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Micros {
    pub from: i64,
    pub until: i64,
}

impl Micros {
    const ALL: Self = Self { from: i64::MIN, until: i64::MAX };

    fn of(range: TimeRange) -> Self {
        Self {
            from: range.from.map_or(i64::MIN, |from| {
                // A bound between two microseconds leaves out the one before it.
                from.timestamp_micros() + i64::from(from.timestamp_subsec_nanos() % 1_000 > 0)
            }),
            until: range.until.map_or(i64::MAX, |until| {
                until.timestamp_micros() + i64::from(until.timestamp_subsec_nanos() % 1_000 > 0)
            }),
        }
    }

    fn contains(self, micros: i64) -> bool {
        self.from <= micros && micros < self.until
    }

    fn overlaps(self, min: i64, max: i64) -> bool {
        self.from <= max && min < self.until
    }
}

type Words = Option<HashSet<String>>;

/// The filter.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub run_ids: Words,
    pub agent_ids: Words,
    pub event_types: Words,
    pub occurred: Micros,
    pub received: Micros,
    pub seq_after: i64,
}

impl Wanted {
    pub(super) fn new(filter: &EventFilter) -> Self {
        let words = |words: &Option<BTreeSet<String>>| words.as_ref().map(|words| words.iter().cloned().collect());
        Self {
            run_ids: words(&filter.run_ids),
            agent_ids: words(&filter.agent_ids),
            event_types: words(&filter.event_types),
            occurred: Micros::of(filter.occurred),
            received: Micros::of(filter.received),
            seq_after: filter.seq_after.unwrap_or(i64::MIN),
        }
    }

    /// Whether nothing can fit.
    pub(super) fn is_empty(&self) -> bool {
        let none = |words: &Words| words.as_ref().is_some_and(HashSet::is_empty);
        none(&self.run_ids)
            || none(&self.agent_ids)
            || none(&self.event_types)
            || self.occurred.from >= self.occurred.until
            || self.received.from >= self.received.until
    }

    /// Whether it wants an event.
    pub(super) fn wants(&self, seq: i64, event: &Stored<'_>) -> bool {
        let has = |words: &Words, word: &str| words.as_ref().is_none_or(|words| words.contains(word));
        seq > self.seq_after
            && self.occurred.contains(event.occurred_at)
            && self.received.contains(event.received_at)
            && has(&self.run_ids, event.run_id)
            && has(&self.agent_ids, event.agent_id)
            && has(&self.event_types, event.event_type)
    }

    /// Whether a file may have what is wanted.
    pub(super) fn may_be_in(&self, segment: &Segment) -> bool {
        segment.last_seq > self.seq_after
            && self.occurred.overlaps(segment.min_occurred_at, segment.max_occurred_at)
            && self.received.overlaps(segment.min_received_at, segment.max_received_at)
    }

    /// The columns that must be looked at for events of a file, of which all fit as far as its bounds tell.
    pub(super) fn columns_for(&self, segment: &Segment) -> Vec<Column> {
        let within = |range: Micros, min, max| range.from <= min && max < range.until;
        let asked = [
            (Column::RunId, self.run_ids.is_some()),
            (Column::AgentId, self.agent_ids.is_some()),
            (Column::EventType, self.event_types.is_some()),
            (Column::OccurredAt, !within(self.occurred, segment.min_occurred_at, segment.max_occurred_at)),
            (Column::ReceivedAt, !within(self.received, segment.min_received_at, segment.max_received_at)),
            (Column::Seq, segment.first_seq <= self.seq_after),
        ];
        asked.into_iter().filter(|(_, asked)| *asked).map(|(column, _)| column).collect()
    }

    /// Which rows of a batch are wanted, as far as the columns that are in it tell.
    pub(super) fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let mut mask = BooleanArray::new(BooleanBuffer::new_set(batch.num_rows()), None);
        for (array, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
            let of_words = |words: &Words| {
                let words = words.as_ref()?;
                let texts = array.as_string_opt::<i32>()?;
                // The usual single run is compared without hashing.
                let single = if words.len() == 1 { words.iter().next() } else { None };
                let has = |index| {
                    texts.is_valid(index)
                        && single.map_or_else(|| words.contains(texts.value(index)), |one| texts.value(index) == one)
                };
                Some(BooleanBuffer::collect_bool(texts.len(), has))
            };
            let of_time = |range: Micros| {
                let times = array.as_primitive_opt::<TimestampMicrosecondType>()?;
                let values = times.values();
                (range != Micros::ALL)
                    .then(|| BooleanBuffer::collect_bool(values.len(), |index| range.contains(values[index])))
            };
            let fits = match Column::named(field.name()) {
                Some(Column::RunId) => of_words(&self.run_ids),
                Some(Column::AgentId) => of_words(&self.agent_ids),
                Some(Column::EventType) => of_words(&self.event_types),
                Some(Column::OccurredAt) => of_time(self.occurred),
                Some(Column::ReceivedAt) => of_time(self.received),
                Some(Column::Seq) => array.as_primitive_opt::<Int64Type>().map(|seqs| {
                    let values = seqs.values();
                    BooleanBuffer::collect_bool(values.len(), |index| values[index] > self.seq_after)
                }),
                _ => None,
            };
            if let Some(fits) = fits {
                mask = and(&mask, &BooleanArray::new(fits, None))?;
            }
        }
        Ok(mask)
    }
}
