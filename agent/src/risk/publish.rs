//! Telling a score: the comment, the check, and, above the threshold, the question whether changes are requested.
//!
//! Owns: what is put in the outbox for a score, and the condition that governance is asked about. Must hold: the same score
//! tells nothing twice; a review that requests changes goes through policy and an approval, never past them.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use tripline_store::{
    Incident, IncidentFilter, IncidentPolicy, IncidentStatus, IncidentUpsert, Investigation, JudgedWindow,
    NarrativeParts, NewAnomaly, PageRequest, Severity, Window,
};

use super::measure::HISTORY;
use super::score::Report;
use super::{Risk, RiskError, Scored, text};
use crate::actions::{self, CheckRun, PullComment};
use crate::messages::text::{cut, dollars, one_line};

/// The incident type of a pull request above the threshold.
pub const KIND: &str = "pr_risk";
/// How long a refusal of the Checks API is remembered.
const REFUSED_FOR: TimeDelta = TimeDelta::hours(24);
/// Characters of a title that are kept.
const TITLE: usize = 120;

/// What was put outside, or is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Whether a comment is to be written; `false` when the one there says the same.
    pub comment: bool,
    /// Whether a check is to be written.
    pub check: bool,
    /// The incident that asks whether changes are requested.
    pub incident: Option<String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// Names one pull request.
fn subject(repository: &str, number: u64) -> String {
    format!("{repository}#{number}")
}

/// The detector that a pull request's condition is filed under: one each, so that each ends by itself.
fn detector(subject: &str) -> String {
    format!("{KIND}:{subject}")
}

fn anomaly(scored: &Scored, now: DateTime<Utc>) -> Result<NewAnomaly, RiskError> {
    let Scored { report, text, .. } = scored;
    let (pull, points) = (&report.pull, &report.points);
    let subject = subject(&pull.repository, pull.number);
    let window = Window::new(now - HISTORY, now)?;
    Ok(NewAnomaly {
        detector: detector(&subject),
        kind: KIND.to_owned(),
        severity: Severity::High,
        fingerprint: detector(&subject),
        window,
        detected_at: now,
        description: format!(
            "Pull request {subject} ({}) scores {} of 100: {} new errors and {} followed earlier changes of its files",
            cut(&one_line(&pull.title), TITLE),
            points.score,
            points.errors,
            dollars(points.cost_usd)
        ),
        entity: subject,
        evidence: json!({
            "score": points.score, "threshold": report.threshold, "new_errors": points.errors,
            "cost_usd": points.cost_usd, "error_points": points.error_points, "cost_points": points.cost_points,
            "repository": pull.repository, "pull_number": pull.number, "head_sha": pull.head_sha,
            "title": cut(&one_line(&pull.title), TITLE), "author": pull.author, "files": pull.files.len(),
            "commits": report.commit_count, "review_body": text::review(report, text),
            "suggested_action": "request_changes",
        }),
        // What earlier changes cost is no cost of this one.
        cost_usd: None,
        onset: None,
    })
}

fn summary(report: &Report) -> String {
    let points = &report.points;
    format!(
        "Score {} of 100 (threshold {}): {} new errors × 4 = {:.1}, {} × 10 = {:.1} (at most 50), together without their fraction, after {} earlier commits that \
         changed these files.",
        points.score,
        report.threshold,
        points.errors,
        points.error_points,
        dollars(points.cost_usd),
        points.cost_points,
        report.commit_count
    )
}

impl Risk {
    /// Tells a score: brings the comment up to date, writes the check where that is allowed, and asks whether changes are
    /// requested when it is above the threshold. A score that says what the last one said does nothing.
    ///
    /// # Errors
    /// Of the store and of governance; what was done stays done, and doing it again does the rest.
    pub async fn publish(&self, scored: &Scored) -> Result<Published, RiskError> {
        let (ctx, notices) = (&self.parts.ctx, &self.parts.notices);
        let (now, report) = (ctx.clock.now(), &scored.report);
        let pull = &report.pull;
        let subject = subject(&pull.repository, pull.number);
        let mut published = Published::default();
        if !self.parts.destinations.has_github() {
            published.notes.push("GITHUB_TOKEN is not set: nothing is posted to GitHub".to_owned());
        }
        let key = format!("{KIND}:{subject}");
        let comment = PullComment {
            body: text::comment(report, &scored.text, &actions::marker(&key)),
            key,
            repository: pull.repository.clone(),
            number: pull.number,
        };
        published.comment = notices.pull_comment(&ctx.scope, &subject, comment, now).await?;
        match &pull.head_sha {
            Some(head_sha) => {
                let check = CheckRun {
                    key: format!("{KIND}:{subject}:check:{head_sha}:{}", report.points.score),
                    repository: pull.repository.clone(),
                    head_sha: head_sha.clone(),
                    // What blocks a merge is decided by people, not by this.
                    conclusion: if report.is_risky() { "neutral" } else { "success" }.to_owned(),
                    title: format!("Risk score {}/100", report.points.score),
                    summary: summary(report),
                };
                match notices.check_run(&ctx.scope, &subject, check, REFUSED_FOR, now).await? {
                    Ok(new) => published.check = new,
                    Err(why) => published.notes.push(format!("no check is written: {why}")),
                }
            }
            None => {
                published.notes.push("no check is written: GitHub does not say which commit is the last".to_owned())
            }
        }
        if report.is_risky() && pull.state == "open" {
            published.incident = Some(self.ask(scored, now).await?);
        } else {
            self.settle(&pull.repository, pull.number).await?;
        }
        Ok(published)
    }

    /// Opens the condition, or brings it up to date, and hands it to governance. Returns the incident's id.
    async fn ask(&self, scored: &Scored, now: DateTime<Utc>) -> Result<String, RiskError> {
        let (ctx, governor) = (&self.parts.ctx, &self.parts.governor);
        let (store, scope) = (&ctx.store, &ctx.scope);
        let anomaly = anomaly(scored, now)?;
        let known = store.incidents.latest_by_fingerprint(scope, &anomaly.fingerprint).await?;
        let says_it = |incident: &Incident| {
            incident.status == IncidentStatus::Open
                && incident.investigated_at.is_some()
                && incident.description == anomaly.description
        };
        if let Some(incident) = known.filter(says_it) {
            return Ok(incident.id.to_string());
        }
        let days = u64::try_from(ctx.settings.get().incident_reopen_days).unwrap_or_default();
        let policy = IncidentPolicy {
            reopen_within: std::time::Duration::from_secs(days * 24 * 3600),
            clean_windows_to_resolve: 1,
        };
        let upsert = store.incidents.upsert_by_fingerprint(scope, anomaly.clone(), &policy, now).await?;
        let id = upsert.incident().id.clone();
        let is_new = matches!(upsert, IncidentUpsert::Opened(_) | IncidentUpsert::Reopened(_))
            || upsert.incident().investigated_at.is_none();
        let digest = store.evidence.replace(scope, &id, Vec::new()).await?;
        let text = &scored.text;
        let investigation = Investigation {
            culprit_sha: None,
            cost_usd: None,
            narrative: format!("{}\n\n{}", text.assessment, text.recommendation),
            narrative_parts: NarrativeParts {
                what_happened: anomaly.description.clone(),
                likely_cause: text.assessment.clone(),
                impact: summary(&scored.report),
                recommended_action: text.recommendation.clone(),
            },
            narrator: text.narrator.clone(),
            suspects: Value::Array(Vec::new()),
            timeline: Value::Array(Vec::new()),
            gaps: scored.report.coverage.gaps.clone(),
            evidence_sha256: digest,
        };
        let incident = store.incidents.set_investigation(scope, &id, investigation, now).await?;
        if is_new {
            governor.incident_opened(scope, &incident, &anomaly, &[]).await?;
        } else {
            governor.incident_updated(scope, &incident).await?;
        }
        Ok(id.to_string())
    }

    /// Ends the condition of a pull request that is below the threshold or closed.
    pub(super) async fn settle(&self, repository: &str, number: u64) -> Result<(), RiskError> {
        let ctx = &self.parts.ctx;
        let (now, detector) = (ctx.clock.now(), detector(&subject(repository, number)));
        let filter = IncidentFilter {
            status: Some(IncidentStatus::Open),
            detector: Some(detector.clone()),
            ..IncidentFilter::default()
        };
        let open =
            ctx.store.incidents.list(&ctx.scope, &filter, &PageRequest::first(1)).await?.items.into_iter().next();
        let Some(open) = open else { return Ok(()) };
        // Only a window that ends after the incident's own says that it is over.
        let end = now.max(open.window.end + TimeDelta::microseconds(1));
        let judged = JudgedWindow { detector, window: Window::new(end - HISTORY, end)?, fingerprints_seen: Vec::new() };
        let policy = IncidentPolicy { clean_windows_to_resolve: 1, ..IncidentPolicy::default() };
        for incident in ctx.store.incidents.record_clean_window(&ctx.scope, judged, &policy, now).await? {
            self.parts.governor.incident_resolved(&ctx.scope, &incident).await?;
        }
        Ok(())
    }
}
