//! How a list is paged and filtered, guessed from the names of its parameters.

use serde_json::Value;

use super::api::{Column, Document, Filter, snake, step};

const PAGE: [&str; 4] = ["page", "page_number", "page_no", "page[number]"];
const OFFSET: [&str; 4] = ["offset", "skip", "start_at", "page[offset]"];
const CURSOR: [&str; 9] = [
    "cursor",
    "after",
    "page_token",
    "next_token",
    "starting_after",
    "next_cursor",
    "continuation_token",
    "page[cursor]",
    "page[after]",
];
const SIZE: [&str; 10] =
    ["limit", "per_page", "page_size", "size", "first", "max_results", "count", "page[size]", "page[limit]", "pagelen"];
/// Where the next page is, in the answer; likeliest first.
const NEXT: [&str; 10] = [
    "next_cursor",
    "next_page_token",
    "next_token",
    "continuation_token",
    "end_cursor",
    "next_offset",
    "cursor",
    "after",
    "next_page",
    "next",
];
const NEXT_URL: [&str; 4] = ["next_url", "next_page_url", "next_link", "next"];
const TOTAL_PAGES: [&str; 5] = ["total_pages", "page_count", "pages", "last_page", "num_pages"];
const TOTAL: [&str; 7] =
    ["total_count", "total", "total_items", "total_results", "count_total", "total_records", "total_filtered_count"];
const MORE: [&str; 3] = ["has_more", "has_next_page", "more"];
/// Words that parameters of time ranges begin or end with.
const FROM: [&str; 8] = ["from", "since", "after", "start", "gte", "min", "begin", "created_after"];
const TO: [&str; 7] = ["to", "until", "before", "end", "lte", "max", "till"];

/// A query parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    name: String,
    about: String,
    schema: Value,
    explode: bool,
    required: bool,
}

/// How a list is paged.
#[derive(Debug, Default)]
pub(super) struct Paging {
    /// The `pagination` mapping's fields; empty for none.
    pub(super) fields: Vec<(&'static str, String)>,
    /// Parameter and largest page.
    pub(super) size: Option<(String, u64)>,
    /// Parameters that page.
    used: Vec<String>,
}

/// The query parameters of an operation, its path's included.
pub(super) fn parameters(
    document: Document<'_>,
    item: &Value,
    table: &str,
    decisions: &mut Vec<String>,
) -> Vec<Parameter> {
    let own = item["get"]["parameters"].as_array().into_iter().flatten();
    let common = item["parameters"].as_array().into_iter().flatten();
    let mut found = Vec::new();
    for parameter in own.chain(common).map(|parameter| resolve(document, parameter)) {
        let Some(name) = parameter["name"].as_str() else { continue };
        let required = parameter["required"].as_bool().unwrap_or(false);
        if parameter["in"] == "header" && required {
            decisions.push(format!("{table}: the header `{name}` is required; put it into headers"));
        }
        if parameter["in"] == "query" {
            found.push(Parameter {
                name: name.to_owned(),
                about: parameter["description"].as_str().unwrap_or_default().to_owned(),
                schema: resolve(document, &parameter["schema"]),
                explode: parameter["explode"].as_bool().unwrap_or(true),
                required,
            });
        }
    }
    found
}

/// The number of the first page, as far as the document tells.
fn first_page(page: &Parameter) -> Option<u64> {
    let stated = page.schema["default"].as_u64().or_else(|| page.schema["minimum"].as_u64());
    let about = page.about.to_ascii_lowercase();
    let said = || {
        let says = |words: [&str; 4]| words.iter().any(|words| about.contains(words));
        match (
            says(["starts at 0", "starting at 0", "from 0", "zero"]),
            says(["starts at 1", "starting at 1", "from 1", "first page is 1"]),
        ) {
            (true, false) => Some(0),
            (false, true) => Some(1),
            _ => None,
        }
    };
    stated.or_else(said).filter(|first| *first <= 1)
}

/// The largest page: as the schema states it, else as the description says it ("max 100"), else the default.
fn largest(size: &Parameter) -> Option<u64> {
    let stated = size.schema["maximum"].as_u64();
    let said = || {
        let about = size.about.to_ascii_lowercase();
        let (_, after) = about.split_once("max")?;
        let digits: String =
            after.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        // The number stands in the same sentence.
        let far = after.find(|c: char| c.is_ascii_digit())?;
        let same = !after[..far].contains(['.', '\n', ';']);
        digits.parse().ok().filter(|_| same)
    };
    stated.or_else(said).filter(|max| (1..=100_000).contains(max))
}

fn resolve(document: Document<'_>, value: &Value) -> Value {
    match value["$ref"].as_str().and_then(|r| r.strip_prefix('#')).and_then(|pointer| document.0.pointer(pointer)) {
        Some(found) => document.resolve(found).clone(),
        None => value.clone(),
    }
}

/// Guesses the paging of a list.
pub(super) fn guess(
    document: Document<'_>,
    table: &str,
    parameters: &[Parameter],
    answer: &Value,
    response: &Value,
    decisions: &mut Vec<String>,
) -> Paging {
    let find = |names: &[&str]| {
        parameters
            .iter()
            .find(|p| names.contains(&p.name.to_ascii_lowercase().as_str()) || names.contains(&snake(&p.name).as_str()))
    };
    let mut paging = Paging::default();
    if let Some(size) = find(&SIZE) {
        let max = largest(size).unwrap_or_else(|| {
            let guess = size.schema["default"].as_u64().unwrap_or(0).max(100);
            decisions.push(format!("{table}: the largest page is not stated; {guess} is a guess (page_size.max)"));
            guess
        });
        paging.size = Some((size.name.clone(), max));
        paging.used.push(size.name.clone());
    }
    let is_link = response["headers"].as_object().is_some_and(|h| h.keys().any(|k| k.eq_ignore_ascii_case("link")));
    let places = Places::of(document, answer);
    let use_parameter = |paging: &mut Paging, kind: &str, parameter: &Parameter| {
        paging.fields = vec![("type", kind.to_owned()), ("param", parameter.name.clone())];
        paging.used.push(parameter.name.clone());
    };
    let is_number = |parameter: &&Parameter| parameter.schema["type"] == "integer";
    // `start` may be a time; beside a count it is a number of rows.
    let by_rows = find(&OFFSET).or_else(|| find(&["start"]).filter(is_number).filter(|_| find(&["count"]).is_some()));
    if let (Some(cursor), Some(next)) = (find(&CURSOR), places.cursor()) {
        use_parameter(&mut paging, "cursor", cursor);
        paging.fields.push(("next", next));
        paging.fields.extend(places.find(&MORE).map(|more| ("more", more)));
    } else if let (Some(offset), Some(next)) = (&by_rows, places.find(&["next_offset"])) {
        // What the answer says is surer than counting.
        use_parameter(&mut paging, "cursor", offset);
        paging.fields.push(("next", next));
    } else if let Some(page) = find(&PAGE) {
        use_parameter(&mut paging, "page", page);
        let start = first_page(page).unwrap_or_else(|| {
            decisions
                .push(format!("{table}: the number of the first page is not stated; 1 is a guess (pagination.start)"));
            1
        });
        paging.fields.push(("start", start.to_string()));
        if is_link {
            paging.fields.push(("link", "true".to_owned()));
        } else if let Some(pages) = places.find(&TOTAL_PAGES) {
            paging.fields.push(("total_pages", pages));
        } else if let Some(total) = places.find(&TOTAL) {
            paging.fields.push(("total", total));
        }
    } else if is_link {
        paging.fields = vec![("type", "link".to_owned())];
        paging.used.extend(find(&CURSOR).map(|p| p.name.clone()));
    } else if let Some(offset) = by_rows {
        use_parameter(&mut paging, "offset", offset);
        if let Some(total) = places.find(&TOTAL) {
            paging.fields.push(("total", total));
        } else if let Some(more) = places.find(&MORE) {
            paging.fields.push(("more", more));
        }
    } else if let Some(next) = places.find(&NEXT_URL) {
        paging.fields = vec![("type", "next_url".to_owned()), ("next", next)];
        decisions.push(format!("{table}: the next page is taken to be a URL in the answer; check `pagination`"));
    } else if let Some(cursor) = find(&CURSOR) {
        // A cursor that the answer's body does not have.
        paging.fields = vec![("type", "link".to_owned())];
        paging.used.push(cursor.name.clone());
        decisions.push(format!("{table}: the next page is taken to be in the Link header; check `pagination`"));
    } else {
        decisions
            .push(format!("{table}: nothing tells how to reach the next page; only the first is read (`pagination`)"));
    }
    // A page that cannot be followed may still be asked for at full size.
    if paging.size.is_none() && !paging.fields.is_empty() {
        decisions.push(format!("{table}: no parameter sets the page size; the vendor's own is used"));
    }
    paging
}

/// Scalars of an answer outside of its rows.
struct Places(Vec<Place>);

struct Place {
    /// Keys from the root.
    keys: Vec<String>,
    /// Whether it is said to be an address.
    is_url: bool,
}

impl Places {
    fn of(document: Document<'_>, answer: &Value) -> Self {
        let mut places = Self(Vec::new());
        places.gather(document, answer, &[], 0);
        places
    }

    fn gather(&mut self, document: Document<'_>, schema: &Value, above: &[String], depth: usize) {
        if depth > 3 {
            return;
        }
        let schema = resolve(document, schema);
        let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            properties.extend(resolve(document, part)["properties"].as_object().cloned().unwrap_or_default());
        }
        for (key, property) in &properties {
            let property = resolve(document, property);
            let keys: Vec<String> = above.iter().cloned().chain([key.clone()]).collect();
            if property["properties"].is_object() || property["allOf"].is_array() {
                self.gather(document, &property, &keys, depth + 1);
            } else if property["items"].is_null() {
                let about = property["description"].as_str().unwrap_or_default().to_ascii_lowercase();
                let below_links = above.last().is_some_and(|key| matches!(key.as_str(), "links" | "_links" | "link"));
                let is_url = below_links
                    || property["format"].as_str().is_some_and(|format| format.starts_with("uri"))
                    || ["url", "link"]
                        .iter()
                        .any(|word| about.split_whitespace().any(|w| w.trim_end_matches('.') == *word));
                self.0.push(Place { keys, is_url });
            }
        }
    }

    fn path(place: &Place) -> String {
        place.keys.iter().map(|key| step(key)).collect::<Vec<_>>().join(".")
    }

    fn named<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p Place> {
        self.0.iter().filter(move |place| place.keys.last().is_some_and(|key| snake(key) == name))
    }

    /// The place of the likeliest of `names`.
    fn find(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.named(name).next()).map(Self::path)
    }

    /// The place of the next cursor, which is no address.
    fn cursor(&self) -> Option<String> {
        NEXT.iter().find_map(|name| self.named(name).find(|place| !place.is_url)).map(Self::path)
    }
}

/// The column that a parameter bounds from below (`true`) or from above, and how it would be called there.
fn range_column<'c>(parameter: &Parameter, columns: &'c [Column]) -> Option<(&'c Column, bool)> {
    let name = snake(parameter.name.trim_start_matches("filter[").trim_end_matches(']'));
    // Only times as ISO text are taken for such; a number may be seconds or milliseconds.
    if parameter.schema["format"] != "date-time" {
        return None;
    }
    let times: Vec<&Column> = columns.iter().filter(|column| column.kind == "timestamp").collect();
    for (words, is_lower) in [(&FROM[..], true), (&TO[..], false)] {
        for word in words {
            let rest = name
                .strip_prefix(&format!("{word}_"))
                .or_else(|| name.strip_suffix(&format!("_{word}")))
                .or_else(|| name.strip_prefix(word).filter(|rest| rest.is_empty()));
            let Some(rest) = rest else { continue };
            let named = |column: &&&Column| {
                column.name == rest || column.name == format!("{rest}_at") || column.name == format!("{rest}_time")
            };
            // `since` alone bounds the only time there is.
            let found = match rest {
                "" => <[&Column; 1]>::try_from(times.clone()).ok().map(|[only]| only),
                _ => times.iter().find(named).copied(),
            };
            if let Some(column) = found {
                return Some((column, is_lower));
            }
        }
    }
    None
}

/// Parameters that are filters, by their names.
pub(super) fn filters(
    parameters: &[Parameter],
    columns: &[Column],
    paging: &Paging,
    table: &str,
    decisions: &mut Vec<String>,
) -> Vec<Filter> {
    let mut found: Vec<Filter> = Vec::new();
    let mut left = Vec::new();
    for parameter in parameters.iter().filter(|p| !paging.used.contains(&p.name)) {
        let name = snake(parameter.name.trim_start_matches("filter[").trim_end_matches(']'));
        let column = columns.iter().find(|c| c.name == name && !c.is_key && matches!(c.kind, "text" | "int" | "bool"));
        let is_new = |column: &&Column| !found.iter().any(|known| known.column() == column.name);
        if let Some(default) = parameter.schema["default"].as_str().filter(|_| hides_rows(parameter)) {
            let values: Vec<&str> =
                parameter.schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let all = if values.contains(&"all") { "put `all` into params" } else { "check whether that hides rows" };
            decisions.push(format!("{table}: `{}` is `{default}` where nothing is sent; {all}", parameter.name));
        }
        if let Some(column) = column.filter(is_new) {
            let several = parameter.schema["type"] == "array" || parameter.schema["items"].is_object();
            let list = several.then_some(if parameter.explode { "repeat" } else { "comma" });
            found.push(Filter::Equal(column.name.clone(), parameter.name.clone(), list));
        } else if let Some((column, is_lower)) = range_column(parameter, columns) {
            let param = Some(parameter.name.clone());
            let known = found.iter_mut().find(|known| known.column() == column.name);
            match (known, is_lower) {
                (Some(Filter::Range(_, lower @ None, _)), true) => *lower = param,
                (Some(Filter::Range(_, _, upper @ None)), false) => *upper = param,
                (None, true) => found.push(Filter::Range(column.name.clone(), param, None)),
                (None, false) => found.push(Filter::Range(column.name.clone(), None, param)),
                _ => left.push(parameter.name.as_str()),
            }
        } else if parameter.required {
            decisions
                .push(format!("{table}: the parameter `{}` is required; give it a value in params", parameter.name));
        } else {
            left.push(parameter.name.as_str());
        }
    }
    if !found.is_empty() {
        let names: Vec<&str> = found.iter().map(Filter::column).collect();
        decisions
            .push(format!("{table}: filters on {} are guessed by their names, and marked inexact", names.join(", ")));
    }
    if !left.is_empty() {
        decisions.push(format!("{table}: parameters not used yet: {} (filters, sorts, params)", left.join(", ")));
    }
    found
}

/// Whether a parameter that is not sent stands for a choice among rows, not for an order.
fn hides_rows(parameter: &Parameter) -> bool {
    let name = parameter.name.to_ascii_lowercase();
    let is_order = ["sort", "order", "direction"].iter().any(|word| name.contains(word));
    let has_choice = parameter.schema["enum"].is_array() || name == "query" || name == "q";
    let shows_all = matches!(parameter.schema["default"].as_str(), Some("all" | "any" | "none" | "*" | ""));
    has_choice && !is_order && !shows_all
}
