use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, Int64Type};
use chrono::{DateTime, Utc};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use tripline_engine::{
    Bound, Constraints, Engine, EngineError, EngineOptions, Environment, LikePattern, ManualClock, PageStream,
    Predicate, QueryContext, QueryOptions, QueryResult, ScanError, ScanReport, ScanRequest, ScanRun, SourceEntry,
};

use super::toy::{InProcess, Toy};
use crate::catalog::{ConnectorOptions, Connectors, Source};
use crate::http::Transport;

/// A toy vendor, a source over it, and one query's context.
pub(crate) struct World {
    pub(crate) toy: Arc<Toy>,
    pub(crate) connectors: Connectors,
    pub(crate) timeout: Duration,
    pub(crate) budget: u64,
    /// Keeps the user's specs and the cache alive.
    pub(crate) dir: tempfile::TempDir,
}

/// Every variable the bundled specs need.
pub(crate) fn environment() -> Environment {
    Environment::of([
        ("LANGFUSE_BASE_URL", "http://toy/langfuse"),
        ("LANGFUSE_PUBLIC_KEY", "pk-lf-public"),
        ("LANGFUSE_SECRET_KEY", "sk-lf-hunter2-secret"),
        ("SENTRY_BASE_URL", "http://toy/sentry"),
        ("SENTRY_TOKEN", "sntrys-hunter2-secret"),
        ("SENTRY_ORG", "acme"),
        ("GITHUB_API_URL", "http://toy/github"),
        ("GITHUB_TOKEN", "ghp-hunter2-secret"),
        ("SLACK_API_URL", "http://toy/slack"),
        ("SLACK_TOKEN", "xoxp-hunter2-secret"),
        ("DATADOG_API_URL", "http://toy/datadog"),
        ("DD_API_KEY", "dd-api-hunter2-secret"),
        ("DD_APP_KEY", "dd-app-hunter2-secret"),
        ("PAGERDUTY_API_URL", "http://toy/pagerduty"),
        ("PAGERDUTY_TOKEN", "pd-hunter2-secret"),
        ("LINEAR_API_URL", "http://toy/linear"),
        ("LINEAR_API_KEY", "lin-hunter2-secret"),
        ("TOY_URL", "http://toy"),
        ("TOY_TOKEN", "toy-hunter2-secret"),
    ])
}

/// 2026-11-20T12:00:00Z.
pub(crate) fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_795_176_000_000_000).unwrap()
}

impl World {
    /// The bundled sources over `toy`.
    pub(crate) fn bundled(toy: Arc<Toy>) -> Self {
        Self::with(toy, &[], &environment())
    }

    /// The bundled sources and one more, called `toy`, over `toy`.
    pub(crate) fn spec(toy: Arc<Toy>, yaml: &str) -> Self {
        Self::with(toy, &[("toy.yaml", yaml)], &environment())
    }

    pub(crate) fn with(toy: Arc<Toy>, files: &[(&str, &str)], environment: &Environment) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let connectors = load(&toy, dir.path(), environment);
        assert!(connectors.problems().is_empty(), "{}", connectors.problems()[0]);
        Self { toy, connectors, timeout: Duration::from_secs(60), budget: 10_000, dir }
    }

    /// The same files and cache in a new process.
    pub(crate) fn restart(&mut self) {
        self.connectors = load(&self.toy, self.dir.path(), &environment());
    }

    /// Starts a scan.
    pub(crate) fn scan(&self, table: &str, request: ScanRequest) -> (PageStream, ScanRun) {
        let (source, table) = table.split_once('.').unwrap();
        let query = QueryContext::new(noon(), self.timeout, self.budget);
        let stats = query.report.scan(source, table);
        let run = ScanRun::alone(query, stats);
        let table = self.connectors.source(source).unwrap().table(table).unwrap();
        (table.scan(request, run.clone()), run)
    }

    /// Runs a scan to its end, or until its limit is reached as the engine would.
    pub(crate) async fn run(&self, table: &str, request: ScanRequest) -> Result<(RecordBatch, ScanReport), ScanError> {
        let limit = request.limit.unwrap_or(usize::MAX);
        let (mut stream, run) = self.scan(table, request.clone());
        let mut batches = Vec::new();
        let mut rows = 0;
        while rows < limit
            && let Some(batch) = stream.next().await
        {
            let batch = batch?;
            // The engine evaluates every predicate again.
            let (kept, _) = crate::filter::keep(&batch, &request.constraints);
            let batch = arrow::compute::filter_record_batch(&batch, &kept).unwrap();
            rows += batch.num_rows();
            batches.push(batch);
        }
        drop(stream);
        let (source, name) = table.split_once('.').unwrap();
        let schema = self.connectors.source(source).unwrap().table(name).unwrap().schema();
        let schema = Arc::new(schema.project(&request.projection).unwrap());
        let all = concat_batches(&schema, &batches).unwrap();
        Ok((all.slice(0, all.num_rows().min(limit)), run.query.report.scans().remove(0)))
    }

    /// An SQL engine over all sources.
    pub(crate) fn engine(&self) -> Engine {
        engine(&self.connectors)
    }

    /// Runs SQL to its end.
    pub(crate) async fn sql(&self, sql: &str) -> Result<QueryResult, EngineError> {
        self.engine().collect(sql, QueryOptions::default()).await
    }

    /// A request for `columns` of `table`.
    pub(crate) fn select(&self, table: &str, columns: &[&str]) -> ScanRequest {
        let (source, name) = table.split_once('.').unwrap();
        let schema = self.connectors.source(source).unwrap().table(name).unwrap().schema();
        let mut projection: Vec<usize> =
            columns.iter().map(|c| schema.index_of(c).unwrap_or_else(|_| panic!("no column {c}"))).collect();
        projection.sort_unstable();
        ScanRequest { projection, ..ScanRequest::default() }
    }
}

/// An SQL engine over all of `connectors`.
pub(crate) fn engine(connectors: &Connectors) -> Engine {
    engine_with(connectors, EngineOptions::default())
}

/// The same, with options.
pub(crate) fn engine_with(connectors: &Connectors, options: EngineOptions) -> Engine {
    let entry = |source: &Source| SourceEntry {
        name: source.name().to_owned(),
        description: source.description().to_owned(),
        status: format!("{:?}", source.status()),
        base_url: source.base_url(),
        tables: source.tables(),
    };
    let entries: Vec<SourceEntry> = connectors.sources().iter().map(entry).collect();
    Engine::new(ManualClock::at(noon()), options, &entries, Vec::new()).unwrap()
}

fn load(toy: &Arc<Toy>, dir: &std::path::Path, environment: &Environment) -> Connectors {
    let options = ConnectorOptions {
        environment,
        sources_dir: Some(dir.to_owned()),
        cache_dir: Some(dir.join("cache")),
        clock: ManualClock::at(noon()),
        retry_seed: 7,
    };
    Connectors::load_with(&options, |_| Ok(Arc::new(InProcess(Arc::clone(toy))) as Arc<dyn Transport>))
}

/// Changes a request.
pub(crate) fn request(mut request: ScanRequest, change: impl FnOnce(&mut ScanRequest)) -> ScanRequest {
    change(&mut request);
    request
}

/// Constraints from `("column", "op", value)`; times are ISO text.
pub(crate) fn constrain(all: &[(&str, &str, ScalarValue)]) -> Constraints {
    let mut constraints = Constraints::none();
    for (column, operator, value) in all {
        let bound = |inclusive| Bound { value: value.clone(), inclusive };
        let predicate = match *operator {
            "=" => Predicate::In(vec![value.clone()]),
            "in" => match value {
                ScalarValue::Utf8(Some(text)) => {
                    Predicate::In(text.split(',').map(|part| ScalarValue::Utf8(Some(part.to_owned()))).collect())
                }
                other => Predicate::In(vec![other.clone()]),
            },
            ">=" => Predicate::Lower(bound(true)),
            ">" => Predicate::Lower(bound(false)),
            "<=" => Predicate::Upper(bound(true)),
            "<" => Predicate::Upper(bound(false)),
            "<>" => Predicate::NotEqual(value.clone()),
            "like" | "ilike" => Predicate::Like(LikePattern {
                pattern: value.try_as_str().flatten().unwrap().to_owned(),
                case_insensitive: *operator == "ilike",
            }),
            other => panic!("no operator {other}"),
        };
        constraints.add(column, predicate);
    }
    constraints
}

/// The column `name` of a batch.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")).as_ref()
}

/// A text column.
pub(crate) fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    column(batch, name).as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect()
}

/// An integer column.
pub(crate) fn i64s(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    column(batch, name).as_primitive::<Int64Type>().iter().collect()
}

/// A float column.
pub(crate) fn f64s(batch: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    column(batch, name).as_primitive::<Float64Type>().iter().collect()
}
