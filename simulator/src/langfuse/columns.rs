//! The columns that Langfuse's filters name, as values of observations and traces.
//!
//! Must hold: a value is what is seen at the horizon; keys that no horizon changes are answered
//! without looking at the object, since large listings are filtered by them.

use std::borrow::Cow;

use serde_json::Value;

use super::filter::Condition;
use super::objects::{Observation, Trace, total_cost};
use super::store::Store;
use crate::item::Item;
use crate::time::Micros;
use crate::timeline::Timed;

/// The value of a column.
pub(super) enum Cell<'a> {
    Text(Cow<'a, str>),
    Number(Option<f64>),
    Time(Option<Micros>),
    Bool(bool),
    List(Vec<String>),
    Object(Value),
}

/// Whether an observation is there at the horizon and fits all conditions, as it is seen then.
pub(crate) fn accepts_observation(
    store: &Store,
    observation: &Observation,
    conditions: &[Condition],
    horizon: Option<Micros>,
) -> bool {
    observation.is_here(horizon)
        && conditions.iter().all(|condition| {
            let cell = observation_cell(store, observation, &condition.column, horizon);
            condition.accepts(&cell)
        })
}

fn observation_cell<'a>(store: &'a Store, o: &'a Observation, column: &str, horizon: Option<Micros>) -> Cell<'a> {
    // Keys that no horizon changes are answered without looking at the object: these are what
    // listings of a large project are filtered by.
    let text = |text: &'a str| Cell::Text(Cow::Borrowed(text));
    match column {
        "id" => return text(&o.id),
        "type" => return text(&o.kind),
        "name" => return text(&o.name),
        "traceId" => return text(&o.trace_id),
        "environment" => return text(&o.environment),
        "version" => return text(&o.version),
        "level" if !o.is_cut(horizon) => return text(&o.level),
        "parentObservationId" => return text(&o.parent),
        "userId" => return text(store.user_of(o)),
        "sessionId" => return text(store.session_of(o)),
        "startTime" => return Cell::Time(Some(o.start)),
        "isRootObservation" => return Cell::Bool(o.parent.is_empty()),
        _ => {}
    }
    let seen = o.seen_at(horizon);
    let item: &Item = &seen;
    let trace = store.trace_by_id.get(&o.trace_id);
    let owned = |key: &str| Cell::Text(Cow::Owned(item.key(key).into()));
    let usage = |names: [&str; 2]| {
        let details = item.value("usageDetails");
        let legacy = item.value("usage");
        let [name, old] = names;
        Cell::Number(
            details.get(name).or_else(|| legacy.get(name)).and_then(Value::as_f64).or_else(|| item.number(old)),
        )
    };
    match column {
        "endTime" => Cell::Time(item.time("endTime")),
        "traceName" => Cell::Text(Cow::Owned(trace.map(|t| t.item.key("name").into()).unwrap_or_default())),
        "traceEnvironment" => {
            Cell::Text(Cow::Owned(trace.map(|t| t.item.key("environment").into()).unwrap_or_default()))
        }
        "traceTags" | "tags" => Cell::List(trace.map(|t| t.tags.clone()).unwrap_or_default()),
        "latency" | "timeToFirstToken" => Cell::Number(item.number(column)),
        "tokensPerSecond" => Cell::Number(
            item.number("completionTokens")
                .zip(item.number("latency").filter(|seconds| *seconds > 0.0))
                .map(|(tokens, seconds)| tokens / seconds),
        ),
        "inputTokens" => usage(["input", "promptTokens"]),
        "outputTokens" => usage(["output", "completionTokens"]),
        "totalTokens" | "tokens" => usage(["total", "totalTokens"]),
        "inputCost" => Cell::Number(item.number("calculatedInputCost")),
        "outputCost" => Cell::Number(item.number("calculatedOutputCost")),
        "totalCost" => Cell::Number(total_cost(item)),
        "model" | "providedModelName" => owned("model"),
        "promptVersion" => Cell::Number(item.number("promptVersion")),
        "input" | "output" => Cell::Text(match item.text(column) {
            Some(text) => Cow::Owned(text.into_owned()),
            None => Cow::Owned(item.present(column).unwrap_or_default().to_owned()),
        }),
        "metadata" => Cell::Object(item.value("metadata")),
        other => owned(other),
    }
}

/// Whether a trace is there at the horizon and fits all conditions, as it is seen then.
pub(crate) fn accepts_trace(store: &Store, trace: &Trace, conditions: &[Condition], horizon: Option<Micros>) -> bool {
    trace.is_here(horizon)
        && conditions.iter().all(|condition| {
            let cell = trace_cell(store, trace, &condition.column, horizon);
            condition.accepts(&cell)
        })
}

fn trace_cell<'a>(store: &Store, trace: &'a Trace, column: &str, horizon: Option<Micros>) -> Cell<'a> {
    match column {
        "id" => return Cell::Text(Cow::Borrowed(&trace.id)),
        "userId" => return Cell::Text(Cow::Borrowed(&trace.user_id)),
        "sessionId" => return Cell::Text(Cow::Borrowed(&trace.session_id)),
        "timestamp" => return Cell::Time(Some(trace.at)),
        "tags" => return Cell::List(trace.tags.clone()),
        "name" | "environment" | "release" | "version" => {
            return Cell::Text(Cow::Owned(trace.item.key(column).into()));
        }
        _ => {}
    }
    let seen = store.trace_at(trace, horizon);
    let item: &Item = &seen;
    let observations = || store.of_trace(&trace.id, horizon);
    let sum = |key: &str| {
        let total = observations().iter().filter_map(|o| o.seen_at(horizon).number(key)).sum();
        Cell::Number(Some(total))
    };
    let levels = |level: &str| {
        let count = observations().iter().filter(|o| &*o.level == level).count();
        Cell::Number(Some(count as f64))
    };
    match column {
        "bookmarked" => Cell::Bool(item.raw("bookmarked") == Some("true")),
        "metadata" => Cell::Object(item.value("metadata")),
        "latency" | "totalCost" => Cell::Number(item.number(column)),
        "inputTokens" => sum("promptTokens"),
        "outputTokens" => sum("completionTokens"),
        "totalTokens" | "tokens" => sum("totalTokens"),
        "inputCost" => sum("calculatedInputCost"),
        "outputCost" => sum("calculatedOutputCost"),
        "warningCount" => levels("WARNING"),
        "errorCount" => levels("ERROR"),
        "defaultCount" => levels("DEFAULT"),
        "debugCount" => levels("DEBUG"),
        "level" => {
            let found = observations();
            let worst = ["ERROR", "WARNING", "DEFAULT", "DEBUG"]
                .into_iter()
                .find(|level| found.iter().any(|o| &*o.level == *level));
            Cell::Text(worst.unwrap_or_default().into())
        }
        other => Cell::Text(Cow::Owned(item.key(other).into())),
    }
}
