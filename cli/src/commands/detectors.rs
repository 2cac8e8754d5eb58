//! `tripline detectors`: what there is, and what one finds in a window. Writes nothing.

use serde_json::json;
use tripline_agent::detect::{Persist, run_once};

use crate::app::{Home, Reader};
use crate::args::DetectorsCommand;
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn run(command: DetectorsCommand, home: &Home) -> Result<(), Failure> {
    match command {
        DetectorsCommand::List { json } => list(home, json),
        DetectorsCommand::Run { name, at, json, now } => {
            let reader = Reader::open(home, now.or(at)).await?;
            let at = at.unwrap_or_else(|| reader.context.clock.now());
            judge(&reader, &name, at, json).await
        }
        DetectorsCommand::Backtest { file, from, to, json } => super::backtest::run(home, &file, from, to, json).await,
    }
}

fn list(home: &Home, as_json: bool) -> Result<(), Failure> {
    let queries = home.queries()?.current();
    let detectors = queries.detectors.values();
    if as_json {
        let rows: Vec<_> = detectors
            .map(|d| {
                json!({
                    "name": d.name, "type": d.kind, "title": d.title, "schedule": d.schedule.to_string(),
                    "window_seconds": d.window.num_seconds(), "sources": d.sources, "action": d.action,
                    "file": d.header.origin,
                })
            })
            .collect();
        terminal::line(&serde_json::Value::from(rows).to_string());
        return Ok(());
    }
    let rows = detectors.map(|d| {
        let window = format!("{} min", d.window.num_minutes());
        vec![d.name.clone(), window, d.schedule.to_string(), d.sources.join(", "), d.header.origin.clone()]
    });
    terminal::line(&terminal::table(&["detector", "window", "schedule", "reads", "file"], rows.collect()));
    Ok(())
}

async fn judge(reader: &Reader, name: &str, at: chrono::DateTime<chrono::Utc>, as_json: bool) -> Result<(), Failure> {
    let judgement = run_once(&reader.context, &reader.queries()?, name, at, Persist::Nothing).await?;
    // An empty list would read as "clean" to a program that sees only this.
    let says_nothing = judgement.findings.is_empty() && !judgement.is_complete();
    if as_json && !says_nothing {
        let findings = serde_json::to_string(&judgement.findings).map_err(|error| Failure::new(error.to_string()))?;
        terminal::line(&findings);
    }
    if !as_json {
        for finding in &judgement.findings {
            terminal::line(&format!("{} {}: {}", finding.severity, finding.kind, finding.description));
        }
        if judgement.findings.is_empty() && judgement.is_complete() {
            terminal::line("nothing found");
        }
    }
    for note in &judgement.notes {
        terminal::error_line(&format!("note: {note}"));
    }
    terminal::error_line(&format!(
        "window {} to {}, {} requests",
        judgement.window.start.to_rfc3339(),
        judgement.window.end.to_rfc3339(),
        judgement.requests
    ));
    if judgement.is_complete() {
        return Ok(());
    }
    let gaps: Vec<String> = judgement.gaps.iter().map(|gap| format!("{}: {}", gap.source, gap.reason)).collect();
    Err(Failure::incomplete(&gaps))
}
