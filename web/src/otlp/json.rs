//! OTLP's JSON: ids in hexadecimal digits, 64-bit integers as texts (or numbers), enums as integers; unknown fields are
//! passed over. Source: OTLP specification, "JSON Protobuf Encoding".
//!
//! Must hold: items are read one by one, so a bad one is told from a bad request.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::attributes::Attributes;
use super::decoded::{DecodeError, Decoded, LogRecord, Span, SpanEvent, id, optional_id};

type Flawed = (String, String);

#[derive(Deserialize)]
struct Traces<'a> {
    #[serde(rename = "resourceSpans", borrow, default)]
    resource_spans: Option<Vec<ResourceSpans<'a>>>,
}

#[derive(Deserialize)]
struct ResourceSpans<'a> {
    #[serde(default)]
    resource: Option<Resource>,
    #[serde(rename = "scopeSpans", borrow, default)]
    scope_spans: Option<Vec<ScopeSpans<'a>>>,
}

#[derive(Deserialize)]
struct ScopeSpans<'a> {
    #[serde(borrow, default)]
    spans: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Logs<'a> {
    #[serde(rename = "resourceLogs", borrow, default)]
    resource_logs: Option<Vec<ResourceLogs<'a>>>,
}

#[derive(Deserialize)]
struct ResourceLogs<'a> {
    #[serde(default)]
    resource: Option<Resource>,
    #[serde(rename = "scopeLogs", borrow, default)]
    scope_logs: Option<Vec<ScopeLogs<'a>>>,
}

#[derive(Deserialize)]
struct ScopeLogs<'a> {
    #[serde(rename = "logRecords", borrow, default)]
    log_records: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    attributes: Value,
}

pub(super) fn spans(body: &[u8]) -> Result<Decoded<Span>, DecodeError> {
    let request: Traces<'_> = serde_json::from_slice(body).map_err(|error| malformed("resourceSpans", &error))?;
    let mut decoded = Decoded::new();
    for group in request.resource_spans.into_iter().flatten() {
        let resource = resource(group.resource);
        for raw in group.scope_spans.into_iter().flatten().flat_map(|scope| scope.spans.into_iter().flatten()) {
            let index = decoded.total();
            decoded.add(object("span", raw).and_then(|fields| span(index, &fields, &resource)));
        }
    }
    Ok(decoded)
}

pub(super) fn logs(body: &[u8]) -> Result<Decoded<LogRecord>, DecodeError> {
    let request: Logs<'_> = serde_json::from_slice(body).map_err(|error| malformed("resourceLogs", &error))?;
    let mut decoded = Decoded::new();
    for group in request.resource_logs.into_iter().flatten() {
        let resource = resource(group.resource);
        for raw in group.scope_logs.into_iter().flatten().flat_map(|scope| scope.log_records.into_iter().flatten()) {
            let index = decoded.total();
            decoded.add(object("logRecord", raw).and_then(|fields| record(index, &fields, &resource)));
        }
    }
    Ok(decoded)
}

fn malformed(what: &str, error: &serde_json::Error) -> DecodeError {
    let kind =
        if error.is_data() { format!("the body has no {what} of OTLP") } else { "the body is no JSON".to_owned() };
    // What serde says of data may repeat it.
    DecodeError(format!("{kind}: line {}, column {}", error.line(), error.column()))
}

fn resource(resource: Option<Resource>) -> Arc<Attributes> {
    Arc::new(resource.map(|resource| attributes(&resource.attributes)).unwrap_or_default())
}

fn object(what: &str, raw: &RawValue) -> Result<Map<String, Value>, Flawed> {
    match serde_json::from_str(raw.get()) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err((what.to_owned(), "it is no object".to_owned())),
        Err(error) => Err((what.to_owned(), format!("it cannot be read at its column {}", error.column()))),
    }
}

fn span(index: usize, fields: &Map<String, Value>, resource: &Arc<Attributes>) -> Result<Span, Flawed> {
    let status = fields.get("status").and_then(Value::as_object);
    let status_code =
        status.and_then(|status| status.get("code")).map_or(Ok(0), |code| integer("status.code", code))?;
    let status_message = status.and_then(|status| status.get("message")?.as_str()).unwrap_or_default().to_owned();
    let flags = fields.get("flags").map_or(Ok(0), |flags| integer("flags", flags))?;
    let start = time(fields, "startTimeUnixNano")?;
    if start == 0 {
        return Err(("startTimeUnixNano".to_owned(), "it is missing or 0".to_owned()));
    }
    Ok(Span {
        index,
        trace_id: id("traceId", &hex_bytes(fields, "traceId")?)?,
        span_id: id("spanId", &hex_bytes(fields, "spanId")?)?,
        parent: optional_id("parentSpanId", &hex_bytes(fields, "parentSpanId")?)?,
        remote_parent: is_remote(flags),
        name: fields.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        start,
        end: time(fields, "endTimeUnixNano")?,
        attributes: fields.get("attributes").map(attributes).unwrap_or_default(),
        resource: Arc::clone(resource),
        events: events(fields.get("events")),
        failed: status_code == STATUS_ERROR,
        status_message,
    })
}

/// `STATUS_CODE_ERROR` of OTLP.
pub(super) const STATUS_ERROR: u64 = 2;

/// Whether the flags of a span say that its parent is another process's.
pub(super) fn is_remote(flags: u64) -> bool {
    const KNOWN: u64 = 0x100;
    const REMOTE: u64 = 0x200;
    flags & (KNOWN | REMOTE) == KNOWN | REMOTE
}

fn events(value: Option<&Value>) -> Vec<SpanEvent> {
    let events = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    events
        .filter_map(|event| {
            Some(SpanEvent {
                at: time(event, "timeUnixNano").ok()?,
                name: event.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
                attributes: event.get("attributes").map(attributes).unwrap_or_default(),
            })
        })
        .collect()
}

fn record(index: usize, fields: &Map<String, Value>, resource: &Arc<Attributes>) -> Result<LogRecord, Flawed> {
    let at = match time(fields, "timeUnixNano")? {
        0 => time(fields, "observedTimeUnixNano")?,
        at => at,
    };
    Ok(LogRecord {
        index,
        at,
        event_name: fields.get("eventName").and_then(Value::as_str).unwrap_or_default().to_owned(),
        body: fields.get("body").map(any_value).unwrap_or_default(),
        attributes: fields.get("attributes").map(attributes).unwrap_or_default(),
        resource: Arc::clone(resource),
        trace_id: optional_id("traceId", &hex_bytes(fields, "traceId")?)?,
        span_id: optional_id("spanId", &hex_bytes(fields, "spanId")?)?,
    })
}

fn hex_bytes(fields: &Map<String, Value>, field: &str) -> Result<Vec<u8>, Flawed> {
    let text = match fields.get(field) {
        None | Some(Value::Null) => "",
        Some(Value::String(text)) => text.as_str(),
        Some(_) => return Err((field.to_owned(), "it must be a text of hexadecimal digits".to_owned())),
    };
    hex::decode(text).map_err(|_| (field.to_owned(), "it must be hexadecimal digits, two for each byte".to_owned()))
}

fn time(fields: &Map<String, Value>, field: &str) -> Result<u64, Flawed> {
    fields.get(field).map_or(Ok(0), |value| integer(field, value))
}

/// A whole number that is not negative, as number or text.
fn integer(field: &str, value: &Value) -> Result<u64, Flawed> {
    let number = match value {
        Value::Null => Some(0),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| (field.to_owned(), "it must be a whole number, not negative, as number or text".to_owned()))
}

fn attributes(list: &Value) -> Attributes {
    let mut attributes = Attributes::default();
    for pair in list.as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (pair.get("key").and_then(Value::as_str), pair.get("value")) {
            attributes.insert(name.to_owned(), any_value(value));
        }
    }
    attributes
}

/// A value of OTLP as plain JSON. Bytes and numbers that are none become null. Depth is bounded by the parser.
fn any_value(value: &Value) -> Value {
    let Some((kind, value)) =
        value.as_object().and_then(|object| object.iter().find(|(name, _)| name.ends_with("Value")))
    else {
        return Value::Null;
    };
    match (kind.as_str(), value) {
        ("stringValue", Value::String(_)) | ("boolValue", Value::Bool(_)) | ("doubleValue", Value::Number(_)) => {
            value.clone()
        }
        ("intValue", Value::Number(number)) => Value::Number(number.clone()),
        ("intValue", Value::String(text)) => text.parse::<i64>().map_or(Value::Null, Value::from),
        ("doubleValue", Value::String(text)) => text.parse::<f64>().map_or(Value::Null, Value::from),
        ("arrayValue", _) => {
            value.get("values").and_then(Value::as_array).into_iter().flatten().map(any_value).collect()
        }
        ("kvlistValue", _) => {
            let pairs = value.get("values").and_then(Value::as_array).into_iter().flatten();
            let members = pairs.filter_map(|pair| {
                Some((pair.get("key")?.as_str()?.to_owned(), pair.get("value").map(any_value).unwrap_or_default()))
            });
            Value::Object(members.collect())
        }
        _ => Value::Null,
    }
}
