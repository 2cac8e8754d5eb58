//! The engine: a catalog of schemas, and the session every query starts from.
//!
//! Owns: registration of sources and local tables, session configuration, the functions available in SQL.
//! One [`Engine`] serves a whole process; every query works on its own clone of the session state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{TableProvider, source_as_provider};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use futures::FutureExt;

use crate::catalog;
use crate::clock::SharedClock;
use crate::context::QueryContext;
use crate::contract::RemoteTable;
use crate::dialect;
use crate::error::EngineError;
use crate::functions;
use crate::rules::physical_rules;
use crate::scan::RemoteTableProvider;
use crate::wildcard::PerRow;

/// Name of the one catalog.
const CATALOG: &str = "tripline";
/// The schema of tables that belong to one query.
const INPUT_SCHEMA: &str = "input";

/// A source as the catalog shows it.
#[derive(Debug, Clone)]
pub struct SourceEntry {
    /// SQL schema.
    pub name: String,
    /// What it is.
    pub description: String,
    /// `configured`, or what is missing.
    pub status: String,
    /// Where it is read from, without secrets.
    pub base_url: String,
    /// Its tables.
    pub tables: Vec<Arc<dyn RemoteTable>>,
}

/// A local table and the schema it belongs to.
#[derive(Debug, Clone)]
pub struct LocalTable {
    /// SQL schema, e.g. `agent`.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// Its rows.
    pub provider: Arc<dyn TableProvider>,
}

/// Rows handed to one query by its caller, as table `input.<name>`: baselines, snapshots, keys of an earlier step.
#[derive(Debug, Clone)]
pub struct InputTable {
    /// Table name within schema `input`; `schema.table` stands in place of that table for this query.
    pub name: String,
    /// Columns.
    pub schema: SchemaRef,
    /// Rows.
    pub batches: Vec<RecordBatch>,
}

/// Limits of the engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Bytes one query may hold in sorts, joins and aggregations.
    pub memory_per_query: usize,
    /// Partitions for queries over local data only. Scans of remote tables are one partition each.
    pub local_partitions: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { memory_per_query: 1 << 30, local_partitions: cores }
    }
}

/// The SQL engine of a process.
#[derive(Debug)]
pub struct Engine {
    state: SessionState,
    catalog: Arc<MemoryCatalogProvider>,
    runtime: Arc<RuntimeEnv>,
    clock: SharedClock,
    options: EngineOptions,
    tables: BTreeMap<String, Vec<String>>,
    per_row: PerRow,
}

impl Engine {
    /// An engine over these sources and local tables.
    ///
    /// # Errors
    /// [`EngineError::Execution`] when the session cannot be built (two tables of one name, say).
    pub fn new(
        clock: SharedClock,
        options: EngineOptions,
        sources: &[SourceEntry],
        local: Vec<LocalTable>,
    ) -> Result<Self, EngineError> {
        let mut schemas: BTreeMap<String, BTreeMap<String, Arc<dyn TableProvider>>> = BTreeMap::new();
        let mut add = |schema: &str, name: &str, provider: Arc<dyn TableProvider>| {
            if schemas.entry(schema.to_owned()).or_default().insert(name.to_owned(), provider).is_some() {
                return Err(EngineError::Execution(format!("two tables are called {schema}.{name}")));
            }
            Ok(())
        };
        let mut per_row = PerRow::new();
        for source in sources {
            for table in &source.tables {
                let columns = &table.capabilities().per_row;
                if !columns.is_empty() {
                    per_row.insert((source.name.clone(), table.name().to_owned()), columns.clone());
                }
                add(&source.name, table.name(), Arc::new(RemoteTableProvider::new(Arc::clone(table))))?;
            }
        }
        for table in local {
            add(&table.schema, &table.name, table.provider)?;
        }
        for (name, provider) in catalog::tables(sources)? {
            add("tripline", name, provider)?;
        }

        let catalog = Arc::new(MemoryCatalogProvider::new());
        let mut names = BTreeMap::new();
        for (schema, tables) in schemas {
            let provider = Arc::new(MemorySchemaProvider::new());
            names.insert(schema.clone(), tables.keys().cloned().collect());
            for (name, table) in tables {
                provider.register_table(name, table).map_err(EngineError::from)?;
            }
            catalog.register_schema(&schema, provider).map_err(EngineError::from)?;
        }

        let runtime = Arc::new(RuntimeEnvBuilder::new().build().map_err(EngineError::from)?);
        let state = SessionStateBuilder::new()
            .with_config(config(options.memory_per_query))
            .with_runtime_env(Arc::clone(&runtime))
            .with_default_features()
            .with_physical_optimizer_rules(physical_rules())
            .build();
        let mut state = functions::json_text::register(state).map_err(EngineError::from)?;
        for function in functions::all() {
            state.register_udf(function).map_err(EngineError::from)?;
        }
        state.catalog_list().register_catalog(CATALOG.to_owned(), Arc::clone(&catalog) as Arc<dyn CatalogProvider>);
        Ok(Self { state, catalog, runtime, clock, options, tables: names, per_row })
    }

    /// The engine's clock.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The statements of a text.
    pub(crate) fn parse(&self, sql: &str) -> Result<VecDeque<Statement>, EngineError> {
        dialect::parse(sql, &self.state.config_options().sql_parser)
    }

    /// Schema and table names, sorted.
    #[must_use]
    pub fn tables(&self) -> &BTreeMap<String, Vec<String>> {
        &self.tables
    }

    /// Columns that `*` leaves out.
    pub(crate) fn per_row(&self) -> &PerRow {
        &self.per_row
    }

    /// A session of one query: its clock reading, its memory pool, its context, and its own tables in schema `input`.
    pub(crate) fn state_for(
        &self,
        query: &Arc<QueryContext>,
        input: &[InputTable],
    ) -> Result<SessionState, EngineError> {
        let mut state = self.state.clone();
        state.config_mut().set_extension(Arc::clone(query));
        state.execution_props_mut().query_execution_start_time = Some(query.now);
        let runtime = RuntimeEnv {
            memory_pool: Arc::new(GreedyMemoryPool::new(self.options.memory_per_query)),
            ..self.runtime.as_ref().clone()
        };
        let mut builder = SessionStateBuilder::new_from_existing(state).with_runtime_env(Arc::new(runtime));
        if !input.is_empty() {
            builder = builder.with_catalog_list(self.catalog_with(input)?);
        }
        Ok(builder.build())
    }

    fn catalog_with(&self, input: &[InputTable]) -> Result<Arc<dyn CatalogProviderList>, EngineError> {
        let mut schemas: BTreeMap<&str, MemorySchemaProvider> = BTreeMap::new();
        for table in input {
            let provider = MemTable::try_new(Arc::clone(&table.schema), vec![table.batches.clone()])?;
            let (schema, name) = table.name.split_once('.').unwrap_or((INPUT_SCHEMA, &table.name));
            let schema = schemas.entry(schema).or_default();
            schema.register_table(name.to_owned(), Arc::new(provider)).map_err(EngineError::from)?;
        }
        let catalog = Arc::new(MemoryCatalogProvider::new());
        for name in self.catalog.schema_names() {
            let Some(known) = self.catalog.schema(&name) else { continue };
            let Some(own) = schemas.get(name.as_str()) else {
                catalog.register_schema(&name, known).map_err(EngineError::from)?;
                continue;
            };
            for table in self.tables.get(&name).into_iter().flatten().filter(|table| !own.table_exist(table)) {
                let Some(provider) = known.table(table).now_or_never().transpose()?.flatten() else { continue };
                own.register_table(table.clone(), provider).map_err(EngineError::from)?;
            }
        }
        for (name, schema) in schemas {
            catalog.register_schema(name, Arc::new(schema)).map_err(EngineError::from)?;
        }
        let list = Arc::new(MemoryCatalogProviderList::new());
        list.register_catalog(CATALOG.to_owned(), catalog);
        Ok(list)
    }

    /// Remote scans are one partition with parallel pages inside: hash repartitioning above them would only add
    /// tasks and hide LIMITs. Purely local queries use all cores.
    pub(crate) fn sized_for(&self, mut state: SessionState, plan: &LogicalPlan) -> SessionState {
        let partitions = if scans_remote(plan) { 1 } else { self.options.local_partitions };
        state.config_mut().options_mut().execution.target_partitions = partitions;
        state
    }

    /// Adds suggestions to errors about unknown tables.
    pub(crate) fn explain_names(&self, error: EngineError) -> EngineError {
        let EngineError::Query { message, hint: None } = &error else { return error };
        let Some(name) = message.strip_prefix("table '").and_then(|m| m.strip_suffix("' not found")) else {
            return error;
        };
        let path: Vec<&str> = name.split('.').collect();
        let (schema, table) = match path.as_slice() {
            [.., schema, table] => (*schema, *table),
            _ => return error,
        };
        let display = if schema == "public" { table.to_owned() } else { format!("{schema}.{table}") };
        let candidates = self.tables.iter().flat_map(|(s, ts)| ts.iter().map(move |t| format!("{s}.{t}")));
        let mut ranked: Vec<(usize, String)> = candidates
            .map(|candidate| {
                let bare = candidate.split('.').next_back().unwrap_or_default();
                let distance = edit_distance(&candidate, &display).min(edit_distance(bare, table) + 1);
                (distance, candidate)
            })
            .collect();
        ranked.sort();
        let close: Vec<String> = ranked.into_iter().filter(|(d, _)| *d <= 4).take(3).map(|(_, c)| c).collect();
        let hint = if close.is_empty() {
            "SELECT * FROM tripline.tables lists all tables".to_owned()
        } else {
            format!("did you mean {}? SELECT * FROM tripline.tables lists all tables", close.join(" or "))
        };
        EngineError::query(format!("there is no table {display}"), hint)
    }
}

fn config(memory_per_query: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, "public")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let options = config.options_mut();
    // Without a zone now() is a zoneless timestamp and does not compare with ours.
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.collect_statistics = false;
    // Dynamic filters would hold back prefetching and cannot be handed to a vendor; see rules.rs.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    options.optimizer.enable_round_robin_repartition = false;
    // What a sort keeps free for merging what it spilled; more than the whole pool would fail every sort.
    let reserved = options.execution.sort_spill_reservation_bytes;
    options.execution.sort_spill_reservation_bytes = reserved.min(memory_per_query / 3);
    options.explain.logical_plan_only = false;
    config
}

fn scans_remote(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // The closure never fails, so neither does the walk.
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && provider.is::<RemoteTableProvider>()
        {
            found = true;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

fn edit_distance(a: &str, b: &str) -> usize {
    datafusion::common::utils::datafusion_strsim::levenshtein(a, b)
}
