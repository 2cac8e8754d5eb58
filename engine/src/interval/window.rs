//! Reads a window out of a join condition: a point column of one side between two bounds from the other.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::{JoinSide, Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_plan::joins::utils::JoinFilter;

/// `low.column + low.offset <= point < high.column + high.offset`, in whole units of the columns' type.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Column of the build side.
    pub(super) point: usize,
    pub(super) low: Bound,
    pub(super) high: Bound,
    /// What the window does not say, over the same columns as the join's own filter.
    pub(super) residual: Option<JoinFilter>,
}

/// A column of the probe side and what is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) column: usize,
    pub(super) offset: i64,
}

/// A column of the filter's schema plus a constant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub(super) column: usize,
    pub(super) offset: i64,
}

/// The window of `filter` whose point lies on side `build`, if there is one.
pub(super) fn window(filter: &JoinFilter, build: JoinSide) -> Result<Option<Window>> {
    let parts: Vec<Arc<dyn PhysicalExpr>> = split_conjunction(filter.expression()).into_iter().cloned().collect();
    // (position in the conjunction, build-side column, is it a lower bound, bound)
    let mut bounds: Vec<(usize, usize, bool, Bound)> = Vec::new();
    for (position, part) in parts.iter().enumerate() {
        let Some((left, op, right)) = comparison(part, filter.schema()) else { continue };
        let (Some(left_at), Some(right_at)) =
            (filter.column_indices().get(left.column), filter.column_indices().get(right.column))
        else {
            continue;
        };
        if left_at.side == right_at.side {
            continue;
        }
        // point op other, whichever way it was written
        let (point, op, other, other_at, point_at) = if left_at.side == build {
            (left, op, right, right_at, left_at)
        } else {
            let Some(op) = op.swap() else { continue };
            (right, op, left, left_at, right_at)
        };
        let Some(offset) = other.offset.checked_sub(point.offset) else { continue };
        // All bounds are brought to the form low <= point < high; the units are whole.
        let (is_low, offset) = match op {
            Operator::GtEq => (true, Some(offset)),
            Operator::Gt => (true, offset.checked_add(1)),
            Operator::Lt => (false, Some(offset)),
            Operator::LtEq => (false, offset.checked_add(1)),
            _ => continue,
        };
        let Some(offset) = offset else { continue };
        bounds.push((position, point_at.index, is_low, Bound { column: other_at.index, offset }));
    }
    let found = bounds.iter().find_map(|&(low_position, point, is_low, low)| {
        let high = bounds.iter().find(|b| is_low && !b.2 && b.1 == point)?;
        Some((low_position, high.0, point, low, high.3))
    });
    let Some((low_position, high_position, point, low, high)) = found else { return Ok(None) };
    let rest: Vec<Arc<dyn PhysicalExpr>> = parts
        .into_iter()
        .enumerate()
        .filter(|(position, _)| *position != low_position && *position != high_position)
        .map(|(_, part)| part)
        .collect();
    let residual = (!rest.is_empty())
        .then(|| JoinFilter::new(conjunction(rest), filter.column_indices().to_vec(), Arc::clone(filter.schema())));
    Ok(Some(Window { point, low, high, residual }))
}

fn comparison(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<(Linear, Operator, Linear)> {
    let binary = (expr.as_ref() as &dyn Any).downcast_ref::<BinaryExpr>()?;
    let (left, right) = (linear(binary.left(), schema)?, linear(binary.right(), schema)?);
    let same = unit(schema.field(left.column).data_type())? == unit(schema.field(right.column).data_type())?;
    same.then_some((left, *binary.op(), right))
}

/// `column`, `column + constant`, `constant + column` or `column - constant`.
pub(super) fn linear(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Linear> {
    if let Some(column) = (expr.as_ref() as &dyn Any).downcast_ref::<Column>() {
        unit(schema.field(column.index()).data_type())?;
        return Some(Linear { column: column.index(), offset: 0 });
    }
    let binary = (expr.as_ref() as &dyn Any).downcast_ref::<BinaryExpr>()?;
    let constant = |expr: &Arc<dyn PhysicalExpr>, column: &Linear| {
        let literal = (expr.as_ref() as &dyn Any).downcast_ref::<Literal>()?;
        in_units(literal.value(), unit(schema.field(column.column).data_type())?)
    };
    let (inner, offset) = match binary.op() {
        Operator::Plus => match linear(binary.left(), schema) {
            Some(inner) => (inner, constant(binary.right(), &inner)?),
            None => {
                let inner = linear(binary.right(), schema)?;
                (inner, constant(binary.left(), &inner)?)
            }
        },
        Operator::Minus => {
            let inner = linear(binary.left(), schema)?;
            (inner, constant(binary.right(), &inner)?.checked_neg()?)
        }
        _ => return None,
    };
    Some(Linear { column: inner.column, offset: inner.offset.checked_add(offset)? })
}

/// Nanoseconds in one unit of a point type; 0 for plain integers.
fn unit(data_type: &DataType) -> Option<i64> {
    match data_type {
        DataType::Int64 => Some(0),
        DataType::Timestamp(TimeUnit::Second, _) => Some(1_000_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => Some(1_000_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(1),
        _ => None,
    }
}

/// A constant in units of `nanos` nanoseconds. Months have no fixed length and are refused, as is a fraction of a unit.
fn in_units(value: &ScalarValue, nanos: i64) -> Option<i64> {
    const DAY: i128 = 86_400_000_000_000;
    let total: i128 = match value {
        ScalarValue::Int64(Some(n)) if nanos == 0 => return Some(*n),
        _ if nanos == 0 => return None,
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 => {
            i128::from(i.days) * DAY + i128::from(i.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(i)) => i128::from(i.days) * DAY + i128::from(i.milliseconds) * 1_000_000,
        ScalarValue::DurationSecond(Some(n)) => i128::from(*n) * 1_000_000_000,
        ScalarValue::DurationMillisecond(Some(n)) => i128::from(*n) * 1_000_000,
        ScalarValue::DurationMicrosecond(Some(n)) => i128::from(*n) * 1_000,
        ScalarValue::DurationNanosecond(Some(n)) => i128::from(*n),
        _ => return None,
    };
    (total % i128::from(nanos) == 0).then(|| i64::try_from(total / i128::from(nanos)).ok()).flatten()
}
