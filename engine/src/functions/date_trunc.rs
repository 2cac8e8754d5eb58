//! `date_trunc` of times in UTC without looking at the zone for each of them.
//!
//! DataFusion 55 asks its time zone database twice per row and writes a text for an error that does not come, for every
//! zone, also for UTC. Times in UTC are the same numbers without a zone, and those it truncates by arithmetic: so the zone is
//! taken off before and put back after. All else is DataFusion's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateTrunc {
    inner: Arc<ScalarUDF>,
}

impl DateTrunc {
    pub(super) fn new() -> Self {
        Self { inner: date_trunc() }
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Z" | "+00:00" | "Etc/UTC")
}

/// The same numbers as another type of times.
fn retyped(array: &ArrayRef, data_type: DataType) -> Result<ArrayRef> {
    let data = array.to_data().into_builder().data_type(data_type).build()?;
    Ok(arrow::array::make_array(data))
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zoned = match args.args.get(1) {
            Some(ColumnarValue::Array(times)) => match times.data_type() {
                DataType::Timestamp(unit, Some(zone)) if is_utc(zone) => Some((Arc::clone(times), *unit)),
                _ => None,
            },
            _ => None,
        };
        let Some((times, unit)) = zoned else { return self.inner.invoke_with_args(args) };
        let bare = DataType::Timestamp(unit, None);
        args.args[1] = ColumnarValue::Array(retyped(&times, bare.clone())?);
        if let Some(field) = args.arg_fields.get_mut(1) {
            *field = Arc::new(field.as_ref().clone().with_data_type(bare.clone()));
        }
        args.return_field = Arc::new(args.return_field.as_ref().clone().with_data_type(bare));
        let ColumnarValue::Array(truncated) = self.inner.invoke_with_args(args)? else {
            return datafusion::common::internal_err!("date_trunc of many times is one time");
        };
        Ok(ColumnarValue::Array(retyped(&truncated, times.data_type().clone())?))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;
    use arrow::datatypes::{Field, TimeUnit};
    use datafusion::common::ScalarValue;
    use datafusion::config::ConfigOptions;

    use super::*;

    fn truncated(function: &ScalarUDF, unit: &str, zone: &str) -> ArrayRef {
        let times =
            [Some(1_795_176_123_456_789), None, Some(-1), Some(-2_208_988_800_000_001), Some(951_782_400_000_001)];
        let times = TimestampMicrosecondArray::from_iter(times).with_timezone(zone);
        let field = |name: &str, data_type: DataType| Arc::new(Field::new(name, data_type, true));
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
        let rows = times.len();
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Scalar(ScalarValue::from(unit)), ColumnarValue::Array(Arc::new(times))],
            arg_fields: vec![field("unit", DataType::Utf8), field("at", zoned.clone())],
            number_rows: rows,
            return_field: field("date_trunc", zoned),
            config_options: Arc::new(ConfigOptions::default()),
        };
        function.invoke_with_args(args).unwrap().into_array(rows).unwrap()
    }

    #[test]
    fn it_gives_what_datafusions_own_gives() {
        let ours = ScalarUDF::from(DateTrunc::new());
        for unit in [
            "microsecond",
            "millisecond",
            "second",
            "minute",
            "hour",
            "day",
            "week",
            "month",
            "quarter",
            "year",
            "HOUR",
        ] {
            for zone in ["UTC", "+00:00", "Europe/Berlin", "Asia/Kathmandu", "-03:30"] {
                assert_eq!(&truncated(&ours, unit, zone), &truncated(&date_trunc(), unit, zone), "{unit} {zone}");
            }
        }
    }
}
