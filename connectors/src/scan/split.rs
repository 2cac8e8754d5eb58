//! Walking one listing in parts of its time range, several at once.
//!
//! A listing whose pages follow each other by cursor can only be read page after page, unless the vendor takes a time range:
//! then the first page tells how much time a page covers, and the rest of the range is cut into parts.
//!
//! Owns: whether and where to cut, and putting the parts together. Does not own: which listings may be cut
//! ([`crate::plan::Plan::split_by`]), walking a part (`listing`).
//!
//! Must hold: every row comes once and in the listing's order; a range of few pages costs no request more; what is held of
//! parts that are not yet due is bounded.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use async_stream::try_stream;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tripline_engine::{Bound, ScanErrorKind};

use super::job::Job;
use super::listing::Walk;
use super::{Batches, listing};
use crate::filter;
use crate::http::Failure;
use crate::plan::Listing;
use crate::spec::TimeStyle;

/// Pages that must be left for a cut to pay.
const WORTHWHILE: usize = 4;
/// The same within a part: parts are as even as the first page could tell, so only a part many times as long is cut again.
const WORTHWHILE_AGAIN: usize = 32;
/// Pages per part where there are many: each part costs up to one page more.
const PAGES_PER_PART: usize = 8;
/// Most parts of one cut.
const MOST_PARTS: usize = 256;
/// How many times as long the next part is after one without rows: a range that begins long before the data does is not
/// asked about page by page.
const LONGER: usize = 4;
/// Pages of a part that are held until it is due.
const HELD_PAGES: usize = 2 * PAGES_PER_PART;

/// The batches of one listing, in parts where that pays.
pub(super) fn walk(job: Arc<Job>, listing: Listing) -> Batches {
    walk_in_parts(job, listing, WORTHWHILE)
}

fn walk_in_parts(job: Arc<Job>, listing: Listing, worthwhile: usize) -> Batches {
    let Some(column) = job.plan.split_by(&job.table, job.endpoint()) else { return listing::walk(job, listing) };
    Box::pin(try_stream! {
        let mut walk = Walk::new(Arc::clone(&job), listing.clone());
        walk.one_by_one(true);
        let Some(first) = walk.next().await? else { return };
        if let Some(batch) = walk.take(first)? {
            yield batch;
        }
        let parts = match walk.left() {
            Some((pages, last)) if pages >= worthwhile => parts(&job, column, pages, last),
            _ => None,
        };
        let Some(parts) = parts else {
            walk.one_by_one(false);
            while let Some(page) = walk.next().await? {
                if let Some(batch) = walk.take(page)? {
                    yield batch;
                }
            }
            return;
        };
        let mut waiting = VecDeque::from(parts);
        let mut running: VecDeque<Part> = VecDeque::new();
        let (mut length, mut before) = (1, Found::Nothing);
        loop {
            while running.len() < job.concurrency() && let Some(first) = waiting.pop_front() {
                // What the part nearest to this one that is known to have rows or none tells.
                let near = running.iter().rev().map(Part::found).chain([before]).find(|found| *found != Found::Nothing);
                length = match near {
                    Some(Found::NoRows) => (length * LONGER).min(MOST_PARTS),
                    Some(Found::Rows) => 1,
                    Some(Found::Nothing) | None => length,
                };
                let (part, worthwhile) = joined(&job, column, first, &mut waiting, length);
                running.push_back(Part::start(part, column, listing.clone(), worthwhile));
            }
            let Some(mut part) = running.pop_front() else { return };
            while let Some(batch) = part.batches.recv().await {
                let Some(batch) = batch? else {
                    // The vendor does not keep to the range: page after page from where the parts began, without the rows
                    // that came since.
                    drop((part, running));
                    walk.one_by_one(false);
                    while let Some(page) = walk.next().await? {
                        if let Some(batch) = walk.take(page)? {
                            yield batch;
                        }
                    }
                    return;
                };
                let batch = within(&part.job, &mut walk, &batch)?;
                if batch.num_rows() > 0 {
                    yield batch;
                }
            }
            before = part.found();
        }
    })
}

/// A stretch of the range.
#[derive(Debug)]
struct Stretch {
    job: Arc<Job>,
    lower: Bound,
    upper: Bound,
}

/// `first` and so many of the stretches after it that they are `length` together, as one part, and how many pages must be
/// left in it for another cut to pay.
fn joined(
    job: &Job,
    column: usize,
    first: Stretch,
    waiting: &mut VecDeque<Stretch>,
    length: usize,
) -> (Arc<Job>, usize) {
    let more = length.saturating_sub(1).min(waiting.len());
    let Some(last) = more.checked_sub(1).and_then(|last| waiting.get(last)) else {
        return (first.job, WORTHWHILE_AGAIN);
    };
    let descending = job.plan.order.as_ref().is_some_and(|order| order.descending);
    let (lower, upper) = if descending { (&last.lower, &first.upper) } else { (&first.lower, &last.upper) };
    match job.narrowed(column, lower.clone(), upper.clone()) {
        Some(part) => {
            waiting.drain(..more);
            (part, WORTHWHILE)
        }
        None => (first.job, WORTHWHILE_AGAIN),
    }
}

/// What is known of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing yet.
    Nothing,
    Rows,
    NoRows,
}

/// Whether `batch` is what a vendor that keeps to the range of `part` returns.
fn keeps_to_range(part: &Job, column: usize, batch: &RecordBatch) -> bool {
    let name = &part.table.columns[column].name;
    let times = batch.column_by_name(name).and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>());
    let Some((times, asked)) = times.zip(part.plan.constraints.column(name)) else { return false };
    let micros = |bound: &Option<Bound>| match bound.as_ref().map(|bound| &bound.value) {
        Some(ScalarValue::TimestampMicrosecond(micros, _)) => *micros,
        _ => None,
    };
    let (lower, upper) = (micros(&asked.lower), micros(&asked.upper));
    // Bounds are rounded to what the vendor can express.
    let filter = part.endpoint().filters.iter().find(|filter| filter.column == column);
    let step = filter.map_or(0, |filter| filter.format.step());
    times.iter().flatten().all(|time| {
        lower.is_none_or(|lower| time >= lower.saturating_sub(step))
            && upper.is_none_or(|upper| time <= upper.saturating_add(step))
    })
}

/// A part being walked; dropping it stops it.
struct Part {
    job: Arc<Job>,
    /// `None` when the vendor does not keep to the part's range.
    batches: mpsc::Receiver<Result<Option<RecordBatch>, Failure>>,
    found: Arc<OnceLock<Found>>,
    _walking: AbortOnDropHandle<()>,
}

impl Part {
    fn start(job: Arc<Job>, column: usize, listing: Listing, worthwhile: usize) -> Self {
        let (sender, batches) = mpsc::channel(HELD_PAGES);
        let mut walk = walk_in_parts(Arc::clone(&job), listing, worthwhile);
        let (part, found) = (Arc::clone(&job), Arc::new(OnceLock::new()));
        let told = Arc::clone(&found);
        let walking = tokio::spawn(async move {
            while let Some(batch) = walk.next().await {
                // A failure is no part without rows.
                if batch.as_ref().map_or(true, |batch| batch.num_rows() > 0) {
                    told.get_or_init(|| Found::Rows);
                }
                let batch = batch.map(|batch| Some(batch).filter(|batch| keeps_to_range(&part, column, batch)));
                let goes_on = matches!(batch, Ok(Some(_)));
                if sender.send(batch).await.is_err() || !goes_on {
                    return;
                }
            }
            told.get_or_init(|| Found::NoRows);
        });
        Self { job, batches, found, _walking: AbortOnDropHandle::new(walking) }
    }

    fn found(&self) -> Found {
        self.found.get().copied().unwrap_or(Found::Nothing)
    }
}

/// The rows of `batch` that are the part's own and did not come before, whatever the vendor returned.
fn within(part: &Job, walk: &mut Walk, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let (inside, _) = filter::keep(batch, &part.plan.constraints);
    // Judged on the part's own rows only: a row seen outside its part is not yet delivered.
    let inside = filter_record_batch(batch, &inside).map_err(|error| broken(part, &error))?;
    let new = walk.new_rows(&inside);
    filter_record_batch(&inside, &new).map_err(|error| broken(part, &error))
}

fn broken(job: &Job, error: &arrow::error::ArrowError) -> Failure {
    job.error(ScanErrorKind::Malformed, format!("putting parts of a listing together failed: {error}")).into()
}

/// The rest of the range after `last`, of about `pages` pages, in the listing's order. `None` when it cannot be cut.
fn parts(job: &Job, column: usize, pages: usize, last: i64) -> Option<Vec<Stretch>> {
    let order = job.plan.order.as_ref()?;
    let stop = job.plan.stop?;
    let style = job.endpoint().filters.iter().find(|f| f.column == column).map(|f| f.format)?;
    let count = if pages >= PAGES_PER_PART * job.concurrency() {
        pages.div_ceil(PAGES_PER_PART)
    } else {
        job.concurrency().min(pages / 2)
    };
    let cuts = cuts(last, stop.micros, count.min(MOST_PARTS), style);
    let zone = job.table.columns[column].kind.data_type();
    let bound = |micros: i64, inclusive: bool| {
        let value = ScalarValue::TimestampMicrosecond(Some(micros), None).cast_to(&zone).ok()?;
        Some(Bound { value, inclusive })
    };
    let mut parts = Vec::with_capacity(cuts.len() + 1);
    let mut from = (last, true);
    for to in cuts.into_iter().map(|cut| (cut, order.descending)).chain([(stop.micros, stop.inclusive)]) {
        let (lower, upper) = if order.descending { (to, from) } else { (from, to) };
        let (lower, upper) = (bound(lower.0, lower.1)?, bound(upper.0, upper.1)?);
        let job = job.narrowed(column, lower.clone(), upper.clone())?;
        parts.push(Stretch { job, lower, upper });
        // The instant of a cut belongs to the part above it.
        from = (to.0, !order.descending);
    }
    (parts.len() > 1).then_some(parts)
}

/// The instants strictly between `from` and `to` that cut the way into `count` about even parts, in steps that the vendor
/// can express.
fn cuts(from: i64, to: i64, count: usize, style: TimeStyle) -> Vec<i64> {
    let (way, count) = (i128::from(to) - i128::from(from), count.max(1) as i128);
    let mut cuts: Vec<i64> = (1..count)
        .filter_map(|i| i64::try_from(i128::from(from) + way * i / count).ok())
        .map(|cut| cut.div_euclid(style.step()) * style.step())
        .filter(|cut| (from.min(to) < *cut) && (*cut < from.max(to)))
        .collect();
    cuts.dedup();
    cuts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cuts_lie_strictly_between_the_ends_in_order(from in -1_000_000_000i64..1_000_000_000, to in -1_000_000_000i64..1_000_000_000, count in 0usize..300) {
            let cuts = cuts(from, to, count, TimeStyle::IsoMs);
            prop_assert!(cuts.len() < count.max(1));
            let mut all = vec![from];
            all.extend(&cuts);
            all.push(to);
            if from != to {
                let down = to < from;
                prop_assert!(all.windows(2).all(|pair| (pair[1] < pair[0]) == down && pair[0] != pair[1]), "{all:?}");
            } else {
                prop_assert!(cuts.is_empty());
            }
            prop_assert!(cuts.iter().all(|cut| cut % 1000 == 0));
        }
    }
}
