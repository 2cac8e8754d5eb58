//! What a spec says of a column: type, place in the answer, format.
//!
//! Owns: [`Column`] and its reader. Does not own: coercing values (`decode`).

use arrow::datatypes::{DataType, TimeUnit};

use super::body::read_select;
use super::node::{Node, Problems, Value};
use super::path::{JsonPath, Segment};
use super::source::{is_name, json_path};
use super::table::Parent;

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    /// SQL name.
    pub name: String,
    /// What it holds.
    pub about: String,
    /// Its type.
    pub kind: ColumnKind,
    /// Where its values come from.
    pub origin: Origin,
    /// How the vendor writes times.
    pub time: TimeFormat,
    /// Whether a value that cannot be read becomes NULL instead of an error.
    pub null_on_error: bool,
    /// Whether empty text is NULL.
    pub empty_is_null: bool,
    /// Whether it is content, an input or output of a model, which is never kept at rest.
    pub content: bool,
    /// Whether it is the shape of the value and not the value ([`crate::ContentShape`]).
    pub shape: bool,
    /// What a GraphQL query asks for below the column's path.
    pub select: Option<String>,
}

/// Column types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text.
    Text,
    /// 64-bit integer.
    Int,
    /// 64-bit float.
    Float,
    /// Boolean.
    Bool,
    /// Microseconds, UTC.
    Timestamp,
    /// JSON as text, as the vendor wrote it.
    Json,
}

impl ColumnKind {
    const CHOICES: &[(&'static str, Self)] = &[
        ("text", Self::Text),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("timestamp", Self::Timestamp),
        ("json", Self::Json),
    ];

    /// Its name in specs and documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::CHOICES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Its Arrow type.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// How a vendor writes a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// ISO 8601 text, or a number whose size says whether it is seconds, milliseconds, micro- or nanoseconds.
    Auto,
    /// ISO 8601 text.
    Iso,
    /// Seconds since 1970, fractions allowed, as number or text.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
}

/// A place in an answer where a value may be, and under what condition it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Where the value is.
    pub path: JsonPath,
    /// It counts only where the value at this path, if any, is one of these texts.
    pub guards: Vec<(JsonPath, Vec<String>)>,
}

/// Where the values of a column come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The row in the answer; the first place with a value wins.
    Answer(Vec<Lookup>),
    /// Whether the row has something other than null at this path.
    Exists(JsonPath),
    /// The value that the query or the parent pinned.
    Key,
    /// A column of the parent's row, by position there.
    Parent(usize),
    /// The answer to the table's detail request.
    Detail(Vec<Lookup>),
}

/// Reads the columns of a table.
pub(crate) fn read_columns(node: &Node, parent: Option<&Parent>, problems: &mut Problems) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let entries = node.map("`columns`", problems).unwrap_or_default();
    if entries.is_empty() {
        problems.add(node.at, "`columns` must have at least one column");
    }
    for (index, (key, node)) in entries.iter().enumerate() {
        if !is_name(&key.name) {
            problems.add(key.at, format!("`{}` is no name for a column (a-z, 0-9, _; a letter first)", key.name));
        }
        columns.push(read_column(index, &key.name, node, parent, problems));
    }
    columns
}

fn read_column(index: usize, name: &str, node: &Node, parent: Option<&Parent>, problems: &mut Problems) -> Column {
    #[derive(Clone, Copy)]
    enum From {
        Answer,
        Key,
        Parent,
        Detail,
    }
    const FROM: &[(&str, From)] =
        &[("answer", From::Answer), ("key", From::Key), ("parent", From::Parent), ("detail", From::Detail)];
    const TIMES: &[(&str, TimeFormat)] = &[
        ("auto", TimeFormat::Auto),
        ("iso", TimeFormat::Iso),
        ("epoch_s", TimeFormat::EpochS),
        ("epoch_ms", TimeFormat::EpochMs),
        ("slack_ts", TimeFormat::EpochS),
    ];
    // Nested objects are joined by `__`: the default path of `user__login` is `user.login`.
    let default_path = || {
        let segments = name.split("__").map(|s| Segment::Key(s.to_owned())).collect();
        vec![Lookup { path: JsonPath(segments), guards: Vec::new() }]
    };
    let mut column = Column {
        name: name.to_owned(),
        about: String::new(),
        kind: ColumnKind::Text,
        origin: Origin::Answer(default_path()),
        time: TimeFormat::Auto,
        null_on_error: false,
        empty_is_null: false,
        content: false,
        shape: false,
        select: None,
    };
    let what = format!("the column `{name}`");
    let Some(mut fields) = node.fields(&what, problems) else { return column };
    if let Some(kind) = fields.required("type", problems) {
        column.kind = kind.choice("the column `type`", ColumnKind::CHOICES, problems).unwrap_or(ColumnKind::Text);
    }
    column.about = fields.required_text("about", problems).unwrap_or_default();
    let guards = fields.take("when").map(|node| read_guards(node, "`when`", problems)).unwrap_or_default();
    let mut lookups = match fields.take("path") {
        Some(node) => read_lookups(node, problems),
        None => default_path(),
    };
    for lookup in &mut lookups {
        lookup.guards.extend(guards.iter().cloned());
    }
    let from = fields.take("from").and_then(|n| n.choice("`from`", FROM, problems)).unwrap_or(From::Answer);
    let exists = fields.take("exists").and_then(|n| json_path(n, "`exists`", problems));
    column.origin = match (exists, from) {
        (Some(path), _) => {
            if column.kind != ColumnKind::Bool {
                problems.add(node.at, "`exists` makes a bool column");
            }
            Origin::Exists(path)
        }
        (None, From::Answer) => Origin::Answer(lookups),
        (None, From::Detail) => Origin::Detail(lookups),
        (None, From::Key) => Origin::Key,
        (None, From::Parent) => {
            let carried = parent.and_then(|p| p.carry.iter().find(|(here, _)| *here == index));
            if carried.is_none() {
                problems.add(node.at, format!("the column `{name}` is `from: parent`, but no `parent.carry` names it"));
            }
            Origin::Parent(carried.map_or(0, |(_, there)| *there))
        }
    };
    if let Some(node) = fields.take("format") {
        if column.kind != ColumnKind::Timestamp {
            problems.add(node.at, "`format` is for timestamps only");
        }
        column.time = node.choice("the time `format`", TIMES, problems).unwrap_or(TimeFormat::Auto);
    }
    column.empty_is_null = fields.flag("empty_is_null", false, problems);
    column.content = fields.flag("content", false, problems);
    column.shape = fields.flag("shape", false, problems);
    if column.shape
        && (column.kind != ColumnKind::Json || column.content || !matches!(column.origin, Origin::Answer(_)))
    {
        problems.add(node.at, "`shape` makes a json column of the answer, and none that is content");
    }
    column.select = fields.take("select").and_then(|node| read_select(node, problems));
    if let Some(node) = fields.take("on_error") {
        // `null` unquoted is YAML's nothing.
        column.null_on_error = matches!(node.value, Value::Null)
            || node.choice("`on_error`", &[("null", true), ("fail", false)], problems).unwrap_or(false);
    }
    fields.finish(problems);
    column
}

/// A mapping from JSON path to the texts allowed there.
pub(crate) fn read_guards(node: &Node, what: &str, problems: &mut Problems) -> Vec<(JsonPath, Vec<String>)> {
    let mut guards = Vec::new();
    for (key, node) in node.map(what, problems).unwrap_or_default() {
        let allowed = node.texts(what, problems).into_iter().map(|(_, text)| text).collect();
        match JsonPath::parse(&key.name) {
            Ok(path) => guards.push((path, allowed)),
            Err(error) => problems.add(key.at, error),
        }
    }
    guards
}

/// Reads a path, a guarded path, or a list of either.
pub(crate) fn read_lookups(node: &Node, problems: &mut Problems) -> Vec<Lookup> {
    let one = |node: &Node, problems: &mut Problems| -> Option<Lookup> {
        if matches!(node.value, Value::Map(_)) {
            let mut fields = node.fields("a path", problems)?;
            let path = fields.required("path", problems).and_then(|n| json_path(n, "`path`", problems));
            let guards = fields.take("when").map(|n| read_guards(n, "`when`", problems)).unwrap_or_default();
            fields.finish(problems);
            Some(Lookup { path: path?, guards })
        } else {
            Some(Lookup { path: json_path(node, "`path`", problems)?, guards: Vec::new() })
        }
    };
    let lookups: Vec<Lookup> = match &node.value {
        Value::List(items) => items.iter().filter_map(|item| one(item, problems)).collect(),
        _ => one(node, problems).into_iter().collect(),
    };
    for lookup in &lookups {
        if lookup.path.is_root() {
            problems.add(node.at, "a column's path must not be empty");
        }
    }
    lookups
}
