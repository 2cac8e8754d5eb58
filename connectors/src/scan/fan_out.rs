//! Walking all listings of a scan, several at once.
//!
//! Owns: which listings there are — combinations of pinned keys, and keys that a parent table supplies — and how many
//! are walked at a time. Does not own: a listing's pages (`listing`), their order across listings (`merge`).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::kernels::boolean;
use arrow::datatypes::TimestampMicrosecondType;
use async_stream::{stream, try_stream};
use datafusion::scalar::ScalarValue;
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt, stream};

use super::job::Job;
use super::{Batches, listing, merge, run_scan, split};
use crate::filter;
use crate::http::Failure;
use crate::plan::{Listing, ParentPlan, key_choice};
use crate::spec::Parent;

/// The batches of all listings of a scan.
pub(crate) fn walk_all(job: Arc<Job>) -> Batches {
    if job.plan.parent.is_none() && job.plan.listings() == 1 {
        let listing = job.plan.listing(0);
        return split::walk(job, listing);
    }
    if job.plan.merged { merge::merge(job) } else { Box::pin(walk_many(job)) }
}

/// What a walk among many reports.
enum Event {
    Batch(Result<RecordBatch, Failure>),
    Ended,
}

/// What happened next.
enum Step {
    Listing(Option<Result<Listing, Failure>>),
    Event(Option<Event>),
}

fn walk_many(job: Arc<Job>) -> impl futures::Stream<Item = Result<RecordBatch, Failure>> + Send + 'static {
    try_stream! {
        let mut listings = listings(&job).fuse();
        let mut walks: SelectAll<BoxStream<'static, Event>> = SelectAll::new();
        let mut running = 0;
        // With a limit, one listing may be enough: start with one and reach further each time one was not.
        let mut window = if job.plan.limit.is_some() { 1 } else { job.concurrency() };
        let mut exhausted = false;
        let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
        while !exhausted || running > 0 {
            let step = tokio::select! {
                event = walks.next(), if running > 0 => Step::Event(event),
                listing = listings.next(), if !exhausted && running < window => Step::Listing(listing),
            };
            match step {
                Step::Listing(None) => exhausted = true,
                Step::Listing(Some(listing)) => {
                    let walk = listing::walk(Arc::clone(&job), listing?);
                    walks.push(Box::pin(walk.map(Event::Batch).chain(stream::iter([Event::Ended]))));
                    running += 1;
                }
                Step::Event(Some(Event::Batch(Ok(batch)))) => yield batch,
                // A key that the query names must be listed; one that only came along may be left out, and is counted.
                Step::Event(Some(Event::Batch(Err(Failure::Skipped(code, _))))) if !job.names_key() => {
                    *left_out.entry(code).or_default() += 1;
                }
                Step::Event(Some(Event::Batch(Err(failure)))) => Err(failure)?,
                Step::Event(Some(Event::Ended)) => {
                    running -= 1;
                    window = (window * 2).min(job.concurrency());
                }
                Step::Event(None) => running = 0,
            }
        }
        job.note_left_out(left_out);
    }
}

impl Job {
    /// Tells the report how many keys the vendor refused to list, by its reason.
    pub(super) fn note_left_out(&self, left_out: BTreeMap<String, usize>) {
        for (code, count) in left_out {
            self.run.stats.note(format!("{count} listed by the parent were left out: {code}"));
        }
    }

    /// Whether the query itself names the key that the parent would supply.
    pub(super) fn names_key(&self) -> bool {
        self.plan.parent.as_ref().is_none_or(|parent| !parent.pinned.is_empty())
    }
}

/// All listings of a scan.
pub(super) fn listings(job: &Arc<Job>) -> BoxStream<'static, Result<Listing, Failure>> {
    let job = Arc::clone(job);
    if job.plan.parent.is_none() {
        return Box::pin(stream! {
            for number in 0..job.plan.listings() {
                yield Ok(job.plan.listing(number));
            }
        });
    }
    Box::pin(try_stream! {
        let source = Arc::clone(job.shared.client.spec());
        let (Some(parent), Some(plan)) = (&job.table.parent, &job.plan.parent) else { return };
        let there = Arc::clone(&source.tables[parent.table]);
        let rows = run_scan(Arc::clone(&job.shared), Arc::clone(&there), plan.request.clone(), job.run.clone(), false);
        let mut walked: HashSet<ScalarValue> = HashSet::new();
        for await batch in rows {
            let batch = batch?;
            let kept = parents_kept(&batch, plan);
            for row in (0..batch.num_rows()).filter(|row| kept.value(*row)) {
                let Some(key) = value_of(&batch, plan, parent.key.1, row).filter(|key| !key.is_null()) else { continue };
                if !walked.insert(key.clone()) {
                    continue;
                }
                for listing in listings_of(&job, parent, &key, |there| value_of(&batch, plan, there, row)) {
                    yield listing;
                }
            }
        }
        // Keys that the query names are walked even where the parent does not list them (a direct message is no
        // channel), unless the query asks something of the parent's columns.
        if !plan.carried_asked {
            for key in plan.pinned.iter().filter(|key| !walked.contains(*key)) {
                for listing in listings_of(&job, parent, key, |_| None) {
                    yield listing;
                }
            }
        }
    })
}

/// The listings of one key, with what the parent's row carries.
fn listings_of(
    job: &Job,
    parent: &Parent,
    key: &ScalarValue,
    carried: impl Fn(usize) -> Option<ScalarValue>,
) -> Vec<Listing> {
    let Some(choice) = key_choice(&job.table, job.endpoint(), parent.key.0, key) else { return Vec::new() };
    let with_key = |number| {
        let mut listing = job.plan.listing(number);
        listing.add(&choice);
        for (here, there) in &parent.carry {
            listing.constants.extend(carried(*there).map(|value| (*here, value)));
        }
        listing
    };
    (0..job.plan.listings()).map(with_key).collect()
}

/// A value of the parent's row, by its column there.
fn value_of(batch: &RecordBatch, plan: &ParentPlan, column: usize, row: usize) -> Option<ScalarValue> {
    let position = plan.columns.binary_search(&column).ok()?;
    ScalarValue::try_from_array(batch.column(position), row).ok()
}

/// Which parents may have wanted children.
fn parents_kept(batch: &RecordBatch, plan: &ParentPlan) -> BooleanArray {
    // The constraints for the parent's vendor hold the skip rules too, where a missing value would drop the row; so the
    // skip rules' columns are judged by themselves.
    let mut asked = tripline_engine::Constraints::none();
    let skip_column = |name: &str| {
        plan.skip_when.iter().any(|(there, _)| {
            plan.columns.binary_search(there).ok().is_some_and(|p| batch.schema_ref().field(p).name() == name)
        })
    };
    for (name, constraint) in plan.request.constraints.iter().filter(|(name, _)| !skip_column(name)) {
        crate::plan::copy_constraint(constraint, name, &mut asked);
    }
    let (mut kept, _) = filter::keep(batch, &asked);
    for (column, skipped) in &plan.skip_when {
        let Ok(position) = plan.columns.binary_search(column) else { continue };
        let array = batch.column(position);
        let is_skipped = |row: usize| {
            ScalarValue::try_from_array(array, row).is_ok_and(|value| !value.is_null() && value.to_string() == *skipped)
        };
        let mask: BooleanArray = (0..array.len()).map(|row| Some(!is_skipped(row))).collect();
        kept = boolean::and(&kept, &mask).unwrap_or(kept);
    }
    for (column, bound) in &plan.not_before {
        let Ok(position) = plan.columns.binary_search(column) else { continue };
        let Some(times) = batch.column(position).as_primitive_opt::<TimestampMicrosecondType>() else { continue };
        let mask: BooleanArray = times.iter().map(|time| Some(time.is_none_or(|time| time >= bound.micros))).collect();
        kept = boolean::and(&kept, &mask).unwrap_or(kept);
    }
    kept
}
