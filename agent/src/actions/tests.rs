use chrono::TimeDelta;
use serde_json::json;
use tripline_store::{Action, ActionStatus, ClaimOutcome, Decision, LeaseRequest, Via};

use super::*;
use crate::govern::testing::{Fault, House, agent_loop, cost_spike};

/// An approved issue in the outbox, its message posted.
async fn approved(house: &House) -> Action {
    house.open(cost_spike()).await;
    house.drain().await;
    let approval = house.approvals().await.remove(0);
    let claim = tripline_store::Claim {
        id: approval.id,
        decision: Decision::Approve,
        by: "alice".to_owned(),
        via: Via::Api,
        reason: None,
        expected_payload_sha256: approval.payload_sha256,
    };
    let outcome = house.store.approvals.claim(&house.scope, claim, house.now()).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Claimed { .. }));
    issue_action(house).await
}

async fn issue_action(house: &House) -> Action {
    house.actions("open_github_issue").await.remove(0)
}

/// Takes the next action and vanishes, as a process does that is killed.
async fn die_in_sending(house: &House) {
    let request = LeaseRequest {
        holder: "killed".to_owned(),
        lease_for: std::time::Duration::from_secs(30),
        kinds: vec![tripline_store::ActionKind::Remediation],
        types: tripline_store::LeaseTypes::Any,
        in_order: false,
    };
    assert!(house.store.actions.lease_next(&house.scope, request, house.now()).await.unwrap().is_some());
}

/// The executor of the process after the crash, once the lease ran out.
async fn restart(house: &House) -> Drained {
    house.advance(TimeDelta::seconds(31));
    house.restarted().outbox.drain(house.now()).await.unwrap()
}

fn posts(house: &House) -> usize {
    house.vendors.seen("/issues").iter().filter(|seen| seen.method == "POST").count()
}

#[tokio::test]
async fn killed_between_the_click_and_the_action_it_runs_once_after_the_restart() {
    let house = House::new().await;
    approved(&house).await;
    let drained = house.restarted().outbox.drain(house.now()).await.unwrap();
    assert!(drained.done >= 1);
    assert_eq!(house.vendors.issues().len(), 1);
    assert_eq!(issue_action(&house).await.status, ActionStatus::Done);
}

#[tokio::test]
async fn killed_while_sending_with_the_issue_opened_it_is_found_and_not_opened_again() {
    let house = House::new().await;
    let action = approved(&house).await;
    die_in_sending(&house).await;
    let payload = action.payload.value().unwrap();
    house.vendors.add_issue("[Tripline] x", payload["body"].as_str().unwrap());
    house.vendors.add_issue("somebody else's", "no marker");
    restart(&house).await;
    let action = issue_action(&house).await;
    assert_eq!((action.status, posts(&house)), (ActionStatus::Done, 0));
    assert_eq!(
        action.result.unwrap(),
        json!({"number": 1, "url": "https://github.com/acme/shop/issues/1", "found": true})
    );
    let look = house.vendors.seen("/issues").remove(0);
    assert!(
        look.query.contains("state=all") && look.query.contains("since=2026-05-04T11%3A00%3A00Z"),
        "{}",
        look.query
    );
}

#[tokio::test]
async fn killed_while_sending_before_anything_left_it_is_opened_once() {
    let house = House::new().await;
    approved(&house).await;
    die_in_sending(&house).await;
    // While the lease lives nobody else touches it.
    assert_eq!(house.restarted().outbox.drain(house.now()).await.unwrap().done, 0);
    restart(&house).await;
    assert_eq!((issue_action(&house).await.status, house.vendors.issues().len()), (ActionStatus::Done, 1));
}

#[tokio::test]
async fn the_search_for_an_issue_covers_every_page() {
    let house = House::new().await;
    let action = approved(&house).await;
    die_in_sending(&house).await;
    house.vendors.add_issue("ours", action.payload.value().unwrap()["body"].as_str().unwrap());
    for n in 0..250 {
        house.vendors.add_issue(&format!("other {n}"), "");
    }
    restart(&house).await;
    assert_eq!((issue_action(&house).await.status, posts(&house)), (ActionStatus::Done, 0));
    assert_eq!(house.vendors.seen("/issues").len(), 3);
}

#[tokio::test]
async fn a_marker_inside_somebody_elses_text_is_not_our_issue() {
    let house = House::new().await;
    let action = approved(&house).await;
    die_in_sending(&house).await;
    let key = action.payload.value().unwrap()["key"].as_str().unwrap().to_owned();
    house.vendors.add_issue("a quotation", &format!("they said `<!-- tripline:key={key} -->` to me"));
    restart(&house).await;
    assert_eq!((issue_action(&house).await.status, posts(&house)), (ActionStatus::Done, 1));
}

#[tokio::test]
async fn while_github_cannot_be_asked_nothing_is_sent_again_and_in_the_end_it_is_unknown() {
    let house = House::new().await;
    approved(&house).await;
    die_in_sending(&house).await;
    for _ in 0..20 {
        house.vendors.fault("/issues", Fault::Status(503));
    }
    let mut left = 0;
    for _ in 0..12 {
        house.advance(TimeDelta::minutes(15));
        left += house.restarted().outbox.drain(house.now()).await.unwrap().left;
    }
    let action = issue_action(&house).await;
    assert_eq!((action.status, posts(&house), left), (ActionStatus::Unknown, 0, 8), "{:?}", action.error);
    // Shown, and never resent by itself, also when GitHub is back.
    house.vendors.clear_faults();
    house.advance(TimeDelta::days(1));
    house.restarted().outbox.drain(house.now()).await.unwrap();
    assert_eq!(posts(&house), 0);
    assert!(house.vendors.messages()[0]["blocks"].to_string().contains("Not known whether it happened"));
}

#[tokio::test]
async fn where_github_does_not_let_us_look_it_is_unknown_at_once() {
    let house = House::new().await;
    approved(&house).await;
    die_in_sending(&house).await;
    house.vendors.fault("/issues", Fault::Status(404));
    restart(&house).await;
    assert_eq!((issue_action(&house).await.status, posts(&house)), (ActionStatus::Unknown, 0));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_looked_for_before_anything_is_sent_again() {
    for fault in [Fault::DropAnswer, Fault::DoneBut(500), Fault::DoneBut(502), Fault::DoneBut(200)] {
        let house = House::new().await;
        approved(&house).await;
        house.vendors.fault("/issues", fault);
        house.drain().await;
        let action = issue_action(&house).await;
        assert_eq!(
            (action.status, house.vendors.issues().len()),
            (ActionStatus::Done, 1),
            "{fault:?}: {:?}",
            action.error
        );
        assert_eq!(action.result.unwrap()["found"], true);
    }
}

#[tokio::test]
async fn what_did_not_arrive_is_sent_again_once_that_is_certain() {
    // After a plain answer, an absence is certain; after a lost connection only when the vendor had time.
    for (fault, first) in [
        (Fault::Status(500), ActionStatus::Pending),
        (Fault::Drop, ActionStatus::Sending),
        (Fault::Status(502), ActionStatus::Sending),
    ] {
        let house = House::new().await;
        approved(&house).await;
        house.vendors.fault("/issues", fault);
        house.drain().await;
        assert_eq!(issue_action(&house).await.status, first, "{fault:?}");
        house.advance(TimeDelta::seconds(60));
        house.drain().await;
        assert_eq!(
            (issue_action(&house).await.status, house.vendors.issues().len()),
            (ActionStatus::Done, 1),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_as_long_as_the_vendor_says() {
    let house = House::new().await;
    approved(&house).await;
    house.vendors.fault("/issues", Fault::Throttle);
    house.drain().await;
    let action = issue_action(&house).await;
    assert_eq!((action.status, action.attempts), (ActionStatus::Pending, 1));
    let pause = action.next_attempt_at - house.now();
    assert!((7_000..=7_700).contains(&pause.num_milliseconds()), "{pause}");
    house.advance(TimeDelta::seconds(6));
    assert_eq!(house.drain().await.done, 0);
    house.advance(TimeDelta::seconds(2));
    house.drain().await;
    assert_eq!(house.vendors.issues().len(), 1);
}

#[tokio::test]
async fn a_rate_limit_that_names_no_time_is_given_a_minute() {
    let house = House::new().await;
    approved(&house).await;
    house.vendors.fault("/issues", Fault::SecondaryLimit);
    house.drain().await;
    let action = issue_action(&house).await;
    let pause = (action.next_attempt_at - house.now()).num_seconds();
    assert!(action.status == ActionStatus::Pending && (60..=66).contains(&pause), "{pause}");
}

#[tokio::test]
async fn a_refusal_is_final_and_says_why_without_a_secret() {
    for status in [401, 404, 410, 422] {
        let house = House::new().await;
        approved(&house).await;
        house.vendors.fault("/issues", Fault::Status(status));
        house.drain().await;
        let action = issue_action(&house).await;
        let error = action.error.unwrap();
        assert_eq!(action.status, ActionStatus::Failed);
        assert!(error.contains(&status.to_string()) && !error.contains("ghp_"), "{error}");
        assert!(
            house.vendors.messages().last().unwrap()["text"]
                .as_str()
                .unwrap()
                .starts_with("Failed: open a GitHub issue")
        );
    }
}

#[tokio::test]
async fn without_a_credential_an_action_fails_at_once_with_the_reason() {
    let house = House::with(|_| {}, |environment| environment.set("GITHUB_TOKEN", "")).await;
    approved(&house).await;
    house.drain().await;
    let action = issue_action(&house).await;
    assert_eq!((action.status, action.attempts), (ActionStatus::Failed, 1));
    assert!(action.error.unwrap().contains("GITHUB_TOKEN is not set"));

    let house = House::with(|_| {}, |environment| environment.set("SLACK_BOT_TOKEN", "")).await;
    house.open(cost_spike()).await;
    house.drain().await;
    let post = house.actions("slack_post_message").await.remove(0);
    assert_eq!((post.status, post.attempts), (ActionStatus::Failed, 1));
    assert!(post.error.unwrap().contains("SLACK_BOT_TOKEN is not set"));
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_found_by_its_key_and_posted_once() {
    for fault in [Fault::DropAnswer, Fault::DoneBut(500)] {
        let house = House::new().await;
        house.vendors.fault("chat.postMessage", fault);
        let incident = house.open(cost_spike()).await;
        house.drain().await;
        assert_eq!(house.vendors.messages().len(), 1, "{fault:?}");
        let post = house.actions("slack_post_message").await.remove(0);
        assert_eq!((post.status, &post.result.unwrap()["found"]), (ActionStatus::Done, &json!(true)));
        let incident = house.store.incidents.get(&house.scope, &incident.id).await.unwrap().unwrap();
        assert_eq!(incident.slack_ts.as_deref(), house.vendors.messages()[0]["ts"].as_str());
    }
}

/// Drains until nothing waits for its next attempt.
async fn drain_all(house: &House) {
    for _ in 0..12 {
        house.advance(TimeDelta::seconds(60));
        house.drain().await;
    }
}

#[tokio::test]
async fn a_message_that_slack_does_not_let_us_look_for_is_posted_again() {
    for unseen in [Fault::SlackError("missing_scope"), Fault::SlackError("unknown_method"), Fault::Status(404)] {
        for lost in [Fault::SlackError("fatal_error"), Fault::Status(500), Fault::Drop] {
            let house = House::new().await;
            house.vendors.fault("chat.postMessage", lost);
            house.vendors.fault("conversations.list", unseen);
            house.open(cost_spike()).await;
            house.drain().await;
            assert_eq!(house.actions("slack_post_message").await[0].status, ActionStatus::Pending);
            drain_all(&house).await;
            let post = house.actions("slack_post_message").await.remove(0);
            assert_eq!((post.status, post.attempts), (ActionStatus::Done, 2), "{lost:?} {unseen:?}");
            assert_eq!(house.vendors.messages().len(), 1, "{lost:?} {unseen:?}");
        }
    }
}

#[tokio::test]
async fn a_message_that_slack_says_it_did_not_take_is_posted_until_it_does_though_nobody_can_look_for_it() {
    let house = House::new().await;
    for _ in 0..6 {
        house.vendors.fault("chat.postMessage", Fault::Status(503));
        house.vendors.fault("conversations.list", Fault::SlackError("missing_scope"));
    }
    house.open(cost_spike()).await;
    house.drain().await;
    for _ in 0..60 {
        house.advance(TimeDelta::seconds(120));
        house.drain().await;
    }
    let post = house.actions("slack_post_message").await.remove(0);
    assert_eq!((post.status, post.attempts), (ActionStatus::Done, 7), "{:?}", post.error);
    assert_eq!(house.vendors.messages().len(), 1);
}

#[tokio::test]
async fn a_message_that_may_have_been_posted_each_time_is_posted_three_times_at_most_and_then_unknown() {
    let house = House::new().await;
    for _ in 0..9 {
        house.vendors.fault("chat.postMessage", Fault::DropAnswer);
        house.vendors.fault("conversations.list", Fault::SlackError("missing_scope"));
    }
    house.open(cost_spike()).await;
    house.drain().await;
    drain_all(&house).await;
    let post = house.actions("slack_post_message").await.remove(0);
    assert_eq!(post.status, ActionStatus::Unknown);
    assert_eq!(house.vendors.seen("chat.postMessage").len(), 3);
    let why = post.error.unwrap();
    assert!(why.contains("missing_scope"), "{why}");
}

#[tokio::test]
async fn while_slack_fails_altogether_a_message_waits_for_a_pause_and_not_for_a_lease() {
    let house = House::new().await;
    for _ in 0..2 {
        house.vendors.fault("chat.postMessage", Fault::Status(503));
        house.vendors.fault("conversations.list", Fault::Status(503));
    }
    house.open(cost_spike()).await;
    house.drain().await;
    for seconds in [3, 8] {
        house.advance(TimeDelta::seconds(seconds));
        house.drain().await;
    }
    let post = house.actions("slack_post_message").await.remove(0);
    assert_eq!((post.status, post.attempts), (ActionStatus::Done, 3));
    assert_eq!(house.vendors.messages().len(), 1);
}

#[tokio::test]
async fn slack_says_no_with_200_and_that_is_final() {
    let house = House::new().await;
    house.vendors.fault("chat.postMessage", Fault::SlackError("channel_not_found"));
    house.open(cost_spike()).await;
    house.drain().await;
    let post = house.actions("slack_post_message").await.remove(0);
    assert_eq!(post.status, ActionStatus::Failed);
    assert!(post.error.unwrap().contains("channel_not_found"));
}

#[tokio::test]
async fn an_update_names_the_channel_by_its_id_and_is_simply_repeated() {
    let house = House::new().await;
    approved(&house).await;
    house.vendors.fault("chat.update", Fault::DropAnswer);
    house.drain().await;
    house.advance(TimeDelta::minutes(1));
    house.drain().await;
    let updates = house.vendors.seen("chat.update");
    assert!(updates.len() >= 2);
    assert!(updates.iter().all(|seen| seen.body["channel"] == "C0INCIDENTS"));
    assert!(house.actions("slack_update_message").await.iter().all(|update| update.status == ActionStatus::Done));
}

#[tokio::test]
async fn nothing_is_expanded_or_linked_in_what_is_posted() {
    let house = House::new().await;
    house.open(cost_spike()).await;
    house.drain().await;
    let post = &house.vendors.seen("chat.postMessage")[0].body;
    for flag in ["unfurl_links", "unfurl_media", "link_names"] {
        assert_eq!(post[flag], false, "{flag}");
    }
    let key = &house.actions("slack_post_message").await[0].idempotency_key;
    assert_eq!(post["metadata"]["event_payload"]["tripline_key"], json!(key));
}

#[tokio::test]
async fn an_agent_that_stopped_before_it_was_asked_is_not_waited_for() {
    let house = House::new().await;
    house.open(agent_loop(30)).await;
    house.drain().await;
    let stopped = tripline_store::KillState::Stopped;
    house.store.kills.acknowledge(&house.scope, &agent_loop(30).entity, stopped, house.now()).await.unwrap();
    // The loop comes back much later, as another incident about the same trace.
    house.advance(TimeDelta::days(8));
    let mut again = agent_loop(40);
    again.fingerprint = "another".to_owned();
    house.open(again).await;
    house.drain().await;
    let kills = house.actions("kill_loop").await;
    assert_eq!(kills.iter().map(|kill| kill.status).collect::<Vec<_>>(), [ActionStatus::Done, ActionStatus::Done]);
}

#[tokio::test]
async fn a_payload_of_another_shape_is_refused() {
    let house = House::new().await;
    let new = tripline_store::NewAction {
        kind: tripline_store::ActionKind::Remediation,
        action_type: "open_github_issue".to_owned(),
        target: None,
        incident_id: None,
        approval_id: None,
        payload: tripline_store::ExactJson::new(&json!({"title": "x", "surprise": 1})),
        idempotency_key: "k1".to_owned(),
        max_attempts: 3,
        not_before: None,
        depends_on: None,
    };
    let unknown =
        tripline_store::NewAction { action_type: "rm_rf".to_owned(), idempotency_key: "k2".to_owned(), ..new.clone() };
    for new in [new, unknown] {
        house.store.actions.enqueue(&house.scope, new, house.now()).await.unwrap();
    }
    assert_eq!(house.drain().await.failed, 2);
    assert!(house.vendors.seen("").is_empty());
}

#[tokio::test]
async fn the_worker_wakes_does_what_is_due_and_stops_when_told() {
    let house = House::new().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let worker = tokio::spawn(house.governance.outbox.clone().run(stop.clone()));
    house.open(cost_spike()).await;
    let mut done = house.governance.notices.waker().subscribe();
    while house.vendors.messages().is_empty() {
        tokio::task::yield_now().await;
        done.mark_unchanged();
    }
    stop.cancel();
    worker.await.unwrap();
    assert_eq!(house.actions("slack_post_message").await[0].status, ActionStatus::Done);
    let counts = house.governance.outbox.counts();
    assert_eq!(counts.get(&("slack_post_message", "done")), Some(&1));
}

#[test]
fn the_manifest_asks_for_exactly_the_scopes_that_are_needed() {
    let page = include_str!("../../../docs/slack.md");
    let scopes: std::collections::BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|scope| scope.contains(':') && !scope.contains(' '))
        .collect();
    assert_eq!(scopes, slack::SCOPES.into_iter().collect());
}
