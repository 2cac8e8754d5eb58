//! The issue search language, as far as a reader of issues needs it.
//!
//! Owns: reading `is:unresolved firstSeen:-24h !level:info "free text"` and judging issues by it.
//! Must hold: what cannot be read is an error (400), never ignored. Keys that are not fields of an
//! issue are tags: an issue fits when one of its visible events carries the tag.

use super::store::{Issue, Store};
use crate::compare::Compare;
use crate::time::{self, Micros};

/// One term of a query.
#[derive(Debug, Clone, PartialEq)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Status(&'static str),
    Assigned(bool),
    Time { first: bool, window: (Option<Micros>, Option<Micros>) },
    Seen { compare: Compare, count: u64 },
    Field { key: &'static str, value: String },
    Tag { key: String, value: String },
    Text(String),
}

/// A parsed query; all terms must hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query(Vec<Term>);

impl Query {
    /// Reads a query. `now` is what relative times (`-24h`) count from.
    pub(crate) fn parse(text: &str, now: Micros) -> Result<Self, String> {
        tokens(text)?.into_iter().map(|token| term(&token, now)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an issue fits at the horizon.
    pub(crate) fn accepts(&self, store: &Store, issue: &Issue, horizon: Option<Micros>) -> bool {
        self.0.iter().all(|term| holds(&term.test, store, issue, horizon) != term.negated)
    }
}

/// Splits at spaces outside quotes; quotes are kept for `term` to see.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut token = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                token.push(c);
            }
            c if c.is_whitespace() && !quoted => {
                if !token.is_empty() {
                    tokens.push(std::mem::take(&mut token));
                }
            }
            c => token.push(c),
        }
    }
    if quoted {
        return Err("Invalid query: unbalanced quotes".to_owned());
    }
    if !token.is_empty() {
        tokens.push(token);
    }
    Ok(tokens)
}

fn term(token: &str, now: Micros) -> Result<Term, String> {
    let (negated, body) = match token.strip_prefix('!') {
        Some(rest) if rest.contains(':') => (true, rest),
        _ => (false, token),
    };
    let test = match body.split_once(':') {
        Some((key, value)) if !key.is_empty() && !key.starts_with('"') => keyed(key, value.trim_matches('"'), now)?,
        _ => Test::Text(body.trim_matches('"').to_lowercase()),
    };
    Ok(Term { negated, test })
}

fn keyed(key: &str, value: &str, now: Micros) -> Result<Test, String> {
    let invalid = |what: &str| format!("Error parsing search query: {what} {value:?} for {key:?}");
    Ok(match key {
        "is" => match value {
            "unresolved" => Test::Status("unresolved"),
            "resolved" => Test::Status("resolved"),
            "ignored" | "archived" | "muted" => Test::Status("ignored"),
            "assigned" => Test::Assigned(true),
            "unassigned" => Test::Assigned(false),
            _ => return Err(invalid("invalid value")),
        },
        "firstSeen" | "lastSeen" | "first_seen" | "last_seen" => Test::Time {
            first: key.starts_with("first"),
            window: time_window(value, now).ok_or_else(|| invalid("invalid date"))?,
        },
        "timesSeen" | "times_seen" => {
            let (compare, digits) = Compare::prefix(value);
            Test::Seen { compare, count: digits.parse().map_err(|_| invalid("invalid number"))? }
        }
        "level" | "culprit" | "title" | "type" | "logger" | "platform" => Test::Field {
            key: match key {
                "level" => "level",
                "culprit" => "culprit",
                "title" => "title",
                "type" => "type",
                "logger" => "logger",
                _ => "platform",
            },
            value: value.to_owned(),
        },
        "project" | "project.name" => Test::Field { key: "project", value: value.to_owned() },
        "issue" | "issue.id" | "id" => Test::Field { key: "issue", value: value.to_owned() },
        "message" => Test::Text(value.to_lowercase()),
        _ => Test::Tag { key: key.to_owned(), value: value.to_owned() },
    })
}

/// `-24h` (within), `+24h` (before), `>=T`, `<T`, … as a half-open window.
fn time_window(value: &str, now: Micros) -> Option<(Option<Micros>, Option<Micros>)> {
    if let Some(span) = value.strip_prefix('-') {
        return Some((Some(now.saturating_sub(duration(span)?)), None));
    }
    if let Some(span) = value.strip_prefix('+') {
        return Some((None, Some(now.saturating_sub(duration(span)?))));
    }
    let (compare, text) = Compare::prefix(value);
    let at = time::parse(text)?;
    Some(match compare {
        Compare::GreaterOrEqual => (Some(at), None),
        Compare::Greater => (Some(at + 1), None),
        Compare::Less => (None, Some(at)),
        Compare::LessOrEqual => (None, Some(at + 1)),
        Compare::Equal => (Some(at), Some(at + time::DAY)),
    })
}

/// `24h`, `14d`, `30m`, `90s`, `2w`.
pub(crate) fn duration(text: &str) -> Option<Micros> {
    let unit = match text.chars().last()? {
        's' => time::SECOND,
        'm' => time::MINUTE,
        'h' => time::HOUR,
        'd' => time::DAY,
        'w' => 7 * time::DAY,
        _ => return None,
    };
    let count: i64 = text.get(..text.len() - 1)?.parse().ok()?;
    count.checked_mul(unit)
}

/// `*` at either end matches anything there.
fn matches_pattern(text: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => text.contains(pattern.trim_matches('*')),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => text == pattern,
    }
}

fn holds(test: &Test, store: &Store, issue: &Issue, horizon: Option<Micros>) -> bool {
    match test {
        Test::Status(wanted) => match &*store.issue_at(issue, horizon).key("status") {
            "" => *wanted == "unresolved",
            status => status == *wanted,
        },
        Test::Assigned(wanted) => issue.item.present("assignedTo").is_some() == *wanted,
        Test::Time { first, window } => {
            let at = if *first { issue.first } else { store.last_seen(issue, horizon) };
            window.0.is_none_or(|from| at >= from) && window.1.is_none_or(|to| at < to)
        }
        Test::Seen { compare, count } => compare.holds(store.count(issue, horizon), *count),
        Test::Field { key: "project", value } => *issue.project == **value || *issue.project_id == **value,
        Test::Field { key: "issue", value } => *issue.id == **value || issue.short_id.eq_ignore_ascii_case(value),
        Test::Field { key, value } => matches_pattern(&issue.item.key(key), value),
        Test::Tag { key, value } => store
            .here(&issue.id, horizon)
            .any(|event| event.tag(key).is_some_and(|found| matches_pattern(&found, value))),
        Test::Text(text) => ["title", "culprit", "metadata"]
            .iter()
            .any(|key| issue.item.raw(key).is_some_and(|raw| raw.to_lowercase().contains(text.as_str()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_cannot_be_read_is_refused() {
        for bad in ["is:nonsense", "firstSeen:soon", "timesSeen:>many", "\"open"] {
            assert!(Query::parse(bad, 0).is_err(), "{bad}");
        }
        for good in ["", "is:unresolved timeout", "!level:info firstSeen:-24h", "release:abc*", "\"two words\""] {
            assert!(Query::parse(good, 0).is_ok(), "{good}");
        }
    }
}
