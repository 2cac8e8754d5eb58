//! A query's constraints, evaluated here on rows already fetched.
//!
//! Owns: deciding which rows surely do not match, to spare requests for them. Does not own: the query's own evaluation
//! of its predicates (the engine's); a doubt keeps the row.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::kernels::{boolean, cmp, comparison};
use arrow::error::ArrowError;
use datafusion::scalar::ScalarValue;
use tripline_engine::{ColumnConstraint, Constraints, Predicate};

/// Which rows of `batch` may match `constraints`, and whether that is certain for the rows kept.
pub(crate) fn keep(batch: &RecordBatch, constraints: &Constraints) -> (BooleanArray, bool) {
    let mut kept = BooleanArray::from(vec![true; batch.num_rows()]);
    let mut certain = !constraints.residual();
    for (name, constraint) in constraints.iter() {
        let Some(array) = batch.column_by_name(name) else {
            certain = false;
            continue;
        };
        match column(array, constraint).and_then(|mask| boolean::and(&kept, &without_nulls(&mask))) {
            Ok(mask) => kept = mask,
            Err(_) => certain = false,
        }
    }
    (kept, certain)
}

/// Which rows of `batch` have one of the values of every column of `having`; a column that is not there says nothing.
pub(crate) fn having(batch: &RecordBatch, having: &[(String, Vec<ScalarValue>)]) -> BooleanArray {
    let mut asked = Constraints::none();
    for (column, values) in having {
        asked.add(column, Predicate::In(values.clone()));
    }
    keep(batch, &asked).0
}

/// A comparison with NULL is no match.
fn without_nulls(mask: &BooleanArray) -> BooleanArray {
    (0..mask.len()).map(|i| Some(mask.is_valid(i) && mask.value(i))).collect()
}

fn column(array: &ArrayRef, constraint: &ColumnConstraint) -> Result<BooleanArray, ArrowError> {
    let mut kept = BooleanArray::from(vec![true; array.len()]);
    let scalar = |value: &ScalarValue| {
        value.cast_to(array.data_type()).and_then(|v| v.to_scalar()).map_err(|e| ArrowError::CastError(e.to_string()))
    };
    if let Some(values) = &constraint.values {
        let mut any = BooleanArray::from(vec![false; array.len()]);
        for value in values {
            any = boolean::or(&any, &without_nulls(&cmp::eq(array, &scalar(value)?)?))?;
        }
        kept = boolean::and(&kept, &any)?;
    }
    if let Some(bound) = &constraint.lower {
        let bound_value = scalar(&bound.value)?;
        let mask = if bound.inclusive { cmp::gt_eq(array, &bound_value)? } else { cmp::gt(array, &bound_value)? };
        kept = boolean::and(&kept, &without_nulls(&mask))?;
    }
    if let Some(bound) = &constraint.upper {
        let bound_value = scalar(&bound.value)?;
        let mask = if bound.inclusive { cmp::lt_eq(array, &bound_value)? } else { cmp::lt(array, &bound_value)? };
        kept = boolean::and(&kept, &without_nulls(&mask))?;
    }
    for value in &constraint.not_equal {
        kept = boolean::and(&kept, &without_nulls(&cmp::neq(array, &scalar(value)?)?))?;
    }
    for like in &constraint.like {
        let pattern = StringArray::new_scalar(like.pattern.as_str());
        let mask = if like.case_insensitive {
            comparison::ilike(array, &pattern)?
        } else {
            comparison::like(array, &pattern)?
        };
        kept = boolean::and(&kept, &without_nulls(&mask))?;
    }
    if let Some(is_null) = constraint.is_null {
        let mask = if is_null { boolean::is_null(array)? } else { boolean::is_not_null(array)? };
        kept = boolean::and(&kept, &mask)?;
    }
    Ok(kept)
}
