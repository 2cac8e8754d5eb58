//! Rows of vendor tables and an engine over them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::catalog::MemTable;
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tripline_connectors::ContentShape;
use tripline_engine::{
    Capabilities, Constraints, Engine, EngineOptions, LocalTable, ManualClock, PageStream, RemoteTable, RequestPlan,
    ScanError, ScanErrorKind, ScanRequest, ScanRun, ScanShape, SourceEntry,
};
use tripline_store::{Incident, IncidentFilter, OpenMode, OpenOptions, PageRequest, Scope, SqliteStore};

use crate::AgentContext;
use crate::detect::Detectors;
use crate::investigate::{Investigator, Repository};
use crate::jobs::Jobs;
use crate::narrate::TemplateNarrator;
use crate::queries::QueryLibrary;
use crate::respond::Responder;
use crate::settings::{Settings, SettingsHandle};
use crate::testing::Recorder;

/// An instant from its text.
pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// So many minutes.
pub(crate) fn minutes(n: i64) -> TimeDelta {
    TimeDelta::minutes(n)
}

/// Columns: `t`ext, `i`nteger, `f`loat, `b`oolean, timestamp `@`.
const TABLES: &[(&str, &str, &str)] = &[
    (
        "langfuse",
        "observations",
        "id:t trace_id:t parent_observation_id:t type:t name:t start_time:@ end_time:@ latency:f level:t \
         status_message:t model:t input:t output:t output_shape:t input_tokens:i output_tokens:i total_cost:f user_id:t prompt_name:t \
         prompt_version:i metadata:t",
    ),
    (
        "ingest",
        "events",
        "seq:i event_id:t run_id:t agent_id:t agent_version:t trace_id:t event_type:t step_index:i occurred_at:@ payload:t",
    ),
    (
        "langfuse",
        "scores",
        "id:t name:t value:f string_value:t data_type:t source:t timestamp:@ trace_id:t observation_id:t",
    ),
    (
        "sentry",
        "issues",
        "id:t short_id:t title:t culprit:t level:t status:t project:t count:i first_seen:@ last_seen:@ permalink:t metadata:t",
    ),
    (
        "sentry",
        "issue_events",
        "issue_id:t event_id:t title:t message:t culprit:t location:t timestamp:@ tags:t metadata:t",
    ),
    ("sentry", "releases", "version:t effective_at:@ date_created:@ date_released:@ last_commit__id:t project:t"),
    ("sentry", "deploys", "version:t id:t environment:t name:t date_started:@ date_finished:@"),
    (
        "github",
        "commits",
        "owner:t repo:t sha:t commit__message:t commit__author__name:t commit__author__date:@ \
         commit__committer__date:@ author__login:t html_url:t parents:t",
    ),
    ("github", "commit_files", "owner:t repo:t sha:t filename:t status:t additions:i deletions:i patch:t"),
    (
        "github",
        "pulls",
        "owner:t repo:t number:i state:t title:t user__login:t created_at:@ updated_at:@ merged_at:@ \
         merge_commit_sha:t head__sha:t additions:i deletions:i html_url:t",
    ),
    (
        "github",
        "deployments",
        "owner:t repo:t id:t sha:t ref:t environment:t production_environment:b description:t creator__login:t created_at:@",
    ),
    ("github", "releases", "owner:t repo:t id:t tag_name:t name:t target_commitish:t created_at:@ published_at:@"),
    (
        "github",
        "workflow_runs",
        "owner:t repo:t id:t name:t display_title:t event:t status:t conclusion:t head_branch:t head_sha:t created_at:@ run_started_at:@",
    ),
    // What an installation knows itself, for queries that join it; the store of a scene is another matter.
    (
        "agent",
        "incidents",
        "id:t type:t severity:t entity:t status:t opened_at:@ resolved_at:@ culprit_sha:t cost_usd:f",
    ),
    (
        "agent",
        "sampled_traces",
        "trace_id:t feature:t started_at:@ score:i reasons:t generation_count:i cost_usd:f sampled_at:@",
    ),
    ("agent", "approvals", "id:t status:t created_at:@ expires_at:@"),
    ("agent", "job_runs", "job:t window_end:@ status:t"),
    (
        "pagerduty",
        "oncalls",
        "user__id:t user__summary:t schedule__summary:t escalation_policy__summary:t escalation_level:i start:@ end:@",
    ),
    (
        "pagerduty",
        "incidents",
        "id:t incident_number:i title:t status:t urgency:t service__summary:t created_at:@ resolved_at:@ html_url:t",
    ),
    (
        "datadog",
        "events",
        "id:t timestamp:@ title:t status:t service:t monitor_id:i monitor__name:t source_type_name:t",
    ),
    (
        "linear",
        "issues",
        "identifier:t title:t state__name:t priority_label:t assignee__name:t team__key:t created_at:@ updated_at:@ url:t",
    ),
    ("slack", "channels", "id:t name:t is_private:b is_archived:b is_member:b"),
    (
        "slack",
        "messages",
        "channel:t channel_name:t ts:@ ts_raw:t user:t bot_id:t username:t subtype:t text:t thread_ts:@ reply_count:i",
    ),
];

/// Everything the vendors hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) rows: BTreeMap<&'static str, Vec<Map<String, Value>>>,
    counter: u64,
}

impl World {
    pub(crate) fn push(&mut self, table: &'static str, row: Value) {
        assert!(TABLES.iter().any(|(schema, name, _)| format!("{schema}.{name}") == table), "{table}");
        let Value::Object(row) = row else { panic!("a row is an object") };
        self.rows.entry(table).or_default().push(row);
    }

    pub(crate) fn next_id(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}-{:06}", self.counter)
    }

    /// A model call; returns its trace.
    pub(crate) fn generation(&mut self, feature: &str, start: DateTime<Utc>, cost: f64, output: &Value) -> String {
        let trace = self.next_id("trace");
        self.generation_in(&trace, feature, start, cost, output);
        trace
    }

    /// A model call within a trace; returns its id.
    pub(crate) fn generation_in(
        &mut self,
        trace: &str,
        feature: &str,
        start: DateTime<Utc>,
        cost: f64,
        output: &Value,
    ) -> String {
        let id = self.next_id("obs");
        self.push(
            "langfuse.observations",
            json!({"id": id, "trace_id": trace, "type": "GENERATION", "name": feature, "start_time": start,
                "end_time": start + TimeDelta::seconds(4), "level": "DEFAULT", "model": "model-a",
                "output": text_of(output), "total_cost": cost}),
        );
        id
    }

    /// A tool call; returns its id.
    pub(crate) fn tool(&mut self, trace: &str, tool: &str, start: DateTime<Utc>, output: &Value) -> String {
        let id = self.next_id("obs");
        self.push(
            "langfuse.observations",
            json!({"id": id, "trace_id": trace, "type": "SPAN", "name": tool, "start_time": start,
                "end_time": start + TimeDelta::seconds(1), "level": "DEFAULT", "output": text_of(output)}),
        );
        id
    }

    pub(crate) fn score(&mut self, trace: &str, name: &str, value: f64, at: DateTime<Utc>) {
        let id = self.next_id("score");
        self.push(
            "langfuse.scores",
            json!({"id": id, "trace_id": trace, "name": name, "value": value, "data_type": "NUMERIC", "timestamp": at}),
        );
    }

    /// A Sentry issue with events at these times; returns its id.
    pub(crate) fn issue(&mut self, title: &str, culprit: &str, events: &[DateTime<Utc>], tags: &Value) -> String {
        let id = self.next_id("issue");
        self.push(
            "sentry.issues",
            json!({"id": id, "title": title, "culprit": culprit, "level": "error", "project": "web", "count": events.len(),
                "first_seen": events.iter().min(), "last_seen": events.iter().max(), "status": "unresolved"}),
        );
        for event in events {
            let event_id = self.next_id("event");
            self.push(
                "sentry.issue_events",
                json!({"issue_id": id, "event_id": event_id, "title": title, "culprit": culprit,
                    "timestamp": event, "tags": tags.to_string()}),
            );
        }
        id
    }

    /// A commit that changed these files.
    pub(crate) fn commit(&mut self, sha: &str, message: &str, at: DateTime<Utc>, files: &[&str]) {
        self.push(
            "github.commits",
            json!({"owner": "acme", "repo": "shop", "sha": sha, "commit__message": message, "commit__author__date": at,
                "commit__committer__date": at, "author__login": "dev", "commit__author__name": "Dev"}),
        );
        for file in files {
            self.push(
                "github.commit_files",
                json!({"owner": "acme", "repo": "shop", "sha": sha, "filename": file, "status": "modified",
                    "additions": 12, "deletions": 3}),
            );
        }
    }

    pub(crate) fn deployment(&mut self, sha: &str, at: DateTime<Utc>) {
        let id = self.next_id("deployment");
        self.push(
            "github.deployments",
            json!({"owner": "acme", "repo": "shop", "id": id, "sha": sha, "ref": "main", "environment": "production",
                "created_at": at}),
        );
    }

    pub(crate) fn message(&mut self, channel: &str, text: &str, at: DateTime<Utc>) {
        let id = format!("C-{channel}");
        let known = self.rows.get("slack.channels").is_some_and(|rows| rows.iter().any(|r| r["id"] == id.as_str()));
        if !known {
            self.push("slack.channels", json!({"id": id, "name": channel, "is_member": true, "is_archived": false}));
        }
        self.push(
            "slack.messages",
            json!({"channel": id, "channel_name": channel, "ts": at, "ts_raw": at.timestamp().to_string(),
                "user": "U1", "text": text}),
        );
    }

    /// The tables in memory. Tables whose source is in `without` are left out.
    fn tables(&self, without: &[&str]) -> Vec<LocalTable> {
        TABLES
            .iter()
            .filter(|(schema, ..)| !without.contains(schema))
            .map(|(schema, name, columns)| {
                let arrow = schema_of(columns);
                let key = format!("{schema}.{name}");
                let rows = self.rows.get(key.as_str()).map_or(&[][..], Vec::as_slice);
                let rows: Vec<Map<String, Value>> = rows.iter().map(|row| with_shape(&arrow, row)).collect();
                let batches = batches(&arrow, &rows);
                let provider = MemTable::try_new(arrow, vec![batches]).unwrap();
                LocalTable { schema: (*schema).to_owned(), name: (*name).to_owned(), provider: Arc::new(provider) }
            })
            .collect()
    }

    /// An installation over this world whose clock stands at `now`.
    pub(crate) fn scene(&self, now: DateTime<Utc>) -> Scene {
        self.scene_in(Home::new(), now)
    }

    /// An installation over this world with a given home.
    pub(crate) fn scene_in(&self, home: Home, now: DateTime<Utc>) -> Scene {
        let clock = ManualClock::at(now);
        Scene::new(self.engine(&clock, &[]), clock, home)
    }

    /// An engine over this world in which some sources are down.
    pub(crate) fn engine(&self, clock: &Arc<ManualClock>, down: &[&str]) -> Engine {
        let options = EngineOptions { local_partitions: 1, ..EngineOptions::default() };
        let mut sources = Vec::new();
        for source in down {
            let tables = TABLES.iter().filter(|(schema, ..)| schema == source);
            let tables = tables
                .map(|(schema, name, columns)| Arc::new(Down::new(schema, name, columns)) as Arc<dyn RemoteTable>);
            sources.push(SourceEntry {
                name: (*source).to_owned(),
                description: String::new(),
                status: "configured".to_owned(),
                base_url: String::new(),
                tables: tables.collect(),
            });
        }
        Engine::new(clock.clone(), options, &sources, self.tables(down)).unwrap()
    }
}

/// A table whose source does not answer.
#[derive(Debug)]
struct Down {
    source: String,
    name: String,
    schema: Arc<Schema>,
    capabilities: Capabilities,
}

impl Down {
    fn new(source: &str, name: &str, columns: &str) -> Self {
        let (source, name) = (source.to_owned(), name.to_owned());
        Self { source, name, schema: schema_of(columns), capabilities: Capabilities::default() }
    }
}

impl RemoteTable for Down {
    fn source(&self) -> &str {
        &self.source
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.schema)
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn shape(&self, _: &Constraints) -> ScanShape {
        ScanShape::default()
    }
    fn describe(&self, _: &ScanRequest) -> RequestPlan {
        RequestPlan { request: String::new(), requests: String::new(), pushed: Vec::new() }
    }
    fn scan(self: Arc<Self>, _: ScanRequest, run: ScanRun) -> PageStream {
        run.stats.add_request();
        let error = ScanError::new(&self.source, &self.name, ScanErrorKind::Unavailable, "told to be down").status(503);
        futures::stream::once(async move { Err(error) }).boxed()
    }
}

fn text_of(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => Value::from(text.clone()),
        other => Value::from(other.to_string()),
    }
}

/// A row as a source tells it: with the shape of its output, where the table has one.
fn with_shape(schema: &Schema, row: &Map<String, Value>) -> Map<String, Value> {
    let mut row = row.clone();
    if let (Ok(_), Some(Value::String(output))) = (schema.index_of("output_shape"), row.get("output")) {
        let shape = ContentShape::of(output).to_json();
        row.insert("output_shape".to_owned(), Value::from(shape));
    }
    row
}

fn schema_of(columns: &str) -> Arc<Schema> {
    let fields: Vec<Field> = columns
        .split_whitespace()
        .map(|column| {
            let (name, kind) = column.split_once(':').unwrap();
            let kind = match kind {
                "t" => DataType::Utf8,
                "i" => DataType::Int64,
                "f" => DataType::Float64,
                "b" => DataType::Boolean,
                "@" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                other => panic!("{other}"),
            };
            Field::new(name, kind, true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

fn batches(schema: &Arc<Schema>, rows: &[Map<String, Value>]) -> Vec<RecordBatch> {
    let mut decoder =
        arrow::json::ReaderBuilder::new(Arc::clone(schema)).with_batch_size(8192).build_decoder().unwrap();
    let mut batches = Vec::new();
    for rows in rows.chunks(8192) {
        decoder.serialize(rows).unwrap();
        batches.extend(decoder.flush().unwrap());
    }
    batches
}

/// The folder of an installation, removed when dropped.
#[derive(Debug)]
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file of this home.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// An installation: engine, store, clock, settings, queries.
pub(crate) struct Scene {
    pub(crate) ctx: AgentContext,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) detectors: Detectors,
    pub(crate) governor: Arc<Recorder>,
    pub(crate) home: Home,
}

impl Scene {
    /// The store of an installation.
    pub(crate) fn open(home: &Home) -> SqliteStore {
        let options = OpenOptions { mode: OpenMode::Serve, id_seed: Some(1) };
        SqliteStore::open(home.path().join("state.db"), options).unwrap()
    }

    pub(crate) fn new(engine: Engine, clock: Arc<ManualClock>, home: Home) -> Self {
        let store = Self::open(&home);
        Self::over_store(&store, engine, clock, home)
    }

    pub(crate) fn over_store(store: &SqliteStore, engine: Engine, clock: Arc<ManualClock>, home: Home) -> Self {
        let store = store.store();
        let ctx = AgentContext {
            engine: Arc::new(engine),
            store,
            scope: Scope::default_project(),
            clock: clock.clone(),
            settings: SettingsHandle::new(Settings::default()),
        };
        let queries = QueryLibrary::open(Some(home.path())).unwrap();
        let detectors = Detectors::new(ctx.clone(), queries);
        Self { ctx, clock, detectors, governor: Arc::default(), home }
    }

    /// What responds to this installation's judgements.
    pub(crate) fn responder(&self, repository: Option<Repository>) -> Responder {
        let investigator = Investigator::new(self.ctx.clone(), self.detectors.queries().clone(), repository);
        Responder::new(self.ctx.clone(), investigator, Arc::new(TemplateNarrator), self.governor.clone())
    }

    /// The jobs of this installation.
    pub(crate) fn jobs(&self, repository: Option<Repository>) -> Jobs {
        Jobs::new(self.detectors.clone(), self.responder(repository), "test")
    }

    /// The same installation over other vendors' data: the store stays.
    pub(crate) fn over(&self, engine: Engine) -> Self {
        let ctx = AgentContext { engine: Arc::new(engine), ..self.ctx.clone() };
        let detectors = Detectors::new(ctx.clone(), self.detectors.queries().clone());
        let (clock, governor) = (Arc::clone(&self.clock), Arc::clone(&self.governor));
        Self { ctx, clock, detectors, governor, home: Home::new() }
    }

    /// All incidents, newest first.
    pub(crate) async fn incidents(&self) -> Vec<Incident> {
        let page = PageRequest::first(1000);
        self.ctx.store.incidents.list(&self.ctx.scope, &IncidentFilter::default(), &page).await.unwrap().items
    }
}
