//! `tripline sampling`: the traces worth looking at.

use tripline_agent::jobs::{HandRun, SAMPLER};
use tripline_store::{JobStatus, OpenMode, SamplingStats};

use crate::app::{Home, Reader, clock};
use crate::args::SamplingCommand;
use crate::failure::Failure;
use crate::server::Server;
use crate::terminal;

pub(crate) async fn run(command: SamplingCommand, home: &Home) -> Result<(), Failure> {
    match command {
        SamplingCommand::Run { dry_run, json, now } => {
            let mode = if dry_run && !home.database().exists() { OpenMode::Serve } else { OpenMode::Beside };
            let server = Server::assemble(home, clock(now), mode, |_| {}).await?;
            let (sampled, error) = match server.jobs.run_by_hand(SAMPLER, dry_run).await? {
                HandRun::Ran { run } => {
                    let error =
                        (run.status != JobStatus::Ok).then(|| run.error.unwrap_or_else(|| run.status.to_string()));
                    (run.detail.unwrap_or_default(), error)
                }
                HandRun::Dry { would, .. } => {
                    let sampled = would.and_then(|would| would.get("sampling").cloned()).unwrap_or_default();
                    let gaps = sampled.get("gaps").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
                    let reasons: Vec<&str> = gaps.iter().filter_map(|gap| gap.get("reason")?.as_str()).collect();
                    let error = (!reasons.is_empty()).then(|| reasons.join("; "));
                    (sampled, error)
                }
            };
            if let Some(error) = error {
                return Err(Failure::incomplete(&[error]));
            }
            if json {
                terminal::line(&serde_json::to_string_pretty(&sampled).map_err(Failure::display)?);
                return Ok(());
            }
            let stats = sampled.get("stats").cloned().unwrap_or_default();
            let stats: SamplingStats = serde_json::from_value(stats).map_err(Failure::display)?;
            terminal::line(&table(&[stats]));
            Ok(())
        }
        SamplingCommand::Stats { limit, json } => {
            let reader = Reader::open(home, None).await?;
            let context = &reader.context;
            let runs = context.store.sampling.sampling_stats(&context.scope, limit).await?;
            if json {
                terminal::line(&serde_json::to_string_pretty(&runs).map_err(Failure::display)?);
            } else if runs.is_empty() {
                terminal::line("the sampler has not run yet: `tripline sampling run`, or start `tripline serve`");
            } else {
                terminal::line(&table(&runs));
            }
            Ok(())
        }
        SamplingCommand::Policy { json } => {
            let policy = Reader::open(home, None).await?.context.settings.get().sampling;
            let policy = serde_json::to_value(policy).map_err(Failure::display)?;
            if json {
                terminal::line(&serde_json::to_string_pretty(&policy).map_err(Failure::display)?);
            } else {
                let rows = policy.as_object().into_iter().flatten();
                let rows = rows.map(|(key, value)| vec![key.clone(), value.to_string()]).collect();
                terminal::line(&terminal::table(&["policy", "points"], rows));
            }
            Ok(())
        }
    }
}

fn table(runs: &[SamplingStats]) -> String {
    let rows = runs
        .iter()
        .map(|run| {
            let share = match run.total_traces {
                0 => "-".to_owned(),
                total => format!("{:.1} %", 100.0 * run.dropped_traces as f64 / total as f64),
            };
            let reasons: Vec<String> = run.keep_reasons.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
            vec![
                run.window_start.format("%F %T").to_string(),
                run.window_end.format("%F %T").to_string(),
                run.total_traces.to_string(),
                run.sampled_traces.to_string(),
                share,
                reasons.join(", "),
            ]
        })
        .collect();
    terminal::table(&["from (UTC)", "to", "traces", "kept", "dropped", "kept for"], rows)
}
