//! Who is asking, and whether they may.
//!
//! Owns reading keys from requests, dev mode, and the check of scopes. Does not own keys (store) nor who may approve
//! (agent). Must hold: a key that was sent and is none is refused, also where no key would be needed; dev mode speaks to
//! this machine only ([`crate::local`]).

use std::collections::BTreeSet;
use std::str::FromStr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use tripline_store::{ApiKey, KeyScope, Scope};

use crate::error::ApiError;
use crate::local;
use crate::routes::Access;
use crate::state::WebState;

/// Whether a key is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMode {
    /// Always.
    #[default]
    Keys,
    /// Not on this machine. The server refuses to start on any other address.
    Dev,
}

impl FromStr for AuthMode {
    type Err = String;

    /// Reads `AUTH_MODE`: `keys` (the default) or `dev`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "keys" | "key" | "prod" | "production" => Ok(Self::Keys),
            "dev" => Ok(Self::Dev),
            other => Err(format!("AUTH_MODE is '{other}'; use keys or dev")),
        }
    }
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of their key; `dev` without one.
    pub name: String,
    /// The person behind it, kept as `resolved_by`.
    pub person: String,
    /// What they may do.
    pub scopes: BTreeSet<KeyScope>,
    /// Whose rows they see and make.
    pub scope: Scope,
}

impl Caller {
    /// Lets only the installation's own keys on: settings, sources and jobs are not a customer's.
    pub(crate) fn of_installation(&self, state: &WebState) -> Result<(), ApiError> {
        if self.scope == state.context().scope {
            return Ok(());
        }
        Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "this belongs to the installation, not to a project")
            .hint("use a key of the installation's own project"))
    }

    /// Whoever holds this key.
    pub(crate) fn of_key(key: ApiKey) -> Self {
        Self { scope: key.scope(), name: key.name, person: key.person, scopes: key.scopes }
    }

    /// Whether one of these scopes is theirs.
    pub(crate) fn may(&self, any_of: &[KeyScope]) -> bool {
        self.scopes.contains(&KeyScope::Admin) || any_of.iter().any(|scope| self.scopes.contains(scope))
    }
}

/// Lets a request through to its handler, or answers why not.
pub(crate) async fn guard(State((state, access)): State<(WebState, Access)>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(&state, access, &parts).await {
        Ok(caller) => {
            let name = caller.as_ref().map(|caller| caller.name.clone());
            if let Some(caller) = caller {
                parts.extensions.insert(caller);
            }
            let mut response = next.run(Request::from_parts(parts, body)).await;
            if let Some(name) = name {
                response.extensions_mut().insert(CallerName(name));
            }
            response
        }
        Err(error) => {
            state.metrics().denied(error.code);
            error.into_response()
        }
    }
}

/// Whether who asked `parts` may still read as that caller: of a request that goes on, whose key may have ended since.
pub(crate) async fn may_still_read(state: &WebState, parts: &Parts, as_caller: &Caller) -> Result<bool, ApiError> {
    match caller(state, parts).await {
        Ok(current) => Ok(current.scope == as_caller.scope && current.may(&[KeyScope::Read])),
        Err(error) if error.status.is_client_error() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The name of whoever asked, for the access log.
#[derive(Debug, Clone)]
pub(crate) struct CallerName(pub(crate) String);

async fn admit(state: &WebState, access: Access, parts: &Parts) -> Result<Option<Caller>, ApiError> {
    let any_of = match access {
        Access::Public | Access::Page | Access::SignIn | Access::Signed | Access::Sender(_) => return Ok(None),
        Access::ReadOrLocal if local::is_local(parts) && key(&parts.headers)?.is_none() => return Ok(None),
        Access::ReadOrLocal => &[KeyScope::Read][..],
        Access::AnyOf(scopes) | Access::Basic(scopes) => scopes,
    };
    let basic = if matches!(access, Access::Basic(_)) { basic(&parts.headers)? } else { None };
    let caller = match basic {
        Some((user, secret)) => known(state, &secret, Some(&user)).await?,
        None => caller(state, parts).await?,
    };
    if !caller.may(any_of) {
        let needed: Vec<&str> = any_of.iter().map(|scope| scope.as_str()).collect();
        return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "this key may not do that")
            .hint(format!("it needs the scope {}", needed.join(" or "))));
    }
    Ok(Some(caller))
}

async fn caller(state: &WebState, parts: &Parts) -> Result<Caller, ApiError> {
    if let Some(secret) = key(&parts.headers)? {
        return known(state, secret, None).await;
    }
    if let Some(session) = session_of(&parts.headers)
        && let Some(caller) = signed_in(state, parts, session).await?
    {
        return Ok(caller);
    }
    let nobody = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "an API key is needed");
    if state.auth_mode() != AuthMode::Dev {
        return Err(nobody.hint("send it as `Authorization: Bearer …` or `X-API-Key: …`"));
    }
    if !local::is_local(parts) {
        return Err(nobody.hint("AUTH_MODE=dev speaks to this machine only, and to no other page; send an API key"));
    }
    if !local::is_deliberate(parts) {
        return Err(not_deliberate());
    }
    Ok(dev_caller(state))
}

/// Whoever asks on this very machine in dev mode.
pub(crate) fn dev_caller(state: &WebState) -> Caller {
    Caller {
        name: "dev".to_owned(),
        person: "dev".to_owned(),
        scopes: KeyScope::ALL.iter().copied().collect(),
        scope: state.context().scope.clone(),
    }
}

/// Whose key it is; with a user, who must be the key's name or id.
async fn known(state: &WebState, secret: &str, user: Option<&str>) -> Result<Caller, ApiError> {
    let key = state.context().store.keys.verify(secret, state.context().clock.now()).await?;
    let key = key.filter(|key| user.is_none_or(|user| user == key.name || user == key.id.as_str()));
    let key = key.ok_or_else(|| {
        let problem = if user.is_some() {
            "this key is not known, was revoked, or has another name"
        } else {
            "this key is not known, or was revoked"
        };
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", problem).hint("make one with `tripline keys create`")
    })?;
    Ok(Caller::of_key(key))
}

/// The name of the cookie that a browser's session is in.
const COOKIE: &str = "tripline_session";

/// The cookie for a session: no script reads it, and no request that another site caused carries it.
pub(crate) fn cookie(session: &str, seconds: i64, headers: &HeaderMap) -> String {
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let secure = if origin.is_some_and(|origin| origin.starts_with("https://")) { "; Secure" } else { "" };
    format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

/// The session that a browser sent.
pub(crate) fn session_of(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, value)| *name == COOKIE && !value.is_empty()).map(|(_, value)| value)
}

/// Refuses what the page of somebody else sent: browsers say where a request comes from.
pub(crate) fn own_page(headers: &HeaderMap) -> Result<(), ApiError> {
    if local::is_same_site(headers) {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "cross_site", "a page of somebody else's sent this")
        .hint("open the command centre at the address that the server is reached at"))
}

/// Whoever signed in with this browser. What changes something must come from our own page, and not from a form.
async fn signed_in(state: &WebState, parts: &Parts, session: &str) -> Result<Option<Caller>, ApiError> {
    let key = state.context().store.keys.session(session, state.context().clock.now()).await?;
    let Some(key) = key else { return Ok(None) };
    own_page(&parts.headers)?;
    if !local::is_deliberate(parts) {
        return Err(not_deliberate());
    }
    Ok(Some(Caller::of_key(key)))
}

fn not_deliberate() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "not_deliberate", "a page of somebody else's could have sent this")
        .hint("send JSON, or the header `X-Tripline: 1`")
}

/// User and password of basic authorization, if that is how the request is authorized.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(text) = values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let (kind, encoded) = text.split_once(' ').unwrap_or((text, ""));
    if !kind.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.and_then(|text| text.split_once(':').map(|(user, key)| (user.to_owned(), key.to_owned())));
    match pair.filter(|(user, key)| !user.is_empty() && !key.is_empty() && !headers.contains_key("x-api-key")) {
        Some(pair) => Ok(Some(pair)),
        None => Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "the authorization cannot be read")
            .hint("user is the name or id of an API key, password the key itself")),
    }
}

/// The one key of a request.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let malformed = |hint: &str| {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "the API key cannot be read").hint(hint.to_owned())
    };
    let mut keys = Vec::new();
    for value in headers.get_all(header::AUTHORIZATION) {
        let text = value.to_str().map_err(|_| malformed("it is not plain text"))?;
        let text = text.trim();
        // Clients of the Dunetrace API may send the key alone.
        let Some((kind, key)) = text.split_once(' ') else {
            keys.push(if text.eq_ignore_ascii_case("bearer") { "" } else { text });
            continue;
        };
        if !kind.eq_ignore_ascii_case("bearer") {
            return Err(malformed("send it as `Authorization: Bearer …`"));
        }
        keys.push(key.trim());
    }
    for value in headers.get_all("x-api-key") {
        keys.push(value.to_str().map_err(|_| malformed("it is not plain text"))?.trim());
    }
    keys.dedup();
    match keys.as_slice() {
        [] => Ok(None),
        [key] if !key.is_empty() => Ok(Some(key)),
        [_] => Err(malformed("it is empty")),
        _ => Err(malformed("two different keys were sent")),
    }
}
