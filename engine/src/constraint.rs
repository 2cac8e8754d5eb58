//! Typed constraints: what a query asks of the columns of one remote table.
//!
//! Owns: [`Constraints`], the conjunction of predicates on single columns against constants, normalised per column
//! (value sets and ranges intersected, contradictions noticed). Does not own: reading them out of SQL
//! (`extract.rs`), or mapping them to a vendor's parameters (the connectors).
//!
//! Must hold: a row that satisfies the query satisfies the constraints. The reverse is not promised: predicates
//! that do not fit are left out and [`Constraints::residual`] is set. The scan node re-evaluates the original
//! predicates on every row either way, so a constraint can only save requests, never change an answer.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use datafusion::scalar::ScalarValue;

/// One end of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The bounding value, of the column's type.
    pub value: ScalarValue,
    /// Whether the value itself is inside.
    pub inclusive: bool,
}

/// A `LIKE` pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikePattern {
    /// The SQL pattern (`%`, `_`, backslash escapes).
    pub pattern: String,
    /// `ILIKE`.
    pub case_insensitive: bool,
}

/// One predicate on one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// `column = v` or `column IN (…)`; never holds NULL.
    In(Vec<ScalarValue>),
    /// `column <> v`.
    NotEqual(ScalarValue),
    /// `column > v` or `column >= v`.
    Lower(Bound),
    /// `column < v` or `column <= v`.
    Upper(Bound),
    /// `column LIKE pattern`.
    Like(LikePattern),
    /// `column IS NULL` (true) or `IS NOT NULL` (false).
    IsNull(bool),
}

/// Everything asked of one column, normalised.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnConstraint {
    /// The only values allowed (`=`, `IN`), without duplicates, in the query's order.
    pub values: Option<Vec<ScalarValue>>,
    /// Lower end of the allowed range.
    pub lower: Option<Bound>,
    /// Upper end of the allowed range.
    pub upper: Option<Bound>,
    /// Values excluded by `<>`.
    pub not_equal: Vec<ScalarValue>,
    /// `LIKE` patterns that must match.
    pub like: Vec<LikePattern>,
    /// `IS NULL` / `IS NOT NULL`.
    pub is_null: Option<bool>,
}

impl ColumnConstraint {
    fn contains(&self, value: &ScalarValue) -> bool {
        let above = self.lower.as_ref().is_none_or(|b| match value.partial_cmp(&b.value) {
            Some(Ordering::Greater) | None => true,
            Some(Ordering::Equal) => b.inclusive,
            Some(Ordering::Less) => false,
        });
        let below = self.upper.as_ref().is_none_or(|b| match value.partial_cmp(&b.value) {
            Some(Ordering::Less) | None => true,
            Some(Ordering::Equal) => b.inclusive,
            Some(Ordering::Greater) => false,
        });
        above && below && !self.not_equal.contains(value)
    }

    fn is_contradiction(&self) -> bool {
        if self.values.as_ref().is_some_and(|v| !v.iter().any(|x| self.contains(x))) {
            return true;
        }
        if self.is_null == Some(true) && (self.values.is_some() || self.lower.is_some() || self.upper.is_some()) {
            return true;
        }
        match (&self.lower, &self.upper) {
            (Some(l), Some(u)) => match l.value.partial_cmp(&u.value) {
                Some(Ordering::Greater) => true,
                Some(Ordering::Equal) => !(l.inclusive && u.inclusive),
                _ => false,
            },
            _ => false,
        }
    }
}

/// The conjunction of everything a query asks of one table's columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Constraints {
    columns: BTreeMap<String, ColumnConstraint>,
    residual: bool,
    contradiction: bool,
}

impl Constraints {
    /// No constraint at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds `column predicate`, intersecting with what is already known.
    pub fn add(&mut self, column: &str, predicate: Predicate) {
        let entry = self.columns.entry(column.to_owned()).or_default();
        match predicate {
            Predicate::In(values) => {
                let mut unique: Vec<ScalarValue> = Vec::with_capacity(values.len());
                let mut seen = std::collections::HashSet::with_capacity(values.len());
                for value in values {
                    if !value.is_null() && seen.insert(value.clone()) {
                        unique.push(value);
                    }
                }
                entry.values = Some(match entry.values.take() {
                    None => unique,
                    Some(known) => known.into_iter().filter(|v| seen.contains(v)).collect(),
                });
            }
            Predicate::NotEqual(value) => entry.not_equal.push(value),
            Predicate::Lower(bound) => {
                let tighter = entry.lower.as_ref().is_none_or(|known| match bound.value.partial_cmp(&known.value) {
                    Some(Ordering::Greater) => true,
                    Some(Ordering::Equal) => !bound.inclusive,
                    _ => false,
                });
                if tighter {
                    entry.lower = Some(bound);
                }
            }
            Predicate::Upper(bound) => {
                let tighter = entry.upper.as_ref().is_none_or(|known| match bound.value.partial_cmp(&known.value) {
                    Some(Ordering::Less) => true,
                    Some(Ordering::Equal) => !bound.inclusive,
                    _ => false,
                });
                if tighter {
                    entry.upper = Some(bound);
                }
            }
            Predicate::Like(pattern) => entry.like.push(pattern),
            Predicate::IsNull(is_null) => {
                if entry.is_null.is_some_and(|known| known != is_null) {
                    self.contradiction = true;
                }
                entry.is_null = Some(is_null);
            }
        }
        if entry.is_contradiction() {
            self.contradiction = true;
        } else if let Some(values) = entry.values.take() {
            let kept: Vec<ScalarValue> = values.into_iter().filter(|v| entry.contains(v)).collect();
            entry.values = Some(kept);
        }
    }

    /// Notes that the query has predicates on this table that constraints cannot express.
    pub fn set_residual(&mut self) {
        self.residual = true;
    }

    /// Notes that no row can satisfy the query.
    pub fn set_contradiction(&mut self) {
        self.contradiction = true;
    }

    /// Whether rows that satisfy the constraints may still be dropped by the query.
    #[must_use]
    pub fn residual(&self) -> bool {
        self.residual
    }

    /// Whether no row can satisfy the constraints: nothing needs to be fetched.
    #[must_use]
    pub fn is_contradiction(&self) -> bool {
        self.contradiction
    }

    /// What is asked of `column`, if anything.
    #[must_use]
    pub fn column(&self, column: &str) -> Option<&ColumnConstraint> {
        self.columns.get(column)
    }

    /// The only values `column` may have, if the query pins it.
    #[must_use]
    pub fn values(&self, column: &str) -> Option<&[ScalarValue]> {
        self.columns.get(column).and_then(|c| c.values.as_deref())
    }

    /// All constrained columns, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ColumnConstraint)> {
        self.columns.iter().map(|(name, constraint)| (name.as_str(), constraint))
    }

    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
}

impl fmt::Display for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.contradiction {
            return f.write_str("nothing can match");
        }
        let mut first = true;
        let mut part = |f: &mut fmt::Formatter<'_>, text: String| -> fmt::Result {
            let separator = if std::mem::take(&mut first) { "" } else { " AND " };
            write!(f, "{separator}{text}")
        };
        for (name, c) in &self.columns {
            if let Some(values) = &c.values {
                match values.as_slice() {
                    [one] => part(f, format!("{name} = {}", literal(one)))?,
                    many if many.len() <= 5 => {
                        let list: Vec<String> = many.iter().map(literal).collect();
                        part(f, format!("{name} IN ({})", list.join(", ")))?;
                    }
                    many => part(f, format!("{name} IN ({} values)", many.len()))?,
                }
            }
            if let Some(b) = &c.lower {
                part(f, format!("{name} {} {}", if b.inclusive { ">=" } else { ">" }, literal(&b.value)))?;
            }
            if let Some(b) = &c.upper {
                part(f, format!("{name} {} {}", if b.inclusive { "<=" } else { "<" }, literal(&b.value)))?;
            }
            for value in &c.not_equal {
                part(f, format!("{name} <> {}", literal(value)))?;
            }
            for like in &c.like {
                let op = if like.case_insensitive { "ILIKE" } else { "LIKE" };
                part(f, format!("{name} {op} '{}'", like.pattern))?;
            }
            if let Some(is_null) = c.is_null {
                part(f, format!("{name} IS {}NULL", if is_null { "" } else { "NOT " }))?;
            }
        }
        if self.residual {
            part(f, "…".to_owned())?;
        }
        Ok(())
    }
}

/// A constant as a reader would write it.
fn literal(value: &ScalarValue) -> String {
    match value {
        ScalarValue::Utf8(Some(s)) | ScalarValue::Utf8View(Some(s)) | ScalarValue::LargeUtf8(Some(s)) => {
            format!("'{s}'")
        }
        ScalarValue::TimestampMicrosecond(Some(us), _) => chrono::DateTime::from_timestamp_micros(*us)
            .map_or_else(|| value.to_string(), |t| t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> ScalarValue {
        ScalarValue::Utf8(Some(s.to_owned()))
    }
    fn int(i: i64) -> ScalarValue {
        ScalarValue::Int64(Some(i))
    }
    fn lower(i: i64, inclusive: bool) -> Predicate {
        Predicate::Lower(Bound { value: int(i), inclusive })
    }
    fn upper(i: i64, inclusive: bool) -> Predicate {
        Predicate::Upper(Bound { value: int(i), inclusive })
    }

    #[test]
    fn value_sets_are_intersected_and_deduplicated() {
        let mut c = Constraints::none();
        c.add("a", Predicate::In(vec![text("x"), text("y"), text("x")]));
        c.add("a", Predicate::In(vec![text("y"), text("z")]));
        assert_eq!(c.values("a"), Some(&[text("y")][..]));
        assert!(!c.is_contradiction());
    }

    #[test]
    fn an_empty_intersection_is_a_contradiction() {
        let mut c = Constraints::none();
        c.add("a", Predicate::In(vec![int(1)]));
        c.add("a", Predicate::In(vec![int(2)]));
        assert!(c.is_contradiction());
    }

    #[test]
    fn crossing_ranges_are_a_contradiction_and_touching_ones_only_when_both_ends_are_inside() {
        let mut crossing = Constraints::none();
        crossing.add("a", lower(5, false));
        crossing.add("a", upper(3, false));
        assert!(crossing.is_contradiction());

        let mut open = Constraints::none();
        open.add("a", lower(5, true));
        open.add("a", upper(5, false));
        assert!(open.is_contradiction());

        let mut closed = Constraints::none();
        closed.add("a", lower(5, true));
        closed.add("a", upper(5, true));
        assert!(!closed.is_contradiction());
    }

    #[test]
    fn the_tighter_bound_wins() {
        let mut c = Constraints::none();
        c.add("a", lower(1, true));
        c.add("a", lower(3, true));
        c.add("a", lower(3, false));
        c.add("a", lower(2, true));
        assert_eq!(c.column("a").and_then(|c| c.lower.clone()), Some(Bound { value: int(3), inclusive: false }));
    }

    #[test]
    fn values_outside_the_range_are_dropped() {
        let mut c = Constraints::none();
        c.add("a", Predicate::In(vec![int(1), int(5), int(9)]));
        c.add("a", lower(2, true));
        c.add("a", upper(9, false));
        assert_eq!(c.values("a"), Some(&[int(5)][..]));
    }

    #[test]
    fn null_is_never_an_allowed_value() {
        let mut c = Constraints::none();
        c.add("a", Predicate::In(vec![ScalarValue::Int64(None), int(2)]));
        assert_eq!(c.values("a"), Some(&[int(2)][..]));
    }
}
