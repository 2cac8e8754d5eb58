//! `tripline detectors backtest`: what a detector's file would have found in every window between two times.
//!
//! Must hold: nothing is written; a window in which a source was missing is told as unknown, never as clean.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tripline_agent::detect::{Detectors, Finding, Persist};
use tripline_agent::queries::QueryLibrary;
use tripline_store::Window;

use crate::app::{Home, Reader};
use crate::failure::Failure;
use crate::terminal;

/// Windows of one run at most: a month of quarters of an hour.
const MOST_WINDOWS: usize = 3000;
/// Findings so far apart are two conditions.
const APART: TimeDelta = TimeDelta::hours(1);

/// One condition: findings of one fingerprint that follow each other.
struct Condition {
    first: Finding,
    found_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    windows: u64,
}

pub(crate) async fn run(
    home: &Home,
    file: &Path,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    as_json: bool,
) -> Result<(), Failure> {
    if from >= to {
        return Err(Failure::usage(
            "--from must be before --to",
            "tripline detectors backtest FILE --from 2026-11-13T00:00:00Z --to 2026-11-20T00:00:00Z",
        ));
    }
    let overlay = tempfile::tempdir().map_err(Failure::display)?;
    let (queries, name) = with_file(home, file, overlay.path())?;
    let spec = queries.detector(&name)?;
    let due = spec.schedule.between(from - TimeDelta::seconds(1), to, MOST_WINDOWS + 1);
    if due.len() > MOST_WINDOWS {
        return Err(Failure::new(format!("more than {MOST_WINDOWS} windows are due between {from} and {to}"))
            .hint("choose a shorter time"));
    }
    let reader = Reader::open(home, Some(to)).await?;
    let detectors = Detectors::new(reader.context.clone(), queries);
    let (mut conditions, mut unknown): (Vec<Condition>, Vec<String>) = (Vec::new(), Vec::new());
    let mut requests = 0;
    for at in &due {
        let judgement = detectors.judge(&spec, Window::new(*at - spec.window, *at)?, Persist::Nothing).await?;
        requests += judgement.requests;
        for gap in &judgement.gaps {
            unknown.push(format!("window until {}: {}: {}", at.to_rfc3339(), gap.source, gap.reason));
        }
        for finding in judgement.findings {
            let same = conditions
                .iter_mut()
                .rev()
                .find(|known| known.first.fingerprint == finding.fingerprint && *at - known.last_at <= APART);
            match same {
                Some(known) => {
                    known.last_at = *at;
                    known.windows += 1;
                }
                None => conditions.push(Condition { first: finding, found_at: *at, last_at: *at, windows: 1 }),
            }
        }
    }
    if as_json {
        let found: Vec<_> = conditions
            .iter()
            .map(|known| {
                json!({
                    "type": known.first.kind, "entity": known.first.entity, "severity": known.first.severity,
                    "found_at": known.found_at, "last_at": known.last_at, "windows": known.windows,
                    "onset": known.first.onset, "description": known.first.description,
                    "evidence": known.first.evidence,
                })
            })
            .collect();
        let document = json!({
            "detector": name, "from": from, "to": to, "windows": due.len(), "requests": requests,
            "conditions": found, "unknown": unknown,
        });
        terminal::line(&serde_json::to_string_pretty(&document).map_err(Failure::display)?);
    } else {
        for known in &conditions {
            let (first, windows) = (&known.first, known.windows);
            let at = known.found_at.format("%F %R");
            terminal::line(&format!(
                "{at} {} {}: {} ({windows} windows)",
                first.severity, first.kind, first.description
            ));
        }
        let count = conditions.len();
        terminal::error_line(&format!("{} windows, {count} conditions, {requests} requests", due.len()));
    }
    if unknown.is_empty() { Ok(()) } else { Err(Failure::incomplete(&unknown)) }
}

/// The queries of the home with this detector in place of the one of its name.
fn with_file(home: &Home, file: &Path, overlay: &Path) -> Result<(QueryLibrary, String), Failure> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).filter(|_| file.extension().is_some_and(|e| e == "sql"));
    let Some(stem) = stem else {
        return Err(Failure::new(format!("{} is no .sql file", file.display())));
    };
    let text = std::fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
    let named = text.lines().find_map(|line| line.strip_prefix("-- name:")).map_or(stem, str::trim).to_owned();
    let (own, copy) = (home.path.join("queries"), overlay.join("queries"));
    for folder in ["detectors", "baselines"] {
        let target = copy.join(folder);
        std::fs::create_dir_all(&target).map_err(|error| Failure::file(&target, &error))?;
        let Ok(entries) = std::fs::read_dir(own.join(folder)) else { continue };
        for entry in entries {
            let entry = entry.map_err(|error| Failure::file(&own, &error))?;
            let from = entry.path();
            if from.extension().is_some_and(|extension| extension == "sql") {
                std::fs::copy(&from, target.join(entry.file_name())).map_err(|error| Failure::file(&from, &error))?;
            }
        }
    }
    let target = copy.join("detectors").join(format!("{stem}.sql"));
    std::fs::write(&target, text).map_err(|error| Failure::file(&target, &error))?;
    let queries = QueryLibrary::open(Some(overlay))?;
    let refused: Vec<String> = queries.status().errors;
    if let Some(why) = refused.into_iter().find(|why| why.contains(stem)) {
        return Err(Failure::new(why.replace(&target.display().to_string(), &file.display().to_string())));
    }
    Ok((queries, named))
}
