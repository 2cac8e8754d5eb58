//! What `*` stands for: the columns that come with the listing.
//!
//! Owns: leaving columns that cost a request per row out of `*` and `t.*`. They are asked for by name; else a look at ten
//! rows would cost eleven requests, and a look at a thousand an hour's quota. Does not own which columns those are
//! ([`crate::Capabilities::per_row`]). Must hold: a query that names its columns is not touched, and a rewritten one means
//! the same but for those columns.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

/// Columns that cost a request per row, by schema and table. Tables without any are not in it.
pub(crate) type PerRow = BTreeMap<(String, String), Vec<String>>;

/// Rewrites every `*` over a table that has such columns.
pub(crate) fn leave_out_per_row(statement: &mut Statement, per_row: &PerRow) {
    match statement {
        Statement::Statement(statement) => {
            // The visitor never breaks off.
            let _ = statement.visit(&mut Rewrite { per_row });
        }
        Statement::Explain(explain) => leave_out_per_row(&mut explain.statement, per_row),
        _ => {}
    }
}

struct Rewrite<'a> {
    per_row: &'a PerRow,
}

impl VisitorMut for Rewrite<'_> {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let tables = self.tables(select);
        if tables.iter().any(|table| !table.per_row.is_empty()) {
            let merged = merges_columns(select);
            let projection = std::mem::take(&mut select.projection);
            select.projection = projection.into_iter().flat_map(|item| rewritten(item, &tables, merged)).collect();
        }
        ControlFlow::Continue(())
    }
}

/// A table of a FROM clause.
struct Table<'a> {
    /// What the query calls it; `None` where `name.*` cannot be written.
    name: Option<ObjectName>,
    per_row: &'a [String],
}

impl Rewrite<'_> {
    fn tables(&self, select: &Select) -> Vec<Table<'_>> {
        let factors = select
            .from
            .iter()
            .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
        factors.map(|factor| self.table(factor)).collect()
    }

    fn table(&self, factor: &TableFactor) -> Table<'_> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => Table {
                name: Some(alias.as_ref().map_or_else(|| name.clone(), |alias| alias.name.clone().into())),
                per_row: self.per_row_of(name),
            },
            TableFactor::Derived { alias: Some(alias), .. } => {
                Table { name: Some(alias.name.clone().into()), per_row: &[] }
            }
            _ => Table { name: None, per_row: &[] },
        }
    }

    fn per_row_of(&self, name: &ObjectName) -> &[String] {
        let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect();
        let [.., schema, table] = parts.as_slice() else { return &[] };
        self.per_row.get(&(schema.clone(), table.clone())).map_or(&[], Vec::as_slice)
    }
}

/// An identifier as SQL reads it: lower case unless quoted.
fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// Whether a join makes one column of two, so that `*` is not `a.*, b.*`.
fn merges_columns(select: &Select) -> bool {
    let joins = select.from.iter().flat_map(|from| &from.joins);
    joins.into_iter().any(|join| match &join.join_operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on)
        | JoinOperator::CrossJoin(on) => matches!(on, JoinConstraint::Using(_) | JoinConstraint::Natural),
        // A semi or anti join shows one side only.
        _ => true,
    })
}

fn rewritten(item: SelectItem, tables: &[Table<'_>], merged: bool) -> Vec<SelectItem> {
    match item {
        SelectItem::Wildcard(options) => {
            let names: Option<Vec<_>> = tables.iter().map(|table| table.name.clone()).collect();
            match names {
                // Each table by itself: a column of the same name in another table is not meant.
                Some(names) if tables.len() > 1 && !merged && options == WildcardAdditionalOptions::default() => names
                    .into_iter()
                    .zip(tables)
                    .map(|(name, table)| qualified(name, leaving_out(options.clone(), table.per_row)))
                    .collect(),
                _ => {
                    let per_row: Vec<String> = tables.iter().flat_map(|table| table.per_row).cloned().collect();
                    vec![SelectItem::Wildcard(leaving_out(options, &per_row))]
                }
            }
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
            let meant = tables.iter().find(|table| table.name.as_ref().is_some_and(|known| ends_with(known, &name)));
            let options = leaving_out(options, meant.map_or(&[], |table| table.per_row));
            vec![qualified(name, options)]
        }
        other => vec![other],
    }
}

fn qualified(name: ObjectName, options: WildcardAdditionalOptions) -> SelectItem {
    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
}

/// `github.pulls` is called by `pulls.*` as well.
fn ends_with(name: &ObjectName, suffix: &ObjectName) -> bool {
    let parts = |name: &ObjectName| -> Vec<String> { name.0.iter().filter_map(|p| p.as_ident()).map(folded).collect() };
    parts(name).ends_with(&parts(suffix))
}

fn leaving_out(mut options: WildcardAdditionalOptions, per_row: &[String]) -> WildcardAdditionalOptions {
    let mut named: Vec<String> = Vec::new();
    if let Some(except) = &options.opt_except {
        named.push(folded(&except.first_element));
        named.extend(except.additional_elements.iter().map(folded));
    }
    if let Some(replace) = &options.opt_replace {
        named.extend(replace.items.iter().map(|item| folded(&item.column_name)));
    }
    let mut excluded = match options.opt_exclude.take() {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
    };
    named.extend(excluded.iter().flat_map(|name| &name.0).filter_map(|part| part.as_ident()).map(folded));
    let more = per_row.iter().filter(|column| !named.contains(column));
    excluded.extend(more.map(|column| ObjectName::from(Ident::with_quote('"', column))));
    options.opt_exclude = (!excluded.is_empty()).then_some(ExcludeSelectItem::Multiple(excluded));
    options
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::{PerRow, leave_out_per_row};

    fn rewrite(sql: &str) -> String {
        let per_row = PerRow::from([(("v".to_owned(), "p".to_owned()), vec!["x".to_owned(), "y".to_owned()])]);
        let mut statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
        leave_out_per_row(&mut statement, &per_row);
        statement.to_string()
    }

    #[test]
    fn a_star_leaves_out_what_costs_a_request_per_row_and_nothing_else() {
        for (sql, expected) in [
            ("SELECT * FROM v.p", r#"SELECT * EXCLUDE ("x", "y") FROM v.p"#),
            ("SELECT * FROM tripline.V.P AS a", r#"SELECT * EXCLUDE ("x", "y") FROM tripline.V.P AS a"#),
            ("SELECT p.*, x FROM v.p", r#"SELECT p.* EXCLUDE ("x", "y"), x FROM v.p"#),
            ("SELECT * EXCLUDE (x) FROM v.p", r#"SELECT * EXCLUDE (x, "y") FROM v.p"#),
            ("SELECT * EXCEPT (y) FROM v.p", r#"SELECT * EXCLUDE ("x") EXCEPT (y) FROM v.p"#),
            (
                "SELECT * FROM v.p AS a JOIN v.q ON a.id = q.id",
                r#"SELECT a.* EXCLUDE ("x", "y"), v.q.* FROM v.p AS a JOIN v.q ON a.id = q.id"#,
            ),
            ("SELECT * FROM v.p JOIN v.q USING (id)", r#"SELECT * EXCLUDE ("x", "y") FROM v.p JOIN v.q USING(id)"#),
            (
                "WITH c AS (SELECT * FROM v.p) SELECT * FROM c",
                r#"WITH c AS (SELECT * EXCLUDE ("x", "y") FROM v.p) SELECT * FROM c"#,
            ),
            ("EXPLAIN SELECT * FROM v.p", r#"EXPLAIN SELECT * EXCLUDE ("x", "y") FROM v.p"#),
        ] {
            assert_eq!(rewrite(sql), expected);
        }
    }

    #[test]
    fn queries_that_name_their_columns_or_read_other_tables_stay_as_they_are() {
        for sql in ["SELECT x, y FROM v.p", "SELECT count(*) FROM v.p", "SELECT * FROM v.q", "SELECT * FROM p"] {
            assert_eq!(rewrite(sql), sql);
        }
    }
}
