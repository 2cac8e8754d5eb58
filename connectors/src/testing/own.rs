use std::sync::Arc;

use serde_json::{Map, Value};
use tripline_engine::{Engine, EngineError, Environment, ManualClock, QueryOptions, json_rows};

use super::toy::Toy;
use super::world::{engine, noon};
use crate::catalog::{ConnectorOptions, Connectors};

/// A source from a file of the user's own, over a real socket, asked in SQL.
pub(crate) struct Own {
    pub(crate) toy: Arc<Toy>,
    pub(crate) connectors: Connectors,
    pub(crate) engine: Engine,
    _dir: tempfile::TempDir,
}

impl Own {
    /// The spec `mine.yaml` over `toy`, whose address is in `MINE_URL`.
    pub(crate) async fn new(toy: Arc<Toy>, spec: &str, environment: &[(&str, &str)]) -> Self {
        let base = toy.serve().await;
        Self::at(toy, &base, spec, environment)
    }

    /// The same where the address is another one.
    pub(crate) fn at(toy: Arc<Toy>, base: &str, spec: &str, environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.yaml"), spec).unwrap();
        let variables = environment.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let environment = Environment::of(variables.chain([("MINE_URL", base.to_owned())]));
        let options = ConnectorOptions {
            environment: &environment,
            sources_dir: Some(dir.path().to_owned()),
            cache_dir: None,
            clock: ManualClock::at(noon()),
            retry_seed: 1,
        };
        let connectors = Connectors::load(&options);
        assert!(connectors.problems().is_empty(), "{}", connectors.problems()[0]);
        let engine = engine(&connectors);
        Self { toy, connectors, engine, _dir: dir }
    }

    /// The rows of a query.
    pub(crate) async fn sql(&self, sql: &str) -> Result<Vec<Map<String, Value>>, EngineError> {
        let result = self.engine.collect(sql, QueryOptions::default()).await?;
        Ok(json_rows(&result.schema, &result.batches).unwrap())
    }
}
