//! The record: its rows, and whether it is as it was written.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tripline_store::{AuditEntry, AuditFilter, AuditHead, AuditVerdict};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Params;
use crate::state::WebState;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 500;

/// Filters of the listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    subject_type: Option<String>,
    subject_id: Option<String>,
    event: Option<String>,
    before_seq: Option<i64>,
    limit: Option<u32>,
}

/// Rows, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct Rows {
    items: Vec<AuditEntry>,
    /// Pass it as `before_seq` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before_seq: Option<i64>,
}

/// A head that was written down elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Anchor {
    seq: Option<i64>,
    hash: Option<String>,
}

pub(crate) async fn list(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Rows>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::unprocessable(format!("limit must be between 1 and {MAX_LIMIT}")));
    }
    let filter = AuditFilter {
        subject_type: query.subject_type,
        subject_id: query.subject_id,
        event: query.event,
        before_seq: query.before_seq,
    };
    let items = state.context().store.audit.list(&caller.scope, &filter, limit).await?;
    let full = items.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let next_before_seq = items.last().map(|row| row.seq).filter(|seq| full && *seq > 1);
    Ok(Json(Rows { items, next_before_seq }))
}

pub(crate) async fn verify(
    State(state): State<WebState>,
    caller: Caller,
    Params(anchor): Params<Anchor>,
) -> Result<Json<AuditVerdict>, ApiError> {
    let anchor = match (anchor.seq, anchor.hash) {
        (Some(seq), Some(hash)) => Some(AuditHead { seq, hash }),
        (None, None) => None,
        _ => return Err(ApiError::unprocessable("an anchor is a seq and a hash, both or neither")),
    };
    Ok(Json(state.context().store.audit.verify(&caller.scope, anchor.as_ref()).await?))
}
