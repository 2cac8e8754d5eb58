//! Anomalies: single findings.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tripline_store::{Anomaly, AnomalyFilter, AnomalyId};

use super::{Listing, page_request};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::state::WebState;

/// Filters of the listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    detector: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    incident_id: Option<String>,
    since: Option<DateTime<Utc>>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(crate) async fn list(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Listing<Anomaly>>, ApiError> {
    let page = page_request(query.limit, query.cursor.as_deref())?;
    let filter = AnomalyFilter {
        detector: query.detector,
        kind: query.kind,
        incident_id: query.incident_id.map(Into::into),
        since: query.since,
    };
    let page = state.context().store.anomalies.list(&caller.scope, &filter, &page).await?;
    Ok(Json(Listing::of(page, |anomaly| anomaly)))
}

pub(crate) async fn one(State(state): State<WebState>, caller: Caller, Id(id): Id) -> Result<Json<Anomaly>, ApiError> {
    let found = state.context().store.anomalies.get(&caller.scope, &AnomalyId::new(&*id)).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found("anomaly", &id))
}
