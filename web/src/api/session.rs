//! Who the caller is, and signing a browser in and out.
//!
//! A browser signs in with an API key or with a link that works once. From then on it has a session in a cookie that no
//! script reads and no other site sends ([`crate::auth`] says how such requests are told from forged ones). Must hold: a
//! session is no more than its key, and ends with it; neither is in an address, a log or an answer.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tripline_store::KeyScope;

use crate::auth::{self, AuthMode, Caller};
use crate::error::ApiError;
use crate::extract::JsonBody;
use crate::state::WebState;

/// How long a browser stays signed in.
const LASTS: TimeDelta = TimeDelta::days(7);

/// The caller.
#[derive(Debug, Serialize)]
pub(crate) struct Session {
    name: String,
    person: String,
    scopes: Vec<KeyScope>,
    project: String,
    /// Whether that is the installation's own project: settings, sources, jobs and keys are no customer's.
    installation: bool,
    /// Whether they may decide approvals: scope and list.
    approver: bool,
    /// Whether they needed no key.
    dev: bool,
    /// The product's time, by which approvals expire.
    now: DateTime<Utc>,
}

impl Session {
    fn new(state: &WebState, caller: Caller) -> Self {
        let may_operate = [KeyScope::Operate, KeyScope::Admin].iter().any(|scope| caller.scopes.contains(scope));
        let listed = state.parts().governance.desk.may_decide(&[&caller.person, &caller.name]);
        Self {
            approver: may_operate && listed,
            dev: state.auth_mode() == AuthMode::Dev && caller.name == "dev",
            installation: caller.of_installation(state).is_ok(),
            project: caller.scope.project_id().to_string(),
            name: caller.name,
            person: caller.person,
            scopes: caller.scopes.into_iter().collect(),
            now: state.context().clock.now(),
        }
    }
}

/// What to sign in with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// An API key, or the secret of a link that `tripline keys link` printed.
    secret: String,
}

pub(crate) async fn session(State(state): State<WebState>, caller: Caller) -> Json<Session> {
    Json(Session::new(&state, caller))
}

pub(crate) async fn sign_in(
    State(state): State<WebState>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SignIn>,
) -> Result<Response, ApiError> {
    auth::own_page(&headers)?;
    let now = state.context().clock.now();
    let signed_in = state.context().store.keys.sign_in(body.secret.trim(), LASTS, now).await?;
    let signed_in = signed_in.ok_or_else(|| {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "this is no key or link that works").hint(
            "a link works once, for ten minutes: make one with `tripline keys link`, a key with `tripline keys create`",
        )
    })?;
    let cookie = auth::cookie(signed_in.session.expose_secret(), LASTS.num_seconds(), &headers);
    let session = Session::new(&state, Caller::of_key(signed_in.key));
    Ok(([(header::SET_COOKIE, cookie)], Json(session)).into_response())
}

pub(crate) async fn sign_out(State(state): State<WebState>, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(session) = auth::session_of(&headers) {
        state.context().store.keys.sign_out(session).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, auth::cookie("", 0, &headers))]).into_response())
}
