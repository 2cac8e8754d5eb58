//! Langfuse's writes: `POST /api/public/ingestion` and `POST /api/public/scores`.
//!
//! Owns: judging a batch event by event (207 with successes and errors) and turning events into
//! legacy objects; an event with a known id updates that object.
//! Must hold: what is accepted is readable at once; a bad event never spoils the rest of its batch.

use serde_json::{Value, json};

use super::legacy::kind_of;
use super::prices::price_of;
use super::store::{Store, number};
use super::{zod_error, zod_errors};
use crate::http::{Call, Reply};
use crate::item::Item;
use crate::time::{self, Micros};

/// `POST /api/public/ingestion`.
pub(crate) fn batch(store: &mut Store, call: &Call, now: Micros) -> Reply {
    let body = call.json().unwrap_or_default();
    let Some(batch) = body.get("batch").and_then(Value::as_array) else {
        let kind = body.get("batch").map_or("undefined", kind_of);
        return Reply::value(
            400,
            &json!({"message": "Invalid request data",
                    "errors": [format!("Invalid input: expected array, received {kind}")]}),
        );
    };
    let mut successes = Vec::new();
    let mut errors = Vec::new();
    for event in batch {
        let id = event.get("id").and_then(Value::as_str).unwrap_or("unknown");
        match apply(store, event, now) {
            Ok(()) => successes.push(json!({"id": id, "status": 201})),
            Err(error) => errors.push(json!({
                "id": id, "status": 400, "message": "Invalid request data", "error": error,
            })),
        }
    }
    Reply::value(207, &json!({"successes": successes, "errors": errors})).wrote(call)
}

fn apply(store: &mut Store, event: &Value, now: Micros) -> Result<(), String> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    text("id").ok_or("id: expected string")?;
    let kind = text("type").ok_or("type: expected string")?;
    let at = text("timestamp").and_then(time::parse).ok_or("timestamp: Invalid ISO datetime")?;
    let body = event.get("body").filter(|body| body.is_object()).ok_or("body: expected object")?;
    match kind {
        "trace-create" => trace(store, body, at, now),
        "span-create" | "span-update" => observation(store, body, "SPAN", at, now),
        "generation-create" | "generation-update" => observation(store, body, "GENERATION", at, now),
        "event-create" => observation(store, body, "EVENT", at, now),
        "observation-create" | "observation-update" => {
            let kind = body.get("type").and_then(Value::as_str).unwrap_or("SPAN").to_owned();
            observation(store, body, &kind, at, now)
        }
        "score-create" => put_score(store, body, at, now).map(|_| ()),
        "sdk-log" => Ok(()),
        other => Err(format!("type: unknown event type {other:?}")),
    }
}

/// A time given in a body, checked.
fn time_of(body: &Value, key: &str) -> Result<Option<Micros>, String> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_str().and_then(time::parse).map(Some).ok_or_else(|| format!("{key}: Invalid ISO datetime"))
        }
    }
}

/// Copies the fields a body has over an item's.
fn take(item: &mut Item, body: &Value, keys: &[&str]) {
    for key in keys {
        if let Some(value) = body.get(key).filter(|value| !value.is_null()) {
            item.set_value(key, value);
        }
    }
}

/// An id given in a body, else one made from the event.
fn id_of(body: &Value, prefix: &str, at: Micros, count: usize) -> String {
    body.get("id").and_then(Value::as_str).map_or_else(|| format!("{prefix}-{at}-{count}"), str::to_owned)
}

fn trace(store: &mut Store, body: &Value, at: Micros, now: Micros) -> Result<(), String> {
    let timestamp = time_of(body, "timestamp")?.unwrap_or(at);
    let id = id_of(body, "trace", at, store.traces.all().len());
    let mut item = match store.trace_by_id.get(id.as_str()) {
        Some(known) => known.item.clone(),
        None => {
            let project = store.project_id();
            Item::new()
                .with_text("id", &id)
                .with_text("projectId", &project)
                .with_text("timestamp", &time::millis_z(timestamp))
                .with_raw("name", "null")
                .with_raw("input", "null")
                .with_raw("output", "null")
                .with_raw("sessionId", "null")
                .with_raw("release", "null")
                .with_raw("version", "null")
                .with_raw("userId", "null")
                .with_raw("metadata", "{}")
                .with_raw("tags", "[]")
                .with_raw("public", "false")
                .with_raw("bookmarked", "false")
                .with_text("environment", "default")
                .with_text("htmlPath", &format!("/project/{project}/traces/{id}"))
                .with_raw("latency", "0")
                .with_raw("totalCost", "0")
                .with_raw("observations", "[]")
                .with_raw("scores", "[]")
                .with_text("createdAt", &time::millis_z(now.max(timestamp)))
                .with_text("updatedAt", &time::millis_z(now.max(timestamp)))
        }
    };
    take(
        &mut item,
        body,
        &[
            "name",
            "input",
            "output",
            "sessionId",
            "release",
            "version",
            "userId",
            "metadata",
            "tags",
            "public",
            "environment",
        ],
    );
    store.put_trace(item);
    refresh_trace(store, &id);
    Ok(())
}

/// Brings the totals of a trace up to date with its observations and scores.
fn refresh_trace(store: &mut Store, id: &str) {
    let Some(known) = store.trace_by_id.get(id) else {
        return;
    };
    let mut item = known.item.clone();
    let start = known.at;
    let observations = store.of_trace(id, None);
    let cost: f64 = observations.iter().map(|o| o.cost_at(None)).sum();
    let end = observations.iter().filter_map(|o| o.item.time("endTime")).max();
    let latency = end.map_or(0, |end| (end - start).max(0)) as f64 / time::SECOND as f64;
    let ids: Vec<&str> = observations.iter().map(|o| &*o.id).collect();
    let scores = store.scores_of_trace(id, None);
    let score_ids: Vec<&str> = scores.iter().map(|s| &*s.id).collect();
    item.set_raw("totalCost", number(cost));
    item.set_raw("latency", number(latency));
    item.set_value("observations", &json!(ids));
    item.set_value("scores", &json!(score_ids));
    store.put_trace(item);
}

fn observation(store: &mut Store, body: &Value, kind: &str, at: Micros, now: Micros) -> Result<(), String> {
    let start = time_of(body, "startTime")?;
    let end = time_of(body, "endTime")?;
    let first_token = time_of(body, "completionStartTime")?;
    let id = id_of(body, "observation", at, store.observations.all().len());
    if let Some(level) = body.get("level").and_then(Value::as_str)
        && !["DEBUG", "DEFAULT", "WARNING", "ERROR"].contains(&level)
    {
        return Err(format!("level: Invalid option {level:?}"));
    }
    let known = store.observation(&id).map(|known| known.item.clone());
    let mut item = known.unwrap_or_else(|| blank_observation(&id, kind, start.unwrap_or(at), now, &store.project_id()));
    if let Some(start) = start {
        item.set_text("startTime", &time::millis_z(start));
    }
    for (key, value) in [("endTime", end), ("completionStartTime", first_token)] {
        if let Some(value) = value {
            item.set_text(key, &time::millis_z(value));
        }
    }
    take(
        &mut item,
        body,
        &[
            "traceId",
            "parentObservationId",
            "name",
            "input",
            "output",
            "metadata",
            "level",
            "statusMessage",
            "version",
            "environment",
            "model",
            "modelParameters",
            "promptName",
            "promptVersion",
        ],
    );
    apply_usage(&mut item, body);
    let from = item.time("startTime").unwrap_or(at);
    for (key, until) in [("latency", "endTime"), ("timeToFirstToken", "completionStartTime")] {
        if let Some(until) = item.time(until) {
            item.set_raw(key, number((until - from).max(0) as f64 / time::SECOND as f64));
        }
    }
    let trace_id = item.key("traceId");
    if trace_id.is_empty() {
        // The real server makes a trace of its own for an observation without one.
        item.set_text("traceId", &format!("trace-of-{id}"));
    }
    let trace_id = item.key("traceId");
    store.put_observation(item);
    if !store.trace_by_id.contains_key(&trace_id) {
        let shell = json!({"id": &*trace_id, "timestamp": time::millis_z(from)});
        trace(store, &shell, from, now)?;
    } else {
        refresh_trace(store, &trace_id);
    }
    Ok(())
}

fn blank_observation(id: &str, kind: &str, start: Micros, now: Micros, project: &str) -> Item {
    let stamp = time::millis_z(now.max(start));
    let mut item = Item::new()
        .with_text("id", id)
        .with_raw("traceId", "null")
        .with_text("projectId", project)
        .with_text("type", kind)
        .with_raw("parentObservationId", "null")
        .with_raw("name", "null")
        .with_text("startTime", &time::millis_z(start));
    for key in [
        "endTime",
        "completionStartTime",
        "model",
        "modelId",
        "input",
        "output",
        "statusMessage",
        "version",
        "promptId",
        "promptName",
        "promptVersion",
        "inputPrice",
        "outputPrice",
        "totalPrice",
        "calculatedInputCost",
        "calculatedOutputCost",
        "calculatedTotalCost",
        "latency",
        "timeToFirstToken",
        "unit",
    ] {
        item.set_raw(key, "null");
    }
    item.with_raw("modelParameters", "{}")
        .with_raw("metadata", "{}")
        .with_text("level", "DEFAULT")
        .with_text("environment", "default")
        .with_raw("usage", r#"{"input":0,"output":0,"total":0,"unit":null}"#)
        .with_raw("usageDetails", "{}")
        .with_raw("costDetails", "{}")
        .with_raw("promptTokens", "0")
        .with_raw("completionTokens", "0")
        .with_raw("totalTokens", "0")
        .with_text("createdAt", &stamp)
        .with_text("updatedAt", &stamp)
}

/// Takes tokens and costs from a body, inferring the costs of a known model when none are given.
fn apply_usage(item: &mut Item, body: &Value) {
    let usage = body.get("usage").unwrap_or(&Value::Null);
    let details = body.get("usageDetails").unwrap_or(&Value::Null);
    let costs = body.get("costDetails").unwrap_or(&Value::Null);
    let count = |names: &[&str]| names.iter().find_map(|name| details.get(name).or_else(|| usage.get(name))?.as_u64());
    let input = count(&["input", "promptTokens", "prompt_tokens"]);
    let output = count(&["output", "completionTokens", "completion_tokens"]);
    if input.is_some() || output.is_some() {
        let (input, output) = (input.unwrap_or(0), output.unwrap_or(0));
        let total = count(&["total", "totalTokens", "total_tokens"]).unwrap_or(input.saturating_add(output));
        item.set_raw("usage", format!(r#"{{"input":{input},"output":{output},"total":{total},"unit":"TOKENS"}}"#));
        item.set_raw("usageDetails", format!(r#"{{"input":{input},"output":{output},"total":{total}}}"#));
        item.set_raw("promptTokens", input.to_string());
        item.set_raw("completionTokens", output.to_string());
        item.set_raw("totalTokens", total.to_string());
        item.set_text("unit", "TOKENS");
    }
    let cost = |name: &str, old: &str| costs.get(name).or_else(|| usage.get(old)).and_then(Value::as_f64);
    let given = [cost("input", "inputCost"), cost("output", "outputCost"), cost("total", "totalCost")];
    let price = item.text("model").and_then(|model| price_of(&model));
    let (input_cost, output_cost, total_cost) = match (given, price) {
        ([None, None, None], Some((per_input, per_output))) => {
            let input = item.number("promptTokens").unwrap_or(0.0) * per_input;
            let output = item.number("completionTokens").unwrap_or(0.0) * per_output;
            item.set_raw("inputPrice", number(per_input));
            item.set_raw("outputPrice", number(per_output));
            (input, output, input + output)
        }
        ([None, None, None], None) => return,
        ([input, output, total], _) => {
            let (input, output) = (input.unwrap_or(0.0), output.unwrap_or(0.0));
            (input, output, total.unwrap_or(input + output))
        }
    };
    item.set_raw("calculatedInputCost", number(input_cost));
    item.set_raw("calculatedOutputCost", number(output_cost));
    item.set_raw("calculatedTotalCost", number(total_cost));
    item.set_raw(
        "costDetails",
        format!(
            r#"{{"input":{},"output":{},"total":{}}}"#,
            number(input_cost),
            number(output_cost),
            number(total_cost)
        ),
    );
}

/// `POST /api/public/scores`.
pub(crate) fn score(store: &mut Store, call: &Call, now: Micros) -> Reply {
    let Some(body) = call.json().filter(Value::is_object) else {
        return zod_errors(&[json!({"code": "invalid_type", "path": [], "message": "Invalid input: expected object"})]);
    };
    match put_score(store, &body, now, now) {
        Ok(id) => Reply::value(200, &json!({ "id": id })).wrote(call),
        Err(message) => {
            let parameter = message.split(':').next().unwrap_or_default().to_owned();
            zod_error(&parameter, "invalid_type", &message)
        }
    }
}

fn put_score(store: &mut Store, body: &Value, at: Micros, now: Micros) -> Result<String, String> {
    let name = body.get("name").and_then(Value::as_str).ok_or("name: Invalid input: expected string")?;
    let value = body.get("value").unwrap_or(&Value::Null);
    let kind = match (body.get("dataType").and_then(Value::as_str), value) {
        (Some(kind @ ("NUMERIC" | "BOOLEAN" | "CATEGORICAL" | "TEXT" | "CORRECTION")), _) => kind,
        (Some(other), _) => return Err(format!("dataType: Invalid option {other:?}")),
        (None, Value::String(_)) => "CATEGORICAL",
        (None, _) => "NUMERIC",
    };
    let fits = match kind {
        "NUMERIC" => value.is_number(),
        "BOOLEAN" => value.as_f64().is_some_and(|v| v == 0.0 || v == 1.0),
        _ => value.is_string(),
    };
    if !fits {
        return Err(format!("value: Invalid input for dataType {kind}"));
    }
    let subject = ["traceId", "sessionId", "datasetRunId"];
    if subject.iter().all(|key| body.get(key).is_none_or(Value::is_null)) {
        return Err("traceId: one of traceId, sessionId, datasetRunId is required".to_owned());
    }
    let at = time_of(body, "timestamp")?.unwrap_or(at);
    let id = id_of(body, "score", at, store.scores.all().len());
    let stamp = time::millis_z(now.max(at));
    let (number_value, string_value) = match kind {
        "NUMERIC" => (value.clone(), Value::Null),
        "BOOLEAN" => {
            let on = value.as_f64() == Some(1.0);
            (value.clone(), json!(if on { "True" } else { "False" }))
        }
        _ => (json!(0), value.clone()),
    };
    let mut item = Item::new()
        .with_text("id", &id)
        .with_text("projectId", &store.project_id())
        .with_text("timestamp", &time::millis_z(at))
        .with_text("name", name)
        .with("value", &number_value)
        .with("stringValue", &string_value)
        .with_text("dataType", kind)
        .with_text("source", "API");
    for key in
        ["traceId", "observationId", "sessionId", "datasetRunId", "comment", "configId", "queueId", "authorUserId"]
    {
        item.set_raw(key, "null");
    }
    item = item
        .with_raw("metadata", "{}")
        .with_text("environment", "default")
        .with_text("createdAt", &stamp)
        .with_text("updatedAt", &stamp);
    take(
        &mut item,
        body,
        &[
            "traceId",
            "observationId",
            "sessionId",
            "datasetRunId",
            "comment",
            "configId",
            "queueId",
            "metadata",
            "environment",
            "source",
        ],
    );
    let trace_id = item.key("traceId");
    store.put_score(item);
    refresh_trace(store, &trace_id);
    Ok(id)
}
