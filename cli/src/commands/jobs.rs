//! `tripline jobs`: what runs when, and running one now.

use tripline_store::{JobRunFilter, OpenMode, PageRequest, Scope};

use crate::app::{Home, Reader, clock};
use crate::args::JobsCommand;
use crate::failure::Failure;
use crate::server::Server;
use crate::terminal;

pub(crate) async fn run(command: JobsCommand, home: &Home) -> Result<(), Failure> {
    match command {
        JobsCommand::List { json } => list(home, json).await,
        JobsCommand::Run { name, dry_run, now } => {
            // Leases in the store keep this and a running server apart.
            let mode = if dry_run && !home.database().exists() { OpenMode::Serve } else { OpenMode::Beside };
            let server = Server::assemble(home, clock(now), mode, |_| {}).await?;
            let done = server.jobs.run_by_hand(&name, dry_run).await?;
            if !dry_run {
                // Messages and actions of what was found; a running server may do them first, never twice.
                server.governance.outbox.drain(server.context.clock.now()).await.map_err(Failure::display)?;
            }
            terminal::line(&serde_json::to_string_pretty(&done).map_err(Failure::display)?);
            Ok(())
        }
    }
}

async fn list(home: &Home, as_json: bool) -> Result<(), Failure> {
    let reader = Reader::open(home, None).await?;
    let store = &reader.context.store;
    let scope = Scope::default_project();
    let settings = reader.context.settings.get();
    let now = reader.context.clock.now();
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for job in tripline_agent::jobs::list(&reader.queries()?.current(), &settings, now) {
        let filter = JobRunFilter { job: Some(job.name.clone()), ..JobRunFilter::default() };
        let last = store.jobs.list(&scope, &filter, &PageRequest::first(1)).await?.items.into_iter().next();
        let watermark = store.jobs.watermark(&scope, &job.name).await?;
        let last_text = last
            .as_ref()
            .map_or_else(|| "never".to_owned(), |run| format!("{} {}", run.started_at.format("%F %T"), run.status));
        rows.push(vec![
            job.name.clone(),
            job.cron.clone(),
            watermark.map_or_else(String::new, |at| at.format("%F %T").to_string()),
            last_text,
            last.as_ref().and_then(|run| run.error.clone()).unwrap_or_default(),
        ]);
        let mut row = serde_json::to_value(&job).map_err(Failure::display)?;
        if let Some(row) = row.as_object_mut() {
            row.insert("judged_until".to_owned(), serde_json::to_value(watermark).map_err(Failure::display)?);
            row.insert("last_run".to_owned(), serde_json::to_value(&last).map_err(Failure::display)?);
        }
        json.push(row);
    }
    if as_json {
        terminal::line(&serde_json::Value::from(json).to_string());
    } else {
        terminal::line(&terminal::table(&["job", "schedule (UTC)", "judged until", "last run", "error"], rows));
    }
    Ok(())
}
