//! The template of the digest: what is told without any model.
//!
//! Must hold: deterministic; each section has 2 to 4 bullets and all together under 400 words, whatever vendors wrote; every
//! figure is one of [`Facts`] or a field of a row; what is unknown is said to be unknown.

use serde_json::{Map, Value};
use tripline_store::EvidenceStatus;

use super::Asked;
use super::facts::{Facts, find};
use crate::queries::spec::usd_text;

/// Characters of a vendor's text at most.
const QUOTED: usize = 70;

/// The three parts, bullets on lines of their own.
#[must_use]
pub fn parts(asked: &[Asked], facts: &Facts) -> Vec<(&'static str, String)> {
    vec![
        ("what_shipped", joined(shipped(asked, facts))),
        ("what_broke", joined(broke(asked, facts))),
        ("what_to_watch", joined(watch(asked, facts))),
    ]
}

fn joined(bullets: Vec<String>) -> String {
    bullets.iter().take(4).map(|bullet| format!("- {bullet}")).collect::<Vec<_>>().join("\n")
}

fn quoted(text: &str) -> String {
    let line: String = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    if line.chars().count() <= QUOTED { line } else { line.chars().take(QUOTED - 1).chain(['…']).collect() }
}

fn text<'a>(row: &'a Map<String, Value>, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

fn number(row: &Map<String, Value>, column: &str) -> Option<f64> {
    row.get(column)?.as_f64()
}

/// `1 pull request was`, `7 pull requests were`.
fn counted(n: f64, one: &str, many: &str) -> String {
    if (n - 1.0).abs() < f64::EPSILON { format!("1 {one}") } else { format!("{n:.0} {many}") }
}

/// What is said of a query that was not answered.
fn unknown(asked: &[Asked], query: &str, what: &str) -> Option<String> {
    let one = find(asked, query)?;
    (one.status == EvidenceStatus::Unknown).then(|| {
        let source = one.sources.first().map_or("Tripline", String::as_str);
        if one.is_not_configured() {
            format!("{what}: unknown, {source} is not configured.")
        } else {
            format!("{what}: unknown, {source} could not be asked.")
        }
    })
}

fn scoped<'a>(asked: &'a [Asked], query: &str, scope: &'a str) -> Vec<&'a Map<String, Value>> {
    let rows = find(asked, query).map_or(&[][..], |one| one.rows.as_slice());
    rows.iter().filter(|row| text(row, "scope") == scope).collect()
}

fn shipped(asked: &[Asked], facts: &Facts) -> Vec<String> {
    let mut bullets = Vec::new();
    match facts.number("merged") {
        Some(0.0) => bullets.push("No pull request was merged.".to_owned()),
        Some(merged) => {
            bullets.push(format!("{} merged.", counted(merged, "pull request was", "pull requests were")));
            let newest = find(asked, "digest_merges").map_or(&[][..], |one| one.rows.as_slice());
            for row in newest.iter().take(2) {
                let number = row.get("number").map(ToString::to_string).unwrap_or_default();
                let author = Some(text(row, "author")).filter(|author| !author.is_empty());
                let by = author.map(|author| format!(" by {}", quoted(author))).unwrap_or_default();
                bullets.push(format!("#{number} \"{}\"{by}.", quoted(text(row, "title"))));
            }
        }
        None => bullets.extend(unknown(asked, "digest_merges", "Merges")),
    }
    match find(asked, "digest_deployments").filter(|one| one.status != EvidenceStatus::Unknown) {
        Some(deployments) => match deployments.rows.first() {
            Some(row) => bullets.push(format!(
                "{} to {}.",
                counted(number(row, "deployments").unwrap_or_default(), "deployment", "deployments"),
                quoted(text(row, "environment"))
            )),
            None => bullets.push("No deployment is recorded.".to_owned()),
        },
        None => bullets.extend(unknown(asked, "digest_deployments", "Deployments")),
    }
    bullets
}

fn broke(asked: &[Asked], facts: &Facts) -> Vec<String> {
    let mut bullets = Vec::new();
    match (facts.number("issues"), facts.number("new_issues"), facts.number("error_events")) {
        (Some(0.0), ..) => bullets.push("No error was reported.".to_owned()),
        (Some(issues), Some(new), Some(events)) => {
            bullets.push(format!(
                "{} of {}, {new:.0} of them new.",
                counted(events, "error", "errors"),
                counted(issues, "issue", "issues")
            ));
            if let Some(row) = scoped(asked, "digest_errors", "issue").first() {
                let events = number(row, "events").unwrap_or_default();
                bullets.push(format!(
                    "Most often: \"{}\", {}.",
                    quoted(text(row, "title")),
                    counted(events, "time", "times")
                ));
            }
        }
        _ => bullets.extend(unknown(asked, "digest_errors", "Errors")),
    }
    match facts.number("incidents_opened") {
        Some(0.0) => bullets.push(match unjudged(asked, facts) {
            Some(unjudged) => format!("No incident was found, but {unjudged}."),
            None => "No incident was opened.".to_owned(),
        }),
        Some(opened) => {
            let cost = facts.number("incidents_cost_usd").unwrap_or_default();
            let unjudged = unjudged(asked, facts).map_or_else(String::new, |unjudged| format!("; {unjudged}"));
            bullets.push(format!(
                "{}, which cost {}{unjudged}.",
                counted(opened, "incident was opened", "incidents were opened"),
                usd_text(cost)
            ));
            let opened = scoped(asked, "digest_incidents", "incident");
            if let Some(row) = opened.iter().find(|row| number(row, "opened") == Some(1.0)) {
                bullets.push(format!(
                    "The worst: {} of {} ({}).",
                    text(row, "type").replace('_', " "),
                    quoted(text(row, "entity")),
                    text(row, "severity")
                ));
            }
        }
        None => bullets.extend(unknown(asked, "digest_incidents", "Incidents")),
    }
    bullets
}

/// What could not be judged: no incident found there is no incident that was not there.
fn unjudged(asked: &[Asked], facts: &Facts) -> Option<String> {
    let Some(windows) = facts.number("windows_unjudged") else {
        return Some("what could be judged is unknown".to_owned());
    };
    let detectors = scoped(asked, "digest_unjudged", "detector");
    let names: Vec<String> = detectors.iter().take(5).map(|row| quoted(text(row, "detector"))).collect();
    (windows > 0.0).then(|| {
        format!(
            "{} at least could not be judged completely ({})",
            counted(windows, "window", "windows"),
            names.join(", ")
        )
    })
}

fn watch(asked: &[Asked], facts: &Facts) -> Vec<String> {
    let mut bullets = Vec::new();
    match (facts.number("cost_usd"), facts.number("generations"), facts.number("previous_cost_usd")) {
        (Some(cost), Some(calls), Some(previous)) => {
            bullets.push(format!(
                "Model calls cost {} ({}), after {} in the week before.",
                usd_text(cost),
                counted(calls, "call", "calls"),
                usd_text(previous)
            ));
            let features = scoped(asked, "digest_costs", "feature");
            let grown = features
                .iter()
                .filter(|row| number(row, "change_usd").is_some_and(|change| change > 0.0))
                .max_by(|a, b| {
                    number(a, "change_usd").unwrap_or_default().total_cmp(&number(b, "change_usd").unwrap_or_default())
                });
            if let Some(row) = grown {
                bullets.push(format!(
                    "{} cost {}, {} more than in the week before.",
                    quoted(text(row, "feature")),
                    usd_text(number(row, "cost_usd").unwrap_or_default()),
                    usd_text(number(row, "change_usd").unwrap_or_default())
                ));
            }
        }
        _ => bullets.extend(unknown(asked, "digest_costs", "Cost of model calls")),
    }
    match facts.number("incidents_open") {
        Some(0.0) => bullets.push(match unjudged(asked, facts) {
            Some(_) => "No incident is known to be open.".to_owned(),
            None => "No incident is open.".to_owned(),
        }),
        Some(open) => bullets.push(format!("{} open.", counted(open, "incident is", "incidents are"))),
        None => bullets.extend(unknown(asked, "digest_incidents", "Open incidents")),
    }
    if let Some(waiting) = facts.number("approvals_waiting").filter(|waiting| *waiting > 0.0) {
        bullets.push(format!("{} for a decision.", counted(waiting, "action waits", "actions wait")));
    } else if bullets.len() < 2 {
        bullets.push("No decision waits.".to_owned());
    }
    bullets
}
