use chrono::TimeDelta;
use serde_json::{Value, json};
use tripline_store::{
    AppliedVia, ClaimOutcome, JudgedRun, LeaseRequest, NewSignal, RunEnd, RunFacts, Severity, SignalFilter,
};

use super::*;
use crate::govern::testing::{APPROVER, Fault, House};

const FIX: &str = "Call a tool at most twice with the same arguments.";

/// A house with one judged run that has these findings, and a prompt of one version.
async fn house(types: &[&str]) -> House {
    let house = House::new().await;
    let signals = types.iter().map(|kind| NewSignal {
        detector: kind.to_lowercase(),
        failure_type: (*kind).to_owned(),
        severity: Severity::High,
        fingerprint: format!("run:{kind}:bot"),
        step_index: 2,
        confidence: 0.95,
        co_signals: None,
        shadow: false,
        description: format!("{kind} in a run"),
        evidence: json!({"tool": "search", "count": 7}),
    });
    let run = JudgedRun {
        facts: RunFacts {
            run_id: "r1".to_owned(),
            agent_id: "bot".to_owned(),
            agent_version: "v1".to_owned(),
            reason: RunEnd::Completed,
            exit_reason: Some("completed".to_owned()),
            started_at: house.now() - TimeDelta::seconds(9),
            ended_at: house.now() - TimeDelta::seconds(4),
            step_count: 3,
            llm_calls: 2,
            tool_calls: 1,
            first_tool_step: Some(1),
            input_hash: None,
            token_growth: None,
            tool_gaps_ms: Vec::new(),
            llm_gaps_ms: Vec::new(),
        },
        signals: signals.collect(),
    };
    house.store.runs.record_judged(&house.scope, vec![run], 50, house.now()).await.unwrap();
    house.vendors.add_prompt(json!({
        "name": "team/support", "type": "text", "prompt": "You help people.\n\n", "labels": ["production"],
        "config": {"model": "gpt-4o"}, "tags": ["support"],
    }));
    house
}

async fn request(house: &House, by: &str) -> FixRequest {
    let (signals, _) = house.store.runs.signals(&house.scope, &SignalFilter::default(), 1, 0).await.unwrap();
    FixRequest {
        signal: signals.into_iter().next().unwrap(),
        prompt_name: "team/support".to_owned(),
        fix_content: FIX.to_owned(),
        labels: Vec::new(),
        by: by.to_owned(),
        also_known_as: format!("key-of-{by}"),
        may_operate: true,
    }
}

async fn ask(house: &House) -> Result<FixOutcome, FixError> {
    house.governance.fixes.apply(&house.scope, request(house, "carol").await).await
}

async fn decide(house: &House, decision: Decision) {
    let approval = house.approvals().await.pop().unwrap();
    let request = Request {
        approval_id: approval.id,
        decision,
        by: APPROVER.to_owned(),
        also_known_as: None,
        via: Via::Slack,
        reason: None,
        payload_sha256: approval.payload_sha256,
    };
    let decided = house.governance.desk.decide(&house.scope, request, None, house.now()).await.unwrap();
    assert!(matches!(decided, Decided::Claim(ClaimOutcome::Claimed { .. })), "{decided:?}");
}

fn published(house: &House) -> usize {
    house.vendors.seen("/prompts").iter().filter(|seen| seen.method == "POST").count()
}

#[tokio::test]
async fn nothing_is_published_before_somebody_on_the_list_approved_it() {
    let house = house(&["TOOL_LOOP"]).await;
    let FixOutcome::Waiting { approval, fix } = ask(&house).await.unwrap() else { panic!() };
    assert_eq!(approval.status, ApprovalStatus::Pending);
    assert_eq!((fix.old_text.as_str(), fix.new_text), ("You help people.\n\n", format!("You help people.\n\n{FIX}")));
    house.drain().await;
    assert_eq!(published(&house), 0);

    decide(&house, Decision::Approve).await;
    house.drain().await;
    let versions = house.vendors.prompts();
    assert_eq!(versions.len(), 2);
    let made = &versions[1];
    assert_eq!(made["prompt"], format!("You help people.\n\n{FIX}"));
    assert_eq!((&made["config"], &made["tags"]), (&json!({"model": "gpt-4o"}), &json!(["support"])));
    assert_eq!(made["labels"], json!([]), "production stays where it is");
    let status = house.store.reports.fix_status(&house.scope, 1).await.unwrap().unwrap();
    assert_eq!((status.fix.applied_via, status.fix.prompt_version), (AppliedVia::Langfuse, Some(2)));
    assert_eq!(status.fix.applied_by, APPROVER);
    let said = house.vendors.messages();
    assert!(said.iter().any(|message| message["text"].as_str().unwrap().contains("version 2")), "{said:?}");
}

#[tokio::test]
async fn a_prompt_whose_versions_are_not_listed_is_not_called_missing_and_nothing_is_published_blindly() {
    let house = house(&["TOOL_LOOP"]).await;
    let unlisted = || house.vendors.fault_of("GET", "/v2/prompts$", Fault::Status(404));
    unlisted();
    let Err(FixError::Remote(why)) = ask(&house).await else { panic!("it was asked for") };
    assert!(why.contains("does not list its versions"), "{why}");
    let FixOutcome::Waiting { .. } = ask(&house).await.unwrap() else { panic!() };
    unlisted();
    decide(&house, Decision::Approve).await;
    house.drain().await;
    let action = house.actions("publish_prompt").await.remove(0);
    assert_eq!((action.status, published(&house)), (ActionStatus::Failed, 0));
    assert!(action.error.unwrap().contains("does not list its versions"));
}

#[tokio::test]
async fn the_same_request_again_is_the_same_approval_and_the_same_version() {
    let house = house(&["TOOL_LOOP"]).await;
    for _ in 0..3 {
        assert!(matches!(ask(&house).await.unwrap(), FixOutcome::Waiting { .. }));
    }
    assert_eq!(house.approvals().await.len(), 1);
    decide(&house, Decision::Approve).await;
    house.drain().await;
    for _ in 0..2 {
        let FixOutcome::Published { fix_id, version, url, .. } = ask(&house).await.unwrap() else { panic!() };
        assert_eq!((fix_id, version), (1, 2));
        assert!(url.unwrap().ends_with("/langfuse/prompts/team%2Fsupport"));
    }
    assert_eq!((published(&house), house.approvals().await.len()), (1, 1));
}

#[tokio::test]
async fn a_version_whose_answer_was_lost_is_found_by_its_marker_and_not_published_twice() {
    for fault in [Fault::DropAnswer, Fault::DoneBut(500), Fault::DoneBut(504)] {
        let house = house(&["TOOL_LOOP"]).await;
        ask(&house).await.unwrap();
        decide(&house, Decision::Approve).await;
        // Two requests look first; the third publishes.
        for next in [Fault::Throttle, fault] {
            house.vendors.clear_faults();
            house.vendors.fault("/v2/prompts", next);
        }
        house.vendors.clear_faults();
        publish_with(&house, fault).await;
        for _ in 0..3 {
            house.advance(TimeDelta::seconds(60));
            house.restarted().outbox.drain(house.now()).await.unwrap();
        }
        assert_eq!((published(&house), house.vendors.prompts().len()), (1, 2), "{fault:?}");
        let status = house.store.reports.fix_status(&house.scope, 1).await.unwrap().unwrap();
        assert_eq!(status.fix.prompt_version, Some(2), "{fault:?}");
    }
}

/// Lets the request that publishes, and no other, meet a fault.
async fn publish_with(house: &House, fault: Fault) {
    house.vendors.fault_of("POST", "/v2/prompts", fault);
    house.drain().await;
}

#[tokio::test]
async fn killed_while_publishing_it_is_looked_for_and_published_once() {
    for already in [false, true] {
        let house = house(&["TOOL_LOOP"]).await;
        ask(&house).await.unwrap();
        decide(&house, Decision::Approve).await;
        let request = LeaseRequest {
            holder: "killed".to_owned(),
            lease_for: Duration::from_secs(30),
            kinds: vec![tripline_store::ActionKind::Remediation],
            types: tripline_store::LeaseTypes::Any,
            in_order: false,
        };
        let leased = house.store.actions.lease_next(&house.scope, request, house.now()).await.unwrap().unwrap();
        if already {
            let payload = leased.action.payload.value().unwrap();
            house.vendors.add_prompt(json!({
                "name": "team/support", "type": "text", "prompt": payload["prompt"], "labels": [],
                "commitMessage": payload["commit_message"],
            }));
        }
        house.vendors.add_prompt(json!({
            "name": "team/support", "type": "text", "prompt": "somebody else's", "labels": [], "commitMessage": "tweak",
        }));
        house.advance(TimeDelta::seconds(31));
        house.restarted().outbox.drain(house.now()).await.unwrap();
        let ours = house.vendors.prompts().iter().filter(|one| one["prompt"].as_str().unwrap().ends_with(FIX)).count();
        assert_eq!((published(&house), ours), (usize::from(!already), 1));
    }
}

#[tokio::test]
async fn a_prompt_that_changed_since_is_not_overwritten() {
    let house = house(&["TOOL_LOOP"]).await;
    ask(&house).await.unwrap();
    house.vendors.add_prompt(json!({
        "name": "team/support", "type": "text", "prompt": "You help people fast.", "labels": ["production"],
    }));
    decide(&house, Decision::Approve).await;
    house.drain().await;
    assert_eq!(published(&house), 0);
    let action = house.actions("publish_prompt").await.remove(0);
    assert_eq!(action.status, ActionStatus::Failed);
    assert!(action.error.unwrap().contains("has changed since"));
    assert!(house.store.reports.fix_status(&house.scope, 1).await.unwrap().is_none(), "no fix was applied");
    // Asked again it is made of the new version.
    let FixOutcome::Waiting { fix, .. } = ask(&house).await.unwrap() else { panic!() };
    assert_eq!((fix.base_version, fix.old_text.as_str()), (2, "You help people fast."));
}

#[tokio::test]
async fn the_system_message_of_a_chat_prompt_is_added_to_and_nothing_else_changes() {
    let house = house(&["TOOL_LOOP"]).await;
    let user = json!({"role": "user", "content": "{{question}}"});
    for (messages, place) in [
        (json!([{"role": "system", "content": "Be brief."}, {"type": "placeholder", "name": "history"}, user]), 0),
        (json!([user]), 0),
    ] {
        house.vendors.add_prompt(
            json!({"name": "team/support", "type": "chat", "prompt": messages, "labels": ["production"], "config": null}),
        );
        let mut request = request(&house, "carol").await;
        request.labels = vec!["production".to_owned()];
        let FixOutcome::Waiting { approval, fix } = house.governance.fixes.apply(&house.scope, request).await.unwrap()
        else {
            panic!()
        };
        let had_system = messages[0]["role"] == "system";
        assert_eq!(fix.new_text, if had_system { format!("Be brief.\n\n{FIX}") } else { FIX.to_owned() });
        let listed = fix.prompt.as_array().unwrap();
        assert_eq!(listed[place], json!({"role": "system", "content": fix.new_text}));
        let rest = messages.as_array().unwrap().iter().skip(usize::from(had_system));
        assert_eq!(listed.iter().skip(1).collect::<Vec<_>>(), rest.collect::<Vec<_>>());
        assert!(approval.request.summary.contains("production"), "{}", approval.request.summary);
        decide(&house, Decision::Reject).await;
    }
}

#[tokio::test]
async fn what_follows_from_an_injection_is_blocked_and_a_second_fix_waits_for_the_first() {
    let injected = house(&["PROMPT_INJECTION_SIGNAL"]).await;
    assert!(matches!(ask(&injected).await, Err(FixError::Blocked)));
    assert!(injected.vendors.seen("/prompts").is_empty(), "Langfuse is not even asked");

    let house = house(&["TOOL_LOOP"]).await;
    ask(&house).await.unwrap();
    let mut other = request(&house, "carol").await;
    other.fix_content = "Something else.".to_owned();
    let refused = house.governance.fixes.apply(&house.scope, other.clone()).await;
    assert!(matches!(refused, Err(FixError::Conflict { .. })), "{refused:?}");
    decide(&house, Decision::Reject).await;
    assert!(matches!(house.governance.fixes.apply(&house.scope, other).await, Ok(FixOutcome::Waiting { .. })));
}

#[tokio::test]
async fn an_approver_who_may_operate_publishes_at_once() {
    let house = house(&["TOOL_LOOP"]).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let worker = tokio::spawn(house.governance.outbox.clone().run(stop.clone()));
    let mut request = request(&house, "alice").await;
    request.may_operate = false;
    let asked = house.governance.fixes.apply(&house.scope, request.clone()).await.unwrap();
    assert!(matches!(asked, FixOutcome::Waiting { .. }), "a key that may only read asks, whoever holds it");
    request.may_operate = true;
    let FixOutcome::Published { version, .. } = house.governance.fixes.apply(&house.scope, request).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(version, 2);
    let approval = house.approvals().await.remove(0);
    assert_eq!((approval.resolved_by.as_deref(), approval.resolved_via), (Some("alice"), Some(Via::Api)));
    stop.cancel();
    worker.await.unwrap();
}

#[tokio::test]
async fn the_card_in_slack_shows_both_texts_escaped_with_the_addition_at_the_end_and_a_link_to_the_rest() {
    let house = house(&["TOOL_LOOP"]).await;
    let old = format!("<!channel> *bold* {}", "padding & more. ".repeat(600));
    house.vendors.add_prompt(
        json!({"name": "team/support", "type": "text", "prompt": old, "labels": ["production"], "config": {}}),
    );
    ask(&house).await.unwrap();
    house.drain().await;
    let message = house.vendors.messages().pop().unwrap();
    let blocks = message["blocks"].as_array().unwrap();
    let text = |block: &Value| block["text"]["text"].as_str().unwrap_or_default().to_owned();
    let at = |title: &str| blocks.iter().position(|block| text(block) == title).unwrap_or_else(|| panic!("{message}"));
    let (was, will) = (text(&blocks[at("*Old text*") + 1]), text(&blocks[at("*New text*") + 1]));
    assert_eq!(blocks[at("*Old text*") + 1]["text"]["type"], "plain_text");
    assert!(was.starts_with("&lt;!channel&gt; *bold*") && was.contains("[…]"), "{was}");
    assert!(will.ends_with(FIX), "{will}");
    assert!(was.encode_utf16().count() <= 3_000 && will.encode_utf16().count() <= 3_000);
    let whole = message["blocks"].to_string();
    assert!(whole.contains("The middle is left out.") && whole.contains("https://tripline.example.com/#incident="));
    assert!(!whole.contains("<!channel>"), "{whole}");
}

#[tokio::test]
async fn a_prompt_that_is_not_there_and_a_langfuse_that_fails_are_told_apart() {
    let house = house(&["TOOL_LOOP"]).await;
    let mut missing = request(&house, "carol").await;
    missing.prompt_name = "nothing".to_owned();
    assert!(matches!(house.governance.fixes.apply(&house.scope, missing).await, Err(FixError::NoPrompt)));
    for fault in [Fault::Status(500), Fault::Status(401), Fault::Throttle, Fault::Drop] {
        house.vendors.fault("/v2/prompts", fault);
        let failed = ask(&house).await;
        let Err(FixError::Remote(why)) = failed else { panic!("{fault:?}: {failed:?}") };
        assert!(!why.contains("127.0.0.1") && !why.contains("sk-lf"), "{why}");
    }
    assert!(house.approvals().await.is_empty());
}

#[tokio::test]
async fn what_is_asked_wrongly_says_so() {
    let house = house(&["TOOL_LOOP"]).await;
    let good = request(&house, "carol").await;
    let mut cases = Vec::new();
    for name in ["", "  ", "a\nb", "../secrets", "a/./b"] {
        cases.push(FixRequest { prompt_name: name.to_owned(), ..good.clone() });
    }
    for label in ["latest", "", "UPPER", "a b"] {
        cases.push(FixRequest { labels: vec![label.to_owned()], ..good.clone() });
    }
    for case in cases {
        let refused = house.governance.fixes.apply(&house.scope, case.clone()).await;
        assert!(matches!(refused, Err(FixError::Invalid(_))), "{case:?}: {refused:?}");
    }
    let other = Scope::project(tripline_store::ProjectId::new("customer"));
    assert!(matches!(house.governance.fixes.apply(&other, good).await, Err(FixError::NotConfigured)));
}

#[test]
fn what_was_found_on_trial_is_refused_with_the_way_out_that_fits_the_detector() {
    let hint = |detector: &str, runs: &str| {
        let settings = crate::settings::Settings::from_json(&format!(r#"{{"runs": {runs}}}"#), "x").unwrap();
        match on_trial(detector, &settings.runs) {
            FixError::Conflict { message, hint, approval_id: None } => {
                assert!(message.contains(&format!("'{detector}'")), "{message}");
                assert!(hint.contains("record-copy"), "there is always a way: {hint}");
                hint
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(hint("tool_loop", r#"{"shadow": ["tool_loop"]}"#).starts_with("take its name out of runs.shadow"));
    assert!(hint("mine", r#"{"shadow": ["mine"], "live": ["mine"]}"#).starts_with("take its name out of runs.shadow"));
    assert!(hint("mine", "{}").starts_with("add its name to runs.live"));
    assert!(hint("mine", r#"{"live": ["mine"]}"#).starts_with("its trial is over"));
    assert!(hint("tool_loop", "{}").starts_with("its trial is over"));
}
