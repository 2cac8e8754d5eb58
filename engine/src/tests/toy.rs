//! A remote table in memory: pages of integers with timestamps, newest first, that counts what is fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use futures::StreamExt;

use crate::params::timestamp_field;
use crate::{
    Capabilities, Constraints, Engine, EngineOptions, FilterCapability, ManualClock, MissingKey, Operator, PageStream,
    RemoteTable, RequestPlan, RequiredKey, ScanError, ScanErrorKind, ScanRequest, ScanRun, ScanShape, SortKey,
    SourceEntry,
};

pub(super) const PAGE: usize = 100;

/// The instant every test runs at.
pub(super) fn now() -> DateTime<Utc> {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// `pages` pages of 100 rows: id counts down, `at` is `now() - i` minutes, status cycles ok/ok/error.
#[derive(Debug)]
pub(super) struct Toy {
    name: String,
    pages: usize,
    delay: Duration,
    natural: Option<SortKey>,
    vendor_sorts: bool,
    key: Option<&'static str>,
    fail_at: Option<usize>,
    ranged: bool,
    capabilities: Capabilities,
    /// Pages fetched so far.
    pub(super) fetched: AtomicUsize,
    /// The widest projection decoded.
    pub(super) columns: AtomicUsize,
    /// The last limit and whether a sort was asked.
    pub(super) limit: AtomicU64,
    pub(super) sorted: AtomicBool,
}

impl Toy {
    pub(super) fn new(name: &str, pages: usize) -> Self {
        let capabilities = Capabilities {
            filters: vec![FilterCapability {
                column: "status".into(),
                operator: Operator::Equal,
                parameter: "status".into(),
                exact: false,
            }],
            max_page_size: PAGE,
            guide: "a toy".into(),
            description: "rows".into(),
            ..Capabilities::default()
        };
        Self {
            name: name.into(),
            pages,
            delay: Duration::ZERO,
            natural: None,
            vendor_sorts: false,
            key: None,
            fail_at: None,
            ranged: false,
            capabilities,
            fetched: AtomicUsize::new(0),
            columns: AtomicUsize::new(0),
            limit: AtomicU64::new(0),
            sorted: AtomicBool::new(false),
        }
    }
    pub(super) fn newest_first(mut self) -> Self {
        self.natural = Some(SortKey { column: "at".into(), descending: true });
        self
    }
    pub(super) fn sortable(mut self) -> Self {
        self.vendor_sorts = true;
        self
    }
    pub(super) fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
    pub(super) fn requiring(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self.capabilities.required = vec![RequiredKey { any_of: vec![vec![key.to_owned()]] }];
        self
    }
    pub(super) fn failing_at(mut self, page: usize) -> Self {
        self.fail_at = Some(page);
        self
    }
    /// Takes both ends of a range of `at`, and returns exactly the rows inside.
    pub(super) fn ranged(mut self) -> Self {
        self.ranged = true;
        for operator in [Operator::GreaterEqual, Operator::Less] {
            self.capabilities.filters.push(FilterCapability {
                column: "at".into(),
                operator,
                parameter: "range".into(),
                exact: true,
            });
        }
        self
    }
    /// The rows a vendor that takes ranges returns.
    fn rows(&self, constraints: &Constraints) -> Vec<i64> {
        let micros = |bound: Option<&crate::Bound>| match bound.map(|b| (&b.value, b.inclusive)) {
            Some((ScalarValue::TimestampMicrosecond(Some(us), _), inclusive)) => Some((*us, inclusive)),
            _ => None,
        };
        let range = constraints.column("at").filter(|_| self.ranged);
        let (low, high) = (micros(range.and_then(|c| c.lower.as_ref())), micros(range.and_then(|c| c.upper.as_ref())));
        let all = 0..i64::try_from(self.pages * PAGE).unwrap();
        all.filter(|i| {
            let at = at(*i);
            low.is_none_or(|(us, inclusive)| at > us || (inclusive && at == us))
                && high.is_none_or(|(us, inclusive)| at < us || (inclusive && at == us))
        })
        .collect()
    }
    pub(super) fn pages_fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        timestamp_field("at"),
        Field::new("status", DataType::Utf8, true),
        Field::new("owner", DataType::Utf8, true),
    ]))
}

/// When row `i` happened, microseconds.
fn at(i: i64) -> i64 {
    now().timestamp_micros() - i * 60_000_000
}

fn page(numbers: &[i64], projection: &[usize]) -> RecordBatch {
    let rows = || numbers.iter().copied();
    let columns: Vec<ArrayRef> = projection
        .iter()
        .map(|column| -> ArrayRef {
            match column {
                0 => Arc::new(Int64Array::from_iter_values(rows())),
                1 => Arc::new(TimestampMicrosecondArray::from_iter_values(rows().map(at)).with_timezone("UTC")),
                2 => Arc::new(StringArray::from_iter_values(rows().map(|i| if i % 3 == 2 { "error" } else { "ok" }))),
                _ => Arc::new(StringArray::from_iter_values(rows().map(|_| "me"))),
            }
        })
        .collect();
    let schema = Arc::new(schema().project(projection).unwrap());
    let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
    RecordBatch::try_new_with_options(schema, columns, &options).unwrap()
}

impl RemoteTable for Toy {
    fn source(&self) -> &'static str {
        "toy"
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn schema(&self) -> SchemaRef {
        schema()
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn shape(&self, constraints: &Constraints) -> ScanShape {
        let missing = self
            .key
            .filter(|key| constraints.values(key).is_none())
            .map(|key| MissingKey { any_of: vec![vec![key.to_owned()]], example: format!("WHERE {key} = 'me'") });
        let sorts = if self.vendor_sorts {
            vec![SortKey { column: "id".into(), descending: true }, SortKey { column: "at".into(), descending: true }]
        } else {
            Vec::new()
        };
        ScanShape { order: self.natural.clone(), sorts, missing: missing.into_iter().collect() }
    }
    fn describe(&self, request: &ScanRequest) -> RequestPlan {
        RequestPlan {
            request: format!("GET /{}", self.name),
            requests: request
                .limit
                .map_or_else(|| format!("{}", self.pages), |limit| format!("≤ {}", limit.div_ceil(PAGE))),
            pushed: request.constraints.values("status").map(|_| "status = → status~".to_owned()).into_iter().collect(),
        }
    }
    fn scan(self: Arc<Self>, request: ScanRequest, run: ScanRun) -> PageStream {
        self.columns.fetch_max(request.projection.len(), Ordering::SeqCst);
        self.limit.store(request.limit.unwrap_or(0) as u64, Ordering::SeqCst);
        self.sorted.store(request.sort.is_some(), Ordering::SeqCst);
        let rows = self.rows(&request.constraints);
        let mut pages: Vec<Vec<i64>> = rows.chunks(PAGE).map(<[i64]>::to_vec).collect();
        if pages.is_empty() {
            // That there is nothing is known only once it was asked.
            pages.push(Vec::new());
        }
        futures::stream::iter(pages.into_iter().enumerate())
            .then(move |(number, rows)| {
                let (toy, run, projection) = (Arc::clone(&self), run.clone(), request.projection.clone());
                async move {
                    run.query.spend_request("toy", &toy.name)?;
                    run.stats.add_request();
                    toy.fetched.fetch_add(1, Ordering::SeqCst);
                    if !toy.delay.is_zero() {
                        tokio::time::sleep(toy.delay).await;
                    }
                    if toy.fail_at == Some(number) {
                        return Err(ScanError::new("toy", &toy.name, ScanErrorKind::Unavailable, "boom").status(503));
                    }
                    run.stats.add_page(rows.len());
                    Ok(page(&rows, &projection))
                }
            })
            .boxed()
    }
}

/// An engine over these tables in schema `toy`.
pub(super) fn engine(tables: &[Arc<Toy>]) -> Engine {
    let tables: Vec<Arc<dyn RemoteTable>> = tables.iter().map(|t| Arc::clone(t) as Arc<dyn RemoteTable>).collect();
    let source = SourceEntry {
        name: "toy".into(),
        description: "a toy".into(),
        status: "configured".into(),
        base_url: "memory".into(),
        tables,
    };
    Engine::new(ManualClock::at(now()), EngineOptions::default(), &[source], Vec::new()).unwrap()
}
