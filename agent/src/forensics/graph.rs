//! Graphs, from rows: pure.
//!
//! Must hold: an edge says only what the data says; node ids are whole ids; a cost that nobody knows is not nothing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tripline_store::Gap;

use super::layout::{by_depth, in_columns};
use super::{Row, at, cost, known, number, text};

/// An error may follow a commit so long after it (seed 003, forensics).
const AFTER_COMMIT: TimeDelta = TimeDelta::hours(24);

/// Where a node is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Position {
    /// To the right.
    pub x: f64,
    /// Downwards.
    pub y: f64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its kind and whole id.
    pub id: String,
    /// `commit`, `error`, `trace`, `message`, `generation`, `span`, `event`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `label`, `detail`, and what its kind has.
    pub data: Map<String, Value>,
    /// Where it is drawn.
    pub position: Position,
}

/// What two of them have to do with each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Edge {
    /// Its ends and kind.
    pub id: String,
    /// From.
    pub source: String,
    /// To.
    pub target: String,
    /// `after`, `overlaps`, `during`, `mentions`, `parent`.
    pub kind: &'static str,
    /// What the data says, in words.
    pub label: String,
    /// Whether it leads to an error.
    pub animated: bool,
}

/// A graph.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Graph {
    /// What happened.
    pub nodes: Vec<Node>,
    /// What it has to do with each other.
    pub edges: Vec<Edge>,
    /// Counts, times, sums.
    pub metadata: Map<String, Value>,
    /// Sources of which nothing is known, and why.
    pub gaps: Vec<Gap>,
    /// Whether every source answered.
    pub complete: bool,
}

fn shortened(text: &str, max: usize) -> String {
    crate::messages::text::cut(&crate::messages::text::one_line(text), max)
}

fn node(id: String, kind: &str, label: String, detail: String, row: &Row) -> Node {
    let mut data = row.clone();
    data.insert("label".to_owned(), Value::from(label));
    data.insert("detail".to_owned(), Value::from(detail));
    Node { id, kind: kind.to_owned(), data, position: Position::default() }
}

fn edge(source: &Node, target: &Node, kind: &'static str, label: String) -> Edge {
    let animated = target.kind == "error" || target.data.get("is_error") == Some(&Value::Bool(true));
    let (source, target) = (source.id.clone(), target.id.clone());
    Edge { id: format!("{kind}:{source}->{target}"), source, target, kind, label, animated }
}

fn lasting(length: TimeDelta) -> String {
    match (length.num_hours(), length.num_minutes() % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// The graph of a window from its rows: pure.
pub(super) fn incident_graph(
    since: DateTime<Utc>,
    commits: &[Row],
    errors: &[Row],
    traces: &[Row],
    messages: &[Row],
) -> (Vec<Node>, Vec<Edge>) {
    let commit = |row: &Row| {
        let sha = text(row, "sha");
        let label = sha.chars().take(8).collect();
        node(format!("commit-{sha}"), "commit", label, shortened(&text(row, "message"), 60), row)
    };
    let error = |row: &Row| {
        let (label, detail) = (shortened(&text(row, "title"), 40), format!("count: {:.0}", number(row, "count")));
        node(format!("error-{}", text(row, "id")), "error", label, detail, row)
    };
    let trace = |row: &Row| {
        let unpriced = number(row, "unpriced");
        let label = cost(row, "cost_usd", unpriced).map_or("cost unknown".to_owned(), |usd| format!("${usd:.4}"));
        let mut detail = format!("{:.0} generations", number(row, "generations"));
        if unpriced > 0.0 {
            detail.push_str(&format!(", {unpriced:.0} without a price"));
        }
        node(format!("trace-{}", text(row, "trace_id")), "trace", label, detail, row)
    };
    let message = |row: &Row| {
        let id = format!("message-{}-{}", text(row, "channel"), text(row, "ts_raw"));
        let label = format!("#{}", text(row, "channel_name"));
        node(id, "message", label, shortened(&text(row, "text"), 60), row)
    };
    let commits: Vec<Node> = commits.iter().map(commit).collect();
    let errors: Vec<Node> = errors.iter().map(error).collect();
    let traces: Vec<Node> = traces.iter().map(trace).collect();
    let messages: Vec<Node> = messages.iter().map(message).collect();
    let mut edges = Vec::new();
    for (commit, error) in commits.iter().flat_map(|commit| errors.iter().map(move |error| (commit, error))) {
        let (Some(landed), Some(seen)) = (at(&commit.data, "at"), at(&error.data, "first_seen")) else { continue };
        if seen > landed && seen - landed <= AFTER_COMMIT {
            edges.push(edge(commit, error, "after", format!("first seen {} after", lasting(seen - landed))));
        }
    }
    for (error, trace) in errors.iter().flat_map(|error| traces.iter().map(move |trace| (error, trace))) {
        let (Some(first), Some(last)) = (at(&error.data, "first_seen"), at(&error.data, "last_seen")) else { continue };
        let (Some(from), Some(to)) = (at(&trace.data, "started_at"), at(&trace.data, "ended_at")) else { continue };
        if from <= last && first <= to {
            edges.push(edge(error, trace, "overlaps", "seen while it ran".to_owned()));
        }
    }
    for message in &messages {
        let words = text(&message.data, "text");
        let names = |id: &str| id.len() >= 7 && words.contains(id);
        for commit in &commits {
            let sha = text(&commit.data, "sha");
            if sha.get(..7).is_some_and(names) {
                edges.push(edge(commit, message, "mentions", "names it".to_owned()));
            }
        }
        for error in &errors {
            let (title, short) = (text(&error.data, "title"), text(&error.data, "short_id"));
            if (title.chars().count() >= 8 && words.contains(&title)) || (!short.is_empty() && words.contains(&short)) {
                edges.push(edge(error, message, "mentions", "names it".to_owned()));
            }
        }
        for trace in &traces {
            let said = at(&message.data, "at");
            let span = at(&trace.data, "started_at").zip(at(&trace.data, "ended_at"));
            if names(&text(&trace.data, "trace_id")) {
                edges.push(edge(trace, message, "mentions", "names it".to_owned()));
            } else if said.zip(span).is_some_and(|(said, (from, to))| from <= said && said <= to) {
                edges.push(edge(trace, message, "during", "said while it ran".to_owned()));
            }
        }
    }
    // A commit before the window is of interest only where an error of the window followed it.
    let led: BTreeSet<&str> = edges.iter().map(|edge| edge.source.as_str()).collect();
    let within = |commit: &Node| at(&commit.data, "at").is_some_and(|landed| landed >= since);
    let shown = |commit: &&Node| within(commit) || led.contains(commit.id.as_str());
    let mut nodes: Vec<Node> = commits.iter().filter(shown).cloned().collect();
    nodes.extend(errors.into_iter().chain(traces).chain(messages));
    in_columns(&mut nodes);
    (nodes, edges)
}

/// The graph of a trace from its rows: pure. Its edges are the parents that the observations name.
pub(super) fn trace_graph(rows: &[Row]) -> (Vec<Node>, Vec<Edge>) {
    let mut nodes: Vec<Node> = Vec::new();
    for row in rows {
        let (id, name) = (text(row, "id"), text(row, "name"));
        let label = if name.is_empty() { id.chars().take(8).collect() } else { shortened(&name, 60) };
        let kind = text(row, "type").to_ascii_lowercase();
        let kind = if matches!(kind.as_str(), "generation" | "span" | "event") { kind } else { "event".to_owned() };
        let mut node = node(format!("observation-{id}"), &kind, label, shortened(&text(row, "model"), 60), row);
        let level = text(row, "level");
        node.data.insert("is_error".to_owned(), json!(matches!(level.as_str(), "ERROR" | "WARNING")));
        node.data.insert("status".to_owned(), json!(level));
        let tokens: Vec<f64> = ["input_tokens", "output_tokens"].iter().filter_map(|key| known(row, key)).collect();
        node.data.insert("tokens".to_owned(), json!((!tokens.is_empty()).then(|| tokens.iter().sum::<f64>())));
        nodes.push(node);
    }
    let by_id: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut edges = Vec::new();
    let mut orphans = BTreeSet::new();
    for node in &nodes {
        let parent = text(&node.data, "parent_id");
        if parent.is_empty() {
            continue;
        }
        match by_id.get(format!("observation-{parent}").as_str()) {
            Some(parent) if parent.id != node.id => edges.push(edge(parent, node, "parent", "called".to_owned())),
            _ => {
                orphans.insert(node.id.clone());
            }
        }
    }
    for node in &mut nodes {
        node.data.insert("parent_missing".to_owned(), json!(orphans.contains(&node.id)));
    }
    by_depth(&mut nodes, &edges);
    (nodes, edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn only_a_commit_before_an_error_leads_to_it_and_only_within_a_day() {
        let commits: Vec<Row> =
            [("a", "2026-01-01T23:59:00Z"), ("b", "2026-01-02T10:00:00Z"), ("c", "2026-01-03T01:00:00Z")]
                .map(|(sha, at)| row(json!({"sha": sha.repeat(40), "message": "m", "at": at})))
                .to_vec();
        let error = row(json!({"id": "1", "title": "Broken pipe", "count": 3, "first_seen": "2026-01-03T00:00:00Z",
            "last_seen": "2026-01-03T02:00:00Z"}));
        let traces: Vec<Row> = [
            ("t1", "2026-01-03T01:59:00Z", "2026-01-03T03:00:00Z"),
            ("t2", "2026-01-03T02:01:00Z", "2026-01-03T03:00:00Z"),
        ]
        .map(|(id, from, to)| {
            row(json!({"trace_id": id, "cost_usd": 1.0, "generations": 2, "started_at": from, "ended_at": to}))
        })
        .to_vec();
        let since = "2026-01-03T01:30:00Z".parse().unwrap();
        let (nodes, edges) = incident_graph(since, &commits, &[error], &traces, &[]);
        let shown: Vec<(&str, &str)> = edges.iter().map(|edge| (edge.source.as_str(), edge.target.as_str())).collect();
        let b = format!("commit-{}", "b".repeat(40));
        assert_eq!(shown, [(b.as_str(), "error-1"), ("error-1", "trace-t1")]);
        assert_eq!(nodes.iter().filter(|node| node.kind == "commit").count(), 1);
    }

    #[test]
    fn a_commit_of_the_window_is_shown_also_where_no_error_followed_it() {
        let commits = [("a", "2026-01-02T23:00:00Z"), ("b", "2026-01-03T00:00:00Z"), ("c", "2026-01-03T01:00:00Z")]
            .map(|(sha, at)| row(json!({"sha": sha.repeat(40), "message": "m", "at": at})));
        let (nodes, edges) = incident_graph("2026-01-03T00:00:00Z".parse().unwrap(), &commits, &[], &[], &[]);
        let shown: Vec<&str> = nodes.iter().filter_map(|node| node.data["label"].as_str()).collect();
        assert_eq!((shown, edges.len()), (vec!["bbbbbbbb", "cccccccc"], 0));
    }

    #[test]
    fn a_trace_is_drawn_by_parents_and_a_cycle_ends() {
        let rows: Vec<Row> = [("root", ""), ("a", "root"), ("b", "a"), ("x", "y"), ("y", "x"), ("lost", "gone")]
            .map(|(id, parent)| {
                row(json!({"id": id, "parent_id": parent, "type": "SPAN", "name": id, "level": "DEFAULT"}))
            })
            .to_vec();
        let (nodes, edges) = trace_graph(&rows);
        let ends: Vec<(&str, &str)> = edges.iter().map(|edge| (edge.source.as_str(), edge.target.as_str())).collect();
        let o = |id: &str| format!("observation-{id}");
        assert!(
            ends.contains(&(o("root").as_str(), o("a").as_str())) && ends.contains(&(o("a").as_str(), o("b").as_str()))
        );
        assert_eq!(edges.len(), 4);
        let of = |id: &str| nodes.iter().find(|node| node.id == o(id)).unwrap();
        assert!(of("b").position.y > of("a").position.y && of("x").position.y > of("b").position.y);
        assert_eq!(of("lost").data["parent_missing"], true);
    }
}
