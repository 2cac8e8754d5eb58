//! An answer as it is read: a line per piece, and at last the report or what went wrong.
//!
//! Must hold: the status says whether the query could be begun; from then on a failure is the last line, with what had been asked
//! of the sources until then; while nothing comes, lines say what is asked. When the client goes away the stream is dropped, and
//! the query with it.

use std::convert::Infallible;
use std::pin::pin;

use arrow::array::RecordBatch;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tripline_engine::{CompletenessReport, EngineError, QueryOptions, QueryStream, ScanReport, exact_json_rows};

use super::columns;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::WebState;

/// Rows of a line: enough that lines are few, few enough that the first are seen soon.
const ROWS_PER_LINE: usize = 500;
/// Pieces that are read ahead of the client.
const PIECES: usize = 4;

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

fn failure(error: EngineError, so_far: Option<CompletenessReport>) -> (Bytes, &'static str) {
    let error = ApiError::from(error);
    let so_far = so_far.map(|report| CompletenessReport { complete: false, ..report });
    let inner = json!({"code": error.code, "message": error.message, "detail": error.detail, "hint": error.hint});
    (line(&json!({ "error": inner, "so_far": so_far })), error.code)
}

/// What the sources were asked until now.
fn progress(scans: &[ScanReport]) -> Value {
    let sum = |of: fn(&ScanReport) -> u64| scans.iter().map(of).sum::<u64>();
    json!({ "requests": sum(|scan| scan.requests), "rows_read": sum(|scan| scan.rows) })
}

/// The rows of a batch, in lines.
fn rows(batch: &RecordBatch) -> Result<Vec<Bytes>, EngineError> {
    let parts = (0..batch.num_rows()).step_by(ROWS_PER_LINE);
    parts
        .map(|start| {
            let part = batch.slice(start, ROWS_PER_LINE.min(batch.num_rows() - start));
            let rows =
                exact_json_rows(&part.schema(), &[part]).map_err(|error| EngineError::Execution(error.to_string()))?;
            Ok(line(&json!({ "rows": rows })))
        })
        .collect()
}

/// Begins the query, and answers with its pieces. `place` is held until the last.
pub(super) async fn answer(
    state: &WebState,
    caller: Caller,
    sql: String,
    options: QueryOptions,
    place: OwnedSemaphorePermit,
) -> Result<Response, ApiError> {
    let timeout = options.timeout;
    let (begun, first) = oneshot::channel();
    let (pieces, mut read) = mpsc::channel(PIECES);
    let work = {
        let state = state.clone();
        async move {
            let _place = place;
            read_query(&state, &caller, &sql, options, begun, pieces).await;
        }
    };
    let running = state.parts().threads.run(work).ok_or_else(ApiError::internal)?;
    let first = tokio::time::timeout(timeout + super::AFTER_DEADLINE, first).await;
    let first = first.map_err(|_| EngineError::Deadline(timeout))?.map_err(|_| ApiError::internal())?;
    let first = first.inspect_err(|error| state.metrics().queried(error.code))?;
    let stop = state.parts().stop.clone();
    let body = async_stream::stream! {
        let _running = running;
        yield Ok::<_, Infallible>(first);
        loop {
            let piece = tokio::select! {
                () = stop.cancelled() => {
                    yield Ok(failure(EngineError::Cancelled, None).0);
                    break;
                }
                piece = read.recv() => piece,
            };
            match piece {
                Some(piece) => yield Ok(piece),
                None => break,
            }
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response())
}

/// Reads a query to its end: `begun` gets the columns, or why there are none; `pieces` all that follows.
async fn read_query(
    state: &WebState,
    caller: &Caller,
    sql: &str,
    options: QueryOptions,
    begun: oneshot::Sender<Result<Bytes, ApiError>>,
    pieces: mpsc::Sender<Bytes>,
) {
    let mut query = match begin(state, caller, sql, options).await {
        Ok(query) => query,
        // Nobody waits for it any more: then there is nobody to tell.
        Err(error) => return drop(begun.send(Err(error))),
    };
    if begun.send(Ok(line(&json!({ "columns": columns(&query.schema()) })))).is_err() {
        return;
    }
    let watched = query.progress();
    let mut told = progress(&[]);
    loop {
        let next = {
            let mut next = pin!(query.next());
            loop {
                tokio::select! {
                    biased;
                    next = &mut next => break next,
                    () = tokio::time::sleep(state.options().stream_poll) => {}
                }
                let current = progress(&watched.scans());
                if current != told {
                    if pieces.send(line(&json!({ "progress": current }))).await.is_err() {
                        return;
                    }
                    told = current;
                }
            }
        };
        let (lines, ends) = match next.and_then(|batch| batch.as_ref().map(rows).transpose()) {
            Ok(Some(lines)) => (lines, false),
            Ok(None) => {
                let report = query.report();
                state.metrics().queried("ok");
                state.metrics().scanned(&report);
                (vec![line(&json!({ "report": report }))], true)
            }
            Err(error) => {
                let (line, code) = failure(error, Some(query.report()));
                state.metrics().queried(code);
                (vec![line], true)
            }
        };
        for line in lines {
            if pieces.send(line).await.is_err() {
                return;
            }
        }
        if ends {
            return;
        }
    }
}

pub(super) async fn begin(
    state: &WebState,
    caller: &Caller,
    sql: &str,
    options: QueryOptions,
) -> Result<QueryStream, ApiError> {
    let timeout = options.timeout;
    let engine = state.parts().engines.engine(&caller.scope).await?;
    let begun = tokio::time::timeout(timeout, engine.query(sql, options)).await;
    Ok(begun.map_err(|_| EngineError::Deadline(timeout))??)
}
