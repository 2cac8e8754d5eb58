//! From DataFusion's filters to a bound SQLite condition, where the two decide alike.
//!
//! Alike means: text by its bytes (SQLite's BINARY collation, Arrow's order), integers, times as microseconds,
//! booleans as 0 and 1, NULL as unknown. Floats are left to DataFusion: Arrow orders them totally (-0.0 before 0.0),
//! SQLite does not.

use super::spec::{ColumnKind, ColumnSpec, TableSpec};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use rusqlite::types::Value;

/// Most parameters one filter may bind; SQLite allows 32 766 per statement. Lists bind one.
const MAX_PARAMETERS: usize = 256;

/// A condition with `?` for each value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Predicate {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

/// The condition of a filter, or `None` where SQLite would not decide it just as DataFusion does.
pub(super) fn translate(spec: &TableSpec, filter: &Expr) -> Option<Predicate> {
    let mut predicate = Predicate::default();
    write(spec, filter, &mut predicate)?;
    (predicate.values.len() <= MAX_PARAMETERS).then_some(predicate)
}

fn write(spec: &TableSpec, expr: &Expr, out: &mut Predicate) -> Option<()> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            out.sql.push('(');
            write(spec, left, out)?;
            out.sql.push_str(if *op == Operator::And { " AND " } else { " OR " });
            write(spec, right, out)?;
            out.sql.push(')');
            Some(())
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => compare(spec, column, *op, value, out),
            (Expr::Literal(value, _), Expr::Column(column)) => compare(spec, column, op.swap()?, value, out),
            _ => None,
        },
        Expr::InList(list) => write_list(spec, list, out),
        Expr::IsNull(inner) => write_null_test(spec, inner, "IS NULL", out),
        Expr::IsNotNull(inner) => write_null_test(spec, inner, "IS NOT NULL", out),
        Expr::Column(column) => write_flag(spec, column, 1, out),
        Expr::Not(inner) => match inner.as_ref() {
            Expr::Column(column) => write_flag(spec, column, 0, out),
            _ => None,
        },
        _ => None,
    }
}

fn find<'a>(spec: &'a TableSpec, column: &Column) -> Option<&'a ColumnSpec> {
    spec.columns.iter().find(|known| known.name == column.name)
}

fn compare(spec: &TableSpec, column: &Column, op: Operator, value: &ScalarValue, out: &mut Predicate) -> Option<()> {
    let column = find(spec, column)?;
    let operator = match op {
        Operator::Eq => "=",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        _ => return None,
    };
    out.values.push(bind(column.kind, value)?);
    out.sql.push_str(&format!("{} {operator} ?", column.expression));
    Some(())
}

/// A list is bound as one JSON array, so that its length does not matter.
fn write_list(spec: &TableSpec, list: &InList, out: &mut Predicate) -> Option<()> {
    let Expr::Column(column) = list.expr.as_ref() else { return None };
    let column = find(spec, column)?;
    let mut items = Vec::with_capacity(list.list.len());
    for item in &list.list {
        let Expr::Literal(value, _) = item else { return None };
        items.push(match bind(column.kind, value)? {
            // SQLite's JSON text ends at a NUL character.
            Value::Text(text) if text.contains('\0') => return None,
            Value::Text(text) => serde_json::Value::from(text),
            Value::Integer(number) => serde_json::Value::from(number),
            _ => return None,
        });
    }
    let negation = if list.negated { "NOT " } else { "" };
    out.sql.push_str(&format!("{} {negation}IN (SELECT value FROM json_each(?))", column.expression));
    out.values.push(serde_json::Value::Array(items).to_string().into());
    Some(())
}

fn write_null_test(spec: &TableSpec, inner: &Expr, test: &str, out: &mut Predicate) -> Option<()> {
    let Expr::Column(column) = inner else { return None };
    out.sql.push_str(&format!("{} {test}", find(spec, column)?.expression));
    Some(())
}

/// A boolean column standing alone.
fn write_flag(spec: &TableSpec, column: &Column, wanted: i64, out: &mut Predicate) -> Option<()> {
    let column = find(spec, column).filter(|column| column.kind == ColumnKind::Boolean)?;
    out.sql.push_str(&format!("{} = ?", column.expression));
    out.values.push(wanted.into());
    Some(())
}

fn bind(kind: ColumnKind, value: &ScalarValue) -> Option<Value> {
    match (kind, value) {
        (
            ColumnKind::Text,
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
        ) => Some(text.clone().into()),
        (ColumnKind::Integer, ScalarValue::Int64(Some(number))) => Some((*number).into()),
        (ColumnKind::Time, ScalarValue::TimestampMicrosecond(Some(micros), _)) => Some((*micros).into()),
        (ColumnKind::Boolean, ScalarValue::Boolean(Some(flag))) => Some(i64::from(*flag).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table_specs;
    use datafusion::logical_expr::{col, lit};

    fn spec(name: &str) -> &'static TableSpec {
        table_specs().iter().find(|spec| spec.name == name).unwrap()
    }

    #[test]
    fn comparisons_are_bound_never_spliced() {
        let hostile = "x' OR '1'='1";
        let predicate = translate(spec("incidents"), &col("entity").eq(lit(hostile))).unwrap();
        assert_eq!(predicate.sql, "entity = ?");
        assert_eq!(predicate.values, [Value::from(hostile.to_owned())]);
    }

    #[test]
    fn boolean_combinations_keep_their_brackets() {
        let filter = col("status")
            .eq(lit("open"))
            .or(col("occurrences").gt(lit(3_i64)).and(lit(9_i64).gt_eq(col("occurrences"))));
        let predicate = translate(spec("incidents"), &filter).unwrap();
        assert_eq!(predicate.sql, "(status = ? OR (occurrences > ? AND occurrences <= ?))");
    }

    #[test]
    fn a_list_is_one_parameter() {
        let filter = col("id").in_list(vec![lit("a"), lit("b\"c")], true);
        let predicate = translate(spec("actions"), &filter).unwrap();
        assert_eq!(predicate.sql, "id NOT IN (SELECT value FROM json_each(?))");
        assert_eq!(predicate.values, [Value::from(r#"["a","b\"c"]"#.to_owned())]);
    }

    #[test]
    fn what_sqlite_would_decide_otherwise_is_left_to_datafusion() {
        for filter in [
            col("cost_usd").gt(lit(1.0)),
            col("entity").like(lit("A%")),
            col("entity").eq(col("type")),
            col("entity").gt(lit(ScalarValue::Utf8(None))),
            col("opened_at").gt(lit(ScalarValue::TimestampNanosecond(Some(1), None))),
            col("no_such_column").eq(lit("x")),
            col("status").eq(lit("open")).or(col("cost_usd").gt(lit(1.0))),
            Expr::Not(Box::new(col("status").eq(lit("open")))),
        ] {
            assert_eq!(translate(spec("incidents"), &filter), None, "{filter}");
        }
    }
}
