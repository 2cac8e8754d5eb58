//! The scan contract: what a remote table must offer, and what it is asked for.
//!
//! Owns: [`RemoteTable`] and the plain-data types around it. Does not own: how a table talks to its vendor
//! (connectors), nor the plan node that drives a scan (`scan.rs`).
//!
//! Must hold: [`RemoteTable::shape`] and [`RemoteTable::describe`] are pure functions of their arguments and send
//! nothing; only [`RemoteTable::scan`]'s stream, when polled, does.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::scalar::ScalarValue;
use futures::stream::BoxStream;

use crate::constraint::Constraints;
use crate::context::QueryContext;
use crate::error::ScanError;
use crate::report::ScanStats;

/// Typed rows of a scan, page by page, in the order the scan promised.
pub type PageStream = BoxStream<'static, Result<RecordBatch, ScanError>>;

/// A column and a direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SortKey {
    /// Column name.
    pub column: String,
    /// Newest or largest first.
    pub descending: bool,
}

impl fmt::Display for SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.column, if self.descending { "DESC" } else { "ASC" })
    }
}

/// A comparison a column can push to its vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `=`
    Equal,
    /// `IN (…)` in one request.
    In,
    /// `<>`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `LIKE`
    Like,
    /// `ILIKE`
    ILike,
}

impl Operator {
    /// The operator as written in SQL.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::In => "IN",
            Self::NotEqual => "<>",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Like => "LIKE",
            Self::ILike => "ILIKE",
        }
    }
}

/// One predicate that a table can hand to its vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterCapability {
    /// SQL column.
    pub column: String,
    /// Operator understood.
    pub operator: Operator,
    /// The vendor's parameter (or path part) it becomes.
    pub parameter: String,
    /// Whether the vendor returns exactly the matching rows (else: a superset, filtered again here).
    pub exact: bool,
}

/// A group of columns of which the table needs values before it can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredKey {
    /// The alternatives: `all_of` when one entry must be complete; several entries mean any of them suffices.
    pub any_of: Vec<Vec<String>>,
}

/// What a remote table can do, fixed at load time. Shown in `tripline.filters` and `tripline.tables`.
#[derive(Debug, Clone, Default)]
pub struct Capabilities {
    /// Predicates the vendor understands.
    pub filters: Vec<FilterCapability>,
    /// Keys that must be pinned by the query.
    pub required: Vec<RequiredKey>,
    /// Orders the vendor can produce on demand.
    pub sorts: Vec<SortKey>,
    /// The order rows come in when nothing is asked.
    pub natural_order: Option<SortKey>,
    /// Largest page, rows.
    pub max_page_size: usize,
    /// One line for people and agents: what the table holds and how to ask for it cheaply.
    pub guide: String,
    /// What a row is, in a sentence.
    pub description: String,
    /// Columns that together identify a row.
    pub primary_key: Vec<String>,
    /// Columns whose values pick what is listed (path parts, fan-out keys); they are NULL or repeated in every row.
    pub keys: Vec<String>,
    /// Columns that the source marks as content (inputs and outputs of models); never kept at rest.
    pub content: Vec<String>,
    /// How many values of a column one request may ask for, by column; one where it is not said.
    pub values_per_request: std::collections::BTreeMap<String, usize>,
    /// Columns that cost further requests.
    pub costly: Vec<String>,
    /// Those of them that cost one per row. `*` leaves them out; they are fetched where they are named.
    pub per_row: Vec<String>,
    /// Times that never exceed others, as (smaller, larger): a lower bound on the smaller is one on the larger.
    pub at_most: Vec<(String, String)>,
    /// What columns hold, by name. Not in the schema, whose copies travel with every batch.
    pub columns: std::collections::BTreeMap<String, String>,
}

/// What a scan under given constraints would look like, before anything is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanShape {
    /// The order the rows will come in, if one is certain under these constraints.
    pub order: Option<SortKey>,
    /// Orders that can be asked for under these constraints.
    pub sorts: Vec<SortKey>,
    /// Required keys that the constraints do not pin; the scan cannot run while any is left.
    pub missing: Vec<MissingKey>,
}

/// A required key that a query does not supply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingKey {
    /// Columns that would satisfy it (any of, each a set).
    pub any_of: Vec<Vec<String>>,
    /// A runnable query that supplies every required key of the table.
    pub example: String,
}

/// What one scan shall fetch: plain data, free of any process's state, so that it can be shown, compared and sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScanRequest {
    /// Indexes into the table's schema of the columns to decode, ascending. May be empty (`count(*)`).
    pub projection: Vec<usize>,
    /// What the query asks of the columns.
    pub constraints: Constraints,
    /// An order from [`ScanShape::sorts`] that the vendor shall produce.
    pub sort: Option<SortKey>,
    /// The consumer stops after this many rows *that satisfy the whole query*.
    pub limit: Option<usize>,
}

/// What one execution of a scan works with.
#[derive(Debug, Clone)]
pub struct ScanRun {
    /// The query this scan belongs to: deadline, cancellation, budget.
    pub query: Arc<QueryContext>,
    /// Where the scan writes what it did.
    pub stats: Arc<ScanStats>,
    /// What pages count against that a scan keeps while others come.
    pub memory: Arc<dyn MemoryPool>,
}

impl ScanRun {
    /// A scan that no SQL query started: its memory has no bound of its own.
    #[must_use]
    pub fn alone(query: Arc<QueryContext>, stats: Arc<ScanStats>) -> Self {
        Self { query, stats, memory: Arc::new(UnboundedMemoryPool::default()) }
    }
}

/// What a scan would send, for `EXPLAIN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPlan {
    /// One example request: `GET /path?query` with values filled in, no secrets.
    pub request: String,
    /// Requests: exact count or a bound, in words (`1`, `≤ 3`, `1 per page of 100`).
    pub requests: String,
    /// Predicates handed to the vendor, as `column op → parameter`, `~` marking inexact ones.
    pub pushed: Vec<String>,
}

/// A remote collection, served as a table.
pub trait RemoteTable: fmt::Debug + Send + Sync {
    /// The source (SQL schema) it belongs to.
    fn source(&self) -> &str;
    /// Its name within the source.
    fn name(&self) -> &str;
    /// Columns. Order columns and ids may be null: when reading, every vendor field is optional.
    fn schema(&self) -> SchemaRef;
    /// What it can push down.
    fn capabilities(&self) -> &Capabilities;
    /// What a scan under `constraints` would look like. Sends nothing.
    fn shape(&self, constraints: &Constraints) -> ScanShape;
    /// What a scan would send. Sends nothing.
    fn describe(&self, request: &ScanRequest) -> RequestPlan;
    /// Whether any row can have `value` in `column`; keys that none can have are not asked for by a join.
    fn can_have(&self, _column: &str, _value: &ScalarValue) -> bool {
        true
    }
    /// The rows: batches of the projected columns (in `request.projection` order) that may contain rows the
    /// constraints exclude, but lack none they include and repeat none. Nothing is sent before the first poll, and nothing after
    /// the stream is dropped or `run.query` is cancelled.
    fn scan(self: Arc<Self>, request: ScanRequest, run: ScanRun) -> PageStream;
}
