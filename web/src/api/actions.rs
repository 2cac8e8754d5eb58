//! Actions: the outbox, and settling what a vendor could not tell.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tripline_agent::actions::ActionType;
use tripline_store::{Action, ActionFilter, ActionId, ExactJson, Settlement};

use super::{Listing, page_request, word};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody, Params};
use crate::state::WebState;

const MAX_NOTE: usize = 1_000;

/// An action, as it stands. The address that an answer to a click goes to is a credential and not shown.
#[derive(Debug, Serialize)]
pub(crate) struct ActionView {
    #[serde(flatten)]
    action: Action,
}

impl ActionView {
    pub(crate) fn new(mut action: Action) -> Self {
        if action.action_type == ActionType::SlackRespond.as_str() {
            let mut shown = action.payload.value().unwrap_or(Value::Null);
            if let Some(address) = shown.get_mut("response_url") {
                *address = json!("(not shown)");
            }
            action.payload = ExactJson::new(&shown);
        }
        Self { action }
    }
}

/// Filters of the listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    status: Option<String>,
    kind: Option<String>,
    #[serde(rename = "type")]
    action_type: Option<String>,
    incident_id: Option<String>,
    approval_id: Option<String>,
    since: Option<DateTime<Utc>>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// How an *unknown* action turned out, as a person found.
#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum SettleBody {
    /// It had happened.
    Done {
        /// What came of it (the address, say).
        note: Option<String>,
    },
    /// It had not.
    Failed {
        /// What is known.
        note: Option<String>,
    },
}

pub(crate) async fn list(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Listing<ActionView>>, ApiError> {
    let page = page_request(query.limit, query.cursor.as_deref())?;
    let filter = ActionFilter {
        status: word(query.status.as_deref())?,
        kind: word(query.kind.as_deref())?,
        action_type: query.action_type,
        incident_id: query.incident_id.map(Into::into),
        approval_id: query.approval_id.map(Into::into),
        since: query.since,
    };
    let page = state.context().store.actions.list(&caller.scope, &filter, &page).await?;
    Ok(Json(Listing::of(page, ActionView::new)))
}

pub(crate) async fn one(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<ActionView>, ApiError> {
    let found = state.context().store.actions.get(&caller.scope, &ActionId::new(&*id)).await?;
    found.map(|action| Json(ActionView::new(action))).ok_or_else(|| ApiError::not_found("action", &id))
}

pub(crate) async fn settle(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    JsonBody(body): JsonBody<SettleBody>,
) -> Result<Json<ActionView>, ApiError> {
    let note = |note: Option<String>| match note {
        Some(note) if note.chars().count() > MAX_NOTE => {
            Err(ApiError::unprocessable(format!("note: at most {MAX_NOTE} characters")))
        }
        note => Ok(note),
    };
    let settlement = match body {
        SettleBody::Done { note: text } => {
            Settlement::Done { result: json!({"settled_by": caller.person, "note": note(text)?}) }
        }
        SettleBody::Failed { note: text } => Settlement::Failed {
            error: note(text)?.unwrap_or_else(|| format!("{} found that it had not happened", caller.person)),
        },
    };
    let now = state.context().clock.now();
    let (store, scope, id) = (&state.context().store, &caller.scope, ActionId::new(id));
    let action = store.actions.settle(scope, &id, settlement, &caller.person, now).await?;
    state.parts().governance.notices.action_ended(scope, &action, now).await?;
    Ok(Json(ActionView::new(action)))
}
