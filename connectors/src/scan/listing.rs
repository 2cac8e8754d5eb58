//! Walking one listing, page by page.
//!
//! Owns: which page comes next for each way of paging, how many are fetched ahead, where the listing ends. Does not own:
//! which listings there are (`fan_out`).

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::boolean;
use async_stream::try_stream;
use tripline_engine::ScanErrorKind;

use super::Batches;
use super::job::{Job, Page, Pending, Place};
use super::rows::{OrderWatch, Ordered, Seen};
use crate::filter;
use crate::http::Failure;
use crate::plan::Listing;
use crate::spec::Pagination;

/// How many times as many pages as requests at once are fetched beside ones that wait to be tried again.
const BESIDE: usize = 8;

/// The batches of one listing, repeated rows left out.
pub(crate) fn walk(job: Arc<Job>, listing: Listing) -> Batches {
    Box::pin(try_stream! {
        // Where listings are merged, how much of each is wanted shows only on the way.
        let one_by_one = job.plan.merged;
        let mut walk = Walk::new(job, listing);
        walk.one_by_one(one_by_one);
        while let Some(page) = walk.next().await? {
            if let Some(batch) = walk.take(page)? {
                yield batch;
            }
        }
    })
}

/// The state of a walk.
pub(super) struct Walk {
    job: Arc<Job>,
    listing: Arc<Listing>,
    /// Pages being fetched, in order.
    pending: VecDeque<Pending>,
    /// The place to go to next, for listings that are walked one by one.
    next: Option<Place>,
    /// For listings whose pages are numbered and counted.
    numbered: Option<Numbered>,
    /// Pages taken so far.
    pages: usize,
    /// Rows in the answers so far.
    rows: usize,
    seen: Seen,
    order: Option<OrderWatch>,
    /// Places that were gone to, so that a listing that leads in a circle is noticed.
    visited: HashSet<String>,
    /// Nothing beyond is wanted, or there is nothing beyond.
    done: bool,
    /// Whether the next page may be asked for before this one was consumed.
    ahead: bool,
}

/// Pages whose number is known.
struct Numbered {
    /// The next page to ask for, from 0 for the first.
    next: u64,
    /// How many there are.
    count: u64,
    /// Pages before this one may be asked for.
    horizon: u64,
    /// How far the horizon moves when it is reached.
    step: u64,
    /// Rows per page, where the place is a number of rows.
    page_rows: u64,
    /// Rows in all, where the answer says so.
    total: Option<u64>,
    /// Rows before the page that is due, and where its place ends.
    at: u64,
    place_end: u64,
}

impl Walk {
    pub(super) fn new(job: Arc<Job>, listing: Listing) -> Self {
        let position = |column: &usize| job.plan.columns.binary_search(column).ok();
        let key = job.table.primary_key.iter().filter_map(position).collect();
        let order = job
            .plan
            .order
            .as_ref()
            .and_then(|order| Some(OrderWatch::new(position(&order.column)?, order.descending, job.plan.stop)));
        Self {
            seen: Seen::new(key, job.endpoint().unique),
            order,
            job,
            listing: Arc::new(listing),
            pending: VecDeque::new(),
            next: Some(Place::First),
            numbered: None,
            pages: 0,
            rows: 0,
            visited: HashSet::new(),
            done: false,
            ahead: true,
        }
    }

    /// Asks for no page before it is needed.
    pub(super) fn one_by_one(&mut self, one_by_one: bool) {
        self.ahead = !one_by_one;
    }

    /// About how many pages are left before the bound where the listing may stop, and the time of the last row; nothing when
    /// it has ended or does not say.
    pub(super) fn left(&self) -> Option<(usize, i64)> {
        let order = self.order.as_ref().filter(|_| !self.done && self.next.is_some())?;
        order.pages_left().zip(order.last())
    }

    /// Rows of `batch` that did not come before.
    pub(super) fn new_rows(&mut self, batch: &RecordBatch) -> BooleanArray {
        self.seen.new_rows(batch)
    }

    /// The next page, in order.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, Failure> {
        if self.done {
            return Ok(None);
        }
        if self.numbered.is_some() {
            self.reach_for_numbered();
        }
        let page = match (self.pending.pop_front(), self.next.take()) {
            (Some(pending), next) => {
                self.next = next;
                self.arrival(pending).await?
            }
            (None, Some(place)) => {
                let pending = self.job.spawn(&self.listing, place, self.pages + 1);
                self.job.join(pending).await?
            }
            (None, None) => {
                self.check_cap()?;
                return Ok(None);
            }
        };
        self.pages += 1;
        self.rows += page.rows;
        Ok(Some(page))
    }

    /// Waits for the page that is due. While pages wait to be tried again, later ones of those that are surely needed are
    /// fetched beside them: so waits overlap, instead of following each other.
    async fn arrival(&mut self, mut pending: Pending) -> Result<Page, Failure> {
        let job = Arc::clone(&self.job);
        loop {
            let moved = job.held.moved();
            self.ask_beside();
            tokio::select! {
                biased;
                outcome = &mut pending => return job.joined(outcome),
                () = moved => {}
            }
        }
    }

    /// Judges a page, arranges for what comes after it, and returns its new rows.
    pub(super) fn take(&mut self, page: Page) -> Result<Option<RecordBatch>, Failure> {
        let rows = self.own_rows(&page);
        let own = boolean::and(&filter::having(&rows, &self.listing.having), &self.seen.new_rows(&rows));
        let batch = own.and_then(|own| filter_record_batch(&rows, &own)).map_err(|error| {
            Failure::from(self.job.error(ScanErrorKind::Malformed, format!("dropping repeated rows failed: {error}")))
        })?;
        // Repeated rows are out of order by nature, so only new ones are judged.
        match self.order.as_mut().map(|order| order.look(&batch)) {
            Some(Ordered::Passed) => self.stop(),
            Some(Ordered::No) => {
                // Stopping early would lose rows, and so may a consumer that relied on the order.
                self.order = None;
                let column =
                    self.job.plan.order.as_ref().map_or("", |o| self.job.table.columns[o.column].name.as_str());
                let broken = format!("rows did not come in the promised order ({column})");
                if self.limited() || self.job.run.query.order_matters() {
                    self.job.run.stats.set_gap(format!("{broken}; ORDER BY … LIMIT may have missed some"));
                } else {
                    self.job.run.stats.note(format!("{broken}; all were read"));
                }
            }
            _ => {}
        }
        if !self.done {
            self.follow(&page)?;
        }
        Ok((batch.num_rows() > 0).then_some(batch))
    }

    /// The rows of a page that belong to its place: where rows are skipped by count, a page that is longer than its place
    /// repeats the next one, and the rest of a shorter one is asked for before it.
    fn own_rows(&mut self, page: &Page) -> RecordBatch {
        let counted_by_row = matches!(self.job.endpoint().pagination, Pagination::Offset { .. });
        let Some(numbered) = self.numbered.as_mut().filter(|_| counted_by_row) else { return page.batch.clone() };
        let (left, got) = (numbered.place_end.saturating_sub(numbered.at), page.rows as u64);
        numbered.at += got.min(left);
        if numbered.at == numbered.place_end || got == 0 {
            numbered.at = numbered.place_end;
            numbered.place_end += numbered.page_rows;
        } else if numbered.total.is_some_and(|total| numbered.at < total) {
            let rest = Place::Offset(numbered.at);
            self.pending.push_front(self.job.spawn(&self.listing, rest, self.pages + 1));
        }
        // Repeated rows are told by their key, where there is one.
        let keyless = self.job.table.primary_key.is_empty() && page.batch.num_rows() == page.rows;
        if keyless && got > left {
            page.batch.slice(0, usize::try_from(left).unwrap_or(page.rows))
        } else {
            page.batch.clone()
        }
    }

    /// Nothing further is wanted.
    fn stop(&mut self) {
        self.done = true;
        self.next = None;
        self.pending.clear();
    }

    fn limited(&self) -> bool {
        self.job.plan.limit.is_some()
    }

    /// Decides what comes after `page`.
    fn follow(&mut self, page: &Page) -> Result<(), Failure> {
        if let Some(numbered) = &mut self.numbered {
            // A listing that grew meanwhile has more pages than it said first.
            if let Some((count, total)) = counted(&self.job, page, numbered.page_rows) {
                numbered.count = numbered.count.max(count);
                numbered.total = numbered.total.max(total);
            }
            return Ok(());
        }
        let asked = self.job.plan.page_size.unwrap_or(0);
        let short = page.rows < asked || page.rows == 0;
        // A count of rows cannot be trusted when the rows themselves do not come.
        let count = |page_rows| if page.rows == 0 { None } else { counted(&self.job, page, page_rows) };
        let pagination = self.job.endpoint().pagination.clone();
        let meta = |index: usize| page.meta.get(index).and_then(Option::as_deref);
        let says_no = |text: Option<&str>| text == Some("false");
        let next = match &pagination {
            Pagination::None => None,
            Pagination::Page { start, link, short_ends, .. } => {
                let page_rows = page.rows.max(1) as u64;
                if let Some((count, total)) = count(page_rows) {
                    self.count_pages(count, page_rows, total);
                    None
                } else if *link {
                    page.links.next.clone().map(Place::Url)
                } else if page.rows == 0 || (*short_ends && short) {
                    None
                } else {
                    // A short page may be one that the server made short: only an empty one is the end.
                    Some(Place::Page(start + self.pages as u64))
                }
            }
            Pagination::Offset { more, short_ends, .. } => {
                let page_rows = page.rows.max(1) as u64;
                if let Some((count, total)) = count(page_rows) {
                    self.count_pages(count, page_rows, total);
                    None
                } else {
                    let told = more.as_ref().and_then(|_| meta(0));
                    let ends = page.rows == 0 || if told.is_some() { says_no(told) } else { *short_ends && short };
                    (!ends).then_some(Place::Offset(self.rows as u64))
                }
            }
            Pagination::Cursor { more, short_ends, .. } => {
                let ends = more.as_ref().is_some_and(|_| says_no(meta(1))) || (*short_ends && short);
                meta(0).filter(|cursor| !cursor.is_empty() && !ends).map(|cursor| Place::Cursor(cursor.to_owned()))
            }
            Pagination::Link { .. } => page.links.next.clone().map(Place::Url),
            Pagination::NextUrl { .. } => match meta(0).filter(|url| !url.is_empty()) {
                None => None,
                Some(text) => {
                    let base = self.job.shared.client.base(&self.job.table.name)?;
                    let url = base
                        .join(text)
                        .map_err(|_| self.job.error(ScanErrorKind::Malformed, "the next page's address is no URL"))?;
                    Some(Place::Url(url))
                }
            },
        };
        if let Some(place) = &next
            && !self.visited.insert(format!("{place:?}"))
        {
            let detail = format!("page {} leads back to a page that was already read", self.pages);
            return Err(self.job.error(ScanErrorKind::Malformed, detail).into());
        }
        self.next = next;
        // With a limit, a page is surely needed while even all rows so far would not reach it.
        let wanted_ahead =
            self.ahead && (!self.limited() || self.job.plan.target.is_some_and(|target| self.rows < target));
        if wanted_ahead && let Some(place) = self.next.take() {
            // The next page travels while this one is consumed.
            self.pending.push_back(self.job.spawn(&self.listing, place, self.pages + 1));
        }
        Ok(())
    }

    /// From now on pages are asked for by number, several at once.
    fn count_pages(&mut self, count: u64, page_rows: u64, total: Option<u64>) {
        let plan = &self.job.plan;
        let horizon = match (plan.limit, plan.target, plan.stop) {
            (None, _, None) if self.ahead => u64::MAX,
            // All rows count: so many pages are surely needed.
            (_, Some(target), None) if self.ahead => (target as u64).div_ceil(page_rows),
            _ => 1,
        };
        let (at, place_end) = (page_rows, 2 * page_rows);
        self.numbered = Some(Numbered { next: 1, count, horizon, step: 1, page_rows, total, at, place_end });
    }

    /// Asks for as many numbered pages as may be under way.
    fn reach_for_numbered(&mut self) {
        let concurrency = self.job.concurrency();
        let ahead = self.order.as_ref().and_then(OrderWatch::pages_left);
        let end = self.numbered_end();
        let Some(numbered) = &mut self.numbered else { return };
        if self.pending.is_empty() && numbered.next >= numbered.horizon && numbered.next < end {
            // What was fetched was not enough: reach a little further each time, but not past the likely end.
            let likely = ahead.map_or(u64::MAX, |pages| pages.max(1) as u64);
            numbered.horizon = numbered.next + numbered.step.min(likely);
            numbered.step = (numbered.step * 2).min(concurrency as u64);
        }
        while self.pending.len() < concurrency && self.ask_numbered(end) {}
    }

    /// Asks for numbered pages instead of those that wait to be tried again.
    fn ask_beside(&mut self) {
        let concurrency = self.job.concurrency();
        let end = self.numbered_end();
        while self.job.held.any()
            && self.job.held.moving() < concurrency
            && self.pending.len() < BESIDE * concurrency
            && self.ask_numbered(end)
        {}
    }

    /// The numbered page that is not to be asked for any more.
    fn numbered_end(&self) -> u64 {
        let Some(numbered) = &self.numbered else { return 0 };
        let cap_pages =
            self.cap().map(|cap| cap.div_ceil(usize::try_from(numbered.page_rows).unwrap_or(usize::MAX).max(1)));
        numbered.count.min(cap_pages.map_or(u64::MAX, |pages| pages as u64))
    }

    /// Asks for the next numbered page before `end` and the horizon, if there is one.
    fn ask_numbered(&mut self, end: u64) -> bool {
        let Some(numbered) = self.numbered.as_mut().filter(|n| n.next < n.horizon.min(end)) else { return false };
        let place = match &self.job.endpoint().pagination {
            Pagination::Offset { .. } => Place::Offset(numbered.next * numbered.page_rows),
            Pagination::Page { start, .. } => Place::Page(start + numbered.next),
            _ => return false,
        };
        numbered.next += 1;
        let number = usize::try_from(numbered.next).unwrap_or(usize::MAX);
        self.pending.push_back(self.job.spawn(&self.listing, place, number));
        true
    }

    /// The vendor's own end, where it applies to this listing.
    fn cap(&self) -> Option<usize> {
        let cap = self.job.endpoint().cap.as_ref()?;
        (!cap.only_filtered || self.job.plan.filtered).then_some(cap.rows)
    }

    /// At the end of what the vendor gives: is it the end of what there is?
    fn check_cap(&self) -> Result<(), Failure> {
        let (Some(rows), Some(cap)) = (self.cap(), self.job.endpoint().cap.as_ref()) else { return Ok(()) };
        let more_exist = self.numbered.as_ref().is_some_and(|n| n.next < n.count);
        if more_exist {
            let error = self.job.error(ScanErrorKind::Incomplete, format!("more than {rows} rows match"));
            return Err(error.hint(cap.hint.clone()).into());
        }
        if self.rows >= rows {
            self.job.run.stats.set_gap(format!("{}; there may be more", cap.hint));
        }
        Ok(())
    }
}

/// How many pages there are, and how many rows, when the answer says so.
fn counted(job: &Job, page: &Page, page_rows: u64) -> Option<(u64, Option<u64>)> {
    let meta = |index: usize| page.meta.get(index).and_then(Option::as_deref).and_then(|text| text.parse::<u64>().ok());
    match &job.endpoint().pagination {
        Pagination::Page { param, start, total_pages, total, link, .. } => {
            let pages = total_pages.as_ref().and_then(|_| meta(0));
            let rows = total.as_ref().and_then(|_| meta(usize::from(total_pages.is_some())));
            let by_link = || {
                page.links.last_page(param).filter(|_| *link).map(|last| last.saturating_add(1).saturating_sub(*start))
            };
            Some((pages.or_else(|| rows.map(|rows| rows.div_ceil(page_rows))).or_else(by_link)?, rows))
        }
        Pagination::Offset { total: Some(_), .. } => meta(0).map(|rows| (rows.div_ceil(page_rows), Some(rows))),
        _ => None,
    }
}
