//! Predicates into parameters.
//!
//! Owns: which of a query's predicates an endpoint's filters can express, in which words, and whether exactly.
//!
//! Must hold: what is sent selects a superset of the rows the query wants; `exact` is said only where it is not more.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use datafusion::scalar::ScalarValue;
use tripline_engine::{ColumnConstraint, Constraints};

use super::bounds::{TimeBound, TimeRange};
use super::search;
use crate::spec::{
    ColumnKind, ConditionSlot, Edge, Endpoint, Equal, Filter, ListStyle, Origin, TableSpec, Target, Template,
    TimeStyle, Token, Verb,
};

/// Most values of one list in one request, so that URLs stay well under what servers take.
pub(super) const LIST_MAX: usize = 50;
/// Most values in one JSON condition.
const CONDITION_MAX: usize = 100;

/// How many values of its column one request may ask for.
pub(crate) fn values_per_request(filter: &Filter) -> usize {
    match &filter.equal {
        Some(equal) if equal.list != ListStyle::No && !filter.echo => LIST_MAX,
        None if filter.condition.is_some() => CONDITION_MAX,
        _ => 1,
    }
}

/// A predicate that is handed to the vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) column: String,
    pub(crate) operator: &'static str,
    pub(crate) parameter: String,
    pub(crate) exact: bool,
}

/// What one of several alternative requests sends for one column.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Choice {
    /// A key's value, for the path, and for the rows.
    pub(crate) constant: Option<(usize, ScalarValue)>,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) condition: Option<String>,
    /// The column and the values asked for, where other requests of the scan ask for others of it.
    pub(crate) having: Option<(String, Vec<ScalarValue>)>,
}

/// Everything that the filters of an endpoint make of a query's constraints.
#[derive(Debug, Default)]
pub(crate) struct PushedFilters {
    /// Parameters of every request.
    pub(crate) params: Vec<(String, String)>,
    /// Parameters of the endpoint that are left out.
    pub(crate) replaced: Vec<String>,
    /// Words to be added to parameters that hold a search expression.
    pub(crate) words: Vec<(String, String)>,
    /// Conditions of every request.
    pub(crate) conditions: Vec<String>,
    /// Per column with values: the alternatives, one request each.
    pub(crate) choices: Vec<Vec<Choice>>,
    /// For `EXPLAIN`.
    pub(crate) pushed: Vec<Pushed>,
    /// Columns of which every predicate is answered exactly.
    pub(crate) exact: BTreeMap<usize, bool>,
}

/// The text of a constant, as a parameter has it. `None` when it cannot be one.
pub(crate) fn text(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(Some(s)) | ScalarValue::Utf8View(Some(s)) | ScalarValue::LargeUtf8(Some(s)) => {
            Some(s.clone())
        }
        ScalarValue::Boolean(Some(b)) => Some(b.to_string()),
        ScalarValue::Int8(Some(n)) => Some(n.to_string()),
        ScalarValue::Int16(Some(n)) => Some(n.to_string()),
        ScalarValue::Int32(Some(n)) => Some(n.to_string()),
        ScalarValue::Int64(Some(n)) => Some(n.to_string()),
        ScalarValue::UInt64(Some(n)) => Some(n.to_string()),
        _ => None,
    }
}

/// Decides what `endpoint`'s filters make of `constraints`. `path_keys` are the columns that the path itself takes.
pub(crate) fn push(
    table: &TableSpec,
    endpoint: &Endpoint,
    constraints: &Constraints,
    ranges: &[TimeRange],
    is_path_key: impl Fn(usize) -> bool,
    supplied_by_parent: Option<usize>,
) -> PushedFilters {
    let mut out = PushedFilters::default();
    let constraint = |index: usize| constraints.column(&table.columns[index].name);
    // A time that is pinned to values is handed over as a range.
    let is_time = |index: usize| table.columns[index].kind == ColumnKind::Timestamp;
    let values = |index: usize| constraint(index).filter(|_| !is_time(index)).and_then(|c| c.values.as_deref());

    // Keys that the path takes: one request per value.
    for (index, column) in table.columns.iter().enumerate() {
        if is_path_key(index)
            && supplied_by_parent != Some(index)
            && let Some(values) = values(index)
        {
            out.pushed.push(Pushed {
                column: column.name.clone(),
                operator: operator(values),
                parameter: "path".to_owned(),
                exact: true,
            });
            out.exact.insert(index, constraint(index).is_some_and(only_values));
            let constant = |v: &ScalarValue| Choice { constant: Some((index, v.clone())), ..Choice::default() };
            out.choices.push(values.iter().map(constant).collect());
        }
    }

    let usable: Vec<&Filter> = endpoint
        .filters
        .iter()
        .filter(|f| supplied_by_parent != Some(f.column))
        .filter(|f| f.needs.iter().all(|c| values(*c).is_some()) && f.unless.iter().all(|c| values(*c).is_none()))
        .collect();
    // A JSON filter overrides plain parameters, so either all predicates are written in it or none.
    let as_conditions = endpoint.conditions.is_some() && {
        let lists = usable.iter().any(|f| {
            let plain = f.equal.as_ref().is_some_and(|equal| {
                equal.fan_out || equal.list != ListStyle::No || values(f.column).is_some_and(|v| v.len() == 1)
            });
            f.condition.is_some() && values(f.column).is_some() && !plain
        });
        // `<>` and `LIKE` narrow less than a parameter that would be given up for them.
        let gives_up = |f: &&&Filter| {
            let asked = constraint(f.column).is_some() || ranges[f.column] != TimeRange::default();
            asked && f.condition.is_none()
        };
        let searches = || usable.iter().any(|f| search::needs_conditions(endpoint, f, constraint(f.column)));
        lists || (usable.iter().filter(gives_up).count() == 0 && searches())
    };

    for filter in usable {
        let name = &table.columns[filter.column].name;
        let kind = table.columns[filter.column].kind;
        let mut exact = constraint(filter.column)
            .is_none_or(|c| !has_null_test(c) && (!is_time(filter.column) || c.values.is_none()));
        if let Some(values) = values(filter.column).filter(|values| !values.is_empty())
            && (filter.equal.is_some() || filter.condition.is_some())
        {
            let choices = match &filter.equal {
                _ if as_conditions => condition_choices(table, endpoint, filter, values),
                Some(Equal { target: Target::Word { param, text }, .. }) => phrase(filter, text, values).map(|word| {
                    out.words.push((param.clone(), word));
                    (Vec::new(), param.clone())
                }),
                Some(equal) => plain_choices(table, filter, equal, values),
                None => None,
            };
            match choices {
                None => exact = false,
                Some((choices, parameter)) => {
                    out.replaced.extend(filter.replaces.iter().cloned());
                    let is_exact = filter.is_exact(Verb::Equal);
                    exact &= is_exact;
                    out.pushed.push(Pushed {
                        column: name.clone(),
                        operator: operator(values),
                        parameter,
                        exact: is_exact,
                    });
                    if !choices.is_empty() {
                        out.choices.push(choices);
                    }
                }
            }
        } else if values(filter.column).is_some() {
            exact = false;
        }
        exact &= push_range(
            endpoint,
            filter,
            name,
            ranges[filter.column],
            as_conditions,
            constraint(filter.column),
            &mut out,
        );
        exact &= search::push(endpoint, filter, (name, kind), constraint(filter.column), as_conditions, &mut out);
        out.exact.insert(filter.column, exact);
    }
    if as_conditions && let Some(conditions) = &endpoint.conditions {
        out.conditions.extend(conditions.always.iter().cloned());
    }
    out
}

/// What a request sends for the key `index` when it is `value`; `None` when the value cannot be sent.
pub(crate) fn key_choice(table: &TableSpec, endpoint: &Endpoint, index: usize, value: &ScalarValue) -> Option<Choice> {
    match endpoint.filters.iter().find(|f| f.column == index).and_then(|f| Some((f, f.equal.as_ref()?))) {
        None => Some(Choice { constant: Some((index, value.clone())), ..Choice::default() }),
        Some((filter, equal)) => {
            plain_choices(table, filter, equal, std::slice::from_ref(value))?.0.pop().map(|choice| {
                let having = Some((table.columns[index].name.clone(), vec![value.clone()]));
                Choice { having, ..choice }
            })
        }
    }
}

fn operator(values: &[ScalarValue]) -> &'static str {
    if values.len() == 1 { "=" } else { "IN" }
}

/// Nothing but `=`/`IN` is asked of the column. (A range or `<>` beside values is already applied to them.)
fn only_values(c: &ColumnConstraint) -> bool {
    (c.not_equal.is_empty() || c.values.is_some()) && c.like.is_empty() && !has_null_test(c)
}

/// A NULL test that is not already answered by values.
fn has_null_test(c: &ColumnConstraint) -> bool {
    c.is_null.is_some_and(|is_null| is_null || c.values.is_none())
}

/// The vendor's words for `values`; `None` when one of them has none.
fn mapped(filter: &Filter, values: &[ScalarValue]) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::with_capacity(values.len());
    for value in values {
        let text = text(value)?;
        let word = match &filter.map {
            None => text,
            Some(map) => map.iter().find(|(from, _)| *from == text).map(|(_, to)| to.clone())?,
        };
        // An empty parameter often means "no filter".
        if word.is_empty() {
            return None;
        }
        if !words.contains(&word) {
            words.push(word);
        }
    }
    Some(words)
}

/// The word that a search expression gets for one value.
fn phrase(filter: &Filter, text: &Template<Token>, values: &[ScalarValue]) -> Option<String> {
    let words = mapped(filter, values)?;
    let [word] = words.as_slice() else { return None };
    fill_word(text, word)
}

/// A search word for `value`; `None` where the value could change the search.
pub(super) fn fill_word(text: &Template<Token>, value: &str) -> Option<String> {
    let fits = text.slots().all(|token| match token {
        Token::Inside => !value.contains(['"', '\\', '*', '?']) && !value.contains(char::is_control),
        Token::Plain => value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')),
        Token::Quoted | Token::Value | Token::Lower | Token::Upper => true,
    });
    fits.then(|| text.fill(|token| if *token == Token::Quoted { quoted(value) } else { value.to_owned() }))
}

/// A value as a phrase of a search expression.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn plain_choices(
    table: &TableSpec,
    filter: &Filter,
    equal: &Equal,
    values: &[ScalarValue],
) -> Option<(Vec<Choice>, String)> {
    // A column that no answer holds gets its value from the request, so each request must stand for one value.
    let echo = filter.echo || table.columns[filter.column].origin == Origin::Key;
    let words = mapped(filter, values)?;
    let param = equal.target.param().to_owned();
    let with = |params: Vec<(String, String)>| params.into_iter().chain(filter.with.iter().cloned()).collect();
    let mut choices: Vec<Choice> = match equal.list {
        // A comma inside a value would make two of it.
        ListStyle::Comma if words.iter().any(|w| w.contains(',')) => return None,
        ListStyle::Comma if !echo || words.len() == 1 => words
            .chunks(LIST_MAX)
            .map(|chunk| Choice { params: with(vec![(param.clone(), chunk.join(","))]), ..Choice::default() })
            .collect(),
        ListStyle::Repeat if !echo || words.len() == 1 => words
            .chunks(LIST_MAX)
            .map(|chunk| Choice {
                params: with(chunk.iter().map(|word| (param.clone(), word.clone())).collect()),
                ..Choice::default()
            })
            .collect(),
        _ if words.len() == 1 || equal.fan_out || echo => words
            .iter()
            .map(|word| Choice { params: with(vec![(param.clone(), word.clone())]), ..Choice::default() })
            .collect(),
        _ => return None,
    };
    if echo && choices.len() == values.len() {
        for (choice, value) in choices.iter_mut().zip(values) {
            choice.constant = Some((filter.column, value.clone()));
        }
    }
    if choices.len() > 1 {
        let per_choice = if choices.len() == words.len() { 1 } else { LIST_MAX };
        for (choice, words) in choices.iter_mut().zip(words.chunks(per_choice)) {
            choice.having = Some((table.columns[filter.column].name.clone(), standing_for(filter, words, values)));
        }
    }
    Some((choices, param))
}

/// The values that `words` stand for.
fn standing_for(filter: &Filter, words: &[String], values: &[ScalarValue]) -> Vec<ScalarValue> {
    let asked = |value: &&ScalarValue| {
        mapped(filter, std::slice::from_ref(value)).is_some_and(|word| word.iter().all(|word| words.contains(word)))
    };
    values.iter().filter(asked).cloned().collect()
}

fn condition_choices(
    table: &TableSpec,
    endpoint: &Endpoint,
    filter: &Filter,
    values: &[ScalarValue],
) -> Option<(Vec<Choice>, String)> {
    let conditions = endpoint.conditions.as_ref()?;
    let column = filter.condition.as_ref()?;
    let any_of = filter.any_of.as_ref().unwrap_or(&conditions.any_of);
    let words = mapped(filter, values)?;
    // A column that no answer holds gets its value from the request, so each request must stand for one value.
    let echo = table.columns[filter.column].origin == Origin::Key;
    if echo && words.len() != values.len() {
        return None;
    }
    let per_choice = if echo { 1 } else { CONDITION_MAX };
    let one_of_many = words.len() > per_choice;
    let choices = words
        .chunks(per_choice)
        .enumerate()
        .map(|(i, chunk)| Choice {
            having: one_of_many
                .then(|| (table.columns[filter.column].name.clone(), standing_for(filter, chunk, values))),
            condition: Some(fill_condition(any_of, column, &chunk.iter().map(String::as_str).collect::<Vec<_>>())),
            constant: values.get(i).filter(|_| echo).map(|value| (filter.column, value.clone())),
            ..Choice::default()
        })
        .collect();
    Some((choices, format!("{}.{column}", conditions.param)))
}

pub(super) fn fill_condition(template: &Template<ConditionSlot>, column: &str, values: &[&str]) -> String {
    let json = |text: &str| serde_json::Value::from(text).to_string();
    template.fill(|slot| match slot {
        ConditionSlot::Column => json(column),
        ConditionSlot::Value => json(values.first().copied().unwrap_or_default()),
        ConditionSlot::Values => serde_json::Value::from(values.to_vec()).to_string(),
    })
}

/// The bound to send so that no wanted row is lost, and whether exactly the wanted rows come back.
fn edge(bound: TimeBound, lower: bool, inclusive: bool, style: TimeStyle) -> Option<(i64, bool)> {
    let step = style.step();
    let floor = bound.micros.div_euclid(step).checked_mul(step)?;
    let aligned = floor == bound.micros;
    let ceil = if aligned { floor } else { floor.checked_add(step)? };
    // Times finer than the step may exist, so shifting by a step is exact only where the step is the finest there is.
    let finest = step == 1;
    Some(match (lower, bound.inclusive, inclusive) {
        (true, true, true) => (floor, aligned),
        (true, false, true) if finest => (floor.checked_add(1)?, true),
        (true, false, true) => (floor, false),
        (true, true, false) => (floor.checked_sub(step)?, finest),
        (true, false, false) => (floor, aligned),
        (false, true, true) => (ceil, aligned),
        (false, false, true) if finest => (ceil.checked_sub(1)?, true),
        (false, false, true) => (ceil, false),
        (false, true, false) => (floor.checked_add(step)?, finest),
        (false, false, false) => (ceil, aligned),
    })
}

/// A time as a parameter has it.
pub(crate) fn time_text(micros: i64, style: TimeStyle) -> Option<String> {
    let time = DateTime::from_timestamp_micros(micros)?;
    Some(match style {
        TimeStyle::IsoMs => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        TimeStyle::IsoS => time.to_rfc3339_opts(SecondsFormat::Secs, true),
        TimeStyle::EpochS => micros.div_euclid(1_000_000).to_string(),
        TimeStyle::EpochMs => micros.div_euclid(1_000).to_string(),
        TimeStyle::SlackTs => format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000)),
    })
}

/// Pushes the bounds of one column; says whether what the query itself asks is answered exactly.
fn push_range(
    endpoint: &Endpoint,
    filter: &Filter,
    name: &str,
    range: TimeRange,
    as_conditions: bool,
    own: Option<&ColumnConstraint>,
    out: &mut PushedFilters,
) -> bool {
    let asked = |bound: fn(&ColumnConstraint) -> bool| own.is_some_and(bound);
    let mut exact = true;
    let span = range.lower.zip(range.upper).map(|(lower, upper)| upper.micros.saturating_sub(lower.micros));
    let too_far = |days: usize| span.is_none_or(|span| span > (days as i64).saturating_mul(24 * 3_600_000_000));
    if (filter.together && span.is_none()) || filter.max_days.is_some_and(too_far) {
        return own.is_none_or(|c| c.lower.is_none() && c.upper.is_none());
    }
    let mut words: [Option<String>; 2] = [None, None];
    let sides = [
        (true, range.lower, &filter.lower, asked(|c| c.lower.is_some())),
        (false, range.upper, &filter.upper, asked(|c| c.upper.is_some())),
    ];
    for (side, (lower, bound, target, is_asked)) in sides.into_iter().enumerate() {
        let Some(bound) = bound else { continue };
        let sent = match target {
            Some(target) => push_edge(endpoint, filter, target, lower, bound, as_conditions, out),
            None => None,
        };
        match sent {
            None => exact &= !is_asked,
            Some((text, parameter, is_exact)) => {
                out.replaced.extend(filter.replaces.iter().cloned());
                let is_exact = is_exact && filter.exact;
                exact &= is_exact;
                let operator = match (lower, bound.inclusive) {
                    (true, true) => ">=",
                    (true, false) => ">",
                    (false, true) => "<=",
                    (false, false) => "<",
                };
                out.pushed.push(Pushed { column: name.to_owned(), operator, parameter, exact: is_exact });
                words[side] = text;
            }
        }
    }
    match (words, &filter.both) {
        ([Some(lower), Some(upper)], Some((param, both))) => {
            let word = both.fill(|slot| if *slot == Token::Lower { lower.clone() } else { upper.clone() });
            out.words.push((param.clone(), word));
        }
        ([lower, upper], _) => {
            for (value, edge) in [(lower, &filter.lower), (upper, &filter.upper)] {
                if let (Some(value), Some(Edge { target: Target::Word { param, text }, .. })) = (value, edge) {
                    out.words.push((param.clone(), text.fill(|_| value.clone())));
                }
            }
        }
    }
    exact
}

/// Sends one bound as a parameter or condition, or returns the text that goes into a search word.
fn push_edge(
    endpoint: &Endpoint,
    filter: &Filter,
    target: &Edge,
    lower: bool,
    bound: TimeBound,
    as_conditions: bool,
    out: &mut PushedFilters,
) -> Option<(Option<String>, String, bool)> {
    if as_conditions {
        let conditions = endpoint.conditions.as_ref()?;
        let column = filter.condition.as_ref()?;
        // The conditions are `>=` and `<`.
        let (micros, exact) = edge(bound, lower, lower, filter.format)?;
        let text = time_text(micros, filter.format)?;
        let template = if lower { &conditions.lower } else { &conditions.upper };
        out.conditions.push(fill_condition(template, column, &[&text]));
        return Some((None, format!("{}.{column}", conditions.param), exact));
    }
    let (micros, exact) = edge(bound, lower, target.inclusive, filter.format)?;
    let text = time_text(micros, filter.format)?;
    match &target.target {
        Target::Param(param) => {
            out.params.push((param.clone(), text));
            for with in &filter.with {
                if !out.params.contains(with) {
                    out.params.push(with.clone());
                }
            }
            Some((None, param.clone(), exact))
        }
        Target::Word { param, .. } => Some((Some(text), param.clone(), exact)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64, inclusive: bool) -> TimeBound {
        TimeBound { micros, inclusive }
    }

    #[test]
    fn a_pushed_bound_never_loses_a_row_and_is_exact_only_where_it_keeps_no_other() {
        // (bound, lower?, vendor inclusive?) → sent, exact; the step is a millisecond.
        for (bound, lower, inclusive, sent, exact) in [
            (at(5_000, true), true, true, 5_000, true),
            (at(5_001, true), true, true, 5_000, false),
            (at(5_000, false), true, true, 5_000, false),
            (at(5_000, true), true, false, 4_000, false),
            (at(5_000, false), true, false, 5_000, true),
            (at(5_000, true), false, true, 5_000, true),
            (at(5_001, true), false, true, 6_000, false),
            (at(5_000, false), false, false, 5_000, true),
            (at(5_001, false), false, false, 6_000, false),
            (at(5_000, true), false, false, 6_000, false),
        ] {
            assert_eq!(
                edge(bound, lower, inclusive, TimeStyle::IsoMs),
                Some((sent, exact)),
                "{bound:?} {lower} {inclusive}"
            );
        }
        // Slack's step is the finest there is, so shifting by it is exact.
        assert_eq!(edge(at(5, false), true, true, TimeStyle::SlackTs), Some((6, true)));
        assert_eq!(edge(at(5, false), false, true, TimeStyle::SlackTs), Some((4, true)));
    }

    #[test]
    fn times_are_written_as_each_vendor_wants_them() {
        let micros = 1_748_160_000_000_100;
        assert_eq!(time_text(micros, TimeStyle::IsoMs).as_deref(), Some("2025-05-25T08:00:00.000Z"));
        assert_eq!(time_text(micros, TimeStyle::IsoS).as_deref(), Some("2025-05-25T08:00:00Z"));
        assert_eq!(time_text(micros, TimeStyle::SlackTs).as_deref(), Some("1748160000.000100"));
        assert_eq!(time_text(micros, TimeStyle::EpochMs).as_deref(), Some("1748160000000"));
    }
}
