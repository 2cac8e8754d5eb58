//! What is promised of telling about signals.

use serde_json::json;
use sha2::{Digest, Sha256};
use tripline_store::{ActionStatus, JudgedRun, NewSignal, RunEnd, RunFacts, Severity};

use super::*;
use crate::govern::Governance;
use crate::govern::testing::{Fault, House, Seen};

fn judged(house: &House, run: &str, kind: &str, severity: Severity, shadow: bool) -> JudgedRun {
    JudgedRun {
        facts: RunFacts {
            run_id: run.to_owned(),
            agent_id: "bot".to_owned(),
            agent_version: "v1".to_owned(),
            reason: RunEnd::Completed,
            exit_reason: None,
            started_at: house.now() - TimeDelta::seconds(9),
            ended_at: house.now(),
            step_count: 3,
            llm_calls: 2,
            tool_calls: 1,
            first_tool_step: None,
            input_hash: None,
            token_growth: None,
            tool_gaps_ms: Vec::new(),
            llm_gaps_ms: Vec::new(),
        },
        signals: vec![NewSignal {
            detector: kind.to_lowercase(),
            failure_type: kind.to_owned(),
            severity,
            fingerprint: format!("run:{kind}:bot"),
            step_index: 2,
            confidence: 0.95,
            co_signals: None,
            shadow,
            description: format!("{kind} in a run"),
            evidence: json!({"tool": "search", "count": 7, "window": 5, "first_step": 1, "last_step": 9}),
        }],
    }
}

/// A house in whose runs these were found.
async fn house(found: &[(&str, &str, Severity, bool)]) -> House {
    let house = House::with_webhook().await;
    for (run, kind, severity, shadow) in found {
        let run = judged(&house, run, kind, *severity, *shadow);
        house.store.runs.record_judged(&house.scope, vec![run], 50, house.now()).await.unwrap();
    }
    house
}

async fn tell(house: &House, governance: &Governance) -> usize {
    let alerts = Alerts::new(governance.notices.clone(), Arc::clone(&governance.destinations), house.scope.clone());
    alerts.tell(&house.context, house.now()).await.unwrap()
}

fn hooks(house: &House) -> Vec<Seen> {
    house.vendors.seen("/hook")
}

#[tokio::test]
async fn slack_is_told_from_the_severity_floor_on_and_the_webhook_everything_but_what_is_on_trial() {
    let house = house(&[
        ("a", "TOOL_LOOP", Severity::High, false),
        ("b", "SLOW_STEP", Severity::Medium, false),
        ("c", "MINE", Severity::Critical, true),
    ])
    .await;
    assert_eq!(tell(&house, &house.governance).await, 2);
    house.drain().await;
    let mut told: Vec<String> = hooks(&house).iter().map(|one| one.body["failure_type"].to_string()).collect();
    told.sort();
    assert_eq!(told, ["\"SLOW_STEP\"", "\"TOOL_LOOP\""]);
    let messages = house.vendors.messages();
    assert_eq!(messages.len(), 1, "medium is below the floor: {messages:?}");
    assert!(messages[0].to_string().contains("TOOL_LOOP") || messages[0].to_string().contains("TOOL LOOP"));
    assert_eq!(tell(&house, &house.governance).await, 0, "nobody is told twice");
}

#[tokio::test]
async fn a_signal_whose_answer_was_lost_is_told_again_with_the_same_key_and_the_same_body() {
    for fault in [Fault::DropAnswer, Fault::DoneBut(500), Fault::Throttle, Fault::Status(404)] {
        let house = house(&[("a", "TOOL_LOOP", Severity::High, false)]).await;
        tell(&house, &house.governance).await;
        house.vendors.fault("/hook", fault);
        house.drain().await;
        house.advance(TimeDelta::seconds(60));
        house.drain().await;
        let seen = hooks(&house);
        assert_eq!(seen.len(), 2, "{fault:?}");
        let key = |seen: &Seen| seen.headers["idempotency-key"].clone();
        assert_eq!((key(&seen[0]), &seen[0].raw), (key(&seen[1]), &seen[1].raw), "{fault:?}");
        assert_eq!(key(&seen[0]), "signal:default:a:TOOL_LOOP");
    }
}

#[tokio::test]
async fn it_is_tried_three_times_within_half_a_minute_ever_more_rarely() {
    let house = house(&[("a", "TOOL_LOOP", Severity::High, false)]).await;
    tell(&house, &house.governance).await;
    for _ in 0..2 {
        house.vendors.fault("/hook", Fault::Status(503));
    }
    let mut pauses = Vec::new();
    for attempt in 1..=3 {
        house.drain().await;
        assert_eq!(hooks(&house).len(), attempt, "one attempt at a time");
        let action = house.actions("signal_webhook").await.remove(0);
        if action.status == ActionStatus::Done {
            break;
        }
        pauses.push((action.next_attempt_at - house.now()).num_milliseconds());
        // Not before its time.
        house.advance(TimeDelta::milliseconds(pauses[attempt - 1] - 10));
        house.drain().await;
        assert_eq!(hooks(&house).len(), attempt);
        house.advance(TimeDelta::milliseconds(20));
    }
    assert_eq!(house.actions("signal_webhook").await.remove(0).status, ActionStatus::Done);
    assert!(pauses[0] >= 1_500 && pauses[1] > pauses[0] && pauses.iter().sum::<i64>() < 30_000, "{pauses:?}");
}

#[tokio::test]
async fn nothing_is_lost_while_the_receiver_is_down_for_days_with_a_restart_in_between() {
    let house = house(&[("a", "TOOL_LOOP", Severity::High, false), ("b", "SLOW_STEP", Severity::Info, false)]).await;
    // Killed between handing over and noting it: handed over again, nothing is doubled.
    let key = "signal:default:a:TOOL_LOOP".to_owned();
    let body = json!({"failure_type": "TOOL_LOOP"}).to_string();
    house.governance.notices.webhook(&house.scope, key, None, body, house.now()).await.unwrap();
    tell(&house, &house.governance).await;
    for _ in 0..300 {
        house.vendors.fault("/hook", Fault::Drop);
    }
    for hour in 0..72 {
        let executor = house.over_webhook(&format!("process {}", hour / 24));
        executor.outbox.drain(house.now()).await.unwrap();
        house.advance(TimeDelta::hours(1));
    }
    house.vendors.clear_faults();
    let before = hooks(&house).len();
    house.over_webhook("after").outbox.drain(house.now()).await.unwrap();
    let told: Vec<String> = hooks(&house)[before..].iter().map(|one| one.headers["idempotency-key"].clone()).collect();
    assert_eq!(told.len(), 2, "each once: {told:?}");
    let actions = house.actions("signal_webhook").await;
    assert!(actions.iter().all(|action| action.status == ActionStatus::Done), "{actions:?}");
    assert!(actions.iter().all(|action| !action.payload.text().contains("in-the-address")));
}

#[tokio::test]
async fn the_body_is_signed_as_its_receiver_computes_it() {
    let house = house(&[("a", "TOOL_LOOP", Severity::High, false)]).await;
    tell(&house, &house.governance).await;
    house.drain().await;
    let seen = hooks(&house).remove(0);
    // RFC 2104, by hand.
    let mut key = [0_u8; 64];
    key[.."a-webhook-secret".len()].copy_from_slice(b"a-webhook-secret");
    let pad = |byte: u8| key.map(|k| k ^ byte);
    let inner = Sha256::digest([&pad(0x36)[..], &seen.raw].concat());
    let expected = hex::encode(Sha256::digest([&pad(0x5c)[..], &inner[..]].concat()));
    assert_eq!(seen.headers["x-dunetrace-signature"], expected);
    assert_eq!(seen.headers["x-dunetrace-event"], "failure_signal");
    assert_eq!(seen.headers["x-dunetrace-version"], "1.0");
    for field in [
        "schema_version",
        "event",
        "sent_at",
        "failure_type",
        "severity",
        "confidence",
        "run_id",
        "agent_id",
        "agent_version",
        "step_index",
        "detected_at",
        "title",
        "what",
        "why_it_matters",
        "evidence_summary",
        "evidence",
        "suggested_fixes",
    ] {
        assert!(seen.body.get(field).is_some(), "{field} is missing: {}", seen.body);
    }
}
