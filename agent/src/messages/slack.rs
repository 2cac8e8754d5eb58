//! The one Slack message of an incident, as it stands: rendered anew from the state each time.
//!
//! Owns its layout within Slack's limits (50 blocks; 3,000 characters a section, 150 a header, 75 a button).
//!
//! Must hold: text from vendors is in `plain_text` objects only, escaped; what is mrkdwn is made of our own words,
//! checked ids and checked addresses.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tripline_store::{
    Action, ActionStatus, Approval, ApprovalStatus, Feedback, Incident, IncidentStatus, Severity, Via,
};
use url::Url;

use super::buttons::{Button, Verdict};
use super::notes::{NO_RUN, prompt_published};
use super::text::{dollars, one_line, slack_inline, slack_plain, title};
use crate::actions::{ActionType, PublishPrompt, Remediation};
use crate::people::{People, Watch};

const SECTION: usize = 2_900;
const FIELD: usize = 1_900;
const HEADER: usize = 150;
/// The fallback text, of which Slack shows some hundred characters in a notification.
const FALLBACK: usize = 600;
/// Characters of a prompt's begin and end that are shown to an approver.
const TEXT_HEAD: usize = 900;
const TEXT_TAIL: usize = 1_900;
const MAX_APPROVALS: usize = 3;
const MAX_ACTIONS: usize = 3;
const MAX_GAPS: usize = 5;
const MAX_SUSPECTS: usize = 3;
const MAX_ON_CALL: usize = 6;
/// Why an approval that came by the Kill button says so.
pub(crate) const KILL_REASON: &str = "pressed Kill Loop";

/// What a message is made of: fallback text (escaped) and blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Shown in notifications, and where blocks are not.
    pub text: String,
    /// The blocks.
    pub blocks: Option<Value>,
}

/// Addresses for people; both were checked where they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// The incident's page.
    pub page: Option<String>,
    /// The culprit's commit.
    pub commit: Option<String>,
}

/// The state a message shows.
#[derive(Debug, Clone)]
pub struct IncidentView<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// Its approvals, newest first.
    pub approvals: &'a [Approval],
    /// Its remediations in the outbox, newest first.
    pub actions: &'a [Action],
    /// Where to look further.
    pub links: &'a Links,
    /// Whom it concerns.
    pub people: &'a People,
    /// What responders say of it, newest first.
    pub feedback: &'a [Feedback],
}

/// Renders the message.
#[must_use]
pub fn incident_message(view: &IncidentView<'_>) -> Content {
    let incident = view.incident;
    let mut blocks = vec![
        json!({"type": "header", "text": plain(&headline(incident), HEADER)}),
        json!({"type": "section", "fields": fields(view)}),
    ];
    narrative(incident, &mut blocks);
    suspects(incident, &mut blocks);
    people(view.people, &mut blocks);
    gaps(incident, &mut blocks);
    for approval in view.approvals.iter().take(MAX_APPROVALS) {
        decision(approval, view.links, &mut blocks);
    }
    for action in view.actions.iter().take(MAX_ACTIONS) {
        outcome(action, &mut blocks);
    }
    verdicts(view, &mut blocks);
    footer(view, &mut blocks);
    Content { text: fallback(view), blocks: Some(Value::Array(blocks)) }
}

/// `[HIGH] Cost spike: summarise-ticket`.
pub(super) fn headline(incident: &Incident) -> String {
    let severity = incident.severity.as_str().to_uppercase();
    format!("[{severity}] {}: {}", title(&incident.kind), one_line(&incident.entity))
}

fn fallback(view: &IncidentView<'_>) -> String {
    let headline = slack_inline(&headline(view.incident), 300);
    let state = match view.approvals.first() {
        Some(approval) if approval.status == ApprovalStatus::Pending => {
            let what = action_words(&approval.request.action_type);
            return cut_ours(&format!("{headline} — approval needed: {what}"));
        }
        Some(approval) => decision_line(approval),
        None if view.incident.status == IncidentStatus::Resolved => "Resolved".to_owned(),
        None => return cut_ours(&headline),
    };
    cut_ours(&format!("{state} — {headline}"))
}

/// Our own words are far shorter; a very long person's name is cut before it comes here.
fn cut_ours(text: &str) -> String {
    super::text::cut(text, FALLBACK)
}

fn plain(text: &str, max: usize) -> Value {
    let text = slack_plain(text, max);
    // Slack refuses empty text.
    let text = if text.is_empty() { "–".to_owned() } else { text };
    json!({"type": "plain_text", "text": text, "emoji": false})
}

/// Our own mrkdwn. `verbatim`: Slack links nothing that is not marked as a link.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn section(text: Value) -> Value {
    json!({"type": "section", "text": text})
}

fn caption(text: &str) -> Value {
    json!({"type": "context", "elements": [mrkdwn(text)]})
}

fn fields(view: &IncidentView<'_>) -> Vec<Value> {
    let incident = view.incident;
    let cost = incident.cost_usd.map_or_else(|| "unknown".to_owned(), dollars);
    let window = format!("{} to {}", minute(incident.window.start), minute(incident.window.end));
    let status = match (incident.status, incident.reopened_count) {
        (IncidentStatus::Resolved, _) => "resolved".to_owned(),
        (IncidentStatus::Open, 0) => "open".to_owned(),
        (IncidentStatus::Open, times) => format!("open again ({times}×)"),
    };
    let seen =
        if incident.occurrences == 1 { "1 window".to_owned() } else { format!("{} windows", incident.occurrences) };
    let sha = incident.culprit_sha.as_deref();
    let culprit = match (sha.and_then(short_sha), &view.links.commit) {
        (Some(short), Some(link)) => mrkdwn(&format!("Culprit: <{link}|{short}>")),
        (Some(short), None) => plain(&format!("Culprit: {short}"), FIELD),
        (None, _) => {
            plain(&format!("Culprit: {}", sha.map_or_else(|| no_culprit(incident).to_owned(), one_line)), FIELD)
        }
    };
    vec![
        plain(&format!("Type: {}", incident.kind), FIELD),
        plain(&format!("About: {}", one_line(&incident.entity)), FIELD),
        plain(&format!("Window: {window}"), FIELD),
        plain(&format!("Cost: {cost}"), FIELD),
        culprit,
        plain(&format!("Status: {status}, seen in {seen}"), FIELD),
    ]
}

/// The first eight digits of a SHA; `None` for what is none.
pub(super) fn short_sha(sha: &str) -> Option<&str> {
    let is_sha = (8..=64).contains(&sha.len()) && sha.bytes().all(|b| b.is_ascii_hexdigit());
    sha.get(..8).filter(|_| is_sha)
}

fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn narrative(incident: &Incident, blocks: &mut Vec<Value>) {
    let Some(parts) = &incident.narrative_parts else {
        let text = incident.narrative.as_deref().unwrap_or(&incident.description);
        blocks.push(section(plain(text, SECTION)));
        return;
    };
    for (label, text) in [
        ("What happened", &parts.what_happened),
        ("Likely cause", &parts.likely_cause),
        ("Impact", &parts.impact),
        ("Recommended action", &parts.recommended_action),
    ] {
        blocks.push(caption(&format!("*{label}*")));
        blocks.push(section(plain(text, SECTION)));
    }
}

fn suspects(incident: &Incident, blocks: &mut Vec<Value>) {
    let suspects = incident.suspects.as_array().map(Vec::as_slice).unwrap_or_default();
    let lines: Vec<String> = suspects.iter().take(MAX_SUSPECTS).enumerate().filter_map(suspect_line).collect();
    if !lines.is_empty() {
        blocks.push(caption("*Suspects*"));
        blocks.push(section(plain(&lines.join("\n"), SECTION)));
    }
}

/// `1. 9f2c1ab0 (score 0.82) Retry harder`.
fn suspect_line((index, suspect): (usize, &Value)) -> Option<String> {
    let text = |names: &[&str]| names.iter().find_map(|name| suspect.get(name)?.as_str()).map(one_line);
    let name = text(&["sha", "id", "name"])?;
    let name = short_sha(&name).unwrap_or(&name);
    let score = suspect.get("score").and_then(Value::as_f64).map(|score| format!(" (score {score:.2})"));
    let what = text(&["message", "title", "summary"]).map(|what| format!(" {}", super::text::cut(&what, 200)));
    Some(format!("{}. {name}{}{}", index + 1, score.unwrap_or_default(), what.unwrap_or_default()))
}

/// What is said where no culprit is named: that there is none is known only if the commits could be read.
pub(super) fn no_culprit(incident: &Incident) -> &'static str {
    let unread = incident.gaps.iter().any(|gap| gap.source == "github");
    if unread { "unknown (commits could not be read)" } else { "none found" }
}

/// Whom to speak to: who wrote the suspect, who is on call, and which sources were not asked.
fn people(people: &People, blocks: &mut Vec<Value>) {
    let mut lines = Vec::new();
    if let Some(author) = &people.author {
        lines.push(format!("Author of the first suspect: {}", super::text::cut(&one_line(author), 100)));
    }
    match &people.watch {
        Watch::NotAsked | Watch::NotConfigured => {}
        Watch::Unknown => lines.push("On call: unknown, PagerDuty did not answer".to_owned()),
        Watch::Known(known) if known.is_empty() => lines.push("On call: nobody".to_owned()),
        Watch::Known(known) => {
            let first = known.first().map_or(1, |one| one.level);
            let names: Vec<String> = known
                .iter()
                .filter(|one| one.level == first)
                .take(MAX_ON_CALL)
                .map(|one| match &one.policy {
                    Some(policy) => format!(
                        "{} ({})",
                        super::text::cut(&one_line(&one.name), 80),
                        super::text::cut(&one_line(policy), 80)
                    ),
                    None => super::text::cut(&one_line(&one.name), 80),
                })
                .collect();
            lines.push(format!("On call: {}", names.join(", ")));
        }
    }
    if !people.not_configured.is_empty() {
        lines.push(format!(
            "Not asked, not configured: {}",
            people.not_configured.iter().map(|name| one_line(name)).collect::<Vec<_>>().join(", ")
        ));
    }
    if !lines.is_empty() {
        blocks.push(section(plain(&lines.join("\n"), SECTION)));
    }
}

/// What responders say, and the buttons to say it.
fn verdicts(view: &IncidentView<'_>, blocks: &mut Vec<Value>) {
    let id = &view.incident.id;
    if let Some(newest) = view.feedback.first() {
        let what = if newest.feedback.correct { "right" } else { "wrong" };
        let more = match view.feedback.len() {
            1 => String::new(),
            more => format!(" (newest of {more})"),
        };
        blocks.push(section(mrkdwn(&format!("Marked {what} by {}{more}", person(&newest.feedback.given_by)))));
    }
    blocks.push(json!({
        "type": "actions", "block_id": format!("tripline-verdict:{id}"),
        "elements": [Verdict::Right.block(id), Verdict::Wrong.block(id)],
    }));
}

fn gaps(incident: &Incident, blocks: &mut Vec<Value>) {
    let lines: Vec<String> = incident
        .gaps
        .iter()
        .take(MAX_GAPS)
        .map(|gap| format!("unknown: {} — {}", one_line(&gap.source), super::text::cut(&one_line(&gap.reason), 300)))
        .collect();
    if !lines.is_empty() {
        blocks.push(section(plain(&lines.join("\n"), SECTION)));
    }
}

fn decision(approval: &Approval, links: &Links, blocks: &mut Vec<Value>) {
    if approval.status != ApprovalStatus::Pending {
        blocks.push(section(mrkdwn(&decision_line(approval))));
        return;
    }
    let request = &approval.request;
    let what = action_words(&request.action_type);
    let target = request.target.as_deref().map(|target| format!(": {}", one_line(target))).unwrap_or_default();
    blocks.push(json!({"type": "divider"}));
    blocks.push(section(plain(&format!("Approval needed: {what}{target}\n{}", request.summary), SECTION)));
    if request.action_type == ActionType::PublishPrompt.as_str() {
        texts(approval, links, blocks);
    }
    let mut buttons = vec![Button::Approve.block(approval), Button::Reject.block(approval)];
    if request.action_type == Remediation::KillLoop.as_str() {
        buttons.push(Button::Kill.block(approval));
    }
    blocks.push(json!({
        "type": "actions", "block_id": format!("tripline:{}", approval.id), "elements": buttons,
    }));
    let hash: String = approval.payload_sha256.chars().take(12).collect();
    blocks.push(caption(&format!("Expires {} · exact payload sha256 {hash}…", date(request.expires_at))));
}

/// The old and the new text of a prompt, each with its middle left out where it is long: what is added stands at the end.
fn texts(approval: &Approval, links: &Links, blocks: &mut Vec<Value>) {
    let Ok(fix) = crate::actions::read::<PublishPrompt>(&approval.request.payload) else {
        // The executor refuses what it cannot read; the approver is told why there is nothing to see.
        blocks.push(section(mrkdwn("The prompt's texts cannot be read: approving this would do nothing.")));
        return;
    };
    let old = if fix.old_text.trim().is_empty() { "(empty)" } else { fix.old_text.as_str() };
    let mut was_cut = false;
    for (title, text) in [("Old text", old), ("New text", fix.new_text.as_str())] {
        let (shown, is_cut) = shown_within(text);
        was_cut |= is_cut;
        blocks.push(section(mrkdwn(&format!("*{title}*"))));
        blocks.push(section(plain(&shown, SECTION)));
    }
    if was_cut {
        let place = match &links.page {
            Some(page) => format!("<{page}|the incident's page>"),
            None => format!("/api/v1/approvals/{}", approval.id),
        };
        blocks.push(caption(&format!("The middle is left out. Both texts as a whole: {place}")));
    }
}

/// As much of both ends as Slack takes, escaped.
fn shown_within(text: &str) -> (String, bool) {
    let (mut head, mut tail) = (TEXT_HEAD, TEXT_TAIL);
    loop {
        let (shown, is_cut) = both_ends(text, head, tail);
        if slack_plain(&shown, usize::MAX).encode_utf16().count() <= SECTION || tail == 0 {
            return (shown, is_cut);
        }
        (head, tail) = (head / 2, tail / 2);
    }
}

/// The begin and the end of a long text, and whether something between them was left out.
fn both_ends(text: &str, head: usize, tail: usize) -> (String, bool) {
    let length = text.chars().count();
    if length <= head + tail {
        return (text.to_owned(), false);
    }
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    (format!("{begin}\n[…]\n{end}"), true)
}

/// `✅ Approved by <@U012AB3CD>`: our own mrkdwn.
pub(super) fn decision_line(approval: &Approval) -> String {
    let by = person(approval.resolved_by.as_deref().unwrap_or("somebody"));
    match (approval.status, approval.resolved_via) {
        (ApprovalStatus::Approved, Some(Via::Policy)) => {
            format!("⚙️ Done by policy, without asking: {}", action_words(&approval.request.action_type))
        }
        (ApprovalStatus::Approved, _) if approval.reason.as_deref() == Some(KILL_REASON) => {
            format!("🛑 Kill requested by {by}")
        }
        (ApprovalStatus::Approved, _) => format!("✅ Approved by {by}"),
        (ApprovalStatus::Rejected, _) => format!("❌ Rejected by {by}"),
        (ApprovalStatus::Expired, _) => "⏰ Approval expired (no action taken)".to_owned(),
        (ApprovalStatus::Pending, _) => "Waiting for a decision".to_owned(),
    }
}

/// A Slack user as a mention (which shows their name), anybody else by name.
pub(super) fn person(name: &str) -> String {
    let is_user = name.len() >= 3
        && name.len() <= 30
        && name.starts_with(['U', 'W'])
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        && name.bytes().any(|b| b.is_ascii_digit());
    if is_user { format!("<@{name}>") } else { slack_inline(name, 100) }
}

/// A time in the reader's own zone.
pub(super) fn date(at: DateTime<Utc>) -> String {
    format!("<!date^{}^{{date_short_pretty}} {{time}}|{}>", at.timestamp(), minute(at))
}

/// What an action does, in words of ours.
pub(super) fn action_words(action_type: &str) -> &'static str {
    if action_type == ActionType::PublishPrompt.as_str() {
        return "publish a new version of a prompt";
    }
    [Remediation::OpenGithubIssue, Remediation::KillLoop, Remediation::RequestChanges, Remediation::Record]
        .into_iter()
        .find(|remediation| remediation.as_str() == action_type)
        .map_or("an action", Remediation::describe)
}

fn outcome(action: &Action, blocks: &mut Vec<Value>) {
    let what = action_words(&action.action_type);
    let result = |name: &str| action.result.as_ref().and_then(|result| result.get(name)?.as_str());
    match action.status {
        ActionStatus::Done if action.action_type == Remediation::OpenGithubIssue.as_str() => {
            blocks.push(section(mrkdwn(&format!("Issue opened: {}", page_link(result("url").unwrap_or_default())))));
        }
        ActionStatus::Done if action.action_type == Remediation::KillLoop.as_str() => {
            blocks.push(section(mrkdwn("🛑 The agent says it has stopped")));
        }
        ActionStatus::Done if action.action_type == ActionType::PublishPrompt.as_str() => {
            let version = action.result.as_ref().and_then(|result| result.get("version")?.as_i64());
            let name = result("name").unwrap_or("the prompt");
            blocks.push(section(mrkdwn(&prompt_published(name, version, result("url")))));
        }
        ActionStatus::Requested => {
            let runs = action.result.as_ref().and_then(|result| result.get("runs")?.as_array());
            let unseen = if runs.is_some_and(Vec::is_empty) { format!(". {NO_RUN}") } else { String::new() };
            blocks.push(section(mrkdwn(&format!("🛑 Kill requested; the agent has not acknowledged it yet{unseen}"))));
        }
        ActionStatus::Failed | ActionStatus::Unknown => {
            let state = if action.status == ActionStatus::Failed { "Failed" } else { "Not known whether it happened" };
            let why = action.error.as_deref().unwrap_or("no reason was kept");
            blocks.push(section(plain(&format!("{state}: {what}. {}", one_line(why)), 1_000)));
        }
        ActionStatus::Done | ActionStatus::Pending | ActionStatus::Sending => {}
    }
}

/// A link to a page a vendor named, if it is one; otherwise its text.
pub(super) fn page_link(address: &str) -> String {
    let is_plain = address.len() <= 500 && address.bytes().all(|b| b.is_ascii_graphic() && !b"<>|\"'`".contains(&b));
    match Url::parse(address) {
        Ok(url) if is_plain && matches!(url.scheme(), "http" | "https") => {
            format!("<{}>", address.replace('&', "&amp;"))
        }
        _ => slack_inline(address, 200),
    }
}

fn footer(view: &IncidentView<'_>, blocks: &mut Vec<Value>) {
    let mut parts = Vec::new();
    if let Some(page) = &view.links.page {
        parts.push(format!("<{page}|Open in Tripline>"));
    }
    if let Some(narrator) = &view.incident.narrator {
        parts.push(format!("narrated by {}", slack_inline(narrator, 100)));
    }
    if view.incident.severity == Severity::Info {
        parts.push("for information".to_owned());
    }
    if !parts.is_empty() {
        blocks.push(caption(&parts.join(" · ")));
    }
}
