//! Catching up on what a crash left untold.
//!
//! A decision and its action are one transaction; the message that shows it is put in the outbox right after. When the
//! process dies in between, this finds the decisions and outcomes that nothing was said about. It repeats harmlessly:
//! each has one key.

use chrono::{DateTime, TimeDelta, Utc};
use tripline_store::{
    ActionFilter, ActionKind, ActionStatus, ApprovalFilter, ApprovalStatus, PageRequest, Scope, Store,
};

use super::notices::{Notices, ended_cause, message_key, outcome_key};
use crate::govern::GovernError;

/// How far back it looks. An approval lives for a week at most; older news is no news.
const LOOK_BACK: TimeDelta = TimeDelta::days(8);
const PAGE: u32 = 200;

/// Puts in the outbox what should have been there.
pub(crate) async fn run(
    store: &Store,
    notices: &Notices,
    scope: &Scope,
    now: DateTime<Utc>,
) -> Result<(), GovernError> {
    let since = Some(now - LOOK_BACK);
    let page = PageRequest::first(PAGE);
    let approvals = store.approvals.list(scope, &ApprovalFilter { since, ..Default::default() }, &page).await?;
    for approval in approvals.items.iter().filter(|approval| approval.status != ApprovalStatus::Pending) {
        if store.actions.get_by_key(scope, &outcome_key(approval)).await?.is_none() {
            notices.decided(scope, approval, None, now).await?;
        }
    }
    let filter = ActionFilter { kind: Some(ActionKind::Remediation), since, ..Default::default() };
    let actions = store.actions.list(scope, &filter, &page).await?;
    let ended = |status| !matches!(status, ActionStatus::Pending | ActionStatus::Sending);
    for action in actions.items.iter().filter(|action| ended(action.status)) {
        let Some(incident_id) = &action.incident_id else { continue };
        let key = format!("{}:{}", message_key(incident_id), ended_cause(action));
        if store.actions.get_by_key(scope, &key).await?.is_none() {
            notices.action_ended(scope, action, now).await?;
        }
    }
    Ok(())
}
