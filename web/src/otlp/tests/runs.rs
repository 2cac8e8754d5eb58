//! What is one run, whatever arrives when.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Plain, TRACE, decoded, events, outline, payload, run, weather};
use crate::otlp::map_spans;

fn agent(number: u64, parent: u64, start: u64, end: u64) -> Plain {
    let attributes = json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": format!("agent{number}")});
    Plain(number, parent, "invoke_agent", start, end, attributes)
}

fn chat(number: u64, parent: u64, start: u64) -> Plain {
    let attributes = json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"});
    Plain(number, parent, "chat m", start, start + 5, attributes)
}

fn http(number: u64, parent: u64, start: u64, end: u64) -> Plain {
    Plain(number, parent, "POST /chat", start, end, json!({"http.request.method": "POST"}))
}

/// Who ends the runs, and whether provisionally.
fn ends(spans: &[Plain]) -> Vec<(String, bool)> {
    let ends = events(spans).into_iter().filter(|event| event.event_type == "run.completed");
    ends.map(|event| (event.agent_id, event.payload.contains_key("provisional"))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn spans_in_any_order_and_in_any_requests_and_twice_are_the_same_run(
        order in Just(vec![0_usize, 1, 2, 3, 4]).prop_shuffle(),
        cut in 0_usize..6,
        again in 0_usize..5,
    ) {
        let whole = run(events(&weather()));
        let spans = decoded(&weather());
        let shuffled: Vec<_> = order.iter().map(|place| spans[*place].clone()).collect();
        let (first, second) = shuffled.split_at(cut);
        let mut arrived = map_spans(first).events;
        arrived.extend(map_spans(second).events);
        arrived.extend(map_spans(&spans[again..=again]).events);
        let run = run(arrived);
        prop_assert_eq!(outline(&run), outline(&whole));
        for (event, same) in run.iter().zip(&whole) {
            prop_assert_eq!(&event.event_id, &same.event_id);
            prop_assert_eq!(&event.run_id, &same.run_id);
            prop_assert_eq!(event.timestamp, same.timestamp);
            // The beginning alone has what other spans add.
            if event.event_type != "run.started" {
                prop_assert_eq!(&event.payload, &same.payload);
            }
        }
        prop_assert_eq!(&run[0].agent_id, "weather");
        prop_assert_eq!(&run[0].agent_version, "7");
    }
}

#[test]
fn a_request_of_a_web_server_is_no_run() {
    assert_eq!(events(&[http(1, 0, 0, 9), http(2, 1, 1, 2)]), []);
}

#[test]
fn embeddings_and_evaluations_by_themselves_are_no_runs() {
    for attributes in [
        json!({"gen_ai.operation.name": "embeddings"}),
        json!({"openinference.span.kind": "EVALUATOR"}),
        json!({"langfuse.observation.type": "embedding"}),
        json!({"llm.request.type": "embedding", "gen_ai.system": "OpenAI", "gen_ai.request.model": "e"}),
    ] {
        assert_eq!(events(&[Plain(1, 0, "x", 0, 1, attributes)]), []);
    }
}

#[test]
fn an_agent_behind_a_web_server_is_a_run() {
    assert_eq!(ends(&[http(1, 0, 0, 99), agent(2, 1, 1, 90), chat(3, 2, 2)]), [("agent2".to_owned(), false)]);
}

#[test]
fn an_agent_within_an_agent_does_not_end_the_run() {
    let spans = [agent(1, 0, 0, 99), http(2, 1, 1, 50), agent(3, 2, 2, 40), chat(4, 3, 3)];
    assert_eq!(ends(&spans), [("agent1".to_owned(), false)]);
    assert!(events(&spans).iter().all(|event| event.agent_id == "agent1" && event.run_id == TRACE));
}

#[test]
fn an_end_that_may_not_be_the_runs_is_provisional() {
    // Its parent is not here, and may be another agent.
    assert_eq!(ends(&[agent(3, 2, 2, 40), chat(4, 3, 3)]), [("agent3".to_owned(), true)]);
}

#[test]
fn agents_one_after_the_other_in_one_trace_are_one_run() {
    let spans = [http(1, 0, 0, 99), agent(2, 1, 1, 40), agent(3, 1, 50, 90)];
    let run = run(events(&spans));
    assert_eq!(outline(&run), [("run.started", 0), ("run.completed", 0)]);
    assert_eq!(run[0].event_id.as_deref(), Some(format!("otel:{TRACE}:0000000000000002:started").as_str()));
    assert_eq!(run[1].event_id.as_deref(), Some(format!("otel:{TRACE}:0000000000000003:ended").as_str()));
}

#[test]
fn a_call_of_another_process_ends_no_run() {
    let tool = json!({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t", "_flags": 0x301});
    let run = events(&[Plain(2, 1, "tools/call t", 0, 9, tool)]);
    assert_eq!(outline(&run).iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["tool.called", "tool.responded"]);
}

#[test]
fn a_run_that_fails_says_how() {
    let failed = json!({
        "gen_ai.operation.name": "invoke_agent", "error.type": "TimeoutError",
        "_status": {"code": 2, "message": "took too long"},
    });
    let run = run(events(&[Plain(1, 0, "invoke_agent a", 0, 9, failed)]));
    assert_eq!(outline(&run), [("run.started", 0), ("run.errored", 0)]);
    assert_eq!(payload(&run[1]), json!({"error_type": "TimeoutError", "error": "took too long"}));
    assert_eq!(run[0].agent_id, "a", "without a name of its own it is in the span's");
}

#[test]
fn calls_at_once_are_steps_of_their_own_and_keep_their_answers() {
    let tool = |number, start, end, status: Value| {
        let attributes = json!({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t", "_status": status});
        Plain(number, 1, "execute_tool t", start, end, attributes)
    };
    let spans = [agent(1, 0, 0, 99), tool(2, 10, 50, json!({"code": 2})), tool(3, 11, 20, json!({}))];
    let run = run(events(&spans));
    let answers: Vec<(i64, &Value)> = run
        .iter()
        .filter(|event| event.event_type == "tool.responded")
        .map(|event| (event.step_index, &event.payload["success"]))
        .collect();
    assert_eq!(answers, [(1, &json!(false)), (2, &json!(true))]);
}

#[test]
fn a_span_that_has_not_ended_has_no_answer() {
    let mut spans = decoded(&[chat(1, 0, 5)]);
    spans[0].end = 0;
    let events = map_spans(&spans).events;
    assert_eq!(events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>(), ["run.started", "llm.called"]);
}

#[test]
fn a_run_is_the_one_that_an_attribute_names() {
    let named = json!({"gen_ai.operation.name": "chat", "tripline.run_id": "my-run"});
    assert!(events(&[Plain(1, 0, "chat", 0, 1, named)]).iter().all(|event| event.run_id == "my-run"));
}

#[test]
fn what_would_not_do_as_an_id_is_made_one() {
    let name = format!("a\nb{}", "é".repeat(300));
    let named = json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name});
    let events = events(&[Plain(1, 0, "x", 0, 1, named)]);
    assert!(events[0].agent_id.starts_with("abé") && events[0].agent_id.len() <= 256, "{}", events[0].agent_id);
}

#[test]
fn without_a_version_it_is_made_of_what_the_agent_is() {
    let version = |instructions: &str| {
        let root = json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.system_instructions": instructions});
        let mut spans = decoded(&[Plain(1, 0, "invoke_agent a", 0, 1, root)]);
        spans[0].resource = Default::default();
        map_spans(&spans).events[0].agent_version.clone()
    };
    assert_eq!(version("one").len(), 8);
    assert_eq!(version("one"), version("one"));
    assert_ne!(version("one"), version("two"));
}

#[test]
fn ancestors_that_go_in_a_circle_end() {
    assert_eq!(ends(&[http(1, 2, 0, 9), http(2, 1, 0, 9), agent(3, 2, 1, 8)]), [("agent3".to_owned(), true)]);
}
