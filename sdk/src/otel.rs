//! Runs as OpenTelemetry spans: OTLP/HTTP with JSON, in the names of the Dunetrace SDK's own exporter.
//!
//! Owns putting a run's events together into spans. A run is a trace: its root span `agent_run` lasts as long as the
//! run, each call is a child, an external signal is an event of the open call, else of the root. Source: facts about the
//! Dunetrace SDK 0.3.9, its OpenTelemetry mapping.
//!
//! Must hold: a run that never ends is forgotten after half an hour, so memory is bounded.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::event::{Event, Payload};
use crate::hash::hex;

/// Seconds after which a run without events is forgotten.
const STALE: f64 = 1800.0;
/// Runs that may be open.
const OPEN: usize = 10_000;
/// Parent is known to be remote, and the trace is sampled.
const FLAGS_REMOTE_PARENT: u32 = 0x301;
const FLAGS_LOCAL_PARENT: u32 = 0x101;
const STATUS_ERROR: u32 = 2;
const KIND_INTERNAL: u32 = 1;

/// Spans being made, and spans ready to be sent.
#[derive(Debug)]
pub(crate) struct Spans {
    service_name: String,
    open: HashMap<u64, OpenRun>,
    ready: VecDeque<Value>,
}

#[derive(Debug)]
struct OpenRun {
    trace_id: String,
    span_id: String,
    remote_parent: String,
    start: u64,
    last_at: f64,
    attributes: Vec<Value>,
    events: Vec<Value>,
    child: Option<Child>,
}

#[derive(Debug)]
struct Child {
    kind: ChildKind,
    span_id: String,
    start: u64,
    attributes: Vec<Value>,
    events: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum ChildKind {
    Llm,
    Tool,
    Retrieval,
}

impl ChildKind {
    fn name(self) -> &'static str {
        match self {
            Self::Llm => "llm_call",
            Self::Tool => "tool_call",
            Self::Retrieval => "retrieval",
        }
    }
}

impl Spans {
    pub(crate) fn new(service_name: &str) -> Self {
        Self { service_name: service_name.to_owned(), open: HashMap::new(), ready: VecDeque::new() }
    }

    /// Takes the next event of a run.
    pub(crate) fn take(&mut self, event: &Event) {
        let nonce = event.run.nonce;
        if let Payload::Started { input_hash, model, tools, .. } = &event.payload {
            self.forget(event.at);
            self.open.insert(nonce, OpenRun::start(event, input_hash, model, tools));
            return;
        }
        // The beginning made room for newer events, or the run is forgotten.
        let Some(run) = self.open.get_mut(&nonce) else { return };
        run.last_at = event.at;
        let at = nanos(event.at);
        match &event.payload {
            Payload::Started { .. } => {}
            Payload::LlmCalled { model, prompt_tokens } => {
                let mut attributes =
                    vec![text("gen_ai.operation.name", "chat"), text("gen_ai.request.model", model), step(event)];
                push_number(&mut attributes, "gen_ai.usage.input_tokens", *prompt_tokens);
                self.ready.extend(run.open_child(ChildKind::Llm, event, attributes));
            }
            Payload::ToolCalled { tool_name, args_hash } => {
                let attributes =
                    vec![text("dunetrace.tool_name", tool_name), text("dunetrace.args_hash", args_hash), step(event)];
                self.ready.extend(run.open_child(ChildKind::Tool, event, attributes));
            }
            Payload::RetrievalCalled { index_name, query_hash } => {
                let attributes = vec![
                    text("dunetrace.index_name", index_name),
                    text("dunetrace.query_hash", query_hash),
                    step(event),
                ];
                self.ready.extend(run.open_child(ChildKind::Retrieval, event, attributes));
            }
            Payload::LlmResponded { .. } => {
                let (attributes, error) = llm_answer(&event.payload);
                self.ready.extend(run.close_child(ChildKind::Llm, at, attributes, error));
            }
            Payload::ToolResponded { .. } => {
                let (attributes, error) = tool_answer(&event.payload);
                self.ready.extend(run.close_child(ChildKind::Tool, at, attributes, error));
            }
            Payload::RetrievalResponded { .. } => {
                let (attributes, error) = retrieval_answer(&event.payload);
                self.ready.extend(run.close_child(ChildKind::Retrieval, at, attributes, error));
            }
            Payload::Signal { signal_name, source, meta } => run.signal(at, signal_name, source, meta),
            Payload::Completed { .. } | Payload::Errored { .. } => {
                if let Some(run) = self.open.remove(&nonce) {
                    self.ready.extend(run.end(event));
                }
            }
        }
    }

    /// The next request body, of at most this many spans.
    pub(crate) fn export(&mut self, most: usize) -> Option<Value> {
        if self.ready.is_empty() {
            return None;
        }
        let spans: Vec<Value> = self.ready.drain(..self.ready.len().min(most)).collect();
        let resource = [
            text("service.name", &self.service_name),
            text("telemetry.sdk.name", "tripline-sdk"),
            text("telemetry.sdk.language", "rust"),
            text("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        let scope = json!({"name": "tripline-sdk", "version": env!("CARGO_PKG_VERSION")});
        Some(json!({"resourceSpans": [{
            "resource": {"attributes": resource},
            "scopeSpans": [{"scope": scope, "spans": spans}],
        }]}))
    }

    fn forget(&mut self, now: f64) {
        if self.open.len() < OPEN {
            return;
        }
        self.open.retain(|_, run| now - run.last_at < STALE);
        if self.open.len() >= OPEN {
            let oldest = self.open.iter().min_by(|a, b| a.1.last_at.total_cmp(&b.1.last_at)).map(|(nonce, _)| *nonce);
            if let Some(oldest) = oldest {
                self.open.remove(&oldest);
            }
        }
    }
}

impl OpenRun {
    fn start(event: &Event, input_hash: &str, model: &str, tools: &[String]) -> Self {
        let run = &event.run;
        let trace_id = trace_id(&run.run_id);
        let mut attributes = vec![
            text("dunetrace.agent_id", &run.agent_id),
            text("dunetrace.run_id", &run.run_id),
            text("dunetrace.agent_version", &run.agent_version),
            text("dunetrace.input_hash", input_hash),
            text("dunetrace.model", model),
            text("dunetrace.tools", &tools.join(",")),
        ];
        if let Some(parent) = &run.parent_run_id {
            attributes.push(text("dunetrace.parent_run_id", parent));
        }
        Self {
            span_id: span_id(run.nonce, 0),
            remote_parent: trace_id[16..].to_owned(),
            trace_id,
            start: nanos(event.at),
            last_at: event.at,
            attributes,
            events: Vec::new(),
            child: None,
        }
    }

    /// Opens a child, and returns the one before it, had it no answer.
    fn open_child(&mut self, kind: ChildKind, event: &Event, mut attributes: Vec<Value>) -> Option<Value> {
        // The root is sent last, maybe in another request: each span says whose it is.
        attributes.push(text("gen_ai.agent.name", &event.run.agent_id));
        attributes.push(text("dunetrace.agent_version", &event.run.agent_version));
        let before = self.abandon_child(nanos(event.at));
        let span_id = span_id(event.run.nonce, event.number);
        self.child = Some(Child { kind, span_id, start: nanos(event.at), attributes, events: Vec::new() });
        before
    }

    fn abandon_child(&mut self, at: u64) -> Option<Value> {
        let child = self.child.take()?;
        Some(self.child_span(child, at, Some("span ended without a response event")))
    }

    /// Closes the open child if the answer is one to it. An answer nobody asked for is no span.
    fn close_child(&mut self, kind: ChildKind, at: u64, attributes: Vec<Value>, error: Option<&str>) -> Option<Value> {
        let mut child = self.child.take_if(|child| child.kind == kind)?;
        child.attributes.extend(attributes);
        Some(self.child_span(child, at, error))
    }

    fn child_span(&self, child: Child, end: u64, error: Option<&str>) -> Value {
        span(Span {
            trace_id: &self.trace_id,
            span_id: &child.span_id,
            parent: &self.span_id,
            flags: FLAGS_LOCAL_PARENT,
            name: child.kind.name(),
            start: child.start,
            end,
            attributes: child.attributes,
            events: child.events,
            error,
        })
    }

    fn signal(&mut self, at: u64, name: &str, source: &str, meta: &Map<String, Value>) {
        let mut attributes = vec![text("dunetrace.signal_name", name)];
        if !source.is_empty() {
            attributes.push(text("dunetrace.source", source));
        }
        for (key, value) in meta {
            if let Some(value) = scalar(value) {
                attributes.push(json!({"key": format!("dunetrace.meta.{key}"), "value": value}));
            }
        }
        let event = json!({"timeUnixNano": at.to_string(), "name": name, "attributes": attributes});
        match &mut self.child {
            Some(child) => child.events.push(event),
            None => self.events.push(event),
        }
    }

    /// The spans that are still to be sent when the run ends.
    fn end(mut self, event: &Event) -> Vec<Value> {
        let at = nanos(event.at);
        let mut spans: Vec<Value> = self.abandon_child(at).into_iter().collect();
        let mut error = None;
        match &event.payload {
            Payload::Errored { error_type, error_hash, step_index } => {
                self.attributes.push(number("dunetrace.total_steps", u64::from(*step_index)));
                self.attributes.push(text("dunetrace.error_type", error_type));
                self.attributes.push(text("dunetrace.error_hash", error_hash));
                error = Some(error_type.as_str());
            }
            Payload::Completed { total_steps, exit_reason, tool_call_count } => {
                self.attributes.push(number("dunetrace.total_steps", u64::from(*total_steps)));
                self.attributes.push(text("dunetrace.exit_reason", exit_reason));
                self.attributes.push(number("dunetrace.tool_call_count", u64::from(*tool_call_count)));
            }
            _ => {}
        }
        spans.push(span(Span {
            trace_id: &self.trace_id,
            span_id: &self.span_id,
            parent: &self.remote_parent,
            flags: FLAGS_REMOTE_PARENT,
            name: "agent_run",
            start: self.start,
            end: at,
            attributes: self.attributes,
            events: self.events,
            error,
        }));
        spans
    }
}

fn llm_answer(payload: &Payload) -> (Vec<Value>, Option<&'static str>) {
    let Payload::LlmResponded {
        completion_tokens,
        latency_ms,
        finish_reason,
        output_length,
        prompt_tokens,
        reasoning_tokens,
        output_hash,
    } = payload
    else {
        return (Vec::new(), None);
    };
    let mut attributes = vec![text("gen_ai.response.finish_reason", finish_reason)];
    push_number(&mut attributes, "gen_ai.usage.output_tokens", *completion_tokens);
    push_number(&mut attributes, "dunetrace.latency_ms", *latency_ms);
    push_number(&mut attributes, "dunetrace.output_length", *output_length);
    push_number(&mut attributes, "dunetrace.prompt_tokens", prompt_tokens.unwrap_or(0));
    push_number(&mut attributes, "dunetrace.reasoning_tokens", reasoning_tokens.unwrap_or(0));
    if !output_hash.is_empty() {
        attributes.push(text("dunetrace.output_hash", output_hash));
    }
    (attributes, (finish_reason == "length").then_some("LLM output truncated (finish_reason=length)"))
}

fn tool_answer(payload: &Payload) -> (Vec<Value>, Option<&'static str>) {
    let Payload::ToolResponded { success, output_length, latency_ms, error_hash, .. } = payload else {
        return (Vec::new(), None);
    };
    let mut attributes = vec![json!({"key": "dunetrace.success", "value": {"boolValue": success}})];
    push_number(&mut attributes, "dunetrace.output_length", *output_length);
    push_number(&mut attributes, "dunetrace.latency_ms", *latency_ms);
    if let Some(hash) = error_hash {
        attributes.push(text("dunetrace.error_hash", hash));
    }
    (attributes, (!success).then_some("tool call failed"))
}

fn retrieval_answer(payload: &Payload) -> (Vec<Value>, Option<&'static str>) {
    let Payload::RetrievalResponded { result_count, top_score, latency_ms, .. } = payload else {
        return (Vec::new(), None);
    };
    let mut attributes = vec![number("dunetrace.result_count", *result_count)];
    if let Some(score) = top_score.filter(|score| score.is_finite()) {
        attributes.push(json!({"key": "dunetrace.top_score", "value": {"doubleValue": score}}));
    }
    push_number(&mut attributes, "dunetrace.latency_ms", *latency_ms);
    (attributes, (*result_count == 0).then_some("retrieval returned 0 results"))
}

struct Span<'a> {
    trace_id: &'a str,
    span_id: &'a str,
    parent: &'a str,
    flags: u32,
    name: &'a str,
    start: u64,
    end: u64,
    attributes: Vec<Value>,
    events: Vec<Value>,
    error: Option<&'a str>,
}

fn span(span: Span<'_>) -> Value {
    let status = match span.error {
        Some(message) => json!({"code": STATUS_ERROR, "message": message}),
        None => json!({}),
    };
    json!({
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent,
        "flags": span.flags,
        "name": span.name,
        "kind": KIND_INTERNAL,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.max(span.start).to_string(),
        "attributes": span.attributes,
        "events": span.events,
        "status": status,
    })
}

/// The run's UUID as it is; of any other id the beginning of its hash.
fn trace_id(run_id: &str) -> String {
    match uuid::Uuid::parse_str(run_id) {
        Ok(id) if !id.is_nil() => id.simple().to_string(),
        _ => hex(&Sha256::digest(run_id.as_bytes())[..16]),
    }
}

fn span_id(nonce: u64, number: u32) -> String {
    let mut seed = nonce.to_be_bytes().to_vec();
    seed.extend(number.to_be_bytes());
    hex(&Sha256::digest(&seed)[..8])
}

fn nanos(at: f64) -> u64 {
    // Whole microseconds: a float of this size knows no more.
    ((at * 1e6).round().max(0.0) as u64).saturating_mul(1000)
}

fn step(event: &Event) -> Value {
    number("dunetrace.step_index", u64::from(event.step))
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// 64-bit integers are texts in OTLP's JSON.
fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

/// Zero says nothing.
fn push_number(attributes: &mut Vec<Value>, key: &str, value: u64) {
    if value > 0 {
        attributes.push(number(key, value));
    }
}

fn scalar(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(flag) => Some(json!({"boolValue": flag})),
        Value::String(text) => Some(json!({"stringValue": text})),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(json!({"intValue": number.to_string()})),
        Value::Number(number) => Some(json!({"doubleValue": number})),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
