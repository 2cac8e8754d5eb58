//! A remote table with a local copy in front of it.
//!
//! Owns: [`CopiedTable`]: answering a scan from the copy after fetching what it lacks, and bringing the copy up to date
//! on demand. Must hold: what is fetched enters the copy in slices of whole ranges, newest first, so that a fetch that
//! breaks off keeps what it had; one fetch of a copy at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, TryStreamExt};

use super::route::{Kept, Missing, Route, Wanted, route};
use super::{CopyChange, CopyError, CopyId, CopyPolicy, CopyShape, CopyState, SharedCopyStore, TimeSpan};
use crate::constraint::{Bound, ColumnConstraint, Constraints, Predicate};
use crate::contract::{Capabilities, Operator, PageStream, RemoteTable, RequestPlan, ScanRequest, ScanRun, ScanShape};
use crate::error::{ScanError, ScanErrorKind};

/// The first slice of a range; the next ones are longer or shorter by how many rows it had.
const FIRST_SLICE: TimeDelta = TimeDelta::days(1);
const SHORTEST_SLICE: TimeDelta = TimeDelta::hours(1);
/// Below this many rows the next slice is twice as long.
const FEW_ROWS: usize = 20_000;
/// Above this many, half.
const MANY_ROWS: usize = 100_000;

/// Why a table cannot have a copy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{table} cannot have a local copy: {reason}")]
pub struct CopyRefusal {
    /// The table.
    pub table: String,
    /// What it lacks.
    pub reason: String,
}

/// A remote table, answered from its local copy where that is possible.
#[derive(Debug)]
pub struct CopiedTable {
    inner: Arc<dyn RemoteTable>,
    store: SharedCopyStore,
    policy: CopyPolicy,
    account: String,
    /// Positions of the kept columns in the inner table's schema, ascending.
    kept: Vec<usize>,
    shape: CopyShape,
    /// Name of the column that windows are about.
    time: String,
    /// Name of a column by which the source can be asked for what changed.
    changed: Option<String>,
    /// When this process last brought each copy up to date, by the clock when that was asked for.
    refreshed: Mutex<BTreeMap<CopyId, DateTime<Utc>>>,
}

impl CopiedTable {
    /// A table in front of `inner`; `account` stands for the base URL and account it is read with, without secrets.
    ///
    /// # Errors
    /// When `inner` has no primary key, or no time column that `policy` names or its capabilities tell.
    pub fn new(
        inner: Arc<dyn RemoteTable>,
        store: SharedCopyStore,
        policy: CopyPolicy,
        account: String,
    ) -> Result<Arc<Self>, CopyRefusal> {
        let refuse = |reason: String| CopyRefusal { table: format!("{}.{}", inner.source(), inner.name()), reason };
        let capabilities = inner.capabilities();
        let schema = inner.schema();
        let left_out = |name: &String| capabilities.content.contains(name) || capabilities.costly.contains(name);
        let kept: Vec<usize> = (0..schema.fields().len()).filter(|i| !left_out(schema.field(*i).name())).collect();
        let kept_schema = Arc::new(schema.project(&kept).map_err(|error| refuse(error.to_string()))?);
        let position = |name: &str| kept_schema.index_of(name).ok();
        let time = match &policy.time {
            Some(name) => name.clone(),
            None => time_column(capabilities)
                .ok_or_else(|| refuse("name the column that its windows are about, as `time`".to_owned()))?,
        };
        let is_time = |i: usize| matches!(kept_schema.field(i).data_type(), DataType::Timestamp(..));
        let time_position = position(&time)
            .filter(|i| is_time(*i))
            .ok_or_else(|| refuse(format!("`{time}` is not a time column of it")))?;
        let key: Option<Vec<usize>> = capabilities.primary_key.iter().map(|name| position(name)).collect();
        let key = key.filter(|key| !key.is_empty()).ok_or_else(|| refuse("it has no primary key".to_owned()))?;
        let changed = capabilities
            .filters
            .iter()
            .find(|f| f.column == "updated_at" && f.operator == Operator::GreaterEqual && f.column != time)
            .map(|f| f.column.clone());
        let shape = CopyShape { schema: kept_schema, time: time_position, key };
        let refreshed = Mutex::default();
        Ok(Arc::new(Self { store, policy, account, kept, shape, time, changed, inner, refreshed }))
    }

    /// Copies of this table among all of the store's, with the values they are pinned to.
    fn is_mine(&self, id: &CopyId) -> bool {
        id.source == self.inner.source() && id.table == self.inner.name() && id.account == self.account
    }

    /// Brings every copy of this table up to date, or reads `span` again. Returns what each covers afterwards.
    /// A table without required keys gets a copy if it has none.
    ///
    /// # Errors
    /// When the source fails, or the copy cannot be written.
    pub async fn sync(
        self: &Arc<Self>,
        span: Option<TimeSpan>,
        run: &ScanRun,
    ) -> Result<Vec<(CopyId, CopyState)>, ScanError> {
        let known = self.store.list().await.map_err(|error| self.broken(&error))?;
        let mut ids: Vec<CopyId> = known.into_iter().map(|(id, _)| id).filter(|id| self.is_mine(id)).collect();
        if ids.is_empty() && self.inner.capabilities().required.is_empty() {
            ids.push(self.id(Vec::new()));
        }
        let mut synced = Vec::new();
        for id in ids {
            let guard = self.store.lock(&id).await.map_err(|error| self.broken(&error))?;
            let state = self.store.state(&id, &self.shape).await.map_err(|error| self.broken(&error))?;
            let now = run.query.asked_at;
            let state = match (span, state.covered) {
                (Some(span), Some(covered)) => {
                    let span = TimeSpan { from: span.from.max(covered.from), until: span.until.min(covered.until) };
                    self.reread(&id, span, covered, run).await?
                }
                (_, None) => {
                    let missing = Missing { newer: Some(now - self.policy.window), older: None };
                    self.fetch(&id, state, missing, run).await?
                }
                (None, Some(covered)) => {
                    let missing = Missing { newer: Some(covered.until - self.policy.overlap), older: None };
                    self.fetch(&id, state, missing, run).await?
                }
            };
            drop(guard);
            synced.push((id, state));
        }
        Ok(synced)
    }

    fn id(&self, pinned: Vec<(String, String)>) -> CopyId {
        CopyId {
            source: self.inner.source().to_owned(),
            table: self.inner.name().to_owned(),
            account: self.account.clone(),
            pinned,
        }
    }

    fn broken(&self, error: &CopyError) -> ScanError {
        ScanError::new(self.inner.source(), self.inner.name(), ScanErrorKind::Unavailable, error.to_string())
            .hint("remove the copy's folder; it is fetched again")
    }

    /// The copy that could answer `request`, and the stretch of time it asks for; else why none can.
    fn asked(&self, request: &ScanRequest) -> Result<(CopyId, TimeSpan), &'static str> {
        let capabilities = self.inner.capabilities();
        if request.projection.iter().any(|column| self.kept.binary_search(column).is_err()) {
            return Err("it keeps no content and no column that costs calls per row");
        }
        let span = self.span_of(&request.constraints).ok_or("the query has no lower time bound")?;
        let promised = request.sort.clone().or_else(|| self.inner.shape(&request.constraints).order);
        if promised.is_some_and(|key| key.column != self.time) {
            return Err("it is not in the order that is asked for");
        }
        let mut pinned = Vec::new();
        for column in &capabilities.keys {
            let required = capabilities.required.iter().any(|key| key.any_of.iter().flatten().any(|c| c == column));
            match request.constraints.column(column).and_then(|c| c.values.as_deref()) {
                None => {}
                Some([value]) if required => pinned.push((column.clone(), value.to_string())),
                Some(_) => return Err("it is not of these keys"),
            }
        }
        Ok((self.id(pinned), span))
    }

    /// The stretch of time that a query asks for: what it says of the time column, else what follows from a lower bound
    /// on a time that never exceeds it (an issue first seen since Monday was also last seen since Monday).
    fn span_of(&self, constraints: &Constraints) -> Option<TimeSpan> {
        let of = |column: &str| constraints.column(column).and_then(span_of);
        let smaller = self.inner.capabilities().at_most.iter().filter(|(_, larger)| *larger == self.time);
        of(&self.time).or_else(|| {
            let from = smaller.filter_map(|(smaller, _)| of(smaller)).map(|span| span.from).max()?;
            let until = constraints.column(&self.time).and_then(until_of).unwrap_or(DateTime::<Utc>::MAX_UTC);
            Some(TimeSpan { from, until })
        })
    }

    /// Answers from the copy, `None` when the source is to be asked.
    async fn from_copy(self: Arc<Self>, request: &ScanRequest, run: &ScanRun) -> Result<Option<PageStream>, ScanError> {
        let (id, span) = match self.asked(request) {
            Ok(asked) => asked,
            Err(reason) => return self.decline(run, reason),
        };
        let (now, asked_at, freshness) = (run.query.now, run.query.asked_at, run.query.freshness);
        let limited = request.limit.is_some();
        let wanted = || Wanted { span, now, asked_at, freshness, limited, refreshed: self.refreshed(&id) };
        let kept = Kept { window: self.policy.window, overlap: self.policy.overlap, changes: self.changed.is_some() };
        let state = match self.store.state(&id, &self.shape).await {
            Ok(state) => state,
            Err(error) => return self.decline(run, &error.to_string()),
        };
        let state = match route(&state, kept, wanted()) {
            Route::Source(reason) => return self.decline(run, reason),
            Route::Copy(Missing { newer: None, older: None }) => state,
            Route::Copy(_) => {
                let (source, table) = (self.inner.source(), self.inner.name());
                let lock = self.store.lock(&id);
                let guard = match run.query.guard(source, table, "another fetch of the local copy", lock).await? {
                    Ok(guard) => guard,
                    Err(error) => return self.decline(run, &error.to_string()),
                };
                // Somebody else may have fetched it meanwhile.
                let state = self.store.state(&id, &self.shape).await.map_err(|error| self.broken(&error))?;
                let state = match route(&state, kept, wanted()) {
                    Route::Source(reason) => return self.decline(run, reason),
                    Route::Copy(Missing { newer: None, older: None }) => state,
                    Route::Copy(missing) => {
                        let before = state.covered;
                        match self.fetch(&id, state, missing, run).await {
                            Ok(state) => state,
                            Err(error) => self.as_it_is(&id, span, before, error, run).await?,
                        }
                    }
                };
                drop(guard);
                state
            }
        };
        let as_of = state.refreshed_at.unwrap_or(run.query.asked_at);
        run.stats.note(format!("read from the local copy as of {}", as_of.format("%F %T UTC")));
        let order = request.sort.clone().or_else(|| self.inner.shape(&request.constraints).order);
        let descending = order.is_none_or(|key| key.descending);
        let projection: Vec<usize> =
            request.projection.iter().filter_map(|column| self.kept.binary_search(column).ok()).collect();
        let rows = self.store.read(&id, &self.shape, span, projection, descending).await;
        let rows = rows.map_err(|error| self.broken(&error))?;
        Ok(Some(rows.map_err(move |error| self.broken(&error)).boxed()))
    }

    /// When this process last brought the copy `id` up to date.
    fn refreshed(&self, id: &CopyId) -> Option<DateTime<Utc>> {
        self.refreshed.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    /// The copy as it is, for a caller who takes an answer with stated gaps when the source fails with `error`. What it
    /// covered `before` says whether it has anything of `span`.
    async fn as_it_is(
        &self,
        id: &CopyId,
        span: TimeSpan,
        before: Option<TimeSpan>,
        error: ScanError,
        run: &ScanRun,
    ) -> Result<CopyState, ScanError> {
        let useful = before.is_some_and(|covered| covered.from < span.until && span.from < covered.until);
        if !run.query.partial || !useful || matches!(error.kind, ScanErrorKind::Cancelled | ScanErrorKind::Memory) {
            return Err(error);
        }
        let state = self.store.state(id, &self.shape).await.map_err(|error| self.broken(&error))?;
        // What was there may have been thrown away for a new beginning.
        let Some(covered) = state.covered else { return Err(error) };
        let as_of = state.refreshed_at.unwrap_or(covered.until);
        run.stats.set_gap(format!(
            "{error}. The rows are those of the local copy as of {}, which has {covered}",
            as_of.format("%F %T UTC")
        ));
        Ok(state)
    }

    fn decline(&self, run: &ScanRun, reason: &str) -> Result<Option<PageStream>, ScanError> {
        run.stats.note(format!("not from the local copy: {reason}"));
        Ok(None)
    }

    /// Fetches what is missing, newest first, and takes it in slice by slice.
    async fn fetch(
        &self,
        id: &CopyId,
        mut state: CopyState,
        missing: Missing,
        run: &ScanRun,
    ) -> Result<CopyState, ScanError> {
        let now = run.query.asked_at;
        if let Some(from) = missing.newer {
            // A copy that ends before what is missing is started anew.
            state = match state.covered.filter(|covered| covered.from <= from && from <= covered.until) {
                Some(covered) => {
                    if let Some(changed) = &self.changed {
                        self.take_changes(id, changed, from, run).await?;
                    }
                    let oldest = now - self.policy.window;
                    let covered = TimeSpan { from: covered.from.max(oldest), until: now.max(covered.until) };
                    self.slice(id, TimeSpan::since(from), covered, Some(now), run).await?.0
                }
                None => {
                    let first = from.max(now - FIRST_SLICE);
                    let covered = TimeSpan { from: first, until: now };
                    let (state, rows) = self.slice(id, TimeSpan::since(first), covered, Some(now), run).await?;
                    self.backwards(id, state, from, first, rows, run).await?
                }
            };
        }
        if let Some(older) = missing.older {
            let start = state.covered.map_or(older.until, |covered| covered.from);
            state = self.backwards(id, state, older.from, start, 0, run).await?;
        }
        Ok(state)
    }

    /// Extends the copy from `start` back to `oldest`; the slice before had `rows` rows.
    async fn backwards(
        &self,
        id: &CopyId,
        mut state: CopyState,
        oldest: DateTime<Utc>,
        start: DateTime<Utc>,
        mut rows: usize,
        run: &ScanRun,
    ) -> Result<CopyState, ScanError> {
        let (mut until, mut length) = (start, FIRST_SLICE);
        while until > oldest {
            length = match rows {
                ..FEW_ROWS => length * 2,
                MANY_ROWS.. => (length / 2).max(SHORTEST_SLICE),
                _ => length,
            };
            let from = (until - length).max(oldest);
            let covered = TimeSpan { from, until: state.covered.map_or(until, |covered| covered.until) };
            (state, rows) = self.slice(id, TimeSpan { from, until }, covered, None, run).await?;
            until = from;
        }
        Ok(state)
    }

    async fn reread(
        &self,
        id: &CopyId,
        span: TimeSpan,
        covered: TimeSpan,
        run: &ScanRun,
    ) -> Result<CopyState, ScanError> {
        Ok(self.slice(id, span, covered, None, run).await?.0)
    }

    /// Fetches one range and takes it in. Returns what the copy covers then, and how many rows the range had.
    async fn slice(
        &self,
        id: &CopyId,
        span: TimeSpan,
        covered: TimeSpan,
        refreshed_at: Option<DateTime<Utc>>,
        run: &ScanRun,
    ) -> Result<(CopyState, usize), ScanError> {
        let mut constraints = self.pins(id)?;
        self.bound(&mut constraints, span);
        let rows = self.rows(constraints, span, run).await?;
        let count = rows.iter().map(RecordBatch::num_rows).sum();
        let change = CopyChange { rows, replaces: Some(span), covered, refreshed_at };
        let state = self.store.apply(id, &self.shape, change).await.map_err(|error| self.broken(&error))?;
        if let Some(at) = refreshed_at {
            self.refreshed.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), at);
        }
        Ok((state, count))
    }

    /// Takes in rows that changed since shortly before `since`. They may be of any time: one whose time moved out of what
    /// the copy covers must leave it.
    async fn take_changes(
        &self,
        id: &CopyId,
        changed: &str,
        since: DateTime<Utc>,
        run: &ScanRun,
    ) -> Result<(), ScanError> {
        let mut constraints = self.pins(id)?;
        constraints.add(changed, Predicate::Lower(Bound { value: micros(since), inclusive: true }));
        let state = self.store.state(id, &self.shape).await.map_err(|error| self.broken(&error))?;
        let Some(covered) = state.covered else { return Ok(()) };
        let required = &self.inner.capabilities().required;
        let span = if required.iter().any(|key| key.any_of.iter().flatten().any(|column| *column == self.time)) {
            self.bound(&mut constraints, covered);
            covered
        } else {
            // What is newer is read again anyway.
            constraints.add(&self.time, Predicate::Upper(Bound { value: micros(since), inclusive: false }));
            TimeSpan { from: DateTime::<Utc>::MIN_UTC, until: since }
        };
        let rows = self.rows(constraints, span, run).await?;
        let change = CopyChange { rows, replaces: None, covered, refreshed_at: state.refreshed_at };
        self.store.apply(id, &self.shape, change).await.map(|_| ()).map_err(|error| self.broken(&error))
    }

    /// The required keys that the copy is of.
    fn pins(&self, id: &CopyId) -> Result<Constraints, ScanError> {
        let mut constraints = Constraints::none();
        for (column, text) in &id.pinned {
            let kind = self.inner.schema().field_with_name(column).map(|field| field.data_type().clone());
            let value = kind.map_err(Into::into).and_then(|kind| ScalarValue::try_from_string(text.clone(), &kind));
            let value = value.map_err(|error| {
                ScanError::new(&id.source, &id.table, ScanErrorKind::Malformed, format!("the key {column}: {error}"))
            })?;
            constraints.add(column, Predicate::In(vec![value]));
        }
        Ok(constraints)
    }

    fn bound(&self, constraints: &mut Constraints, span: TimeSpan) {
        constraints.add(&self.time, Predicate::Lower(Bound { value: micros(span.from), inclusive: true }));
        if span.until < DateTime::<Utc>::MAX_UTC {
            constraints.add(&self.time, Predicate::Upper(Bound { value: micros(span.until), inclusive: false }));
        }
    }

    /// All rows of the source within `span`.
    async fn rows(
        &self,
        constraints: Constraints,
        span: TimeSpan,
        run: &ScanRun,
    ) -> Result<Vec<RecordBatch>, ScanError> {
        let request = ScanRequest { projection: self.kept.clone(), constraints, sort: None, limit: None };
        let mut pages = Arc::clone(&self.inner).scan(request, run.clone());
        let mut rows = Vec::new();
        let (source, table) = (self.inner.source(), self.inner.name());
        while let Some(page) = run.query.guard(source, table, "the next page", pages.try_next()).await?? {
            let page = self.within(&page, span)?;
            if page.num_rows() > 0 {
                rows.push(page);
            }
        }
        if let Some(gap) = run.stats.gap() {
            return Err(ScanError::new(source, table, ScanErrorKind::Incomplete, gap)
                .hint("a local copy takes in only complete answers: ask again, or with a freshness that accepts it"));
        }
        Ok(rows)
    }

    /// The rows of `page` in `span`: a source may send more than it was asked for.
    fn within(&self, page: &RecordBatch, span: TimeSpan) -> Result<RecordBatch, ScanError> {
        let malformed =
            |detail: String| ScanError::new(self.inner.source(), self.inner.name(), ScanErrorKind::Malformed, detail);
        let times = page
            .column(self.shape.time)
            .as_any()
            .downcast_ref::<TimestampMicrosecondArray>()
            .ok_or_else(|| malformed(format!("{} is not in microseconds", self.time)))?;
        let (from, until) = (span.from.timestamp_micros(), span.until.timestamp_micros());
        let inside: BooleanArray = times.iter().map(|at| Some(at.is_some_and(|at| from <= at && at < until))).collect();
        if inside.true_count() == page.num_rows() && inside.null_count() == 0 {
            return Ok(page.clone());
        }
        filter_record_batch(page, &inside).map_err(|error| malformed(error.to_string()))
    }
}

impl RemoteTable for CopiedTable {
    fn source(&self) -> &str {
        self.inner.source()
    }
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }
    fn shape(&self, constraints: &Constraints) -> ScanShape {
        self.inner.shape(constraints)
    }
    fn describe(&self, request: &ScanRequest) -> RequestPlan {
        let mut plan = self.inner.describe(request);
        if self.asked(request).is_ok() {
            plan.requests = format!("{}, only for what the local copy lacks", plan.requests);
        }
        plan
    }
    fn can_have(&self, column: &str, value: &ScalarValue) -> bool {
        self.inner.can_have(column, value)
    }
    fn scan(self: Arc<Self>, request: ScanRequest, run: ScanRun) -> PageStream {
        let answer = async move {
            match Arc::clone(&self).from_copy(&request, &run).await? {
                Some(rows) => Ok::<_, ScanError>(rows),
                None => Ok(Arc::clone(&self.inner).scan(request, run)),
            }
        };
        futures::stream::once(answer).try_flatten().boxed()
    }
}

/// The column of the natural order, if the source can be asked for its ranges; else the only one that can.
fn time_column(capabilities: &Capabilities) -> Option<String> {
    let mut ranged: Vec<&str> = capabilities
        .filters
        .iter()
        .filter(|filter| filter.operator == Operator::GreaterEqual)
        .map(|filter| filter.column.as_str())
        .collect();
    ranged.dedup();
    let natural = capabilities.natural_order.as_ref().map(|order| order.column.as_str());
    match (natural, ranged.as_slice()) {
        (Some(natural), _) => Some(natural.to_owned()),
        (None, [only]) => Some((*only).to_owned()),
        _ => None,
    }
}

fn micros(at: DateTime<Utc>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), Some("UTC".into()))
}

/// The stretch of time that a constraint allows, if it has a beginning.
fn span_of(constraint: &ColumnConstraint) -> Option<TimeSpan> {
    if constraint.values.is_some() {
        return None;
    }
    let lower = constraint.lower.as_ref()?;
    let from = instant(lower, !lower.inclusive)?;
    let until = if constraint.upper.is_some() { until_of(constraint)? } else { DateTime::<Utc>::MAX_UTC };
    Some(TimeSpan { from, until })
}

/// The first moment after what a constraint allows, if it has an end.
fn until_of(constraint: &ColumnConstraint) -> Option<DateTime<Utc>> {
    let upper = constraint.upper.as_ref()?;
    instant(upper, upper.inclusive)
}

/// A bound, or the moment after it.
fn instant(bound: &Bound, after: bool) -> Option<DateTime<Utc>> {
    match bound.value {
        ScalarValue::TimestampMicrosecond(Some(at), _) => {
            DateTime::from_timestamp_micros(at.saturating_add(i64::from(after)))
        }
        _ => None,
    }
}
