//! Accepting connections.
//!
//! Owns the limits on connections and on how long a client may take over its headers. Does not own what is answered.
//! Must hold: without keys (dev mode) it listens on loopback only; a slow or idle client holds one of a limited number
//! of places for a limited time; at shutdown open requests are finished, within a limit.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::auth::AuthMode;
use crate::routes::router;
use crate::state::WebState;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Dev mode on an address that others reach.
    #[error(
        "AUTH_MODE=dev does not listen on {addr}: it would let everybody in. Hint: listen on 127.0.0.1, or use API keys"
    )]
    DevOnPublicAddress {
        /// The address.
        addr: SocketAddr,
    },
    /// The listener is of no use.
    #[error("the listener cannot be used: {0}")]
    Listener(#[from] std::io::Error),
}

/// Serves until `shutdown`, then finishes what is open.
///
/// # Errors
/// [`ServeError`] before anything is served.
pub async fn serve(listener: TcpListener, state: WebState, shutdown: CancellationToken) -> Result<(), ServeError> {
    let addr = listener.local_addr()?;
    if state.auth_mode() == AuthMode::Dev && !addr.ip().to_canonical().is_loopback() {
        return Err(ServeError::DevOnPublicAddress { addr });
    }
    let options = state.options().clone();
    let stop_streams = state.parts().stop.clone();
    let router = router(state);
    let places = Arc::new(Semaphore::new(options.max_connections));
    let graceful = GracefulShutdown::new();
    tracing::info!(%addr, "listening");

    loop {
        // A place first: what cannot be served waits in the kernel's queue.
        let place = tokio::select! {
            () = shutdown.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file handles, or the client went away: neither ends the server.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = connection_service(router.clone(), peer);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }

    drop(listener);
    stop_streams.cancel();
    if tokio::time::timeout(options.farewell, graceful.shutdown()).await.is_err() {
        tracing::warn!(after = ?options.farewell, "requests were still open at shutdown");
    }
    Ok(())
}

/// The router as hyper wants it, with the peer's address on every request.
fn connection_service(
    router: Router,
    peer: SocketAddr,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future = impl Future<Output = Result<axum::response::Response, Infallible>> + Send,
> {
    hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    })
}
