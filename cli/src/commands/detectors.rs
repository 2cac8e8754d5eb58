//! `tripline detectors`: what there is, and what one finds in a window. Writes nothing.

use std::collections::BTreeMap;

use serde_json::json;
use tripline_agent::detect::{Persist, run_once};
use tripline_agent::queries::catalog::{DetectorEntry, DetectorScope, catalog};
use tripline_store::{OpenMode, Scope};

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
        DetectorsCommand::Backtest { file, from, to, json } => super::backtest::run(home, &file, from, to, json).await,
    }
}

/// How often people said that a detector was right, and how often not.
#[derive(Default, Clone, Copy)]
struct Judged {
    right: i64,
    wrong: i64,
}

impl Judged {
    fn precision(self) -> Option<f64> {
        let judged = self.right + self.wrong;
        (judged > 0).then(|| self.right as f64 / judged as f64)
    }
}

async fn list(home: &Home, as_json: bool) -> Result<(), Failure> {
    let entries = catalog(&home.queries()?.current(), &home.settings()?);
    let judged = feedback(home).await?;
    let of = |entry: &DetectorEntry| judged.get(&entry.name).copied().unwrap_or_default();
    if as_json {
        let mut rows = Vec::new();
        for entry in &entries {
            let mut row = serde_json::to_value(entry).map_err(|error| Failure::new(error.to_string()))?;
            let known = of(entry);
            row["marked_right"] = known.right.into();
            row["marked_wrong"] = known.wrong.into();
            row["precision"] = json!(known.precision());
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
        vec![
            entry.name.clone(),
            window,
            entry.mode.as_str().to_owned(),
            schedule,
            sources,
            precision,
            entry.file.clone(),
        ]
    });
    let header = ["detector", "judges", "mode", "schedule", "reads", "precision", "file"];
    terminal::line(&terminal::table(&header, rows.collect()));
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
        judged.insert(one.detector, Judged { right: one.marked_right, wrong: one.marked_wrong });
    }
    for one in store.runs.precision(&scope).await? {
        judged.insert(one.detector, Judged { right: one.correct, wrong: one.wrong });
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
