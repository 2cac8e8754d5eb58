//! `tripline bench accuracy`: how right the verdicts are, on labelled history.
//!
//! Owns: reading the labels ([`truth`]), replaying a history through the whole product ([`replay`]), the seeds' own rules
//! for comparison ([`plain`]), and the table ([`score`]). Must hold: detectors see nothing of the labels.

mod plain;
mod replay;
mod sampler;
mod score;
mod truth;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails should stop at once")]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;
use tripline_simulator::{Labelled, LabelledDown, LabelledOptions};

use crate::args::AccuracyArgs;
use crate::failure::Failure;
use crate::terminal;

use score::{Table, Tally};
use truth::Truth;

/// What one replayed history gave.
#[derive(Debug, Serialize)]
struct History {
    folder: String,
    seed: Option<u64>,
    calls: replay::Calls,
    sampler: sampler::Sampled,
    /// Windows in which a source was missing.
    incomplete_windows: u64,
    seconds: f64,
    incidents: Vec<score::Verdict>,
}

#[derive(Debug, Serialize)]
struct Report {
    tripline: Table,
    /// The rules of seed 003, implemented plainly.
    seed_rules: Table,
    histories: Vec<History>,
}

pub(crate) async fn run(args: AccuracyArgs) -> Result<(), Failure> {
    let (mut ours, mut plain) = (Tally::default(), Tally::default());
    let mut histories = Vec::new();
    if let Some(folder) = &args.data {
        histories.push(measure(folder, None, &args, &mut ours, &mut plain).await?);
    } else {
        for number in 0..args.generate {
            let seed = args.seed.wrapping_add(u64::from(number));
            let options = LabelledOptions {
                seed,
                features: args.features,
                calls_per_hour: args.calls_per_hour,
                // Every third one: what is found in it is found wrongly.
                quiet: args.quiet || number % 3 == 2,
                rename: args.rename_seed,
                outage: outage(&args),
            };
            let temporary = tempfile::tempdir().map_err(Failure::display)?;
            let folder: PathBuf = match &args.keep {
                Some(folder) => folder.join(format!("seed-{seed}")),
                None => temporary.path().to_owned(),
            };
            let target = folder.clone();
            let written = tokio::task::spawn_blocking(move || Labelled::tell(&options).write(&target));
            written.await.map_err(Failure::display)?.map_err(Failure::display)?;
            histories.push(measure(&folder, Some(seed), &args, &mut ours, &mut plain).await?);
        }
    }
    let report = Report { tripline: ours.table(), seed_rules: plain.table(), histories };
    if args.json {
        terminal::line(&serde_json::to_string_pretty(&report).map_err(Failure::display)?);
        return Ok(());
    }
    terminal::line("Tripline");
    terminal::line(&report.tripline.text());
    terminal::line("\nThe rules of seed 003, implemented plainly");
    terminal::line(&report.seed_rules.text());
    for history in &report.histories {
        let seed = history.seed.map_or_else(String::new, |seed| format!(" (seed {seed})"));
        terminal::line(&format!("\n{}{seed}: {:.0} s", history.folder, history.seconds));
        terminal::line(&history.calls.text());
        terminal::line(&history.sampler.text());
        terminal::line(&format!("  {} windows were judged without a source", history.incomplete_windows));
        for verdict in &history.incidents {
            terminal::line(&format!("  {}", verdict.text()));
        }
    }
    Ok(())
}

/// The source that is to be down first, and for how long.
fn outage(args: &AccuracyArgs) -> Option<LabelledDown> {
    let wanted = args.outage.as_deref()?;
    let source = LabelledDown::SOURCES.into_iter().find(|source| *source == wanted)?;
    Some(LabelledDown { source, hours: args.outage_hours })
}

async fn measure(
    folder: &Path,
    seed: Option<u64>,
    args: &AccuracyArgs,
    ours: &mut Tally,
    plain: &mut Tally,
) -> Result<History, Failure> {
    let truth = Truth::load(folder)?;
    let began = std::time::Instant::now();
    let replayed = replay::replay(folder, &truth, args.restart_every).await?;
    let incidents = ours.add(&truth, replayed.episodes);
    let (folder_read, truth_read) = (folder.to_owned(), truth.clone());
    let found = tokio::task::spawn_blocking(move || plain::episodes(&folder_read, &truth_read));
    plain.add(&truth, found.await.map_err(Failure::display)??);
    Ok(History {
        folder: folder.display().to_string(),
        seed,
        calls: replayed.calls,
        sampler: replayed.sampler,
        incomplete_windows: replayed.incomplete_windows,
        seconds: began.elapsed().as_secs_f64(),
        incidents,
    })
}
