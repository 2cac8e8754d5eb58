//! Promises about decisions: one click, one execution, by someone allowed to, on the record.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use chrono::TimeDelta;

pub async fn of_a_hundred_claims_at_once_exactly_one_wins(store: Store) {
    let approval = pending(&store).await;
    let tasks: Vec<_> = (0..100)
        .map(|index| {
            let (store, decision) = (store.clone(), if index % 3 == 0 { Decision::Reject } else { Decision::Approve });
            let via = if index % 2 == 0 { Via::Slack } else { Via::Api };
            let claim = Claim { via, ..claim_of(&approval, decision, &format!("person {index}")) };
            tokio::spawn(async move { store.approvals.claim(&scope(), claim, minute(1)).await.unwrap() })
        })
        .collect();
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            ClaimOutcome::Claimed { approval, action_id } => winners.push((approval, action_id)),
            ClaimOutcome::AlreadyResolved { approval } => losers.push(approval),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!((winners.len(), losers.len()), (1, 99));
    let (winner, action_id) = winners.remove(0);
    assert!(losers.iter().all(|seen| *seen == winner), "everyone sees the one decision");
    let actions = store.actions.list(&scope(), &ActionFilter::default(), &PageRequest::default()).await.unwrap();
    assert_eq!(actions.items.len(), usize::from(winner.status == ApprovalStatus::Approved));
    assert_eq!(actions.items.first().map(|action| action.id.clone()), action_id);
}

pub async fn a_claim_counts_until_the_last_microsecond(store: Store) {
    let approval = pending(&store).await;
    let expires_at = approval.request.expires_at;
    let claim = |by| claim_of(&approval, Decision::Approve, by);
    let late = store.approvals.claim(&scope(), claim("late"), expires_at).await.unwrap();
    let ClaimOutcome::Expired { approval: expired } = late else { panic!("a claim at its expiry counted") };
    assert_eq!((expired.status, expired.resolved_at), (ApprovalStatus::Expired, Some(expires_at)));
    // Nor does the clock of another machine bring it back.
    let early_again = store.approvals.claim(&scope(), claim("early"), minute(1)).await.unwrap();
    assert!(matches!(early_again, ClaimOutcome::Expired { .. }));

    let incident = occur(&store, finding("search", window(0))).await.incident().clone();
    let second = store.approvals.request(&scope(), new_approval(&incident), start()).await.unwrap().approval;
    let last_moment = second.request.expires_at - microsecond();
    let in_time = claim_of(&second, Decision::Approve, "in time");
    let outcome = store.approvals.claim(&scope(), in_time, last_moment).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Claimed { .. }));
}

pub async fn a_claim_for_another_payload_is_refused_and_changes_nothing(store: Store) {
    let approval = pending(&store).await;
    let claim = Claim { expected_payload_sha256: "0".repeat(64), ..claim_of(&approval, Decision::Approve, "somebody") };
    let outcome = store.approvals.claim(&scope(), claim, minute(1)).await.unwrap();
    assert_eq!(outcome, ClaimOutcome::PayloadMismatch { approval: approval.clone() });
    assert_eq!(store.approvals.get(&scope(), &approval.id).await.unwrap(), Some(approval.clone()));
    let good = store.approvals.claim(&scope(), claim_of(&approval, Decision::Reject, "somebody"), minute(2)).await;
    assert!(matches!(good.unwrap(), ClaimOutcome::Claimed { .. }));
}

pub async fn a_decision_stands_for_ever(store: Store) {
    let approval = pending(&store).await;
    let rejected = store.approvals.claim(&scope(), claim_of(&approval, Decision::Reject, "ann"), minute(1)).await;
    let ClaimOutcome::Claimed { approval: decided, action_id: None } = rejected.unwrap() else { panic!("not claimed") };
    assert_eq!(decided.status, ApprovalStatus::Rejected);
    assert_eq!((decided.resolved_by.as_deref(), decided.resolved_via), (Some("ann"), Some(Via::Slack)));
    for at in [minute(1), minute(2), minute(10_000)] {
        let outcome = store.approvals.claim(&scope(), claim_of(&approval, Decision::Approve, "bob"), at).await.unwrap();
        assert_eq!(outcome, ClaimOutcome::AlreadyResolved { approval: decided.clone() });
        assert!(store.approvals.expire_due(&scope(), at).await.unwrap().is_empty());
    }
    let actions = store.actions.count(&scope(), &ActionFilter::default()).await.unwrap();
    assert_eq!(actions, 0);
}

pub async fn asking_again_while_pending_returns_the_same_approval(store: Store) {
    let incident = incident(&store).await;
    let first = store.approvals.request(&scope(), new_approval(&incident), start()).await.unwrap();
    let changed = NewApproval { summary: "other words".to_owned(), ..new_approval(&incident) };
    let again = store.approvals.request(&scope(), changed, minute(15)).await.unwrap();
    assert!(first.created && !again.created);
    assert_eq!(first.approval, again.approval);
    let other_action = NewApproval { action_type: "kill_loop".to_owned(), ..new_approval(&incident) };
    assert!(store.approvals.request(&scope(), other_action, start()).await.unwrap().created);
    let dead = NewApproval { expires_at: start(), action_type: "late".to_owned(), ..new_approval(&incident) };
    assert!(matches!(store.approvals.request(&scope(), dead, start()).await, Err(StoreError::Invalid { .. })));
    let message = store.approvals.set_message(&scope(), &first.approval.id, "C1", "9.1").await.unwrap();
    assert_eq!((message.slack_channel.as_deref(), message.slack_ts.as_deref()), (Some("C1"), Some("9.1")));
}

pub async fn asking_again_after_its_time_expires_the_old_one(store: Store) {
    let incident = incident(&store).await;
    let first = store.approvals.request(&scope(), new_approval(&incident), start()).await.unwrap().approval;
    let later = first.request.expires_at;
    let renewed = NewApproval { expires_at: later + TimeDelta::hours(4), ..new_approval(&incident) };
    let second = store.approvals.request(&scope(), renewed, later).await.unwrap();
    assert!(second.created && second.approval.id != first.id);
    let old = store.approvals.get(&scope(), &first.id).await.unwrap().unwrap();
    assert_eq!(old.status, ApprovalStatus::Expired);
}

pub async fn the_expiry_job_and_a_claim_never_both_win(store: Store) {
    for round in 0..30 {
        let incident = occur(&store, finding(&format!("f{round}"), window(0))).await.incident().clone();
        let approval = store.approvals.request(&scope(), new_approval(&incident), start()).await.unwrap().approval;
        let expires_at = approval.request.expires_at;
        let claiming = tokio::spawn({
            let (store, claim) = (store.clone(), claim_of(&approval, Decision::Approve, "ann"));
            async move { store.approvals.claim(&scope(), claim, expires_at - microsecond()).await.unwrap() }
        });
        let expiring = tokio::spawn({
            let store = store.clone();
            async move { store.approvals.expire_due(&scope(), expires_at).await.unwrap() }
        });
        let (outcome, expired) = (claiming.await.unwrap(), expiring.await.unwrap());
        let claimed = matches!(outcome, ClaimOutcome::Claimed { .. });
        let expired = expired.iter().any(|one| one.id == approval.id);
        assert!(claimed != expired, "claimed: {claimed}, expired: {expired}");
        let status = store.approvals.get(&scope(), &approval.id).await.unwrap().unwrap().status;
        assert_eq!(status, if claimed { ApprovalStatus::Approved } else { ApprovalStatus::Expired });
    }
}

pub async fn approving_puts_exactly_the_approved_payload_in_the_outbox(store: Store) {
    let approval = pending(&store).await;
    let outcome = store.approvals.claim(&scope(), claim_of(&approval, Decision::Approve, "ann"), minute(1)).await;
    let ClaimOutcome::Claimed { approval: decided, action_id: Some(action_id) } = outcome.unwrap() else {
        panic!("no action")
    };
    let action = store.actions.get(&scope(), &action_id).await.unwrap().unwrap();
    assert_eq!(action.payload.text(), approval.request.payload.text(), "byte for byte");
    assert_eq!(action.payload_sha256, approval.payload_sha256);
    assert_eq!(action.payload.sha256(), approval.payload_sha256);
    assert_eq!(action.action_type, approval.request.action_type);
    assert_eq!(action.idempotency_key, format!("approval:{}", approval.id));
    assert_eq!(action.approval_id, Some(approval.id.clone()));
    assert_eq!((action.status, action.kind), (ActionStatus::Pending, ActionKind::Remediation));
    assert_eq!(action.max_attempts, 3);
    assert_eq!(decided.request, approval.request);
    let by_key = store.actions.get_by_key(&scope(), &action.idempotency_key).await.unwrap();
    assert_eq!(by_key, Some(action));
}

pub async fn rejecting_puts_nothing_in_the_outbox(store: Store) {
    let approval = pending(&store).await;
    let claim = Claim { reason: Some("too risky".to_owned()), ..claim_of(&approval, Decision::Reject, "ann") };
    let outcome = store.approvals.claim(&scope(), claim, minute(1)).await.unwrap();
    let ClaimOutcome::Claimed { approval, action_id } = outcome else { panic!("not claimed") };
    assert_eq!((action_id, approval.reason.as_deref()), (None, Some("too risky")));
    assert!(lease(&store, "executor", minute(500)).await.unwrap().is_none());
}

pub async fn an_approval_of_another_project_cannot_be_claimed(store: Store) {
    let approval = pending(&store).await;
    let other = other_scope(&store).await;
    let outcome = store.approvals.claim(&other, claim_of(&approval, Decision::Approve, "eve"), minute(1)).await;
    assert_eq!(outcome.unwrap(), ClaimOutcome::NotFound);
    assert!(store.approvals.expire_due(&other, minute(10_000)).await.unwrap().is_empty());
    let still = store.approvals.get(&scope(), &approval.id).await.unwrap().unwrap();
    assert_eq!(still.status, ApprovalStatus::Pending);
}

pub async fn a_policy_decides_through_the_same_claim(store: Store) {
    let approval = pending(&store).await;
    let claim = Claim { via: Via::Policy, ..claim_of(&approval, Decision::Approve, "policy") };
    assert!(matches!(
        store.approvals.claim(&scope(), claim, minute(1)).await.unwrap(),
        ClaimOutcome::Claimed { action_id: Some(_), .. }
    ));
    let acted = ApprovalFilter { resolved_via: Some(Via::Policy), ..ApprovalFilter::default() };
    assert_eq!(store.approvals.count(&scope(), &acted).await.unwrap(), 1);
    let lately = ApprovalFilter { since: Some(minute(1)), ..acted };
    assert_eq!(store.approvals.count(&scope(), &lately).await.unwrap(), 0);
}

pub async fn statistics_count_each_outcome_and_only_people_take_time(store: Store) {
    assert_eq!(store.approvals.stats(&scope()).await.unwrap(), ApprovalStats::default());
    let mut approvals = Vec::new();
    for index in 0..5 {
        let incident = occur(&store, finding(&format!("f{index}"), window(0))).await.incident().clone();
        approvals.push(store.approvals.request(&scope(), new_approval(&incident), start()).await.unwrap().approval);
    }
    let decide = |index: usize, decision, via, at| {
        let claim = Claim { via, ..claim_of(&approvals[index], decision, "ann") };
        let approvals = store.approvals.clone();
        async move { approvals.claim(&scope(), claim, at).await.unwrap() }
    };
    decide(0, Decision::Approve, Via::Slack, minute(10)).await;
    decide(1, Decision::Reject, Via::Api, minute(20)).await;
    decide(2, Decision::Approve, Via::Policy, start()).await;
    decide(3, Decision::Approve, Via::Slack, minute(240)).await;
    let stats = store.approvals.stats(&scope()).await.unwrap();
    assert_eq!((stats.pending, stats.approved, stats.rejected, stats.expired), (1, 2, 1, 1));
    assert_eq!(stats.avg_resolution_minutes, Some(15.0));
    let waiting = ApprovalFilter { status: Some(ApprovalStatus::Pending), ..ApprovalFilter::default() };
    let page = store.approvals.list(&scope(), &waiting, &PageRequest::default()).await.unwrap();
    assert_eq!(page.items, [approvals[4].clone()]);
}

pub async fn every_attempt_to_decide_is_on_the_record(store: Store) {
    let approval = pending(&store).await;
    let approve = claim_of(&approval, Decision::Approve, "ann");
    let wrong = Claim { expected_payload_sha256: String::new(), ..approve.clone() };
    store.approvals.claim(&scope(), wrong, minute(1)).await.unwrap();
    store.approvals.claim(&scope(), approve.clone(), minute(1)).await.unwrap();
    store.approvals.claim(&scope(), approve, minute(2)).await.unwrap();
    assert_eq!(
        recorded(&store, approval.id.as_str()).await,
        ["approval.requested", "approval.claim_refused", "approval.approved", "approval.claim_refused",]
    );
    let verdict = store.audit.verify(&scope(), None).await.unwrap();
    assert!(matches!(verdict, AuditVerdict::Intact { .. }));
}
