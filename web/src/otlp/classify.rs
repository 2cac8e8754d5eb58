//! What a span is about: a run, a call of a model or a tool, a search, or none of these.
//!
//! Owns the names by which conventions say so. In the order of trust: the Dunetrace SDK's own names, Langfuse's,
//! OpenInference's, the GenAI semantic conventions of OpenTelemetry (current, and those before 1.36), OpenLLMetry's.

use super::decoded::Span;

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An agent or a workflow at work.
    Agent,
    /// A call of a model.
    Llm,
    /// A call of a tool.
    Tool,
    /// A search in an index.
    Retrieval,
    /// Part of an agent's work that others may be part of: a chain, a task. No step of a run, but it may be one's root.
    Part,
    /// Work beside that of an agent: an embedding, a guardrail, an evaluation.
    Aside,
    /// Something else, such as a request of a web server.
    Foreign,
}

/// Attributes that only agents and what they call have.
const GENAI: [&str; 7] =
    ["gen_ai.", "openinference.", "traceloop.", "langfuse.", "llm.", "dunetrace.", "retrieval.documents."];

/// Databases that OpenLLMetry reports searches of.
const VECTOR_STORES: [&str; 8] = ["pinecone", "chroma", "chromadb", "qdrant", "weaviate", "milvus", "marqo", "lancedb"];

/// Whether the Dunetrace SDK, or ours, made the span: its trace id is the run's id, and its steps are counted.
pub(super) fn is_dunetrace(span: &Span) -> bool {
    span.attributes.has("dunetrace.step_index") || span.attributes.has("dunetrace.agent_id")
}

pub(super) fn kind(span: &Span) -> Kind {
    let attributes = &span.attributes;
    // A preview of a span that is still open; the span itself follows.
    if attributes.text(&["logfire.span_type"]) == Some("pending_span") {
        return Kind::Foreign;
    }
    if is_dunetrace(span) {
        return dunetrace(span);
    }
    let named = [
        ("langfuse.observation.type", langfuse as fn(&str) -> Kind),
        ("openinference.span.kind", openinference),
        ("gen_ai.operation.name", gen_ai),
        ("traceloop.span.kind", traceloop),
        ("llm.request.type", request_type),
    ];
    for (name, read) in named {
        if let Some(kind) = attributes.text(&[name]).map(|value| read(&value.to_ascii_lowercase())) {
            // `span` of Langfuse and `task` of Traceloop say little; another name on the same span may say more.
            if kind != Kind::Part {
                return kind;
            }
        }
    }
    if is_vector_search(span) {
        return Kind::Retrieval;
    }
    // Before the operation had a name there was only the model.
    if attributes.text(&["gen_ai.system", "llm.vendor"]).is_some()
        && attributes.text(&["gen_ai.request.model"]).is_some()
        && !attributes.has("gen_ai.operation.name")
    {
        return Kind::Llm;
    }
    if attributes.has_prefix(&GENAI) { Kind::Part } else { Kind::Foreign }
}

fn dunetrace(span: &Span) -> Kind {
    let attributes = &span.attributes;
    if attributes.has("dunetrace.agent_id") {
        Kind::Agent
    } else if attributes.has("dunetrace.tool_name") {
        Kind::Tool
    } else if attributes.has("dunetrace.index_name") {
        Kind::Retrieval
    } else if attributes.has_prefix(&["gen_ai."]) {
        Kind::Llm
    } else {
        Kind::Part
    }
}

fn langfuse(kind: &str) -> Kind {
    match kind {
        "generation" => Kind::Llm,
        "agent" => Kind::Agent,
        "tool" => Kind::Tool,
        "retriever" => Kind::Retrieval,
        "span" | "chain" => Kind::Part,
        _ => Kind::Aside,
    }
}

fn openinference(kind: &str) -> Kind {
    match kind {
        "llm" => Kind::Llm,
        "agent" => Kind::Agent,
        "tool" => Kind::Tool,
        "retriever" => Kind::Retrieval,
        "chain" => Kind::Part,
        _ => Kind::Aside,
    }
}

fn gen_ai(operation: &str) -> Kind {
    match operation {
        "chat" | "text_completion" | "generate_content" | "completion" => Kind::Llm,
        "invoke_agent" | "invoke_workflow" => Kind::Agent,
        "execute_tool" => Kind::Tool,
        "retrieval" => Kind::Retrieval,
        _ => Kind::Aside,
    }
}

fn traceloop(kind: &str) -> Kind {
    match kind {
        "workflow" | "agent" => Kind::Agent,
        "tool" => Kind::Tool,
        _ => Kind::Part,
    }
}

fn request_type(kind: &str) -> Kind {
    match kind {
        "chat" | "completion" => Kind::Llm,
        _ => Kind::Aside,
    }
}

fn is_vector_search(span: &Span) -> bool {
    let system = span.attributes.text(&["db.system.name", "db.system"]).map(str::to_ascii_lowercase);
    let operation = span.attributes.text(&["db.operation.name", "db.operation"]).unwrap_or(&span.name);
    let operation = operation.to_ascii_lowercase();
    system.is_some_and(|system| VECTOR_STORES.contains(&system.as_str()))
        && (operation.contains("query") || operation.contains("search"))
}
