//! Steps of a query: `WITH name AS MATERIALIZED (…)` is run once and kept, however often it is referred to.
//!
//! Owns: cutting a query at its materialized parts. DataFusion plans a WITH query anew for each reference, which would
//! fetch a source's rows once per reference; here each part becomes a query of its own whose rows the later ones find in
//! schema `input`. Must hold: a query without such parts runs as it is; the steps together mean what the whole means.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Cte, CteAsMaterialized, Query, SetExpr, Statement, visit_relations};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::header::placeholders;

/// One part, or the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Name of the table that later steps find it under, in schema `input`; `None` for the last.
    pub table: Option<String>,
    /// The query.
    pub sql: String,
    /// Its placeholders.
    pub placeholders: BTreeSet<String>,
    /// Which earlier steps it reads, by index.
    pub needs: Vec<usize>,
}

/// Cuts a query. A text that does not parse is one step, so that the engine says what is wrong with it.
#[must_use]
pub fn steps(sql: &str) -> Vec<Step> {
    cut(sql).unwrap_or_else(|| vec![step(None, sql.to_owned(), Vec::new())])
}

fn step(table: Option<String>, sql: String, needs: Vec<usize>) -> Step {
    let placeholders = placeholders(&sql);
    Step { table, sql, placeholders, needs }
}

struct Part {
    name: String,
    definition: Cte,
    materialized: bool,
    /// Which earlier parts its body names.
    names: Vec<usize>,
}

fn cut(sql: &str) -> Option<Vec<Step>> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
    let (Some(Statement::Query(mut query)), true) = (statements.pop(), statements.is_empty()) else { return None };
    let with = query.with.take()?;
    if with.recursive || !with.cte_tables.iter().any(is_materialized) {
        return None;
    }
    let mut parts: Vec<Part> = Vec::new();
    for mut definition in with.cte_tables {
        let materialized = is_materialized(&definition);
        definition.materialized = None;
        let names = named(&parts, &definition.query);
        parts.push(Part { name: definition.alias.name.to_string(), definition, materialized, names });
    }
    let mut steps: Vec<Step> = Vec::new();
    let mut step_of: Vec<Option<usize>> = vec![None; parts.len()];
    for index in 0..parts.len() {
        let part = parts.get(index)?;
        if !part.materialized {
            continue;
        }
        let body = format!("SELECT * FROM {}", part.name);
        let (with, needs) = with_clause(&parts, &[index], &step_of);
        let table = table_of(&part.name);
        steps.push(step(Some(table), format!("{with}{body}"), needs));
        *step_of.get_mut(index)? = Some(steps.len() - 1);
    }
    let body = unnested(&query);
    let (with, needs) = with_clause(&parts, &named(&parts, body), &step_of);
    steps.push(step(None, format!("{with}{body}"), needs));
    Some(steps)
}

fn is_materialized(cte: &Cte) -> bool {
    cte.materialized == Some(CteAsMaterialized::Materialized)
}

/// Under which name later steps find the rows of a part.
#[must_use]
pub fn table_of(name: &str) -> String {
    format!("step {}", name.trim_matches('"'))
}

/// The query itself; a query in parentheses without anything around it is taken out of them.
fn unnested(query: &Query) -> &Query {
    match query.body.as_ref() {
        SetExpr::Query(inner) if query.order_by.is_none() && query.limit_clause.is_none() => unnested(inner),
        _ => query,
    }
}

/// The parts a query reads.
fn named(parts: &[Part], query: &Query) -> Vec<usize> {
    let mut found = BTreeSet::new();
    let _: ControlFlow<()> = visit_relations(query, |relation| {
        let name = relation.to_string();
        found.extend(parts.iter().position(|part| part.name == name));
        ControlFlow::Continue(())
    });
    found.into_iter().collect()
}

/// A WITH clause that defines `wanted` and all they need, and the steps this reads.
fn with_clause(parts: &[Part], wanted: &[usize], step_of: &[Option<usize>]) -> (String, Vec<usize>) {
    let mut needed = BTreeSet::new();
    let mut open: Vec<usize> = wanted.to_vec();
    while let Some(index) = open.pop() {
        let is_step = step_of.get(index).copied().flatten().is_some();
        if needed.insert(index) && !is_step {
            open.extend(parts.get(index).map_or(&[][..], |part| part.names.as_slice()));
        }
    }
    let mut steps = Vec::new();
    let definitions: Vec<String> = needed
        .into_iter()
        .filter_map(|index| {
            let part = parts.get(index)?;
            Some(match step_of.get(index).copied().flatten() {
                Some(step) => {
                    steps.push(step);
                    format!("{} AS (SELECT * FROM input.\"{}\")", part.name, table_of(&part.name))
                }
                None => part.definition.to_string(),
            })
        })
        .collect();
    let with = if definitions.is_empty() { String::new() } else { format!("WITH {} ", definitions.join(", ")) };
    (with, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_without_materialized_parts_is_one_step_as_it_is() {
        for sql in ["SELECT 1", "WITH a AS (SELECT 1 AS x) SELECT * FROM a", "SELEC nonsense"] {
            let steps = steps(sql);
            assert_eq!((steps.len(), steps[0].sql.as_str(), steps[0].table.as_deref()), (1, sql, None));
        }
    }

    #[test]
    fn each_materialized_part_is_run_once_and_read_by_name() {
        let steps = steps(
            "WITH a AS MATERIALIZED (SELECT id FROM s.t WHERE at >= $from), b AS (SELECT id FROM a WHERE id > $low),
             c AS MATERIALIZED (SELECT id FROM s.u), d AS MATERIALIZED (SELECT b.id FROM b JOIN c ON c.id = b.id)
             SELECT d.id FROM d JOIN a ON a.id = d.id WHERE d.id < $high",
        );
        let shown: Vec<_> = steps.iter().map(|s| (s.table.as_deref(), s.needs.clone())).collect();
        assert_eq!(
            shown,
            [(Some("step a"), vec![]), (Some("step c"), vec![]), (Some("step d"), vec![0, 1]), (None, vec![0, 2])]
        );
        assert_eq!(
            steps[2].sql,
            "WITH a AS (SELECT * FROM input.\"step a\"), b AS (SELECT id FROM a WHERE id > $low), \
             c AS (SELECT * FROM input.\"step c\"), d AS (SELECT b.id FROM b JOIN c ON c.id = b.id) SELECT * FROM d"
        );
        assert_eq!(steps[2].placeholders, BTreeSet::from(["low".to_owned()]));
        assert_eq!(steps[3].placeholders, BTreeSet::from(["high".to_owned()]));
    }
}
