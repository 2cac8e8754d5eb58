//! SQL over HTTP: read-only, bound parameters, and always the completeness report.
//!
//! Must hold: rows, bytes and time are limited; the query stops when the client goes away (its stream is dropped with
//! the request); a failed source is an error, never fewer rows.

mod files;
mod streamed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, SchemaRef};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use tripline_engine::{
    CompletenessReport, EngineError, OutputFormat, Param, QueryOptions, QueryResult, RowWriter, exact_json_rows,
    parse_duration,
};

use super::together::Answered;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::JsonBody;
use crate::state::WebState;

const DEFAULT_ROWS: usize = 1_000;
const MAX_ROWS: usize = 10_000;
/// A stream, and a file that is written as it is read, hold no more than a batch at a time.
const MAX_STREAMED_ROWS: usize = 10_000_000;
const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const MAX_TIMEOUT_MS: u64 = 60_000;
/// What a query may ask for.
pub(crate) const LONGEST_QUERY: Duration = Duration::from_millis(MAX_TIMEOUT_MS);
/// What the engine may take beyond a query's deadline to say what was waited for, or to end a partial answer.
const AFTER_DEADLINE: Duration = Duration::from_secs(6);
const MAX_SQL: usize = 100_000;
/// What the rows may take in memory.
const MAX_BYTES: usize = 64 << 20;

/// A query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlRequest {
    /// One read-only statement.
    sql: String,
    /// Values of its `$name` placeholders: scalars, or lists of text.
    #[serde(default)]
    params: BTreeMap<String, Value>,
    /// Rows at most, 1 to 10,000; a stream or a file 1 to 10,000,000. Default 1,000.
    max_rows: Option<usize>,
    /// Milliseconds at most, 1 to 60,000; default 30,000.
    timeout_ms: Option<u64>,
    /// Take what there is when a source fails; the report says what is missing.
    #[serde(default)]
    partial: bool,
    /// How old rows from local copies may be, such as `60s`; default `0s`.
    freshness: Option<String>,
    /// `json` (default), `ndjson`, `csv`, `parquet` or `stream`.
    #[serde(default)]
    format: Format,
}

/// The form of the answer. The files have what the report says in headers, the stream at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Json,
    Ndjson,
    Csv,
    Parquet,
    Stream,
}

impl Format {
    /// How a file is written, and what it is called; `None` for what is no file.
    fn file(self) -> Option<(OutputFormat, &'static str)> {
        match self {
            Self::Json | Self::Stream => None,
            Self::Ndjson => Some((OutputFormat::Ndjson, "application/x-ndjson")),
            Self::Csv => Some((OutputFormat::Csv, "text/csv; charset=utf-8")),
            Self::Parquet => Some((OutputFormat::Parquet, "application/vnd.apache.parquet")),
        }
    }
}

/// A column of an answer.
#[derive(Debug, Serialize)]
struct Column {
    name: String,
    /// Its Arrow type.
    #[serde(rename = "type")]
    data_type: String,
}

/// An answer.
#[derive(Debug, Serialize)]
struct SqlAnswer {
    columns: Vec<Column>,
    rows: Vec<Map<String, Value>>,
    report: CompletenessReport,
}

pub(crate) async fn run(
    State(state): State<WebState>,
    caller: Caller,
    JsonBody(request): JsonBody<SqlRequest>,
) -> Result<Response, ApiError> {
    let options = options(&request)?;
    let key = format!("{:?} {:?}", caller.scope, (&request.sql, &options));
    let timeout = options.timeout;
    let full = state.queries().available_permits() == 0;
    let format = request.format;
    if format == Format::Stream {
        let place = place(&state).await?;
        return streamed::answer(&state, caller, request.sql, options, place).await;
    }
    if let Some(file) = format.file().filter(|_| options.max_rows.is_some_and(|rows| rows > MAX_ROWS)) {
        let place = place(&state).await?;
        return files::answer(&state, caller, request.sql, options, file, place).await;
    }
    let running = state.running().join(key, full, || alone(state.clone(), caller, request.sql, options).boxed());
    // Who joins a query waits for it no longer than for one of their own.
    let longest = state.options().query_patience + timeout + AFTER_DEADLINE;
    let answered = match tokio::time::timeout(longest, running).await {
        Ok(answered) => answered,
        Err(_) => Err(EngineError::Deadline(timeout).into()),
    };
    state.metrics().queried(answered.as_ref().map_or_else(|error| error.code, |_| "ok"));
    write(&*answered?, format)
}

/// Runs a query, for all who ask for it.
async fn alone(state: WebState, caller: Caller, sql: String, options: QueryOptions) -> Answered {
    let place = place(&state).await?;
    let work = {
        let state = state.clone();
        // The place is taken until the work has really ended.
        async move {
            let _place = place;
            collect(&state, &caller, &sql, options).await
        }
    };
    let running = state.parts().threads.run(work).ok_or_else(ApiError::internal)?;
    let result = running.await.map_err(|_| ApiError::internal())??;
    state.metrics().scanned(&result.report);
    Ok(Arc::new(result))
}

/// One of the places for queries.
async fn place(state: &WebState) -> Result<OwnedSemaphorePermit, ApiError> {
    let place = state.queries().clone().acquire_owned();
    match tokio::time::timeout(state.options().query_patience, place).await {
        Ok(Ok(place)) => Ok(place),
        _ => {
            let error =
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_queries", "other queries take up every place");
            Err(error.retry_after(2))
        }
    }
}

fn options(request: &SqlRequest) -> Result<QueryOptions, ApiError> {
    if request.sql.len() > MAX_SQL {
        return Err(ApiError::unprocessable(format!("sql: at most {MAX_SQL} bytes")));
    }
    let max_rows = request.max_rows.unwrap_or(DEFAULT_ROWS);
    let most = if request.format == Format::Json { MAX_ROWS } else { MAX_STREAMED_ROWS };
    if !(1..=most).contains(&max_rows) {
        return Err(ApiError::unprocessable(format!("max_rows must be between 1 and {most}")));
    }
    if request.partial && max_rows > MAX_ROWS && request.format.file().is_some() {
        return Err(ApiError::unprocessable(format!(
            "a file of more than {MAX_ROWS} rows has no place to say what is missing"
        ))
        .hint("leave `partial` out, ask for fewer rows, or take the format `stream`, whose last line says it"));
    }
    let timeout_ms = request.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
    if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
        return Err(ApiError::unprocessable(format!("timeout_ms must be between 1 and {MAX_TIMEOUT_MS}")));
    }
    let mut options = QueryOptions {
        timeout: Duration::from_millis(timeout_ms),
        max_rows: Some(max_rows),
        partial: request.partial,
        ..QueryOptions::default()
    };
    if let Some(text) = &request.freshness {
        options.freshness =
            parse_duration(text).map_err(|problem| ApiError::unprocessable(format!("freshness: {problem}")))?;
    }
    for (name, value) in &request.params {
        let param =
            Param::try_from(value).map_err(|problem| ApiError::unprocessable(format!("params.{name}: {problem}")))?;
        options.params.insert(name.trim_start_matches('$').to_owned(), param);
    }
    Ok(options)
}

async fn collect(state: &WebState, caller: &Caller, sql: &str, options: QueryOptions) -> Result<QueryResult, ApiError> {
    let timeout = options.timeout;
    let engine = state.parts().engines.engine(&caller.scope).await?;
    // Planning has no deadline of its own inside the engine.
    let stream = tokio::time::timeout(timeout, engine.query(sql, options)).await;
    let mut stream = stream.map_err(|_| EngineError::Deadline(timeout))??;
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = stream.next().await? {
        bytes += batch.get_array_memory_size();
        if bytes > MAX_BYTES {
            return Err(ApiError::unprocessable(format!("the answer is larger than {} MiB", MAX_BYTES >> 20))
                .hint("select fewer columns, or lower max_rows"));
        }
        batches.push(batch);
    }
    Ok(QueryResult { schema: stream.schema(), report: stream.report(), batches })
}

fn columns(schema: &SchemaRef) -> Vec<Column> {
    let column = |field: &FieldRef| Column { name: field.name().clone(), data_type: field.data_type().to_string() };
    schema.fields().iter().map(column).collect()
}

fn write(result: &QueryResult, format: Format) -> Result<Response, ApiError> {
    let failed = |error: arrow::error::ArrowError| {
        ApiError::unprocessable("the rows cannot be written in this format").detail(error.to_string())
    };
    // The stream was answered before.
    let Some((format, content_type)) = format.file() else {
        let columns = columns(&result.schema);
        let rows = exact_json_rows(&result.schema, &result.batches).map_err(failed)?;
        return Ok(Json(SqlAnswer { columns, rows, report: result.report.clone() }).into_response());
    };
    let mut bytes = Vec::new();
    let mut writer = RowWriter::new(&mut bytes, format, SchemaRef::clone(&result.schema));
    for batch in &result.batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.finish_with(&result.report).map_err(failed)?;
    let mut response = ([(header::CONTENT_TYPE, content_type)], bytes).into_response();
    let headers = response.headers_mut();
    let report = &result.report;
    for (name, value) in [
        ("x-tripline-complete", report.complete.to_string()),
        ("x-tripline-rows", report.rows.to_string()),
        ("x-tripline-requests", report.requests.to_string()),
        ("x-tripline-warnings", report.warnings.len().to_string()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    // Rows stay rows; what is missing among them is said beside them, a header each.
    for warning in &report.warnings {
        if let Ok(value) = HeaderValue::from_str(&header_text(warning)) {
            headers.append(HeaderName::from_static("x-tripline-warning"), value);
        }
    }
    Ok(response)
}

/// Longest warning that goes into a header.
const HEADER_TEXT: usize = 500;

/// A text as a header takes it: printable ASCII, within a length.
fn header_text(text: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(HEADER_TEXT).map(printable).collect()
}
