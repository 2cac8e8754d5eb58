//! What single detectors promise beyond the reference vectors.

use chrono::Utc;
use serde_json::json;

use super::events::{Event, Script, batch};
use crate::queries::QueryLibrary;
use crate::runs::{Confidence, Found, RunBatch, detect};
use crate::settings::Settings;
use crate::testing::World;

fn settings(text: &str) -> Settings {
    Settings::from_json(text, "test").unwrap()
}

async fn found(detector: &str, events: Vec<Vec<Event>>, settings: &Settings) -> Vec<Found> {
    let now = Utc::now();
    let scene = World::default().scene(now);
    let runs = RunBatch::new(vec![batch(&events.concat(), 1)], now, chrono::TimeDelta::seconds(90)).unwrap();
    let set = QueryLibrary::open(None).unwrap().current();
    let mut found = detect(&scene.ctx.engine, &set.runs[detector], &runs, settings, now).await.unwrap();
    found.sort_by(|a, b| a.run_id.cmp(&b.run_id));
    found
}

fn looping(run: &str, agent: &str, calls: usize) -> Vec<Event> {
    let start = Script::new(run, Utc::now()).of(agent);
    (0..calls).fold(start, |script, _| script.tool("search", true)).end("final_answer")
}

#[tokio::test]
async fn an_agent_with_a_threshold_of_its_own_is_judged_by_it_and_others_are_not() {
    let settings = settings(r#"{"runs": {"agents": {"patient": {"tool_loop_threshold": 5}, "calm": {"tool_loop_window": 9}}}}"#);
    let mut calls = looping("c", "patient", 3);
    calls.pop();
    let mixed = Script::new("c", Utc::now()).of("patient");
    let mixed = (0..4).fold(mixed, |script, _| script.tool("search", true)).tool("db", true).end("final_answer");
    let other = Script::new("d", Utc::now()).of("hasty");
    let other = (0..4).fold(other, |script, _| script.tool("search", true)).tool("db", true).end("final_answer");
    let runs = vec![looping("a", "patient", 6), looping("b", "calm", 6), mixed, other];
    let found = found("tool_loop", runs, &settings).await;
    let runs: Vec<&str> = found.iter().map(|one| one.run_id.as_str()).collect();
    assert_eq!(runs, ["a", "d"]);
    assert_eq!(found[0].evidence["count"], json!(6));
}

#[tokio::test]
async fn the_client_s_injection_signal_becomes_a_finding() {
    let mut run = Script::new("a", Utc::now()).end("completed");
    run[0].payload = json!({"injection_signal": {"matched_pattern_count": 2, "matched_patterns": ["jailbreak", "act_as"], "input_length": 90}});
    let quiet = Script::new("b", Utc::now()).end("completed");
    let one = found("prompt_injection_signal", vec![run.clone(), quiet], &Settings::default()).await;
    assert_eq!(one.len(), 1);
    assert_eq!((one[0].confidence, one[0].step_index), (0.85, 0));
    let expected = json!({"matched_pattern_count": 2, "matched_patterns": ["jailbreak", "act_as"], "input_length": 90});
    assert_eq!(serde_json::Value::Object(one[0].evidence.clone()), expected);
    let mut dynamic = Settings::default();
    dynamic.runs.confidence = Confidence::Dynamic;
    assert_eq!(found("prompt_injection_signal", vec![run], &dynamic).await[0].confidence, 0.9);
}

#[tokio::test]
async fn what_a_client_does_not_say_is_no_failure() {
    let run = Script::new("a", Utc::now())
        .event("llm.called", json!({}))
        .event("llm.responded", json!({"finish_reason": "stop"}))
        .event("retrieval.called", json!({"index_name": "docs"}))
        .event("retrieval.responded", json!({}))
        .event("tool.called", json!({"tool_name": "x"}))
        .event("tool.responded", json!({"tool_name": "x"}))
        .end("final_answer");
    for detector in ["empty_llm_response", "rag_empty_retrieval", "first_step_failure", "retry_storm", "cascading_tool_failure"] {
        assert_eq!(found(detector, vec![run.clone()], &Settings::default()).await, [], "{detector}");
    }
}

#[tokio::test]
async fn the_original_s_skipped_streak_is_found() {
    // B fails three times, then A fails once: the original counted B's streak as two.
    let run = Script::new("a", Utc::now()).tool("b", false).tool("b", false).tool("b", false).tool("a", false).end("completed");
    let found = found("retry_storm", vec![run], &Settings::default()).await;
    assert_eq!((found[0].evidence["tool"].clone(), found[0].evidence["consecutive_fails"].clone()), (json!("b"), json!(3)));
    assert_eq!(found[0].evidence["failure_reason_hash"], json!("e"));
}
