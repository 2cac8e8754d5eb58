//! Random histories against a small model: whatever the order of operations, no decision is made twice, no action is done
//! twice, no watermark goes back.

use super::Home;
use crate::StoreError;
use crate::conformance::fixtures::*;
use crate::model::*;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap().block_on(future)
}

// Approvals --------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum ApprovalStep {
    Claim { decision: Decision, right_payload: bool },
    Expire,
    Ask,
    Wait { minutes: i64 },
}

fn approval_step() -> impl Strategy<Value = ApprovalStep> {
    prop_oneof![
        4 => (prop_oneof![Just(Decision::Approve), Just(Decision::Reject)], prop::bool::weighted(0.8))
            .prop_map(|(decision, right_payload)| ApprovalStep::Claim { decision, right_payload }),
        2 => Just(ApprovalStep::Expire),
        3 => Just(ApprovalStep::Ask),
        2 => (1_i64..20).prop_map(|minutes| ApprovalStep::Wait { minutes }),
    ]
}

/// What the model says an approval must be.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ModelApproval {
    status: ApprovalStatus,
    expires_at: DateTime<Utc>,
}

async fn play_approvals(steps: Vec<ApprovalStep>) {
    const LIFE: i64 = 12;
    let home = Home::new();
    let store = home.store();
    let incident = incident(&store).await;
    let mut now = start();
    let mut model: Vec<(Approval, ModelApproval)> = Vec::new();
    let mut approved = 0;
    for step in steps {
        match step {
            ApprovalStep::Wait { minutes } => now += TimeDelta::minutes(minutes),
            ApprovalStep::Ask => {
                let expires_at = now + TimeDelta::minutes(LIFE);
                let new = NewApproval { expires_at, ..new_approval(&incident) };
                let asked = store.approvals.request(&scope(), new, now).await.unwrap();
                let live = model.iter_mut().find(|(_, one)| one.status == ApprovalStatus::Pending);
                let expected_new = match live {
                    Some((_, one)) if one.expires_at > now => false,
                    Some((_, one)) => {
                        one.status = ApprovalStatus::Expired;
                        true
                    }
                    None => true,
                };
                assert_eq!(asked.created, expected_new);
                if asked.created {
                    model.push((asked.approval, ModelApproval { status: ApprovalStatus::Pending, expires_at }));
                }
            }
            ApprovalStep::Expire => {
                let expired = store.approvals.expire_due(&scope(), now).await.unwrap();
                let mut expected = 0;
                for (_, one) in &mut model {
                    if one.status == ApprovalStatus::Pending && one.expires_at <= now {
                        one.status = ApprovalStatus::Expired;
                        expected += 1;
                    }
                }
                assert_eq!(expired.len(), expected);
            }
            ApprovalStep::Claim { decision, right_payload } => {
                // Every approval there ever was is claimed again: only the model's live one may answer.
                for (approval, one) in &mut model {
                    let mut claim = claim_of(approval, decision, "ann");
                    if !right_payload {
                        claim.expected_payload_sha256 = "0".repeat(64);
                    }
                    let outcome = store.approvals.claim(&scope(), claim, now).await.unwrap();
                    let expected = match (one.status, right_payload) {
                        (ApprovalStatus::Approved | ApprovalStatus::Rejected, _) => "already resolved",
                        (ApprovalStatus::Expired, _) => "expired",
                        (ApprovalStatus::Pending, _) if one.expires_at <= now => "expired",
                        (ApprovalStatus::Pending, true) => "claimed",
                        (ApprovalStatus::Pending, false) => "payload mismatch",
                    };
                    let found = match outcome {
                        ClaimOutcome::Claimed { .. } => {
                            one.status = match decision {
                                Decision::Approve => ApprovalStatus::Approved,
                                Decision::Reject => ApprovalStatus::Rejected,
                            };
                            approved += i64::from(decision == Decision::Approve);
                            "claimed"
                        }
                        ClaimOutcome::AlreadyResolved { .. } => "already resolved",
                        ClaimOutcome::Expired { .. } => {
                            one.status = ApprovalStatus::Expired;
                            "expired"
                        }
                        ClaimOutcome::PayloadMismatch { .. } => "payload mismatch",
                        ClaimOutcome::NotFound => "not found",
                    };
                    assert_eq!(found, expected);
                }
            }
        }
        for (approval, one) in &model {
            let kept = store.approvals.get(&scope(), &approval.id).await.unwrap().unwrap();
            assert_eq!(kept.status, one.status);
        }
        let actions = store.actions.count(&scope(), &ActionFilter::default()).await.unwrap();
        assert_eq!(actions, approved, "one action per approval that was given");
    }
    assert!(matches!(store.audit.verify(&scope(), None).await.unwrap(), AuditVerdict::Intact { .. }));
}

// Actions ----------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy)]
enum End {
    Complete,
    Retry,
    Fail,
    Unknown,
    Requested,
}

#[derive(Debug, Clone)]
enum ActionStep {
    Enqueue {
        key: u8,
        after: Option<u8>,
    },
    Lease,
    /// Ends an attempt that was leased at some time, stale ones included.
    End {
        which: usize,
        how: End,
    },
    Wait {
        seconds: i64,
    },
}

fn action_step() -> impl Strategy<Value = ActionStep> {
    let end = prop_oneof![
        3 => Just(End::Complete),
        2 => Just(End::Retry),
        1 => Just(End::Fail),
        1 => Just(End::Unknown),
        1 => Just(End::Requested),
    ];
    prop_oneof![
        3 => (0_u8..4, prop::option::of(0_u8..4)).prop_map(|(key, after)| ActionStep::Enqueue { key, after }),
        4 => Just(ActionStep::Lease),
        5 => (0_usize..8, end).prop_map(|(which, how)| ActionStep::End { which, how }),
        2 => (1_i64..90).prop_map(|seconds| ActionStep::Wait { seconds }),
    ]
}

async fn play_actions(steps: Vec<ActionStep>) {
    let home = Home::new();
    let store = home.store();
    let mut now = start();
    let mut leases: Vec<ActionLease> = Vec::new();
    // The attempt that holds each action now, and how often each was done.
    let mut holding: HashMap<ActionId, i64> = HashMap::new();
    let mut done: HashMap<ActionId, u32> = HashMap::new();
    for step in steps {
        match step {
            ActionStep::Wait { seconds } => now += TimeDelta::seconds(seconds),
            ActionStep::Enqueue { key, after } => {
                let depends_on = match after {
                    Some(after) => {
                        let first = store.actions.get_by_key(&scope(), &format!("key {after}")).await.unwrap();
                        first.filter(|first| first.status != ActionStatus::Failed).map(|first| first.id)
                    }
                    None => None,
                };
                let new = NewAction { depends_on, max_attempts: 3, ..new_action(&format!("key {key}")) };
                store.actions.enqueue(&scope(), new, now).await.unwrap();
            }
            ActionStep::Lease => {
                if let Some(next) = lease(&store, "executor", now).await.unwrap() {
                    assert!(!done.contains_key(&next.action.id), "an action that was done is sent again");
                    assert_eq!(next.resumed, holding.contains_key(&next.action.id));
                    if let Some(first) = &next.action.depends_on {
                        assert!(done.contains_key(first), "sent before what it waits for");
                    }
                    holding.insert(next.action.id.clone(), next.lease.attempt);
                    leases.push(next.lease);
                }
            }
            ActionStep::End { which, how } => {
                let Some(lease) = leases.get(which).cloned() else { continue };
                let (scope, actions) = (scope(), &store.actions);
                let outcome = match how {
                    End::Complete => actions.complete(&scope, &lease, json!({}), now).await,
                    End::Fail => actions.fail(&scope, &lease, "no", now).await,
                    End::Unknown => actions.mark_unknown(&scope, &lease, "?", now).await,
                    End::Requested => actions.mark_requested(&scope, &lease, json!({}), now).await,
                    End::Retry => {
                        let at = now + TimeDelta::seconds(30);
                        actions.retry_later(&scope, &lease, "503", at, now).await.map(|retry| match retry {
                            Retry::Scheduled(action) | Retry::Exhausted(action) => action,
                        })
                    }
                };
                let holds = holding.get(&lease.action_id) == Some(&lease.attempt);
                match outcome {
                    Ok(action) => {
                        assert!(holds, "a stale attempt ended an action");
                        holding.remove(&action.id);
                        if action.status == ActionStatus::Done {
                            *done.entry(action.id).or_default() += 1;
                        }
                    }
                    Err(StoreError::LeaseLost { .. }) => assert!(!holds, "the holder was refused"),
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    }
    assert!(done.values().all(|times| *times == 1));
    let page = store.actions.list(&scope(), &ActionFilter::default(), &PageRequest::default()).await.unwrap();
    for action in page.items {
        assert_eq!(action.status == ActionStatus::Done, done.contains_key(&action.id));
        assert_eq!(action.status == ActionStatus::Sending, holding.contains_key(&action.id));
    }
    assert!(matches!(store.audit.verify(&scope(), None).await.unwrap(), AuditVerdict::Intact { .. }));
}

// Jobs -------------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum JobStep {
    Begin,
    Finish { which: usize, status: JobStatus, advance: Option<i64> },
    Advance { to: i64 },
    Wait { seconds: i64 },
}

fn job_step() -> impl Strategy<Value = JobStep> {
    let status = prop::sample::select(vec![JobStatus::Ok, JobStatus::Gap, JobStatus::Failed, JobStatus::Skipped]);
    prop_oneof![
        4 => Just(JobStep::Begin),
        4 => (0_usize..6, status, prop::option::of(0_i64..100))
            .prop_map(|(which, status, advance)| JobStep::Finish { which, status, advance }),
        1 => (0_i64..100).prop_map(|to| JobStep::Advance { to }),
        2 => (1_i64..90).prop_map(|seconds| JobStep::Wait { seconds }),
    ]
}

async fn play_jobs(steps: Vec<JobStep>) {
    let home = Home::new();
    let store = home.store();
    let mut now = start();
    let mut runs: Vec<JobRun> = Vec::new();
    let mut alive: Option<(JobRunId, DateTime<Utc>)> = None;
    let mut watermark: Option<DateTime<Utc>> = None;
    for step in steps {
        match step {
            JobStep::Wait { seconds } => now += TimeDelta::seconds(seconds),
            JobStep::Advance { to } => {
                watermark = watermark.max(Some(minute(to)));
                let stands = store.jobs.advance(&scope(), "job", minute(to)).await.unwrap();
                assert_eq!(Some(stands), watermark);
            }
            JobStep::Begin => {
                let new = NewJobRun { lease_for: Duration::from_secs(60), ..new_run("job", "h", None, now) };
                let expected_busy = alive.as_ref().is_some_and(|(_, until)| *until > now);
                match store.jobs.begin(&scope(), new, now).await.unwrap() {
                    Begun::Started(run) => {
                        assert!(!expected_busy, "two runs of one job");
                        alive = Some((run.id.clone(), run.lease_until));
                        runs.push(run);
                    }
                    Begun::Busy(run) => {
                        assert!(expected_busy);
                        assert_eq!(Some(run.id), alive.as_ref().map(|(id, _)| id.clone()));
                    }
                }
            }
            JobStep::Finish { which, status, advance } => {
                let Some(run) = runs.get(which) else { continue };
                let outcome = JobOutcome { status, error: None, detail: None, advance_to: advance.map(minute) };
                let holds = alive.as_ref().is_some_and(|(id, _)| *id == run.id);
                let may_advance = matches!(status, JobStatus::Ok | JobStatus::Skipped);
                match store.jobs.finish(&scope(), &run.id, "h", outcome, now).await {
                    Ok(_) => {
                        assert!(holds && (may_advance || advance.is_none()));
                        alive = None;
                        watermark = watermark.max(advance.map(minute));
                    }
                    Err(StoreError::LeaseLost { .. }) => assert!(!holds),
                    Err(StoreError::Invalid { .. }) => assert!(advance.is_some() && !may_advance),
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        assert_eq!(store.jobs.watermark(&scope(), "job").await.unwrap(), watermark);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_decision_is_made_once_in_every_history(steps in prop::collection::vec(approval_step(), 1..40)) {
        block_on(play_approvals(steps));
    }

    #[test]
    fn an_action_is_done_at_most_once_in_every_history(steps in prop::collection::vec(action_step(), 1..60)) {
        block_on(play_actions(steps));
    }

    #[test]
    fn a_job_runs_alone_and_its_watermark_only_advances_in_every_history(
        steps in prop::collection::vec(job_step(), 1..60)
    ) {
        block_on(play_jobs(steps));
    }
}
