//! `tripline pr-risk`: the risk of a pull request, and what is posted about it.

use serde_json::json;
use tripline_store::{ActionFilter, OpenMode, PageRequest};

use crate::app::{Home, clock};
use crate::args::PrRiskArgs;
use crate::failure::Failure;
use crate::server::Server;
use crate::terminal;

pub(crate) async fn run(args: PrRiskArgs, home: &Home) -> Result<(), Failure> {
    let mode = if args.dry_run && !home.database().exists() { OpenMode::Serve } else { OpenMode::Beside };
    let server = Server::assemble(home, clock(args.now), mode, |_| {}).await?;
    let target = match (&args.owner, &args.repo) {
        (None, None) => server.risk.repository().map_err(Failure::display)?.clone(),
        (Some(owner), Some(repo)) => format!("{owner}/{repo}").parse().map_err(Failure::new)?,
        _ => return Err(Failure::new("--owner and --repo belong together")),
    };
    let scored = server.risk.score(&target, args.number, !args.dry_run).await.map_err(Failure::display)?;
    let mut written = Vec::new();
    let mut published = None;
    if !args.dry_run {
        let told = server.risk.publish(&scored).await.map_err(Failure::display)?;
        let now = server.context.clock.now();
        server.governance.outbox.drain(now).await.map_err(Failure::display)?;
        let pull = format!("{target}#{}", args.number);
        for action_type in ["github_pull_comment", "github_check_run"] {
            let filter = ActionFilter { action_type: Some(action_type.to_owned()), ..ActionFilter::default() };
            let listed =
                server.context.store.actions.list(&server.context.scope, &filter, &PageRequest::first(100)).await?;
            if let Some(action) =
                listed.items.into_iter().find(|action| action.target.as_deref() == Some(pull.as_str()))
            {
                written.push(json!({"type": action_type, "status": action.status, "error": action.error,
                    "url": action.result.as_ref().and_then(|result| result.get("url"))}));
            }
        }
        published = Some(told);
    }
    let report = &scored.report;
    if args.json {
        let document = json!({"pr_number": args.number, "risk_score": report.points.score,
            "complete": report.coverage.is_complete(), "dry_run": args.dry_run, "report": report, "text": scored.text,
            "requests": scored.requests, "published": published, "written": written});
        terminal::line(&document.to_string());
        return Ok(());
    }
    let points = &report.points;
    terminal::line(&format!(
        "{target}#{}: risk score {}/100 (threshold {})",
        args.number, points.score, report.threshold
    ));
    terminal::line(&format!(
        "  {} new errors × 4 = {:.1} points, ${:.2} × 10 = {:.1} points (at most 50), together without their fraction",
        points.errors, points.error_points, points.cost_usd, points.cost_points
    ));
    let rows = report.files.iter().map(|file| {
        let cost = format!("${:.2}", file.points.cost_usd);
        vec![
            file.path.clone(),
            file.points.score.to_string(),
            file.changes.to_string(),
            file.points.errors.to_string(),
            cost,
        ]
    });
    terminal::line(&terminal::table(&["file", "score", "changes", "errors", "cost"], rows.collect()));
    terminal::line(&scored.text.assessment);
    terminal::line(&scored.text.recommendation);
    for one in &written {
        let error = one["error"].as_str().map(|error| format!(": {error}")).unwrap_or_default();
        terminal::line(&format!(
            "{}: {}{error}",
            one["type"].as_str().unwrap_or_default(),
            one["status"].as_str().unwrap_or_default()
        ));
    }
    for note in published.iter().flat_map(|published| &published.notes) {
        terminal::error_line(&format!("note: {note}"));
    }
    if let Some(incident) = published.as_ref().and_then(|published| published.incident.as_ref()) {
        terminal::line(&format!("above the threshold: incident {incident} asks whether changes are requested"));
    }
    if !report.coverage.is_complete() {
        let gaps: Vec<String> =
            report.coverage.gaps.iter().map(|gap| format!("{}: {}", gap.source, gap.reason)).collect();
        return Err(Failure::incomplete(&gaps));
    }
    Ok(())
}
