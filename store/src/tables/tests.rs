//! Promises of the SQL tables: what is pushed down, what is never shown, and that the pages tell the truth.

mod pages;

use super::{sql_tables, table_specs};
use crate::conformance::fixtures::*;
use crate::conformance::sessions;
use crate::ingest::WireEvent;
use crate::model::*;
use crate::sessions::AnalysisMode;
use crate::sqlite::tests::Home;
use crate::sqlite::{OpenMode, SqliteStore};
use chrono::TimeDelta;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::MemorySchemaProvider;
use datafusion::catalog::SchemaProvider;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

/// A session in which the tables of a project are registered.
fn session(store: &SqliteStore, scope: &Scope) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(2).set_str("datafusion.execution.time_zone", "UTC");
    let context = SessionContext::new_with_config(config);
    let catalog = context.catalog("datafusion").unwrap();
    let mut schemas: HashMap<&str, Arc<MemorySchemaProvider>> = HashMap::new();
    for table in sql_tables(store, scope) {
        let schema = schemas.entry(table.schema).or_default();
        schema.register_table(table.name.to_owned(), table.provider).unwrap();
    }
    for (name, schema) in schemas {
        catalog.register_schema(name, schema).unwrap();
    }
    context
}

async fn rows(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    frame.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

async fn shown(context: &SessionContext, sql: &str) -> String {
    pretty_format_batches(&rows(context, sql).await).unwrap().to_string()
}

async fn texts(context: &SessionContext, sql: &str) -> Vec<String> {
    let batches = rows(context, sql).await;
    let columns = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter());
    columns.map(|text| text.unwrap().to_owned()).collect()
}

/// The physical plan of a query.
async fn plan(context: &SessionContext, sql: &str) -> String {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string()
}

/// A store in which every table has rows.
async fn filled(home: &Home) -> SqliteStore {
    let sqlite = home.serve();
    let store = sqlite.store();
    let scope = scope();
    let first = incident(&store).await;
    occur(&store, finding("search", window(0))).await;
    occur(&store, NewAnomaly { cost_usd: Some(40.0), severity: Severity::Critical, ..finding("search", window(1)) })
        .await;
    let unknown = Evidence {
        name: "errors".to_owned(),
        sources: vec!["sentry".to_owned()],
        sql: "SELECT 1".to_owned(),
        params: json!({}),
        status: EvidenceStatus::Unknown,
        error: Some("503".to_owned()),
        rows: json!([]),
        row_count: 0,
        truncated: true,
        fetched_at: minute(16),
    };
    store.evidence.replace(&scope, &first.id, vec![unknown]).await.unwrap();
    let approval = store.approvals.request(&scope, new_approval(&first), minute(16)).await.unwrap().approval;
    store.approvals.claim(&scope, claim_of(&approval, Decision::Approve, "ann"), minute(20)).await.unwrap();
    let kill = NewKill {
        id: "0af76519-16cd-43dd-8448-eb211c80319c".to_owned(),
        incident_id: Some(first.id.clone()),
        action_id: None,
        requested_by: "ann".to_owned(),
    };
    store.kills.request(&scope, kill, minute(21)).await.unwrap();
    let session = sessions::begin(&store, "key").await.session;
    let errors = vec![sessions::sent(&session, start(), json!({})), sessions::sent(&session, minute(1), json!({}))];
    sessions::append(&store, errors).await;
    sessions::keep(&store, &sessions::snapshot(&store, &session.id).await, minute(2)).await;
    let processed = sessions::snapshot(&store, &session.id).await;
    sessions::evaluate(&store, &processed, AnalysisMode::Deep, &["dense"]).await;
    store.jobs.begin(&scope, new_run("cost_spike", "h", Some(window(1)), minute(30)), minute(30)).await.unwrap();
    let hour = CostHour {
        hour_start: "2025-11-20T01:00:00Z".parse().unwrap(),
        complete: true,
        features: vec![FeatureCost {
            feature: "search".to_owned(),
            cost_usd: 0.25,
            generations: 3,
            peak_usd: Some(0.2),
            peak_generations: Some(2),
        }],
    };
    store.baselines.upsert_many(&scope, vec![hour], minute(30)).await.unwrap();
    let snapshot = NewSchemaSnapshot {
        feature: "search".to_owned(),
        schema: json!({"type": "object"}),
        sample_count: 9,
        window: window(0),
    };
    store.schemas.put(&scope, snapshot, minute(30)).await.unwrap();
    accept(&store, (0..5).map(|step| event(Some(&format!("e{step}")), "run", step)).collect()).await;
    let step =
        |id: &str, kind: &str, step: i64| WireEvent { event_type: kind.to_owned(), ..event(Some(id), "called", step) };
    let calls =
        ["llm.called", "llm.responded", "tool.called", "tool.responded", "retrieval.called", "retrieval.responded"];
    accept(&store, calls.iter().zip(1..).map(|(kind, n)| step(kind, kind, (n + 1) / 2)).collect()).await;
    let run = crate::conformance::runs::judged("called", RunEnd::Completed, &["TOOL_LOOP"]);
    store.runs.record_judged(&scope, vec![run], 5, minute(30)).await.unwrap();
    let (signals, _) = store.runs.signals(&scope, &SignalFilter::default(), 1, 0).await.unwrap();
    store.runs.give_feedback(&scope, signals[0].id, true, "ann", minute(31)).await.unwrap();
    let fix = NewFix {
        signal_id: signals[0].id,
        applied_via: AppliedVia::Clipboard,
        prompt_name: None,
        prompt_version: None,
        fix_content: "Do not loop.".to_owned(),
        applied_by: "ann".to_owned(),
    };
    store.reports.record_fix(&scope, fix, minute(32)).await.unwrap();
    crate::conformance::told::tell(&store, &first.id).await;
    crate::conformance::modes::fill(&store).await;
    sqlite
}

#[tokio::test]
async fn every_table_shows_its_rows_with_its_declared_types() {
    let home = Home::new();
    let sqlite = filled(&home).await;
    let context = session(&sqlite, &scope());
    for table in sql_tables(&sqlite, &scope()) {
        let batches = rows(&context, &format!("SELECT * FROM {}.{}", table.schema, table.name)).await;
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert!(count > 0, "{} is empty", table.name);
        for batch in &batches {
            assert_eq!(batch.schema().fields(), table.provider.schema().fields(), "{}", table.name);
            for (column, field) in batch.columns().iter().zip(batch.schema().fields()) {
                assert!(field.is_nullable() || column.null_count() == 0, "{}.{}", table.name, field.name());
            }
        }
    }
}

#[tokio::test]
async fn values_read_back_as_they_were_stored() {
    let home = Home::new();
    let context = session(&filled(&home).await, &scope());
    let sql = "SELECT type, severity, opened_at, occurrences, cost_usd, resolved_at FROM agent.incidents
               WHERE entity = 'search'";
    insta_eq(
        &shown(&context, sql).await,
        "
+------------+----------+----------------------+-------------+----------+-------------+
| type       | severity | opened_at            | occurrences | cost_usd | resolved_at |
+------------+----------+----------------------+-------------+----------+-------------+
| cost_spike | critical | 2025-11-20T01:08:20Z | 2           | 52.5     |             |
+------------+----------+----------------------+-------------+----------+-------------+",
    );
    let sql = "SELECT truncated, complete FROM agent.evidence CROSS JOIN agent.cost_hours";
    insta_eq(
        &shown(&context, sql).await,
        "
+-----------+----------+
| truncated | complete |
+-----------+----------+
| true      | true     |
+-----------+----------+",
    );
}

fn insta_eq(found: &str, expected: &str) {
    assert_eq!(found.trim(), expected.trim(), "\n{found}");
}

#[tokio::test]
async fn filters_order_and_limit_reach_sqlite_as_bound_values() {
    let home = Home::new();
    let context = session(&filled(&home).await, &scope());
    for (sql, expected) in [
        (
            "SELECT id FROM agent.incidents WHERE status = 'open' AND opened_at >= '2025-11-01T00:00:00Z' LIMIT 5",
            "SELECT id FROM incidents WHERE project_id = ? AND (status = ?) AND (opened_at >= ?) LIMIT ?",
        ),
        (
            "SELECT id FROM agent.incidents ORDER BY opened_at DESC LIMIT 3",
            "SELECT id, opened_at FROM incidents WHERE project_id = ? ORDER BY opened_at DESC NULLS FIRST LIMIT ?",
        ),
        (
            "SELECT seq FROM agent.audit_log WHERE seq BETWEEN 2 AND 9 AND actor <> 'ann' ORDER BY seq",
            "SELECT seq FROM audit_log WHERE project_id = ? AND (seq >= ?) AND (seq <= ?) AND (actor <> ?) \
             ORDER BY seq ASC NULLS LAST",
        ),
        (
            "SELECT type FROM agent.actions WHERE status IN ('done', 'failed', 'unknown', 'requested')",
            "SELECT type FROM actions WHERE project_id = ? AND (status IN (SELECT value FROM json_each(?)))",
        ),
        (
            "SELECT type FROM agent.actions WHERE status IN ('done', 'failed')",
            "SELECT type FROM actions WHERE project_id = ? AND ((status = ? OR status = ?))",
        ),
        (
            "SELECT feature FROM agent.cost_baselines WHERE NOT complete AND feature IS NOT NULL",
            "SELECT feature FROM cost_baselines WHERE project_id = ? AND (complete = ?)",
        ),
        ("SELECT count(*) FROM agent.audit_log", "SELECT 1 FROM audit_log WHERE project_id = ?"),
    ] {
        let plan = plan(&context, sql).await;
        assert!(plan.contains(&format!("sql=[{expected}]")), "{sql}\n{plan}");
        assert!(!plan.contains("FilterExec") && !plan.contains("SortExec"), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn a_filter_that_sqlite_would_decide_otherwise_stays_with_the_engine() {
    let home = Home::new();
    let context = session(&filled(&home).await, &scope());
    let sql = "SELECT entity FROM agent.incidents WHERE cost_usd > 20 AND entity LIKE '%EARCH' LIMIT 1";
    let plan = plan(&context, sql).await;
    assert!(plan.contains("FilterExec") && plan.contains("WHERE project_id = ?]"), "{plan}");
    assert!(texts(&context, sql).await.is_empty(), "LIKE is case-sensitive, unlike SQLite's");
    let sql = "SELECT entity FROM agent.incidents WHERE cost_usd > 20 ORDER BY cost_usd DESC";
    assert_eq!(texts(&context, sql).await, ["search"]);
}

#[tokio::test]
async fn sorting_what_a_limit_cut_off_is_not_cutting_off_what_was_sorted() {
    let home = Home::new();
    let sqlite = home.serve();
    for name in ["e0", "e1", "e2", "e3", "e4"] {
        sqlite.store().audit.append(&scope(), entry(name), start()).await.unwrap();
    }
    let context = session(&sqlite, &scope());
    let sql = "SELECT event FROM (SELECT * FROM agent.audit_log LIMIT 3) ORDER BY seq DESC";
    assert_eq!(texts(&context, sql).await, ["e2", "e1", "e0"]);
    let sql = "SELECT event FROM agent.audit_log ORDER BY seq DESC LIMIT 2 OFFSET 1";
    assert_eq!(texts(&context, sql).await, ["e3", "e2"]);
}

#[tokio::test]
async fn what_is_pushed_down_gives_the_same_rows_as_what_is_not() {
    let home = Home::new();
    let sqlite = home.serve();
    let store = sqlite.store();
    // Text that sorts differently by case, length, and beyond ASCII; missing values; equal times.
    let words = ["", "a", "B", "b", "ab", "É", "é", "日本", "Z", "z\u{10FFFF}", "'", "%", "\u{0}x"];
    for (index, word) in words.iter().enumerate() {
        let action = NewAction {
            target: (index % 3 > 0).then(|| (*word).to_owned()),
            max_attempts: index as u32 + 1,
            ..new_action(&format!("k{index}"))
        };
        store.actions.enqueue(&scope(), action, minute(index as i64 / 4)).await.unwrap();
    }
    let context = session(&sqlite, &scope());
    let copy = context.sql("SELECT * FROM agent.actions").await.unwrap().cache().await.unwrap();
    context.register_table("copy", copy.into_view()).unwrap();
    let at = "2025-11-20T00:54:20Z";
    let mut conditions = vec![
        "target IS NULL".to_owned(),
        "target IS NOT NULL AND max_attempts <> 4".to_owned(),
        "target IN ('a', 'B', 'é', '''', '%', 'none')".to_owned(),
        "target NOT IN ('a', 'B', 'é', 'none', 'z')".to_owned(),
        "target = 'a' OR max_attempts >= 9 OR created_at < '2025-11-20T00:54:00Z'".to_owned(),
        "NOT (target = 'b')".to_owned(),
        "max_attempts IN (1, 2, 3, 5, 8, 13, 21)".to_owned(),
        "'b' <= target".to_owned(),
    ];
    for operator in ["=", "<>", "<", "<=", ">", ">="] {
        for word in ["a", "B", "é", "日", "", "z"] {
            conditions.push(format!("target {operator} '{word}'"));
        }
        conditions.push(format!("created_at {operator} '{at}'"));
        conditions.push(format!("max_attempts {operator} 6"));
    }
    let tails = [
        "ORDER BY max_attempts",
        "ORDER BY target, max_attempts LIMIT 4",
        "ORDER BY target DESC, max_attempts DESC LIMIT 3",
        "ORDER BY target DESC NULLS LAST, created_at, max_attempts",
    ];
    for (condition, tail) in conditions.iter().flat_map(|condition| tails.map(|tail| (condition, tail))) {
        let query = |table| format!("SELECT idempotency_key, target FROM {table} WHERE {condition} {tail}");
        let pushed = shown(&context, &query("agent.actions")).await;
        let kept = shown(&context, &query("copy")).await;
        assert_eq!(pushed, kept, "{condition} {tail}");
    }
}

#[tokio::test]
async fn an_index_serves_what_is_asked_most() {
    let home = Home::new();
    filled(&home).await;
    let raw = home.raw();
    let explain = |sql: &str| -> String {
        let mut statement = raw.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = rusqlite::params_from_iter(vec!["x"; statement.parameter_count()]);
        let lines = statement.query_map(parameters, |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    for (sql, index) in [
        ("SELECT id FROM incidents WHERE project_id = ? AND (id = ?)", "sqlite_autoindex_incidents_1"),
        (
            "SELECT id FROM incidents WHERE project_id = ? ORDER BY opened_at DESC NULLS FIRST LIMIT ?",
            "incidents_opened_at",
        ),
        ("SELECT id FROM incidents WHERE project_id = ? AND (opened_at >= ?)", "incidents_opened_at"),
        (
            "SELECT id FROM actions WHERE project_id = ? AND (id IN (SELECT value FROM json_each(?)))",
            "(project_id=? AND id=?)",
        ),
        (
            "SELECT seq FROM audit_log WHERE project_id = ? AND (seq > ?) ORDER BY seq ASC NULLS LAST",
            "(project_id=? AND seq>?)",
        ),
    ] {
        let found = explain(sql);
        assert!(found.contains(index) && !found.contains("TEMP B-TREE"), "{sql}: {found}");
    }
}

#[tokio::test]
async fn no_row_of_another_project_is_ever_visible() {
    let home = Home::new();
    let sqlite = filled(&home).await;
    let other = other_scope(&sqlite.store()).await;
    let context = session(&sqlite, &other);
    for table in sql_tables(&sqlite, &other) {
        let all = rows(&context, &format!("SELECT count(*) FROM {}.{}", table.schema, table.name)).await;
        let count = all[0].column(0).as_primitive::<datafusion::arrow::datatypes::Int64Type>().value(0);
        // That the project was made is in its own log, and there is nothing else.
        assert_eq!(count, i64::from(table.name == "audit_log"), "{}", table.name);
    }
    for condition in ["1 = 1 OR status = 'open'", "status = 'open' OR status <> 'open'", "entity = 'x'' OR 1=1 --'"] {
        let sql = format!("SELECT id FROM agent.incidents WHERE {condition}");
        assert!(texts(&context, &sql).await.is_empty(), "{condition}");
    }
}

#[tokio::test]
async fn nothing_secret_is_in_any_table() {
    let home = Home::new();
    let sqlite = filled(&home).await;
    let store = sqlite.store();
    let address = "https://hooks.slack.com/actions/T0/1/secret";
    let respond = NewAction {
        action_type: "slack_respond".to_owned(),
        payload: json!({"response_url": address}).into(),
        ..new_action("respond")
    };
    enqueue(&store, respond).await;
    let new = NewApiKey {
        name: "ci".to_owned(),
        person: "Ann".to_owned(),
        scopes: [KeyScope::Read].into_iter().collect(),
        project: None,
    };
    let created = store.keys.create(new, start()).await.unwrap();
    let secret = secrecy::ExposeSecret::expose_secret(&created.secret).to_owned();
    let hash = crate::canonical::sha256_hex(&secret);
    let context = session(&sqlite, &scope());
    for spec in table_specs() {
        let all = shown(&context, &format!("SELECT * FROM {}.{}", spec.schema, spec.name)).await;
        for hidden in [address, secret.as_str(), hash.as_str()] {
            assert!(!all.contains(hidden), "{}", spec.name);
        }
    }
    for table in ["agent.api_keys", "agent.accepted_signatures", "agent.audit_head", "agent.sqlite_schema"] {
        assert!(context.sql(&format!("SELECT * FROM {table}")).await.is_err());
    }
}

#[tokio::test]
async fn a_reader_beside_the_server_sees_each_commit() {
    let home = Home::new();
    let server = home.serve().store();
    let context = session(&home.open(OpenMode::ReadOnly), &scope());
    for index in 0..3 {
        occur(&server, finding(&format!("f{index}"), window(index))).await;
        assert_eq!(texts(&context, "SELECT id FROM agent.incidents").await.len(), index as usize + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_stream_in_batches_and_a_dropped_query_lets_go() {
    let home = Home::new();
    let sqlite = home.serve();
    let store = sqlite.store();
    let hour = |hour| CostHour {
        hour_start: start() - TimeDelta::seconds(start().timestamp() % 3_600) + TimeDelta::hours(hour),
        complete: true,
        features: (0..3_000)
            .map(|n| FeatureCost {
                feature: format!("{hour} {n}"),
                cost_usd: 1.0,
                generations: n,
                peak_usd: None,
                peak_generations: None,
            })
            .collect(),
    };
    store.baselines.upsert_many(&scope(), (0..10).map(hour).collect(), minute(600)).await.unwrap();
    let context = session(&sqlite, &scope());
    let sql = "SELECT feature, generations FROM agent.cost_baselines";
    let mut stream = context.sql(sql).await.unwrap().execute_stream().await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first.num_rows(), 8_192);
    // While the query is half read, writing goes on.
    store.audit.append(&scope(), entry("meanwhile"), start()).await.unwrap();
    drop(stream);
    // The connection comes back to the pool, outside any transaction, and fit for the next.
    let idle_again = async {
        while sqlite.readers().idle() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), idle_again).await.unwrap();
    assert_eq!(texts(&context, &format!("{sql} WHERE feature = '9 2999'")).await, ["9 2999"]);

    let all = rows(&context, sql).await;
    assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 30_000);
    assert!(all.iter().all(|batch| batch.num_rows() <= 8_192));
}

#[tokio::test]
async fn large_rows_make_small_batches() {
    let home = Home::new();
    let sqlite = home.serve();
    let store = sqlite.store();
    let large = "x".repeat(1 << 20);
    for _ in 0..12 {
        let detail = json!({ "text": large }).into();
        store.audit.append(&scope(), NewAuditEntry { detail, ..entry("large") }, start()).await.unwrap();
    }
    let context = session(&sqlite, &scope());
    let frame = context.sql("SELECT detail FROM agent.audit_log").await.unwrap();
    let sizes: Vec<_> = frame.execute_stream().await.unwrap().map(|batch| batch.unwrap().num_rows()).collect().await;
    assert_eq!(sizes, [4, 4, 4]);
}

#[tokio::test]
async fn tables_refuse_every_write() {
    let home = Home::new();
    let context = session(&filled(&home).await, &scope());
    for sql in [
        "INSERT INTO agent.kills VALUES ('a','b',NULL,NULL,'c',now(),'requested',NULL)",
        "DELETE FROM agent.incidents",
        "UPDATE agent.incidents SET status = 'resolved'",
        "TRUNCATE TABLE agent.audit_log",
    ] {
        let refused = match context.sql(sql).await {
            Ok(frame) => frame.collect().await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "{sql}");
    }
    let open = texts(&context, "SELECT id FROM agent.incidents WHERE status = 'open'").await;
    assert_eq!(open.len(), 3);
}

#[tokio::test]
async fn joins_of_many_tables_do_not_wait_for_each_other() {
    let home = Home::new();
    let sqlite = filled(&home).await;
    let context = session(&sqlite, &scope());
    let sql = "SELECT i.id FROM agent.incidents i
               JOIN agent.anomalies a ON a.incident_id = i.id
               JOIN agent.approvals p ON p.incident_id = i.id
               JOIN agent.actions x ON x.approval_id = p.id
               JOIN agent.evidence e ON e.incident_id = i.id
               JOIN agent.kills k ON k.incident_id = i.id";
    let queries = (0..24).map(|_| texts(&context, sql));
    let answers = futures::future::join_all(queries).await;
    assert!(answers.iter().all(|answer| answer.len() == 1));
    let later = start() + TimeDelta::hours(1);
    sqlite.store().audit.append(&scope(), entry("after"), later).await.unwrap();
}
