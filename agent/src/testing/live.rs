//! A scene over the simulator and the real connectors, by HTTP.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tripline_connectors::{ConnectorOptions, Connectors};
use tripline_engine::{Engine, EngineOptions, Environment, LocalTable, ManualClock, SourceEntry};
use tripline_simulator::{Content, LangfuseGeneration, Scenario, SimulatorHandle, SimulatorOptions, Truth};
use tripline_store::{Scope, sql_tables};

use super::{Home, Scene};

/// A simulator and an installation that reads from it.
pub(crate) struct Live {
    pub(crate) simulator: SimulatorHandle,
    pub(crate) scene: Scene,
    pub(crate) truth: Truth,
    pub(crate) environment: Environment,
}

impl Live {
    /// Starts with these scenarios; all clocks stand at `now`.
    pub(crate) async fn start(scenarios: &[Scenario], langfuse: LangfuseGeneration, now: DateTime<Utc>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let content = Content::Scenarios(scenarios.to_vec());
        let options = SimulatorOptions { content, langfuse, clock: Some(now), ..SimulatorOptions::default() };
        let simulator = tripline_simulator::start(options).await.unwrap();
        let truth = simulator.truth().unwrap().clone();
        let base = simulator.base_url();
        let environment = Environment::of([
            ("LANGFUSE_BASE_URL", format!("{base}/langfuse")),
            ("LANGFUSE_PUBLIC_KEY", "pk-lf-test".to_owned()),
            ("LANGFUSE_SECRET_KEY", "sk-lf-test".to_owned()),
            ("SENTRY_BASE_URL", format!("{base}/sentry")),
            ("SENTRY_TOKEN", "sntrys_test".to_owned()),
            ("SENTRY_ORG", truth.sentry_org.clone()),
            ("GITHUB_API_URL", format!("{base}/github")),
            ("GITHUB_TOKEN", "ghp_test".to_owned()),
            ("GITHUB_OWNER", truth.owner.clone()),
            ("GITHUB_REPO", truth.repo.clone()),
            ("SLACK_API_URL", format!("{base}/slack")),
            ("SLACK_TOKEN", "xoxb-test".to_owned()),
        ]);
        let clock = ManualClock::at(now);
        let home = Home::new();
        let connectors = Connectors::load(&ConnectorOptions {
            environment: &environment,
            sources_dir: None,
            cache_dir: Some(home.path().join("cache")),
            clock: clock.clone(),
            retry_seed: 1,
        });
        let entries: Vec<_> = connectors
            .sources()
            .iter()
            .map(|source| SourceEntry {
                name: source.name().to_owned(),
                description: source.description().to_owned(),
                status: format!("{:?}", source.status()),
                base_url: source.base_url(),
                tables: source.tables(),
            })
            .collect();
        let store = Scene::open(&home);
        let tables = sql_tables(&store, &Scope::default_project()).into_iter().map(|table| LocalTable {
            schema: table.schema.to_owned(),
            name: table.name.to_owned(),
            provider: table.provider,
        });
        let engine =
            Engine::new(Arc::clone(&clock) as _, EngineOptions::default(), &entries, tables.collect()).unwrap();
        Self { simulator, scene: Scene::over_store(&store, engine, clock, home), truth, environment }
    }

    /// Moves every clock.
    pub(crate) fn set_clock(&self, now: DateTime<Utc>) {
        self.simulator.set_clock(Some(now));
        self.scene.clock.set(now);
    }
}
