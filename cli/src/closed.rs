//! Tables of the installation's sources as another project sees them: there, and closed.
//!
//! Must hold: nothing is read from a vendor, nothing is said about addresses or accounts; what is asked gets an error that says
//! why, not an empty answer.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::stream;
use tripline_engine::{
    Capabilities, Constraints, PageStream, RemoteTable, RequestPlan, ScanError, ScanErrorKind, ScanRequest, ScanRun,
    ScanShape,
};

/// What the catalog says of such a source.
pub(crate) const STATUS: &str = "belongs to the installation, not to a project";

/// A table that is not read.
#[derive(Debug)]
pub(crate) struct Closed(pub(crate) Arc<dyn RemoteTable>);

impl RemoteTable for Closed {
    fn source(&self) -> &str {
        self.0.source()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn shape(&self, constraints: &Constraints) -> ScanShape {
        self.0.shape(constraints)
    }

    fn describe(&self, _: &ScanRequest) -> RequestPlan {
        RequestPlan { request: STATUS.to_owned(), requests: "0".to_owned(), pushed: Vec::new() }
    }

    fn scan(self: Arc<Self>, _: ScanRequest, _: ScanRun) -> PageStream {
        let why = "it is read with the installation's credentials, which see what is not this project's";
        let error = ScanError::new(self.source(), self.name(), ScanErrorKind::Forbidden, why).hint(
            "ask with a key of the installation's own project; this project's own rows are in agent.* and ingest.*",
        );
        Box::pin(stream::once(async { Err(error) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Home, Sources, engine};
    use crate::copies::Copies;
    use tripline_agent::settings::Settings;
    use tripline_engine::{Environment, QueryOptions, SharedClock, SystemClock, json_rows};
    use tripline_store::{OpenMode, ProjectId, Scope, SqliteStore};

    #[tokio::test]
    async fn a_project_sees_that_a_source_is_there_and_reads_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        // Nobody listens there: whoever asks a vendor learns of it by another error.
        let environment = Environment::of([
            ("LANGFUSE_BASE_URL", "http://127.0.0.1:1".to_owned()),
            ("LANGFUSE_PUBLIC_KEY", "pk".to_owned()),
            ("LANGFUSE_SECRET_KEY", "sk".to_owned()),
        ]);
        let home = Home { environment, path: folder.path().to_owned() };
        let clock: SharedClock = Arc::new(SystemClock);
        let connectors = home.connectors(&clock);
        let copies = Copies::open(&home, &connectors, &Settings::default()).unwrap();
        let store = SqliteStore::open(folder.path().join("tripline.db"), OpenMode::Scratch).unwrap();
        let scope = Scope::project(ProjectId::new("acme"));
        let of_project = engine(&connectors, &copies, &store, &scope, Sources::Closed, &clock).unwrap();
        let ask = |sql: &'static str| of_project.collect(sql, QueryOptions::default());
        for sql in [
            "SELECT id, input FROM langfuse.traces LIMIT 1",
            "SELECT count(*) AS n FROM sentry.issues",
            "SELECT t.id FROM langfuse.traces t LEFT JOIN ingest.runs r ON r.trace_id = t.id",
        ] {
            for partial in [false, true] {
                let refused = of_project.collect(sql, QueryOptions { partial, ..QueryOptions::default() }).await;
                let refused = refused.map(|_| ()).unwrap_err();
                let kind = refused.scan_error().map(|error| error.kind);
                assert_eq!(kind, Some(ScanErrorKind::Forbidden), "{sql}: {refused}");
            }
        }
        assert!(ask("SELECT * FROM tripline.copies").await.is_err());
        let found = ask("SELECT name, status, base_url FROM tripline.sources WHERE name = 'langfuse'").await.unwrap();
        let rows = json_rows(&found.schema, &found.batches).unwrap();
        let row = serde_json::to_value(&rows[0]).unwrap();
        assert_eq!((row["status"].as_str(), row["base_url"].as_str()), (Some(STATUS), Some("")));
        assert!(ask("SELECT count(*) AS n FROM ingest.runs").await.is_ok());
        let own = Scope::default_project();
        let of_installation = engine(&connectors, &copies, &store, &own, Sources::Open, &clock).unwrap();
        let failed = of_installation.collect("SELECT id FROM langfuse.traces LIMIT 1", QueryOptions::default()).await;
        let kind = failed.map(|_| ()).unwrap_err().scan_error().map(|error| error.kind);
        assert_eq!(kind, Some(ScanErrorKind::Connection), "the installation itself asks the vendor");
    }
}
