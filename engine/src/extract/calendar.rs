//! Comparisons of a day, an hour … of a time as ranges of the time itself: `CAST(at AS DATE) = '2026-11-20'`,
//! `date_trunc('hour', at) >= …`.
//!
//! Owns: the translation; it is exact. Times are in UTC, as all of ours are.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use chrono::{DateTime, Datelike, Months, Utc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator as Op};

use super::{Found, column, constant};
use crate::constraint::{Bound, Predicate};

/// What a time is cut down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Fixed(i64),
    Week,
    Months(u32),
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

impl Unit {
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "microsecond" => Self::Fixed(1),
            "millisecond" => Self::Fixed(1_000),
            "second" => Self::Fixed(SECOND),
            "minute" => Self::Fixed(60 * SECOND),
            "hour" => Self::Fixed(3_600 * SECOND),
            "day" => Self::Fixed(DAY),
            "week" => Self::Week,
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            _ => return None,
        })
    }

    /// The last beginning of such a unit that is not after `at`, and the next one.
    fn around(self, at: i64) -> Option<(i64, i64)> {
        let fixed = |length: i64, offset: i64| {
            let from = at.checked_sub(offset)?.div_euclid(length).checked_mul(length)?.checked_add(offset)?;
            Some((from, from.checked_add(length)?))
        };
        match self {
            Self::Fixed(length) => fixed(length, 0),
            // The first day of 1970 was a Thursday; weeks begin on Mondays.
            Self::Week => fixed(7 * DAY, 4 * DAY),
            Self::Months(months) => {
                let day = DateTime::<Utc>::from_timestamp_micros(at)?.date_naive();
                let first = day.with_day(1)?.with_month0(day.month0() - day.month0() % months)?;
                let micros = |day: chrono::NaiveDate| Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros());
                Some((micros(first)?, micros(first.checked_add_months(Months::new(months))?)?))
            }
        }
    }
}

/// The range that `left op right` is, where one side cuts down a time and the other is a constant.
pub(super) fn predicates(left: &Expr, op: Op, right: &Expr, schema: &Schema) -> Option<Found> {
    let (cut, op, value) = match (constant(left), constant(right)) {
        (None, Some(value)) => (left, op, value),
        (Some(value), None) => (right, op.swap()?, value),
        _ => return None,
    };
    let (name, unit) = cut_down(cut)?;
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = schema.field_with_name(name).ok()?.data_type() else {
        return None;
    };
    let at = micros(value)?;
    let (floor, next) = unit.around(at)?;
    let ceil = if floor == at { at } else { next };
    let bound = |at: i64, inclusive: bool| Bound {
        value: ScalarValue::TimestampMicrosecond(Some(at), zone.clone()),
        inclusive,
    };
    let lower = |at: i64| (name.to_owned(), Predicate::Lower(bound(at, true)));
    let upper = |at: i64| (name.to_owned(), Predicate::Upper(bound(at, false)));
    Some(match op {
        // Nothing begins between two beginnings.
        Op::Eq if floor != at => vec![lower(next), upper(floor)],
        Op::Eq => vec![lower(at), upper(next)],
        Op::GtEq => vec![lower(ceil)],
        Op::Gt => vec![lower(next)],
        Op::Lt => vec![upper(ceil)],
        Op::LtEq => vec![upper(next)],
        _ => return None,
    })
}

/// `CAST(column AS DATE)` or `date_trunc('unit', column)`.
fn cut_down(expr: &Expr) -> Option<(&str, Unit)> {
    match expr {
        Expr::Cast(cast) if *cast.field.data_type() == DataType::Date32 => {
            Some((column(&cast.expr)?, Unit::Fixed(DAY)))
        }
        Expr::ScalarFunction(call) if call.name() == "date_trunc" => {
            let [unit, time] = call.args.as_slice() else { return None };
            let unit = Unit::named(constant(unit)?.try_as_str().flatten()?)?;
            Some((column(time)?, unit))
        }
        _ => None,
    }
}

/// Microseconds since 1970 of a constant; `None` where it is finer.
fn micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Date32(Some(days)) => i64::from(*days).checked_mul(DAY),
        ScalarValue::TimestampMicrosecond(Some(at), _) => Some(*at),
        ScalarValue::TimestampMillisecond(Some(at), _) => at.checked_mul(1_000),
        ScalarValue::TimestampSecond(Some(at), _) => at.checked_mul(SECOND),
        ScalarValue::TimestampNanosecond(Some(at), _) if at % 1_000 == 0 => Some(at / 1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_micros()
    }

    #[test]
    fn units_begin_where_calendars_say() {
        let moment = at("2024-02-29T13:14:15.678901Z");
        for (unit, from, next) in [
            ("second", "2024-02-29T13:14:15Z", "2024-02-29T13:14:16Z"),
            ("hour", "2024-02-29T13:00:00Z", "2024-02-29T14:00:00Z"),
            ("day", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("week", "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"),
            ("month", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("QUARTER", "2024-01-01T00:00:00Z", "2024-04-01T00:00:00Z"),
            ("year", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        ] {
            let unit = Unit::named(unit).unwrap();
            assert_eq!(unit.around(moment), Some((at(from), at(next))), "{unit:?}");
            assert_eq!(unit.around(at(from)), Some((at(from), at(next))), "{unit:?}");
        }
        let before = Unit::named("week").unwrap().around(at("1969-12-28T23:00:00Z"));
        assert_eq!(before, Some((at("1969-12-22T00:00:00Z"), at("1969-12-29T00:00:00Z"))));
        assert_eq!(Unit::Fixed(DAY).around(i64::MIN), None);
    }
}
