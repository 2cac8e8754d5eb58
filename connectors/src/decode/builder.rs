//! One Arrow column under construction.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};

use super::value::{self, Json, NotA};
use crate::ContentShape;
use crate::spec::{ColumnKind, TimeFormat};

/// A builder of a column's type.
#[derive(Debug)]
pub(crate) enum ColumnBuilder {
    Text(StringBuilder),
    /// Shapes of texts, which are not kept themselves.
    Shape(StringBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder, TimeFormat),
}

impl ColumnBuilder {
    pub(crate) fn new(kind: ColumnKind, time: TimeFormat, shape: bool) -> Self {
        match kind {
            ColumnKind::Json if shape => Self::Shape(StringBuilder::new()),
            ColumnKind::Text | ColumnKind::Json => Self::Text(StringBuilder::new()),
            ColumnKind::Int => Self::Int(Int64Builder::new()),
            ColumnKind::Float => Self::Float(Float64Builder::new()),
            ColumnKind::Bool => Self::Bool(BooleanBuilder::new()),
            ColumnKind::Timestamp => Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC"), time),
        }
    }

    /// Appends `value` if it is something; `Ok(false)` when it is NULL and nothing was appended.
    pub(crate) fn append(&mut self, json: Json<'_>, empty_is_null: bool) -> Result<bool, NotA> {
        match self {
            Self::Text(builder) => match value::text(json) {
                Some(text) if !(empty_is_null && text.is_empty()) => builder.append_value(text),
                _ => return Ok(false),
            },
            Self::Shape(builder) => match value::text(json) {
                Some(text) if !(empty_is_null && text.is_empty()) => {
                    builder.append_value(ContentShape::of(&text).to_json());
                }
                _ => return Ok(false),
            },
            Self::Int(builder) => match value::int(&json)? {
                Some(n) => builder.append_value(n),
                None => return Ok(false),
            },
            Self::Float(builder) => match value::float(&json)? {
                Some(n) => builder.append_value(n),
                None => return Ok(false),
            },
            Self::Bool(builder) => match value::bool(&json)? {
                Some(b) => builder.append_value(b),
                None => return Ok(false),
            },
            Self::Time(builder, format) => match value::time(&json, *format)? {
                Some(t) => builder.append_value(t),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    pub(crate) fn append_bool(&mut self, b: bool) {
        match self {
            Self::Bool(builder) => builder.append_value(b),
            other => other.append_null(),
        }
    }

    pub(crate) fn append_null(&mut self) {
        match self {
            Self::Text(builder) | Self::Shape(builder) => builder.append_null(),
            Self::Int(builder) => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Bool(builder) => builder.append_null(),
            Self::Time(builder, _) => builder.append_null(),
        }
    }

    pub(crate) fn finish(self) -> ArrayRef {
        fn done(mut builder: impl ArrayBuilder) -> ArrayRef {
            Arc::clone(&builder.finish())
        }
        match self {
            Self::Text(builder) | Self::Shape(builder) => done(builder),
            Self::Int(builder) => done(builder),
            Self::Float(builder) => done(builder),
            Self::Bool(builder) => done(builder),
            Self::Time(builder, _) => done(builder),
        }
    }
}
