//! Sessions: the door their events come in by, what is read of them, and analysing one now (the Achilles wire, seed 002).
//!
//! Must hold: a batch is answered after its good items are on disk, with a reason for each of the others; what is read is of the
//! key's own project; nothing here derives anything (agent).

pub(crate) mod analyse;
pub(crate) mod read;
pub(crate) mod write;

use tripline_store::sessions::{Session, SessionId, SessionRef};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::WebState;

/// The session of a path.
fn session_id(id: &str) -> Result<SessionId, ApiError> {
    id.parse().map_err(|_| ApiError::unprocessable("the id of a session is a UUID"))
}

/// The session that is meant, which must be there.
async fn session(state: &WebState, caller: &Caller, session: &SessionRef) -> Result<Session, ApiError> {
    let found = state.context().store.sessions.find(&caller.scope, session).await?;
    found.ok_or_else(|| {
        ApiError::not_found("session", &session.to_string()).hint("begin it with POST /v1/sessions/start")
    })
}
