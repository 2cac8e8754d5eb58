//! The GitHub issue of an incident: title, body with the narrator's four parts, evidence, and a hidden marker.
//!
//! Must hold: at most 65,536 characters; vendor text only through [`markdown`]; the marker is on a line of its own,
//! where no vendor text can be.

use tripline_store::{Evidence, EvidenceStatus, Incident};

use super::markdown::{code, prose};
use super::slack::{Links, no_culprit, short_sha};
use super::text::{cut, dollars, one_line, title};
use crate::people::{People, Watch};

const TITLE: usize = 200;
/// Each of the four parts, before escaping (which at most quadruples it).
const PART: usize = 2_500;
const MAX_EVIDENCE: usize = 40;
const MAX_GAPS: usize = 20;
/// GitHub's limit on a body.
const MAX_BODY: usize = 65_536;

/// An issue to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Title.
    pub title: String,
    /// Body, Markdown.
    pub body: String,
}

/// Renders the issue. `marker` is ours: the hidden comment by which the issue is found again.
#[must_use]
pub fn incident_issue(incident: &Incident, evidence: &[Evidence], links: &Links, marker: &str) -> Issue {
    let parts = incident.narrative_parts.clone().unwrap_or_default();
    let or = |text: &str, otherwise: &str| if text.trim().is_empty() { otherwise.to_owned() } else { text.to_owned() };
    let mut body = String::new();
    for (heading, text) in [
        ("What happened", or(&parts.what_happened, incident.narrative.as_deref().unwrap_or(&incident.description))),
        ("Likely cause", or(&parts.likely_cause, "Not known.")),
        ("Impact", or(&parts.impact, "Not known.")),
        ("Recommended action", or(&parts.recommended_action, "Look at the evidence below.")),
    ] {
        body.push_str(&format!("## {heading}\n\n{}\n\n", prose(&cut(&text, PART))));
    }
    body.push_str(&facts(incident, evidence, links));
    let mut end = gap_list(incident);
    if let Some(page) = &links.page {
        end.push_str(&format!("[Open in Tripline]({page})\n\n"));
    }
    end.push_str(&format!("Opened by Tripline, incident {}.\n\n{marker}\n", code(incident.id.as_str())));
    let list = evidence_list(evidence, links);
    let fits = body.chars().count() + list.chars().count() + end.chars().count() <= MAX_BODY;
    body.push_str(if fits { &list } else { "## Evidence\n\nToo long for an issue; it is kept in Tripline.\n\n" });
    body.push_str(&end);
    Issue { title: issue_title(incident), body }
}

/// GitHub renders no Markdown in titles; a mention is broken up all the same, since titles are quoted elsewhere.
fn issue_title(incident: &Incident) -> String {
    let title = format!("[Tripline] {}: {}", title(&incident.kind), one_line(&incident.entity));
    cut(&title, TITLE).replace('@', "@\u{200b}")
}

fn facts(incident: &Incident, evidence: &[Evidence], links: &Links) -> String {
    let sha = incident.culprit_sha.as_deref();
    let culprit = match (sha.and_then(short_sha), &links.commit) {
        (Some(short), Some(link)) => format!("[`{short}`]({link})"),
        (_, _) => sha.map_or_else(|| no_culprit(incident).to_owned(), |sha| code(&cut(sha, 100))),
    };
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
    let window = format!("{} to {}", time(incident.window.start), time(incident.window.end));
    let people = people(&People::of(incident, evidence));
    let digest = incident
        .evidence_sha256
        .as_deref()
        .map_or_else(String::new, |digest| format!("- Evidence digest: {}\n", code(&cut(digest, 100))));
    format!(
        "## Facts\n\n- Type: {}\n- Severity: {}\n- About: {}\n- Window: {window}\n- Cost: {}\n- Culprit: {culprit}\n{people}{digest}\n",
        code(&cut(&incident.kind, 100)),
        incident.severity,
        code(&cut(&incident.entity, 500)),
        // Between backticks a dollar sign starts no formula.
        incident.cost_usd.map_or_else(|| "unknown".to_owned(), |usd| code(&dollars(usd))),
    )
}

fn people(people: &People) -> String {
    let mut lines = String::new();
    if let Some(author) = &people.author {
        lines.push_str(&format!("- Author of the first suspect: {}\n", code(&cut(author, 100))));
    }
    match &people.watch {
        Watch::NotAsked | Watch::NotConfigured => {}
        Watch::Unknown => lines.push_str("- On call: unknown, PagerDuty did not answer\n"),
        Watch::Known(known) if known.is_empty() => lines.push_str("- On call: nobody\n"),
        Watch::Known(known) => {
            let names: Vec<String> = known.iter().take(6).map(|one| code(&cut(&one.name, 100))).collect();
            lines.push_str(&format!("- On call: {}\n", names.join(", ")));
        }
    }
    lines
}

fn evidence_list(evidence: &[Evidence], links: &Links) -> String {
    if evidence.is_empty() {
        return String::new();
    }
    let mut list = "## Evidence\n\n".to_owned();
    for item in evidence.iter().take(MAX_EVIDENCE) {
        let name = code(&cut(&item.name, 100));
        let name = links.page.as_ref().map_or(name.clone(), |page| format!("[{name}]({page})"));
        let sources: Vec<String> = item.sources.iter().take(10).map(|source| code(&cut(source, 60))).collect();
        let answer = match item.status {
            EvidenceStatus::Ok if item.truncated => format!("{} rows, not all of them", item.row_count),
            EvidenceStatus::Ok if item.row_count == 1 => "1 row".to_owned(),
            EvidenceStatus::Ok => format!("{} rows", item.row_count),
            EvidenceStatus::Empty => "answered: nothing".to_owned(),
            EvidenceStatus::Unknown => {
                format!("unknown: {}", code(&cut(item.error.as_deref().unwrap_or("no reason was kept"), 300)))
            }
        };
        list.push_str(&format!("- {name} ({}): {answer}\n", sources.join(", ")));
    }
    if evidence.len() > MAX_EVIDENCE {
        list.push_str(&format!("- and {} more\n", evidence.len() - MAX_EVIDENCE));
    }
    list.push('\n');
    list
}

fn gap_list(incident: &Incident) -> String {
    if incident.gaps.is_empty() {
        return String::new();
    }
    let mut list = "## Unknown\n\n".to_owned();
    for gap in incident.gaps.iter().take(MAX_GAPS) {
        list.push_str(&format!("- {}: {}\n", code(&cut(&gap.source, 60)), code(&cut(&gap.reason, 300))));
    }
    list.push('\n');
    list
}
