//! What is read of sessions.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tripline_store::sessions::{
    AgentPerformance, ErrorCluster, EventCorrelation, Insight, InsightSeverity, Session, SessionEvent, SessionRef,
};
use tripline_store::{Page, PageRequest};

use crate::api::Listing;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::state::WebState;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;
/// Clusters that a summary names.
const TOP_CLUSTERS: u32 = 5;

/// Which part of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Part {
    limit: Option<u32>,
    cursor: Option<String>,
}

impl Part {
    fn page(&self) -> Result<PageRequest, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::unprocessable(format!("limit must be between 1 and {MAX_LIMIT}")));
        }
        Ok(match self.cursor.as_deref() {
            Some(cursor) => PageRequest::after(limit, cursor.parse()?),
            None => PageRequest::first(limit),
        })
    }
}

/// Insights of one session, or of all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct InsightQuery {
    session_id: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A session at a glance.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    session: Session,
    cluster_count: i64,
    /// The clusters with the most errors, at most five.
    top_clusters: Vec<ErrorCluster>,
    correlation_count: i64,
    /// The agents, at most 1000.
    agent_performance: Vec<AgentPerformance>,
    insights_count_by_severity: BTreeMap<InsightSeverity, i64>,
}

fn listing<T>(page: Page<T>) -> Json<Listing<T>> {
    Json(Listing { next_cursor: page.next.map(|cursor| cursor.to_string()), items: page.items })
}

/// The session of a path, which must be there.
async fn found(state: &WebState, caller: &Caller, id: &str) -> Result<Session, ApiError> {
    super::session(state, caller, &SessionRef::Id(super::session_id(id)?)).await
}

pub(crate) async fn one(State(state): State<WebState>, caller: Caller, Id(id): Id) -> Result<Json<Session>, ApiError> {
    found(&state, &caller, &id).await.map(Json)
}

pub(crate) async fn events(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    Params(part): Params<Part>,
) -> Result<Json<Listing<SessionEvent>>, ApiError> {
    let (page, session) = (part.page()?, found(&state, &caller, &id).await?);
    Ok(listing(state.context().store.sessions.events(&caller.scope, &session.id, &page).await?))
}

pub(crate) async fn errors(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    Params(part): Params<Part>,
) -> Result<Json<Listing<ErrorCluster>>, ApiError> {
    let (page, session) = (part.page()?, found(&state, &caller, &id).await?);
    Ok(listing(state.context().store.sessions.clusters(&caller.scope, &session.id, &page).await?))
}

pub(crate) async fn correlations(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    Params(part): Params<Part>,
) -> Result<Json<Listing<EventCorrelation>>, ApiError> {
    let (page, session) = (part.page()?, found(&state, &caller, &id).await?);
    Ok(listing(state.context().store.sessions.correlations(&caller.scope, &session.id, &page).await?))
}

pub(crate) async fn performance(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    Params(part): Params<Part>,
) -> Result<Json<Listing<AgentPerformance>>, ApiError> {
    let (page, session) = (part.page()?, found(&state, &caller, &id).await?);
    Ok(listing(state.context().store.sessions.performance(&caller.scope, &session.id, &page).await?))
}

pub(crate) async fn insights(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<InsightQuery>,
) -> Result<Json<Listing<Insight>>, ApiError> {
    let page = Part { limit: query.limit, cursor: query.cursor }.page()?;
    let session = match query.session_id.as_deref() {
        Some(id) => Some(found(&state, &caller, id).await?.id),
        None => None,
    };
    Ok(listing(state.context().store.sessions.insights(&caller.scope, session.as_ref(), &page).await?))
}

pub(crate) async fn summary(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Summary>, ApiError> {
    let session = found(&state, &caller, &id).await?;
    let (sessions, scope) = (&state.context().store.sessions, &caller.scope);
    let agents = PageRequest::first(MAX_LIMIT);
    let (counts, top_clusters, performance) = tokio::try_join!(
        sessions.counts(scope, &session.id),
        sessions.top_clusters(scope, &session.id, TOP_CLUSTERS),
        sessions.performance(scope, &session.id, &agents),
    )?;
    Ok(Json(Summary {
        session,
        cluster_count: counts.clusters,
        top_clusters,
        correlation_count: counts.correlations,
        agent_performance: performance.items,
        insights_count_by_severity: counts.insights.into_iter().collect(),
    }))
}
