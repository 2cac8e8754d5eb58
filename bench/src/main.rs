//! Benchmarks: ratios against a baseline measured in the same run. `make bench`, or `make bench ARGS=fetch`.
//! `make bench ARGS="ingest 10000000"` seals that many events, `ARGS="read 500000"` reads from so many runs.
//!
//! Owns: a toy vendor of 100 pages × 100 rows at 50 ms per request, and the questions asked of it; events sent to a real
//! server; a log of runs to be judged. No absolute time is a
//! promise on any machine; what counts is the ratio beside the baseline's name, and the requests counted by the server.

mod fetch;
mod ingest;
mod local;
mod process;
mod read;
mod rows;
mod runs;
mod sdk;
mod templates;
mod toy;
mod window;

use std::io::Write;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Only fails when it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let wanted = std::env::args().nth(1).unwrap_or_else(|| "all".to_owned());
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    say(&format!("profile: {profile}; cores: {}", std::thread::available_parallelism()?));
    if matches!(wanted.as_str(), "all" | "fetch") {
        fetch::run().await?;
    }
    if matches!(wanted.as_str(), "all" | "local") {
        local::run().await?;
    }
    if matches!(wanted.as_str(), "all" | "ingest") {
        ingest::run(std::env::args().nth(2).as_deref()).await?;
    }
    if matches!(wanted.as_str(), "all" | "read") {
        read::run(std::env::args().nth(2).as_deref()).await?;
    }
    if matches!(wanted.as_str(), "all" | "sdk") {
        sdk::run()?;
    }
    if matches!(wanted.as_str(), "all" | "process") {
        process::run().await?;
    }
    if matches!(wanted.as_str(), "all" | "window") {
        window::run().await?;
    }
    if matches!(wanted.as_str(), "all" | "runs") {
        runs::run().await?;
    }
    if matches!(wanted.as_str(), "all" | "templates") {
        templates::run().await?;
    }
    Ok(())
}

/// A line on standard output; a closed pipe ends nothing.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
