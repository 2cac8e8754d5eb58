//! Telling formats apart, and reading each into events.
//!
//! Known: a single event of the Dunetrace wire, a batch of them, a line that its SDKs write for Loki (also inside of what
//! `logcli` and Docker put around a line), OTLP traces and logs in JSON, a batch of the session wire or a single event
//! of it, and arrays of any of these.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tripline_store::ingest::WireEvent;
use tripline_web::otlp::{self, Flaw, Mapped};

/// Arrays and wrappers within each other at most.
const DEEPEST: usize = 4;
/// Values of one item at most: 500 events of as many values as an event may have.
const MOST_VALUES: usize = 500_000;
/// Values of one text at most, items of an array and what is in them.
const MOST_IN_ALL: usize = 20_000_000;

type Flawed = (String, String);

/// What a text holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Events and what was meant to be one, with its place if there are several.
    pub(super) events: Vec<(Option<usize>, Result<WireEvent, Flawed>)>,
    /// Batches of sessions, with their places.
    pub(super) sessions: Vec<(Option<usize>, Map<String, Value>)>,
    /// Single events of sessions, with their places: each names its session itself.
    pub(super) session_events: Vec<(Option<usize>, Value)>,
    /// Spans and records that have nothing to do with agents.
    pub(super) passed_over: usize,
}

impl Found {
    fn one(event: Result<WireEvent, Flawed>) -> Self {
        Self { events: vec![(None, event)], ..Self::default() }
    }

    fn refused(reason: &str) -> Self {
        Self::one(Err((String::new(), reason.to_owned())))
    }

    /// Takes the events of item `place`.
    fn add(&mut self, place: usize, found: Self) {
        self.events.extend(found.events.into_iter().map(|(_, event)| (Some(place), event)));
        self.sessions.extend(found.sessions.into_iter().map(|(_, batch)| (Some(place), batch)));
        self.session_events.extend(found.session_events.into_iter().map(|(_, event)| (Some(place), event)));
        self.passed_over += found.passed_over;
    }
}

/// What is read of a text at a time.
#[derive(Debug)]
pub(super) enum Items<'a> {
    /// The text is one item.
    One(&'a str),
    /// It is an array: each of these.
    Each(Vec<&'a RawValue>),
}

/// Cuts a JSON text into items, so that a long array takes no more memory than its text and its longest item.
///
/// # Errors
/// Why it has none.
pub(super) fn items(text: &str) -> Result<Items<'_>, String> {
    if !text.starts_with('[') {
        return Ok(Items::One(text));
    }
    check_count(text, MOST_IN_ALL)?;
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(items) => Ok(Items::Each(items)),
        Err(error) => Err(no_json(&error)),
    }
}

/// Reads one item; `within`: whether it stands in an array.
pub(super) fn read(text: &str, within: bool) -> Found {
    if let Err(reason) = check_count(text, MOST_VALUES) {
        return Found::refused(&reason);
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) => read_value(value, usize::from(within)),
        Err(error) => read_item_by_item(text).unwrap_or_else(|| Found::refused(&no_json(&error))),
    }
}

/// A batch of which one event is nested too deeply to be read, or has a number that is none: the others are read all the same.
fn read_item_by_item(text: &str) -> Option<Found> {
    #[derive(serde::Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
        session_id: Option<serde::de::IgnoredAny>,
    }
    let batch: Batch<'_> = serde_json::from_str(text).ok().filter(|batch: &Batch<'_>| batch.session_id.is_none())?;
    let mut found = Found::default();
    for (place, event) in batch.events.into_iter().enumerate() {
        found.add(
            place,
            match serde_json::from_str::<Value>(event.get()) {
                Ok(event) => read_value(event, 1),
                Err(error) => Found::refused(&no_json(&error)),
            },
        );
    }
    Some(found)
}

/// The parser has no other word for it.
fn is_too_deep(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("recursion limit exceeded")
}

/// Refuses what has more values than may be held, before it is read.
fn check_count(text: &str, most: usize) -> Result<(), String> {
    // Each takes a byte and what parts it from the next.
    if text.len() / 2 <= most {
        return Ok(());
    }
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    if count <= most { Ok(()) } else { Err(format!("it has more than {most} values; write one event per line")) }
}

fn no_json(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    if is_too_deep(error) {
        return format!("it is nested more than 128 levels deep at its line {line}, column {column}");
    }
    let cut_off = if error.is_eof() { ": it is cut off there" } else { "" };
    format!("it is no JSON at its line {line}, column {column}{cut_off}")
}

fn read_value(value: Value, depth: usize) -> Found {
    match value {
        Value::Array(items) if depth < DEEPEST => {
            let mut found = Found::default();
            for (place, item) in items.into_iter().enumerate() {
                found.add(place, read_value(item, depth + 1));
            }
            found
        }
        Value::Object(fields) => read_object(fields, depth),
        _ => Found::refused("it is neither an object nor an array of objects"),
    }
}

fn read_object(fields: Map<String, Value>, depth: usize) -> Found {
    let has = |name: &str| fields.contains_key(name);
    if has("resourceSpans") || has("resourceLogs") {
        return read_otlp(&fields);
    }
    if has("event_type") && has("run_id") {
        return Found::one(otlp::dunetrace::event(&fields));
    }
    if has("event_type") && has("source_type") {
        return Found { session_events: vec![(None, Value::Object(fields))], ..Found::default() };
    }
    if has("context") && has("start_time") && has("attributes") {
        return Found::refused(
            "it is a span as OpenTelemetry's console exporter for Python prints it; send spans by OTLP, or write them as OTLP JSON",
        );
    }
    if let Some(Value::Array(events)) = fields.get("events") {
        if events.is_empty() && !has("session_id") {
            return Found::refused("events: there must be one at least");
        }
        return if is_session(&fields, events) {
            Found { sessions: vec![(None, fields)], ..Found::default() }
        } else {
            read_batch(events)
        };
    }
    // Of `logcli -o jsonl` and of Docker's log files.
    for wrapper in ["line", "log"] {
        if let Some(Value::String(inner)) = fields.get(wrapper)
            && depth < DEEPEST
        {
            return match serde_json::from_str(inner) {
                Ok(value) => read_value(value, depth + 1),
                Err(_) => Found { passed_over: 1, ..Found::default() },
            };
        }
    }
    Found::refused(
        "it is in no known format: neither an event (event_type, run_id), an event of a session (event_type, source_type, \
         session_id), a batch (events), nor OTLP (resourceSpans, resourceLogs)",
    )
}

/// A batch of the session wire: it says which session, and its events have sources instead of runs.
fn is_session(fields: &Map<String, Value>, events: &[Value]) -> bool {
    let of_session = |event: &Value| event.get("source_type").is_some() && event.get("run_id").is_none();
    fields.contains_key("session_id") || (!events.is_empty() && events.iter().all(of_session))
}

fn read_batch(events: &[Value]) -> Found {
    let read = |event: &Value| match event {
        Value::Object(fields) => otlp::dunetrace::event(fields),
        _ => Err((String::new(), "the event is no object".to_owned())),
    };
    Found {
        events: events.iter().enumerate().map(|(place, event)| (Some(place), read(event))).collect(),
        ..Found::default()
    }
}

fn read_otlp(fields: &Map<String, Value>) -> Found {
    let text = Value::Object(fields.clone()).to_string();
    let mut found = Found::default();
    let decoded = otlp::decode_json_spans(text.as_bytes());
    match decoded {
        Ok(decoded) => {
            let total = decoded.items.len();
            found.add_mapped(total, otlp::map_spans(&decoded.items));
            found.add_flaws(decoded.flaws, decoded.flawed);
        }
        Err(error) => return Found::refused(&error.to_string()),
    }
    match otlp::decode_json_logs(text.as_bytes()) {
        Ok(decoded) => {
            let total = decoded.items.len();
            let (mapped, flaws) = otlp::map_logs(&decoded.items);
            found.add_mapped(total - flaws.len(), mapped);
            found.add_flaws(decoded.flaws, decoded.flawed);
            let flawed = flaws.len();
            found.add_flaws(flaws, flawed);
        }
        Err(error) => return Found::refused(&error.to_string()),
    }
    found
}

impl Found {
    fn add_mapped(&mut self, total: usize, mapped: Mapped) {
        let told: std::collections::BTreeSet<usize> = mapped.sources.iter().copied().collect();
        self.passed_over += total - told.len().min(total);
        let events = mapped.sources.into_iter().zip(mapped.events);
        self.events.extend(events.map(|(place, event)| (Some(place), Ok(event))));
    }

    /// The flaws that are told, and for those that are not, that there are more.
    fn add_flaws(&mut self, flaws: Vec<Flaw>, flawed: usize) {
        let told = flaws.len();
        self.events.extend(flaws.into_iter().map(|flaw| (Some(flaw.index), Err((flaw.field, flaw.reason)))));
        let more = (told..flawed).map(|_| (None, Err((String::new(), "like those before it".to_owned()))));
        self.events.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// All that a text holds.
    fn read(text: &str) -> Found {
        let mut found = Found::default();
        match items(text) {
            Ok(Items::One(text)) => return super::read(text, false),
            Ok(Items::Each(items)) => {
                for (place, item) in items.into_iter().enumerate() {
                    found.add(place, super::read(item.get(), true));
                }
            }
            Err(reason) => return Found::refused(&reason),
        }
        found
    }

    fn event() -> Value {
        json!({"event_type": "llm.called", "run_id": "r", "agent_id": "a", "agent_version": "v", "step_index": 1,
               "timestamp": 1.5, "payload": {"model": "m"}})
    }

    /// Places and types, or what is wrong.
    fn found(value: &Value) -> Vec<(Option<usize>, String)> {
        let events = read(&value.to_string()).events.into_iter();
        events
            .map(|(place, event)| {
                (place, event.map_or_else(|(field, reason)| format!("{field}! {reason}"), |e| e.event_type))
            })
            .collect()
    }

    fn types(value: &Value) -> Vec<String> {
        found(value).into_iter().map(|(_, kind)| kind).collect()
    }

    #[test]
    fn events_batches_and_lines_for_loki_are_told_apart() {
        assert_eq!(found(&event()), [(None, "llm.called".to_owned())]);
        let batch = json!({"api_key": "", "agent_id": "a", "events": [event(), 7, event()]});
        let of_batch = found(&batch);
        assert_eq!(of_batch[0], (Some(0), "llm.called".to_owned()));
        assert_eq!(of_batch[1], (Some(1), "! the event is no object".to_owned()));
        assert_eq!(of_batch[2], (Some(2), "llm.called".to_owned()));
        assert_eq!(types(&json!([event(), batch])).len(), 4);
        let mut loki = event();
        loki["ts"] = json!("2026-11-21T00:01:55.531703Z");
        loki.as_object_mut().unwrap().remove("timestamp");
        for line in [
            loki.clone(),
            json!({"labels": {}, "line": loki.to_string(), "timestamp": "x"}),
            json!({"log": format!("{loki}\n"), "stream": "stdout", "time": "x"}),
        ] {
            let events = read(&line.to_string()).events;
            assert!((events[0].1.as_ref().unwrap().timestamp.unwrap() - 1_795_219_315.531_703).abs() < 1e-6);
        }
    }

    #[test]
    fn spans_and_records_are_mapped_and_others_are_counted() {
        let span = |id: &str, operation: &str| {
            json!({"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "startTimeUnixNano": "1795219200000000000",
                   "endTimeUnixNano": "1795219200000000001", "parentSpanId": "00000000000000ff",
                   "attributes": [{"key": operation, "value": {"stringValue": "chat"}}]})
        };
        let spans = [
            span("00000000000000aa", "gen_ai.operation.name"),
            span("00000000000000ab", "http.method"),
            span("xx", "gen_ai.operation.name"),
        ];
        let traces = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]});
        let of_traces = read(&traces.to_string());
        assert_eq!(of_traces.passed_over, 1);
        let places: Vec<_> = of_traces.events.iter().map(|(place, event)| (place.unwrap(), event.is_ok())).collect();
        assert_eq!(places, [(0, true), (0, true), (2, false)]);
        let record = json!({"body": {"stringValue": event().to_string()}});
        let logs = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]});
        assert_eq!(types(&logs), ["llm.called"]);
    }

    #[test]
    fn a_batch_without_events_and_a_span_of_a_console_are_refused_and_not_passed_over() {
        let span = json!({"name": "llm_call", "context": {"trace_id": "0x01", "span_id": "0x02", "trace_state": "[]"},
                          "kind": "SpanKind.INTERNAL", "parent_id": null, "start_time": "2026-11-20T00:00:00.000000Z",
                          "end_time": "2026-11-20T00:00:01.000000Z", "attributes": {}, "events": [], "links": []});
        for (value, why) in [(json!([span, span]), "OTLP"), (json!({"events": []}), "one at least")] {
            let all = types(&value);
            assert_eq!(all.len(), value.as_array().map_or(1, Vec::len));
            assert!(all.iter().all(|reason| reason.contains(why)), "{all:?}");
        }
    }

    #[test]
    fn batches_of_sessions_are_known_by_their_session_or_their_sources() {
        let event = json!({"event_type": "error", "source_type": "agent"});
        for batch in [json!({"session_id": "s", "events": [event]}), json!({"events": [event, event]})] {
            let found = read(&json!([batch]).to_string());
            assert_eq!((found.events.len(), found.sessions[0].0), (0, Some(0)));
            assert_eq!(Value::Object(found.sessions[0].1.clone()), batch);
        }
    }

    #[test]
    fn a_single_event_of_a_session_is_known_by_its_source() {
        let event =
            json!({"event_type": "error", "source_type": "agent", "session_id": "s", "payload": {"events": []}});
        let found = read(&event.to_string());
        assert_eq!((found.events.len(), found.session_events), (0, vec![(None, event.clone())]));
        let wrapped = json!({"log": format!("{event}\n"), "stream": "stdout"});
        assert_eq!(read(&json!([1, wrapped]).to_string()).session_events, [(Some(1), event)]);
    }

    #[test]
    fn what_is_something_else_is_refused_with_a_reason() {
        assert!(types(&json!({"hello": 1}))[0].contains("no known format"));
        assert!(types(&json!(7))[0].contains("neither an object"));
        let mut bad = event();
        bad["step_index"] = json!("1");
        assert_eq!(types(&bad), ["step_index! it must be a whole number"]);
        assert!(types(&json!([[[[[[event()]]]]]]))[0].contains("neither an object"));
        assert!(read("{").events[0].1.is_err());
    }

    #[test]
    fn what_is_too_deep_too_many_or_cut_off_is_said_to_be_that() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let said = |text: &str| read(text).events[0].1.clone().unwrap_err().1;
        assert!(said(&format!("{{\"a\": {deep}}}")).contains("nested more than 128 levels"));
        assert!(said(&deep).contains("nested more than 128 levels"));
        assert!(said("{\"a\": ").contains("it is cut off there"));
        let many = format!("{{\"a\": [{}1]}}", "1,".repeat(MOST_VALUES));
        assert!(said(&many).contains("more than 500000 values"));
        let texts = format!("{{\"a\": \"{}\", \"event_type\": 1, \"run_id\": 2}}", ",[\\\"".repeat(MOST_VALUES));
        assert_eq!(said(&texts), "it must be a text", "what stands in a text is no value");
        let items = format!("[{}1]", "1,".repeat(MOST_IN_ALL));
        assert!(said(&items).contains("more than 20000000 values"));
    }
}
