//! The located YAML tree and the reader that turns it into validated types.
//!
//! Owns: parsing YAML into nodes that know their line and column, reading fields out of mappings, and collecting every
//! problem of a file instead of stopping at the first. Does not own: what the fields mean (the sibling modules).
//!
//! Must hold: a reader never panics on any text; an unknown field is always reported, with the nearest known name.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// A place in a spec file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct At {
    /// Line, from 1; 0 when unknown.
    pub line: u64,
    /// Column, from 1; 0 when unknown.
    pub column: u64,
}

/// One thing that is wrong in a spec file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// Where.
    pub at: At,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// Everything that is wrong in one spec file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecErrors {
    /// The file, as it was named to the parser.
    pub file: String,
    /// The problems; never empty.
    pub problems: Vec<SpecProblem>,
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            match problem.at {
                At { line: 0, .. } => write!(f, "{}: {}", self.file, problem.message)?,
                At { line, column } => write!(f, "{}:{line}:{column}: {}", self.file, problem.message)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<SpecProblem>);

impl Problems {
    pub(crate) fn add(&mut self, at: At, message: impl Into<String>) {
        self.0.push(SpecProblem { at, message: message.into() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_errors(mut self, file: &str) -> SpecErrors {
        self.0.sort_by_key(|p| p.at);
        self.0.dedup();
        SpecErrors { file: file.to_owned(), problems: self.0 }
    }
}

/// A YAML value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// A YAML value. Scalars keep the text they had in the file where that matters (strings), else their value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A mapping key and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) at: At,
    pub(crate) name: String,
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

fn at(location: serde_saphyr::Location) -> At {
    At { line: location.line(), column: location.column() }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Int(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(i64::try_from(v).map_or_else(|_| Value::Text(v.to_string()), Value::Int))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Text(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::Text(v))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<RawValue>>()? {
            items.push(Node { at: at(item.referenced), value: item.value.0 });
        }
        Ok(Value::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<RawValue>>()?;
            entries.push((
                Key { at: at(key.referenced), name: key.value },
                Node { at: at(value.referenced), value: value.value.0 },
            ));
        }
        Ok(Value::Map(entries))
    }
}

struct RawValue(Value);

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(RawValue)
    }
}

/// Parses `text` into a tree. A repeated key is reported and its last value used, so that the rest is checked too.
pub(crate) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    // The tree keeps repeated keys, to report each of them.
    // A parameter may be called `n` or `no`: only `true` and `false` are booleans, as in YAML 1.2.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        with_snippet: false,
        strict_booleans: true,
    };
    match serde_saphyr::from_str_with_options::<Spanned<RawValue>>(text, options) {
        Ok(root) => {
            let root = Node { at: at(root.referenced), value: root.value.0 };
            report_repeated_keys(&root, problems);
            Some(root)
        }
        Err(error) => {
            let place = error.location().map(at).unwrap_or_default();
            let message = error.without_snippet().to_string();
            // The location is printed in front; the library repeats it at the end.
            let message = message.split(" at line ").next().unwrap_or_default().lines().next().unwrap_or_default();
            problems.add(place, message.to_owned());
            None
        }
    }
}

fn report_repeated_keys(node: &Node, problems: &mut Problems) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| report_repeated_keys(item, problems)),
        Value::Map(entries) => {
            let mut first = HashMap::new();
            for (key, value) in entries {
                if let Some(line) = first.insert(key.name.as_str(), key.at.line) {
                    problems.add(key.at, format!("`{}` is already there, on line {line}", key.name));
                }
                report_repeated_keys(value, problems);
            }
        }
        _ => {}
    }
}

/// The name in `known` nearest to `name`, if one is near enough to be a typing error.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(d, candidate)| *d <= 1 + candidate.chars().count() / 4)
        .min_by_key(|(d, _)| *d)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// `a, b or c`.
pub(crate) fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

impl Node {
    /// The node as text; numbers and booleans are taken by their written value.
    pub(crate) fn text(&self, what: &str, problems: &mut Problems) -> Option<String> {
        match &self.value {
            Value::Text(text) => Some(text.clone()),
            Value::Int(n) => Some(n.to_string()),
            Value::Float(n) => Some(n.to_string()),
            Value::Bool(b) => Some(b.to_string()),
            other => {
                problems.add(self.at, format!("{what} must be text, not {}", other.kind()));
                None
            }
        }
    }

    pub(crate) fn bool(&self, what: &str, problems: &mut Problems) -> Option<bool> {
        match &self.value {
            Value::Bool(b) => Some(*b),
            other => {
                problems.add(self.at, format!("{what} must be true or false, not {}", other.kind()));
                None
            }
        }
    }

    pub(crate) fn positive(&self, what: &str, problems: &mut Problems) -> Option<usize> {
        match &self.value {
            Value::Int(n) if *n > 0 => usize::try_from(*n).ok(),
            other => {
                let found = match other {
                    Value::Int(n) => n.to_string(),
                    other => other.kind().to_owned(),
                };
                problems.add(self.at, format!("{what} must be a whole number above 0, not {found}"));
                None
            }
        }
    }

    pub(crate) fn list(&self, what: &str, problems: &mut Problems) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            other => {
                problems.add(self.at, format!("{what} must be a list, not {}", other.kind()));
                None
            }
        }
    }

    /// A list of texts; a single text counts as a list of one.
    pub(crate) fn texts(&self, what: &str, problems: &mut Problems) -> Vec<(At, String)> {
        match &self.value {
            Value::List(items) => items.iter().filter_map(|item| Some((item.at, item.text(what, problems)?))).collect(),
            _ => self.text(what, problems).map(|text| (self.at, text)).into_iter().collect(),
        }
    }

    pub(crate) fn map(&self, what: &str, problems: &mut Problems) -> Option<&[(Key, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            other => {
                problems.add(self.at, format!("{what} must be a mapping, not {}", other.kind()));
                None
            }
        }
    }

    /// The fields of a mapping, to be taken one by one and then [`Fields::finish`]ed.
    pub(crate) fn fields<'a>(&'a self, what: &'a str, problems: &mut Problems) -> Option<Fields<'a>> {
        let entries = self.map(what, problems)?;
        Some(Fields { at: self.at, what, entries, known: BTreeSet::new() })
    }

    /// One of a fixed set of words.
    pub(crate) fn choice<T: Copy>(&self, what: &str, choices: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let word = self.text(what, problems)?;
        let found = choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            problems.add(
                self.at,
                format!("{what} is `{word}`; it must be {}", one_of(choices.iter().map(|(name, _)| *name))),
            );
        }
        found
    }
}

/// The fields of one mapping while it is read.
pub(crate) struct Fields<'a> {
    pub(crate) at: At,
    what: &'a str,
    entries: &'a [(Key, Node)],
    known: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    /// The field `name`, if the file has it.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.insert(name);
        self.entries.iter().rev().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// The field `name`; its absence is a problem.
    pub(crate) fn required(&mut self, name: &'static str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.take(name);
        if found.is_none() {
            problems.add(self.at, format!("{} needs the field `{name}`", self.what));
        }
        found
    }

    pub(crate) fn text(&mut self, name: &'static str, problems: &mut Problems) -> Option<String> {
        self.take(name).and_then(|node| node.text(&format!("`{name}`"), problems))
    }

    pub(crate) fn required_text(&mut self, name: &'static str, problems: &mut Problems) -> Option<String> {
        self.required(name, problems).and_then(|node| node.text(&format!("`{name}`"), problems))
    }

    pub(crate) fn flag(&mut self, name: &'static str, default: bool, problems: &mut Problems) -> bool {
        self.take(name).and_then(|node| node.bool(&format!("`{name}`"), problems)).unwrap_or(default)
    }

    /// Reports every field that was never asked for.
    pub(crate) fn finish(self, problems: &mut Problems) {
        for (key, _) in self.entries {
            if !self.known.contains(key.name.as_str()) {
                let hint = match nearest(&key.name, self.known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it takes {}", one_of(self.known.iter().copied())),
                };
                problems.add(key.at, format!("{} has no field `{}`; {hint}", self.what, key.name));
            }
        }
    }
}
