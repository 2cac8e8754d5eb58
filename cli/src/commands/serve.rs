//! `tripline serve`: the server in the foreground, until it is told to stop.

use std::net::SocketAddr;

use tripline_store::OpenMode;

use crate::app::{Home, clock};
use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::server::{Background, Server, listen};
use crate::terminal;

pub(crate) async fn run(args: ServeArgs, home: &Home) -> Result<(), Failure> {
    let server = Server::assemble(home, clock(args.now), OpenMode::Serve, |_| {}).await?;
    let listener = listen(SocketAddr::new(args.host, args.port)).await?;
    let mut running = server.start(listener, Background { outbox: true, jobs: true }).await?;
    terminal::line(&format!("listening on {}", running.url()));
    let outcome = tokio::select! {
        () = told_to_stop() => Ok(()),
        failure = running.failed() => Err(failure),
    };
    running.shutdown().await;
    outcome
}

/// Resolves at Ctrl-C or SIGTERM.
pub(crate) async fn told_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        let _ = interrupt.await;
        return;
    };
    tokio::select! {
        _ = interrupt => {}
        _ = terminate.recv() => {}
    }
}
