//! What a score says: the paragraph, the recommendation, the comment.
//!
//! Owns: the template, the request for a model's text, and the comment's layout. Must hold: file names, titles and models'
//! words are inert in the comment: they link nothing, mention nobody, hide nothing; the marker is on a line of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tripline_store::NarrationKind;

use super::score::{FilePart, Report};
use crate::messages::markdown::{code, prose};
use crate::messages::text::{cut, dollars};
use crate::narrate::{Brief, Exhibits};

/// Files listed in a comment.
const LISTED_FILES: usize = 20;
/// Commits listed in a comment.
const LISTED_COMMITS: usize = 10;
/// Characters of a path that are shown.
const PATH: usize = 160;
/// Characters of a part that are shown, before escaping.
const PART: usize = 2_000;

/// What a score says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// One paragraph: why it is risky, or not.
    pub assessment: String,
    /// One line.
    pub recommendation: String,
    /// Who wrote it.
    pub narrator: String,
}

fn plural(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn assessment(report: &Report) -> String {
    let points = &report.points;
    let files = plural(report.pull.files.len(), "file");
    if report.commit_count == 0 {
        return format!(
            "This pull request changes {files}. None of the {} measured of the last 90 days changed them, so nothing is known \
             against it, and nothing for it.",
            plural(report.coverage.measured, "commit")
        );
    }
    let mut text = format!(
        "This pull request changes {files}, which {} of the last 90 days changed before. In the 24 hours after them there were \
         {} new errors more than in the 24 hours before, and model calls cost {} more.",
        plural(report.commit_count, "commit"),
        points.errors,
        dollars(points.cost_usd)
    );
    if let Some(worst) = report.files.first().filter(|file| file.points.score > 0) {
        text.push_str(&format!(
            " Most of it followed changes of {} ({} of 100 by itself).",
            cut(&worst.path, PATH),
            worst.points.score
        ));
    }
    text
}

fn recommendation(report: &Report) -> String {
    let advice = if report.is_risky() {
        "Have somebody who knows these files review it, release it by itself, and watch errors and cost for a day."
    } else if report.points.score > 0 {
        "Review it as usual, and watch errors and cost after the release."
    } else {
        "Review it as usual."
    };
    if report.coverage.is_complete() {
        return advice.to_owned();
    }
    format!("{advice} The history is not known whole, so the risk may be higher.")
}

/// What a narrator is asked.
#[must_use]
pub fn brief(report: &Report) -> Brief {
    let object = |value: Value| match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let points = &report.points;
    let finding = json!({"score": points.score, "threshold": report.threshold, "new_errors": points.errors,
        "cost_usd": points.cost_usd, "error_points": points.error_points, "cost_points": points.cost_points,
        "files": report.pull.files.len(), "commits": report.commit_count, "title": report.pull.title,
        "measured_commits": report.coverage.measured, "history_days": 90});
    let files = report.files.iter().map(|file| {
        json!({"path": file.path, "status": file.status, "changes": file.changes, "new_errors": file.points.errors,
            "cost_usd": file.points.cost_usd, "score": file.points.score})
    });
    let commits = report.commits.iter().map(|commit| {
        json!({"sha": commit.sha, "committed_at": commit.committed_at, "new_errors": commit.error_delta,
            "cost_delta_usd": commit.cost_delta_usd, "files": commit.files.join(", ")})
    });
    let rows = BTreeMap::from([
        ("finding".to_owned(), vec![object(finding)]),
        ("files".to_owned(), files.map(object).collect()),
        ("commits".to_owned(), commits.map(object).collect()),
    ]);
    let unknown = report.coverage.gaps.iter().map(|gap| gap.source.clone()).collect();
    Brief {
        kind: NarrationKind::PrRisk,
        subject_id: format!("{}#{}", report.pull.repository, report.pull.number),
        exhibits: Exhibits::new(rows, None, unknown),
        template: vec![("assessment", assessment(report)), ("recommendation", recommendation(report))],
    }
}

fn file_line(file: &FilePart) -> String {
    let renamed =
        file.previous_path.as_deref().map(|old| format!(" (before: {})", code(&cut(old, PATH)))).unwrap_or_default();
    format!(
        "- {}{renamed}: {} — {}, {} new errors, {} more\n",
        code(&cut(&file.path, PATH)),
        file.points.score,
        plural(file.changes, "change"),
        file.points.errors,
        dollars(file.points.cost_usd)
    )
}

/// A commit's id, which GitHub links by itself; anything else is code.
fn sha(text: &str) -> String {
    let is_one = (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_one { text.to_owned() } else { code(&cut(text, 64)) }
}

/// The comment on the pull request. `marker` is ours: the hidden line by which the comment is found again.
#[must_use]
pub fn comment(report: &Report, text: &Text, marker: &str) -> String {
    let (points, coverage) = (&report.points, &report.coverage);
    let mut body = format!("{marker}\n## Tripline Risk Score: {}/100\n\n", points.score);
    body.push_str(&format!("{}\n\n", prose(&cut(&text.assessment, PART))));
    body.push_str(&format!("**Recommendation:** {}\n\n", prose(&cut(&text.recommendation, PART))));
    body.push_str(&format!(
        "| part | measured | points |\n|---|---|---|\n| new errors | {} × 4 | {:.1} |\n| cost | {} × 10, at most 50 | {:.1} |\n\
         | score | the sum without its fraction; threshold {} | **{}** |\n\n",
        points.errors,
        points.error_points,
        dollars(points.cost_usd),
        points.cost_points,
        report.threshold,
        points.score
    ));
    if !report.files.is_empty() {
        body.push_str(&format!("<details><summary>{} changed</summary>\n\n", plural(report.files.len(), "file")));
        report.files.iter().take(LISTED_FILES).for_each(|file| body.push_str(&file_line(file)));
        if report.files.len() > LISTED_FILES {
            body.push_str(&format!("- and {} more\n", report.files.len() - LISTED_FILES));
        }
        body.push_str("\n</details>\n\n");
    }
    if !report.commits.is_empty() {
        body.push_str(&format!("<details><summary>{} behind it</summary>\n\n", plural(report.commit_count, "commit")));
        for commit in report.commits.iter().take(LISTED_COMMITS) {
            body.push_str(&format!(
                "- {} {}: {:+} new errors, {}{} in the 24 hours after against before\n",
                sha(&commit.sha),
                commit.committed_at.format("%F %H:%M UTC"),
                commit.error_delta,
                if commit.cost_delta_usd < 0.0 { "-" } else { "+" },
                dollars(commit.cost_delta_usd.abs())
            ));
        }
        body.push_str("\n</details>\n\n");
    }
    body.push_str(&format!(
        "History: {} of {} commits since {} measured",
        coverage.measured,
        coverage.commits,
        coverage.since.format("%F")
    ));
    if !coverage.is_complete() {
        body.push_str("; **the score may be higher**");
        for gap in coverage.gaps.iter().take(5) {
            body.push_str(&format!("; {} is unknown: {}", code(&gap.source), code(&cut(&gap.reason, 200))));
        }
    }
    body.push_str(&format!(". Narrated by {}.\n", code(&text.narrator)));
    body
}

/// The text of the review that requests changes.
#[must_use]
pub fn review(report: &Report, text: &Text) -> String {
    format!(
        "Tripline requests changes: the risk score is {}/100, above the threshold of {}.\n\n{}\n\n{}",
        report.points.score,
        report.threshold,
        prose(&cut(&text.assessment, PART)),
        prose(&cut(&text.recommendation, PART))
    )
}
