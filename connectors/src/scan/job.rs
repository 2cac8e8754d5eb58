//! One scan of one endpoint: its plan, its decoders, and fetching one page of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tripline_engine::{Bound, Predicate, ScanError, ScanErrorKind, ScanRequest, ScanRun, SortKey};
use url::Url;

use super::{Batches, Shared, enrich, fan_out};
use crate::decode::{Decoded, Decoder};
use crate::http::{Ask, Failure, Held, Links, NotAPathPart, SafeUrl, Target, path_part};
use crate::plan::{self, Listing, Plan};
use crate::spec::{Endpoint, Pagination, Part, Slot, TableSpec, Template};

/// One scan of one endpoint.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: Arc<TableSpec>,
    pub(crate) endpoint: usize,
    pub(crate) plan: Plan,
    pub(crate) run: ScanRun,
    decoder: Decoder,
    /// Whether an absent endpoint would send the scan to another one.
    alternatives: bool,
    /// Whether the endpoint has answered.
    answered: AtomicBool,
    /// The page size is divided by this: pages turned out too large.
    divisor: AtomicUsize,
    /// Pages that are on their way.
    pub(crate) held: Arc<Held>,
    /// Whether the rows are the query's own, not those of a table that another one needs.
    own: bool,
}

/// Where in a listing a page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first page.
    First,
    /// A numbered page.
    Page(u64),
    /// After so many rows.
    Offset(u64),
    /// At a cursor.
    Cursor(String),
    /// At a URL the vendor gave.
    Url(Url),
}

/// A fetched and decoded page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) batch: RecordBatch,
    /// Rows in the answer.
    pub(crate) rows: usize,
    /// Paging values, in the order of [`plan::paging_paths`].
    pub(crate) meta: Vec<Option<String>>,
    pub(crate) links: Links,
}

impl Job {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        table: &Arc<TableSpec>,
        endpoint: usize,
        plan: Plan,
        run: &ScanRun,
        alternatives: bool,
        own: bool,
    ) -> Arc<Self> {
        let meta = plan::paging_paths(&table.endpoints[endpoint].pagination);
        let decoder = Decoder::new(table, &table.endpoints[endpoint], &plan.columns, &meta);
        Arc::new(Self {
            shared: Arc::clone(shared),
            table: Arc::clone(table),
            endpoint,
            plan,
            run: run.clone(),
            decoder,
            alternatives,
            answered: AtomicBool::new(false),
            divisor: AtomicUsize::new(1),
            held: Arc::default(),
            own,
        })
    }

    /// This scan, of part of its time range only; `None` where the vendor cannot be told both ends.
    pub(crate) fn narrowed(&self, column: usize, lower: Bound, upper: Bound) -> Option<Arc<Self>> {
        let name = self.table.columns[column].name.as_str();
        let mut constraints = self.plan.constraints.clone();
        constraints.add(name, Predicate::Lower(lower));
        constraints.add(name, Predicate::Upper(upper));
        let sort = self.plan.order.as_ref().filter(|order| self.endpoint().order.as_ref() != Some(order));
        let sort = sort.map(|order| SortKey {
            column: self.table.columns[order.column].name.clone(),
            descending: order.descending,
        });
        let request = ScanRequest { projection: self.plan.columns.clone(), constraints, sort, limit: None };
        let plan = plan::plan(self.shared.client.spec(), &self.table, self.endpoint(), &request);
        let sent = |end: char| plan.pushed.iter().any(|p| p.column == name && p.operator.starts_with(end));
        let same = plan.columns == self.plan.columns && plan.order == self.plan.order;
        (same && sent('>') && sent('<') && !plan.nothing)
            .then(|| Self::new(&self.shared, &self.table, self.endpoint, plan, &self.run, false, self.own))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.table.endpoints[self.endpoint]
    }

    pub(crate) fn source(&self) -> &str {
        &self.shared.client.spec().name
    }

    pub(crate) fn concurrency(&self) -> usize {
        self.shared.client.spec().limits.concurrency
    }

    /// The scan's batches: all columns of the plan.
    pub(crate) fn run(self: &Arc<Self>) -> Batches {
        enrich::enrich(Arc::clone(self), fan_out::walk_all(Arc::clone(self)))
    }

    pub(crate) fn error(&self, kind: ScanErrorKind, detail: impl Into<String>) -> ScanError {
        ScanError::new(self.source(), &self.table.name, kind, detail)
    }

    /// Tells the report what a reader of the answer should know.
    pub(crate) fn note(&self) {
        if !self.own {
            return;
        }
        let endpoint = self.endpoint();
        if let Some(from) = &endpoint.derived_from {
            self.run.stats.note(format!("derived from {from}"));
        }
        if self.endpoint > 0 {
            self.run.stats.note(format!("served by {}, an older generation of the API", endpoint.name));
        }
        for (column, note) in &endpoint.notes {
            if self.plan.columns.contains(column) {
                self.run.stats.note(note.clone());
            }
        }
    }

    /// Cuts a batch of the plan's columns to the query's projection.
    pub(crate) fn project(&self, batch: &RecordBatch, projection: &[usize]) -> Result<RecordBatch, ScanError> {
        let positions: Option<Vec<usize>> =
            projection.iter().map(|column| self.plan.columns.binary_search(column).ok()).collect();
        positions.and_then(|positions| batch.project(&positions).ok()).ok_or_else(|| {
            self.error(ScanErrorKind::Malformed, "the projection names a column the table does not have")
        })
    }

    /// Fills a template of this table from a listing's keys (escaped for a path where `in_path`).
    fn fill(&self, template: &Template<Slot>, listing: &Listing, in_path: bool) -> Result<String, ScanError> {
        let mut out = String::new();
        for part in &template.0 {
            let value = match part {
                Part::Literal(text) => {
                    out.push_str(text);
                    continue;
                }
                Part::Slot(slot) => self.slot(slot, listing)?,
            };
            if in_path {
                out.push_str(&self.path_part(&value).map_err(|error| match part {
                    Part::Slot(Slot::Column(index)) => {
                        let column = &self.table.columns[*index].name;
                        error.hint(format!("leave it out with AND {column} <> '{}'", value.replace('\'', "''")))
                    }
                    _ => error,
                })?);
            } else {
                out.push_str(&value);
            }
        }
        Ok(out)
    }

    /// What stands for a placeholder in a request for a page of `listing`.
    fn slot(&self, slot: &Slot, listing: &Listing) -> Result<String, ScanError> {
        let found = match slot {
            Slot::Input(index) => Some(self.shared.client.input(*index).to_owned()),
            Slot::Now(style) => plan::time_text(self.run.query.now.timestamp_micros(), *style),
            Slot::Column(index) => listing.constants.get(index).and_then(plan::text),
        };
        found.ok_or_else(|| {
            let name = match slot {
                Slot::Column(index) => self.table.columns[*index].name.as_str(),
                _ => "now",
            };
            self.error(ScanErrorKind::MissingKey, format!("`{name}` has no value"))
        })
    }

    pub(crate) fn path_part(&self, value: &str) -> Result<String, ScanError> {
        path_part(value).map_err(|NotAPathPart(value)| {
            self.error(ScanErrorKind::BadRequest, format!("the key `{value}` cannot be part of a path"))
        })
    }

    /// What a request for a page of `listing` is, before it is a URL.
    pub(crate) fn target(&self, listing: &Listing, place: &Place) -> Result<Target, ScanError> {
        let endpoint = self.endpoint();
        let path = self.fill(&endpoint.path, listing, true)?;
        let mut params = self.plan.params.clone();
        for (name, template) in endpoint.params.iter().filter(|(_, t)| t.slots().next().is_some()) {
            // The time of the request stands in for a bound that the query does not have.
            let is_now = template.slots().all(|slot| matches!(slot, Slot::Now(_)));
            if !(is_now && params.iter().any(|(sent, _)| sent == name)) {
                plan::override_params(&mut params, vec![(name.clone(), self.fill(template, listing, false)?)]);
            }
        }
        plan::override_params(&mut params, listing.params.clone());
        let divisor = self.divisor.load(Ordering::Relaxed);
        if let (Some(size), Some(rows), 2..) = (&endpoint.page_size, self.plan.page_size, divisor) {
            plan::override_params(&mut params, vec![(size.param.clone(), (rows / divisor).max(1).to_string())]);
        }
        let conditions: Vec<&str> =
            listing.conditions.iter().chain(&self.plan.conditions).map(String::as_str).collect();
        if let (Some(language), false) = (&endpoint.conditions, conditions.is_empty()) {
            params.push((language.param.clone(), format!("[{}]", conditions.join(","))));
        }
        match (&endpoint.pagination, place) {
            (Pagination::Page { param, start, .. }, Place::First) => params.push((param.clone(), start.to_string())),
            (Pagination::Page { param, .. }, Place::Page(number)) => params.push((param.clone(), number.to_string())),
            (Pagination::Offset { param, .. }, Place::Offset(rows)) => params.push((param.clone(), rows.to_string())),
            (Pagination::Cursor { param, .. }, Place::Cursor(cursor)) => params.push((param.clone(), cursor.clone())),
            _ => {}
        }
        plan::body::target(&self.table, endpoint, &self.plan.columns, path, params, &mut |slot| {
            self.slot(slot, listing)
        })
    }

    /// The URL of a page, and what is posted there. A URL that the vendor gave must be its own.
    fn outgoing(&self, listing: &Listing, place: &Place) -> Result<(SafeUrl, Option<bytes::Bytes>), ScanError> {
        let base = self.shared.client.base(&self.table.name)?;
        if let Place::Url(url) = place {
            if !SafeUrl::new(base.clone()).same_origin(url) {
                let error = self.error(
                    ScanErrorKind::Malformed,
                    format!("the next page is said to be at another host ({})", url.host_str().unwrap_or("none")),
                );
                return Err(error.hint("credentials are sent to the configured host only"));
            }
            let body = if self.endpoint().post { self.target(listing, &Place::First)?.posted() } else { None };
            return Ok((SafeUrl::new(self.shared.client.without_credential(url)), body));
        }
        let target = self.target(listing, place)?;
        Ok((target.url(base), target.posted()))
    }

    /// Fetches one page; a smaller one when it is too large, where the next place does not depend on the size.
    pub(crate) async fn fetch(&self, listing: &Listing, place: &Place, number: usize) -> Result<Page, Failure> {
        loop {
            let divisor = self.divisor.load(Ordering::Relaxed);
            let divisible = matches!(self.endpoint().pagination, Pagination::Cursor { .. })
                && self.plan.page_size.is_some_and(|rows| rows > divisor);
            match self.fetch_once(listing, place, number).await {
                Err(Failure::TooLarge(_)) if divisible => self.divisor.store(divisor * 4, Ordering::Relaxed),
                outcome => return outcome,
            }
        }
    }

    /// Fetches one page. `number` is only for messages.
    async fn fetch_once(&self, listing: &Listing, place: &Place, number: usize) -> Result<Page, Failure> {
        let (url, body) = self.outgoing(listing, place)?;
        let undecided = self.alternatives && !self.answered.load(Ordering::Relaxed);
        let ask = Ask {
            run: &self.run,
            table: &self.table.name,
            absent: if undecided { &self.endpoint().absent } else { &[] },
            probing: undecided,
            body: body.as_ref(),
            held: Some(&self.held),
        };
        let read = |body: &bytes::Bytes| self.decoder.decode(body, &listing.constants);
        let answer = self.shared.client.get(&url, ask, read).await.map_err(|failure| match failure {
            Failure::Error(mut error) if error.kind == ScanErrorKind::Malformed => {
                error.detail = format!("page {number}: {}", error.detail);
                Failure::Error(error)
            }
            other => other,
        })?;
        self.answered.store(true, Ordering::Relaxed);
        let check_results = matches!(self.endpoint().pagination, Pagination::Link { check_results: true });
        let links = Links::read(&answer.headers, url.expose(), check_results);
        let Decoded { batch, rows, meta } = answer.value;
        self.run.stats.add_page(if self.own { rows } else { 0 });
        Ok(Page { batch, rows, meta, links })
    }

    /// Starts fetching a page now; dropping the handle aborts it.
    pub(crate) fn spawn(self: &Arc<Self>, listing: &Arc<Listing>, place: Place, number: usize) -> Pending {
        let (job, listing) = (Arc::clone(self), Arc::clone(listing));
        let under_way = Held::start(&self.held);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let page = job.fetch(&listing, &place, number).await;
            drop(under_way);
            page
        }))
    }

    /// Waits for a page that was started.
    pub(crate) async fn join(&self, pending: Pending) -> Result<Page, Failure> {
        self.joined(pending.await)
    }

    /// What became of a page that was started.
    pub(crate) fn joined(&self, outcome: Result<Result<Page, Failure>, JoinError>) -> Result<Page, Failure> {
        match outcome {
            Ok(page) => page,
            Err(error) => {
                Err(self.error(ScanErrorKind::Malformed, format!("reading a page broke off: {error}")).into())
            }
        }
    }
}

/// A page being fetched.
pub(crate) type Pending = AbortOnDropHandle<Result<Page, Failure>>;
