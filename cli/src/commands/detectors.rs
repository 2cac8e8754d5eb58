//! `tripline detectors`: what there is, and what one finds in a window or among the newest runs. Writes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tripline_agent::detect::{Persist, run_once};
use tripline_agent::queries::QueryLibrary;
use tripline_agent::queries::catalog::{DetectorEntry, DetectorScope, catalog};
use tripline_agent::runs::{newest_runs, try_out};
use tripline_store::{DetectorFailure, OpenMode, Scope};

use crate::app::{Home, Reader};
use crate::args::DetectorsCommand;
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn run(command: DetectorsCommand, home: &Home) -> Result<(), Failure> {
    match command {
        DetectorsCommand::List { json } => list(home, json).await,
        DetectorsCommand::Run { name, at, json, now } => {
            let reader = Reader::open(home, now.or(at)).await?;
            let at = at.unwrap_or_else(|| reader.context.clock.now());
            judge(&reader, &name, at, json).await
        }
        DetectorsCommand::DryRun { file, runs, json } => dry_run(home, &file, runs, json).await,
        DetectorsCommand::Backtest { file, from, to, json } => super::backtest::run(home, &file, from, to, json).await,
    }
}

/// How often people said that a detector was right, and how often not; and that it fails.
#[derive(Default, Clone)]
struct Judged {
    right: i64,
    wrong: i64,
    failure: Option<DetectorFailure>,
}

impl Judged {
    fn precision(&self) -> Option<f64> {
        let judged = self.right + self.wrong;
        (judged > 0).then(|| self.right as f64 / judged as f64)
    }

    /// Its mode, and whether it works in it.
    fn mode(&self, entry: &DetectorEntry) -> String {
        let failing = if self.failure.is_some() { ", fails" } else { "" };
        format!("{}{failing}", entry.mode.as_str())
    }
}

async fn list(home: &Home, as_json: bool) -> Result<(), Failure> {
    let entries = catalog(&home.queries()?.current(), &home.settings()?);
    let judged = feedback(home).await?;
    let of = |entry: &DetectorEntry| judged.get(&entry.name).cloned().unwrap_or_default();
    if as_json {
        let mut rows = Vec::new();
        for entry in &entries {
            let mut row = serde_json::to_value(entry).map_err(|error| Failure::new(error.to_string()))?;
            let known = of(entry);
            row["marked_right"] = known.right.into();
            row["marked_wrong"] = known.wrong.into();
            row["precision"] = json!(known.precision());
            row["failure"] = json!(known.failure);
            rows.push(row);
        }
        terminal::line(&serde_json::Value::from(rows).to_string());
        return Ok(());
    }
    let rows = entries.iter().map(|entry| {
        let window = match entry.scope {
            DetectorScope::Window => format!("{} min", entry.window_seconds / 60),
            DetectorScope::Run => "a run".to_owned(),
        };
        let schedule = entry.schedule.clone().unwrap_or_else(|| "as runs end".to_owned());
        let known = of(entry);
        let precision = known.precision().map_or_else(
            || "not judged".to_owned(),
            |share| format!("{:.0} % of {}", share * 100.0, known.right + known.wrong),
        );
        let sources = entry.sources.join(", ");
        vec![entry.name.clone(), window, known.mode(entry), schedule, sources, precision, entry.file.clone()]
    });
    let header = ["detector", "judges", "mode", "schedule", "reads", "precision", "file"];
    terminal::line(&terminal::table(&header, rows.collect()));
    for failure in judged.values().filter_map(|known| known.failure.as_ref()) {
        let since = failure.failed_since.format("%F %R");
        let missed = match failure.runs_not_judged {
            0 => String::new(),
            runs => format!(", {runs} runs not judged by it"),
        };
        terminal::error_line(&format!("{} fails since {since}{missed}: {}", failure.detector, failure.error));
    }
    Ok(())
}

async fn dry_run(home: &Home, file: &Path, runs: u32, as_json: bool) -> Result<(), Failure> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).filter(|_| file.extension().is_some_and(|e| e == "sql"));
    let stem = stem.ok_or_else(|| Failure::new(format!("{} is no .sql file", file.display())))?;
    let text = std::fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
    if !QueryLibrary::is_run_draft(&text) {
        let failure = Failure::new(format!("{} judges windows, not runs", file.display()));
        let next = "tripline detectors backtest FILE --from 2026-11-13T00:00:00Z --to 2026-11-20T00:00:00Z";
        return Err(failure.hint(format!("try it over past windows: {next}")));
    }
    let spec = QueryLibrary::draft_run_detector(stem, &file.display().to_string(), &text)?;
    let reader = Reader::open(home, None).await?;
    // What is read of the runs is about as many events.
    let ids = newest_runs(&reader.context, runs, 1_000_000).await?;
    let tried = try_out(&reader.context, &spec, &ids).await.map_err(Failure::display)?;
    if as_json {
        terminal::line(&serde_json::to_string_pretty(&tried).map_err(Failure::display)?);
    } else {
        let rows = tried.flagged.iter().map(|run| {
            vec![
                run.run_id.clone(),
                run.agent_id.clone(),
                run.ended_at.format("%F %T").to_string(),
                run.severity.to_string(),
                format!("{:.2}", run.confidence),
                run.description.clone(),
            ]
        });
        let header = ["run", "agent", "ended", "severity", "confidence", "description"];
        terminal::line(&terminal::table(&header, rows.collect()));
    }
    let gone = match tried.gone {
        0 => String::new(),
        gone => format!("; the events of {gone} more are kept no longer"),
    };
    let (flagged, judged) = (tried.flagged.len(), tried.runs);
    terminal::error_line(&format!("{flagged} of the newest {judged} judged runs would be flagged{gone}"));
    Ok(())
}

/// What people said of each detector; nothing where there is no state yet.
async fn feedback(home: &Home) -> Result<BTreeMap<String, Judged>, Failure> {
    let mut judged = BTreeMap::new();
    if !home.database().exists() {
        return Ok(judged);
    }
    let (store, scope) = (home.open_store(OpenMode::ReadOnly).await?.store(), Scope::default_project());
    for one in store.feedback.precision(&scope).await? {
        let known = Judged { right: one.marked_right, wrong: one.marked_wrong, failure: None };
        judged.insert(one.detector, known);
    }
    for one in store.runs.precision(&scope).await? {
        let known = Judged { right: one.correct, wrong: one.wrong, failure: None };
        judged.insert(one.detector, known);
    }
    for failure in store.runs.detector_failures(&scope).await? {
        let name = failure.detector.clone();
        judged.entry(name).or_default().failure = Some(failure);
    }
    Ok(judged)
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
