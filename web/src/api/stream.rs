//! The live stream: an event whenever the record has grown.
//!
//! Everything that matters on a page (an incident, a decision, an action's transition) appends to the record, so its
//! length is the change counter. Each stream looks at it once a second, one indexed read; that works for any number of
//! tabs and also when another process wrote. When the health of a source changed, `sources` says so.
//!
//! Must hold: a stream is worth what its key is worth, and ends with it; the page that asks anew is told why.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use serde::Serialize;
use tokio::time::Instant;

use crate::auth::{self, Caller};
use crate::error::ApiError;
use crate::state::WebState;

/// Keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The record has grown.
#[derive(Debug, Serialize)]
struct Change {
    /// Number of its last row.
    seq: i64,
}

pub(crate) async fn stream(
    State(state): State<WebState>,
    caller: Caller,
    parts: Parts,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let place = state.streams().clone().try_acquire_owned().map_err(|_| {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", "too many live streams are open")
            .retry_after(5)
    })?;
    let events = async_stream::stream! {
        let _place = place;
        let stop = &state.parts().stop;
        let end = Instant::now() + state.options().stream_lifetime;
        let mut last = None;
        // The health of sources is the installation's, and not on the record.
        let health = || caller.of_installation(&state).is_ok().then(|| state.parts().sources.sources());
        let mut sources = health();
        while Instant::now() < end {
            match auth::may_still_read(&state, &parts, &caller).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error.message, "a live stream ends: its key cannot be looked up");
                    break;
                }
            }
            match state.context().store.audit.head(&caller.scope).await {
                Ok(head) if last != Some(head.seq) => {
                    last = Some(head.seq);
                    if let Ok(event) = Event::default().event("change").json_data(Change { seq: head.seq }) {
                        yield Ok(event);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a live stream ends: the record cannot be read");
                    break;
                }
            }
            let current = health();
            if current != sources {
                sources = current;
                yield Ok(Event::default().event("sources").data("{}"));
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(state.options().stream_poll) => {}
            }
        }
    };
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
