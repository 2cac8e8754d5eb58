//! `tripline digest`: the last whole week, now.

use tripline_agent::jobs::JobError;
use tripline_store::OpenMode;

use crate::app::{Home, clock};
use crate::args::DigestArgs;
use crate::failure::Failure;
use crate::server::Server;
use crate::terminal;

pub(crate) async fn run(args: DigestArgs, home: &Home) -> Result<(), Failure> {
    let clock = clock(args.now);
    let mode = if args.dry_run && !home.database().exists() { OpenMode::Serve } else { OpenMode::Beside };
    let server = Server::assemble(home, clock.clone(), mode, |_| {}).await?;
    let now = clock.now();
    let end = server.jobs.week_end(now).unwrap_or(now);
    let digester = server.jobs.digester().ok_or_else(|| Failure::new("nothing makes digests here"))?;
    let made = digester.make(end, args.dry_run).await.map_err(JobError::from)?;
    if !args.dry_run {
        // The post; a running server may send it first, never twice.
        server.governance.outbox.drain(clock.now()).await.map_err(Failure::display)?;
    }
    if args.json {
        terminal::line(&serde_json::to_string_pretty(&made).map_err(Failure::display)?);
    } else {
        terminal::line(&made.digest.report);
    }
    let digest = &made.digest;
    terminal::error_line(&format!(
        "{} to {} ({}), {} requests, {}",
        digest.week_start.to_rfc3339(),
        digest.week_end.to_rfc3339(),
        digest.time_zone,
        made.requests,
        made.post
    ));
    if digest.gaps.is_empty() {
        return Ok(());
    }
    let gaps: Vec<String> = digest.gaps.iter().map(|gap| format!("{}: {}", gap.source, gap.reason)).collect();
    Err(Failure::incomplete(&gaps))
}
