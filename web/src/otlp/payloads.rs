//! The payloads of events: what the conventions call by many names under the names of the Dunetrace wire.
//!
//! Must hold: a figure that a span does not give is left out.

use serde_json::{Map, Value, json};

use super::attributes::Attributes;
use super::classify::is_dunetrace;
use super::content::{self, parsed, text_of};
use super::decoded::Span;

pub(super) type Payload = Map<String, Value>;

const MODEL: [&str; 9] = [
    "gen_ai.request.model",
    "gen_ai.response.model",
    "langfuse.observation.model.name",
    "llm.model_name",
    "llm.request.model_name",
    "llm.response.model_name",
    "llm.request.model",
    "dunetrace.model",
    "embedding.model_name",
];
const INPUT_TOKENS: [&str; 4] =
    ["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt", "llm.usage.prompt_tokens"];
const OUTPUT_TOKENS: [&str; 4] = [
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
];
const REASONING_TOKENS: [&str; 4] = [
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
    "dunetrace.reasoning_tokens",
];

/// Puts in what is there.
fn put(payload: &mut Payload, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        payload.insert(name.to_owned(), value.into());
    }
}

/// The name of a model.
pub(super) fn model(attributes: &Attributes) -> Option<&str> {
    attributes.text(&MODEL)
}

/// Whether the span says that what it is about failed.
pub(super) fn failed(span: &Span) -> bool {
    span.failed || span.attributes.text(&["langfuse.observation.level"]) == Some("ERROR")
}

/// Milliseconds between start and end, or as the SDK measured them.
fn latency(span: &Span) -> u64 {
    let spanned = span.end.saturating_sub(span.start) / 1_000_000;
    if is_dunetrace(span) { span.attributes.count(&["dunetrace.latency_ms"]).unwrap_or(0) } else { spanned }
}

/// Tokens as Langfuse details them.
fn langfuse_tokens(attributes: &Attributes, names: &[&str]) -> Option<u64> {
    let details = parsed(attributes.get("langfuse.observation.usage_details")?);
    names.iter().find_map(|name| super::attributes::as_count(details.get(name)?))
}

pub(super) fn llm_called(span: &Span) -> Payload {
    let mut payload = Payload::new();
    put(&mut payload, "model", Some(model(&span.attributes).unwrap_or("unknown")));
    let tokens = span.attributes.count(&INPUT_TOKENS);
    let tokens =
        tokens.or_else(|| langfuse_tokens(&span.attributes, &["input", "prompt", "input_tokens", "prompt_tokens"]));
    // The SDK leaves zeros out of its spans, and has them in its events.
    put(&mut payload, "prompt_tokens", tokens.or(is_dunetrace(span).then_some(0)));
    payload
}

pub(super) fn llm_responded(span: &Span) -> Payload {
    let attributes = &span.attributes;
    let mut payload = Payload::new();
    let tokens = attributes.count(&OUTPUT_TOKENS);
    let names = ["output", "completion", "output_tokens", "completion_tokens"];
    let tokens = tokens.or_else(|| langfuse_tokens(attributes, &names));
    if is_dunetrace(span) {
        put(&mut payload, "completion_tokens", Some(tokens.unwrap_or(0)));
        put(&mut payload, "latency_ms", Some(latency(span)));
        put(&mut payload, "finish_reason", Some(attributes.text(&["gen_ai.response.finish_reason"]).unwrap_or("stop")));
        put(&mut payload, "output_hash", Some(attributes.text(&["dunetrace.output_hash"]).unwrap_or("")));
        put(&mut payload, "output_length", Some(attributes.count(&["dunetrace.output_length"]).unwrap_or(0)));
        put(&mut payload, "prompt_tokens", attributes.count(&["dunetrace.prompt_tokens"]));
        put(&mut payload, "reasoning_tokens", attributes.count(&REASONING_TOKENS));
        return payload;
    }
    let output = content::output(span);
    put(&mut payload, "completion_tokens", tokens);
    put(&mut payload, "reasoning_tokens", attributes.count(&REASONING_TOKENS));
    put(&mut payload, "latency_ms", Some(latency(span)));
    let stated = finish_reason(attributes).or(output.finish_reason).map(|reason| common_reason(&reason));
    let reason = match (failed(span), stated) {
        (true, None) => Some("error".to_owned()),
        // Gemini and others say `stop` of an answer that is a call of a tool, and has no text for good reason.
        (_, None) if output.calls_tools => Some("tool_calls".to_owned()),
        (_, Some(reason)) if reason == "stop" && output.calls_tools => Some("tool_calls".to_owned()),
        (_, stated) => stated,
    };
    put(&mut payload, "finish_reason", reason);
    put(&mut payload, "output", output.text);
    put_error(&mut payload, span);
    payload
}

fn put_error(payload: &mut Payload, span: &Span) {
    if failed(span) {
        put(payload, "error", content::error_text(span));
        put(payload, "error_type", content::error_type(span));
    }
}

fn finish_reason(attributes: &Attributes) -> Option<String> {
    if let Some(reasons) = attributes.get("gen_ai.response.finish_reasons") {
        let reasons = parsed(reasons);
        let first = match &*reasons {
            Value::Array(reasons) => reasons.first().and_then(Value::as_str),
            one => one.as_str(),
        };
        if let Some(first) = first.filter(|reason| !reason.is_empty()) {
            return Some(first.to_owned());
        }
    }
    let names = [
        "gen_ai.response.finish_reason",
        "llm.finish_reason",
        "llm.response.finish_reason",
        "llm.response.stop_reason",
    ];
    attributes.text(&names).map(str::to_owned)
}

/// The reasons of the providers in OpenAI's words, which the detectors know.
fn common_reason(reason: &str) -> String {
    let reason = reason.rsplit('.').next().unwrap_or(reason).to_ascii_lowercase();
    match reason.as_str() {
        "stop" | "end_turn" | "endturn" | "stop_sequence" | "complete" | "completed" | "finished" => "stop",
        "length" | "max_tokens" | "max_output_tokens" | "model_length" | "incomplete" => "length",
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => "tool_calls",
        "content_filter" | "safety" | "refusal" | "recitation" | "guardrail_intervened" => "content_filter",
        other => other,
    }
    .to_owned()
}

/// The tool's name: as an attribute, else as the span's name, without the operation.
fn tool_name(span: &Span) -> String {
    let names = ["gen_ai.tool.name", "dunetrace.tool_name", "tool.name", "traceloop.entity.name"];
    let name = span.attributes.text(&names).unwrap_or_else(|| span.name.trim_start_matches("execute_tool").trim());
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

pub(super) fn tool_called(span: &Span) -> Payload {
    let attributes = &span.attributes;
    let mut payload = Payload::new();
    put(&mut payload, "tool_name", Some(tool_name(span)));
    if is_dunetrace(span) {
        put(&mut payload, "args_hash", attributes.text(&["dunetrace.args_hash"]));
        return payload;
    }
    let args = attributes.first(&[
        "gen_ai.tool.call.arguments",
        "langfuse.observation.input",
        "tool.parameters",
        "input.value",
        "traceloop.entity.input",
    ]);
    put(&mut payload, "args", args.map(|args| text_of(args).into_owned()));
    payload
}

pub(super) fn tool_responded(span: &Span) -> Payload {
    let attributes = &span.attributes;
    let mut payload = Payload::new();
    put(&mut payload, "tool_name", Some(tool_name(span)));
    if is_dunetrace(span) {
        put(&mut payload, "success", attributes.flag("dunetrace.success"));
        put(&mut payload, "output_length", Some(attributes.count(&["dunetrace.output_length"]).unwrap_or(0)));
        put(&mut payload, "latency_ms", Some(latency(span)));
        put(&mut payload, "error_hash", attributes.text(&["dunetrace.error_hash"]));
        return payload;
    }
    let success = !failed(span) && content::error_type(span).is_none();
    put(&mut payload, "success", Some(success));
    let output = attributes.first(&[
        "gen_ai.tool.call.result",
        "langfuse.observation.output",
        "output.value",
        "traceloop.entity.output",
    ]);
    put(&mut payload, "output", output.map(|output| text_of(output).into_owned()));
    put(&mut payload, "latency_ms", Some(latency(span)));
    if !success {
        put(&mut payload, "error", content::error_text(span));
        put(&mut payload, "error_type", content::error_type(span));
    }
    payload
}

fn index_name(span: &Span) -> String {
    let names = [
        "gen_ai.data_source.id",
        "dunetrace.index_name",
        "db.collection.name",
        "qdrant.search.collection_name",
        "db.milvus.search.collection_name",
        "db.milvus.query.collection_name",
        "pinecone.query.namespace",
        "db.namespace",
        "traceloop.entity.name",
    ];
    let name = span.attributes.text(&names).unwrap_or_else(|| span.name.trim_start_matches("retrieval").trim());
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

pub(super) fn retrieval_called(span: &Span) -> Payload {
    let attributes = &span.attributes;
    let mut payload = Payload::new();
    put(&mut payload, "index_name", Some(index_name(span)));
    if is_dunetrace(span) {
        put(&mut payload, "query_hash", Some(attributes.text(&["dunetrace.query_hash"]).unwrap_or("")));
        return payload;
    }
    let query = attributes.first(&[
        "gen_ai.retrieval.query.text",
        "langfuse.observation.input",
        "input.value",
        "traceloop.entity.input",
    ]);
    put(&mut payload, "query", query.map(|query| text_of(query).into_owned()));
    payload
}

pub(super) fn retrieval_responded(span: &Span) -> Payload {
    let attributes = &span.attributes;
    let mut payload = Payload::new();
    put(&mut payload, "index_name", Some(index_name(span)));
    let (count, score) = if is_dunetrace(span) {
        (attributes.count(&["dunetrace.result_count"]), attributes.number(&["dunetrace.top_score"]))
    } else {
        found(span)
    };
    put(&mut payload, "result_count", count);
    payload.insert("top_score".to_owned(), score.map_or(Value::Null, Value::from));
    put(&mut payload, "latency_ms", Some(latency(span)));
    if !is_dunetrace(span) {
        put_error(&mut payload, span);
    }
    payload
}

/// How many documents were found and the best score, as far as the span says.
fn found(span: &Span) -> (Option<u64>, Option<f64>) {
    let attributes = &span.attributes;
    if let Some(documents) = attributes.first(&["gen_ai.retrieval.documents", "langfuse.observation.output"])
        && let Value::Array(documents) = &*parsed(documents)
    {
        let scores = documents.iter().filter_map(|document| document.get("score")?.as_f64());
        return (u64::try_from(documents.len()).ok(), best(scores));
    }
    let prefix = "retrieval.documents";
    let listed = attributes.list_length(prefix);
    if listed > 0 {
        let scores = attributes.list(prefix, "document.score").into_iter().filter_map(Value::as_f64);
        return (u64::try_from(listed).ok(), best(scores));
    }
    let results: Vec<_> = span
        .events
        .iter()
        .filter(|event| matches!(event.name.as_str(), "db.query.result" | "db.search.result"))
        .collect();
    let counted = attributes.count(&["db.response.returned_rows", "db.milvus.search.result_count"]);
    let counted = counted.or((!results.is_empty()).then_some(results.len() as u64));
    let scores = results
        .iter()
        .filter_map(|event| event.attributes.number(&["db.query.result.score", "db.search.result.score"]));
    (counted, best(scores))
}

fn best(scores: impl Iterator<Item = f64>) -> Option<f64> {
    scores.filter(|score| score.is_finite()).max_by(f64::total_cmp)
}

/// What a run begins with.
pub(super) fn run_started(span: &Span, model_of_calls: Option<&str>, tools_of_calls: Vec<String>) -> Payload {
    let attributes = &span.attributes;
    let mut payload = Payload::new();
    if is_dunetrace(span) {
        let tools = attributes.text(&["dunetrace.tools"]).unwrap_or_default();
        let tools: Vec<&str> = tools.split(',').filter(|tool| !tool.is_empty()).collect();
        put(&mut payload, "input_hash", Some(attributes.text(&["dunetrace.input_hash"]).unwrap_or("")));
        put(&mut payload, "model", Some(model(attributes).unwrap_or("unknown")));
        put(&mut payload, "tools", Some(json!(tools)));
        return payload;
    }
    put(&mut payload, "input_text", content::input(span));
    put(&mut payload, "system_prompt", content::instructions(attributes));
    put(&mut payload, "model", Some(model(attributes).or(model_of_calls).unwrap_or("unknown")));
    let tools = content::tools(attributes);
    put(&mut payload, "tools", Some(json!(if tools.is_empty() { tools_of_calls } else { tools })));
    payload
}

/// How a run ended: the type of the event and what it says.
pub(super) fn run_ended(span: &Span, step: i64) -> (&'static str, Payload) {
    let attributes = &span.attributes;
    let mut payload = Payload::new();
    if is_dunetrace(span) {
        // The SDK also marks a run that ended well as failed, when a detector of its own found something.
        if let Some(error_type) = attributes.text(&["dunetrace.error_type"]) {
            put(&mut payload, "error_type", Some(error_type));
            put(&mut payload, "error_hash", attributes.text(&["dunetrace.error_hash"]));
            put(&mut payload, "step_index", Some(step).filter(|step| *step < super::spans::FIRST_TIME));
            return ("run.errored", payload);
        }
        put(&mut payload, "total_steps", Some(attributes.count(&["dunetrace.total_steps"]).unwrap_or(0)));
        put(&mut payload, "exit_reason", Some(attributes.text(&["dunetrace.exit_reason"]).unwrap_or("completed")));
        put(&mut payload, "tool_call_count", Some(attributes.count(&["dunetrace.tool_call_count"]).unwrap_or(0)));
        return ("run.completed", payload);
    }
    if failed(span) {
        put(&mut payload, "error_type", Some(content::error_type(span).unwrap_or_else(|| "error".to_owned())));
        put(&mut payload, "error", content::error_text(span));
        return ("run.errored", payload);
    }
    // As the Dunetrace SDK's handler for LangChain has it: an agent that ended well has given its answer.
    put(&mut payload, "exit_reason", Some("final_answer"));
    ("run.completed", payload)
}

/// An external signal, if these attributes are one.
pub(super) fn signal(attributes: &Attributes) -> Option<Payload> {
    let mut payload = Payload::new();
    put(&mut payload, "signal_name", Some(attributes.text(&["dunetrace.signal_name"])?));
    put(&mut payload, "source", attributes.text(&["dunetrace.source"]));
    let meta: Map<String, Value> = attributes
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("dunetrace.meta.")?.to_owned(), value.clone())))
        .collect();
    put(&mut payload, "meta", (!meta.is_empty()).then_some(meta));
    Some(payload)
}
