//! Weekly digests.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tripline_store::{Digest, PageRequest};

use super::{Listing, page_request};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::state::WebState;

/// A digest, with the names that clients of the reference product know.
#[derive(Debug, Serialize)]
pub(crate) struct DigestView {
    #[serde(flatten)]
    digest: Digest,
    /// When it was made; the same as `created_at`.
    detected_at: DateTime<Utc>,
    /// The whole text, Markdown; the same as `report`.
    report_text: String,
    /// What model calls cost in the week, in US dollars; the same as `cost_usd`.
    cost_impact: Option<f64>,
}

impl DigestView {
    fn new(digest: Digest) -> Self {
        Self {
            detected_at: digest.created_at,
            report_text: digest.report.clone(),
            cost_impact: digest.cost_usd,
            digest,
        }
    }
}

/// A page of the history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(crate) async fn latest(State(state): State<WebState>, caller: Caller) -> Result<Json<DigestView>, ApiError> {
    let page = state.context().store.digests.list(&caller.scope, &PageRequest::first(1)).await?;
    let newest = page.items.into_iter().next().ok_or_else(|| {
        ApiError::not_found("digest", "latest").hint("the first is made on Monday at 09:00, or by `tripline digest`")
    })?;
    Ok(Json(DigestView::new(newest)))
}

pub(crate) async fn history(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Listing<DigestView>>, ApiError> {
    let page = page_request(query.limit.or(Some(20)), query.cursor.as_deref())?;
    let page = state.context().store.digests.list(&caller.scope, &page).await?;
    Ok(Json(Listing::of(page, DigestView::new)))
}

pub(crate) async fn one(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<DigestView>, ApiError> {
    let digest = state.context().store.digests.get(&caller.scope, &id).await?;
    digest.map(|digest| Json(DigestView::new(digest))).ok_or_else(|| ApiError::not_found("digest", &id))
}
