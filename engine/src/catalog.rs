//! The engine's own tables: what sources, tables, columns and pushable filters exist.
//!
//! Owns: `tripline.sources`, `tripline.tables`, `tripline.columns`, `tripline.filters`. They are built once, when the
//! engine is, from what the sources declare.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use datafusion::catalog::MemTable;
use datafusion::datasource::TableProvider;

use crate::contract::RequiredKey;
use crate::error::EngineError;
use crate::session::SourceEntry;

type Named = (&'static str, Arc<dyn TableProvider>);

pub(crate) fn tables(sources: &[SourceEntry]) -> Result<Vec<Named>, EngineError> {
    Ok(vec![
        ("sources", source_table(sources)?),
        ("tables", table_table(sources)?),
        ("columns", column_table(sources)?),
        ("filters", filter_table(sources)?),
    ])
}

fn text(values: impl IntoIterator<Item = String>) -> ArrayRef {
    Arc::new(values.into_iter().map(Some).collect::<StringArray>())
}

fn optional_text(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn mem_table(columns: Vec<(&str, ArrayRef)>) -> Result<Arc<dyn TableProvider>, EngineError> {
    let batch = RecordBatch::try_from_iter(columns).map_err(|e| EngineError::Execution(e.to_string()))?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(EngineError::from)?;
    Ok(Arc::new(table))
}

fn source_table(sources: &[SourceEntry]) -> Result<Arc<dyn TableProvider>, EngineError> {
    mem_table(vec![
        ("name", text(sources.iter().map(|s| s.name.clone()))),
        ("description", text(sources.iter().map(|s| s.description.clone()))),
        ("status", text(sources.iter().map(|s| s.status.clone()))),
        ("base_url", text(sources.iter().map(|s| s.base_url.clone()))),
        ("tables", Arc::new(Int64Array::from_iter_values(sources.iter().map(|s| s.tables.len() as i64)))),
    ])
}

fn required(keys: &[RequiredKey]) -> Option<String> {
    let parts: Vec<String> = keys
        .iter()
        .map(|key| key.any_of.iter().map(|set| set.join(" and ")).collect::<Vec<_>>().join(" or "))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn table_table(sources: &[SourceEntry]) -> Result<Arc<dyn TableProvider>, EngineError> {
    let rows = || sources.iter().flat_map(|s| s.tables.iter().map(move |t| (s, t)));
    mem_table(vec![
        ("source", text(rows().map(|(s, _)| s.name.clone()))),
        ("name", text(rows().map(|(_, t)| t.name().to_owned()))),
        ("description", text(rows().map(|(_, t)| t.capabilities().description.clone()))),
        ("guide", text(rows().map(|(_, t)| t.capabilities().guide.clone()))),
        ("required_keys", optional_text(rows().map(|(_, t)| required(&t.capabilities().required)))),
        (
            "natural_order",
            optional_text(rows().map(|(_, t)| t.capabilities().natural_order.as_ref().map(ToString::to_string))),
        ),
        (
            "max_page_size",
            Arc::new(
                rows()
                    .map(|(_, t)| Some(i64::try_from(t.capabilities().max_page_size).unwrap_or(i64::MAX)))
                    .collect::<Int64Array>(),
            ),
        ),
    ])
}

fn column_table(sources: &[SourceEntry]) -> Result<Arc<dyn TableProvider>, EngineError> {
    let rows: Vec<_> = sources
        .iter()
        .flat_map(|s| s.tables.iter().map(move |t| (s.name.clone(), t)))
        .flat_map(|(source, table)| {
            let schema = table.schema();
            let fields: Vec<_> = schema.fields().iter().cloned().collect();
            let about = table.capabilities().columns.clone();
            fields.into_iter().enumerate().map(move |(i, field)| {
                let about = about.get(field.name()).cloned();
                (source.clone(), table.name().to_owned(), i, field, about)
            })
        })
        .collect();
    mem_table(vec![
        ("source", text(rows.iter().map(|r| r.0.clone()))),
        ("table_name", text(rows.iter().map(|r| r.1.clone()))),
        ("ordinal", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2 as i64)))),
        ("name", text(rows.iter().map(|r| r.3.name().clone()))),
        ("data_type", text(rows.iter().map(|r| r.3.data_type().to_string()))),
        ("description", optional_text(rows.iter().map(|r| r.4.clone()))),
    ])
}

fn filter_table(sources: &[SourceEntry]) -> Result<Arc<dyn TableProvider>, EngineError> {
    let rows: Vec<_> = sources
        .iter()
        .flat_map(|s| s.tables.iter().map(move |t| (s, t)))
        .flat_map(|(s, t)| t.capabilities().filters.iter().map(move |f| (s.name.clone(), t.name().to_owned(), f)))
        .collect();
    mem_table(vec![
        ("source", text(rows.iter().map(|r| r.0.clone()))),
        ("table_name", text(rows.iter().map(|r| r.1.clone()))),
        ("column_name", text(rows.iter().map(|r| r.2.column.clone()))),
        ("operator", text(rows.iter().map(|r| r.2.operator.sql().to_owned()))),
        ("parameter", text(rows.iter().map(|r| r.2.parameter.clone()))),
        ("exact", Arc::new(BooleanArray::from_iter(rows.iter().map(|r| Some(r.2.exact))))),
    ])
}
