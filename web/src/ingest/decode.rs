//! From the bytes of a batch to its events, each on its own.
//!
//! Owns the form of the Dunetrace wire. Must hold: JSON is parsed once where nothing is wrong with it; an event that is
//! wrong (a field of another type, NaN, bytes that are no UTF-8, too deep) is a rejection, and its neighbours are kept;
//! no input makes it panic, recurse deeply or take more memory than a small multiple of the body.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tripline_store::WireEvent;

/// What is named where an event is wrong as a whole.
const WHOLE: &str = "event";
/// The fields of an event.
const FIELDS: [&str; 11] = [
    "event_type",
    "run_id",
    "agent_id",
    "agent_version",
    "step_index",
    "timestamp",
    "payload",
    "parent_run_id",
    "trace_id",
    "conversation_id",
    "event_id",
];

/// A field and what is wrong with it.
pub(crate) type Flaw = (&'static str, String);
/// An event, or why it is none.
pub(crate) type Item = Result<WireEvent, Flaw>;

/// A batch.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Batch {
    /// The key that the SDK puts in the body; empty without one.
    pub(crate) api_key: String,
    pub(crate) events: Vec<Item>,
}

/// Why a batch is none.
#[derive(Debug, PartialEq)]
pub(crate) struct NoBatch {
    /// The field that is wrong; empty when it is the body as a whole.
    pub(crate) field: &'static str,
    pub(crate) reason: String,
}

fn no_batch(field: &'static str, reason: impl Into<String>) -> NoBatch {
    NoBatch { field, reason: reason.into() }
}

/// Reads a batch of at most `most` events.
///
/// # Errors
/// When the envelope is not of the form that is needed. Events that are wrong are in the batch.
pub(crate) fn batch(body: &[u8], most: usize) -> Result<Batch, NoBatch> {
    let body = without_bom(body);
    let mut reader = serde_json::Deserializer::from_slice(body);
    let envelope = Envelope { most }.deserialize(&mut reader).and_then(|envelope| reader.end().map(|()| envelope));
    let read = match envelope {
        Ok(read) => read,
        // Something in it is no JSON: perhaps one event only.
        Err(error) => piecewise(body, most).ok_or_else(|| no_batch("", format!("the body is no JSON: {error}")))?,
    };
    read.check(most)
}

/// A text without the mark that some editors put before it.
pub(crate) fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// What was found in the envelope.
#[derive(Default)]
struct Read {
    api_key: Lenient<String>,
    agent_id: Lenient<String>,
    events: Events,
}

#[derive(Default)]
enum Events {
    #[default]
    Missing,
    NoList,
    TooMany,
    List(Vec<Item>),
}

impl Read {
    fn check(self, most: usize) -> Result<Batch, NoBatch> {
        let api_key = match self.api_key {
            Lenient::Is(key) => key,
            Lenient::Missing | Lenient::Null => String::new(),
            Lenient::Wrong(kind) => return Err(no_batch("api_key", format!("it must be text, not {kind}"))),
        };
        match self.agent_id {
            Lenient::Is(id) if !id.is_empty() => {}
            Lenient::Wrong(kind) => return Err(no_batch("agent_id", format!("it must be text, not {kind}"))),
            _ => return Err(no_batch("agent_id", "it is missing or empty")),
        }
        match self.events {
            Events::List(events) if events.is_empty() => Err(no_batch("events", "there must be one at least")),
            Events::List(events) => Ok(Batch { api_key, events }),
            Events::Missing => Err(no_batch("events", "it is missing")),
            Events::NoList => Err(no_batch("events", "it must be a list")),
            Events::TooMany => Err(no_batch("events", format!("a batch has at most {most}"))),
        }
    }
}

/// A value that may be of another type than it should, which is for others to judge.
#[derive(Debug, Clone, PartialEq, Default)]
enum Lenient<T> {
    #[default]
    Missing,
    Null,
    Is(T),
    /// "a number", "an object" …
    Wrong(&'static str),
}

/// How a type is read from each of JSON's.
trait Loose: Sized {
    fn text(_: &str) -> Lenient<Self> {
        Lenient::Wrong("text")
    }
    fn integer(_: i128) -> Lenient<Self> {
        Lenient::Wrong("a number")
    }
    fn float(_: f64) -> Lenient<Self> {
        Lenient::Wrong("a number")
    }
    fn object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Lenient<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Lenient::Wrong("an object"))
    }
}

impl Loose for String {
    fn text(text: &str) -> Lenient<Self> {
        Lenient::Is(text.to_owned())
    }
}

/// Lossless coercions are none: `3.0` and `"3"` are 3.
impl Loose for i64 {
    fn text(text: &str) -> Lenient<Self> {
        text.trim().parse().map_or(Lenient::Wrong("text"), Lenient::Is)
    }
    fn integer(value: i128) -> Lenient<Self> {
        Self::try_from(value).map_or(Lenient::Wrong("a number beyond 64 bits"), Lenient::Is)
    }
    fn float(value: f64) -> Lenient<Self> {
        let is_whole = value.fract() == 0.0 && value.abs() < 9e15;
        match is_whole {
            true => Lenient::Is(value as Self),
            false if value.fract() == 0.0 => Lenient::Wrong("a number beyond 64 bits"),
            false => Lenient::Wrong("a fraction"),
        }
    }
}

impl Loose for f64 {
    fn text(text: &str) -> Lenient<Self> {
        text.trim().parse().ok().filter(|value: &Self| value.is_finite()).map_or(Lenient::Wrong("text"), Lenient::Is)
    }
    fn integer(value: i128) -> Lenient<Self> {
        Lenient::Is(value as Self)
    }
    fn float(value: f64) -> Lenient<Self> {
        Lenient::Is(value)
    }
}

impl Loose for Map<String, Value> {
    fn object<'de, A: MapAccess<'de>>(map: A) -> Result<Lenient<Self>, A::Error> {
        Self::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Lenient::Is)
    }
}

impl<'de, T: Loose> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(std::marker::PhantomData<T>);
        impl<'de, T: Loose> Visitor<'de> for Any<T> {
            type Value = Lenient<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Lenient::Wrong("true or false"))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(T::integer(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(T::integer(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(T::float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(T::text(value))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Lenient::Null)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::object(map)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Lenient::Wrong("a list"))
            }
        }
        deserializer.deserialize_any(Any(std::marker::PhantomData))
    }
}

/// Reads the envelope; unknown keys are skipped.
struct Envelope {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Envelope {
    type Value = Read;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Read, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Envelope {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with agent_id and events")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let mut read = Read::default();
        while let Some(key) = map.next_key::<Word>()? {
            match key {
                Word::ApiKey => read.api_key = map.next_value()?,
                Word::AgentId => read.agent_id = map.next_value()?,
                Word::Events => read.events = map.next_value_seed(List { most: self.most })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(read)
    }
}

struct List {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for List {
    type Value = Events;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Events, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Events;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Events, A::Error> {
        let mut events = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(self.most));
        while events.len() < self.most {
            let Some(Fields(item)) = seq.next_element()? else { return Ok(Events::List(events)) };
            events.push(item);
        }
        if seq.next_element::<IgnoredAny>()?.is_none() {
            return Ok(Events::List(events));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Events::TooMany)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Events, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Events::NoList)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Events, E> {
        Ok(Events::NoList)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Events, E> {
        Ok(Events::NoList)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Events, E> {
        Ok(Events::NoList)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Events, E> {
        Ok(Events::NoList)
    }
    fn visit_str<E>(self, _: &str) -> Result<Events, E> {
        Ok(Events::NoList)
    }
    fn visit_unit<E>(self) -> Result<Events, E> {
        Ok(Events::NoList)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Word {
    ApiKey,
    EventType,
    RunId,
    AgentId,
    AgentVersion,
    StepIndex,
    Timestamp,
    Payload,
    ParentRunId,
    TraceId,
    ConversationId,
    EventId,
    Events,
    #[serde(other)]
    Other,
}

/// One event.
struct Fields(Item);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Event;
        impl<'de> Visitor<'de> for Event {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fields, A::Error> {
                event(map).map(Fields)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Fields, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(no_object())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Fields, E> {
                Ok(no_object())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Fields, E> {
                Ok(no_object())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Fields, E> {
                Ok(no_object())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Fields, E> {
                Ok(no_object())
            }
            fn visit_str<E>(self, _: &str) -> Result<Fields, E> {
                Ok(no_object())
            }
            fn visit_unit<E>(self) -> Result<Fields, E> {
                Ok(no_object())
            }
        }
        deserializer.deserialize_any(Event)
    }
}

fn no_object() -> Fields {
    Fields(Err((WHOLE, "an event must be an object".to_owned())))
}

fn event<'de, A: MapAccess<'de>>(mut map: A) -> Result<Item, A::Error> {
    let [mut event_type, mut run_id, mut agent_id, mut agent_version] = [const { Lenient::<String>::Missing }; 4];
    let [mut parent_run_id, mut trace_id, mut conversation_id, mut event_id] =
        [const { Lenient::<String>::Missing }; 4];
    let (mut step_index, mut timestamp) = (Lenient::<i64>::Missing, Lenient::<f64>::Missing);
    let mut payload = Lenient::<Map<String, Value>>::Missing;
    while let Some(key) = map.next_key::<Word>()? {
        match key {
            Word::EventType => event_type = map.next_value()?,
            Word::RunId => run_id = map.next_value()?,
            Word::AgentId => agent_id = map.next_value()?,
            Word::AgentVersion => agent_version = map.next_value()?,
            Word::StepIndex => step_index = map.next_value()?,
            Word::Timestamp => timestamp = map.next_value()?,
            Word::Payload => payload = map.next_value()?,
            Word::ParentRunId => parent_run_id = map.next_value()?,
            Word::TraceId => trace_id = map.next_value()?,
            Word::ConversationId => conversation_id = map.next_value()?,
            Word::EventId => event_id = map.next_value()?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
    }
    let judged = || -> Item {
        Ok(WireEvent {
            event_type: required("event_type", "text", event_type)?,
            run_id: required("run_id", "text", run_id)?,
            agent_id: required("agent_id", "text", agent_id)?,
            agent_version: required("agent_version", "text", agent_version)?,
            step_index: required("step_index", "a whole number", step_index)?,
            timestamp: optional("timestamp", "a number", timestamp)?,
            payload: optional("payload", "an object", payload)?.unwrap_or_default(),
            parent_run_id: optional("parent_run_id", "text", parent_run_id)?,
            trace_id: optional("trace_id", "text", trace_id)?,
            conversation_id: optional("conversation_id", "text", conversation_id)?,
            event_id: optional("event_id", "text", event_id)?,
        })
    };
    Ok(judged())
}

fn optional<T>(field: &'static str, wanted: &str, value: Lenient<T>) -> Result<Option<T>, Flaw> {
    match value {
        Lenient::Missing | Lenient::Null => Ok(None),
        Lenient::Is(value) => Ok(Some(value)),
        Lenient::Wrong(kind) => Err((field, format!("it must be {wanted}, not {kind}"))),
    }
}

fn required<T>(field: &'static str, wanted: &str, value: Lenient<T>) -> Result<T, Flaw> {
    optional(field, wanted, value)?.ok_or_else(|| (field, "it is missing".to_owned()))
}

/// Reads a body of which some part is no JSON: the envelope is taken apart by its brackets and quotes alone, and each
/// event is read on its own. `None` when even the brackets do not fit.
fn piecewise(body: &[u8], most: usize) -> Option<Read> {
    let mut read = Read::default();
    for (key, text) in fields(body)? {
        match key.as_deref() {
            Some("api_key") => read.api_key = serde_json::from_slice(text).ok()?,
            Some("agent_id") => read.agent_id = serde_json::from_slice(text).ok()?,
            Some("events") => {
                read.events = match items(text, most)? {
                    Items::NoList => Events::NoList,
                    Items::TooMany => Events::TooMany,
                    Items::List(items) => Events::List(items.into_iter().map(item).collect()),
                }
            }
            _ => {}
        }
    }
    Some(read)
}

/// The fields of an object, told apart by brackets and quotes alone: their names, if they are text, and their values as they are.
pub(crate) fn fields(body: &[u8]) -> Option<Vec<(Option<String>, &[u8])>> {
    let mut fields = Vec::new();
    let mut at = expect(body, space(body, 0), b'{')?;
    loop {
        at = space(body, at);
        if body.get(at) == Some(&b'}') {
            break;
        }
        let end = value(body, at)?;
        let key: Option<String> = serde_json::from_slice(body.get(at..end)?).ok();
        at = space(body, expect(body, space(body, end), b':')?);
        let end = value(body, at)?;
        fields.push((key, body.get(at..end)?));
        at = space(body, end);
        match body.get(at)? {
            b',' => at += 1,
            b'}' => break,
            _ => return None,
        }
    }
    (space(body, at + 1) == body.len()).then_some(fields)
}

/// What a list holds.
pub(crate) enum Items<'a> {
    NoList,
    TooMany,
    List(Vec<&'a [u8]>),
}

/// The items of a list, told apart by brackets and quotes alone. `None` when they do not fit.
pub(crate) fn items(text: &[u8], most: usize) -> Option<Items<'_>> {
    if text.first() != Some(&b'[') {
        return Some(Items::NoList);
    }
    let mut items = Vec::new();
    let mut at = space(text, 1);
    while text.get(at)? != &b']' {
        let end = value(text, at)?;
        if items.len() == most {
            return Some(Items::TooMany);
        }
        items.push(text.get(at..end)?);
        at = space(text, end);
        match text.get(at)? {
            b',' => at = space(text, at + 1),
            b']' => {}
            _ => return None,
        }
    }
    Some(Items::List(items))
}

fn item(text: &[u8]) -> Item {
    match serde_json::from_slice::<Fields>(text) {
        Ok(Fields(item)) => item,
        Err(error) => Err((flawed(text), why_no_json(text, &error))),
    }
}

/// The field of an event that is no JSON; the event where that cannot be told.
fn flawed(text: &[u8]) -> &'static str {
    let wrong = fields(text).into_iter().flatten().find(|(key, value)| {
        // Fields that are not taken may say what they like, as long as it is JSON.
        key.is_none() || serde_json::from_slice::<Value>(value).is_err()
    });
    let name = wrong.and_then(|(key, _)| key);
    name.and_then(|name| FIELDS.into_iter().find(|field| *field == name)).unwrap_or(WHOLE)
}

/// Why a text is no JSON, in words that help.
pub(crate) fn why_no_json(text: &[u8], error: &serde_json::Error) -> String {
    let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    if std::str::from_utf8(text).is_err() {
        "it is not UTF-8".to_owned()
    } else if has(b"NaN") || has(b"Infinity") {
        "it is no JSON: NaN and Infinity are no numbers".to_owned()
    } else {
        format!("it is no JSON: {error}")
    }
}

/// The next byte that is no white space.
fn space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

fn expect(text: &[u8], at: usize, byte: u8) -> Option<usize> {
    (text.get(at) == Some(&byte)).then_some(at + 1)
}

/// The end of the value that begins at `at`, by its brackets and quotes. Does not recurse.
fn value(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string(text, at),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_usize, at);
            loop {
                match text.get(at)? {
                    b'"' => {
                        at = string(text, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        b',' | b':' | b'}' | b']' => None,
        _ => {
            let rest = text.get(at..)?;
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            Some(at + rest.iter().position(ends).unwrap_or(rest.len()))
        }
    }
}

/// The end of the string whose first quote is at `at`.
fn string(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += 1;
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 1,
            _ => {}
        }
    }
}
