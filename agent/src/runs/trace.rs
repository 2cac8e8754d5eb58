//! The Langfuse trace of a run, read through the connector: which prompt it used, and its steps. Where observations cannot be listed,
//! the trace itself is asked for, with its observations in it.
//!
//! Owns: the query, what is taken of its rows, and how much of a content is shown (`facts/dunetrace.md` §6). Does not own:
//! which of Langfuse's two generations answers (the connector). Must hold: nothing of a trace is kept; a trace that is not there
//! is told from a Langfuse that does not answer.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tripline_engine::{Engine, EngineError, Param, Params, QueryOptions, ScanErrorKind, json_rows};

/// Observations that are read at most.
const MAX_OBSERVATIONS: usize = 50;
/// Steps that are shown at most.
const SHOWN: usize = 12;
/// Characters of a system prompt, of the trace's input, of the content of a step that the signal is about, and of others.
const SYSTEM: usize = 800;
const INPUT: usize = 400;
const FOCUS: usize = 600;
const OTHER: usize = 150;

const OBSERVATIONS: &str =
    "SELECT type, name, level, status_message, model, input, output, input_tokens, output_tokens, latency,
        parent_observation_id, prompt_name, prompt_version, metadata
    FROM langfuse.observations
    WHERE trace_id = $trace_id
    ORDER BY start_time LIMIT 50";

/// What is known of a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// The prompt that it used.
    pub prompt_name: Option<String>,
    /// That prompt's version.
    pub prompt_version: Option<i64>,
    /// One row: the system prompt and the input, shortened.
    pub summary: Map<String, Value>,
    /// Its steps in order of time, those that the signal is about with more of their content.
    pub steps: Vec<Map<String, Value>>,
}

/// What came of looking for a trace.
#[derive(Debug, Clone, PartialEq)]
pub enum TraceRead {
    /// It is there.
    Found(Box<Trace>),
    /// Langfuse knows no such trace.
    Missing,
    /// There is no Langfuse.
    NotConfigured,
    /// Langfuse could not be asked; why.
    Failed(String),
}

/// Reads a trace, for a signal that is about the steps from `focus.0` to `focus.1`: its observations as they are listed, or, where the
/// listing is empty or refused, the trace with them in it, which `whole` reads by its id.
pub async fn read<F>(
    engine: &Engine,
    trace_id: &str,
    focus: (i64, i64),
    timeout: Duration,
    whole: impl FnOnce(String) -> F,
) -> TraceRead
where
    F: Future<Output = Result<Option<Value>, String>>,
{
    if !engine.tables().contains_key("langfuse") {
        return TraceRead::NotConfigured;
    }
    let id = trace_id.trim().replace('-', "");
    let (listed, is_last_word) = listed(engine, &id, focus, timeout).await;
    if is_last_word {
        return listed;
    }
    match tokio::time::timeout(timeout, whole(id)).await {
        Ok(Ok(Some(found))) => match embedded(&found) {
            Some((input, rows)) => TraceRead::Found(Box::new(with_input(understood(rows, focus), input))),
            None => listed,
        },
        Ok(Ok(None)) => TraceRead::Missing,
        // What the listing said stands.
        Ok(Err(why)) => {
            tracing::debug!(%why, "a whole trace could not be read");
            listed
        }
        Err(_) => listed,
    }
}

/// What the listing of observations says, and whether that is all there is to say.
async fn listed(engine: &Engine, id: &str, focus: (i64, i64), timeout: Duration) -> (TraceRead, bool) {
    let params = Params::from([("trace_id".to_owned(), Param::from(id.to_owned()))]);
    let options = QueryOptions { params, timeout, max_requests: 20, ..QueryOptions::default() };
    let result = match engine.collect(OBSERVATIONS, options).await {
        Ok(result) => result,
        Err(EngineError::Source(scan)) if scan.kind == ScanErrorKind::NotConfigured => {
            return (TraceRead::NotConfigured, true);
        }
        Err(EngineError::Source(scan)) if scan.status == Some(404) => return (TraceRead::Missing, false),
        Err(error) => {
            let status = error.scan_error().and_then(|scan| scan.status);
            let is_refused = status.is_some_and(|status| (400..500).contains(&status) && status != 429);
            return (TraceRead::Failed(error.to_string()), !is_refused);
        }
    };
    match json_rows(&result.schema, &result.batches) {
        Ok(rows) if rows.is_empty() => (TraceRead::Missing, false),
        Ok(rows) => (TraceRead::Found(Box::new(understood(rows, focus))), true),
        Err(error) => (TraceRead::Failed(error.to_string()), true),
    }
}

type Row = Map<String, Value>;

/// The input of a trace and its observations in order of time, with the names of the columns; `None` when it has none.
fn embedded(trace: &Value) -> Option<(Option<Value>, Vec<Row>)> {
    let mut observations: Vec<&Map<String, Value>> =
        trace.get("observations")?.as_array()?.iter().filter_map(Value::as_object).collect();
    if observations.is_empty() {
        return None;
    }
    let text = |row: &Map<String, Value>, name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    observations.sort_by_key(|row| text(row, "startTime"));
    let row = |found: &&Map<String, Value>| {
        let mut row = Map::new();
        for (column, names) in COLUMNS {
            let value = names.iter().find_map(|path| found_at(found, path).filter(|value| !value.is_null()));
            let value = value.cloned().unwrap_or(Value::Null);
            // Seconds, as the listing has them: 3 is 3.0.
            let seconds = value.as_f64().filter(|_| *column == "latency");
            row.insert((*column).to_owned(), seconds.map_or(value, Value::from));
        }
        row
    };
    let rows = observations.iter().take(MAX_OBSERVATIONS).map(row).collect();
    Some((trace.get("input").filter(|input| !input.is_null()).cloned(), rows))
}

/// What the columns of an observation are called inside of a trace.
const COLUMNS: &[(&str, &[&str])] = &[
    ("type", &["type"]),
    ("name", &["name"]),
    ("level", &["level"]),
    ("status_message", &["statusMessage"]),
    ("model", &["model"]),
    ("input", &["input"]),
    ("output", &["output"]),
    ("input_tokens", &["usageDetails.input", "inputUsage", "usage.input", "promptTokens"]),
    ("output_tokens", &["usageDetails.output", "outputUsage", "usage.output", "completionTokens"]),
    ("latency", &["latency"]),
    ("parent_observation_id", &["parentObservationId"]),
    ("prompt_name", &["promptName"]),
    ("prompt_version", &["promptVersion"]),
    ("metadata", &["metadata"]),
];

fn found_at<'a>(row: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((outer, inner)) => row.get(outer)?.get(inner),
        None => row.get(path),
    }
}

fn with_input(mut trace: Trace, input: Option<Value>) -> Trace {
    if let Some(input) = input {
        trace.summary.insert("input".to_owned(), json!(cut(&shown(&input), INPUT)));
    }
    trace
}

/// The steps that a signal is about, first and last, by what its type says of them.
#[must_use]
pub fn focus(failure_type: &str, evidence: &Value, step_index: i64) -> (i64, i64) {
    let at = |name: &str| evidence.get(name).and_then(Value::as_i64);
    let (from, to) = match failure_type {
        "TOOL_LOOP" => (at("first_step"), at("last_step")),
        "EMPTY_LLM_RESPONSE" => (at("first_step"), at("first_step")),
        "LLM_TRUNCATION_LOOP" => (at("first_truncation_step"), at("last_truncation_step")),
        "CONTEXT_BLOAT" => (at("first_call_step"), at("last_call_step")),
        "RETRY_STORM" | "CASCADING_TOOL_FAILURE" => (at("first_fail_step"), Some(step_index)),
        "GOAL_ABANDONMENT" => (at("last_tool_step"), at("current_step")),
        "FIRST_STEP_FAILURE" => (at("failed_step"), at("failed_step")),
        "SLOW_STEP" => (at("step_index"), at("step_index")),
        _ => (None, None),
    };
    let from = from.unwrap_or(step_index);
    (from, to.unwrap_or(step_index).max(from))
}

fn understood(rows: Vec<Map<String, Value>>, focus: (i64, i64)) -> Trace {
    let text = |row: &Map<String, Value>, name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let is = |row: &Map<String, Value>, kind: &str| row.get("type").and_then(Value::as_str) == Some(kind);
    let generation = rows.iter().find(|row| is(row, "GENERATION"));
    let root = rows.iter().find(|row| row.get("parent_observation_id").is_none_or(Value::is_null));
    let mut trace = Trace::default();
    for row in rows.iter().filter(|row| is(row, "GENERATION")) {
        if let Some((name, version)) = prompt(row) {
            (trace.prompt_name, trace.prompt_version) = (Some(name), version);
            break;
        }
    }
    if let Some(system) = generation.and_then(|row| system_prompt(&parsed(row.get("input")))) {
        trace.summary.insert("system_prompt".to_owned(), json!(cut(&system, SYSTEM)));
    }
    if let Some(input) = root.or(generation).and_then(|row| row.get("input")).filter(|input| !input.is_null()) {
        trace.summary.insert("input".to_owned(), json!(cut(&shown(input), INPUT)));
    }
    // A root span encloses the steps; where it is the only thing there is, it is the step.
    let encloses = |row: &Map<String, Value>| {
        rows.len() > 1 && !is(row, "GENERATION") && row.get("parent_observation_id").is_none_or(Value::is_null)
    };
    let calls = rows.iter().take(MAX_OBSERVATIONS);
    let calls = calls.filter(|row| !is(row, "EVENT") && !is(row, "SCORE") && !encloses(row));
    let steps = calls.zip(1_i64..).map(|(row, step)| {
        let in_focus = (focus.0..=focus.1).contains(&step);
        let length = if in_focus { FOCUS } else { OTHER };
        let mut shown_row = Map::new();
        shown_row.insert("step".to_owned(), json!(step));
        for name in ["type", "name", "level", "status_message", "model"] {
            if let Some(value) = text(row, name).filter(|value| !value.is_empty()) {
                shown_row.insert(name.to_owned(), json!(cut(&value, OTHER)));
            }
        }
        for (name, unit) in
            [("input_tokens", "input_tokens"), ("output_tokens", "output_tokens"), ("latency", "latency_s")]
        {
            if let Some(value) = row.get(name).filter(|value| value.is_number()) {
                shown_row.insert(unit.to_owned(), value.clone());
            }
        }
        for name in ["input", "output"] {
            if let Some(value) = row.get(name).filter(|value| !value.is_null()) {
                shown_row.insert(name.to_owned(), json!(cut(&shown(value), length)));
            }
        }
        (step, shown_row)
    });
    let mut steps: Vec<(i64, Map<String, Value>)> = steps.collect();
    // Those nearest to what the signal is about, in their order.
    let distance = |step: i64| (focus.0 - step).max(step - focus.1).max(0);
    steps.sort_by_key(|(step, _)| (distance(*step), *step));
    steps.truncate(SHOWN);
    steps.sort_by_key(|(step, _)| *step);
    trace.steps = steps.into_iter().map(|(_, row)| row).collect();
    trace
}

/// Name and version of the prompt that a generation used: its own columns, else what its metadata says.
fn prompt(row: &Map<String, Value>) -> Option<(String, Option<i64>)> {
    let filled =
        |value: Option<&Value>| value.and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned);
    let number = |value: Option<&Value>| value.and_then(|v| v.as_i64().or_else(|| v.as_str()?.parse().ok()));
    if let Some(name) = filled(row.get("prompt_name")) {
        return Some((name, number(row.get("prompt_version"))));
    }
    let metadata = parsed(row.get("metadata"));
    for (name, version) in [("lf.prompt.name", "lf.prompt.version"), ("prompt_name", "prompt_version")] {
        // OpenTelemetry's attributes are one level deeper.
        for at in [&metadata, metadata.get("attributes").unwrap_or(&Value::Null)] {
            if let Some(found) = filled(at.get(name)) {
                return Some((found, number(at.get(version))));
            }
        }
    }
    let nested = metadata.get("langfuse_prompt")?;
    Some((filled(nested.get("name"))?, number(nested.get("version"))))
}

/// The system prompt of a model call's input: of its `messages`, or of the input itself where that is the list.
fn system_prompt(input: &Value) -> Option<String> {
    let messages = input.get("messages").unwrap_or(input).as_array()?;
    let text = |message: &Value, names: [&str; 2]| names.into_iter().find_map(|name| message.get(name).cloned());
    let system = messages
        .iter()
        .find(|message| text(message, ["role", "type"]).as_ref().and_then(Value::as_str) == Some("system"))?;
    let content = text(system, ["content", "text"])?;
    match &content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
            Some(texts.join("\n"))
        }
        _ => None,
    }
}

/// A JSON column: its value, also where it is a text that holds JSON.
fn parsed(value: Option<&Value>) -> Value {
    match value {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

fn shown(value: &Value) -> String {
    match parsed(Some(value)) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn cut(text: &str, max: usize) -> String {
    crate::messages::text::cut(text, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_trace_is_its_prompt_its_input_and_its_steps_around_what_the_signal_is_about() {
        let long = "x".repeat(2_000);
        let mut rows =
            vec![row(json!({"type": "SPAN", "name": "run", "input": "help me", "parent_observation_id": null}))];
        for step in 1..=30 {
            rows.push(row(json!({
                "type": if step % 2 == 0 { "TOOL" } else { "GENERATION" }, "name": format!("s{step}"), "parent_observation_id": "r",
                "input": json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": long}]}).to_string(),
                "output": long, "input_tokens": 7, "latency": 1.5,
                "metadata": json!({"langfuse_prompt": {"name": "support", "version": "3"}}).to_string(),
            })));
        }
        rows.insert(3, row(json!({"type": "EVENT", "name": "e", "parent_observation_id": "r"})));
        let trace = understood(rows, (20, 21));
        assert_eq!((trace.prompt_name.as_deref(), trace.prompt_version), (Some("support"), Some(3)));
        assert_eq!(trace.summary, row(json!({"system_prompt": "Be brief.", "input": "help me"})));
        let steps: Vec<i64> = trace.steps.iter().map(|step| step["step"].as_i64().unwrap()).collect();
        assert_eq!(steps, (15..=26).collect::<Vec<_>>());
        let length = |step: usize| trace.steps[step]["output"].as_str().unwrap().chars().count();
        assert_eq!((length(0), length(5), length(6)), (150, 600, 600));
        assert_eq!(trace.steps[0]["latency_s"], 1.5);
    }

    #[test]
    fn a_trace_with_its_observations_in_it_reads_as_its_listing_does() {
        let whole = json!({"id": "t", "input": "help me", "observations": [
            {"id": "o2", "type": "TOOL", "startTime": "2026-11-28T10:00:02Z", "name": "search", "parentObservationId": "o1", "output": {"n": 1}, "latency": 0.2},
            {"id": "o1", "type": "GENERATION", "startTime": "2026-11-28T10:00:00Z", "name": "g", "model": "m", "promptName": null,
             "input": {"messages": [{"role": "system", "content": "Be brief."}]}, "usage": {"input": 7}, "statusMessage": "ok",
             "metadata": {"langfuse_prompt": {"name": "support", "version": 1}}},
        ]});
        let (input, rows) = embedded(&whole).unwrap();
        let trace = with_input(understood(rows, (1, 1)), input);
        assert_eq!((trace.prompt_name.as_deref(), trace.prompt_version), (Some("support"), Some(1)));
        assert_eq!(trace.summary, row(json!({"system_prompt": "Be brief.", "input": "help me"})));
        let names: Vec<&str> = trace.steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["g", "search"], "in order of time");
        assert_eq!((&trace.steps[0]["input_tokens"], &trace.steps[0]["status_message"]), (&json!(7), &json!("ok")));
        for none in [json!({"id": "t"}), json!({"observations": []}), json!("no trace")] {
            assert_eq!(embedded(&none), None);
        }
    }

    #[test]
    fn the_steps_of_a_signal_follow_from_its_type() {
        let evidence = json!({"first_step": 2, "last_step": 9, "first_fail_step": 4, "failed_step": 1});
        assert_eq!(focus("TOOL_LOOP", &evidence, 10), (2, 9));
        assert_eq!(focus("RETRY_STORM", &evidence, 10), (4, 10));
        assert_eq!(focus("FIRST_STEP_FAILURE", &evidence, 10), (1, 1));
        assert_eq!(focus("TOOL_AVOIDANCE", &evidence, 10), (10, 10));
        assert_eq!(focus("TOOL_LOOP", &json!({"first_step": 9, "last_step": 2}), 5), (9, 9));
    }

    #[test]
    fn a_prompt_is_found_in_its_columns_or_in_metadata_of_either_kind() {
        for (found, expected) in [
            (json!({"prompt_name": "a", "prompt_version": 2}), Some(("a".to_owned(), Some(2)))),
            (json!({"metadata": {"lf.prompt.name": "b"}}), Some(("b".to_owned(), None))),
            (
                json!({"metadata": {"attributes": {"lf.prompt.name": "c", "lf.prompt.version": 4}}}),
                Some(("c".to_owned(), Some(4))),
            ),
            (json!({"metadata": {"prompt_name": "d", "prompt_version": "5"}}), Some(("d".to_owned(), Some(5)))),
            (json!({"metadata": "no json"}), None),
            (json!({}), None),
        ] {
            assert_eq!(prompt(&row(found)), expected);
        }
    }
}
