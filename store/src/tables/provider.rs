//! The table provider: the same for every table of the store.

use super::predicate::{Predicate, translate};
use super::scan::SqliteScanExec;
use super::spec::TableSpec;
use crate::model::Scope;
use crate::sqlite::Readers;
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::fmt;
use std::sync::Arc;

/// One table of the store, as one project sees it.
pub(super) struct SqliteTable {
    spec: &'static TableSpec,
    schema: SchemaRef,
    readers: Readers,
    scope: Scope,
}

impl SqliteTable {
    pub(super) fn new(spec: &'static TableSpec, readers: Readers, scope: Scope) -> Self {
        Self { spec, schema: spec.arrow_schema(), readers, scope }
    }
}

impl fmt::Debug for SqliteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTable").field("name", &self.spec.name).field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for SqliteTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushdown = |filter: &&Expr| match translate(self.spec, filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushdown).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicates: Option<Vec<Predicate>> = filters.iter().map(|filter| translate(self.spec, filter)).collect();
        // DataFusion dropped the filters we called exact: losing one here would be a wrong answer.
        let Some(predicates) = predicates else {
            return internal_err!("a filter on {}.{} was not announced", self.spec.schema, self.spec.name);
        };
        let columns = projection.cloned().unwrap_or_else(|| (0..self.spec.columns.len()).collect());
        let scan =
            SqliteScanExec::new(self.spec, self.readers.clone(), self.scope.clone(), columns, predicates, limit)?;
        Ok(Arc::new(scan))
    }
}
