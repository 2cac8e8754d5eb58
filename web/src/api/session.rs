//! Who the caller is, so that a page can show what they may do.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tripline_store::KeyScope;

use crate::auth::{AuthMode, Caller};
use crate::state::WebState;

/// The caller.
#[derive(Debug, Serialize)]
pub(crate) struct Session {
    name: String,
    person: String,
    scopes: Vec<KeyScope>,
    project: String,
    /// Whether they may decide approvals: scope and list.
    approver: bool,
    /// Whether they needed no key.
    dev: bool,
    /// The product's time, by which approvals expire.
    now: DateTime<Utc>,
}

pub(crate) async fn session(State(state): State<WebState>, caller: Caller) -> Json<Session> {
    let may_operate = [KeyScope::Operate, KeyScope::Admin].iter().any(|scope| caller.scopes.contains(scope));
    let listed = state.parts().governance.desk.may_decide(&[&caller.person, &caller.name]);
    Json(Session {
        approver: may_operate && listed,
        dev: state.auth_mode() == AuthMode::Dev && caller.name == "dev",
        project: caller.scope.project_id().to_string(),
        name: caller.name,
        person: caller.person,
        scopes: caller.scopes.into_iter().collect(),
        now: state.context().clock.now(),
    })
}
