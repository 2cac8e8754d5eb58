//! Promises about the outbox and kill records: at most once, and honest about the rest.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

pub async fn one_key_is_one_action(store: Store) {
    let first = store.actions.enqueue(&scope(), new_action("key"), start()).await.unwrap();
    let changed = NewAction { payload: json!({"text": "changed"}).into(), ..new_action("key") };
    let again = store.actions.enqueue(&scope(), changed, minute(1)).await.unwrap();
    assert!(first.created && !again.created);
    assert_eq!(first.action, again.action, "what was there stays as it was");
    let other = other_scope(&store).await;
    assert!(store.actions.enqueue(&other, new_action("key"), start()).await.unwrap().created);
    let never = NewAction { max_attempts: 0, ..new_action("never") };
    assert!(matches!(store.actions.enqueue(&scope(), never, start()).await, Err(StoreError::Invalid { .. })));
    let orphan = NewAction { depends_on: Some(ActionId::new("none")), ..new_action("orphan") };
    assert!(matches!(store.actions.enqueue(&scope(), orphan, start()).await, Err(StoreError::NotFound { .. })));
}

pub async fn of_many_executors_one_gets_an_action(store: Store) {
    for index in 0..10 {
        enqueue(&store, new_action(&format!("key {index}"))).await;
    }
    let tasks: Vec<_> = (0..50)
        .map(|index| {
            let store = store.clone();
            tokio::spawn(async move { lease(&store, &format!("executor {index}"), minute(1)).await.unwrap() })
        })
        .collect();
    let mut leased = Vec::new();
    for task in tasks {
        leased.extend(task.await.unwrap().map(|one| one.action.id));
    }
    assert_eq!(leased.len(), 10);
    assert_eq!(leased.into_iter().collect::<HashSet<_>>().len(), 10);
}

pub async fn due_actions_come_oldest_first_and_not_before_their_time(store: Store) {
    enqueue(&store, NewAction { not_before: Some(minute(10)), ..new_action("later") }).await;
    enqueue(&store, new_action("first")).await;
    enqueue(&store, new_action("second")).await;
    let mut keys = Vec::new();
    while let Some(next) = lease(&store, "executor", minute(9)).await.unwrap() {
        assert!(!next.resumed);
        assert_eq!((next.action.status, next.action.attempts, next.lease.attempt), (ActionStatus::Sending, 1, 1));
        keys.push(next.action.idempotency_key.clone());
        store.actions.complete(&scope(), &next.lease, json!({}), minute(9)).await.unwrap();
    }
    assert_eq!(keys, ["first", "second"]);
    assert!(lease(&store, "executor", minute(10) - microsecond()).await.unwrap().is_none());
    let later = lease(&store, "executor", minute(10)).await.unwrap().unwrap();
    assert_eq!(later.action.idempotency_key, "later");
}

pub async fn an_interrupted_attempt_is_resumed_and_its_old_holder_fenced_off(store: Store) {
    enqueue(&store, new_action("key")).await;
    let first = lease(&store, "executor", start()).await.unwrap().unwrap();
    let lease_ends = first.action.lease_until.unwrap();
    assert!(lease(&store, "executor", lease_ends - microsecond()).await.unwrap().is_none());
    // The same name: only the attempt number tells the two apart.
    let second = lease(&store, "executor", lease_ends).await.unwrap().unwrap();
    assert!(second.resumed);
    assert_eq!(second.lease.attempt, 2);
    let stale = store.actions.complete(&scope(), &first.lease, json!({"by": "first"}), lease_ends).await;
    assert!(matches!(stale, Err(StoreError::LeaseLost { .. })));
    let done = store.actions.complete(&scope(), &second.lease, json!({"by": "second"}), lease_ends).await.unwrap();
    assert_eq!((done.status, done.result), (ActionStatus::Done, Some(json!({"by": "second"}))));
    assert_eq!((done.lease_holder, done.completed_at), (None, Some(lease_ends)));
    let twice = store.actions.complete(&scope(), &second.lease, json!({}), lease_ends).await;
    assert!(matches!(twice, Err(StoreError::LeaseLost { .. })), "done once");
    assert!(lease(&store, "executor", minute(999)).await.unwrap().is_none());
}

pub async fn a_renewed_lease_is_not_taken_away(store: Store) {
    enqueue(&store, new_action("key")).await;
    let held = lease(&store, "one", start()).await.unwrap().unwrap();
    store.actions.renew(&scope(), &held.lease, Duration::from_secs(600), minute(1)).await.unwrap();
    assert!(lease(&store, "two", minute(10)).await.unwrap().is_none());
    assert!(lease(&store, "two", minute(11)).await.unwrap().unwrap().resumed);
    let lost = store.actions.renew(&scope(), &held.lease, Duration::from_secs(600), minute(11)).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost { .. })));
}

pub async fn an_action_is_retried_until_its_attempts_are_used_up(store: Store) {
    enqueue(&store, new_action("key")).await;
    for attempt in 1..=2 {
        let held = lease(&store, "executor", minute(attempt)).await.unwrap().unwrap();
        let retry = store.actions.retry_later(&scope(), &held.lease, "503", minute(attempt + 1), minute(attempt)).await;
        let Retry::Scheduled(action) = retry.unwrap() else { panic!("given up too early") };
        assert_eq!((action.status, action.error.as_deref()), (ActionStatus::Pending, Some("503")));
        assert_eq!(action.next_attempt_at, minute(attempt + 1));
        assert!(lease(&store, "executor", minute(attempt)).await.unwrap().is_none(), "not before its time");
    }
    let held = lease(&store, "executor", minute(3)).await.unwrap().unwrap();
    assert!(!held.resumed, "a retry after a known failure is no resumption");
    let last = store.actions.retry_later(&scope(), &held.lease, "503", minute(4), minute(3)).await.unwrap();
    assert!(matches!(last, Retry::Exhausted(action) if action.status == ActionStatus::Failed));
    assert!(lease(&store, "executor", minute(999)).await.unwrap().is_none());
}

pub async fn a_dependent_waits_for_the_first_to_be_done(store: Store) {
    let first = enqueue(&store, new_action("post")).await;
    enqueue(&store, NewAction { depends_on: Some(first.id.clone()), ..new_action("reply") }).await;
    let held = lease(&store, "executor", minute(1)).await.unwrap().unwrap();
    assert_eq!(held.action.id, first.id);
    assert!(lease(&store, "executor", minute(1)).await.unwrap().is_none());
    store.actions.complete(&scope(), &held.lease, json!({"ts": "1.2"}), minute(1)).await.unwrap();
    let next = lease(&store, "executor", minute(1)).await.unwrap().unwrap();
    assert_eq!(next.action.idempotency_key, "reply");
}

pub async fn what_depends_on_a_failed_action_fails_too(store: Store) {
    let first = enqueue(&store, new_action("post")).await;
    let second = enqueue(&store, NewAction { depends_on: Some(first.id.clone()), ..new_action("reply") }).await;
    let third = enqueue(&store, NewAction { depends_on: Some(second.id.clone()), ..new_action("update") }).await;
    let held = lease(&store, "executor", minute(1)).await.unwrap().unwrap();
    store.actions.fail(&scope(), &held.lease, "channel_not_found", minute(1)).await.unwrap();
    for id in [&second.id, &third.id] {
        let action = store.actions.get(&scope(), id).await.unwrap().unwrap();
        assert_eq!(action.status, ActionStatus::Failed);
        assert!(action.error.unwrap().contains("which failed"));
    }
    let late = NewAction { depends_on: Some(first.id), ..new_action("late") };
    assert!(matches!(store.actions.enqueue(&scope(), late, minute(2)).await, Err(StoreError::Invalid { .. })));
}

pub async fn an_unknown_action_is_never_sent_again_by_itself(store: Store) {
    let action = enqueue(&store, new_action("key")).await;
    let settle_early = Settlement::Done { result: json!({}) };
    let early = store.actions.settle(&scope(), &action.id, settle_early.clone(), "ann", start()).await;
    assert!(matches!(early, Err(StoreError::WrongState { .. })));
    let held = lease(&store, "executor", minute(1)).await.unwrap().unwrap();
    let unknown =
        store.actions.mark_unknown(&scope(), &held.lease, "no search at the vendor", minute(1)).await.unwrap();
    assert_eq!((unknown.status, unknown.completed_at), (ActionStatus::Unknown, None));
    assert!(lease(&store, "executor", minute(100_000)).await.unwrap().is_none());
    let found = Settlement::Done { result: json!({"found": "issue 7"}) };
    let settled = store.actions.settle(&scope(), &action.id, found, "ann", minute(5)).await.unwrap();
    assert_eq!((settled.status, settled.result), (ActionStatus::Done, Some(json!({"found": "issue 7"}))));
    let again = store.actions.settle(&scope(), &action.id, settle_early, "bob", minute(6)).await;
    assert!(matches!(again, Err(StoreError::WrongState { .. })));
}

pub async fn a_kill_is_done_only_when_the_agent_says_so(store: Store) {
    let action = enqueue(&store, NewAction { kind: ActionKind::Remediation, ..new_action("kill") }).await;
    let held = lease(&store, "executor", minute(1)).await.unwrap().unwrap();
    store.kills.request(&scope(), kill_of(RUN, &action.id), minute(1)).await.unwrap();
    let asked = store.actions.mark_requested(&scope(), &held.lease, json!({"target": RUN}), minute(1)).await.unwrap();
    assert_eq!(asked.status, ActionStatus::Requested);
    assert!(lease(&store, "executor", minute(999)).await.unwrap().is_none(), "not asked twice");

    let seen = store.kills.acknowledge(&scope(), RUN, KillState::Requested, minute(2)).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.acknowledged_at), (KillState::Requested, None));
    let stopped = store.kills.acknowledge(&scope(), RUN, KillState::Stopped, minute(3)).await.unwrap().unwrap();
    assert_eq!((stopped.state, stopped.acknowledged_at), (KillState::Stopped, Some(minute(3))));
    let done = store.actions.get(&scope(), &action.id).await.unwrap().unwrap();
    assert_eq!((done.status, done.completed_at), (ActionStatus::Done, Some(minute(3))));

    for state in [KillState::Requested, KillState::Stopped] {
        let again = store.kills.acknowledge(&scope(), RUN, state, minute(9)).await.unwrap().unwrap();
        assert_eq!(again, stopped, "stopped is final");
    }
    assert_eq!(store.kills.acknowledge(&scope(), "unheard-of", KillState::Stopped, minute(9)).await.unwrap(), None);
}

pub async fn a_kill_of_several_runs_is_done_when_the_last_of_them_or_the_trace_itself_has_stopped(store: Store) {
    for (case, first, whole) in [("runs", false, false), ("trace", true, true)] {
        let trace = format!("trace-{case}");
        let new = NewAction { target: Some(trace.clone()), ..new_action(case) };
        let action = enqueue(&store, new).await;
        let held = lease(&store, "executor", minute(1)).await.unwrap().unwrap();
        let runs = [format!("{case}-1"), format!("{case}-2")];
        for id in runs.iter().chain([&trace]) {
            store.kills.request(&scope(), kill_of(id, &action.id), minute(1)).await.unwrap();
        }
        store.actions.mark_requested(&scope(), &held.lease, json!({}), minute(1)).await.unwrap();
        let says = async |id: &str| {
            store.kills.acknowledge(&scope(), id, KillState::Stopped, minute(2)).await.unwrap().unwrap();
            store.actions.get(&scope(), &action.id).await.unwrap().unwrap().status == ActionStatus::Done
        };
        assert_eq!(says(if whole { &trace } else { &runs[0] }).await, first, "{case}");
        assert!(says(&runs[1]).await, "{case}");
    }
}

pub async fn an_agent_faster_than_the_outbox_loses_nothing(store: Store) {
    let action = enqueue(&store, new_action("kill")).await;
    let held = lease(&store, "executor", minute(1)).await.unwrap().unwrap();
    store.kills.request(&scope(), kill_of(RUN, &action.id), minute(1)).await.unwrap();
    store.kills.acknowledge(&scope(), RUN, KillState::Stopped, minute(1)).await.unwrap();
    let done = store.actions.mark_requested(&scope(), &held.lease, json!({}), minute(2)).await.unwrap();
    assert_eq!(done.status, ActionStatus::Done);
}

pub async fn a_kill_is_found_with_and_without_dashes(store: Store) {
    let action = enqueue(&store, new_action("kill")).await;
    let kill = store.kills.request(&scope(), kill_of(RUN, &action.id), start()).await.unwrap();
    assert_eq!((kill.target.as_str(), kill.original_id.as_str()), ("0af7651916cd43dd8448eb211c80319c", RUN));
    for spelling in ["0af7651916cd43dd8448eb211c80319c", "0AF76519-16CD-43DD-8448-EB211C80319C", RUN] {
        assert_eq!(store.kills.get(&scope(), spelling).await.unwrap(), Some(kill.clone()));
    }
    let other = other_scope(&store).await;
    assert_eq!(store.kills.get(&other, RUN).await.unwrap(), None);
    assert!(matches!(store.kills.get(&scope(), "").await, Err(StoreError::Invalid { .. })));
}

pub async fn asking_twice_to_kill_keeps_the_first_record(store: Store) {
    let action = enqueue(&store, new_action("kill")).await;
    let first = store.kills.request(&scope(), kill_of(RUN, &action.id), start()).await.unwrap();
    let plain = NewKill { requested_by: "eve".to_owned(), ..kill_of("0af7651916cd43dd8448eb211c80319c", &action.id) };
    assert_eq!(store.kills.request(&scope(), plain, minute(5)).await.unwrap(), first);
    assert_eq!(store.kills.list(&scope(), 10).await.unwrap(), [first]);
    assert_eq!(recorded(&store, "0af7651916cd43dd8448eb211c80319c").await, ["kill.requested"]);
}

pub async fn an_executor_takes_only_its_kinds(store: Store) {
    enqueue(&store, new_action("note")).await;
    let request = |kinds| LeaseRequest { kinds, ..request_of(LeaseTypes::Any, false) };
    let remediation = store.actions.lease_next(&scope(), request(vec![ActionKind::Remediation]), minute(1)).await;
    assert!(remediation.unwrap().is_none());
    let both = vec![ActionKind::Remediation, ActionKind::Notification];
    assert!(store.actions.lease_next(&scope(), request(both), minute(1)).await.unwrap().is_some());
    let other = other_scope(&store).await;
    assert!(store.actions.lease_next(&other, request(vec![]), minute(999)).await.unwrap().is_none());
}

pub async fn an_executor_takes_only_its_types(store: Store) {
    for kind in ["signal_webhook", "slack_post_message", "of a later version"] {
        enqueue(&store, NewAction { action_type: kind.to_owned(), ..new_action(kind) }).await;
    }
    let types = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let taken = async |types: LeaseTypes| {
        let leased = store.actions.lease_next(&scope(), request_of(types, false), minute(1)).await.unwrap();
        leased.map(|leased| leased.action.action_type)
    };
    assert_eq!(taken(LeaseTypes::Only(types(&["github_check_run"]))).await, None);
    let slack = || LeaseTypes::Only(types(&["slack_post_message", "slack_thread_reply"]));
    assert_eq!(taken(slack()).await.as_deref(), Some("slack_post_message"));
    assert_eq!(taken(slack()).await, None);
    let others = || LeaseTypes::Except(types(&["signal_webhook", "slack_post_message"]));
    assert_eq!(taken(others()).await.as_deref(), Some("of a later version"));
    assert_eq!(taken(others()).await, None);
    assert_eq!(taken(LeaseTypes::Any).await.as_deref(), Some("signal_webhook"));
}

pub async fn in_order_a_notification_waits_for_the_older_ones_to_its_target(store: Store) {
    let to = |key: &str, target: &str| NewAction { target: Some(target.to_owned()), ..new_action(key) };
    for (key, target) in [("old", "pull 1"), ("new", "pull 1"), ("other", "pull 2")] {
        enqueue(&store, to(key, target)).await;
    }
    let next = async |minute_of: i64| {
        store.actions.lease_next(&scope(), request_of(LeaseTypes::Any, true), minute(minute_of)).await.unwrap()
    };
    let old = next(1).await.unwrap();
    assert_eq!(old.action.idempotency_key, "old");
    assert_eq!(next(1).await.unwrap().action.idempotency_key, "other", "another target waits for nothing");
    assert!(next(1).await.is_none(), "being sent");
    store.actions.retry_later(&scope(), &old.lease, "503", minute(9), minute(1)).await.unwrap();
    let other = next(2).await.unwrap();
    assert_eq!(other.action.idempotency_key, "other", "its lease ran out");
    store.actions.complete(&scope(), &other.lease, json!({}), minute(2)).await.unwrap();
    assert!(next(2).await.is_none(), "to be tried again");
    let old = next(9).await.unwrap();
    store.actions.fail(&scope(), &old.lease, "410", minute(9)).await.unwrap();
    assert_eq!(next(9).await.unwrap().action.idempotency_key, "new", "given up: nobody waits for it");
}

fn request_of(types: LeaseTypes, in_order: bool) -> LeaseRequest {
    LeaseRequest { holder: "x".to_owned(), lease_for: Duration::from_secs(60), kinds: Vec::new(), types, in_order }
}

pub async fn each_transition_is_on_the_record(store: Store) {
    let action = enqueue(&store, new_action("key")).await;
    let held = lease(&store, "executor", minute(1)).await.unwrap().unwrap();
    store.actions.retry_later(&scope(), &held.lease, "503", minute(2), minute(1)).await.unwrap();
    let held = lease(&store, "executor", minute(2)).await.unwrap().unwrap();
    store.actions.complete(&scope(), &held.lease, json!({"ok": true}), minute(2)).await.unwrap();
    assert_eq!(
        recorded(&store, action.id.as_str()).await,
        ["action.enqueued", "action.sending", "action.retry_scheduled", "action.sending", "action.done",]
    );
}

const RUN: &str = "0af76519-16cd-43dd-8448-eb211c80319c";

fn kill_of(id: &str, action_id: &ActionId) -> NewKill {
    NewKill { id: id.to_owned(), incident_id: None, action_id: Some(action_id.clone()), requested_by: "ann".to_owned() }
}
