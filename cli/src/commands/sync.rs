//! `tripline sync`: brings local copies up to date, or reads a stretch of time again.

use tripline_engine::copy::TimeSpan;

use crate::app::{Home, clock};
use crate::args::SyncArgs;
use crate::copies::Copies;
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn run(args: SyncArgs, home: Home) -> Result<(), Failure> {
    let clock = clock(args.now);
    let connectors = home.connectors(&clock);
    for problem in connectors.problems() {
        terminal::error_line(&format!("warning: {problem}"));
    }
    let copies = Copies::open(&home, &connectors, &home.settings()?)?;
    let span = match (args.from, args.to) {
        (Some(from), Some(until)) if from < until => Some(TimeSpan { from, until }),
        (None, None) => None,
        _ => return Err(Failure::usage("--from must be before --to", "tripline sync --from 2026-11-20 --to 2026-11-21")),
    };
    let patience = std::time::Duration::from_secs(args.timeout);
    let synced = copies.sync(args.table.as_deref(), span, &clock, patience).await?;
    if synced.is_empty() {
        terminal::line("no local copies: settings.json names none under `sync` (docs/copies.md)");
    }
    for table in synced {
        for (id, state) in table.copies {
            let covered = state.covered.map_or_else(|| "nothing".to_owned(), |covered| covered.to_string());
            terminal::line(&format!("{id}: {covered}, {} rows, {} kB", state.rows, state.bytes / 1000));
        }
        terminal::error_line(&format!("{} requests in {} ms", table.report.requests, table.report.elapsed_ms));
    }
    Ok(())
}
