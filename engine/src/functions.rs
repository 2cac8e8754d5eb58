//! SQL functions of our own.
//!
//! - `json_kind(text)`: what a text is as JSON: `object`, `array`, `string`, `number`, `boolean`, `null`; `text` when it
//!   is not JSON at all and not blank, `blank` when it is empty or white space. NULL for NULL. The whole text is
//!   parsed: a JSON document cut in half is `text`.
//! - `json_get`, `->` and `#>` give JSON text (`json_text`).
//! - `date_trunc` is DataFusion's, and many times as fast in UTC.

mod date_trunc;
pub(crate) mod json_text;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

/// All functions of our own, to be registered with a session.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::from(JsonKind::new())), Arc::new(ScalarUDF::from(date_trunc::DateTrunc::new()))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonKind {
    signature: Signature,
}

impl JsonKind {
    fn new() -> Self {
        Self { signature: Signature::one_of(vec![TypeSignature::Exact(vec![DataType::Utf8])], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JsonKind {
    fn name(&self) -> &'static str {
        "json_kind"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(argument) = args.args.first() else {
            return datafusion::common::exec_err!("json_kind takes one text");
        };
        Ok(match argument {
            ColumnarValue::Scalar(value) => {
                let kind = value.try_as_str().flatten().map(|text| kind_of(text).to_owned());
                ColumnarValue::Scalar(ScalarValue::Utf8(kind))
            }
            ColumnarValue::Array(array) => {
                let texts = as_string_array(array)?;
                let kinds: StringArray = texts.iter().map(|text| text.map(kind_of)).collect();
                let kinds: ArrayRef = Arc::new(kinds);
                debug_assert_eq!(kinds.len(), array.len());
                ColumnarValue::Array(kinds)
            }
        })
    }
}

/// What a text is as JSON, in the words of the function `json_kind`.
#[must_use]
pub fn kind_of(text: &str) -> &'static str {
    let trimmed = text.trim_start();
    let kind = match trimmed.as_bytes().first() {
        None => return "blank",
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "number",
        Some(_) => return "text",
    };
    if serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok() { kind } else { "text" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_it_parses_as() {
        let cases = [
            ("{\"a\": 1}", "object"),
            (" [1,2]", "array"),
            ("\"x\"", "string"),
            ("-1.5e3", "number"),
            ("true", "boolean"),
            ("null", "null"),
            ("{\"a\": ", "text"),
            ("true story", "text"),
            ("none found", "text"),
            ("42 is the answer", "text"),
            ("Sure! {\"a\": 1}", "text"),
            ("", "blank"),
            (" \n\t", "blank"),
        ];
        for (text, kind) in cases {
            assert_eq!(kind_of(text), kind, "{text:?}");
        }
    }
}
