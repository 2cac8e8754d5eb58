//! Numbers that JSON, or those who read it, have no form for.
//!
//! JSON has no NaN and no infinity, and Arrow writes them as `null`: then a ratio that is not a number cannot be told from one that
//! nobody knows. They are text here: `"NaN"`, `"Infinity"`, `"-Infinity"`, as JavaScript and Python write them. And a reader that keeps
//! numbers as doubles, as browsers do, changes whole numbers beyond 2^53 and the digits of decimals: for such readers those are
//! text as well ([`Numbers::exact`]). The type of a column says in each case what its text is.

use std::io::Write as _;

use arrow::array::types::{Float32Type, Float64Type, Int64Type, UInt64Type};
use arrow::array::{Array, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::json::writer::NullableEncoder;
use arrow::json::{Encoder, EncoderFactory, EncoderOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The largest whole number up to which a double tells all from each other.
const LARGEST_EXACT: u64 = (1 << 53) - 1;

/// How numbers are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// Whether the reader has doubles alone.
    exact: bool,
}

impl Numbers {
    /// For a reader that takes each digit as it is written.
    pub(super) fn as_they_are() -> Self {
        Self { exact: false }
    }

    /// For a reader that keeps numbers as doubles: whole numbers beyond 2^53 and all decimals are text.
    pub(super) fn exact() -> Self {
        Self { exact: true }
    }
}

impl EncoderFactory for Numbers {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Option<Box<dyn Encoder + 'a>> = match array.data_type() {
            DataType::Float64 => floats(array.as_primitive::<Float64Type>(), f64::is_finite, |value| value),
            DataType::Float32 => floats(array.as_primitive::<Float32Type>(), f32::is_finite, f64::from),
            DataType::Int64 if self.exact => {
                wide(array.as_primitive::<Int64Type>(), |value| value.unsigned_abs() > LARGEST_EXACT)
            }
            DataType::UInt64 if self.exact => wide(array.as_primitive::<UInt64Type>(), |value| value > LARGEST_EXACT),
            decimal if self.exact && decimal.is_decimal() => {
                Some(Box::new(Text(ArrayFormatter::try_new(array, &FormatOptions::new())?)))
            }
            _ => None,
        };
        Ok(encoder.map(|encoder| NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Floats, of which some are no numbers that JSON has.
struct Floats<'a, T: ArrowPrimitiveType> {
    array: &'a PrimitiveArray<T>,
    wide: fn(T::Native) -> f64,
}

fn floats<'a, T: ArrowPrimitiveType>(
    array: &'a PrimitiveArray<T>,
    finite: fn(T::Native) -> bool,
    wide: fn(T::Native) -> f64,
) -> Option<Box<dyn Encoder + 'a>> {
    array
        .iter()
        .flatten()
        .any(|value| !finite(value))
        .then(|| Box::new(Floats { array, wide }) as Box<dyn Encoder + 'a>)
}

impl<T: ArrowPrimitiveType> Encoder for Floats<'_, T> {
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        let value = self.array.value(idx);
        let text = match (self.wide)(value) {
            wide if wide.is_nan() => "\"NaN\"",
            f64::INFINITY => "\"Infinity\"",
            f64::NEG_INFINITY => "\"-Infinity\"",
            // In the type's own digits: a Float32 made wider shows more of them than it has. Writing to memory does not fail.
            _ => {
                let _ = write!(out, "{value:?}");
                return;
            }
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Whole numbers, of which some are beyond what a double tells apart.
struct Wide<'a, T: ArrowPrimitiveType> {
    array: &'a PrimitiveArray<T>,
    beyond: fn(T::Native) -> bool,
}

fn wide<'a, T: ArrowPrimitiveType>(
    array: &'a PrimitiveArray<T>,
    beyond: fn(T::Native) -> bool,
) -> Option<Box<dyn Encoder + 'a>>
where
    T::Native: std::fmt::Display,
{
    array.iter().flatten().any(beyond).then(|| Box::new(Wide { array, beyond }) as Box<dyn Encoder + 'a>)
}

impl<T: ArrowPrimitiveType> Encoder for Wide<'_, T>
where
    T::Native: std::fmt::Display,
{
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        let value = self.array.value(idx);
        let quote = if (self.beyond)(value) { "\"" } else { "" };
        let _ = write!(out, "{quote}{value}{quote}");
    }
}

/// Decimals, digit by digit.
struct Text<'a>(ArrayFormatter<'a>);

impl Encoder for Text<'_> {
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        let _ = write!(out, "\"{}\"", self.0.value(idx));
    }
}
