//! A table of a source, as the engine sees it.
//!
//! Owns: the engine's [`RemoteTable`] over a spec: capabilities, shapes, `EXPLAIN` texts. Does not own: scanning
//! (`scan`) or planning (`plan`).

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use tripline_engine::{
    Capabilities, Constraints, FilterCapability, Operator, PageStream, RemoteTable, RequestPlan, RequiredKey,
    ScanRequest, ScanRun, ScanShape, SortKey,
};

use crate::plan;
use crate::scan::{self, Shared};
use crate::spec::{
    Column, Endpoint, Filter, ListStyle, Origin, Pagination, Part, Search, Slot, TableSpec, VendorOrder, Verb,
};

/// A table served over HTTP.
#[derive(Debug)]
pub(crate) struct HttpTable {
    shared: Arc<Shared>,
    spec: Arc<TableSpec>,
    capabilities: Capabilities,
}

impl HttpTable {
    pub(crate) fn new(shared: Arc<Shared>, spec: Arc<TableSpec>) -> Arc<Self> {
        let capabilities = capabilities(&spec);
        Arc::new(Self { shared, spec, capabilities })
    }

    /// The endpoint that the server is believed to have.
    fn endpoint(&self) -> &Endpoint {
        let client = &self.shared.client;
        let believed = client
            .base(&self.spec.name)
            .map_or(0, |base| self.shared.generations.first(base, &self.spec, client.clock().now()));
        &self.spec.endpoints[believed]
    }
}

impl RemoteTable for HttpTable {
    fn source(&self) -> &str {
        &self.shared.client.spec().name
    }

    fn name(&self) -> &str {
        &self.spec.name
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.spec.schema)
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn shape(&self, constraints: &Constraints) -> ScanShape {
        plan::shape(self.shared.client.spec(), &self.spec, constraints)
    }

    fn describe(&self, request: &ScanRequest) -> RequestPlan {
        let source = self.shared.client.spec();
        let missing = plan::missing_keys(source, &self.spec, &request.constraints);
        if let Some(key) = missing.first() {
            return RequestPlan {
                request: String::new(),
                requests: format!("none: a required key is missing, as in {}", key.example),
                pushed: Vec::new(),
            };
        }
        if let Some(column) = plan::unbounded(&self.spec, &request.constraints) {
            let requests = format!("none: `{column}` must be bounded from below");
            return RequestPlan { request: String::new(), requests, pushed: Vec::new() };
        }
        let endpoint = self.endpoint();
        let plan = plan::plan(source, &self.spec, endpoint, request);
        if plan.nothing {
            return RequestPlan { request: String::new(), requests: "0".to_owned(), pushed: Vec::new() };
        }
        let pushed = plan
            .pushed
            .iter()
            .map(|p| format!("{}{} {} → {}", if p.exact { "" } else { "~" }, p.column, p.operator, p.parameter))
            .collect();
        RequestPlan { request: example(&self.spec, endpoint, &plan), requests: self.requests(endpoint, &plan), pushed }
    }

    fn can_have(&self, column: &str, value: &ScalarValue) -> bool {
        // What no path can name is in no listing.
        let in_path = |endpoint: &Endpoint| {
            endpoint
                .path
                .slots()
                .any(|slot| matches!(slot, Slot::Column(index) if self.spec.columns[*index].name == column))
        };
        let named = plan::text(value).is_none_or(|text| crate::http::path_part(&text).is_ok());
        named || !self.spec.endpoints.iter().all(in_path)
    }

    fn scan(self: Arc<Self>, request: ScanRequest, run: ScanRun) -> PageStream {
        scan::scan(Arc::clone(&self.shared), Arc::clone(&self.spec), request, run)
    }
}

impl HttpTable {
    /// How many requests a plan sends, in words.
    fn requests(&self, endpoint: &Endpoint, plan: &plan::Plan) -> String {
        let source = self.shared.client.spec();
        let per_listing = match (&endpoint.pagination, plan.page_size, plan.target) {
            (Pagination::None, ..) => "1".to_owned(),
            (_, Some(size), _) if plan.merged && plan.limit.is_some() => format!("about 1 page of {size}"),
            (_, Some(size), Some(target)) => target.div_ceil(size.max(1)).max(1).to_string(),
            (_, Some(size), None) => format!("1 per page of {size}"),
            (_, None, _) => "1 per page".to_owned(),
        };
        let mut words = match (&plan.parent, self.spec.parent.as_ref(), plan.listings()) {
            (Some(_), Some(parent), _) => {
                let there = &source.tables[parent.table];
                format!("1 per page of {}, then {per_listing} for each of them that may match", there.name)
            }
            (_, _, 1) => per_listing,
            (_, _, many) => format!("{per_listing} for each of {many} keys"),
        };
        if let (true, Some(order)) = (plan.merged, &plan.order) {
            let column = &self.spec.columns[order.column].name;
            words.push_str(&format!(", merged by {column}{}", if order.descending { " DESC" } else { "" }));
            if plan.limit.is_some() {
                words.push_str(" up to the limit");
            }
        }
        let bound_is_sent = plan.order.as_ref().is_some_and(|order| {
            let column = &self.spec.columns[order.column].name;
            plan.pushed.iter().any(|p| p.column == *column && p.operator.starts_with(['>', '<']))
        });
        if plan.stop.is_some() && !bound_is_sent && plan.target.is_none() {
            words.push_str(", until the order passes the time bound");
        }
        if plan.split_by(&self.spec, endpoint).is_some() {
            words.push_str(", long ranges in parts at once");
        }
        let named = |columns: &[usize]| {
            let names: Vec<&str> = columns.iter().map(|c| self.spec.columns[*c].name.as_str()).collect();
            names.join(", ")
        };
        if !plan.details.is_empty() {
            words.push_str(&format!(", and 1 per row for {}", named(&plan.details)));
        }
        if let (false, Some(aggregate)) = (plan.aggregates.is_empty(), &endpoint.aggregate) {
            let there = &source.tables[aggregate.table].name;
            words.push_str(&format!(", and a scan of {there} per 100 rows for {}", named(&plan.aggregates)));
        }
        if let Some(from) = &endpoint.derived_from {
            words.push_str(&format!(", rows derived from {from}"));
        }
        let position = self.spec.endpoints.iter().position(|e| std::ptr::eq(e, endpoint)).unwrap_or(0);
        match self.spec.endpoints.get(position + 1) {
            Some(next) => words.push_str(&format!(" ({}, {} if that is absent)", endpoint.name, next.name)),
            None if position > 0 => words.push_str(&format!(" ({})", endpoint.name)),
            None => {}
        }
        words
    }
}

/// One request of a plan, values filled in.
fn example(table: &TableSpec, endpoint: &Endpoint, plan: &plan::Plan) -> String {
    let listing = plan.listing(0);
    let mut path = String::from(if endpoint.post { "POST " } else { "GET " });
    for part in &endpoint.path.0 {
        match part {
            Part::Literal(text) => path.push_str(text),
            Part::Slot(Slot::Input(_) | Slot::Now(_)) => path.push('…'),
            Part::Slot(Slot::Column(index)) => match listing.constants.get(index).and_then(plan::text) {
                Some(text) => path.push_str(&text),
                None => path.push_str(&format!("{{{}}}", table.columns[*index].name)),
            },
        }
    }
    let mut params = plan.params.clone();
    plan::override_params(&mut params, listing.params.clone());
    let conditions: Vec<&str> = listing.conditions.iter().chain(&plan.conditions).map(String::as_str).collect();
    if let (Some(language), false) = (&endpoint.conditions, conditions.is_empty()) {
        params.push((language.param.clone(), format!("[{}]", conditions.join(","))));
    }
    let mut shown = |slot: &Slot| -> Result<String, std::convert::Infallible> {
        Ok(match slot {
            Slot::Column(index) => listing.constants.get(index).and_then(plan::text).unwrap_or_else(|| "…".to_owned()),
            Slot::Input(_) | Slot::Now(_) => "…".to_owned(),
        })
    };
    match plan::body::target(table, endpoint, &plan.columns, path, params, &mut shown) {
        Ok(target) => target.to_string(),
        Err(never) => match never {},
    }
}

fn capabilities(table: &TableSpec) -> Capabilities {
    let Some(first) = table.endpoints.first() else { return Capabilities::default() };
    let name = |index: usize| table.columns[index].name.clone();
    let sort = |order: &VendorOrder| SortKey { column: name(order.column), descending: order.descending };
    let mut filters = Vec::new();
    for (index, column) in table.columns.iter().enumerate() {
        let in_path = column.origin == Origin::Key && !first.filters.iter().any(|f| f.column == index);
        if in_path {
            for operator in [Operator::Equal, Operator::In] {
                filters.push(FilterCapability {
                    column: column.name.clone(),
                    operator,
                    parameter: "path".to_owned(),
                    exact: true,
                });
            }
        }
    }
    for filter in &first.filters {
        filters.extend(filter_capabilities(&name(filter.column), filter, first));
    }
    let named = |wanted: &dyn Fn(&Column, usize) -> bool| -> Vec<String> {
        let columns = table.columns.iter().enumerate().filter(|(index, column)| wanted(column, *index));
        columns.map(|(_, column)| column.name.clone()).collect()
    };
    let aggregated = |index: usize| {
        let aggregates = table.endpoints.iter().filter_map(|endpoint| endpoint.aggregate.as_ref());
        aggregates.flat_map(|aggregate| &aggregate.columns).any(|(column, _)| *column == index)
    };
    Capabilities {
        filters,
        required: table
            .required
            .iter()
            .map(|group| RequiredKey {
                any_of: group.iter().map(|set| set.iter().map(|index| name(*index)).collect()).collect(),
            })
            .collect(),
        values_per_request: first.filters.iter().map(|f| (name(f.column), plan::values_per_request(f))).collect(),
        sorts: first.sorts.iter().map(sort).collect(),
        natural_order: first.order.as_ref().map(sort),
        max_page_size: first.page_size.as_ref().map_or(0, |size| size.max),
        guide: table.guide.clone(),
        description: table.description.clone(),
        primary_key: table.primary_key.iter().map(|index| name(*index)).collect(),
        keys: named(&|column, _| column.origin == Origin::Key),
        content: named(&|column, _| column.content),
        per_row: named(&|column, _| matches!(column.origin, Origin::Detail(_))),
        costly: named(&|column, index| matches!(column.origin, Origin::Detail(_)) || aggregated(index)),
        at_most: table.at_most.iter().map(|(smaller, larger)| (name(*smaller), name(*larger))).collect(),
        columns: table.columns.iter().map(|column| (column.name.clone(), column.about.clone())).collect(),
    }
}

fn filter_capabilities(column: &str, filter: &Filter, endpoint: &Endpoint) -> Vec<FilterCapability> {
    let capability = |operator, parameter: &str, exact| FilterCapability {
        column: column.to_owned(),
        operator,
        parameter: parameter.to_owned(),
        exact,
    };
    let mut found: Vec<FilterCapability> = Vec::new();
    let language = filter.condition.as_ref().zip(endpoint.conditions.as_ref());
    let language = language.map(|(column, conditions)| format!("{}.{column}", conditions.param));
    let is_range = filter.lower.is_some() || filter.upper.is_some();
    let equals = filter.is_exact(Verb::Equal);
    match (&filter.equal, &language) {
        (Some(equal), _) => {
            found.push(capability(Operator::Equal, equal.target.param(), equals));
            if equal.list != ListStyle::No || equal.fan_out {
                found.push(capability(Operator::In, equal.target.param(), equals));
            } else if let Some(language) = &language {
                found.push(capability(Operator::In, language, equals));
            }
        }
        (None, Some(language)) if !is_range => {
            found.push(capability(Operator::Equal, language, equals));
            found.push(capability(Operator::In, language, equals));
        }
        _ => {}
    }
    if let Some(edge) = &filter.lower {
        found.push(capability(Operator::GreaterEqual, edge.target.param(), filter.exact && edge.inclusive));
        found.push(capability(Operator::Greater, edge.target.param(), filter.exact && !edge.inclusive));
    }
    if let Some(edge) = &filter.upper {
        found.push(capability(Operator::LessEqual, edge.target.param(), filter.exact && edge.inclusive));
        found.push(capability(Operator::Less, edge.target.param(), filter.exact && !edge.inclusive));
    }
    found.extend(search_capabilities(filter, endpoint, is_range, capability));
    found
}

/// What a filter can do for `<>`, `LIKE` and `ILIKE`. For patterns, `exact` is of those that the vendor has a word for
/// (`'%x%'`, `'x%'`, `'%x'`); of others a part is asked for.
fn search_capabilities(
    filter: &Filter,
    endpoint: &Endpoint,
    is_range: bool,
    capability: impl Fn(Operator, &str, bool) -> FilterCapability,
) -> Vec<FilterCapability> {
    let mut found: Vec<FilterCapability> = Vec::new();
    if let Some(target) = &filter.not_equal {
        found.push(capability(Operator::NotEqual, target.param(), filter.is_exact(Verb::NotEqual)));
    }
    let minds_case = |search: &Search| !search.any_case;
    for search in &filter.searches {
        let (param, exact) = (search.target.param(), filter.is_exact(Verb::Find(search.find)));
        if minds_case(search) {
            found.push(capability(Operator::Like, param, exact));
            continue;
        }
        found.push(capability(Operator::ILike, param, exact));
        if !filter.searches.iter().any(|other| other.find == search.find && minds_case(other)) {
            found.push(capability(Operator::Like, param, false));
        }
    }
    if let (Some(column), Some(conditions), false) = (&filter.condition, &endpoint.conditions, is_range) {
        let parameter = format!("{}.{column}", conditions.param);
        let exact = |verb: Verb| filter.is_exact(verb) && !conditions.inexact.contains(&verb);
        if filter.not_equal.is_none() && conditions.none_of.is_some() && filter.has_condition(Verb::NotEqual) {
            found.push(capability(Operator::NotEqual, &parameter, exact(Verb::NotEqual)));
        }
        let finds = conditions.searches.iter().map(|(find, _)| Verb::Find(*find));
        let finds = finds.filter(|verb| filter.searches.is_empty() && filter.has_condition(*verb));
        found.extend(finds.map(|verb| capability(Operator::Like, &parameter, exact(verb))));
    }
    // A parameter that serves several forms of patterns is one line.
    let mut once: Vec<FilterCapability> = Vec::new();
    for one in found {
        match once.iter_mut().find(|known| known.operator == one.operator && known.parameter == one.parameter) {
            Some(known) => known.exact &= one.exact,
            None => once.push(one),
        }
    }
    once
}
