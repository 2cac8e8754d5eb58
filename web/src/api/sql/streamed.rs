//! An answer as it is read: a line per piece, and at last the report or what went wrong.
//!
//! Must hold: the status says whether the query could be begun; from then on a failure is the last line. When the client
//! goes away the stream is dropped, and the query with it.

use std::convert::Infallible;

use arrow::array::RecordBatch;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tripline_engine::{EngineError, QueryOptions, json_rows};

use super::columns;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::WebState;

/// Rows of a line: enough that lines are few, few enough that the first are seen soon.
const ROWS_PER_LINE: usize = 500;

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

fn failure(error: EngineError) -> (Bytes, &'static str) {
    let error = ApiError::from(error);
    let inner = json!({"code": error.code, "message": error.message, "detail": error.detail, "hint": error.hint});
    (line(&json!({ "error": inner })), error.code)
}

/// The rows of a batch, in lines.
fn rows(batch: &RecordBatch) -> Result<Vec<Bytes>, EngineError> {
    let parts = (0..batch.num_rows()).step_by(ROWS_PER_LINE);
    parts
        .map(|start| {
            let part = batch.slice(start, ROWS_PER_LINE.min(batch.num_rows() - start));
            let rows = json_rows(&part.schema(), &[part]).map_err(|error| EngineError::Execution(error.to_string()))?;
            Ok(line(&json!({ "rows": rows })))
        })
        .collect()
}

/// Begins the query, and answers with its pieces. `place` is held until the last.
pub(super) async fn answer(
    state: WebState,
    caller: &Caller,
    sql: &str,
    options: QueryOptions,
    place: OwnedSemaphorePermit,
) -> Result<Response, ApiError> {
    let timeout = options.timeout;
    let engine = state.parts().engines.engine(&caller.scope).await?;
    let begun = tokio::time::timeout(timeout, engine.query(sql, options)).await;
    let begun = begun.map_err(|_| EngineError::Deadline(timeout)).and_then(|begun| begun);
    let mut query = begun.map_err(|error| {
        let error = ApiError::from(error);
        state.metrics().queried(error.code);
        error
    })?;
    let stop = state.parts().stop.clone();
    let body = async_stream::stream! {
        let _place = place;
        yield Ok::<_, Infallible>(line(&json!({ "columns": columns(&query.schema()) })));
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => Err(EngineError::Cancelled),
                next = query.next() => next,
            };
            match next.and_then(|batch| batch.as_ref().map(rows).transpose()) {
                Ok(Some(lines)) => {
                    for line in lines {
                        yield Ok(line);
                    }
                }
                Ok(None) => {
                    let report = query.report();
                    state.metrics().queried("ok");
                    state.metrics().scanned(&report);
                    yield Ok(line(&json!({ "report": report })));
                    break;
                }
                Err(error) => {
                    let (line, code) = failure(error);
                    state.metrics().queried(code);
                    yield Ok(line);
                    break;
                }
            }
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response())
}
