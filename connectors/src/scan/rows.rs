//! Rows of one listing across its pages: repeated ones, their order, where to stop.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};

use crate::plan::TimeBound;

/// Drops rows whose key came before in the same listing.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Positions of the key columns in the batches.
    key: Vec<usize>,
    /// Several rows may make one: within a batch the last counts, and rows without a key do not.
    unique: bool,
    /// 128 bits per row, so that two different keys are never taken for one.
    keys: HashSet<u128>,
}

impl Seen {
    pub(crate) fn new(key: Vec<usize>, unique: bool) -> Self {
        Self { key, unique, keys: HashSet::new() }
    }

    /// Which rows of `batch` are new.
    pub(crate) fn new_rows(&mut self, batch: &RecordBatch) -> BooleanArray {
        let keys: Vec<Option<u128>> = (0..batch.num_rows()).map(|row| self.key_of(batch, row)).collect();
        let mut mask: Vec<bool> = vec![true; keys.len()];
        if self.unique {
            let mut later = HashSet::new();
            for (kept, key) in mask.iter_mut().zip(&keys).rev() {
                *kept = key.is_some_and(|key| later.insert(key));
            }
        }
        for (kept, key) in mask.iter_mut().zip(keys) {
            if let (true, Some(key)) = (*kept, key) {
                *kept = self.keys.insert(key);
            }
        }
        BooleanArray::from(mask)
    }

    /// A row's key; none when a part of it is NULL.
    fn key_of(&self, batch: &RecordBatch, row: usize) -> Option<u128> {
        let mut halves = [DefaultHasher::new(), DefaultHasher::new()];
        halves[1].write_u8(1);
        for &position in &self.key {
            let array = batch.column(position);
            if array.is_null(row) {
                return None;
            }
            for half in &mut halves {
                match array.data_type() {
                    DataType::Utf8 => array.as_string::<i32>().value(row).hash(half),
                    DataType::Int64 => array.as_primitive::<Int64Type>().value(row).hash(half),
                    DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().value(row).hash(half),
                    // No other type can be a key.
                    _ => return None,
                }
            }
        }
        let [high, low] = halves.map(|half| u128::from(half.finish()));
        (!self.key.is_empty()).then_some(high << 64 | low)
    }
}

/// Watches the promised order of a listing.
#[derive(Debug)]
pub(crate) struct OrderWatch {
    /// Position of the order column in the batches.
    position: usize,
    descending: bool,
    stop: Option<TimeBound>,
    last: Option<i64>,
    /// Time from the first to the last row of a page, and pages seen.
    span: i64,
    pages: i64,
}

/// What a page says of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ordered {
    /// As promised; there may be more.
    Yes,
    /// As promised, and no later row can be wanted.
    Passed,
    /// Not as promised.
    No,
}

impl OrderWatch {
    pub(crate) fn new(position: usize, descending: bool, stop: Option<TimeBound>) -> Self {
        Self { position, descending, stop, last: None, span: 0, pages: 0 }
    }

    /// Looks at the next page.
    pub(crate) fn look(&mut self, batch: &RecordBatch) -> Ordered {
        let Some(times) = batch.column(self.position).as_primitive_opt::<TimestampMicrosecondType>() else {
            return Ordered::Yes;
        };
        let first_before = self.last;
        let mut first = None;
        let mut ordered = true;
        for time in times.iter().flatten() {
            let out_of_order = |last: i64| if self.descending { time > last } else { time < last };
            ordered &= !self.last.is_some_and(out_of_order);
            first = first.or(Some(time));
            self.last = Some(time);
        }
        if let (Some(from), Some(to)) = (first_before.or(first), self.last) {
            self.span = self.span.saturating_add(to.saturating_sub(from).saturating_abs());
            self.pages += 1;
        }
        if !ordered {
            return Ordered::No;
        }
        let passed = self.stop.zip(self.last).is_some_and(|(stop, last)| match (self.descending, stop.inclusive) {
            (true, true) => last < stop.micros,
            (true, false) => last <= stop.micros,
            (false, true) => last > stop.micros,
            (false, false) => last >= stop.micros,
        });
        if passed { Ordered::Passed } else { Ordered::Yes }
    }

    /// The last time seen.
    pub(crate) fn last(&self) -> Option<i64> {
        self.last
    }

    /// About how many more pages there are before the stop, judged by how much time a page covered so far; rounded
    /// down, so that pages which may not be needed are not fetched ahead.
    pub(crate) fn pages_left(&self) -> Option<usize> {
        let (stop, last) = self.stop.zip(self.last)?;
        let per_page = (self.span / self.pages.max(1)).max(1);
        usize::try_from(last.saturating_sub(stop.micros).saturating_abs() / per_page).ok()
    }
}
