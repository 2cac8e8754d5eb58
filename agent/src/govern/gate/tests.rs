use super::*;
use crate::govern::testing::{APPROVER, House, agent_loop, cost_spike, evidence, finding};
use crate::govern::{Decided, Request};
use tripline_store::{ActionStatus, ClaimOutcome, Decision, JudgedWindow, KillState, Severity, Window};

async fn decide(house: &House, decision: Decision, by: &str) -> Decided {
    let approval = house.approvals().await.pop().unwrap();
    let request = Request {
        approval_id: approval.id,
        decision,
        by: by.to_owned(),
        also_known_as: None,
        via: Via::Api,
        reason: Some("as discussed".to_owned()),
        payload_sha256: approval.payload_sha256,
    };
    house.governance.desk.decide(&house.scope, request, None, house.now()).await.unwrap()
}

#[tokio::test]
async fn a_cost_spike_asks_once_however_often_it_is_handed_over() {
    let house = House::new().await;
    let incident = house.investigated(cost_spike()).await;
    for _ in 0..3 {
        let gate = &house.governance.gate;
        gate.incident_opened(&house.scope, &incident, &cost_spike(), &evidence()).await.unwrap();
        house.drain().await;
    }
    assert_eq!(house.approvals().await.len(), 1);
    assert_eq!(house.vendors.messages().len(), 1);
    let approval = house.approvals().await.remove(0);
    assert_eq!(approval.request.action_type, "open_github_issue");
    assert_eq!(approval.request.target.as_deref(), Some("acme/shop"));
    assert_eq!(approval.request.expires_at, house.now() + TimeDelta::hours(4));
    assert_eq!(approval.slack_channel.as_deref(), Some("C0INCIDENTS"));
}

#[tokio::test]
async fn a_long_loop_is_asked_to_stop_without_asking_anybody_and_says_so() {
    let house = House::new().await;
    let incident = house.open(agent_loop(21)).await;
    house.drain().await;
    let approval = house.approvals().await.remove(0);
    assert_eq!((approval.status, approval.resolved_via), (ApprovalStatus::Approved, Some(Via::Policy)));
    let action = house.actions("kill_loop").await.remove(0);
    assert_eq!(action.status, ActionStatus::Requested);
    let kill = house.store.kills.get(&house.scope, "0AF76519-16CD-43DD-8448-EB211C80319C").await.unwrap().unwrap();
    assert_eq!((kill.state, kill.requested_by.as_str()), (KillState::Requested, "policy"));
    assert!(house.vendors.messages()[0]["blocks"].to_string().contains("Done by policy"));

    let kill = house.store.kills.acknowledge(&house.scope, &incident.entity, KillState::Stopped, house.now()).await;
    house.governance.gate.kill_acknowledged(&house.scope, &kill.unwrap().unwrap()).await.unwrap();
    house.drain().await;
    assert_eq!(house.actions("kill_loop").await[0].status, ActionStatus::Done);
    assert!(house.vendors.messages()[0]["blocks"].to_string().contains("The agent says it has stopped"));
}

#[tokio::test]
async fn a_loop_of_local_runs_asks_each_run_by_its_own_id_and_is_done_when_all_have_stopped() {
    let house = House::new().await;
    let mut finding = agent_loop(21);
    finding.evidence = json!({"generations": 21, "runs": ["run-1", "run-2"], "ended_runs": 1});
    let trace = finding.entity.clone();
    house.open(finding).await;
    house.drain().await;
    let approval = house.approvals().await.remove(0);
    assert!(approval.request.summary.contains("runs run-1, run-2 of trace 0af7"), "{}", approval.request.summary);
    assert!(approval.request.payload.text().contains(r#""runs":["run-1","run-2"]"#), "what runs is what was approved");
    for id in ["run-1", "run-2", trace.as_str()] {
        let kill = house.store.kills.get(&house.scope, id).await.unwrap();
        assert_eq!(kill.map(|kill| kill.state), Some(KillState::Requested), "{id}");
    }
    assert!(!house.vendors.messages()[0]["blocks"].to_string().contains("No run of this trace is known"));
    for (run, status) in [("run-1", ActionStatus::Requested), ("run-2", ActionStatus::Done)] {
        let kill = house.store.kills.acknowledge(&house.scope, run, KillState::Stopped, house.now()).await;
        house.governance.gate.kill_acknowledged(&house.scope, &kill.unwrap().unwrap()).await.unwrap();
        house.drain().await;
        assert_eq!(house.actions("kill_loop").await[0].status, status, "{run}");
    }
    assert!(house.vendors.messages()[0]["blocks"].to_string().contains("The agent says it has stopped"));
}

#[tokio::test]
async fn a_loop_of_which_no_run_is_known_here_says_so_where_it_is_decided_and_where_it_was_asked() {
    let house = House::new().await;
    house.open(agent_loop(21)).await;
    house.drain().await;
    let summary = house.approvals().await.remove(0).request.summary;
    assert!(summary.contains("No run of it is known here"), "{summary}");
    assert!(house.vendors.messages()[0]["blocks"].to_string().contains("No run of this trace is known here"));
}

#[tokio::test]
async fn a_loop_whose_runs_have_ended_asks_for_an_issue_instead_of_a_kill() {
    let house = House::new().await;
    let mut finding = agent_loop(21);
    finding.evidence = json!({"generations": 21, "runs": [], "ended_runs": 1});
    house.open(finding).await;
    house.drain().await;
    assert!(house.actions("kill_loop").await.is_empty());
    assert_eq!(house.approvals().await[0].request.action_type, "open_github_issue");
}

#[tokio::test]
async fn above_the_hourly_limit_policy_asks_instead() {
    let house = House::new().await;
    let long_loop = |n: u32| {
        let mut found = agent_loop(30);
        found.entity = format!("{n:032x}");
        found.fingerprint = format!("loop:{n}");
        found
    };
    for n in 0..5 {
        house.open(long_loop(n)).await;
    }
    let status = |approvals: Vec<Approval>| approvals.iter().map(|a| a.status).collect::<Vec<_>>();
    use ApprovalStatus::{Approved, Pending};
    assert_eq!(status(house.approvals().await), [Approved, Approved, Approved, Pending, Pending]);
    assert_eq!(house.record("policy.limit_reached").await.len(), 2);
    house.advance(TimeDelta::minutes(61));
    house.open(long_loop(9)).await;
    assert_eq!(status(house.approvals().await).last(), Some(&Approved));
    // What people were asked stays theirs to decide.
    let incident = house.investigated(long_loop(4)).await;
    house.governance.gate.incident_updated(&house.scope, &incident).await.unwrap();
    assert_eq!(house.approvals().await[4].status, Pending);
}

#[tokio::test]
async fn a_loop_that_grows_is_acted_upon_unless_somebody_said_no() {
    for said_no in [false, true] {
        let house = House::new().await;
        house.open(agent_loop(15)).await;
        if said_no {
            assert!(matches!(
                decide(&house, Decision::Reject, APPROVER).await,
                Decided::Claim(ClaimOutcome::Claimed { .. })
            ));
        }
        house.advance(TimeDelta::minutes(15));
        let mut grown = agent_loop(30);
        grown.window = Window::new(house.now() - TimeDelta::hours(2), house.now()).unwrap();
        grown.detected_at = house.now();
        let incident = house.investigated(grown).await;
        house.governance.gate.incident_updated(&house.scope, &incident).await.unwrap();
        house.drain().await;
        let approvals = house.approvals().await;
        assert_eq!(approvals.len(), 1);
        let expected = if said_no { ApprovalStatus::Rejected } else { ApprovalStatus::Approved };
        assert_eq!(approvals[0].status, expected);
        assert_eq!(house.actions("kill_loop").await.len(), usize::from(!said_no));
    }
}

#[tokio::test]
async fn information_is_recorded_and_not_posted() {
    let house = House::new().await;
    let found = finding("cost_spike", "x", Severity::Info, serde_json::json!({}));
    house.open(found).await;
    house.drain().await;
    assert!(house.approvals().await.is_empty());
    assert!(house.vendors.messages().is_empty());
    let action = house.actions("record").await.remove(0);
    assert_eq!(action.status, ActionStatus::Done);
    assert_eq!(house.record("policy.decided").await.len(), 1);
}

#[tokio::test]
async fn an_incident_has_one_message_and_everything_else_is_in_its_thread() {
    let house = House::new().await;
    let incident = house.open(cost_spike()).await;
    house.drain().await;
    // It lasts, it ends, it comes back.
    let changed = house.store.incidents.get(&house.scope, &incident.id).await.unwrap().unwrap();
    house.governance.gate.incident_updated(&house.scope, &changed).await.unwrap();
    house.governance.gate.incident_updated(&house.scope, &changed).await.unwrap();
    house.drain().await;
    assert_eq!(house.actions("slack_update_message").await.len(), 1);
    for n in 1..=3 {
        let start = house.now() + TimeDelta::hours(n);
        let judged = JudgedWindow {
            detector: "cost_spike".to_owned(),
            window: Window::new(start, start + TimeDelta::hours(1)).unwrap(),
            fingerprints_seen: Vec::new(),
        };
        let resolved =
            house.store.incidents.record_clean_window(&house.scope, judged, &Default::default(), start).await;
        for incident in resolved.unwrap() {
            house.governance.gate.incident_resolved(&house.scope, &incident).await.unwrap();
        }
    }
    house.advance(TimeDelta::hours(6));
    let mut again = cost_spike();
    again.window = Window::new(house.now() - TimeDelta::hours(1), house.now()).unwrap();
    again.detected_at = house.now();
    house.open(again).await;
    house.drain().await;

    let messages = house.vendors.messages();
    let in_thread: Vec<&str> = messages[1..]
        .iter()
        .map(|m| {
            assert_eq!(m["thread_ts"], messages[0]["ts"]);
            m["text"].as_str().unwrap()
        })
        .collect();
    assert_eq!(in_thread.len(), 2, "{in_thread:?}");
    assert!(in_thread[0].starts_with("Resolved") && in_thread[1].starts_with("This came back"), "{in_thread:?}");
    // A new opening is asked about anew; the old question expired unanswered.
    assert_eq!(house.approvals().await.len(), 2);
}

#[tokio::test]
async fn what_nobody_decided_expires_and_says_so() {
    let house = House::new().await;
    house.open(cost_spike()).await;
    house.drain().await;
    assert_eq!(house.governance.gate.expire_due(&house.scope).await.unwrap(), 0);
    house.advance(TimeDelta::hours(4));
    assert_eq!(house.governance.gate.expire_due(&house.scope).await.unwrap(), 1);
    assert_eq!(house.governance.gate.expire_due(&house.scope).await.unwrap(), 0);
    house.drain().await;
    assert!(house.vendors.messages()[0]["text"].as_str().unwrap().starts_with("⏰ Approval expired (no action taken)"));
    assert!(matches!(decide(&house, Decision::Approve, APPROVER).await, Decided::Claim(ClaimOutcome::Expired { .. })));
    house.drain().await;
    assert!(house.vendors.issues().is_empty());
}

#[tokio::test]
async fn a_decision_whose_process_died_is_shown_after_the_restart() {
    let house = House::new().await;
    house.open(cost_spike()).await;
    house.drain().await;
    let approval = house.approvals().await.remove(0);
    // The claim alone, as if the process had died right after it.
    let claim = tripline_store::Claim {
        id: approval.id.clone(),
        decision: Decision::Approve,
        by: "alice".to_owned(),
        via: Via::Api,
        reason: None,
        expected_payload_sha256: approval.payload_sha256,
    };
    house.store.approvals.claim(&house.scope, claim, house.now()).await.unwrap();
    let restarted = house.restarted();
    restarted.outbox.repair(house.now()).await.unwrap();
    restarted.outbox.drain(house.now()).await.unwrap();
    assert_eq!(house.vendors.issues().len(), 1);
    assert!(house.vendors.messages()[0]["text"].as_str().unwrap().starts_with("✅ Approved by alice"));
    let before = house.vendors.seen("").len();
    restarted.outbox.repair(house.now()).await.unwrap();
    restarted.outbox.drain(house.now()).await.unwrap();
    assert_eq!(house.vendors.seen("").len(), before, "a second repair has nothing to do");
}

#[tokio::test]
async fn the_issue_that_is_opened_is_the_payload_that_was_approved() {
    let house = House::new().await;
    house.open(cost_spike()).await;
    let approval = house.approvals().await.remove(0);
    decide(&house, Decision::Approve, "alice").await;
    house.drain().await;
    let payload = approval.request.payload.value().unwrap();
    let posted = &house.vendors.seen("/repos/acme/shop/issues")[0].body;
    for field in ["title", "body", "labels"] {
        assert_eq!(posted[field], payload[field], "{field}");
    }
    assert_eq!(posted["labels"], serde_json::json!(["incident", "tripline"]));
    for heading in ["## What happened", "## Likely cause", "## Impact", "## Recommended action"] {
        assert!(posted["body"].as_str().unwrap().contains(heading), "{heading}");
    }
    let action = house.actions("open_github_issue").await.remove(0);
    assert_eq!(action.payload_sha256, approval.payload_sha256);
    assert_eq!(action.result.unwrap()["url"], "https://github.com/acme/shop/issues/1");
}

#[tokio::test]
async fn policy_never_acts_through_an_approval_of_another_action() {
    let rules = serde_json::json!([
        {"type": "cost_spike", "when": "ratio > 10", "action": "kill_loop", "decision": "act"},
        {"type": "cost_spike", "action": "open_github_issue", "decision": "ask"},
    ]);
    let policy = serde_json::from_value(rules).unwrap();
    let house = House::with(|settings| settings.governance.policy = policy, |_| {}).await;
    house.open(cost_spike()).await;
    house.advance(TimeDelta::minutes(15));
    let mut worse = cost_spike();
    worse.evidence = serde_json::json!({"ratio": 20.0, "trace_id": "0af7651916cd43dd8448eb211c80319c"});
    worse.window = Window::new(house.now() - TimeDelta::hours(1), house.now()).unwrap();
    worse.detected_at = house.now();
    let incident = house.investigated(worse).await;
    house.governance.gate.incident_updated(&house.scope, &incident).await.unwrap();
    house.drain().await;
    let approvals = house.approvals().await;
    assert_eq!(approvals.len(), 1, "one approval per opening");
    assert_eq!(approvals[0].status, ApprovalStatus::Pending);
    assert!(house.vendors.issues().is_empty() && house.actions("kill_loop").await.is_empty());
}

/// Resolves every open incident of the cost spike's detector by three clean windows.
async fn resolve(house: &House) {
    for n in 1..=3 {
        let end = house.now() + TimeDelta::minutes(15 * n);
        let judged = JudgedWindow {
            detector: "cost_spike".to_owned(),
            window: Window::new(end - TimeDelta::hours(1), end).unwrap(),
            fingerprints_seen: Vec::new(),
        };
        let policy = tripline_store::IncidentPolicy::default();
        let resolved = house.store.incidents.record_clean_window(&house.scope, judged, &policy, house.now()).await;
        for incident in resolved.unwrap() {
            for _ in 0..2 {
                house.governance.gate.incident_resolved(&house.scope, &incident).await.unwrap();
            }
        }
    }
}

/// An incident with an issue that somebody approved.
async fn with_issue(house: &House) {
    house.open(cost_spike()).await;
    house.drain().await;
    decide(house, Decision::Approve, APPROVER).await;
    house.drain().await;
    assert_eq!(house.vendors.issues().len(), 1);
}

#[tokio::test]
async fn the_end_of_an_incident_closes_its_message_and_its_issue_with_duration_and_cost_once() {
    let house = House::new().await;
    with_issue(&house).await;
    resolve(&house).await;
    house.drain().await;
    let issue = house.vendors.issues().remove(0);
    assert_eq!((&issue["state"], issue["comments"].as_array().unwrap().len()), (&json!("closed"), 1));
    let comment = issue["comments"][0]["body"].as_str().unwrap().to_owned();
    assert!(
        comment.starts_with(
            "Resolved: complete windows passed without it. It was seen over 1 h, in 1 window; it cost `$12.50`."
        ),
        "{comment}"
    );
    let messages = house.vendors.messages();
    let thread: Vec<&str> =
        messages.iter().filter(|m| m.get("thread_ts").is_some()).filter_map(|m| m["text"].as_str()).collect();
    assert!(thread.iter().any(|text| text.contains("it cost $12.50")), "{thread:?}");
    assert!(messages[0]["blocks"].to_string().contains("Status: resolved"));
    assert_eq!(house.record("policy.issue_closed").await.len(), 1, "handed over twice, done once");
    assert_eq!(house.actions("github_issue_state").await.len(), 1);
}

#[tokio::test]
async fn an_incident_that_comes_back_opens_its_issue_again_and_no_other() {
    let house = House::new().await;
    with_issue(&house).await;
    resolve(&house).await;
    house.drain().await;
    house.advance(TimeDelta::hours(2));
    let mut again = cost_spike();
    again.window = Window::new(house.now() - TimeDelta::hours(1), house.now()).unwrap();
    let incident = house.open(again).await;
    assert_eq!(incident.reopened_count, 1);
    house.drain().await;
    let issues = house.vendors.issues();
    assert_eq!((issues.len(), &issues[0]["state"]), (1, &json!("open")));
    assert_eq!(house.approvals().await.len(), 1, "nobody is asked for a second issue");
}

#[tokio::test]
async fn after_a_lost_answer_the_comment_is_not_made_twice() {
    use crate::govern::testing::Fault;
    let house = House::new().await;
    with_issue(&house).await;
    resolve(&house).await;
    house.vendors.fault("/issues/1/comments", Fault::Status(503));
    house.drain().await;
    house.advance(TimeDelta::minutes(30));
    house.drain().await;
    let issue = house.vendors.issues().remove(0);
    assert_eq!((&issue["state"], issue["comments"].as_array().unwrap().len()), (&json!("closed"), 1));
}

#[tokio::test]
async fn where_issues_are_left_to_people_they_stay_open() {
    let house = House::with(|settings| settings.governance.close_issues = false, |_| {}).await;
    with_issue(&house).await;
    resolve(&house).await;
    house.drain().await;
    assert!(house.actions("github_issue_state").await.is_empty());
}

#[tokio::test]
async fn an_issue_that_is_approved_after_the_end_is_opened_and_closed() {
    let house = House::new().await;
    house.open(cost_spike()).await;
    house.drain().await;
    resolve(&house).await;
    decide(&house, Decision::Approve, APPROVER).await;
    house.drain().await;
    house.drain().await;
    let issue = house.vendors.issues().remove(0);
    assert_eq!((&issue["state"], issue["comments"].as_array().unwrap().len()), (&json!("closed"), 1));
}
