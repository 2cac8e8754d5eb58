//! OTLP's protobuf. The three levels around the items are read by hand, so that items are decoded one by one: a bad one
//! costs itself, and a body of millions of empty messages never becomes millions of structures.
//!
//! Source: opentelemetry-proto, `collector/{trace,logs}/v1`, `{trace,logs,common}/v1`.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Kind};
use opentelemetry_proto::tonic::logs::v1::LogRecord as ProtoRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message;
use serde_json::Value;

use super::attributes::Attributes;
use super::decoded::{DecodeError, Decoded, LogRecord, Span, SpanEvent, id, optional_id};
use super::json::{STATUS_ERROR, is_remote};

/// Messages within one item at most: attributes, their values, events, links.
const MOST_PARTS: usize = 50_000;
/// Levels of messages within one item at most; the decoder's own limit is 100.
const DEEPEST: usize = 64;

type Flawed = (String, String);

pub(super) fn spans(body: &[u8]) -> Result<Decoded<Span>, DecodeError> {
    decode(body, &SPAN, |index, bytes, resource| {
        let span = ProtoSpan::decode(bytes).map_err(|_| unreadable("span"))?;
        from_span(index, span, resource)
    })
}

pub(super) fn logs(body: &[u8]) -> Result<Decoded<LogRecord>, DecodeError> {
    decode(body, &RECORD, |index, bytes, resource| {
        let record = ProtoRecord::decode(bytes).map_err(|_| unreadable("logRecord"))?;
        from_record(index, record, resource)
    })
}

fn unreadable(what: &str) -> Flawed {
    (what.to_owned(), "it is no message of OTLP".to_owned())
}

/// Both requests have the same outline: 1 a group, in it 1 the resource and 2 a scope, in that 2 an item.
fn decode<T>(
    body: &[u8],
    shape: &Shape,
    item: impl Fn(usize, &[u8], &Arc<Attributes>) -> Result<T, Flawed>,
) -> Result<Decoded<T>, DecodeError> {
    let mut decoded = Decoded::new();
    for group in messages(body, 1) {
        let group = group?;
        let resource = Arc::new(resource(group)?);
        for scope in messages(group, 2) {
            for bytes in messages(scope?, 2) {
                let (bytes, index) = (bytes?, decoded.total());
                let read = weigh(bytes, shape).and_then(|()| item(index, bytes, &resource));
                decoded.add(read);
            }
        }
    }
    Ok(decoded)
}

fn resource(group: &[u8]) -> Result<Attributes, DecodeError> {
    let mut found = Attributes::default();
    for bytes in messages(group, 1) {
        let bytes = bytes?;
        if weigh(bytes, &RESOURCE).is_err() {
            return Err(DecodeError("a resource has too many attributes".to_owned()));
        }
        let resource = Resource::decode(bytes).map_err(|_| malformed())?;
        found = attributes(resource.attributes);
    }
    Ok(found)
}

fn malformed() -> DecodeError {
    DecodeError("the body is no protobuf message of OTLP".to_owned())
}

/// One field of a message.
struct Field<'a> {
    number: u64,
    /// What is in it, if it has a length.
    bytes: Option<&'a [u8]>,
}

/// The fields of a message, in order.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or_else(malformed))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        let bytes = match key & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                Some(bytes)
            }
            5 => self.skip(4)?,
            _ => return None,
        };
        Some(Field { number: key >> 3, bytes })
    }

    fn skip(&mut self, length: usize) -> Option<Option<&'a [u8]>> {
        self.rest = self.rest.get(length..)?;
        Some(None)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// The messages in the fields of this number.
fn messages(bytes: &[u8], number: u64) -> impl Iterator<Item = Result<&[u8], DecodeError>> {
    Fields { rest: bytes }.filter_map(move |field| match field {
        Ok(field) if field.number == number => Some(field.bytes.ok_or_else(malformed)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// Which fields of a message are messages, and of what shape.
struct Shape(&'static [(u64, &'static Shape)]);

static RESOURCE: Shape = Shape(&[(1, &PAIR)]);
static SPAN: Shape = Shape(&[(9, &PAIR), (11, &EVENT), (13, &LINK), (15, &PLAIN)]);
static RECORD: Shape = Shape(&[(5, &VALUE), (6, &PAIR)]);
static EVENT: Shape = Shape(&[(3, &PAIR)]);
static LINK: Shape = Shape(&[(4, &PAIR)]);
static PAIR: Shape = Shape(&[(2, &VALUE)]);
static VALUE: Shape = Shape(&[(5, &ARRAY), (6, &LIST)]);
static ARRAY: Shape = Shape(&[(1, &VALUE)]);
static LIST: Shape = Shape(&[(1, &PAIR)]);
static PLAIN: Shape = Shape(&[]);

/// Refuses an item of too many or too deeply nested messages, before anything is made of it.
fn weigh(bytes: &[u8], shape: &Shape) -> Result<(), Flawed> {
    let mut parts = 0;
    let mut open: Vec<(&[u8], &Shape, usize)> = vec![(bytes, shape, 1)];
    while let Some((bytes, shape, depth)) = open.pop() {
        for field in (Fields { rest: bytes }) {
            let Ok(field) = field else { return Err(unreadable("item")) };
            let inner = shape.0.iter().find(|(number, _)| *number == field.number);
            if let (Some((_, inner)), Some(bytes)) = (inner, field.bytes) {
                parts += 1;
                if parts > MOST_PARTS {
                    return Err(("attributes".to_owned(), format!("there are more than {MOST_PARTS} of them")));
                }
                if depth >= DEEPEST {
                    return Err(("attributes".to_owned(), format!("they are nested more than {DEEPEST} levels deep")));
                }
                open.push((bytes, inner, depth + 1));
            }
        }
    }
    Ok(())
}

fn from_span(index: usize, span: ProtoSpan, resource: &Arc<Attributes>) -> Result<Span, Flawed> {
    if span.start_time_unix_nano == 0 {
        return Err(("startTimeUnixNano".to_owned(), "it is missing or 0".to_owned()));
    }
    let status = span.status.unwrap_or_default();
    let events = span.events.into_iter().map(|event| SpanEvent {
        at: event.time_unix_nano,
        name: event.name,
        attributes: attributes(event.attributes),
    });
    Ok(Span {
        index,
        trace_id: id("traceId", &span.trace_id)?,
        span_id: id("spanId", &span.span_id)?,
        parent: optional_id("parentSpanId", &span.parent_span_id)?,
        remote_parent: is_remote(u64::from(span.flags)),
        name: span.name,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        resource: Arc::clone(resource),
        events: events.collect(),
        failed: u64::try_from(status.code) == Ok(STATUS_ERROR),
        status_message: status.message,
    })
}

fn from_record(index: usize, record: ProtoRecord, resource: &Arc<Attributes>) -> Result<LogRecord, Flawed> {
    let at = if record.time_unix_nano == 0 { record.observed_time_unix_nano } else { record.time_unix_nano };
    Ok(LogRecord {
        index,
        at,
        event_name: record.event_name,
        body: record.body.map(any_value).unwrap_or_default(),
        attributes: attributes(record.attributes),
        resource: Arc::clone(resource),
        trace_id: optional_id("traceId", &record.trace_id)?,
        span_id: optional_id("spanId", &record.span_id)?,
    })
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let mut attributes = Attributes::default();
    for pair in pairs {
        attributes.insert(pair.key, pair.value.map(any_value).unwrap_or_default());
    }
    attributes
}

/// A value as plain JSON; bytes, and numbers that are none, become null.
fn any_value(value: AnyValue) -> Value {
    match value.value {
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::IntValue(number)) => Value::from(number),
        Some(Kind::DoubleValue(number)) => Value::from(number),
        Some(Kind::ArrayValue(array)) => array.values.into_iter().map(any_value).collect(),
        Some(Kind::KvlistValue(list)) => Value::Object(
            list.values.into_iter().map(|pair| (pair.key, pair.value.map(any_value).unwrap_or_default())).collect(),
        ),
        Some(Kind::BytesValue(_) | Kind::StringValueStrindex(_)) | None => Value::Null,
    }
}
