//! What people, models and tools wrote, found in the many places where conventions put it.
//!
//! Must hold: what is found here goes into the content keys of an event only (`input_text`, `output`, `args`, `query`,
//! `error`, `system_prompt`), which the store replaces by hashes before anything is kept.

use std::borrow::Cow;

use serde_json::Value;

use super::attributes::Attributes;
use super::decoded::Span;

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Output {
    /// Its text; none when it also has parts that are no text (an image), or was not recorded.
    pub(super) text: Option<String>,
    /// Whether it calls tools.
    pub(super) calls_tools: bool,
    /// Why it ended, where the message says so.
    pub(super) finish_reason: Option<String>,
}

/// What a model answered in a span.
pub(super) fn output(span: &Span) -> Output {
    let attributes = &span.attributes;
    let messages = attributes
        .first(&["gen_ai.output.messages", "langfuse.observation.output"])
        .or_else(|| event_value(span, "gen_ai.client.inference.operation.details", "gen_ai.output.messages"));
    if let Some(messages) = messages {
        return read_messages(&parsed(messages));
    }
    if attributes.list_length("llm.output_messages") > 0 {
        return openinference_output(attributes);
    }
    if attributes.list_length("gen_ai.completion") > 0 {
        return openllmetry_output(attributes);
    }
    if let Some(choice) = span.events.iter().find(|event| event.name == "gen_ai.choice") {
        let message = choice.attributes.first(&["message", "gen_ai.event.content", "content"]);
        let mut output = message.map(|message| read_messages(&parsed(message))).unwrap_or_default();
        output.finish_reason = choice.attributes.text(&["finish_reason"]).map(str::to_owned).or(output.finish_reason);
        return output;
    }
    let plain = event_value(span, "gen_ai.content.completion", "gen_ai.completion")
        .or_else(|| attributes.first(&["output.value", "traceloop.entity.output"]));
    Output { text: plain.map(|value| text_of(value).into_owned()), ..Output::default() }
}

/// What an agent or a chain was asked.
pub(super) fn input(span: &Span) -> Option<String> {
    let attributes = &span.attributes;
    let messages = attributes
        .first(&["gen_ai.input.messages", "langfuse.observation.input", "langfuse.trace.input"])
        .or_else(|| event_value(span, "gen_ai.client.inference.operation.details", "gen_ai.input.messages"));
    if let Some(messages) = messages {
        return Some(last_of_user(&parsed(messages)).unwrap_or_else(|| text_of(messages).into_owned()));
    }
    for (prefix, role, content) in
        [("llm.input_messages", "message.role", "message.content"), ("gen_ai.prompt", "role", "content")]
    {
        let (roles, contents) = (attributes.list(prefix, role), attributes.list(prefix, content));
        if roles.len() == contents.len()
            && let Some((_, text)) = roles.into_iter().zip(contents).rfind(|(role, _)| role.as_str() == Some("user"))
        {
            return Some(text_of(text).into_owned());
        }
    }
    attributes.first(&["input.value", "traceloop.entity.input"]).map(|value| text_of(value).into_owned())
}

/// The instructions of an agent.
pub(super) fn instructions(attributes: &Attributes) -> Option<String> {
    let value = attributes.first(&["gen_ai.system_instructions"])?;
    let parts = parsed(value);
    let text = match &*parts {
        Value::Array(parts) => joined(parts.iter().filter_map(|part| part.get("content").or_else(|| part.get("text")))),
        _ => text_of(value).into_owned(),
    };
    (!text.is_empty()).then_some(text)
}

/// Names of the tools that an agent or a model has.
pub(super) fn tools(attributes: &Attributes) -> Vec<String> {
    let name = |tool: &Value| -> Option<String> {
        let tool = parsed(tool);
        let function = tool.get("function").unwrap_or(&tool);
        let name = function.get("name").or_else(|| tool.get("name"))?.as_str()?;
        Some(name.to_owned())
    };
    let mut names: Vec<String> = Vec::new();
    if let Some(definitions) = attributes.first(&["gen_ai.tool.definitions"]) {
        names.extend(parsed(definitions).as_array().into_iter().flatten().filter_map(name));
    }
    names.extend(attributes.list("llm.tools", "tool.json_schema").into_iter().filter_map(name));
    let functions = attributes.list("llm.request.functions", "name").into_iter();
    names.extend(functions.filter_map(|name| name.as_str().map(str::to_owned)));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    names
}

/// What went wrong: what an exception says, else the status.
pub(super) fn error_text(span: &Span) -> Option<String> {
    let exception = span.events.iter().rev().find(|event| event.name == "exception");
    let text = exception
        .and_then(|event| event.attributes.text(&["exception.message"]))
        .or_else(|| span.attributes.text(&["langfuse.observation.status_message", "exception.message"]))
        .or_else(|| Some(span.status_message.as_str()).filter(|text| !text.is_empty()));
    text.map(str::to_owned)
}

/// The kind of what went wrong.
pub(super) fn error_type(span: &Span) -> Option<String> {
    let exception = span.events.iter().rev().find(|event| event.name == "exception");
    let text = span
        .attributes
        .text(&["error.type", "exception.type"])
        .or_else(|| exception.and_then(|event| event.attributes.text(&["exception.type"])));
    text.map(str::to_owned)
}

/// A value of an event of the span.
fn event_value<'a>(span: &'a Span, event: &str, name: &str) -> Option<&'a Value> {
    span.events.iter().find(|found| found.name == event)?.attributes.get(name)
}

/// What a text holds, if it is JSON of some structure; else the value itself.
pub(super) fn parsed(value: &Value) -> Cow<'_, Value> {
    if let Value::String(text) = value
        && text.trim_start().starts_with(['[', '{'])
        && let Ok(inner) = serde_json::from_str::<Value>(text)
    {
        return Cow::Owned(inner);
    }
    Cow::Borrowed(value)
}

/// A value as text: a text as it is, anything else as JSON.
pub(super) fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn joined<'a>(texts: impl Iterator<Item = &'a Value>) -> String {
    texts.map(text_of).collect::<Vec<_>>().join("\n")
}

/// Reads messages of the conventions (`[{role, parts, finish_reason}]`), of OpenAI (`{role, content, tool_calls}`), or
/// whatever else stands there as a text.
fn read_messages(value: &Value) -> Output {
    let messages = match value {
        Value::Array(messages) => messages.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut output = Output::default();
    let (mut texts, mut others) = (Vec::new(), false);
    for message in messages {
        output.finish_reason =
            output.finish_reason.or_else(|| message.get("finish_reason").and_then(Value::as_str).map(str::to_owned));
        output.calls_tools |=
            message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
        let parts = message.get("parts").or_else(|| message.get("content")).unwrap_or(message);
        let parts = match parts {
            Value::Array(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        for part in parts {
            match part.get("type").and_then(Value::as_str) {
                Some("tool_call" | "tool_use" | "function_call") => output.calls_tools = true,
                Some("reasoning" | "thinking") => {}
                Some("text" | "output_text") => {
                    texts.extend(part.get("content").or_else(|| part.get("text")));
                }
                Some(_) => others = true,
                None if part.is_null() => {}
                None if part.is_object() && (message.get("tool_calls").is_some() || part.get("role").is_some()) => {}
                None => texts.push(part),
            }
        }
    }
    output.text = (!others || !texts.is_empty()).then(|| joined(texts.into_iter()));
    output
}

fn last_of_user(value: &Value) -> Option<String> {
    let messages = match value {
        Value::Array(messages) => messages.as_slice(),
        one => one.get("messages")?.as_array()?.as_slice(),
    };
    let message = messages.iter().rfind(|message| message["role"] == "user")?;
    read_messages(message).text
}

fn openinference_output(attributes: &Attributes) -> Output {
    let prefix = "llm.output_messages";
    let contents = attributes.list(prefix, "message.content");
    let parts = attributes.iter().filter(|(name, _)| {
        name.starts_with(prefix) && name.contains(".message.contents.") && name.ends_with(".message_content.text")
    });
    let parts = parts.map(|(_, value)| value);
    let calls_tools = attributes.iter().any(|(name, _)| {
        name.starts_with(prefix) && (name.contains(".tool_calls.") || name.contains(".function_call_"))
    });
    Output { text: Some(joined(contents.into_iter().chain(parts))), calls_tools, finish_reason: None }
}

fn openllmetry_output(attributes: &Attributes) -> Output {
    let prefix = "gen_ai.completion";
    let reason = attributes.list(prefix, "finish_reason").first().and_then(|value| value.as_str()).map(str::to_owned);
    let calls_tools = attributes.iter().any(|(name, _)| name.starts_with(prefix) && name.contains(".tool_calls."));
    let text = joined(attributes.list(prefix, "content").into_iter());
    Output { text: Some(text), calls_tools, finish_reason: reason }
}
