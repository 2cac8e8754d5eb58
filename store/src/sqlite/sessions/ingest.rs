//! What senders write: sessions, their events, their end. Nothing here touches what was derived.

use super::{find, find_by_id, not_found};
use crate::StoreError;
use crate::model::Scope;
use crate::sessions::dedupe::DedupeWindow;
use crate::sessions::validate::{self, Refusal};
use crate::sessions::{
    EventOutcome, MAX_SESSION_EVENTS, NewSession, NewSessionEvent, Session, SessionEventId, SessionId, SessionRef,
    SessionStatus, StartedSession,
};
use crate::sqlite::connection::DbResult;
use crate::sqlite::values::{micros, one, run, to_json};
use crate::sqlite::writer::Tx;
use chrono::{DateTime, Utc};
use rusqlite::params;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

pub(super) fn start(tx: &mut Tx<'_>, scope: &Scope, new: &NewSession, now: DateTime<Utc>) -> DbResult<StartedSession> {
    let by_id = new.id.clone().map(SessionRef::Id);
    let by_key = new.external_session_key.clone().map(SessionRef::Key);
    let mut same = None;
    for session in [&by_id, &by_key].into_iter().flatten() {
        same = same.or(find(tx.connection, scope, session)?);
    }
    if let Some(session) = same {
        let is_same = session.user_id == new.user_id
            && session.workspace_id == new.workspace_id
            && new.id.as_ref().is_none_or(|id| *id == session.id)
            && new.external_session_key.is_none_or_same(&session.external_session_key);
        if !is_same {
            let id = new.external_session_key.clone().unwrap_or_else(|| session.id.to_string());
            return Err(StoreError::Conflict { what: "a session of another user, workspace, key or id for", id }.into());
        }
        return Ok(StartedSession { session, created: false });
    }
    let id = new.id.clone().unwrap_or_else(|| SessionId::of_stored(tx.ids.next(now)));
    run(
        tx.connection,
        "INSERT INTO sessions (project_id, id, external_session_key, user_id, workspace_id, start_time, status, tags,
             config_snapshot, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'active', ?7, ?8, ?9, ?9)",
        params![
            scope.project_id(),
            id,
            new.external_session_key,
            new.user_id,
            new.workspace_id,
            micros(new.start_time),
            to_json(&new.tags)?,
            to_json(&new.config_snapshot)?,
            micros(now)
        ],
    )?;
    let session = find_by_id(tx.connection, scope, &id)?.ok_or_else(|| not_found(&id))?;
    Ok(StartedSession { session, created: true })
}

/// Whether what is asked for is left open or the same as what there is.
trait NoneOrSame {
    fn is_none_or_same(&self, there: &Self) -> bool;
}

impl<T: PartialEq> NoneOrSame for Option<T> {
    fn is_none_or_same(&self, there: &Self) -> bool {
        self.is_none() || self == there
    }
}

/// A session that events of the batch belong to, and how many of them were kept.
struct Open {
    session: Option<Session>,
    kept: i64,
}

pub(super) fn append(
    tx: &mut Tx<'_>,
    scope: &Scope,
    events: &[NewSessionEvent],
    window: DedupeWindow,
    now: DateTime<Utc>,
) -> DbResult<Vec<EventOutcome>> {
    let mut sessions: HashMap<&SessionId, Open> = HashMap::new();
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        let open = match sessions.entry(&event.session_id) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Open { session: find_by_id(tx.connection, scope, &event.session_id)?, kept: 0 })
            }
        };
        let Some(session) = &open.session else {
            outcomes
                .push(EventOutcome::Refused(Refusal::new("session_id", "there is no such session; start it first")));
            continue;
        };
        let outcome = append_one(tx, scope, session, open.kept, event, window, now)?;
        open.kept += i64::from(outcome == EventOutcome::Ingested);
        outcomes.push(outcome);
    }
    for (id, open) in sessions.into_iter().filter(|(_, open)| open.kept > 0) {
        run(
            tx.connection,
            "UPDATE sessions SET event_count = event_count + ?3, revision = revision + 1, updated_at = max(updated_at, ?4)
             WHERE project_id = ?1 AND id = ?2",
            params![scope.project_id(), id, open.kept, micros(now)],
        )?;
    }
    Ok(outcomes)
}

fn append_one(
    tx: &mut Tx<'_>,
    scope: &Scope,
    session: &Session,
    kept: i64,
    event: &NewSessionEvent,
    window: DedupeWindow,
    now: DateTime<Utc>,
) -> DbResult<EventOutcome> {
    let (from, to) = window.around(event.client_timestamp);
    let repetition = one(
        tx.connection,
        "SELECT 1 FROM session_events WHERE project_id = ?1 AND session_id = ?2 AND event_hash = ?3
             AND client_timestamp BETWEEN ?4 AND ?5 LIMIT 1",
        params![scope.project_id(), session.id, event.event_hash, from, to],
        |_| Ok(()),
    )?;
    // A repetition is told as one also after the end: the sender asks again what became of it.
    if repetition.is_some() {
        return Ok(EventOutcome::Duplicate);
    }
    if let (SessionStatus::Ended, Some(end)) = (session.status, session.end_time)
        && event.client_timestamp > end
    {
        let reason = format!("is after the end of the session, {}", end.to_rfc3339());
        return Ok(EventOutcome::Ended(Refusal::new("client_timestamp", reason)));
    }
    if session.event_count + kept >= MAX_SESSION_EVENTS {
        let reason = format!("the session has {MAX_SESSION_EVENTS} events, which is the most; start another");
        return Ok(EventOutcome::Refused(Refusal::new("session_id", reason)));
    }
    let id = event.id.clone().unwrap_or_else(|| SessionEventId::of_stored(tx.ids.next(now)));
    let stored = run(
        tx.connection,
        "INSERT INTO session_events (project_id, id, session_id, event_type, source_type, source_name, file_path,
             project_root, language, payload, raw_message, attribution_source, attribution_confidence, client_timestamp,
             server_timestamp, event_hash, metadata)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (project_id, id) DO NOTHING",
        params![
            scope.project_id(),
            id,
            session.id,
            event.event_type,
            event.source_type,
            event.source_name,
            event.file_path,
            event.project_root,
            event.language,
            to_json(&event.payload)?,
            event.raw_message,
            event.attribution_source,
            event.attribution_confidence,
            micros(event.client_timestamp),
            micros(now),
            event.event_hash,
            to_json(&event.metadata)?
        ],
    )?;
    if stored == 0 {
        return Ok(EventOutcome::Refused(Refusal::new("id", "another event has this id already")));
    }
    Ok(EventOutcome::Ingested)
}

pub(super) fn end(
    tx: &mut Tx<'_>,
    scope: &Scope,
    session: &SessionRef,
    at: Option<&str>,
    now: DateTime<Utc>,
) -> DbResult<Session> {
    let found = find(tx.connection, scope, session)?.ok_or_else(|| not_found(session))?;
    let end = validate::end(at, found.start_time, now)?;
    if let Some(ended) = found.end_time {
        if at.is_none() || end == ended {
            return Ok(found);
        }
        let status = format!("ended at {}", ended.to_rfc3339());
        return Err(StoreError::WrongState { what: "session", id: found.id.to_string(), status }.into());
    }
    run(
        tx.connection,
        "UPDATE sessions SET status = 'ended', end_time = ?3, revision = revision + 1, updated_at = max(updated_at, ?4)
         WHERE project_id = ?1 AND id = ?2 AND status = 'active'",
        params![scope.project_id(), found.id, micros(end), micros(now)],
    )?;
    find_by_id(tx.connection, scope, &found.id)?.ok_or_else(|| not_found(&found.id).into())
}
