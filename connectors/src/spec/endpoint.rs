//! What a spec says of one way to list a table: request, pages, order, filters, field groups, derivation.
//!
//! Owns: [`Endpoint`] and its reader. Does not own: filters (`filter`), nor what is sent for a given query (`plan`).

use std::collections::BTreeMap;

use super::body::{BodyTemplate, Graphql, JsonKind, is_selectable, read_body, read_graphql};
use super::column::{Column, ColumnKind, Lookup, Origin, read_guards, read_lookups};
use super::filter::{self, Conditions, Filter, ListStyle};
use super::node::{At, Fields, Node, Problems, one_of};
use super::path::JsonPath;
use super::source::{Input, Slot, list_path, path_template, template, value_path};
use super::table::{find_column, read_by_column};
use super::template::Template;

/// One way to list a table: a generation of the vendor's API.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// What people call it; shown by `EXPLAIN`.
    pub name: String,
    /// Path below the base URL.
    pub path: Template<Slot>,
    /// Whether it is asked with POST.
    pub post: bool,
    /// What every request's body holds; parameters whose name starts with `/` are put into it (RFC 6901).
    pub body: Option<BodyTemplate>,
    /// The query that is the body's `query`, for GraphQL.
    pub graphql: Option<Graphql>,
    /// The JSON types of parameters that go into the body and are no text, and whether they are lists.
    pub kinds: BTreeMap<String, (JsonKind, bool)>,
    /// Parameters sent with every request.
    pub params: Vec<(String, Template<Slot>)>,
    /// Where the rows are in the answer: an array, or one object.
    pub rows: JsonPath,
    /// Objects beside the rows that rows refer to; each row gets its own under `included`.
    pub included: Option<Included>,
    /// Rows count only where the value at each path, if any, is one of the texts; so a vendor that ignores the
    /// parameter that selects them costs time only.
    pub keep: Vec<(JsonPath, Vec<String>)>,
    /// How to reach the next page.
    pub pagination: Pagination,
    /// How to ask for a page of a given size.
    pub page_size: Option<PageSize>,
    /// The order rows come in, and what must be sent for it.
    pub order: Option<VendorOrder>,
    /// Other orders that can be asked for.
    pub sorts: Vec<VendorOrder>,
    /// Predicates the vendor understands; at most one entry per column.
    pub filters: Vec<Filter>,
    /// The vendor's JSON filter language, for what plain parameters cannot say.
    pub conditions: Option<Conditions>,
    /// How to ask for some columns only.
    pub fields: Option<FieldGroups>,
    /// Places of columns where they differ from the table's.
    pub lookups: Vec<(usize, Vec<Lookup>)>,
    /// Several rows of the answer may make one row here: only the last of a page with the same key counts, rows
    /// without a key do not.
    pub unique: bool,
    /// Whether empty text is NULL in every column.
    pub empty_is_null: bool,
    /// What the rows are derived from, when they are not the vendor's own; noted in the report.
    pub derived_from: Option<String>,
    /// Columns computed from the rows of another table.
    pub aggregate: Option<Aggregate>,
    /// The vendor's own end of what can be read.
    pub cap: Option<Cap>,
    /// What a reader of a column should know.
    pub notes: Vec<(usize, String)>,
    /// Statuses that mean the server does not have this endpoint.
    pub absent: Vec<u16>,
}

/// How to reach the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pagination {
    /// There is one page.
    None,
    /// Pages are numbered.
    Page {
        /// Parameter of the page number.
        param: String,
        /// Number of the first page.
        start: u64,
        /// Where the answer has the number of pages.
        total_pages: Option<JsonPath>,
        /// Where the answer has the number of rows in all.
        total: Option<JsonPath>,
        /// Whether the `Link` header names the last and the next page.
        link: bool,
        /// Whether a page shorter than asked for is the last, where nothing else tells the end.
        short_ends: bool,
    },
    /// Rows are skipped by count.
    Offset {
        /// Parameter of the number of rows to skip.
        param: String,
        /// Where the answer has the number of rows in all.
        total: Option<JsonPath>,
        /// Where the answer says whether there is more.
        more: Option<JsonPath>,
        /// Whether a page shorter than asked for is the last, where nothing else tells the end.
        short_ends: bool,
    },
    /// The answer holds an opaque cursor for the next page.
    Cursor {
        /// Parameter of the cursor.
        param: String,
        /// Where the answer has the next cursor; none or an empty one ends the listing.
        next: JsonPath,
        /// Where the answer says whether there is more.
        more: Option<JsonPath>,
        /// Whether a page shorter than asked for is the last, whatever cursor it has.
        short_ends: bool,
    },
    /// The `Link` header has the next page's URL.
    Link {
        /// Whether only `results="true"` means that there is a next page.
        check_results: bool,
    },
    /// The body has the next page's URL.
    NextUrl {
        /// Where.
        next: JsonPath,
    },
}

/// Where an answer has the objects that its rows refer to (JSON:API's compound documents).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Included {
    /// The list of objects.
    pub path: JsonPath,
    /// The key of an object.
    pub key: JsonPath,
    /// Where a row names the key.
    pub by: JsonPath,
}

/// How to ask for a page of a given size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSize {
    /// Parameter.
    pub param: String,
    /// Largest page the vendor gives.
    pub max: usize,
}

/// An order the vendor produces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorOrder {
    /// The column ordered by.
    pub column: usize,
    /// Newest or largest first.
    pub descending: bool,
    /// Parameters that ask for it.
    pub params: Vec<(String, String)>,
}

/// How to ask for some columns only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldGroups {
    /// Parameter that takes a comma-separated list of groups.
    pub param: String,
    /// Groups always asked for.
    pub always: Vec<String>,
    /// Groups and the columns that need them.
    pub groups: Vec<(String, Vec<usize>)>,
}

/// Columns computed from the rows of another table of the source, for the rows of one page at a time.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// Position of that table among the source's tables.
    pub table: usize,
    /// Its column that holds this table's (only) primary key.
    pub key: usize,
    /// Columns here and what they are computed by.
    pub columns: Vec<(usize, Function)>,
}

/// What an aggregate column is; numbers are columns of the other table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Sum of a number.
    Sum(usize),
    /// Number of rows in which a column is not NULL.
    Count(usize),
    /// Earliest time.
    Min(usize),
    /// Latest time.
    Max(usize),
    /// Seconds from the earliest of one time to the latest of another.
    Span(usize, usize),
}

/// The vendor's own end of what can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// Rows after which the vendor gives no more.
    pub rows: usize,
    /// Whether it applies only when a filter is sent.
    pub only_filtered: bool,
    /// What to tell the reader.
    pub hint: String,
}

/// What an endpoint may refer to.
pub(crate) struct Context<'a> {
    pub(crate) inputs: &'a [Input],
    pub(crate) columns: &'a [Column],
    pub(crate) names: &'a [&'a str],
    pub(crate) tables: &'a [(&'a str, Vec<&'a str>)],
    /// Columns that every query pins: required without alternative, or supplied by the parent.
    pub(crate) pinned: &'a [usize],
}

impl Context<'_> {
    /// Reports keys in a request that not every query has.
    fn check_supplied<'s>(&self, at: At, what: &str, slots: impl Iterator<Item = &'s Slot>, problems: &mut Problems) {
        for slot in slots {
            if let Slot::Column(index) = slot
                && !self.pinned.contains(index)
            {
                let name = self.names.get(*index).copied().unwrap_or_default();
                problems.add(
                    at,
                    format!(
                        "{what} uses `{name}`, which nothing is sure to supply; put it under `required` or `parent`"
                    ),
                );
            }
        }
    }
}

/// Reads one endpoint.
pub(crate) fn read(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<Endpoint> {
    let names = context.names;
    let mut fields = node.fields("an endpoint", problems)?;
    let name = fields.required_text("name", problems);
    let keys: Vec<&str> = context
        .columns
        .iter()
        .map(|column| if column.origin == Origin::Key { column.name.as_str() } else { "" })
        .collect();
    let path = fields.required("path", problems).and_then(|n| {
        let path = path_template(n, "`path`", context.inputs, &keys, problems)?;
        context.check_supplied(n.at, "`path`", path.slots(), problems);
        Some(path)
    });
    let mut params = Vec::new();
    if let Some(node) = fields.take("params") {
        for (key, node) in node.map("`params`", problems).unwrap_or_default() {
            let what = format!("the parameter `{}`", key.name);
            let value = template(node, &what, context.inputs, &keys, problems);
            value.iter().for_each(|value| context.check_supplied(node.at, &what, value.slots(), problems));
            params.extend(value.map(|value| (key.name.clone(), value)));
        }
    }
    let method = fields.take("method").and_then(|n| n.choice("`method`", &[("get", false), ("post", true)], problems));
    let body_node = fields.take("body");
    let body = body_node.and_then(|n| read_body(n, context.inputs, &keys, problems));
    if let (Some(node), Some(body)) = (body_node, &body) {
        context.check_supplied(node.at, "`body`", body.slots().into_iter(), problems);
    }
    let graphql_node = fields.take("graphql");
    let post = method.unwrap_or(graphql_node.is_some());
    if let Some(node) = body_node.filter(|_| !post) {
        problems.add(node.at, "a `body` needs `method: post`");
    }
    let included = fields.take("included").and_then(|n| read_included(n, problems));
    let rows = fields.take("rows").and_then(|n| list_path(n, "`rows`", problems)).unwrap_or_default();
    let keep = fields.take("keep_when").map(|n| read_guards(n, "`keep_when`", problems)).unwrap_or_default();
    let pagination = fields.take("pagination").and_then(|n| read_pagination(n, problems)).unwrap_or(Pagination::None);
    let page_size = fields.take("page_size").and_then(|node| {
        let mut fields = node.fields("`page_size`", problems)?;
        let param = fields.required_text("param", problems);
        let max = fields.required("max", problems).and_then(|n| n.positive("`max`", problems));
        fields.finish(problems);
        Some(PageSize { param: param?, max: max? })
    });
    let order = fields.take("order").and_then(|n| read_order(n, context, problems));
    let mut sorts = Vec::new();
    for node in fields.take("sorts").and_then(|n| n.list("`sorts`", problems)).unwrap_or_default() {
        sorts.extend(read_order(node, context, problems));
    }
    let filters = fields.take("filters").map(|n| filter::read_all(n, context, problems)).unwrap_or_default();
    let conditions = fields.take("conditions").and_then(|n| filter::read_conditions(n, problems));
    if let Some(filter) = filters.iter().find(|f| f.condition.is_some())
        && conditions.is_none()
    {
        problems.add(
            node.at,
            format!("the filter on `{}` has a `condition`, but the endpoint has no `conditions`", names[filter.column]),
        );
    }
    let field_groups = fields.take("fields").and_then(|n| read_field_groups(n, names, problems));
    let lookups = read_by_column(fields.take("paths"), "`paths`", names, problems, |node, problems| {
        Some(read_lookups(node, problems))
    });
    let unique = fields.flag("unique", false, problems);
    let empty_is_null = fields.flag("empty_is_null", false, problems);
    let derived_from = fields.text("derived_from", problems);
    let aggregate = fields.take("aggregate").and_then(|n| read_aggregate(n, context, problems));
    let cap = fields.take("cap").and_then(|n| read_cap(n, problems));
    let notes = read_by_column(fields.take("notes"), "`notes`", names, problems, |node, p| node.text("a note", p));
    let absent = match fields.take("absent") {
        None => vec![404, 410, 501],
        Some(node) => node
            .texts("`absent`", problems)
            .into_iter()
            .filter_map(|(at, text)| match text.parse::<u16>() {
                Ok(status) if (400..600).contains(&status) => Some(status),
                _ => {
                    problems.add(at, format!("`absent` lists `{text}`, which is no HTTP status from 400 to 599"));
                    None
                }
            })
            .collect(),
    };
    fields.finish(problems);
    let endpoint = Endpoint {
        name: name?,
        path: path?,
        post,
        body,
        graphql: None,
        kinds: BTreeMap::new(),
        included,
        params,
        rows,
        keep,
        pagination,
        page_size,
        order,
        sorts,
        filters,
        conditions,
        fields: field_groups,
        lookups,
        unique,
        empty_is_null,
        derived_from,
        aggregate,
        cap,
        notes,
        absent,
    };
    finish_body(endpoint, graphql_node, node, context, problems)
}

/// Everything an endpoint may send as a parameter, and how it is written in a body.
fn body_kinds(endpoint: &Endpoint, columns: &[Column]) -> Vec<(String, (JsonKind, bool))> {
    let mut kinds: Vec<(String, (JsonKind, bool))> = Vec::new();
    let text = (JsonKind::Text, false);
    let number = (JsonKind::Number, false);
    let is_time_number = |template: &Template<Slot>| matches!(template.0.as_slice(), [super::template::Part::Slot(Slot::Now(style))] if style.is_number());
    kinds.extend(endpoint.params.iter().map(|(name, t)| (name.clone(), if is_time_number(t) { number } else { text })));
    kinds.extend(endpoint.page_size.iter().map(|size| (size.param.clone(), number)));
    match &endpoint.pagination {
        Pagination::Page { param, .. } | Pagination::Offset { param, .. } => kinds.push((param.clone(), number)),
        Pagination::Cursor { param, .. } => kinds.push((param.clone(), text)),
        Pagination::None | Pagination::Link { .. } | Pagination::NextUrl { .. } => {}
    }
    for order in endpoint.order.iter().chain(&endpoint.sorts) {
        kinds.extend(order.params.iter().map(|(name, _)| (name.clone(), text)));
    }
    kinds.extend(endpoint.fields.iter().map(|fields| (fields.param.clone(), text)));
    kinds.extend(endpoint.conditions.iter().map(|c| (c.param.clone(), (JsonKind::Json, false))));
    for filter in &endpoint.filters {
        let kind = match columns.get(filter.column).map(|column| column.kind) {
            Some(ColumnKind::Int | ColumnKind::Float) if filter.map.is_none() => JsonKind::Number,
            Some(ColumnKind::Bool) if filter.map.is_none() => JsonKind::Bool,
            _ => JsonKind::Text,
        };
        let values = filter.equal.iter().map(|equal| &equal.target).chain(&filter.not_equal);
        kinds.extend(values.map(|target| (target.param().to_owned(), (kind, filter.list == ListStyle::Repeat))));
        kinds.extend(filter.searches.iter().map(|search| (search.target.param().to_owned(), text)));
        let time = if filter.format.is_number() { number } else { text };
        kinds.extend(filter.lower.iter().chain(&filter.upper).map(|edge| (edge.target.param().to_owned(), time)));
        kinds.extend(filter.with.iter().map(|(name, _)| (name.clone(), text)));
    }
    kinds
}

/// Puts together what goes into a body, and checks it.
fn finish_body(
    mut endpoint: Endpoint,
    graphql: Option<&Node>,
    node: &Node,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Endpoint> {
    let kinds = body_kinds(&endpoint, context.columns);
    if let Some((name, _)) = kinds.iter().find(|(name, _)| name.starts_with('/') && !endpoint.post) {
        problems.add(node.at, format!("`{name}` is a place in a body, which needs `method: post`"));
    }
    if let Some(graphql) = graphql {
        let sent: Vec<String> = kinds.iter().map(|(name, _)| name.clone()).collect();
        endpoint.graphql = read_graphql(graphql, &sent, problems);
        let own =
            |index: usize| endpoint.lookups.iter().find(|(i, _)| *i == index).map(|(_, lookups)| lookups.as_slice());
        for (index, column) in context.columns.iter().enumerate() {
            let paths: Vec<&JsonPath> = match (own(index), &column.origin) {
                (Some(lookups), _) => lookups.iter().map(|l| &l.path).collect(),
                (None, Origin::Answer(lookups)) => lookups.iter().map(|l| &l.path).collect(),
                (None, Origin::Exists(path)) => vec![path],
                _ => Vec::new(),
            };
            if let Some(path) = paths.into_iter().find(|path| !is_selectable(path)) {
                problems
                    .add(node.at, format!("the column `{}` is at {path}, which no GraphQL field can be", column.name));
            }
        }
    }
    endpoint.kinds =
        kinds.into_iter().filter(|(name, kind)| name.starts_with('/') && *kind != (JsonKind::Text, false)).collect();
    Some(endpoint)
}

fn read_included(node: &Node, problems: &mut Problems) -> Option<Included> {
    let mut fields = node.fields("`included`", problems)?;
    let objects = fields.required("path", problems).and_then(|n| list_path(n, "`path`", problems));
    let mut path = |name: &'static str, problems: &mut Problems| {
        fields.required(name, problems).and_then(|n| value_path(n, &format!("`{name}`"), problems))
    };
    let (key, by) = (path("key", problems), path("by", problems));
    fields.finish(problems);
    Some(Included { path: objects?, key: key?, by: by? })
}

fn read_pagination(node: &Node, problems: &mut Problems) -> Option<Pagination> {
    #[derive(Clone, Copy)]
    enum Kind {
        None,
        Page,
        Offset,
        Cursor,
        Link,
        NextUrl,
    }
    const KINDS: &[(&str, Kind)] = &[
        ("none", Kind::None),
        ("page", Kind::Page),
        ("offset", Kind::Offset),
        ("cursor", Kind::Cursor),
        ("link", Kind::Link),
        ("next_url", Kind::NextUrl),
    ];
    fn path(fields: &mut Fields<'_>, name: &'static str, problems: &mut Problems) -> Option<JsonPath> {
        fields.take(name).and_then(|n| value_path(n, &format!("`{name}`"), problems))
    }
    let mut fields = node.fields("`pagination`", problems)?;
    let kind = fields.required("type", problems)?.choice("the pagination `type`", KINDS, problems)?;
    let pagination = match kind {
        Kind::None => Some(Pagination::None),
        Kind::Page => {
            let param = fields.required_text("param", problems);
            let start = match fields.take("start").map(|n| (n.at, n.text("`start`", problems))) {
                None => 1,
                Some((at, text)) => text.and_then(|t| t.parse().ok()).filter(|n| *n <= 1).unwrap_or_else(|| {
                    problems.add(at, "`start` must be the number of the first page, 0 or 1");
                    1
                }),
            };
            let total_pages = path(&mut fields, "total_pages", problems);
            let total = path(&mut fields, "total", problems);
            let link = fields.flag("link", false, problems);
            let short_ends = fields.flag("short_ends", false, problems);
            param.map(|param| Pagination::Page { param, start, total_pages, total, link, short_ends })
        }
        Kind::Offset => {
            let param = fields.required_text("param", problems);
            let total = path(&mut fields, "total", problems);
            let more = path(&mut fields, "more", problems);
            let short_ends = fields.flag("short_ends", false, problems);
            param.map(|param| Pagination::Offset { param, total, more, short_ends })
        }
        Kind::Cursor => {
            let param = fields.required_text("param", problems);
            let next = fields.required("next", problems).and_then(|n| value_path(n, "`next`", problems));
            let more = path(&mut fields, "more", problems);
            let short_ends = fields.flag("short_ends", false, problems);
            param.zip(next).map(|(param, next)| Pagination::Cursor { param, next, more, short_ends })
        }
        Kind::Link => Some(Pagination::Link { check_results: fields.flag("check_results", false, problems) }),
        Kind::NextUrl => {
            let next = fields.required("next", problems).and_then(|n| value_path(n, "`next`", problems));
            next.map(|next| Pagination::NextUrl { next })
        }
    };
    fields.finish(problems);
    pagination
}

fn read_order(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<VendorOrder> {
    let mut fields = node.fields("an order", problems)?;
    let column = fields.required("column", problems).and_then(|node| {
        let name = node.text("`column`", problems)?;
        find_column(&name, node.at, "the order", context.names, problems)
    });
    let descending = fields
        .required("direction", problems)
        .and_then(|n| n.choice("`direction`", &[("asc", false), ("desc", true)], problems));
    let params = fields.take("params").map(|n| read_texts(n, "`params`", problems)).unwrap_or_default();
    fields.finish(problems);
    Some(VendorOrder { column: column?, descending: descending?, params })
}

/// A mapping of texts.
pub(crate) fn read_texts(node: &Node, what: &str, problems: &mut Problems) -> Vec<(String, String)> {
    let entries = node.map(what, problems).unwrap_or_default();
    entries.iter().filter_map(|(key, node)| Some((key.name.clone(), node.text(what, problems)?))).collect()
}

fn read_columns(node: &Node, what: &str, names: &[&str], problems: &mut Problems) -> Vec<usize> {
    let texts = node.texts(what, problems);
    texts.into_iter().filter_map(|(at, name)| find_column(&name, at, what, names, problems)).collect()
}

fn read_field_groups(node: &Node, names: &[&str], problems: &mut Problems) -> Option<FieldGroups> {
    let mut fields = node.fields("`fields`", problems)?;
    let param = fields.required_text("param", problems);
    let always = fields.take("always").map(|n| n.texts("`always`", problems)).unwrap_or_default();
    let mut groups = Vec::new();
    if let Some(node) = fields.required("groups", problems) {
        for (key, node) in node.map("`groups`", problems).unwrap_or_default() {
            groups.push((key.name.clone(), read_columns(node, "`groups`", names, problems)));
        }
    }
    fields.finish(problems);
    Some(FieldGroups { param: param?, always: always.into_iter().map(|(_, text)| text).collect(), groups })
}

fn read_aggregate(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<Aggregate> {
    let mut fields = node.fields("`aggregate`", problems)?;
    let table = fields.required("table", problems).and_then(|node| {
        let name = node.text("`table`", problems)?;
        let found = context.tables.iter().position(|(table, _)| *table == name);
        if found.is_none() {
            let known = one_of(context.tables.iter().map(|(table, _)| *table));
            problems.add(node.at, format!("the table `{name}` does not exist; there is {known}"));
        }
        found
    })?;
    let there = context.tables[table].1.as_slice();
    let key = fields.required("key", problems).and_then(|node| {
        let name = node.text("`key`", problems)?;
        find_column(&name, node.at, "`key`", there, problems)
    });
    let columns =
        read_by_column(fields.required("columns", problems), "`columns`", context.names, problems, |node, problems| {
            read_function(node, there, problems)
        });
    for (index, function) in &columns {
        let expected = match function {
            Function::Sum(_) | Function::Span(..) => ColumnKind::Float,
            Function::Count(_) => ColumnKind::Int,
            Function::Min(_) | Function::Max(_) => ColumnKind::Timestamp,
        };
        if context.columns.get(*index).is_some_and(|column| column.kind != expected) {
            problems.add(
                node.at,
                format!("the aggregate column `{}` must be of type {}", context.names[*index], expected.name()),
            );
        }
    }
    fields.finish(problems);
    Some(Aggregate { table, key: key?, columns })
}

fn read_function(node: &Node, there: &[&str], problems: &mut Problems) -> Option<Function> {
    const WHAT: &str = "an aggregate";
    let entries = node.map(WHAT, problems)?;
    let [(key, node)] = entries else {
        problems.add(node.at, "an aggregate column is one of `sum`, `count`, `min`, `max` or `span` with its column");
        return None;
    };
    let columns = read_columns(node, WHAT, there, problems);
    match (key.name.as_str(), columns.as_slice()) {
        ("sum", [column]) => Some(Function::Sum(*column)),
        ("count", [column]) => Some(Function::Count(*column)),
        ("min", [column]) => Some(Function::Min(*column)),
        ("max", [column]) => Some(Function::Max(*column)),
        ("span", [from, to]) => Some(Function::Span(*from, *to)),
        ("sum" | "count" | "min" | "max" | "span", _) => {
            problems.add(node.at, "`span` takes two columns, the other aggregates one");
            None
        }
        (other, _) => {
            problems.add(key.at, format!("`{other}` is no aggregate; it must be sum, count, min, max or span"));
            None
        }
    }
}

fn read_cap(node: &Node, problems: &mut Problems) -> Option<Cap> {
    let mut fields = node.fields("`cap`", problems)?;
    let rows = fields.required("rows", problems).and_then(|n| n.positive("`rows`", problems));
    let only_filtered = fields
        .take("when")
        .and_then(|n| n.choice("`when`", &[("always", false), ("filtered", true)], problems))
        .unwrap_or(false);
    let hint = fields.required_text("hint", problems);
    fields.finish(problems);
    Some(Cap { rows: rows?, only_filtered, hint: hint? })
}
