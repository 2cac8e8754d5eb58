//! Forensics: what led to what, as graphs.
//!
//! Owns: asking for the graph of an incident's window (commits, errors, traces, messages) and of one trace, drawing them
//! ([`graph`], `layout`), the dearest traces, the fingerprint of a loop ([`fingerprint`]), and their forms: JSON for the page,
//! Mermaid for documents ([`mermaid`]). Does not own: suspects and culprits (investigate).
//!
//! Must hold: an edge says only what the data says (after, overlaps, parent, mentions), never that something caused something;
//! node ids are whole ids; a call without a price is of unknown cost, and said to be; a source that failed is named in the graph, and a graph of nothing but failures is an error.

pub mod fingerprint;
pub mod graph;
mod layout;
pub mod mermaid;

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

pub use graph::{Edge, Graph, Node, Position};
use graph::{incident_graph, trace_graph};

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

/// A trace in a listing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstTrace {
    /// The trace.
    pub trace_id: String,
    /// Its observations.
    pub observation_count: i64,
    /// What its calls cost that have a price, US dollars; `None` when none has.
    pub total_cost: Option<f64>,
    /// Model calls without a price: then it cost at least `total_cost`.
    pub unpriced: i64,
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

/// A figure, where there is one.
fn known(row: &Row, column: &str) -> Option<f64> {
    row.get(column).and_then(Value::as_f64)
}

/// A count: what is not there is none.
fn number(row: &Row, column: &str) -> f64 {
    known(row, column).unwrap_or_default()
}

/// What calls cost that have a price; `None` when none of the model calls has one.
fn cost(row: &Row, column: &str, unpriced: f64) -> Option<f64> {
    known(row, column).or((unpriced == 0.0).then_some(0.0))
}

/// Whether this is a model call without a price.
fn is_unpriced(row: &Row) -> bool {
    row.get("type").and_then(Value::as_str) == Some("GENERATION") && known(row, "cost_usd").is_none()
}

/// How many rows a window has of which these are drawn; each of them says so, which is no part of what it tells.
fn there_are(rows: &mut [Row]) -> usize {
    let told = rows.iter_mut().filter_map(|row| row.remove("in_window")?.as_u64()).max();
    told.map_or(rows.len(), |count| usize::try_from(count).unwrap_or(usize::MAX))
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
        let (commits, mut errors) = (known("github", commits), known("sentry", errors));
        let (mut traces, mut messages) = (known("langfuse", traces), known("slack", messages));
        if gaps.len() == 4 {
            let reasons: Vec<String> = gaps.iter().map(|gap| format!("{}: {}", gap.source, gap.reason)).collect();
            return Err(ForensicsError::Unknown(reasons.join("; ")));
        }
        let counts = [&mut errors, &mut traces, &mut messages].map(|rows| there_are(rows));
        let (nodes, edges) = incident_graph(since, &commits, &errors, &traces, &messages);
        let drawn = |kind: &str| nodes.iter().filter(|node| node.kind == kind).count();
        let metadata = json!({"window_start": since, "window_end": until, "commit_count": drawn("commit"),
            "error_count": counts[0], "trace_count": counts[1], "message_count": counts[2],
            "not_drawn": {"errors": counts[0] - drawn("error"), "traces": counts[1] - drawn("trace"),
                "messages": counts[2] - drawn("message")}});
        let complete = gaps.is_empty();
        Ok(Graph { metadata: metadata.as_object().cloned().unwrap_or_default(), nodes, edges, gaps, complete })
    }

    /// The observations of a trace, by who called whom.
    ///
    /// # Errors
    /// When Langfuse does not answer, or has no such trace.
    pub async fn trace(&self, trace_id: &str) -> Result<Graph, ForensicsError> {
        let rows = self.observations(trace_id).await?;
        let unpriced = rows.iter().filter(|row| is_unpriced(row)).count();
        let priced: Vec<f64> = rows.iter().filter_map(|row| known(row, "cost_usd")).collect();
        let cost = (unpriced == 0 || !priced.is_empty()).then(|| priced.iter().fold(0.0, |sum, cost| sum + cost));
        let (nodes, edges) = trace_graph(&rows);
        let errors = nodes.iter().filter(|node| node.data.get("is_error") == Some(&Value::Bool(true))).count();
        let metadata = json!({"trace_id": trace_id, "total_observations": nodes.len(), "total_cost": cost,
            "unpriced": unpriced, "error_count": errors});
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
            total_cost: cost(row, "total_cost", number(row, "unpriced")),
            unpriced: number(row, "unpriced") as i64,
            started_at: at(row, "started_at"),
            error_count: number(row, "error_count") as i64,
        });
        Ok(worst.collect())
    }
}
