//! `tripline.copies`: which local copies there are, how far they reach, how large they are.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;

use super::{CopyId, CopyState, SharedCopyStore};
use crate::error::EngineError;
use crate::params::timestamp_field;

#[derive(Debug)]
struct Listing {
    schema: SchemaRef,
    store: SharedCopyStore,
}

/// The table, read anew in each query.
///
/// # Errors
/// Never in practice: its schema is constant.
pub fn listing(store: SharedCopyStore) -> Result<Arc<dyn TableProvider>, EngineError> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("keys", DataType::Utf8, true),
        timestamp_field("covered_from"),
        timestamp_field("covered_until"),
        timestamp_field("refreshed_at"),
        Field::new("rows", DataType::Int64, false),
        Field::new("bytes", DataType::Int64, false),
    ]));
    let listing = Listing { schema: Arc::clone(&schema), store };
    Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(listing)]).map_err(EngineError::from)?))
}

impl PartitionStream for Listing {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, store) = (Arc::clone(&self.schema), Arc::clone(&self.store));
        let rows = async move {
            let copies = store.list().await.map_err(|error| DataFusionError::External(Box::new(error)))?;
            batch(&schema, &copies)
        };
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), futures::stream::once(rows)))
    }
}

fn batch(schema: &SchemaRef, copies: &[(CopyId, CopyState)]) -> Result<RecordBatch, DataFusionError> {
    let text = |value: &dyn Fn(&CopyId) -> Option<String>| -> ArrayRef {
        Arc::new(copies.iter().map(|(id, _)| value(id)).collect::<StringArray>())
    };
    let time = |value: &dyn Fn(&CopyState) -> Option<DateTime<Utc>>| -> ArrayRef {
        let times = copies.iter().map(|(_, state)| value(state).map(|at| at.timestamp_micros()));
        Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let number = |value: &dyn Fn(&CopyState) -> u64| -> ArrayRef {
        let numbers = copies.iter().map(|(_, state)| i64::try_from(value(state)).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from_iter_values(numbers))
    };
    let keys = |id: &CopyId| -> Option<String> {
        let pairs: Vec<String> = id.pinned.iter().map(|(column, value)| format!("{column}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join(", "))
    };
    let columns = vec![
        text(&|id| Some(id.source.clone())),
        text(&|id| Some(id.table.clone())),
        text(&keys),
        time(&|state| state.covered.map(|covered| covered.from)),
        time(&|state| state.covered.map(|covered| covered.until)),
        time(&|state| state.refreshed_at),
        number(&|state| state.rows),
        number(&|state| state.bytes),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
