//! How a digest is shown: Markdown for the API and the page, and one Slack message with two sections.
//!
//! Must hold: what vendors wrote is inert: escaped in Markdown, in `plain_text` objects in Slack, within Slack's limits.

use serde_json::{Map, Value, json};
use tripline_store::Digest;

use crate::messages::Content;
use crate::messages::markdown::prose;
use crate::messages::text::{cut, one_line, slack_inline, slack_plain};

const SECTION: usize = 2_900;

/// Blocks of the second section at most: Slack takes 50 in all.
const MAX_HEALTH_BLOCKS: usize = 30;

/// The sections in order, with their headings.
pub const SECTIONS: [(&str, &str); 3] =
    [("what_shipped", "What Shipped"), ("what_broke", "What Broke"), ("what_to_watch", "What to Watch")];

/// The bullets of a part's text, without their marks.
#[must_use]
pub fn bullets(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.trim().trim_start_matches("- ").trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

fn lines<'a>(sections: &'a Map<String, Value>, key: &str) -> Vec<&'a str> {
    sections.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The whole text: exactly three headings, bullets below each.
#[must_use]
pub fn markdown(sections: &Map<String, Value>) -> String {
    let mut report = String::new();
    for (key, heading) in SECTIONS {
        report.push_str(&format!("## {heading}\n\n"));
        for line in lines(sections, key) {
            report.push_str(&format!("- {}\n", prose(&one_line(line))));
        }
        report.push('\n');
    }
    report.trim_end().to_owned()
}

fn plain(text: &str) -> Value {
    let text = slack_plain(text, SECTION);
    json!({"type": "plain_text", "text": if text.is_empty() { "–".to_owned() } else { text }, "emoji": false})
}

fn caption(text: &str) -> Value {
    json!({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]})
}

/// The one Monday post: the week, then how agents fared.
#[must_use]
pub fn message(digest: &Digest, health: Option<&Content>, public_base: Option<&str>) -> Content {
    let zone: chrono_tz::Tz = digest.time_zone.parse().unwrap_or(chrono_tz::Tz::UTC);
    let day = |at: chrono::DateTime<chrono::Utc>| at.with_timezone(&zone).format("%Y-%m-%d").to_string();
    let headline = format!("Week of {} to {}", day(digest.week_start), day(digest.week_end));
    let mut blocks = vec![json!({"type": "header", "text": plain(&headline)})];
    let none = Map::new();
    let sections = digest.sections.as_object().unwrap_or(&none);
    for (key, heading) in SECTIONS {
        let text: Vec<String> = lines(sections, key).iter().map(|line| format!("• {}", one_line(line))).collect();
        blocks.push(caption(&format!("*{heading}*")));
        blocks.push(json!({"type": "section", "text": plain(&text.join("\n"))}));
    }
    if !digest.gaps.is_empty() {
        let unknown: Vec<String> = digest
            .gaps
            .iter()
            .map(|gap| format!("unknown: {} — {}", one_line(&gap.source), cut(&one_line(&gap.reason), 200)))
            .collect();
        blocks.push(json!({"type": "section", "text": plain(&unknown.join("\n"))}));
    }
    let mut footer = vec![format!("narrated by {}", slack_inline(&digest.narrator, 100))];
    if let Some(base) = public_base {
        footer.insert(0, format!("<{base}/#digest={}|Open in Tripline>", digest.id));
    }
    blocks.push(caption(&footer.join(" · ")));
    let mut fallback = format!("Weekly digest. {headline}");
    if let Some(health) = health {
        blocks.push(json!({"type": "divider"}));
        match &health.blocks {
            Some(Value::Array(own)) => blocks.extend(own.iter().take(MAX_HEALTH_BLOCKS).cloned()),
            _ => blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": health.text}})),
        }
        fallback.push_str(" · agents' health");
    }
    Content { text: fallback, blocks: Some(Value::Array(blocks)) }
}

/// What the second section says when it cannot be told.
#[must_use]
pub fn unknown_health(why: &str) -> Content {
    Content { text: format!("Agents' health: unknown. {}", slack_inline(why, 300)), blocks: None }
}
