//! What a query's constraints say of the times of a table, implications included.

use datafusion::scalar::ScalarValue;
use tripline_engine::Constraints;

use crate::spec::{ColumnKind, TableSpec};

/// One end of a time range, microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeBound {
    pub(crate) micros: i64,
    pub(crate) inclusive: bool,
}

/// The times a column may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) lower: Option<TimeBound>,
    pub(crate) upper: Option<TimeBound>,
}

/// Microseconds of a time constant.
pub(crate) fn micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampMicrosecond(v, _) => *v,
        ScalarValue::TimestampMillisecond(v, _) => v.and_then(|v| v.checked_mul(1_000)),
        ScalarValue::TimestampSecond(v, _) => v.and_then(|v| v.checked_mul(1_000_000)),
        ScalarValue::TimestampNanosecond(v, _) => v.map(|v| v.div_euclid(1_000)),
        _ => None,
    }
}

fn tighter_lower(a: Option<TimeBound>, b: Option<TimeBound>) -> Option<TimeBound> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if (a.micros, !a.inclusive) >= (b.micros, !b.inclusive) { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn tighter_upper(a: Option<TimeBound>, b: Option<TimeBound>) -> Option<TimeBound> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if (a.micros, a.inclusive) <= (b.micros, b.inclusive) { a } else { b }),
        (a, b) => a.or(b),
    }
}

/// The range of every column, by position: what the query says of it, and what follows from `at_most` facts.
pub(crate) fn ranges(table: &TableSpec, constraints: &Constraints) -> Vec<TimeRange> {
    let mut ranges: Vec<TimeRange> =
        table.columns.iter().map(|column| own(column.kind, &column.name, constraints)).collect();
    // Facts may chain; each round carries a bound one step further.
    for _ in 0..table.at_most.len() {
        for &(smaller, larger) in &table.at_most {
            ranges[larger].lower = tighter_lower(ranges[larger].lower, ranges[smaller].lower);
            ranges[smaller].upper = tighter_upper(ranges[smaller].upper, ranges[larger].upper);
        }
    }
    ranges
}

fn own(kind: ColumnKind, name: &str, constraints: &Constraints) -> TimeRange {
    if kind != ColumnKind::Timestamp {
        return TimeRange::default();
    }
    let Some(constraint) = constraints.column(name) else { return TimeRange::default() };
    let bound = |bound: &tripline_engine::Bound| {
        micros(&bound.value).map(|micros| TimeBound { micros, inclusive: bound.inclusive })
    };
    let mut range = TimeRange {
        lower: constraint.lower.as_ref().and_then(bound),
        upper: constraint.upper.as_ref().and_then(bound),
    };
    if let Some(values) = &constraint.values {
        let times: Option<Vec<i64>> = values.iter().map(micros).collect();
        let inclusive = |micros: &i64| TimeBound { micros: *micros, inclusive: true };
        let times = times.unwrap_or_default();
        range.lower = tighter_lower(range.lower, times.iter().min().map(inclusive));
        range.upper = tighter_upper(range.upper, times.iter().max().map(inclusive));
    }
    range
}
