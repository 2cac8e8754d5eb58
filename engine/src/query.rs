//! Running one query: from text to a stream of batches and a completeness report.
//!
//! Owns: the statement gate (read-only, one statement), planning under the injected clock, deadlines, row caps and
//! cancellation. The stream owns its query: dropping it cancels every request at once.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::common::tree_node::TreeNode;
use datafusion::config::SqlParserOptions;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::{QueryPlanner, SQLOptions, SessionState};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::columns;
use crate::context::QueryContext;
use crate::dialect;
use crate::error::EngineError;
use crate::params::{self, Params};
use crate::report::{CompletenessReport, ReportBuilder, ScanReport};
use crate::session::{Engine, InputTable};
use crate::settings::{self, Last, Settings};
use crate::wildcard::leave_out_per_row;

/// How one query shall run.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    /// Values for `$name` placeholders.
    pub params: Params,
    /// Tables of this query alone, in schema `input`.
    pub input: Vec<InputTable>,
    /// What `now()` is; the engine's clock when absent.
    pub now: Option<DateTime<Utc>>,
    /// Wall time the query may take, waiting for vendors included.
    pub timeout: Duration,
    /// HTTP requests the query may send.
    pub max_requests: u64,
    /// Rows returned at most; more is a truncation stated in the report.
    pub max_rows: Option<usize>,
    /// Whether an answer with gaps is wanted rather than an error: a source that fails, or is not done at the deadline,
    /// then ends early, and the report says what is missing. Every output must show its warnings.
    pub partial: bool,
    /// How old an answer from a local copy may be.
    pub freshness: Duration,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            params: Params::new(),
            input: Vec::new(),
            now: None,
            timeout: Duration::from_secs(120),
            max_requests: 10_000,
            max_rows: None,
            partial: false,
            freshness: Duration::ZERO,
        }
    }
}

impl QueryOptions {
    /// Options with these parameters and defaults otherwise.
    #[must_use]
    pub fn with_params(params: Params) -> Self {
        Self { params, ..Self::default() }
    }
}

/// A running query.
pub struct QueryStream {
    stream: SendableRecordBatchStream,
    schema: SchemaRef,
    /// Whether batches come under other names than `schema` has, and what of that a reader should know.
    renamed: Option<Vec<String>>,
    query: Arc<QueryContext>,
    started: Instant,
    rows: u64,
    rows_left: Option<usize>,
    truncated: bool,
    _cancel_on_drop: DropGuard,
}

impl std::fmt::Debug for QueryStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryStream").field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// A finished query.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// Columns.
    pub schema: SchemaRef,
    /// All rows.
    pub batches: Vec<RecordBatch>,
    /// What it took, and whether it is all.
    pub report: CompletenessReport,
}

impl QueryStream {
    /// Columns of the result, each with a name of its own: what follows the first of a name is called `name_1`, `name_2`.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// A handle for watching progress while the query runs.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { report: Arc::clone(&self.query.report) }
    }

    /// A token that stops the query from elsewhere.
    #[must_use]
    pub fn cancellation(&self) -> CancellationToken {
        self.query.cancel.clone()
    }

    /// The next batch, `None` at the end.
    ///
    /// # Errors
    /// The first failure of any source or operator; the answer is then incomplete and must not be used as one.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, EngineError> {
        loop {
            if self.truncated {
                return Ok(None);
            }
            let next = tokio::select! {
                biased;
                () = self.query.cancel.cancelled() => return Err(EngineError::Cancelled),
                // Scans report the deadline themselves, naming what they wait for; local work gets this.
                () = tokio::time::sleep_until(self.query.deadline + self.grace()) => {
                    return Err(EngineError::Deadline(self.query.timeout));
                }
                next = std::panic::AssertUnwindSafe(self.stream.next()).catch_unwind() => next,
            };
            let next = next.map_err(|_| EngineError::Execution("the query failed inside the engine".to_owned()))?;
            let Some(batch) = next else { return Ok(None) };
            let mut batch = batch.map_err(EngineError::from)?;
            if let Some(left) = self.rows_left {
                if batch.num_rows() > left {
                    batch = batch.slice(0, left);
                    self.truncated = true;
                }
                self.rows_left = Some(left - batch.num_rows());
            }
            if batch.num_rows() == 0 {
                continue;
            }
            self.rows += batch.num_rows() as u64;
            if self.renamed.is_some() {
                let named = columns::renamed(&batch, &self.schema);
                batch = named.map_err(|error| EngineError::Execution(error.to_string()))?;
            }
            return Ok(Some(batch));
        }
    }

    /// How long local work may go on after the deadline. Where gaps are allowed, the scans end at the deadline and what
    /// came until then is still to be joined and sorted.
    fn grace(&self) -> Duration {
        if self.query.partial { Duration::from_secs(5) } else { Duration::from_millis(50) }
    }

    /// What the query did so far.
    #[must_use]
    pub fn report(&self) -> CompletenessReport {
        let mut report = self.query.report.finish(self.rows, self.truncated, self.started.elapsed());
        report.notes.extend(self.renamed.iter().flatten().cloned());
        report
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// As [`QueryStream::next`].
    pub async fn collect(mut self) -> Result<QueryResult, EngineError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(QueryResult { schema: self.schema(), report: self.report(), batches })
    }
}

/// Watches a running query.
#[derive(Debug, Clone)]
pub struct Progress {
    report: Arc<ReportBuilder>,
}

impl Progress {
    /// What each scan did so far.
    #[must_use]
    pub fn scans(&self) -> Vec<ScanReport> {
        self.report.scans()
    }
}

/// Whether the answer may depend on the order of rows: all that sorts, cuts, groups, joins or looks at neighbours may make
/// use of the order a source promises.
fn order_matters(plan: &LogicalPlan) -> bool {
    let indifferent = match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Values(_) => true,
        LogicalPlan::Aggregate(aggregate) => {
            let ordered = |expr: &Expr| {
                expr.exists(|e| Ok(matches!(e, Expr::AggregateFunction(f) if !f.params.order_by.is_empty())))
            };
            aggregate.group_expr.is_empty() && !aggregate.aggr_expr.iter().any(|expr| ordered(expr).unwrap_or(true))
        }
        _ => false,
    };
    let subquery =
        |expr: &Expr| expr.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))));
    !indifferent
        || plan.expressions().iter().any(|expr| subquery(expr).unwrap_or(true))
        || plan.inputs().into_iter().any(order_matters)
}

/// The word of a statement that writes rows. What its rows and columns are need not be understood to refuse it.
fn writes(statement: &Statement) -> Option<&'static str> {
    match statement {
        Statement::Statement(statement) => match statement.as_ref() {
            ast::Statement::Insert(_) => Some("INSERT"),
            ast::Statement::Update(_) => Some("UPDATE"),
            ast::Statement::Delete(_) => Some("DELETE"),
            ast::Statement::Merge(_) => Some("MERGE"),
            ast::Statement::Truncate(_) => Some("TRUNCATE"),
            _ => None,
        },
        Statement::CopyTo(_) => Some("COPY"),
        Statement::Explain(explain) => writes(&explain.statement),
        _ => None,
    }
}

/// Whether a text is SQL, without looking at any table.
///
/// # Errors
/// [`EngineError::Query`] with line and column.
pub fn check_syntax(sql: &str) -> Result<(), EngineError> {
    dialect::parse(sql, &SqlParserOptions::default()).map(|_| ())
}

impl Engine {
    /// Plans `sql` and starts it. Nothing is sent to any source before the stream is polled. `SET tripline.…` may stand
    /// before the query and holds for it alone.
    ///
    /// # Errors
    /// [`EngineError::Query`] and [`EngineError::ReadOnly`] for the text, [`EngineError::Source`] for a missing key.
    pub async fn query(&self, sql: &str, options: QueryOptions) -> Result<QueryStream, EngineError> {
        self.query_in(&mut Settings::default(), sql, options).await
    }

    /// As [`Engine::query`], in a session: what is `SET` stays set for its later queries. The answer of a text that ends
    /// with `SET`, `RESET` or `SHOW` is the values in question.
    ///
    /// # Errors
    /// As [`Engine::query`]; a text that is not understood changes no setting.
    pub async fn query_in(
        &self,
        settings: &mut Settings,
        sql: &str,
        options: QueryOptions,
    ) -> Result<QueryStream, EngineError> {
        let script = settings::read(self.parse(sql)?, settings, &options)?;
        *settings = script.settings;
        let options = settings.applied_to(options);
        match script.last {
            Last::Query(statement) => self.start(*statement, options).await,
            Last::Shown(table) => {
                let options = QueryOptions { params: Params::new(), input: vec![table], ..options };
                let mut statements = self.parse("SELECT name, value, description FROM input.settings")?;
                let statement = statements.pop_back();
                let statement = statement.ok_or_else(|| EngineError::Execution("no statement".to_owned()))?;
                self.start(statement, options).await
            }
        }
    }

    async fn start(&self, statement: Statement, options: QueryOptions) -> Result<QueryStream, EngineError> {
        let asked_at = self.clock().now();
        let now = options.now.unwrap_or(asked_at);
        let freshness = TimeDelta::from_std(options.freshness).unwrap_or(TimeDelta::MAX);
        let query = QueryContext::with_freshness(now, options.timeout, options.max_requests, freshness);
        let query = Arc::new(query.asked_at(asked_at).allowing_gaps(options.partial));
        let guard = query.cancel.clone().drop_guard();
        let started = Instant::now();

        let state = self.state_for(&query, &options.input)?;
        let logical = self.plan(&state, statement).await?;
        let logical = params::bind(logical, &options.params)?;
        if !order_matters(&logical) {
            query.set_unordered();
        }
        let state = self.sized_for(state, &logical);
        let physical = self.physical(&state, &logical).await?;
        let (schema, renamed) = match columns::distinct(&physical.schema()) {
            Some(renamed) => (renamed.schema, Some(renamed.notes)),
            None => (physical.schema(), None),
        };
        let stream = execute_stream(physical, state.task_ctx()).map_err(EngineError::from)?;
        Ok(QueryStream {
            stream,
            schema,
            renamed,
            query,
            started,
            rows: 0,
            rows_left: options.max_rows,
            truncated: false,
            _cancel_on_drop: guard,
        })
    }

    /// Plans, runs and collects `sql`.
    ///
    /// # Errors
    /// As [`Engine::query`] and [`QueryStream::next`].
    pub async fn collect(&self, sql: &str, options: QueryOptions) -> Result<QueryResult, EngineError> {
        self.query(sql, options).await?.collect().await
    }

    async fn plan(&self, state: &SessionState, mut statement: Statement) -> Result<LogicalPlan, EngineError> {
        if let Some(word) = writes(&statement) {
            return Err(EngineError::ReadOnly(format!("{word} changes something")));
        }
        leave_out_per_row(&mut statement, self.per_row());
        let plan = state.statement_to_plan(statement).await.map_err(|e| self.explain_names(e.into()))?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|e| EngineError::ReadOnly(e.strip_backtrace()))?;
        Ok(plan)
    }

    async fn physical(
        &self,
        state: &SessionState,
        logical: &LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>, EngineError> {
        // DataFusion turns an error of a physical rule inside EXPLAIN into a row of text: plan the inner statement
        // first, so that a missing key is the same error with and without EXPLAIN.
        if let LogicalPlan::Explain(explain) = logical {
            Box::pin(self.physical(state, &explain.plan)).await?;
        }
        let optimized = state.optimize(logical).map_err(EngineError::from)?;
        let planner: &Arc<dyn QueryPlanner + Send + Sync> = state.query_planner();
        planner.create_physical_plan(&optimized, state).await.map_err(EngineError::from)
    }
}
