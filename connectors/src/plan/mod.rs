//! From a query's request to what will be sent: pure, and plain data.
//!
//! Owns: the decision which parameters, keys, page size and columns a scan uses, when it may stop, and how that reads
//! in `EXPLAIN`. Does not own: sending any of it (`scan`, `http`).
//!
//! Must hold: a plan's requests cover every row the constraints allow; a limit narrows a page only where every
//! predicate is answered exactly by the vendor.

pub(crate) mod body;
mod bounds;
mod push;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use datafusion::scalar::ScalarValue;
use tripline_engine::{Constraints, MissingKey, Predicate, ScanRequest, ScanShape, SortKey};

pub(crate) use bounds::TimeBound;
pub(crate) use push::{Choice, Pushed, key_choice, text, time_text, values_per_request};

use crate::decode::Constants;
use crate::spec::{
    BodyTemplate, ColumnKind, Endpoint, JsonPath, Origin, Pagination, Parent, Slot, SourceSpec, TableSpec, VendorOrder,
};

/// What a scan of one endpoint will do.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Nothing can match: nothing is sent.
    pub(crate) nothing: bool,
    /// What the query asks of the rows.
    pub(crate) constraints: Constraints,
    /// Parameters of every request.
    pub(crate) params: Vec<(String, String)>,
    /// Conditions of every request, in the endpoint's JSON filter language.
    pub(crate) conditions: Vec<String>,
    /// Alternatives whose combinations are the listings to walk.
    pub(crate) choices: Vec<Vec<Choice>>,
    /// Where keys come from that the query does not pin.
    pub(crate) parent: Option<ParentPlan>,
    /// Rows per page to ask for.
    pub(crate) page_size: Option<usize>,
    /// The query needs only so many rows, and the vendor returns only rows the query wants.
    pub(crate) target: Option<usize>,
    /// The consumer may stop early.
    pub(crate) limit: Option<usize>,
    /// The order rows come in within one listing.
    pub(crate) order: Option<VendorOrder>,
    /// Several listings are merged by `order`, because the query wants that order.
    pub(crate) merged: bool,
    /// No row at or past this point of the order is wanted.
    pub(crate) stop: Option<TimeBound>,
    /// Columns to decode, ascending.
    pub(crate) columns: Vec<usize>,
    /// Columns of `columns` that need a request per row.
    pub(crate) details: Vec<usize>,
    /// Columns of `columns` that are computed from another table.
    pub(crate) aggregates: Vec<usize>,
    /// Whether a filter is sent (some vendors cap filtered listings).
    pub(crate) filtered: bool,
    /// For `EXPLAIN`.
    pub(crate) pushed: Vec<Pushed>,
}

/// How the parent of a table is read for its keys.
#[derive(Debug)]
pub(crate) struct ParentPlan {
    /// What to ask of the parent.
    pub(crate) request: ScanRequest,
    /// Parent's columns in the order of `request.projection`.
    pub(crate) columns: Vec<usize>,
    /// Parents with this text in this column are left out.
    pub(crate) skip_when: Vec<(usize, String)>,
    /// Parents with a time before the bound in this column are left out; without a time they stay.
    pub(crate) not_before: Vec<(usize, TimeBound)>,
    /// Keys the query pins; walked even where the parent does not list them, unless `carried_asked`.
    pub(crate) pinned: Vec<ScalarValue>,
    /// Whether the query asks something of a carried column, so that keys without a parent cannot match.
    pub(crate) carried_asked: bool,
}

/// One listing to walk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    /// Parameters of this listing's own.
    pub(crate) params: Vec<(String, String)>,
    /// Conditions of this listing's own.
    pub(crate) conditions: Vec<String>,
    /// Values of columns that no answer holds.
    pub(crate) constants: Constants,
    /// Columns with the values this listing was asked for: other rows are another listing's.
    pub(crate) having: Vec<(String, Vec<ScalarValue>)>,
}

impl Listing {
    /// Adds what a choice sends.
    pub(crate) fn add(&mut self, choice: &Choice) {
        self.params.extend(choice.params.iter().cloned());
        self.conditions.extend(choice.condition.iter().cloned());
        self.constants.extend(choice.constant.clone());
        self.having.extend(choice.having.clone());
    }
}

impl Plan {
    /// How many combinations of choices there are.
    pub(crate) fn listings(&self) -> usize {
        self.choices.iter().fold(1, |product, choices| product.saturating_mul(choices.len()))
    }

    /// The time column by which the listing may be walked in several parts at once: pages follow each other by cursor, all
    /// rows are wanted, they come in the column's order, and the vendor takes both ends of a range of it exactly.
    pub(crate) fn split_by(&self, table: &TableSpec, endpoint: &Endpoint) -> Option<usize> {
        let one_by_one = matches!(
            endpoint.pagination,
            Pagination::Cursor { .. } | Pagination::Link { .. } | Pagination::NextUrl { .. }
        );
        let column = self.order.as_ref()?.column;
        let filter = endpoint.filters.iter().find(|f| f.column == column)?;
        let ranged = filter.lower.is_some() && filter.upper.is_some() && filter.exact;
        // Rows are told apart by their key where two parts meet.
        let keyed = !table.primary_key.is_empty() && !endpoint.unique;
        let whole = self.limit.is_none() && self.stop.is_some() && endpoint.cap.is_none();
        let single = self.parent.is_none() && self.listings() == 1;
        (one_by_one && ranged && keyed && whole && single).then_some(column)
    }

    /// The combination numbered `number`.
    pub(crate) fn listing(&self, mut number: usize) -> Listing {
        let mut listing = Listing::default();
        for choices in &self.choices {
            if let Some(choice) = choices.get(number % choices.len().max(1)) {
                listing.add(choice);
            }
            number /= choices.len().max(1);
        }
        listing
    }
}

/// The columns whose values the path of `endpoint` takes.
fn path_keys(endpoint: &Endpoint) -> BTreeSet<usize> {
    let in_body = endpoint.body.iter().flat_map(BodyTemplate::slots);
    let in_params = endpoint.params.iter().flat_map(|(_, template)| template.slots());
    let slots = endpoint.path.slots().chain(in_params).chain(in_body);
    slots
        .filter_map(|slot| match slot {
            Slot::Column(index) => Some(*index),
            Slot::Input(_) | Slot::Now(_) => None,
        })
        .collect()
}

/// Keys that the table requires and `constraints` do not pin.
pub(crate) fn missing_keys(source: &SourceSpec, table: &TableSpec, constraints: &Constraints) -> Vec<MissingKey> {
    let name = |index: &usize| table.columns[*index].name.clone();
    let pinned = |index: &usize| constraints.values(&table.columns[*index].name).is_some();
    let unpinned = table.required.iter().filter(|group| !group.iter().any(|set| set.iter().all(pinned)));
    unpinned
        .map(|group| {
            let example: Vec<String> = group
                .first()
                .into_iter()
                .flatten()
                .map(|index| format!("{} = {}", name(index), example_value(table, *index)))
                .collect();
            MissingKey {
                any_of: group.iter().map(|set| set.iter().map(name).collect()).collect(),
                example: format!("SELECT * FROM {}.{} WHERE {}", source.name, table.name, example.join(" AND ")),
            }
        })
        .collect()
}

fn example_value(table: &TableSpec, index: usize) -> &'static str {
    match table.columns[index].kind {
        ColumnKind::Int => "1",
        _ => "'…'",
    }
}

/// Times that must have a lower bound, and have none under `constraints`.
pub(crate) fn unbounded<'a>(table: &'a TableSpec, constraints: &Constraints) -> Option<&'a str> {
    if table.bounded.is_empty() {
        return None;
    }
    let ranges = bounds::ranges(table, constraints);
    let missing = table.bounded.iter().find(|index| ranges[**index].lower.is_none())?;
    Some(table.columns[*missing].name.as_str())
}

/// What a scan under `constraints` would look like, whichever endpoint serves it.
pub(crate) fn shape(source: &SourceSpec, table: &TableSpec, constraints: &Constraints) -> ScanShape {
    let missing = missing_keys(source, table, constraints);
    let request = ScanRequest { constraints: constraints.clone(), ..ScanRequest::default() };
    let single = table.endpoints.iter().all(|endpoint| {
        let plan = plan(source, table, endpoint, &request);
        plan.listings() <= 1 && plan.parent.is_none_or(|p| p.pinned.len() == 1)
    });
    let mut shape = ScanShape { missing, ..ScanShape::default() };
    let key = |order: &VendorOrder| SortKey {
        column: table.columns[order.column].name.clone(),
        descending: order.descending,
    };
    // An order is promised only if every generation keeps it.
    if let Some((first, rest)) = table.endpoints.split_first() {
        let natural = first.order.as_ref().map(key);
        // Several listings come in no order unless they are merged, which costs a look at each of them.
        if single && rest.iter().all(|e| e.order.as_ref().map(key) == natural) {
            shape.order = natural;
        }
        let can = |endpoint: &Endpoint, wanted: &SortKey| {
            endpoint.sorts.iter().chain(&endpoint.order).any(|order| key(order) == *wanted)
        };
        shape.sorts = first
            .sorts
            .iter()
            .chain(&first.order)
            .filter(|order| single || merges_by(table, order.column))
            .map(key)
            .filter(|wanted| rest.iter().all(|endpoint| can(endpoint, wanted)))
            .collect();
    }
    shape
}

/// Whether listings ordered by `column` can be merged: its values compare here as they do at the vendor's. Text does not:
/// vendors differ in case and language.
fn merges_by(table: &TableSpec, column: usize) -> bool {
    matches!(table.columns[column].kind, ColumnKind::Timestamp | ColumnKind::Int)
}

/// Plans a scan of `endpoint`. Keys that the table requires must be pinned ([`missing_keys`] is empty).
pub(crate) fn plan(source: &SourceSpec, table: &TableSpec, endpoint: &Endpoint, request: &ScanRequest) -> Plan {
    let constraints = &request.constraints;
    let ranges = bounds::ranges(table, constraints);
    let columns = columns_needed(table, endpoint, request);
    let parent = table.parent.as_ref().and_then(|p| plan_parent(source, table, p, constraints, &columns, &ranges));
    let keys = path_keys(endpoint);
    let supplied = parent.as_ref().and(table.parent.as_ref()).map(|p| p.key.0);
    let pushed = push::push(table, endpoint, constraints, &ranges, |index| keys.contains(&index), supplied);

    let asked = request.sort.as_ref().and_then(|sort| {
        let named = |order: &&VendorOrder| {
            table.columns[order.column].name == sort.column && order.descending == sort.descending
        };
        endpoint.sorts.iter().chain(&endpoint.order).find(named)
    });
    let order = asked.or(endpoint.order.as_ref()).cloned();
    let listings = pushed.choices.iter().fold(1, |product: usize, choices| product.saturating_mul(choices.len()));
    let merged = asked.is_some_and(|order| merges_by(table, order.column)) && (parent.is_some() || listings > 1);
    let stop = order.as_ref().and_then(|order| {
        let range = ranges.get(order.column)?;
        if order.descending { range.lower } else { range.upper }
    });

    let all_exact = !constraints.residual()
        && constraints.iter().all(|(name, _)| {
            table.column(name).is_some_and(|index| {
                let carried = table.parent.as_ref().is_some_and(|p| p.carry.iter().any(|(here, _)| *here == index));
                carried || supplied == Some(index) || pushed.exact.get(&index).copied().unwrap_or(false)
            })
        });
    let target = request.limit.filter(|_| all_exact);
    let page_size = endpoint.page_size.as_ref().map(|size| match target {
        // Several rows of the answer may make one row: ask for some more than the limit.
        Some(limit) if endpoint.unique => limit.saturating_mul(10).clamp(1, size.max),
        Some(limit) => limit.clamp(1, size.max),
        None => size.max,
    });

    // Literal parameters of the endpoint; those with keys are filled in when a request is built.
    let literal = endpoint.params.iter().filter(|(_, template)| template.slots().next().is_none());
    let mut params: Vec<(String, String)> =
        literal.map(|(name, template)| (name.clone(), template.fill(|_| String::new()))).collect();
    override_params(&mut params, order.iter().flat_map(|order| order.params.iter().cloned()).collect());
    override_params(&mut params, field_params(endpoint, &columns).into_iter().collect());
    let filtered = !pushed.params.is_empty()
        || !pushed.conditions.is_empty()
        || !pushed.words.is_empty()
        || pushed.choices.iter().flatten().any(|choice| !choice.params.is_empty() || choice.condition.is_some());
    params.retain(|(name, _)| !pushed.replaced.contains(name));
    override_params(&mut params, pushed.params);
    for (name, word) in pushed.words {
        add_word(&mut params, &name, &word);
    }
    if let (Some(size), Some(rows)) = (&endpoint.page_size, page_size) {
        override_params(&mut params, vec![(size.param.clone(), rows.to_string())]);
    }

    let is_detail = |index: &usize| matches!(table.columns[*index].origin, Origin::Detail(_));
    let is_aggregate = |index: &usize| {
        endpoint.aggregate.as_ref().is_some_and(|a| a.columns.iter().any(|(column, _)| column == index))
    };
    Plan {
        constraints: constraints.clone(),
        nothing: constraints.is_contradiction() || pushed.choices.iter().any(Vec::is_empty),
        details: columns.iter().copied().filter(is_detail).collect(),
        aggregates: columns.iter().copied().filter(is_aggregate).collect(),
        params,
        conditions: pushed.conditions,
        choices: pushed.choices,
        parent,
        page_size,
        target,
        limit: request.limit,
        order,
        merged,
        stop,
        columns,
        filtered,
        pushed: pushed.pushed,
    }
}

/// Adds `more`, replacing what `params` has under the same names.
pub(crate) fn override_params(params: &mut Vec<(String, String)>, more: Vec<(String, String)>) {
    params.retain(|(name, _)| !more.iter().any(|(new, _)| new == name));
    params.extend(more);
}

/// Adds a word to a parameter that holds a search expression.
fn add_word(params: &mut Vec<(String, String)>, name: &str, word: &str) {
    match params.iter_mut().find(|(param, _)| param == name) {
        Some((_, text)) if text.is_empty() => word.clone_into(text),
        Some((_, text)) => {
            text.push(' ');
            text.push_str(word);
        }
        None => params.push((name.to_owned(), word.to_owned())),
    }
}

/// The columns to decode: what is asked for, and what the scan itself needs.
fn columns_needed(table: &TableSpec, endpoint: &Endpoint, request: &ScanRequest) -> Vec<usize> {
    let mut columns: BTreeSet<usize> =
        request.projection.iter().copied().filter(|index| *index < table.columns.len()).collect();
    columns.extend(&table.primary_key);
    columns.extend(endpoint.order.iter().chain(&endpoint.sorts).filter_map(|order| {
        let is_natural = endpoint.order.as_ref() == Some(order);
        let is_asked = request.sort.as_ref().is_some_and(|sort| sort.column == table.columns[order.column].name);
        (is_asked || (is_natural && request.sort.is_none())).then_some(order.column)
    }));
    let enriched = columns.iter().any(|index| {
        matches!(table.columns[*index].origin, Origin::Detail(_))
            || endpoint.aggregate.as_ref().is_some_and(|a| a.columns.iter().any(|(column, _)| column == index))
    });
    if enriched {
        // Rows that a cheap predicate drops need no further request.
        let cheap = request.constraints.iter().filter_map(|(name, _)| table.column(name));
        columns.extend(cheap);
        if let Some(detail) = &table.detail {
            columns.extend(detail.slots().filter_map(|slot| match slot {
                Slot::Column(index) => Some(*index),
                Slot::Input(_) | Slot::Now(_) => None,
            }));
        }
    }
    columns.into_iter().collect()
}

fn field_params(endpoint: &Endpoint, columns: &[usize]) -> Option<(String, String)> {
    let fields = endpoint.fields.as_ref()?;
    let mut groups: Vec<&str> = fields.always.iter().map(String::as_str).collect();
    for (group, needed_by) in &fields.groups {
        if needed_by.iter().any(|column| columns.contains(column)) {
            groups.push(group);
        }
    }
    (!groups.is_empty()).then(|| (fields.param.clone(), groups.join(",")))
}

fn plan_parent(
    source: &SourceSpec,
    table: &TableSpec,
    parent: &Parent,
    constraints: &Constraints,
    columns: &[usize],
    ranges: &[bounds::TimeRange],
) -> Option<ParentPlan> {
    let there = source.tables.get(parent.table)?;
    let name_here = |index: usize| table.columns[index].name.as_str();
    let name_there = |index: usize| there.columns[index].name.as_str();
    let pinned = constraints.values(name_here(parent.key.0));
    let asked = |here: usize| constraints.column(name_here(here));
    let carried_asked = parent.carry.iter().any(|(here, _)| asked(*here).is_some());
    let carried_wanted = parent.carry.iter().any(|(here, _)| columns.contains(here));
    if pinned.is_some() && !carried_asked && !carried_wanted {
        return None;
    }
    let mut wanted = Constraints::none();
    for (here, there) in parent.carry.iter().chain([&parent.key]) {
        if let Some(asked) = asked(*here) {
            copy_constraint(asked, name_there(*there), &mut wanted);
        }
    }
    let overridden =
        |there: usize| pinned.is_some() || parent.carry.iter().any(|(here, t)| *t == there && asked(*here).is_some());
    let skip_when: Vec<(usize, String)> =
        parent.skip_when.iter().filter(|(there, _)| !overridden(*there)).cloned().collect();
    for (column, skipped) in &skip_when {
        // A boolean that must not be one value is the other, so the parent's vendor can be told.
        if let Ok(skipped) = skipped.parse::<bool>() {
            wanted.add(name_there(*column), Predicate::In(vec![ScalarValue::Boolean(Some(!skipped))]));
        }
    }
    let not_before: Vec<(usize, TimeBound)> =
        parent.bounds.iter().filter_map(|(here, there)| Some((*there, ranges[*here].lower?))).collect();
    let mut needed: BTreeSet<usize> = BTreeSet::from([parent.key.1]);
    needed.extend(parent.carry.iter().map(|(_, there)| *there));
    needed.extend(skip_when.iter().map(|(there, _)| *there));
    needed.extend(not_before.iter().map(|(there, _)| *there));
    let columns: Vec<usize> = needed.into_iter().collect();
    // Compared with what the parent lists, so of the same type.
    let key_type = there.columns[parent.key.1].kind.data_type();
    Some(ParentPlan {
        request: ScanRequest { projection: columns.clone(), constraints: wanted, ..ScanRequest::default() },
        columns,
        skip_when,
        not_before,
        pinned: pinned.into_iter().flatten().filter_map(|v| v.cast_to(&key_type).ok()).collect(),
        carried_asked,
    })
}

/// Adds to `into` what `from` asks, of the column `name`.
pub(crate) fn copy_constraint(from: &tripline_engine::ColumnConstraint, name: &str, into: &mut Constraints) {
    if let Some(values) = &from.values {
        into.add(name, Predicate::In(values.clone()));
    }
    if let Some(bound) = &from.lower {
        into.add(name, Predicate::Lower(bound.clone()));
    }
    if let Some(bound) = &from.upper {
        into.add(name, Predicate::Upper(bound.clone()));
    }
    for value in &from.not_equal {
        into.add(name, Predicate::NotEqual(value.clone()));
    }
    for pattern in &from.like {
        into.add(name, Predicate::Like(pattern.clone()));
    }
    if let Some(is_null) = from.is_null {
        into.add(name, Predicate::IsNull(is_null));
    }
}

/// Paths of the paging values that the endpoint's answers hold, in a fixed order.
pub(crate) fn paging_paths(pagination: &Pagination) -> Vec<JsonPath> {
    match pagination {
        Pagination::None | Pagination::Link { .. } => Vec::new(),
        Pagination::Page { total_pages, total, .. } => total_pages.iter().chain(total).cloned().collect(),
        Pagination::Offset { total, more, .. } => total.iter().chain(more).cloned().collect(),
        Pagination::Cursor { next, more, .. } => std::iter::once(next).chain(more).cloned().collect(),
        Pagination::NextUrl { next } => vec![next.clone()],
    }
}
