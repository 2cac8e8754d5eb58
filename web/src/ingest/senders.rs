//! Who sends: a key in a header, or in the body as the Dunetrace SDKs put it.
//!
//! Must hold: a key that was revoked sends nothing more than a second later; what is remembered of a key is its hash.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use tripline_store::{ApiKey, KeyScope};

use crate::auth::{AuthMode, Caller, dev_caller, key};
use crate::error::ApiError;
use crate::local;
use crate::state::WebState;

/// How long a key that was good is not looked up again.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// Keys that are remembered at most.
const MOST: usize = 1_024;
/// What keys of the SDK's own development mode begin with.
const DEV_PREFIX: &str = "dt_dev_";

/// Keys that were good a moment ago, by their SHA-256.
#[derive(Debug, Default)]
pub(crate) struct KeyCache {
    known: Mutex<HashMap<[u8; 32], (Instant, ApiKey)>>,
}

impl KeyCache {
    fn get(&self, hash: &[u8; 32]) -> Option<ApiKey> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).filter(|(at, _)| at.elapsed() < TRUSTED_FOR).map(|(_, key)| key.clone())
    }

    fn put(&self, hash: [u8; 32], key: ApiKey) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (at, _)| at.elapsed() < TRUSTED_FOR);
        }
        if known.len() < MOST {
            known.insert(hash, (Instant::now(), key));
        }
    }
}

/// What a request's headers say of who sends.
pub(crate) enum Sender {
    /// Somebody who may.
    Known(Caller),
    /// Nobody: the body may say it, and this machine needs no key in dev mode.
    Unknown {
        /// Who it is if the body has no key either; `None`: nobody who may.
        without_key: Option<Caller>,
    },
}

/// Reads the headers.
///
/// # Errors
/// 401 for a key that is none, 403 for one that may not.
pub(crate) async fn by_headers(state: &WebState, parts: &Parts, any_of: &[KeyScope]) -> Result<Sender, ApiError> {
    let is_dev = state.auth_mode() == AuthMode::Dev && local::is_local(parts) && local::is_deliberate(parts);
    let without_key = is_dev.then(|| dev_caller(state));
    match key(&parts.headers)? {
        Some(secret) if !(secret.starts_with(DEV_PREFIX) && without_key.is_some()) => {
            Ok(Sender::Known(verified(state, secret, any_of).await?))
        }
        _ => Ok(Sender::Unknown { without_key }),
    }
}

/// Who sends, once the key of the body (or of the address, in old SDKs) is known.
///
/// # Errors
/// As [`by_headers`].
pub(crate) async fn resolve(
    state: &WebState,
    sender: Sender,
    in_body: &str,
    any_of: &[KeyScope],
) -> Result<Caller, ApiError> {
    match sender {
        Sender::Known(caller) => Ok(caller),
        Sender::Unknown { without_key: Some(caller) } if in_body.is_empty() || in_body.starts_with(DEV_PREFIX) => {
            Ok(caller)
        }
        Sender::Unknown { .. } if in_body.is_empty() => {
            Err(refused().hint("send it as `Authorization: Bearer …`, `X-API-Key: …` or as `api_key` in the body"))
        }
        Sender::Unknown { .. } => verified(state, in_body, any_of).await,
    }
}

fn refused() -> ApiError {
    // In the words that clients of this wire know.
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "Invalid or inactive API key")
}

async fn verified(state: &WebState, secret: &str, any_of: &[KeyScope]) -> Result<Caller, ApiError> {
    let hash: [u8; 32] = Sha256::digest(secret).into();
    let cache = &state.door().keys;
    let now = state.context().clock.now();
    let key = match cache.get(&hash).filter(|key| key.is_live(now)) {
        Some(key) => key,
        None => {
            let key = state.context().store.keys.verify(secret, now).await?;
            let key = key.ok_or_else(|| refused().hint("make one with `tripline keys create`"))?;
            cache.put(hash, key.clone());
            key
        }
    };
    if !any_of.iter().any(|scope| key.allows(*scope)) {
        let needed: Vec<&str> = any_of.iter().map(|scope| scope.as_str()).collect();
        return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "this key may not do that")
            .hint(format!("it needs the scope {}", needed.join(" or "))));
    }
    Ok(Caller { scope: key.scope(), name: key.name, person: key.person, scopes: key.scopes })
}
