//! Langfuse's form of a request: a trace with spans, generations and perhaps a score.

use std::collections::HashSet;

use serde_json::json;

use crate::dataset::Collection;
use crate::item::{Item, quote};
use crate::langfuse::price_of;
use crate::scenario::company::{Answer, FEATURES, Feature, LANGFUSE_PROJECT};
use crate::scenario::plan::Plan;
use crate::time::{DAY, Micros, SECOND, millis_z};

/// A tool call.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub id: String,
    pub name: &'static str,
    pub start: Micros,
    pub end: Micros,
    /// JSON text.
    pub input: String,
    /// JSON text.
    pub output: String,
}

/// A model call.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    pub id: String,
    pub start: Micros,
    pub end: Micros,
    /// JSON text.
    pub input: String,
    /// JSON text.
    pub output: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub max_tokens: u32,
    pub prompt: Option<(&'static str, u32)>,
    pub warning: Option<&'static str>,
}

/// One user request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub feature: &'static Feature,
    pub trace_id: String,
    pub at: Micros,
    pub user: u32,
    pub spans: Vec<Span>,
    pub generations: Vec<Generation>,
    pub score: Option<f64>,
    /// Whether it carries a long metadata value.
    pub noted: bool,
}

/// USD with at most ten digits behind the point, without trailing zeros.
fn usd(value: f64) -> String {
    let text = format!("{value:.10}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

fn seconds(length: Micros) -> String {
    let text = format!("{:.3}", length as f64 / SECOND as f64);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Fields of an observation that this kind does not have.
fn nulls(mut item: Item, keys: &[&str]) -> Item {
    for key in keys {
        item = item.with_raw(key, "null");
    }
    item
}

fn common(request: &Request, id: &str, kind: &str, name: &str, start: Micros, end: Micros) -> Item {
    let stored = millis_z(end + 900_000);
    let request_id = request.trace_id.get(..12).unwrap_or_default();
    let mut metadata = json!({"request_id": request_id, "region": "eu-west-1"});
    if request.noted
        && let Some(object) = metadata.as_object_mut()
    {
        let context = "The customer has written before; earlier answers are attached below. ".repeat(5);
        object.insert("retrieved_context".to_owned(), json!(context));
    }
    Item::new()
        .with_text("id", id)
        .with_text("traceId", &request.trace_id)
        .with_text("projectId", LANGFUSE_PROJECT)
        .with_text("type", kind)
        .with_raw("parentObservationId", "null")
        .with_text("name", name)
        .with_text("startTime", &millis_z(start))
        .with_text("endTime", &millis_z(end))
        .with("metadata", &metadata)
        .with_text("environment", "production")
        .with_raw("version", "null")
        .with_text("createdAt", &stored)
        .with_text("updatedAt", &stored)
        .with_raw("latency", seconds(end - start))
}

fn span_item(request: &Request, span: &Span) -> Item {
    let item = common(request, &span.id, "SPAN", span.name, span.start, span.end)
        .with_raw("input", span.input.as_str())
        .with_raw("output", span.output.as_str())
        .with_text("level", "DEFAULT")
        .with_raw("usage", r#"{"input":0,"output":0,"total":0,"unit":null}"#)
        .with_raw("usageDetails", "{}")
        .with_raw("costDetails", "{}")
        .with_raw("modelParameters", "{}");
    nulls(
        item,
        &[
            "completionStartTime",
            "model",
            "modelId",
            "statusMessage",
            "promptId",
            "promptName",
            "promptVersion",
            "inputPrice",
            "outputPrice",
            "totalPrice",
            "calculatedInputCost",
            "calculatedOutputCost",
            "calculatedTotalCost",
            "timeToFirstToken",
        ],
    )
}

/// The costs of a generation: input and output, in USD.
fn costs(model: &str, generation: &Generation) -> (f64, f64) {
    let (input, output) = price_of(model).unwrap_or_default();
    (generation.input_tokens as f64 * input, generation.output_tokens as f64 * output)
}

fn generation_item(request: &Request, generation: &Generation) -> Item {
    let feature = request.feature;
    let first_token = generation.start + (generation.end - generation.start) / 5;
    let first_token = first_token - first_token.rem_euclid(1000);
    let (input_price, output_price) = price_of(feature.model).unwrap_or_default();
    let (input_cost, output_cost) = costs(feature.model, generation);
    let (input, output) = (generation.input_tokens, generation.output_tokens);
    let total = input + output;
    let item = common(request, &generation.id, "GENERATION", feature.name, generation.start, generation.end)
        .with_raw("input", generation.input.as_str())
        .with_raw("output", generation.output.as_str())
        .with_text("level", if generation.warning.is_some() { "WARNING" } else { "DEFAULT" })
        .with_opt("statusMessage", generation.warning)
        .with_text("completionStartTime", &millis_z(first_token))
        .with_raw("timeToFirstToken", seconds(first_token - generation.start))
        .with_text("model", feature.model)
        .with_text("modelId", &format!("model-{}", feature.model))
        .with("modelParameters", &json!({"max_tokens": generation.max_tokens, "temperature": 0.3}))
        .with_raw("usage", format!(r#"{{"input":{input},"output":{output},"total":{total},"unit":"TOKENS"}}"#))
        .with_raw("usageDetails", format!(r#"{{"input":{input},"output":{output},"total":{total}}}"#))
        .with_raw("inputPrice", usd(input_price))
        .with_raw("outputPrice", usd(output_price))
        .with_raw("totalPrice", "null")
        .with_raw("calculatedInputCost", usd(input_cost))
        .with_raw("calculatedOutputCost", usd(output_cost))
        .with_raw("calculatedTotalCost", usd(input_cost + output_cost))
        .with_raw(
            "costDetails",
            format!(
                r#"{{"input":{},"output":{},"total":{}}}"#,
                usd(input_cost),
                usd(output_cost),
                usd(input_cost + output_cost)
            ),
        );
    match generation.prompt {
        Some((name, version)) => item
            .with_text("promptId", &format!("prompt-{name}-{version}"))
            .with_text("promptName", name)
            .with_num("promptVersion", version),
        None => nulls(item, &["promptId", "promptName", "promptVersion"]),
    }
}

/// Adds a request to the history.
pub(crate) fn request(plan: &mut Plan, request: &Request) {
    let feature = request.feature;
    let cost: f64 =
        request.generations.iter().map(|g| costs(feature.model, g)).map(|(input, output)| input + output).sum();
    let end = request
        .generations
        .iter()
        .map(|g| g.end)
        .chain(request.spans.iter().map(|s| s.end))
        .max()
        .unwrap_or(request.at);
    let ids: Vec<&str> =
        request.spans.iter().map(|s| s.id.as_str()).chain(request.generations.iter().map(|g| g.id.as_str())).collect();
    let score_id = request.score.map(|_| format!("score-{}", request.trace_id.get(..16).unwrap_or_default()));
    let day = (request.at - plan.start()).div_euclid(DAY);
    let session = format!("session-{:02}-{day}", request.user);
    let stored = millis_z(end + 1_100_000);
    let input = request.generations.first().map_or("null", |g| g.input.as_str());
    let output = request.generations.last().map_or("null", |g| g.output.as_str());
    let trace = Item::new()
        .with_text("id", &request.trace_id)
        .with_text("projectId", LANGFUSE_PROJECT)
        .with_text("name", &format!("{}-request", feature.name))
        .with_text("timestamp", &millis_z(request.at))
        .with_text("environment", "production")
        .with_raw("tags", format!("[{},\"shop\"]", quote(feature.name)))
        .with_raw("bookmarked", "false")
        .with_text("release", "shopfront")
        .with_raw("version", "null")
        .with_text("userId", &format!("customer-{:02}", request.user))
        .with_text("sessionId", &session)
        .with_raw("public", "false")
        .with_raw("input", input)
        .with_raw("output", output)
        .with_raw("metadata", r#"{"region":"eu-west-1"}"#)
        .with_text("htmlPath", &format!("/project/{LANGFUSE_PROJECT}/traces/{}", request.trace_id))
        .with_raw("latency", seconds(end - request.at))
        .with_raw("totalCost", usd(cost))
        .with("observations", &json!(ids))
        .with("scores", &json!(score_id.iter().collect::<Vec<_>>()))
        .with_text("createdAt", &stored)
        .with_text("updatedAt", &stored);
    plan.dataset.push(Collection::LangfuseTraces, trace);
    for span in &request.spans {
        plan.dataset.push(Collection::LangfuseObservations, span_item(request, span));
    }
    for generation in &request.generations {
        plan.dataset.push(Collection::LangfuseObservations, generation_item(request, generation));
    }
    if let (Some(score), Some(id)) = (request.score, score_id) {
        plan.dataset.push(Collection::LangfuseScores, score_item(request, &id, score, end + 40 * SECOND));
    }
}

fn score_item(request: &Request, id: &str, score: f64, at: Micros) -> Item {
    let (name, kind, value, text) = match request.feature.answer {
        Answer::Fraud => ("approved", "BOOLEAN", "1".to_owned(), Some("True")),
        Answer::Digest => ("tone", "CATEGORICAL", "0".to_owned(), Some("neutral")),
        _ => ("helpfulness", "NUMERIC", format!("{score:.3}"), None),
    };
    let generation = request.generations.last().map(|g| g.id.as_str());
    let stamp = millis_z(at);
    Item::new()
        .with_text("id", id)
        .with_text("projectId", LANGFUSE_PROJECT)
        .with_text("traceId", &request.trace_id)
        .with_opt("observationId", generation)
        .with_raw("sessionId", "null")
        .with_raw("datasetRunId", "null")
        .with_text("name", name)
        .with_raw("value", value)
        .with_opt("stringValue", text)
        .with_text("dataType", kind)
        .with_text("source", "EVAL")
        .with_raw("comment", "null")
        .with_raw("metadata", "{}")
        .with_raw("configId", "null")
        .with_raw("queueId", "null")
        .with_raw("authorUserId", "null")
        .with_text("environment", "production")
        .with_text("timestamp", &stamp)
        .with_text("createdAt", &stamp)
        .with_text("updatedAt", &stamp)
}

/// The project, its prompts, and the sessions that the traces name.
pub(crate) fn foundations(plan: &mut Plan) {
    let project = json!({
        "id": LANGFUSE_PROJECT, "name": "shopfront", "metadata": {}, "retentionDays": null,
        "organization": {"id": "org-acme", "name": "Acme Shop"},
    });
    if let Some(project) = Item::from_value(&project) {
        plan.dataset.push(Collection::LangfuseProjects, project);
    }
    for (index, feature) in FEATURES.iter().enumerate() {
        let Some((name, versions)) = feature.prompt else {
            continue;
        };
        for version in 1..=versions {
            let age = i64::from(versions - version) * 11 + 12 + index as i64;
            let at = plan.anchor - age * DAY;
            let labels = if version == versions { json!(["production"]) } else { json!([]) };
            prompt(plan, name, version, at, &labels, "Answer as JSON with the agreed keys.");
        }
    }
    let mut seen = HashSet::new();
    let mut sessions = Vec::new();
    for trace in plan.dataset.raw(Collection::LangfuseTraces) {
        let id = trace.key("sessionId");
        if !id.is_empty() && seen.insert(id.clone()) {
            let item = Item::new()
                .with_text("id", &id)
                .with_raw("createdAt", trace.raw("timestamp").unwrap_or("null"))
                .with_text("projectId", LANGFUSE_PROJECT)
                .with_text("environment", "production");
            sessions.push(item);
        }
    }
    for session in sessions {
        plan.dataset.push(Collection::LangfuseSessions, session);
    }
}

/// One version of a prompt.
pub(crate) fn prompt(plan: &mut Plan, name: &str, version: u32, at: Micros, labels: &serde_json::Value, text: &str) {
    let item = Item::new()
        .with_text("id", &format!("prompt-{name}-{version}"))
        .with_text("name", name)
        .with_num("version", version)
        .with_text("type", "text")
        .with_text("prompt", text)
        .with("config", &json!({"temperature": 0.3}))
        .with("labels", labels)
        .with("tags", &json!(["shop"]))
        .with_raw("commitMessage", "null")
        .with_text("createdAt", &millis_z(at))
        .with_text("updatedAt", &millis_z(at));
    plan.dataset.push(Collection::LangfusePrompts, item);
}
