//! What a spec says of the predicates a vendor understands.
//!
//! Owns: [`Filter`], [`Conditions`] and their readers. Does not own: which filters a query uses (`plan`).

use super::column::ColumnKind;
use super::endpoint::{Context, read_texts};
use super::node::{Node, Problems};
use super::search::{Find, Search, Verb, check_word, read_searches, read_verbs};
use super::table::find_column;
use super::template::Template;

/// How predicates on one column are handed to the vendor.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The column.
    pub column: usize,
    /// For `=` and `IN`.
    pub equal: Option<Equal>,
    /// For `<>`; several values go into one request as those of `equal` do.
    pub not_equal: Option<Target>,
    /// How several values go into one request.
    pub list: ListStyle,
    /// For `LIKE` and `ILIKE`.
    pub searches: Vec<Search>,
    /// For `>` and `>=`.
    pub lower: Option<Edge>,
    /// For `<` and `<=`.
    pub upper: Option<Edge>,
    /// For a bound on both sides, where that is written differently.
    pub both: Option<(String, Template<Token>)>,
    /// Whether the vendor takes the two bounds only together.
    pub together: bool,
    /// How times are written.
    pub format: TimeStyle,
    /// Whether the vendor returns exactly the matching rows, as far as the bounds' inclusiveness allows.
    pub exact: bool,
    /// What of it the vendor answers with more than the matching rows although `exact`.
    pub inexact: Vec<Verb>,
    /// The only values that can be pushed, and what each becomes.
    pub map: Option<Vec<(String, String)>>,
    /// The column's name in the vendor's JSON filter language.
    pub condition: Option<String>,
    /// How several values are written there, where that differs from the endpoint's way.
    pub any_of: Option<Template<ConditionSlot>>,
    /// What `condition` is good for; everything that the language can say when empty.
    pub condition_only: Vec<Verb>,
    /// Pushed only together with filters on these columns.
    pub needs: Vec<usize>,
    /// Not pushed together with filters on these columns.
    pub unless: Vec<usize>,
    /// Parameters of the endpoint that are left out when this filter is sent.
    pub replaces: Vec<String>,
    /// Bounds are sent only where both are known and no further apart, in days.
    pub max_days: Option<usize>,
    /// Parameters sent along.
    pub with: Vec<(String, String)>,
    /// Whether the answer lacks the column, so that the pinned value stands in.
    pub echo: bool,
}

impl Filter {
    /// Whether the vendor answers `verb` with exactly the matching rows.
    #[must_use]
    pub fn is_exact(&self, verb: Verb) -> bool {
        self.exact && !self.inexact.contains(&verb)
    }

    /// Whether `verb` may be written as a condition on this column.
    #[must_use]
    pub fn has_condition(&self, verb: Verb) -> bool {
        self.condition.is_some() && (self.condition_only.is_empty() || self.condition_only.contains(&verb))
    }
}

/// How `=` and `IN` are handed over.
#[derive(Debug, Clone)]
pub struct Equal {
    /// Where the value goes.
    pub target: Target,
    /// How several values go into one request.
    pub list: ListStyle,
    /// Whether several values become several requests.
    pub fan_out: bool,
}

/// How several values go into one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListStyle {
    /// They cannot.
    No,
    /// `param=a,b`.
    Comma,
    /// `param=a&param=b`.
    Repeat,
}

/// Where a value goes.
#[derive(Debug, Clone)]
pub enum Target {
    /// A parameter of its own.
    Param(String),
    /// A word in a parameter that holds a search expression.
    Word {
        /// The parameter.
        param: String,
        /// The word.
        text: Template<Token>,
    },
}

impl Target {
    /// The parameter.
    #[must_use]
    pub fn param(&self) -> &str {
        match self {
            Self::Param(param) | Self::Word { param, .. } => param,
        }
    }
}

/// One side of a range.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Where the bound goes.
    pub target: Target,
    /// Whether the vendor returns rows at the bound itself.
    pub inclusive: bool,
}

/// What a word of a search expression may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// The value.
    Value,
    /// The value in double quotes, its own quotes and backslashes escaped, so that it cannot be anything but a value.
    Quoted,
    /// The value between quotes that the word itself has. A value with a quote, a backslash or a wildcard is not sent.
    Inside,
    /// The value, if it is of letters, digits, `_`, `-` and `.` only; else it is not sent.
    Plain,
    /// The lower bound.
    Lower,
    /// The upper bound.
    Upper,
}

/// How times are written into requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeStyle {
    /// `2026-11-20T08:00:00.000Z`
    IsoMs,
    /// `2026-11-20T08:00:00Z`
    IsoS,
    /// Seconds since 1970.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
    /// `1748160000.000100`: seconds since 1970 with six decimals.
    SlackTs,
}

impl TimeStyle {
    const CHOICES: &[(&'static str, Self)] = &[
        ("iso_ms", Self::IsoMs),
        ("iso_s", Self::IsoS),
        ("epoch_s", Self::EpochS),
        ("epoch_ms", Self::EpochMs),
        ("slack_ts", Self::SlackTs),
    ];

    /// The style of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::CHOICES.iter().find(|(known, _)| *known == name).map(|(_, style)| *style)
    }

    /// All names, each after the first with `prefix`.
    pub(crate) fn names(prefix: &str) -> String {
        let names: Vec<&str> = Self::CHOICES.iter().map(|(name, _)| *name).collect();
        names.join(&format!(", {prefix}"))
    }

    /// Whether it is written as a JSON number in a body.
    #[must_use]
    pub fn is_number(self) -> bool {
        matches!(self, Self::EpochS | Self::EpochMs)
    }

    /// The smallest step it can express, microseconds.
    #[must_use]
    pub fn step(self) -> i64 {
        match self {
            Self::IsoMs | Self::EpochMs => 1_000,
            Self::IsoS | Self::EpochS => 1_000_000,
            Self::SlackTs => 1,
        }
    }
}

/// A vendor's JSON filter language: one parameter with an array of conditions, which overrides plain parameters.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// The parameter.
    pub param: String,
    /// A column is one of several values.
    pub any_of: Template<ConditionSlot>,
    /// A time is at or after a bound.
    pub lower: Template<ConditionSlot>,
    /// A time is before a bound.
    pub upper: Template<ConditionSlot>,
    /// A column is none of several values.
    pub none_of: Option<Template<ConditionSlot>>,
    /// A column's text holds a value somewhere, in that place.
    pub searches: Vec<(Find, Template<ConditionSlot>)>,
    /// What of it the vendor answers with more than the matching rows.
    pub inexact: Vec<Verb>,
    /// Conditions that always hold for this table.
    pub always: Vec<String>,
}

/// What a condition may hold; each is written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionSlot {
    /// The vendor's name of the column.
    Column,
    /// One value.
    Value,
    /// An array of values.
    Values,
}

/// Reads the filters of an endpoint.
pub(crate) fn read_all(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Vec<Filter> {
    let mut filters = Vec::new();
    for (key, node) in node.map("`filters`", problems).unwrap_or_default() {
        let column = find_column(&key.name, key.at, "`filters`", context.names, problems);
        filters.extend(read_one(column, &key.name, node, context, problems));
    }
    filters
}

fn word(node: &Node, problems: &mut Problems) -> Option<Template<Token>> {
    let text = node.text("a search word", problems)?;
    let parsed = Template::parse(&text, |name| match name {
        "value" => Ok(Token::Value),
        "quoted" => Ok(Token::Quoted),
        "inside" => Ok(Token::Inside),
        "plain" => Ok(Token::Plain),
        "lower" => Ok(Token::Lower),
        "upper" => Ok(Token::Upper),
        other => Err(format!(
            "a search word takes {{{{value}}}}, {{{{quoted}}}}, {{{{inside}}}}, {{{{plain}}}}, {{{{lower}}}} and {{{{upper}}}}, not `{other}`"
        )),
    });
    parsed.map_err(|errors| errors.into_iter().for_each(|e| problems.add(node.at, e))).ok()
}

fn read_one(
    column: Option<usize>,
    name: &str,
    node: &Node,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Filter> {
    const LISTS: &[(&str, ListStyle)] =
        &[("no", ListStyle::No), ("comma", ListStyle::Comma), ("repeat", ListStyle::Repeat)];
    let what = format!("the filter on `{name}`");
    let mut fields = node.fields(&what, problems)?;
    let into = fields.text("into", problems);
    let target = |node: &Node, problems: &mut Problems| -> Option<Target> {
        match &into {
            None => node.text("a filter's parameter", problems).map(Target::Param),
            Some(param) => Some(Target::Word { param: param.clone(), text: word(node, problems)? }),
        }
    };
    let list = fields.take("list").and_then(|n| n.choice("`list`", LISTS, problems)).unwrap_or(ListStyle::No);
    let fan_out = fields.flag("fan_out", false, problems);
    let equal_node = fields.take("equal");
    let equal = equal_node.and_then(|n| target(n, problems)).map(|target| Equal { target, list, fan_out });
    let not_equal_node = fields.take("not_equal");
    let not_equal = not_equal_node.and_then(|n| target(n, problems));
    let kind = column.and_then(|index| context.columns.get(index)).map(|column| column.kind);
    let searches = read_searches(&mut fields, &what, kind, &target, problems);
    let inexact = read_verbs(&mut fields, "inexact", problems);
    let lower_inclusive = fields.flag("lower_inclusive", true, problems);
    let upper_inclusive = fields.flag("upper_inclusive", false, problems);
    let lower_node = fields.take("lower");
    let lower = lower_node.and_then(|n| target(n, problems)).map(|target| Edge { target, inclusive: lower_inclusive });
    let upper_node = fields.take("upper");
    let upper = upper_node.and_then(|n| target(n, problems)).map(|target| Edge { target, inclusive: upper_inclusive });
    let both = fields.take("both").and_then(|n| {
        if into.is_none() {
            problems.add(n.at, "`both` is for filters that go `into` a search expression");
        }
        into.clone().zip(word(n, problems))
    });
    let together = fields.flag("together", false, problems);
    let format = fields.take("format").and_then(|n| n.choice("the filter `format`", TimeStyle::CHOICES, problems));
    let exact = fields.flag("exact", true, problems);
    let map = fields.take("map").map(|n| read_texts(n, "`map`", problems));
    let condition = fields.text("condition", problems);
    let any_of = fields.take("any_of").and_then(|n| {
        if condition.is_none() {
            problems.add(n.at, "`any_of` is for filters with a `condition`");
        }
        condition_template(n, "any_of", problems)
    });
    let condition_only = read_verbs(&mut fields, "condition_only", problems);
    let mut columns = |field: &'static str, problems: &mut Problems| -> Vec<usize> {
        let texts = fields.take(field).map(|n| n.texts("`needs` or `unless`", problems)).unwrap_or_default();
        let found = texts.into_iter().filter_map(|(at, name)| find_column(&name, at, &what, context.names, problems));
        found.collect()
    };
    let needs = columns("needs", problems);
    let unless = columns("unless", problems);
    let with = fields.take("with").map(|n| read_texts(n, "`with`", problems)).unwrap_or_default();
    let replaced = fields.take("replaces").map(|n| n.texts("`replaces`", problems)).unwrap_or_default();
    let replaces = replaced.into_iter().map(|(_, name)| name).collect();
    let max_days = fields.take("max_days").and_then(|n| n.positive("`max_days`", problems));
    let echo = fields.flag("echo", false, problems);
    fields.finish(problems);

    let has_range = lower_node.is_some() || upper_node.is_some();
    let has_values = equal_node.is_some() || not_equal_node.is_some() || !searches.is_empty();
    if !has_values && !has_range && condition.is_none() {
        problems.add(
            node.at,
            format!(
                "{what} needs `equal`, `not_equal`, `lower`, `upper`, `contains` or another search, or `condition`"
            ),
        );
    }
    if has_range && kind.is_some_and(|kind| kind != ColumnKind::Timestamp) {
        problems.add(node.at, format!("{what} has bounds, which only timestamps can have"));
    }
    if has_range && format.is_none() {
        problems.add(node.at, format!("{what} needs a `format`: how times are written"));
    }
    if not_equal_node.is_some() && kind == Some(ColumnKind::Timestamp) {
        problems.add(node.at, format!("{what} has `not_equal`, which a timestamp cannot have"));
    }
    if condition.is_none() && !condition_only.is_empty() {
        problems.add(node.at, format!("{what} has `condition_only`, but no `condition`"));
    }
    for target in equal.iter().map(|equal| &equal.target).chain(&not_equal) {
        check_word(node.at, &what, target, map.is_some(), problems);
    }
    Some(Filter {
        column: column?,
        equal,
        not_equal,
        list,
        searches,
        lower,
        upper,
        both,
        together,
        format: format.unwrap_or(TimeStyle::IsoMs),
        exact,
        inexact,
        map,
        condition,
        any_of,
        condition_only,
        needs,
        unless,
        replaces,
        max_days,
        with,
        echo,
    })
}

/// Reads one condition of a JSON filter language.
fn condition_template(node: &Node, name: &str, problems: &mut Problems) -> Option<Template<ConditionSlot>> {
    let text = node.text("a condition", problems)?;
    let parsed = Template::parse(&text, |slot| match slot {
        "column" => Ok(ConditionSlot::Column),
        "value" => Ok(ConditionSlot::Value),
        "values" => Ok(ConditionSlot::Values),
        other => Err(format!("a condition takes {{{{column}}}}, {{{{value}}}} and {{{{values}}}}, not `{other}`")),
    });
    let parsed = parsed.map_err(|errors| errors.into_iter().for_each(|e| problems.add(node.at, e))).ok()?;
    if serde_json::from_str::<serde::de::IgnoredAny>(&parsed.fill(|_| "0".to_owned())).is_err() {
        problems.add(node.at, format!("the condition `{name}` is not JSON once filled in"));
    }
    Some(parsed)
}

/// Reads the JSON filter language of an endpoint.
pub(crate) fn read_conditions(node: &Node, problems: &mut Problems) -> Option<Conditions> {
    let mut fields = node.fields("`conditions`", problems)?;
    let param = fields.required_text("param", problems);
    let mut required = |name: &'static str, problems: &mut Problems| {
        fields.required(name, problems).and_then(|n| condition_template(n, name, problems))
    };
    let (any_of, lower, upper) =
        (required("any_of", problems), required("lower", problems), required("upper", problems));
    let none_of = fields.take("none_of").and_then(|n| condition_template(n, "none_of", problems));
    let mut searches = Vec::new();
    for (name, find) in [("contains", Find::Contains), ("starts_with", Find::StartsWith), ("ends_with", Find::EndsWith)]
    {
        let found = fields.take(name).and_then(|n| condition_template(n, name, problems));
        searches.extend(found.map(|template| (find, template)));
    }
    let inexact = read_verbs(&mut fields, "inexact", problems);
    let mut always = Vec::new();
    if let Some(node) = fields.take("always") {
        for (at, text) in node.texts("`always`", problems) {
            if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
                problems.add(at, "a condition under `always` is not JSON");
            }
            always.push(text);
        }
    }
    fields.finish(problems);
    Some(Conditions {
        param: param?,
        any_of: any_of?,
        lower: lower?,
        upper: upper?,
        none_of,
        searches,
        inexact,
        always,
    })
}
