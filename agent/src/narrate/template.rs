//! The templates: what is told without any model.
//!
//! Owns: the sentences. Must hold: deterministic; under 300 words whatever the vendors wrote; every figure is a value of
//! the finding, a suspect or the evidence; a suspect below [`LIKELY`] is called a
//! lead; unknown sources are named.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tripline_store::NarrativeParts;

use super::Story;
use crate::investigate::suspects::{Kind, LIKELY, LiveBy, Part, Suspect};
use crate::loops::Reach;
use crate::messages::text::{cut, one_line};
use crate::people::Watch;
use crate::queries::spec::usd_text;

/// Characters of a vendor's text at most.
const QUOTED: usize = 80;
/// Characters of a reason at most: two of them quote paths.
const REASON: usize = 140;
/// How far a change in the data may lie from the onset to be told with it.
const NEAR: TimeDelta = TimeDelta::minutes(20);
/// Scores that differ by less are alike.
const CLOSE: f64 = 0.05;

/// The four parts.
#[must_use]
pub fn parts(story: Story<'_>) -> NarrativeParts {
    NarrativeParts {
        what_happened: what_happened(story),
        likely_cause: likely_cause(story),
        impact: impact(story),
        recommended_action: recommended_action(story),
    }
}

/// A vendor's text: one line, shortened.
fn quoted(text: &str) -> String {
    let line: String = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    cut(&line, QUOTED)
}

/// A reason on one line, long enough for most paths.
fn reason(part: &Part) -> String {
    cut(&one_line(&part.reason), REASON)
}

fn number(story: Story<'_>, field: &str) -> Option<f64> {
    story.anomaly.evidence.get(field)?.as_f64()
}

fn count(story: Story<'_>, field: &str) -> String {
    number(story, field).map_or_else(|| "an unknown number of".to_owned(), |n| format!("{n:.0}"))
}

fn decimal(story: Story<'_>, field: &str, digits: usize) -> String {
    number(story, field).map_or_else(|| "an unknown number of".to_owned(), |n| format!("{n:.digits$}"))
}

fn usd(story: Story<'_>, field: &str) -> String {
    number(story, field).map_or_else(|| "an unknown amount".to_owned(), usd_text)
}

fn word<'a>(story: Story<'a>, field: &str) -> Option<&'a str> {
    story.anomaly.evidence.get(field)?.as_str().filter(|text| !text.is_empty())
}

/// `2026-11-20 10:05 UTC`
fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn what_happened(story: Story<'_>) -> String {
    let entity = quoted(&story.anomaly.entity);
    let onset = moment(story.findings.onset);
    match story.anomaly.kind.as_str() {
        "cost_spike" => format!(
            "{entity} cost {} within {}, {} times its baseline of {}, in {} generations.{} It began at {onset}.",
            usd(story, "current_cost_usd"),
            minutes(story),
            decimal(story, "ratio", 1),
            usd(story, "baseline_usd"),
            count(story, "generations"),
            price_or_volume(story),
        ),
        "error_cascade" => format!(
            "Errors and model calls rise together since {onset}: {} errors (\"{}\" above all) overlap {} generations of \
             {entity}, which ordinarily makes {} in {}.{}",
            count(story, "errors"),
            quoted(word(story, "top_issue_title").unwrap_or("untitled")),
            count(story, "generations"),
            count(story, "ordinary_generations"),
            minutes(story),
            retries(story),
        ),
        "prompt_drift" if word(story, "drift_type") == Some("score_regression") => format!(
            "The average \"{}\" score of {entity} fell from {} to {} (its newest {}). It began at {onset}.",
            quoted(word(story, "score_name").unwrap_or("unnamed")),
            decimal(story, "baseline_average", 2),
            decimal(story, "recent_average", 2),
            count(story, "judged"),
        ),
        "prompt_drift" => format!(
            "Since {onset} outputs of {entity} break the schema they always had: {} of {}.{}{}",
            count(story, "failed"),
            newest(story),
            missing_keys(story),
            broken_keys(story),
        ),
        "agent_loop" => format!(
            "One trace ({entity}) has made {} generations since {onset}, \"{}\" {} times, {}.",
            count(story, "generations"),
            quoted(word(story, "most_repeated_name").unwrap_or("unnamed")),
            count(story, "repeat_count"),
            match Reach::of(&story.anomaly.evidence) {
                Reach::Ended => "and has come to an end",
                Reach::Runs(_) | Reach::TraceOnly => "without coming to an end",
            },
        ),
        "silent_tool_failure" => format!(
            "The tool {entity} ends without an error and returns something else than before since {onset}: {}.",
            tool_symptoms(story),
        ),
        _ => format!("{} It began at {onset}.", quoted(&story.anomaly.description)),
    }
}

/// The part of the hour that a finding is about.
fn minutes(story: Story<'_>) -> String {
    match number(story, "minutes") {
        Some(minutes) if minutes < 60.0 => format!("{minutes:.0} minutes"),
        _ => "an hour".to_owned(),
    }
}

/// Whether calls became dearer or more: a change of model or prompt is told from a rush.
fn price_or_volume(story: Story<'_>) -> String {
    const MUCH: f64 = 1.5;
    let dearer = number(story, "price_ratio").filter(|ratio| *ratio >= MUCH).map(|_| {
        let (now, before) = (usd(story, "cost_per_call_usd"), usd(story, "ordinary_cost_per_call_usd"));
        format!("a call costs {now} instead of {before}")
    });
    let more = number(story, "volume_ratio").filter(|ratio| *ratio >= MUCH).map(|_| {
        format!("there are {} calls instead of {}", count(story, "generations"), count(story, "ordinary_generations"))
    });
    match (dearer, more) {
        (Some(dearer), Some(more)) => format!(" Price and volume rose: {dearer}, and {more}."),
        (Some(dearer), None) => format!(" The price rose, not the volume: {dearer}."),
        (None, Some(more)) => format!(" The volume rose, not the price: {more}."),
        (None, None) => String::new(),
    }
}

/// How many of a cascade's calls are tries within traces that others have not.
fn retries(story: Story<'_>) -> String {
    match (number(story, "retries"), number(story, "traces")) {
        (Some(retries), Some(traces)) if retries >= 1.0 => {
            format!(" {retries:.0} of them are more than its {traces:.0} traces ordinarily have: retries, not traffic.")
        }
        _ => String::new(),
    }
}

/// The outputs that were judged: the newest, or a block of older ones.
fn newest(story: Story<'_>) -> String {
    let judged = count(story, "judged");
    match number(story, "block") {
        Some(block) if block >= 1.0 => format!("{judged} in a row"),
        _ => format!("the newest {judged}"),
    }
}

fn missing_keys(story: Story<'_>) -> String {
    let keys = story.anomaly.evidence.get("missing_keys").and_then(Value::as_array);
    let names: Vec<String> = keys.into_iter().flatten().filter_map(Value::as_str).take(5).map(quoted).collect();
    if names.is_empty() { String::new() } else { format!(" Missing: {}.", names.join(", ")) }
}

/// The keys that are there and not as they were: which type or format was expected, and what is there now.
fn broken_keys(story: Story<'_>) -> String {
    let keys = story.anomaly.evidence.get("broken_keys").and_then(Value::as_array);
    let told = keys.into_iter().flatten().filter_map(|broken| {
        let text = |field: &str| broken.get(field).and_then(Value::as_str).map(quoted);
        let (key, expected, found) = (text("key")?, text("expected")?, text("found")?);
        match broken.get("problem").and_then(Value::as_str)? {
            "format" => Some(format!("{key} (expected {expected}, found {})", plain_format(&found))),
            "type" => Some(format!("{key} (expected {expected}, found {found})")),
            _ => None,
        }
    });
    let told: Vec<String> = told.take(3).collect();
    if told.is_empty() { String::new() } else { format!(" Not as they were: {}.", told.join(", ")) }
}

/// A format in words: `text` is one that has none of the known formats.
fn plain_format(format: &str) -> &str {
    if format == "text" { "other text" } else { format }
}

fn tool_symptoms(story: Story<'_>) -> String {
    let has = |strategy: &str| {
        let strategies = story.anomaly.evidence.get("strategies").and_then(Value::as_array);
        strategies.is_some_and(|s| s.iter().any(|known| known.as_str() == Some(strategy)))
    };
    let mut symptoms = Vec::new();
    if has("schema_failure") || has("output_anomaly") {
        let how = match (has("schema_failure"), has("output_anomaly")) {
            (true, true) => "are no JSON any more and far shorter",
            (true, false) => "are no JSON any more",
            _ => "are far shorter than they were",
        };
        symptoms.push(format!("{} of its newest {} outputs {how}", count(story, "failed"), count(story, "judged")));
    }
    if has("sentry_correlation") {
        let title = quoted(word(story, "sentry_issue_title").unwrap_or("untitled"));
        symptoms.push(format!("the new Sentry issue \"{title}\" follows its calls"));
    }
    symptoms.join("; ")
}

fn likely_cause(story: Story<'_>) -> String {
    let unknown: Vec<&str> = story.findings.gaps.iter().map(|gap| gap.source.as_str()).collect();
    let mut text = match &story.findings.culprit {
        Some(suspect) => {
            let others = story.findings.suspects.iter().filter(|other| other.id != suspect.id);
            accused(suspect, others.into_iter().find(|other| !other.came_with_a_commit()))
        }
        None => match story.findings.suspects.first() {
            Some(first) => format!(
                "No change stands out. The nearest lead is {} (\"{}\", score {:.2}), which proves nothing.",
                quoted(first.short()),
                quoted(&first.message),
                first.score
            ),
            None if unknown.contains(&"github") => "Not known: commits could not be read.".to_owned(),
            None => "No commit that went live before it is known.".to_owned(),
        },
    };
    if story.findings.culprit.as_ref().is_none_or(|culprit| culprit.kind == Kind::Commit) {
        text.push_str(&seen_in_data(story));
    }
    if !unknown.is_empty() {
        text.push_str(&format!(" Unknown, because they could not be asked: {}.", unknown.join(", ")));
    }
    text
}

/// The changes that the calls themselves show close to the onset: a model or a prompt version used for the first time.
fn seen_in_data(story: Story<'_>) -> String {
    let onset = story.findings.onset;
    let evidence = story.findings.evidence.iter().find(|evidence| evidence.name == "changes");
    let rows = evidence.and_then(|evidence| evidence.rows.as_array()).into_iter().flatten();
    let near = rows.filter_map(|row| {
        let text = |column: &str| row.get(column).and_then(Value::as_str);
        let at = crate::detect::finding::time(row.get("first_used")?)?;
        let is_near = (at - onset).abs() <= NEAR;
        is_near.then(|| Some(format!("the {} {} since {}", text("what")?, quoted(text("shown")?), moment(at))))?
    });
    let near: Vec<String> = near.take(3).collect();
    if near.is_empty() { String::new() } else { format!(" The calls use for the first time {}.", near.join(", and ")) }
}

/// A suspect, and the next one: where two fit alike, neither is called the cause.
fn accused(suspect: &Suspect, next: Option<&Suspect>) -> String {
    let how = match suspect.live_by {
        LiveBy::Deployment => "deployed",
        LiveBy::Release => "released",
        LiveBy::Merge => "merged",
        LiveBy::Commit | LiveBy::NotDeployed => "committed",
        LiveBy::Seen => "first used",
    };
    // Each is shortened by itself: a long path in one of them must not cost the others.
    let reasons: Vec<String> = suspect
        .parts
        .iter()
        .filter(|part| {
            part.name == "timing"
                || (matches!(part.name, "links" | "names" | "reach" | "difference") && part.value > 0.0)
        })
        .map(reason)
        .collect();
    let who = suspect.author.as_deref().map_or_else(String::new, |author| format!(" by {}", quoted(author)));
    let alike = next.filter(|next| suspect.score - next.score < CLOSE);
    let verdict = match alike {
        Some(next) if suspect.score >= LIKELY => {
            format!("is the best lead, and {} fits nearly as well", quoted(next.short()))
        }
        None if suspect.score >= LIKELY => "is the likely cause".to_owned(),
        _ => "is the best lead; that it is the cause is not proven".to_owned(),
    };
    let what = match suspect.kind {
        Kind::Commit => format!("Commit {} (\"{}\"{who})", suspect.short(), quoted(&suspect.message)),
        Kind::Prompt | Kind::Model | Kind::Flag => format!("The change that calls show, {}", quoted(&suspect.id)),
    };
    format!(
        "{what}, {how} at {}, {verdict}: {}. Score {:.2}.",
        moment(suspect.live_at),
        reasons.join("; "),
        suspect.score
    )
}

fn impact(story: Story<'_>) -> String {
    let cost = story.anomaly.cost_usd.map(usd_text);
    match story.anomaly.kind.as_str() {
        "cost_spike" => {
            format!(
                "{} above the baseline in {}.",
                cost.unwrap_or_else(|| "An unknown amount".to_owned()),
                minutes(story)
            )
        }
        "error_cascade" => format!(
            "{} spent on the generations that overlap the errors, and {} failures that users may have met.",
            cost.unwrap_or_else(|| "An unknown amount".to_owned()),
            count(story, "errors")
        ),
        "prompt_drift" if word(story, "drift_type") == Some("score_regression") => {
            "Answers are worse than they were; readers of the outputs see no error.".to_owned()
        }
        "prompt_drift" => format!(
            "{} broken outputs reached whatever reads them, without any error.",
            count(story, "failed_in_window")
        ),
        "agent_loop" => {
            let velocity = usd(story, "cost_velocity_per_min");
            match (cost, number(story, "unpriced_calls").filter(|calls| *calls >= 1.0)) {
                (None, _) => format!("An unknown amount burned so far, {velocity} a minute while it runs."),
                (Some(cost), None) => format!("{cost} burned so far, {velocity} a minute while it runs."),
                (Some(cost), Some(calls)) => format!(
                    "At least {cost} burned so far ({calls:.0} of its calls {} no known price), {velocity} a minute while it \
                     runs.",
                    if calls < 2.0 { "has" } else { "have" }
                ),
            }
        }
        "silent_tool_failure" => match number(story, "failed_in_window") {
            Some(failed) if failed > 0.0 => {
                format!("{failed:.0} wrong results were taken for good ones within six hours.")
            }
            _ => "Calls that look successful are followed by errors elsewhere.".to_owned(),
        },
        _ => cost.map_or_else(|| "Its cost is unknown.".to_owned(), |cost| format!("{cost}.")),
    }
}

/// What to do, and whom to tell.
fn recommended_action(story: Story<'_>) -> String {
    let action = action(story);
    match crate::people::watch(&story.findings.evidence) {
        Watch::Known(known) => match known.first() {
            Some(first) => format!("{action} On call: {}.", quoted(&first.name)),
            None => action,
        },
        Watch::NotAsked | Watch::NotConfigured | Watch::Unknown => action,
    }
}

/// What can be stopped of a loop.
fn stop(story: Story<'_>) -> String {
    match Reach::of(&story.anomaly.evidence) {
        Reach::Runs(runs) => Reach::Runs(runs.iter().map(|run| quoted(run)).collect()).advice(),
        other => other.advice(),
    }
}

fn action(story: Story<'_>) -> String {
    let culprit = story.findings.culprit.as_ref();
    let undo = culprit.map_or_else(
        || "Look at what changed before the onset".to_owned(),
        |suspect| {
            let what = if suspect.kind == Kind::Commit { "commit " } else { "" };
            format!("Check {what}{} and take it back if it is the cause", quoted(suspect.short()))
        },
    );
    match story.anomaly.kind.as_str() {
        "agent_loop" => format!("{} {undo}.", stop(story)),
        "error_cascade" => format!("{undo}; until then limit retries."),
        "cost_spike" => format!("{undo}; until then cap what a call may cost."),
        "prompt_drift" => format!("{undo}, or accept the new outputs where they are read."),
        "silent_tool_failure" => format!("{undo}, and make the tool fail aloud."),
        _ => format!("{undo}."),
    }
}
