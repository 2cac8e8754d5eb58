//! A file as it is written: of any size, and whole or broken off.
//!
//! Must hold: a file that comes to its end has all rows. Its rows are on their way before it is known whether they are all, and a
//! file has no place for saying so afterwards; so whatever is missing (a failure, a source's gap, the row limit, a shutdown) breaks
//! the transfer off, which every client takes for a failure. When the client goes away the query ends.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tripline_engine::{EngineError, OutputFormat, QueryOptions, QueryStream, RowWriter};

use super::streamed::begin;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::WebState;

/// Bytes of a piece, about.
const PIECE: usize = 64 << 10;
/// Pieces that are written ahead of the client.
const PIECES: usize = 8;

/// What a writer wrote and nobody took yet.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    /// What was written, once it is `least` bytes.
    fn take(&self, least: usize) -> Option<Bytes> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!written.is_empty() && written.len() >= least).then(|| Bytes::from(std::mem::take(&mut *written)))
    }
}

type Piece = Result<Bytes, io::Error>;

/// Begins the query, and answers with the file. `place` is held until its end.
pub(super) async fn answer(
    state: &WebState,
    caller: Caller,
    sql: String,
    options: QueryOptions,
    (format, content_type): (OutputFormat, &'static str),
    place: OwnedSemaphorePermit,
) -> Result<Response, ApiError> {
    let timeout = options.timeout;
    let (begun, first) = oneshot::channel();
    let (pieces, mut read) = mpsc::channel::<Piece>(PIECES);
    let work = {
        let state = state.clone();
        async move {
            let _place = place;
            let query = match begin(&state, &caller, &sql, options).await {
                Ok(query) => query,
                // Nobody waits for it any more: then there is nobody to tell.
                Err(error) => return drop(begun.send(Err(error))),
            };
            if begun.send(Ok(())).is_err() {
                return;
            }
            match write(query, format, &pieces).await {
                Ok(report) => {
                    state.metrics().queried("ok");
                    state.metrics().scanned(&report);
                }
                Err(error) => {
                    tracing::warn!(%error, "a file was broken off");
                    state.metrics().queried(error.code());
                    // A client that went away needs no reason.
                    let _ = pieces.send(Err(io::Error::other("the rows are not all"))).await;
                }
            }
        }
    };
    let running = state.parts().threads.run(work).ok_or_else(ApiError::internal)?;
    let first = tokio::time::timeout(timeout + super::AFTER_DEADLINE, first).await;
    let first = first.map_err(|_| EngineError::Deadline(timeout))?.map_err(|_| ApiError::internal())?;
    first.inspect_err(|error| state.metrics().queried(error.code))?;
    let stop = state.parts().stop.clone();
    let body = async_stream::stream! {
        let _running = running;
        loop {
            let piece = tokio::select! {
                () = stop.cancelled() => Some(Err(io::Error::other("the server is stopping"))),
                piece = read.recv() => piece,
            };
            match piece {
                Some(Ok(piece)) => yield Ok(piece),
                Some(Err(error)) => {
                    yield Err(error);
                    break;
                }
                None => break,
            }
        }
    };
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(body)).into_response())
}

async fn write(
    mut query: QueryStream,
    format: OutputFormat,
    pieces: &mpsc::Sender<Piece>,
) -> Result<tripline_engine::CompletenessReport, EngineError> {
    let failed = |error: arrow::error::ArrowError| EngineError::Execution(error.to_string());
    let sink = Sink::default();
    let mut writer = RowWriter::new(sink.clone(), format, query.schema());
    while let Some(batch) = query.next().await? {
        writer.write(&batch).map_err(failed)?;
        if let Some(piece) = sink.take(PIECE)
            && pieces.send(Ok(piece)).await.is_err()
        {
            return Err(EngineError::Cancelled);
        }
    }
    let report = query.report();
    if !report.complete || report.truncated {
        let why = if report.truncated { "it has more rows than were asked for" } else { "a source gave not all rows" };
        return Err(EngineError::Execution(why.to_owned()));
    }
    writer.finish_with(&report).map_err(failed)?;
    if let Some(piece) = sink.take(0)
        && pieces.send(Ok(piece)).await.is_err()
    {
        return Err(EngineError::Cancelled);
    }
    Ok(report)
}
