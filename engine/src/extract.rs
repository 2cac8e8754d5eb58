//! Reads typed constraints out of the filter expressions DataFusion offers to a scan.
//!
//! Owns: the translation `Expr` → [`Constraints`]. Shapes that arrive (measured on DataFusion 55): `IN` of up to three
//! values as an OR chain, longer ones as an `InList`; BETWEEN split in two; constants moved to the right in most
//! cases; `column = column`, function calls and OR over different columns stay residual.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator as Op};

use arrow::datatypes::{DataType, Schema};

use crate::constraint::{Bound, Constraints, LikePattern, Predicate};

mod calendar;

/// The constraints that `filters` (a conjunction over one table with `schema`) place on its columns.
#[must_use]
pub fn constraints(filters: &[Expr], schema: &Schema) -> Constraints {
    let mut out = Constraints::none();
    for filter in filters {
        add(filter, schema, &mut out);
    }
    out
}

fn add(expr: &Expr, schema: &Schema, out: &mut Constraints) {
    if let Expr::BinaryExpr(BinaryExpr { left, op: Op::And, right }) = expr {
        add(left, schema, out);
        add(right, schema, out);
        return;
    }
    // DataFusion folds `id = 1 AND id = 2` and comparisons with NULL to a constant.
    if let Expr::Literal(ScalarValue::Boolean(value), _) = expr {
        if *value != Some(true) {
            out.set_contradiction();
        }
        return;
    }
    match predicates(expr, schema) {
        Some(found) => {
            for (column, predicate) in found {
                out.add(&column, predicate);
            }
        }
        None => out.set_residual(),
    }
}

pub(crate) type Found = Vec<(String, Predicate)>;

fn predicates(expr: &Expr, schema: &Schema) -> Option<Found> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op: Op::Or, .. }) => any_of(expr, schema),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            if let Some(found) = calendar::predicates(left, *op, right, schema) {
                return Some(found);
            }
            let (column, op, value) = match (column(left), constant(right)) {
                (Some(column), Some(value)) => (column, *op, value),
                _ => (column(right)?, op.swap()?, constant(left)?),
            };
            let value = typed(value, column, schema)?;
            let predicate = match op {
                Op::Eq => Predicate::In(vec![value]),
                Op::NotEq => Predicate::NotEqual(value),
                Op::Gt => Predicate::Lower(Bound { value, inclusive: false }),
                Op::GtEq => Predicate::Lower(Bound { value, inclusive: true }),
                Op::Lt => Predicate::Upper(Bound { value, inclusive: false }),
                Op::LtEq => Predicate::Upper(Bound { value, inclusive: true }),
                _ => return None,
            };
            Some(vec![(column.to_owned(), predicate)])
        }
        Expr::InList(list) if !list.negated => {
            let column = column(&list.expr)?;
            let values =
                list.list.iter().map(|item| typed(constant(item)?, column, schema)).collect::<Option<Vec<_>>>()?;
            Some(vec![(column.to_owned(), Predicate::In(values))])
        }
        Expr::InList(list) => {
            let column = column(&list.expr)?;
            let values = list.list.iter().map(|item| typed(constant(item)?, column, schema));
            let excluded = values.map(|value| Some((column.to_owned(), Predicate::NotEqual(value?))));
            excluded.collect()
        }
        Expr::Between(between) if !between.negated => {
            let column = column(&between.expr)?;
            let low = typed(constant(&between.low)?, column, schema)?;
            let high = typed(constant(&between.high)?, column, schema)?;
            Some(vec![
                (column.to_owned(), Predicate::Lower(Bound { value: low, inclusive: true })),
                (column.to_owned(), Predicate::Upper(Bound { value: high, inclusive: true })),
            ])
        }
        Expr::Like(like) if !like.negated && like.escape_char.is_none_or(|c| c == '\\') => {
            let column = column(&like.expr)?;
            let pattern = constant(&like.pattern)?.try_as_str().flatten()?.to_owned();
            let case_insensitive = like.case_insensitive;
            Some(vec![(column.to_owned(), Predicate::Like(LikePattern { pattern, case_insensitive }))])
        }
        Expr::ScalarFunction(call) => search(call),
        Expr::IsNull(inner) => Some(vec![(column(inner)?.to_owned(), Predicate::IsNull(true))]),
        Expr::IsNotNull(inner) => Some(vec![(column(inner)?.to_owned(), Predicate::IsNull(false))]),
        Expr::IsTrue(inner) => boolean(inner, true, schema),
        Expr::IsFalse(inner) => boolean(inner, false, schema),
        Expr::Column(_) => boolean(expr, true, schema),
        Expr::Not(inner) => boolean(inner, false, schema),
        _ => None,
    }
}

/// `contains(a, 'x')`, `starts_with(a, 'x')` and `ends_with(a, 'x')` as patterns.
fn search(call: &ScalarFunction) -> Option<Found> {
    let [text, sought] = call.args.as_slice() else { return None };
    let sought = constant(sought)?.try_as_str().flatten()?;
    let mut literal = String::with_capacity(sought.len());
    for c in sought.chars() {
        if matches!(c, '%' | '_' | '\\') {
            literal.push('\\');
        }
        literal.push(c);
    }
    let pattern = match call.name() {
        "contains" => format!("%{literal}%"),
        "starts_with" => format!("{literal}%"),
        "ends_with" => format!("%{literal}"),
        _ => return None,
    };
    Some(vec![(column(text)?.to_owned(), Predicate::Like(LikePattern { pattern, case_insensitive: false }))])
}

/// `a = 1 OR a = 2 OR a IN (3)` as one value set; anything else under an OR is residual.
fn any_of(expr: &Expr, schema: &Schema) -> Option<Found> {
    fn collect(expr: &Expr, schema: &Schema, name: &mut Option<String>, values: &mut Vec<ScalarValue>) -> Option<()> {
        if let Expr::BinaryExpr(BinaryExpr { left, op: Op::Or, right }) = expr {
            collect(left, schema, name, values)?;
            return collect(right, schema, name, values);
        }
        let mut found = predicates(expr, schema)?;
        let (column, predicate) = found.pop().filter(|_| found.is_empty())?;
        let Predicate::In(more) = predicate else { return None };
        if name.get_or_insert_with(|| column.clone()) != &column {
            return None;
        }
        values.extend(more);
        Some(())
    }
    let (mut name, mut values) = (None, Vec::new());
    collect(expr, schema, &mut name, &mut values)?;
    Some(vec![(name?, Predicate::In(values))])
}

fn boolean(expr: &Expr, value: bool, schema: &Schema) -> Option<Found> {
    let column = column(expr)?;
    let field = schema.field_with_name(column).ok()?;
    (field.data_type() == &DataType::Boolean)
        .then(|| vec![(column.to_owned(), Predicate::In(vec![ScalarValue::Boolean(Some(value))]))])
}

pub(crate) fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        Expr::Alias(alias) => column(&alias.expr),
        _ => None,
    }
}

pub(crate) fn constant(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) if !value.is_null() => Some(value),
        _ => None,
    }
}

/// The constant in the column's own type, if that loses nothing.
fn typed(value: &ScalarValue, column: &str, schema: &Schema) -> Option<ScalarValue> {
    let wanted = schema.field_with_name(column).ok()?.data_type();
    let actual = value.data_type();
    if &actual == wanted {
        return Some(value.clone());
    }
    let cast = value.cast_to(wanted).ok().filter(|v| !v.is_null())?;
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let lossless = (text(&actual) && text(wanted)) || cast.cast_to(&actual).is_ok_and(|back| &back == value);
    lossless.then_some(cast)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, TimeUnit};
    use datafusion::prelude::{col, lit};

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("id", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("ok", DataType::Boolean, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ])
    }
    fn of(filters: &[Expr]) -> String {
        constraints(filters, &schema()).to_string()
    }

    #[test]
    fn comparisons_are_understood_from_either_side() {
        assert_eq!(of(&[col("n").gt(lit(3i64)), lit(9i64).gt_eq(col("n"))]), "n > 3 AND n <= 9");
        assert_eq!(of(&[lit("x").eq(col("id"))]), "id = 'x'");
        assert_eq!(of(&[col("n").not_eq(lit(3i64))]), "n <> 3");
    }

    #[test]
    fn or_chains_over_one_column_are_value_sets() {
        let chain = col("id").eq(lit("a")).or(col("id").eq(lit("b"))).or(col("id").eq(lit("c")));
        assert_eq!(of(&[chain]), "id IN ('a', 'b', 'c')");
    }

    #[test]
    fn or_over_two_columns_is_residual() {
        assert_eq!(of(&[col("id").eq(lit("a")).or(col("n").eq(lit(1i64)))]), "…");
    }

    #[test]
    fn bare_booleans_are_equalities() {
        assert_eq!(of(&[col("ok")]), "ok = true");
        assert_eq!(of(&[Expr::Not(Box::new(col("ok")))]), "ok = false");
    }

    #[test]
    fn conjunctions_and_between_are_split() {
        assert_eq!(
            of(&[col("n").between(lit(1i64), lit(5i64)).and(col("id").eq(lit("z")))]),
            "id = 'z' AND n >= 1 AND n <= 5"
        );
    }

    #[test]
    fn a_constant_that_would_lose_precision_in_the_columns_type_stays_residual() {
        assert_eq!(of(&[col("n").gt(lit(2.5f64))]), "…");
        assert_eq!(of(&[col("n").gt(lit(2.0f64))]), "n > 2");
    }

    #[test]
    fn patterns_and_exclusions_are_understood() {
        assert_eq!(of(&[col("id").like(lit("%a%"))]), "id LIKE '%a%'");
        assert_eq!(of(&[col("id").ilike(lit("a%"))]), "id ILIKE 'a%'");
        assert_eq!(of(&[col("id").not_like(lit("a%"))]), "…");
        assert_eq!(of(&[col("id").in_list(vec![lit("a"), lit("b")], true)]), "id <> 'a' AND id <> 'b'");
        let null = lit(ScalarValue::Utf8(None));
        assert_eq!(of(&[col("id").in_list(vec![lit("a"), null], true)]), "…", "never true, and not ours to say");
    }

    #[test]
    fn a_comparison_with_null_is_no_constraint() {
        assert_eq!(of(&[col("n").eq(lit(ScalarValue::Int64(None)))]), "…");
    }
}
