//! Merging several listings, each in the same order, into one that is in that order.
//!
//! Owns: which listing the next row comes from, and when another page of a listing is asked for. Does not own: which
//! listings there are (`fan_out`), their pages (`listing`).
//!
//! Must hold: rows come in the order of the plan; a listing's second page is asked for only when its first has been given
//! away, so that about one page of each listing is enough for who wants only the first rows; pages at hand and read ahead
//! are memory of the query.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::ready;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use async_stream::{stream, try_stream};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tripline_engine::ScanErrorKind;

use super::job::Job;
use super::{Batches, fan_out, listing};
use crate::http::Failure;
use crate::plan::Listing;

/// Pages of all listings together that are read ahead of the merge where all rows are wanted.
const PAGES_AHEAD: usize = 256;
/// Most rows of one batch.
const BATCH_ROWS: usize = 8192;

/// The batches of all listings of a scan, in the plan's order.
pub(super) fn merge(job: Arc<Job>) -> Batches {
    Box::pin(try_stream! {
        let listings: Vec<Listing> = fan_out::listings(&job).try_collect().await?;
        // How many further pages are fetched one after another before listings are read ahead, and how far then. A limit
        // may be reached any moment; without one, the consumer may still stop after the first pages (a sort by more columns).
        let (patience, ahead) = match job.plan.limit {
            Some(_) => (job.concurrency(), 1),
            None => (1, (PAGES_AHEAD / listings.len().max(1)).max(1)),
        };
        let walks: Vec<BoxFuture<'static, First>> =
            listings.into_iter().map(|listing| first(pages(&job, listing)).boxed()).collect();
        let mut merge = Merge::new(Arc::clone(&job));
        // A walk is moved only when it is polled: as many first pages at once as requests are allowed.
        let mut firsts = stream::iter(walks).buffered(job.concurrency());
        while let Some((first, walk)) = firsts.next().await {
            let head = merge.add(walk);
            merge.arrived(head, first)?;
        }
        drop(firsts);
        let chunk = job.plan.limit.unwrap_or(usize::MAX).clamp(1, BATCH_ROWS);
        // Pages beyond the first of each listing.
        let mut more = 0;
        while let Some(head) = merge.pick() {
            if let Some(batch) = merge.given(chunk)? {
                yield batch;
            }
            if !merge.heads[head].is_spent() {
                merge.offer(head)?;
                continue;
            }
            // The consumer may have enough: what there is goes out before anything is asked for.
            if let Some(batch) = merge.given(1)? {
                yield batch;
            }
            more += 1;
            if more == patience {
                for head in &mut merge.heads {
                    let walk = std::mem::replace(&mut head.walk, Box::pin(stream::empty()));
                    head.walk = read_ahead(&job, walk, ahead);
                }
            }
            let next = merge.heads[head].walk.next().await;
            merge.arrived(head, next)?;
        }
        if let Some(batch) = merge.given(1)? {
            yield batch;
        }
        job.note_left_out(merge.left_out);
    })
}

/// A page that waits for its rows to be given away, and the memory it takes of the query until it is dropped.
struct Page {
    batch: RecordBatch,
    _memory: MemoryReservation,
}

type Pages = BoxStream<'static, Result<Page, Failure>>;

/// The pages of a listing that have rows. More than the query may hold is an error.
fn pages(job: &Arc<Job>, listing: Listing) -> Pages {
    let job = Arc::clone(job);
    let memory = MemoryConsumer::new("merge of listings").register(&job.run.memory);
    let walk = listing::walk(Arc::clone(&job), listing);
    walk.map(move |batch| {
        let batch = batch?;
        let memory = memory.new_empty();
        let bytes = batch.get_array_memory_size();
        memory.try_grow(bytes).map_err(|error| job.error(ScanErrorKind::Memory, error.strip_backtrace()))?;
        Ok(Page { batch, _memory: memory })
    })
    .try_filter(|page| ready(page.batch.num_rows() > 0))
    .boxed()
}

/// The first page of a walk, and the walk.
type First = (Option<Result<Page, Failure>>, Pages);

async fn first(mut walk: Pages) -> First {
    (walk.next().await, walk)
}

/// `walk`, moved on by itself up to `pages` ahead of who reads it. It ends when it is dropped.
fn read_ahead(job: &Arc<Job>, mut walk: Pages, pages: usize) -> Pages {
    let (sender, mut receiver) = mpsc::channel(pages);
    let walking = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(batch) = walk.next().await {
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    }));
    let job = Arc::clone(job);
    Box::pin(stream! {
        while let Some(batch) = receiver.recv().await {
            yield batch;
        }
        if let Err(error) = walking.await {
            yield Err(job.error(ScanErrorKind::Malformed, format!("reading a listing broke off: {error}")).into());
        }
    })
}

/// A listing, where the merge has come to in it.
struct Head {
    walk: Pages,
    /// The page at hand; none when the listing has ended.
    page: Option<Page>,
    /// Its next row.
    row: usize,
}

impl Head {
    /// Whether all rows of the page at hand were picked.
    fn is_spent(&self) -> bool {
        self.page.as_ref().is_some_and(|page| self.row >= page.batch.num_rows())
    }
}

/// The listings side by side.
struct Merge {
    job: Arc<Job>,
    heads: Vec<Head>,
    /// The next row of each listing that has one: the greatest rank first, then the first listing.
    next: BinaryHeap<(i64, Reverse<usize>)>,
    /// Rows to give away: listing and row.
    picked: Vec<(usize, usize)>,
    /// Keys that the vendor refused to list, by reason.
    left_out: BTreeMap<String, usize>,
}

impl Merge {
    fn new(job: Arc<Job>) -> Self {
        Self { job, heads: Vec::new(), next: BinaryHeap::new(), picked: Vec::new(), left_out: BTreeMap::new() }
    }

    /// Adds a listing; its number.
    fn add(&mut self, walk: Pages) -> usize {
        self.heads.push(Head { walk, page: None, row: 0 });
        self.heads.len() - 1
    }

    /// Takes the next page of a listing, or its end.
    fn arrived(&mut self, head: usize, page: Option<Result<Page, Failure>>) -> Result<(), Failure> {
        let page = match page.transpose() {
            Ok(page) => page,
            // A key that the query names must be listed; one that only came along may be left out, and is counted.
            Err(Failure::Skipped(code, _)) if !self.job.names_key() => {
                *self.left_out.entry(code).or_default() += 1;
                None
            }
            Err(failure) => return Err(failure),
        };
        let listing = &mut self.heads[head];
        (listing.page, listing.row) = (page, 0);
        self.offer(head)
    }

    /// Puts the next row of a listing among those to choose from.
    fn offer(&mut self, head: usize) -> Result<(), Failure> {
        let listing = &self.heads[head];
        if let Some(page) = listing.page.as_ref().filter(|_| !listing.is_spent()) {
            let rank = self.rank(&page.batch, listing.row)?;
            self.next.push((rank, Reverse(head)));
        }
        Ok(())
    }

    /// Where a row stands in the order: what comes first is greatest. A row without a value does not hold up those after it.
    fn rank(&self, batch: &RecordBatch, row: usize) -> Result<i64, Failure> {
        let broken = || self.job.error(ScanErrorKind::Malformed, "the rows lack the column they are merged by");
        let order = self.job.plan.order.as_ref().ok_or_else(broken)?;
        let position = self.job.plan.columns.binary_search(&order.column).map_err(|_| broken())?;
        let value = value(batch.column(position), row).ok_or_else(broken)?;
        // The complement turns the order of all integers round.
        Ok(value.map_or(i64::MAX, |value| if order.descending { value } else { !value }))
    }

    /// Picks the next row; the listing it is of.
    fn pick(&mut self) -> Option<usize> {
        let (_, Reverse(head)) = self.next.pop()?;
        let listing = &mut self.heads[head];
        self.picked.push((head, listing.row));
        listing.row += 1;
        Some(head)
    }

    /// The picked rows, if there are so many; they are no longer picked then.
    fn given(&mut self, least: usize) -> Result<Option<RecordBatch>, Failure> {
        if self.picked.len() < least {
            return Ok(None);
        }
        // Listings that have ended have no page to pick from.
        let mut places = vec![0; self.heads.len()];
        let mut pages = Vec::new();
        for (head, place) in self.heads.iter().zip(&mut places) {
            *place = pages.len();
            pages.extend(head.page.as_ref().map(|page| &page.batch));
        }
        let rows: Vec<(usize, usize)> = self.picked.drain(..).map(|(head, row)| (places[head], row)).collect();
        let batch = interleave_record_batch(&pages, &rows);
        let broken =
            |error| self.job.error(ScanErrorKind::Malformed, format!("merging listings failed: {error}")).into();
        batch.map(Some).map_err(broken)
    }
}

/// An integer or a time in microseconds; `None` for a column that is neither.
fn value(array: &ArrayRef, row: usize) -> Option<Option<i64>> {
    let there = array.is_valid(row);
    match array.data_type() {
        DataType::Int64 => Some(there.then(|| array.as_primitive::<Int64Type>().value(row))),
        DataType::Timestamp(..) => {
            let times = array.as_primitive_opt::<TimestampMicrosecondType>()?;
            Some(there.then(|| times.value(row)))
        }
        _ => None,
    }
}
