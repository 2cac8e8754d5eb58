//! The same run in the words of each convention.

use serde_json::{Value, json};

use super::{Plain, TRACE, events, outline, payload, run, weather};

const RUN: [(&str, i64); 6] = [
    ("run.started", 0),
    ("llm.called", 1),
    ("llm.responded", 1),
    ("tool.called", 2),
    ("tool.responded", 2),
    ("run.completed", 2),
];

#[test]
fn genai_conventions_become_a_run() {
    let run = run(events(&weather()));
    assert_eq!(
        outline(&run),
        [
            ("run.started", 0),
            ("llm.called", 1),
            ("llm.responded", 1),
            ("tool.called", 2),
            ("tool.responded", 2),
            ("retrieval.called", 3),
            ("retrieval.responded", 3),
            ("llm.called", 4),
            ("llm.responded", 4),
            ("run.completed", 4),
        ]
    );
    for event in &run {
        assert_eq!((event.run_id.as_str(), event.trace_id.as_deref()), (TRACE, Some(TRACE)));
        assert_eq!((event.agent_id.as_str(), event.agent_version.as_str()), ("weather", "7"));
        assert_eq!(event.conversation_id.as_deref(), Some("c1"));
    }
    let payloads: Vec<Value> = run.iter().map(payload).collect();
    assert_eq!(
        payloads[0],
        json!({"input_text": "Rain in Paris?", "system_prompt": "You know the weather.", "model": "gpt-4o",
               "tools": ["get_weather"]})
    );
    assert_eq!(payloads[1], json!({"model": "gpt-4o", "prompt_tokens": 150}));
    assert_eq!(
        payloads[2],
        json!({"completion_tokens": 20, "latency_ms": 290, "finish_reason": "tool_calls", "output": ""})
    );
    assert_eq!(payloads[3], json!({"tool_name": "get_weather", "args": "{\"city\": \"Paris\"}"}));
    assert_eq!(payloads[4], json!({"tool_name": "get_weather", "success": true, "output": "rainy", "latency_ms": 80}));
    assert_eq!(payloads[5], json!({"index_name": "docs", "query": "rain"}));
    assert_eq!(payloads[6], json!({"index_name": "docs", "result_count": 2, "top_score": 0.9, "latency_ms": 50}));
    assert_eq!(payloads[8]["output"], "Yes, rain.");
    assert_eq!(payloads[9], json!({"exit_reason": "final_answer"}));
    let at: Vec<f64> = run.iter().map(|event| event.timestamp.unwrap() - 1_795_219_200.0).collect();
    assert!((at[2] - 0.3).abs() < 1e-6 && (at[9] - 0.9).abs() < 1e-6, "{at:?}");
}

#[test]
fn openinference_becomes_the_same_run() {
    let run = run(events(&[
        Plain(
            1,
            0,
            "LangGraph",
            0,
            900,
            json!({"openinference.span.kind": "CHAIN", "agent.name": "weather", "session.id": "c1",
                   "input.value": "Rain in Paris?"}),
        ),
        // A node of the graph, not a run of its own.
        Plain(2, 1, "agent", 5, 880, json!({"openinference.span.kind": "AGENT"})),
        Plain(
            3,
            2,
            "ChatOpenAI",
            10,
            300,
            json!({
                "openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 150,
                "llm.token_count.completion": 20, "llm.finish_reason": "stop",
                "llm.tools.0.tool.json_schema": r#"{"type":"function","function":{"name":"get_weather"}}"#,
                "llm.output_messages.0.message.role": "assistant",
                "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "get_weather",
            }),
        ),
        Plain(
            4,
            2,
            "get_weather",
            310,
            390,
            json!({"openinference.span.kind": "TOOL", "tool.name": "get_weather", "input.value": "{}",
                   "_status": {"code": 2, "message": "no such city"}}),
        ),
    ]));
    assert_eq!(outline(&run), RUN);
    assert_eq!(run[0].agent_id, "weather");
    assert_eq!(payload(&run[0]), json!({"input_text": "Rain in Paris?", "model": "gpt-4o", "tools": ["get_weather"]}));
    assert_eq!(payload(&run[1]), json!({"model": "gpt-4o", "prompt_tokens": 150}));
    assert_eq!(run[2].payload["finish_reason"], "tool_calls", "an answer that calls a tool is not an empty one");
    assert_eq!(
        payload(&run[4]),
        json!({"tool_name": "get_weather", "success": false, "error": "no such city", "latency_ms": 80})
    );
}

#[test]
fn openinference_retrievals_are_counted_and_scored() {
    let run = run(events(&[Plain(
        1,
        0,
        "VectorStoreRetriever",
        0,
        40,
        json!({
            "openinference.span.kind": "RETRIEVER", "input.value": "rain",
            "retrieval.documents.0.document.id": "a", "retrieval.documents.0.document.score": 0.2,
            "retrieval.documents.10.document.id": "b", "retrieval.documents.10.document.score": 0.7,
        }),
    )]));
    assert_eq!(
        payload(&run[2]),
        json!({"index_name": "VectorStoreRetriever", "result_count": 2, "top_score": 0.7, "latency_ms": 40})
    );
}

#[test]
fn openllmetry_becomes_the_same_run() {
    let run = run(events(&[
        Plain(
            1,
            0,
            "weather.workflow",
            0,
            900,
            json!({"traceloop.span.kind": "workflow", "traceloop.workflow.name": "weather",
                   "traceloop.entity.name": "weather", "traceloop.entity.input": "Rain in Paris?"}),
        ),
        Plain(
            2,
            1,
            "planner.agent",
            2,
            890,
            json!({"traceloop.span.kind": "agent", "traceloop.entity.name": "planner"}),
        ),
        Plain(
            3,
            2,
            "openai.chat",
            10,
            300,
            json!({
                "llm.request.type": "chat", "gen_ai.system": "OpenAI", "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.prompt_tokens": 150, "gen_ai.usage.completion_tokens": 20,
                "gen_ai.completion.0.finish_reason": "stop", "gen_ai.completion.0.content": "Let me see.",
                "llm.request.functions.0.name": "get_weather",
            }),
        ),
        Plain(
            4,
            2,
            "get_weather.tool",
            310,
            390,
            json!({"traceloop.span.kind": "tool", "traceloop.entity.name": "get_weather",
                   "traceloop.entity.input": "{}", "traceloop.entity.output": "rainy"}),
        ),
    ]));
    assert_eq!(outline(&run), RUN);
    assert_eq!(run[0].agent_id, "weather");
    assert_eq!(run[0].payload["tools"], json!(["get_weather"]));
    assert_eq!(
        payload(&run[2]),
        json!({"completion_tokens": 20, "latency_ms": 290, "finish_reason": "stop", "output": "Let me see."})
    );
}

#[test]
fn openllmetry_searches_of_vector_stores_are_retrievals() {
    let run = run(events(&[Plain(
        1,
        0,
        "chroma.query",
        0,
        40,
        json!({
            "db.system": "chroma", "db.operation": "query", "llm.vendor": "x",
            "_events": [
                {"at": 5, "name": "db.query.result", "attributes": {"db.query.result.score": 0.3}},
                {"at": 5, "name": "db.query.result", "attributes": {"db.query.result.score": 0.5}},
            ],
        }),
    )]));
    assert_eq!(run[2].payload["result_count"], 2);
    assert_eq!(run[2].payload["top_score"], 0.5);
}

#[test]
fn langfuse_becomes_the_same_run() {
    let run = run(events(&[
        Plain(
            1,
            0,
            "weather",
            0,
            900,
            json!({"langfuse.observation.type": "span", "langfuse.trace.name": "weather", "langfuse.version": "7",
                   "langfuse.observation.input": "Rain in Paris?", "session.id": "c1"}),
        ),
        Plain(
            2,
            1,
            "call",
            10,
            300,
            json!({
                "langfuse.observation.type": "generation", "langfuse.observation.model.name": "gpt-4o",
                "langfuse.observation.usage_details": r#"{"input": 150, "output": 20, "total": 170}"#,
                "langfuse.observation.output": r#"{"role": "assistant", "content": "Let me see."}"#,
            }),
        ),
        Plain(
            3,
            1,
            "get_weather",
            310,
            390,
            json!({"langfuse.observation.type": "tool", "langfuse.observation.input": r#"{"city": "Paris"}"#,
                   "langfuse.observation.level": "ERROR", "langfuse.observation.status_message": "boom"}),
        ),
    ]));
    assert_eq!(outline(&run), RUN);
    assert_eq!((run[0].agent_id.as_str(), run[0].agent_version.as_str()), ("weather", "7"));
    assert_eq!(payload(&run[1]), json!({"model": "gpt-4o", "prompt_tokens": 150}));
    assert_eq!(payload(&run[2]), json!({"completion_tokens": 20, "latency_ms": 290, "output": "Let me see."}));
    assert_eq!(
        payload(&run[4]),
        json!({"tool_name": "get_weather", "success": false, "error": "boom", "latency_ms": 80})
    );
}

#[test]
fn the_reasons_of_every_provider_are_told_in_the_same_words() {
    for (theirs, ours) in [
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("max_tokens", "length"),
        ("FinishReason.MAX_TOKENS", "length"),
        ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"),
        ("length", "length"),
        ("something_new", "something_new"),
    ] {
        let chat = json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m",
                          "gen_ai.response.finish_reasons": [theirs]});
        let run = run(events(&[Plain(1, 0, "chat m", 0, 1, chat)]));
        assert_eq!(run[2].payload["finish_reason"], ours, "{theirs}");
    }
}

#[test]
fn what_a_span_does_not_say_is_absent() {
    let run = run(events(&[
        Plain(1, 0, "chat", 0, 5, json!({"gen_ai.operation.name": "chat"})),
        Plain(2, 1, "execute_tool", 6, 7, json!({"gen_ai.operation.name": "execute_tool"})),
        Plain(3, 1, "retrieval", 8, 9, json!({"gen_ai.operation.name": "retrieval"})),
    ]));
    let of = |kind: &str| payload(run.iter().find(|event| event.event_type == kind).unwrap());
    assert_eq!(of("llm.called"), json!({"model": "unknown"}));
    assert_eq!(of("llm.responded"), json!({"latency_ms": 5}));
    assert_eq!(of("tool.called"), json!({"tool_name": "unknown"}));
    assert_eq!(of("tool.responded"), json!({"tool_name": "unknown", "success": true, "latency_ms": 1}));
    assert_eq!(of("retrieval.called"), json!({"index_name": "unknown"}));
    assert_eq!(of("retrieval.responded"), json!({"index_name": "unknown", "top_score": null, "latency_ms": 1}));
}

#[test]
fn content_in_events_of_a_span_is_found() {
    let choice = json!({"gen_ai.operation.name": "chat", "_events": [
        {"at": 3, "name": "gen_ai.choice", "attributes": {"finish_reason": "stop", "message": r#"{"content": "hi"}"#}}]});
    let run_of_choice = run(events(&[Plain(1, 0, "chat", 0, 5, choice)]));
    assert_eq!(payload(&run_of_choice[2]), json!({"latency_ms": 5, "finish_reason": "stop", "output": "hi"}));
    let details = json!({"gen_ai.operation.name": "chat", "_events": [
        {"at": 3, "name": "gen_ai.client.inference.operation.details", "attributes": {"gen_ai.output.messages":
            [{"role": "assistant", "finish_reason": "stop", "parts": [{"type": "text", "content": "hi"}]}]}}]});
    let run_of_details = run(events(&[Plain(1, 0, "chat", 0, 5, details)]));
    assert_eq!(run_of_details[2].payload, run_of_choice[2].payload);
    // A picture is no empty answer.
    let picture = json!({"gen_ai.operation.name": "chat", "gen_ai.output.messages":
        [{"role": "assistant", "finish_reason": "stop", "parts": [{"type": "blob", "content": "…"}]}]});
    let run_of_picture = run(events(&[Plain(1, 0, "chat", 0, 5, picture)]));
    assert_eq!(payload(&run_of_picture[2]), json!({"latency_ms": 5, "finish_reason": "stop"}));
}
