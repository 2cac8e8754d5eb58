//! Reading runs: the lists of the read API over HTTP with wrk on the same machine, from a log of runs that were judged.
//!
//! `make bench ARGS="read 500000"` has 10 million events. Goals: lists at least 2,000 requests a second with p99 under 20 ms,
//! insights under 200 ms.

use std::path::Path;

use crate::ingest::{Server, binary, wrk};
use crate::{runs, say};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const DEFAULT_RUNS: usize = 25_000;
/// Days over which the runs are spread.
const DAYS: i64 = 30;
/// Connections at once, and seconds per path.
const LOAD: (u32, u32) = (16, 5);

const LISTS: [&str; 6] = [
    "/v1/agents",
    // Of the agents 0 and 10, in whose runs something is found.
    "/v1/agents/agent-0/runs",
    "/v1/agents/agent-0/runs?has_signals=true",
    "/v1/agents/agent-0/signals",
    "/v1/agents/agent-0/issues",
    "/v1/agents/agent-0/signals?limit=100",
];

pub(crate) async fn run(runs: Option<&str>) -> Outcome<()> {
    let runs = runs.map(str::parse).transpose()?.unwrap_or(DEFAULT_RUNS);
    say(&format!("\nread: lists over {} events of {runs} runs in {DAYS} days", runs * 20));
    let Some(binary) = binary()? else {
        say("  skipped: the binary is not built (cargo build --release --bin tripline)");
        return Ok(());
    };
    let home = tempfile::tempdir_in(".")?;
    runs::judged(home.path(), runs, DAYS).await?;
    let server = Server::start(&binary, home.path(), "read")?;
    for path in LISTS {
        asked(&server, home.path(), path, LOAD)?;
    }
    // One after the other: what one person who looks at an agent waits for.
    asked(&server, home.path(), "/v1/agents/agent-0/insights", (1, 5))
}

fn asked(server: &Server, folder: &Path, path: &str, (connections, seconds): (u32, u32)) -> Outcome<()> {
    let script = folder.join("read.lua");
    std::fs::write(&script, format!("wrk.headers[\"Authorization\"] = \"Bearer {}\"\n", server.key))?;
    // The first question of a kind pays for what later ones find prepared.
    wrk(server, &script, path, 1, 1)?;
    let load = wrk(server, &script, path, connections, seconds)?;
    let failed = if load.failed { "; SOME FAILED" } else { "" };
    say(&format!(
        "    GET {path}, {connections} connections: {:.0} requests/s, p50 {}, p99 {}{failed}",
        load.requests, load.p50, load.p99
    ));
    Ok(())
}
