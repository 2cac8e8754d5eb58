//! Forensics: what led to what, as graphs.
//!
//! Owns: the graph of an incident's window (commits, errors, traces, messages), the graph of one trace, the dearest traces, the
//! fingerprint of a loop ([`fingerprint`]), and their forms: JSON for the page, Mermaid for documents ([`mermaid`]). Does not
//! own: suspects and culprits (investigate).
//!
//! Must hold: an edge says only what the data says (after, overlaps, parent, mentions), never that something caused something;
//! node ids are whole ids; a source that failed is named in the graph, and a graph of nothing but failures is an error.

pub mod fingerprint;
pub mod mermaid;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tripline_engine::{EngineError, Param, Params, QueryOptions};
use tripline_store::Gap;

use crate::AgentContext;
use crate::actions::Repository;
use crate::detect::finding::{rows, time};
use crate::queries::{HeaderError, QueryLibrary};

/// An error may follow a commit so long after it (seed 003, forensics).
const AFTER_COMMIT: TimeDelta = TimeDelta::hours(24);
/// How long one query may take.
const WITHIN: Duration = Duration::from_secs(25);
/// Requests of one query at most.
const REQUESTS: u64 = 500;
/// The longest window of an incident's graph.
pub const LONGEST: TimeDelta = TimeDelta::days(14);

/// Why there is no graph.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ForensicsError {
    /// A query failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A query file is wrong.
    #[error(transparent)]
    Query(#[from] HeaderError),
    /// No source answered: nothing is known of the window.
    #[error("nothing is known of this window: {0}")]
    Unknown(String),
    /// There is no such trace.
    #[error("there is no trace '{0}'")]
    NoTrace(String),
    /// The window is none.
    #[error("the window must end after it begins, and within {} days", LONGEST.num_days())]
    Window,
    /// Rows cannot be read.
    #[error("{0}")]
    Rows(String),
}

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

/// A trace in a listing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstTrace {
    /// The trace.
    pub trace_id: String,
    /// Its observations.
    pub observation_count: i64,
    /// What it cost, US dollars.
    pub total_cost: f64,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// Observations of level ERROR or WARNING.
    pub error_count: i64,
}

/// Draws graphs. Cheap to clone.
#[derive(Clone)]
pub struct Forensics {
    ctx: AgentContext,
    queries: QueryLibrary,
    repository: Option<Repository>,
}

impl std::fmt::Debug for Forensics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forensics").field("repository", &self.repository).finish_non_exhaustive()
    }
}

type Row = Map<String, Value>;

fn text(row: &Row, column: &str) -> String {
    row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn at(row: &Row, column: &str) -> Option<DateTime<Utc>> {
    row.get(column).and_then(time)
}

fn number(row: &Row, column: &str) -> f64 {
    row.get(column).and_then(Value::as_f64).unwrap_or_default()
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

/// Each kind in a column of its own, in the order of its rows.
fn in_columns(nodes: &mut [Node]) {
    let mut next: BTreeMap<String, f64> = BTreeMap::new();
    for node in nodes {
        let x = match node.kind.as_str() {
            "commit" => 0.0,
            "error" => 240.0,
            "trace" => 480.0,
            "message" => 720.0,
            _ => 600.0,
        };
        let y = next.entry(node.kind.clone()).or_default();
        node.position = Position { x, y: *y };
        *y += 130.0;
    }
}

/// Downwards by depth. A cycle has no depth: what is in one, or below it, is drawn below everything else.
fn by_depth(nodes: &mut [Node], edges: &[Edge]) {
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut waits: BTreeMap<String, usize> = nodes.iter().map(|node| (node.id.clone(), 0)).collect();
    for edge in edges {
        children.entry(&edge.source).or_default().push(&edge.target);
        *waits.entry(edge.target.clone()).or_default() += 1;
    }
    let mut depth: BTreeMap<String, usize> = BTreeMap::new();
    let mut ready: Vec<String> = waits.iter().filter(|(_, n)| **n == 0).map(|(id, _)| id.clone()).collect();
    ready.iter().for_each(|id| {
        depth.insert(id.clone(), 0);
    });
    while let Some(id) = ready.pop() {
        let below = depth.get(&id).copied().unwrap_or_default() + 1;
        for child in children.get(id.as_str()).into_iter().flatten() {
            let deepest = depth.entry((*child).to_owned()).or_default();
            *deepest = (*deepest).max(below);
            if let Some(left) = waits.get_mut(*child) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push((*child).to_owned());
                }
            }
        }
    }
    let lowest = depth.values().max().copied().unwrap_or_default() + 1;
    let mut taken: BTreeMap<usize, f64> = BTreeMap::new();
    for node in nodes {
        let in_cycle = waits.get(&node.id).is_some_and(|left| *left > 0);
        let row = if in_cycle { lowest } else { depth.get(&node.id).copied().unwrap_or_default() };
        let x = taken.entry(row).or_default();
        node.position = Position { x: *x, y: row as f64 * 130.0 };
        *x += 200.0;
    }
}

/// The graph of a window from its rows: pure.
fn incident_graph(
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
        let label = format!("${:.4}", number(row, "cost_usd"));
        let detail = format!("{:.0} generations", number(row, "generations"));
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
fn trace_graph(rows: &[Row]) -> (Vec<Node>, Vec<Edge>) {
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
        node.data.insert("tokens".to_owned(), json!(number(row, "input_tokens") + number(row, "output_tokens")));
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

impl Forensics {
    /// Draws from the sources of this context.
    #[must_use]
    pub fn new(ctx: AgentContext, queries: QueryLibrary, repository: Option<Repository>) -> Self {
        Self { ctx, queries, repository }
    }

    async fn rows(&self, name: &str, params: Params) -> Result<Vec<Row>, ForensicsError> {
        let template = self.queries.find(name)?;
        let options = QueryOptions {
            params,
            now: Some(self.ctx.clock.now()),
            timeout: WITHIN,
            max_requests: REQUESTS,
            ..QueryOptions::default()
        };
        let result = self.ctx.engine.collect(&template.header.sql, options).await?;
        if let Some(gap) = crate::detect::gaps_of(&result).into_iter().next() {
            return Err(ForensicsError::Rows(gap.reason));
        }
        rows(&template.header.origin, &result).map_err(|error| ForensicsError::Rows(error.to_string()))
    }

    /// The graph of a window: commits, the errors first seen within 24 hours after, the traces that ran meanwhile, what was said.
    ///
    /// # Errors
    /// When the window is none, or no source answered. A source that failed is a gap.
    pub async fn incident(&self, since: DateTime<Utc>, until: DateTime<Utc>) -> Result<Graph, ForensicsError> {
        if until <= since || until - since > LONGEST {
            return Err(ForensicsError::Window);
        }
        let window = Params::from([
            ("since".to_owned(), Param::Timestamp(since)),
            ("until".to_owned(), Param::Timestamp(until)),
        ]);
        let mut said = window.clone();
        let channels = self.ctx.settings.get().incident_channels.clone();
        said.insert("channels".to_owned(), Param::TextList(channels));
        let commits = async {
            let Some(repository) = &self.repository else {
                return Err(ForensicsError::Rows(
                    "no repository is configured: set GITHUB_OWNER and GITHUB_REPO".to_owned(),
                ));
            };
            let mut params = repository.params();
            params.extend(window.clone());
            self.rows("forensics_commits", params).await
        };
        let (commits, errors, traces, messages) = tokio::join!(
            commits,
            self.rows("forensics_errors", window.clone()),
            self.rows("forensics_traces", window.clone()),
            self.rows("forensics_messages", said),
        );
        let mut gaps = Vec::new();
        let mut known = |source: &str, found: Result<Vec<Row>, ForensicsError>| match found {
            Ok(rows) => rows,
            Err(error) => {
                gaps.push(Gap { source: source.to_owned(), reason: error.to_string() });
                Vec::new()
            }
        };
        let (commits, errors) = (known("github", commits), known("sentry", errors));
        let (traces, messages) = (known("langfuse", traces), known("slack", messages));
        if gaps.len() == 4 {
            let reasons: Vec<String> = gaps.iter().map(|gap| format!("{}: {}", gap.source, gap.reason)).collect();
            return Err(ForensicsError::Unknown(reasons.join("; ")));
        }
        let (nodes, edges) = incident_graph(since, &commits, &errors, &traces, &messages);
        let count = |kind: &str| nodes.iter().filter(|node| node.kind == kind).count();
        let metadata = json!({"window_start": since, "window_end": until, "commit_count": count("commit"),
            "error_count": count("error"), "trace_count": count("trace"), "message_count": count("message")});
        let complete = gaps.is_empty();
        Ok(Graph { metadata: metadata.as_object().cloned().unwrap_or_default(), nodes, edges, gaps, complete })
    }

    /// The observations of a trace, by who called whom.
    ///
    /// # Errors
    /// When Langfuse does not answer, or has no such trace.
    pub async fn trace(&self, trace_id: &str) -> Result<Graph, ForensicsError> {
        let rows = self.observations(trace_id).await?;
        let cost: f64 = rows.iter().map(|row| number(row, "cost_usd")).sum();
        let (nodes, edges) = trace_graph(&rows);
        let errors = nodes.iter().filter(|node| node.data.get("is_error") == Some(&Value::Bool(true))).count();
        let metadata = json!({"trace_id": trace_id, "total_observations": nodes.len(), "total_cost": cost,
            "error_count": errors});
        let metadata = metadata.as_object().cloned().unwrap_or_default();
        Ok(Graph { nodes, edges, metadata, gaps: Vec::new(), complete: true })
    }

    pub(crate) async fn observations(&self, trace_id: &str) -> Result<Vec<Row>, ForensicsError> {
        let params = Params::from([("trace_id".to_owned(), Param::Text(trace_id.to_owned()))]);
        let rows = self.rows("forensics_trace", params).await?;
        if rows.is_empty() {
            return Err(ForensicsError::NoTrace(trace_id.to_owned()));
        }
        Ok(rows)
    }

    /// The dearest traces of the last seven days, at most `limit` (1 to 100).
    ///
    /// # Errors
    /// When Langfuse does not answer.
    pub async fn worst_traces(&self, limit: usize) -> Result<Vec<WorstTrace>, ForensicsError> {
        let now = self.ctx.clock.now();
        let window = Params::from([
            ("since".to_owned(), Param::Timestamp(now - TimeDelta::days(7))),
            ("until".to_owned(), Param::Timestamp(now)),
        ]);
        let rows = self.rows("forensics_worst_traces", window).await?;
        let worst = rows.iter().take(limit).map(|row| WorstTrace {
            trace_id: text(row, "trace_id"),
            observation_count: number(row, "observation_count") as i64,
            total_cost: number(row, "total_cost"),
            started_at: at(row, "started_at"),
            error_count: number(row, "error_count") as i64,
        });
        Ok(worst.collect())
    }
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
