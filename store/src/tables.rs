//! The store as read-only SQL tables: `agent.*` and `ingest.*`.
//!
//! Owns which tables and columns analysts see ([`table_specs`]) and one generic DataFusion provider that reads them off
//! the reader pool; the event log brings a table of its own ([`crate::ingest`]). Does not own the session they are registered in (engine) nor any other schema.
//!
//! Must hold: a provider is made for a [`Scope`] and shows no row of another project, whatever the query; every value
//! reaches SQLite as a bound parameter; a filter is called exact only if SQLite decides it just as Arrow does; memory
//! is bounded by batches, never by the result; what is secret (keys, signatures, response addresses) is in no column.

mod modes;
mod predicate;
mod provider;
mod scan;
mod sessions;
mod spec;
mod told;

#[cfg(test)]
mod tests;

pub use spec::{ColumnKind, ColumnSpec, TableSpec, table_specs};

use crate::ingest::runs::{LogEvents, RunEvents, run_tables};
use crate::model::Scope;
use crate::sqlite::SqliteStore;
use datafusion::catalog::TableProvider;
use provider::SqliteTable;
use std::sync::Arc;

/// A table to register in a session.
#[derive(Debug, Clone)]
pub struct SqlTable {
    /// The SQL schema: `agent` or `ingest`.
    pub schema: &'static str,
    /// The table's name in it.
    pub name: &'static str,
    /// What it shows and how to use it, one line for people and agents.
    pub guide: &'static str,
    /// The table, limited to the scope it was made for.
    pub provider: Arc<dyn TableProvider>,
}

/// All tables of the store, as one project sees them.
pub fn sql_tables(store: &SqliteStore, scope: &Scope) -> Vec<SqlTable> {
    let mut tables: Vec<SqlTable> = table_specs()
        .iter()
        .map(|spec| SqlTable {
            schema: spec.schema,
            name: spec.name,
            guide: spec.guide,
            provider: Arc::new(SqliteTable::new(spec, store.readers().clone(), scope.clone())),
        })
        .collect();
    tables.push(SqlTable {
        schema: "ingest",
        name: "events",
        guide: "What agents sent, immutable: calls, responses, signals of every run. Filter by run_id, agent_id or time.",
        provider: crate::ingest::events_table(store, scope),
    });
    let events: Arc<dyn RunEvents> = Arc::new(LogEvents::new(Arc::new(store.clone())));
    tables.extend(run_tables(&events, scope));
    tables
}
