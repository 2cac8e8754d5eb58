//! Spans as the events of runs.
//!
//! A trace is a run: its id is the run's, unless an attribute names one. The agent's span becomes `run.started` and
//! `run.completed` or `run.errored`; the span of a model, tool or search becomes the event of the call and that of the
//! answer.
//!
//! **Steps.** Spans have no counter, and come in any order and in several requests, so a step has to follow from one span
//! alone. It is the time the span began, in µs since 1970: unique enough, in the right order, and shared by call and
//! answer. [`tripline_store::ingest::steps`] turns these times into 1, 2, 3 … when a run is read. Spans of the Dunetrace
//! SDK have a counter, which is kept.
//!
//! **What other spans of the request add.** The agent's name and version, which only the run's root has, go to all events
//! of the run in this request; a run is whole without them, since its identity is that of `run.started`. Whether an
//! agent's span is a run's root or that of an agent within it, its ancestors tell; where they are not in the request and
//! the span has a parent, the end of the run is *provisional*.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tripline_store::ingest::WireEvent;

use super::attributes::Attributes;
use super::classify::{Kind, is_dunetrace, kind};
use super::content;
use super::decoded::Span;
use super::payloads::{self, Payload};

/// Steps from here on are times: µs since 1970 (this one is in the year 2004). Those below are counted.
pub(super) const FIRST_TIME: i64 = tripline_store::ingest::steps::FIRST_TIME;

/// Bytes of an id at most, as the store wants it.
const LONGEST_ID: usize = 256;
/// Ancestors that are looked at.
const ANCESTORS: usize = 256;

/// The events of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapped {
    /// The events.
    pub events: Vec<WireEvent>,
    /// For each event, the place of its span or record in the request.
    pub sources: Vec<usize>,
}

impl Mapped {
    pub(super) fn push(&mut self, source: usize, event: WireEvent) {
        self.events.push(event);
        self.sources.push(source);
    }
}

/// Maps the spans of a request to events. Spans that have nothing to do with agents give none.
#[must_use]
pub fn map_spans(spans: &[Span]) -> Mapped {
    let request = Request::new(spans);
    let mut mapped = Mapped::default();
    for (place, span) in spans.iter().enumerate() {
        request.map(place, span, &mut mapped);
    }
    mapped
}

/// What the spans of one request say of each other.
struct Request {
    kinds: Vec<Kind>,
    runs: HashMap<[u8; 16], Run>,
}

/// What is known of the run of one trace.
#[derive(Default)]
struct Run {
    /// The root that began first.
    first: Option<usize>,
    /// The root that ended last.
    last: Option<usize>,
    provisional: bool,
    id: Option<String>,
    agent_id: Option<String>,
    agent_version: Option<String>,
    conversation_id: Option<String>,
    /// Counted steps, with the times they began.
    steps: Vec<(u64, i64)>,
    model: Option<String>,
    tools: Vec<String>,
}

/// Whether an agent's span is the root of its run.
#[derive(Clone, Copy, PartialEq)]
enum Root {
    Yes,
    /// It has a parent that is not in the request.
    Perhaps,
    No,
}

impl Request {
    fn new(spans: &[Span]) -> Self {
        let kinds: Vec<Kind> = spans.iter().map(kind).collect();
        let places: HashMap<([u8; 16], [u8; 8]), usize> =
            spans.iter().enumerate().map(|(place, span)| ((span.trace_id, span.span_id), place)).collect();
        let mut runs: HashMap<[u8; 16], Run> = HashMap::new();
        for (place, span) in spans.iter().enumerate() {
            if kinds[place] == Kind::Foreign {
                continue;
            }
            let run = runs.entry(span.trace_id).or_default();
            match root(place, spans, &kinds, &places) {
                Root::No => {}
                certainty => run.take_root(place, spans, certainty == Root::Perhaps),
            }
            if let Some(step) = span.attributes.count(&["dunetrace.step_index"]) {
                run.steps.push((span.start, i64::try_from(step).unwrap_or(i64::MAX)));
            }
            if kinds[place] == Kind::Llm {
                run.model = run.model.take().or_else(|| payloads::model(&span.attributes).map(str::to_owned));
                let tools = content::tools(&span.attributes);
                run.tools.extend(tools);
            }
            let conversation = ["gen_ai.conversation.id", "langfuse.session.id", "session.id", SESSION_OF_TRACELOOP];
            run.conversation_id = run.conversation_id.take().or_else(|| tidy(span.attributes.text(&conversation)?));
        }
        for run in runs.values_mut() {
            run.tools.sort_unstable();
            run.tools.dedup();
            if let Some(root) = run.first {
                run.identify(&spans[root]);
            }
        }
        Self { kinds, runs }
    }

    fn map(&self, place: usize, span: &Span, mapped: &mut Mapped) {
        let Some(run) = self.runs.get(&span.trace_id) else { return };
        let push = |mapped: &mut Mapped, part: Part| mapped.push(span.index, run.event(span, part));
        if run.first == Some(place) {
            let payload = payloads::run_started(span, run.model.as_deref(), run.tools.clone());
            push(mapped, Part { name: "started", event_type: "run.started", at: span.start, step: 0, payload });
        }
        let step = span
            .attributes
            .count(&["dunetrace.step_index"])
            .map_or_else(|| time_step(span.start), |step| i64::try_from(step).unwrap_or(i64::MAX));
        if let Some((called, responded)) = self.call(place, span) {
            let (call, answer) = match self.kinds[place] {
                Kind::Llm => ("llm.called", "llm.responded"),
                Kind::Tool => ("tool.called", "tool.responded"),
                _ => ("retrieval.called", "retrieval.responded"),
            };
            push(mapped, Part { name: "called", event_type: call, at: span.start, step, payload: called });
            if let Some(payload) = responded {
                let at = span.end.max(span.start);
                push(mapped, Part { name: "responded", event_type: answer, at, step, payload });
            }
        }
        if self.kinds[place] != Kind::Foreign {
            for (number, event) in span.events.iter().enumerate() {
                let Some(payload) = payloads::signal(&event.attributes) else { continue };
                let is_step = self.kinds[place] != Kind::Agent && step < FIRST_TIME;
                let step = if is_step { step } else { run.step_at(event.at) };
                let name = &format!("signal{number}");
                push(mapped, Part { name, event_type: "external.signal", at: event.at, step, payload });
            }
        }
        if run.last == Some(place) && span.end != 0 {
            let step = run.last_step(span);
            let (event_type, mut payload) = payloads::run_ended(span, step);
            if run.provisional {
                payload.insert("provisional".to_owned(), Value::Bool(true));
            }
            let at = span.end.max(span.start);
            push(mapped, Part { name: "ended", event_type, at, step, payload });
        }
    }

    /// The call that a span is, and its answer, if there was one.
    fn call(&self, place: usize, span: &Span) -> Option<(Payload, Option<Payload>)> {
        type Maker = fn(&Span) -> Payload;
        let answered =
            span.end != 0 && !(is_dunetrace(span) && span.status_message == "span ended without a response event");
        let (called, responded): (Maker, Maker) = match self.kinds[place] {
            Kind::Llm => (payloads::llm_called, payloads::llm_responded),
            Kind::Tool => (payloads::tool_called, payloads::tool_responded),
            Kind::Retrieval => (payloads::retrieval_called, payloads::retrieval_responded),
            Kind::Agent | Kind::Part | Kind::Aside | Kind::Foreign => return None,
        };
        Some((called(span), answered.then(|| responded(span))))
    }
}

const SESSION_OF_TRACELOOP: &str = "traceloop.association.properties.session_id";

/// Whether the span is its run's root. A trace whose root has to do with agents is a run, whatever that root is; else
/// each agent that no other agent called is one's root.
fn root(place: usize, spans: &[Span], kinds: &[Kind], places: &HashMap<([u8; 16], [u8; 8]), usize>) -> Root {
    let span = &spans[place];
    if is_dunetrace(span) {
        // It has a parent that never was: the trace id's second half.
        return if kinds[place] == Kind::Agent { Root::Yes } else { Root::No };
    }
    if span.parent.is_none() && kinds[place] != Kind::Aside {
        return Root::Yes;
    }
    if kinds[place] != Kind::Agent {
        return Root::No;
    }
    let mut child = span;
    for _ in 0..ANCESTORS {
        let Some(parent) = child.parent else { return Root::Yes };
        let Some(place) = places.get(&(child.trace_id, parent)) else { return Root::Perhaps };
        let ancestor = &spans[*place];
        if kinds[*place] == Kind::Agent || (ancestor.parent.is_none() && kinds[*place] != Kind::Foreign) {
            return Root::No;
        }
        child = ancestor;
    }
    Root::Perhaps
}

impl Run {
    fn take_root(&mut self, place: usize, spans: &[Span], provisional: bool) {
        let before = |a: usize, b: usize| spans[a].start <= spans[b].start;
        if self.first.is_none_or(|first| !before(first, place)) {
            self.first = Some(place);
        }
        if self.last.is_none_or(|last| spans[last].end < spans[place].end) {
            self.last = Some(place);
            self.provisional = provisional;
        }
    }

    /// Takes what only the root knows.
    fn identify(&mut self, root: &Span) {
        let attributes = &root.attributes;
        self.id = tidy(attributes.text(&["dunetrace.run_id", "tripline.run_id"]).unwrap_or_default());
        let of_name = match kind(root) {
            Kind::Agent => {
                Some(root.name.trim_start_matches("invoke_agent").trim_start_matches("invoke_workflow").trim())
            }
            _ => None,
        };
        let named = attributes.text(&AGENT).or(of_name.filter(|name| !name.is_empty()));
        self.agent_id = named.and_then(tidy);
        let version = attributes.text(&VERSION).and_then(tidy).or_else(|| of_service(root, "service.version"));
        self.agent_version = version.or_else(|| self.computed_version(root));
    }

    /// A version as the SDKs make one, from the hash of instructions, model and tools, if any of them is known.
    fn computed_version(&self, root: &Span) -> Option<String> {
        let attributes = &root.attributes;
        let instructions = content::instructions(attributes);
        let model = payloads::model(attributes).or(self.model.as_deref());
        let mut tools = content::tools(attributes);
        if tools.is_empty() {
            tools.clone_from(&self.tools);
        }
        if instructions.is_none() && model.is_none() && tools.is_empty() {
            return None;
        }
        tools.sort_unstable();
        let parts = serde_json::json!([instructions, model, tools]);
        let digest = hex::encode(Sha256::digest(parts.to_string()));
        Some(digest.chars().take(8).collect())
    }

    fn event(&self, span: &Span, part: Part<'_>) -> WireEvent {
        let own =
            |names: &[&str]| span.attributes.text(names).and_then(tidy).or_else(|| tidy(span.resource.text(names)?));
        let trace = span.trace_hex();
        let run_id = own(&["dunetrace.run_id", "tripline.run_id"]).or_else(|| self.id.clone());
        let agent_id = self.agent_id.clone().or_else(|| own(&AGENT)).or_else(|| of_service(span, "service.name"));
        let version = self.agent_version.clone().or_else(|| own(&VERSION));
        let version = version.or_else(|| of_service(span, "service.version"));
        let ends = matches!(part.event_type, "run.completed" | "run.errored");
        WireEvent {
            event_type: part.event_type.to_owned(),
            run_id: run_id.unwrap_or_else(|| if is_dunetrace(span) { dashed(&trace) } else { trace.clone() }),
            agent_id: agent_id.unwrap_or_else(|| "unknown".to_owned()),
            agent_version: version.unwrap_or_else(|| "unknown".to_owned()),
            step_index: part.step,
            timestamp: Some(part.at as f64 / 1e9),
            payload: part.payload,
            parent_run_id: own(&["dunetrace.parent_run_id", "tripline.parent_run_id"]).filter(|_| !ends),
            conversation_id: self.conversation_id.clone(),
            event_id: Some(format!("otel:{trace}:{}:{}", hex::encode(span.span_id), part.name)),
            trace_id: Some(trace),
        }
    }

    /// The step of a run at a time: the last one counted by then, else the time.
    fn step_at(&self, at: u64) -> i64 {
        let counted = self.steps.iter().filter(|(start, _)| *start <= at).map(|(_, step)| *step).max();
        match counted {
            Some(step) => step,
            None if !self.steps.is_empty() => 0,
            None => time_step(at),
        }
    }

    /// The step that a run ended at.
    fn last_step(&self, root: &Span) -> i64 {
        let stated = root.attributes.count(&["dunetrace.total_steps"]).and_then(|steps| i64::try_from(steps).ok());
        let counted = self.steps.iter().map(|(_, step)| *step).max();
        match stated.filter(|steps| *steps > 0).max(counted) {
            Some(step) => step,
            None => time_step(root.end),
        }
    }
}

/// What one event of a span is.
struct Part<'a> {
    /// Names it among the events of its span.
    name: &'a str,
    event_type: &'a str,
    at: u64,
    step: i64,
    payload: Payload,
}

/// Names of an agent.
pub(super) const AGENT: [&str; 7] = [
    "dunetrace.agent_id",
    "gen_ai.agent.name",
    "gen_ai.agent.id",
    "agent.name",
    "gen_ai.workflow.name",
    "traceloop.workflow.name",
    "langfuse.trace.name",
];

/// Versions of an agent.
pub(super) const VERSION: [&str; 5] = [
    "dunetrace.agent_version",
    "gen_ai.agent.version",
    "langfuse.version",
    "langfuse.release",
    "traceloop.entity.version",
];

fn of_service(span: &Span, name: &str) -> Option<String> {
    tidy(span.resource.text(&[name])?)
}

/// µs since 1970.
pub(super) fn time_step(nanos: u64) -> i64 {
    i64::try_from(nanos / 1000).unwrap_or(i64::MAX)
}

/// A trace's id as the SDK writes a run's.
pub(super) fn dashed(trace: &str) -> String {
    uuid::Uuid::parse_str(trace).map_or_else(|_| trace.to_owned(), |id| id.to_string())
}

/// A name as an id: without control characters, not longer than an id may be; none when nothing is left.
pub(super) fn tidy(text: &str) -> Option<String> {
    let mut id: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    if id.len() > LONGEST_ID {
        let end = (0..=LONGEST_ID).rev().find(|end| id.is_char_boundary(*end)).unwrap_or(0);
        id.truncate(end);
    }
    (!id.is_empty()).then_some(id)
}

/// The first of these that the attributes or those of the process have, as an id.
pub(super) fn own_id(attributes: &Attributes, resource: &Attributes, names: &[&str]) -> Option<String> {
    attributes.text(names).and_then(tidy).or_else(|| tidy(resource.text(names)?))
}
