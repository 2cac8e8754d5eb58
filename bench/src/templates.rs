//! The seven SQL templates of seed 003 over ten million observations in Parquet, beside DuckDB where the Python package is
//! installed. Ours are local copies as `sync` keeps them; DuckDB reads the same rows from one file per table, sorted by
//! time, with times that need no zone (its fastest form). Both bind the same values, and both must give the same answer.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tripline_connectors::{ConnectorOptions, Connectors};
use tripline_engine::copy::{CopiedTable, CopyPolicy};
use tripline_engine::{
    Engine, EngineOptions, Environment, ManualClock, Param, Params, QueryOptions, SourceEntry, json_rows,
};
use tripline_store::ParquetCopies;

use crate::rows::{Kept, TABLES, Table};
use crate::say;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How often each question is asked; the median counts.
const RUNS: usize = 5;

/// Name, text, and the values that it is asked with.
type Template = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const TEMPLATES: [Template; 7] = [
    ("7.1 cost_spike_detection", include_str!("../../queries/templates/cost_spike_detection.sql"), &[("hours", "24")]),
    (
        "7.2 commit_to_cost_blame",
        include_str!("../../queries/templates/commit_to_cost_blame.sql"),
        &[("days", "7"), ("owner", "acme"), ("repo", "shop")],
    ),
    (
        "7.3 error_cascade_detection",
        include_str!("../../queries/templates/error_cascade_detection.sql"),
        &[("hours", "48"), ("min_cost", "0.5")],
    ),
    (
        "7.4 slack_incident_context",
        include_str!("../../queries/templates/slack_incident_context.sql"),
        &[
            ("channels", "incidents,engineering,backend,alerts"),
            ("start", "2026-11-19T12:00:00Z"),
            ("end", "2026-11-20T12:00:00Z"),
        ],
    ),
    (
        "7.5 pr_risk_historical",
        include_str!("../../queries/templates/pr_risk_historical.sql"),
        &[("days", "90"), ("owner", "acme"), ("repo", "shop")],
    ),
    (
        "7.6 weekly_digest_shipped",
        include_str!("../../queries/templates/weekly_digest_shipped.sql"),
        &[("days", "7"), ("owner", "acme"), ("repo", "shop")],
    ),
    (
        "7.7 agent_loop_detection",
        include_str!("../../queries/templates/agent_loop_detection.sql"),
        &[("threshold", "10")],
    ),
];

/// Reads one JSON object: threads, tables (name: file) and queries (sql, params). Prints a line per query: rows, the sum of
/// all numbers in them, and the median of the runs in milliseconds.
const DUCKDB: &str = r"
import duckdb, json, sys, time
task = json.load(sys.stdin)
db = duckdb.connect()
db.execute('SET threads = %d' % task['threads'])
db.execute('SET enable_progress_bar = false')
try:
    db.execute('SET parquet_metadata_cache = true')
except Exception:
    pass
for name, file in task['tables'].items():
    db.execute('CREATE SCHEMA IF NOT EXISTS ' + name.split('.')[0])
    db.execute(f'CREATE VIEW {name} AS SELECT * FROM read_parquet(\'{file}\')')
for query in task['queries']:
    times = []
    for _ in range(task['runs'] + 1):
        started = time.perf_counter()
        rows = db.execute(query['sql'], query['params']).fetchall()
        times.append((time.perf_counter() - started) * 1000)
    numbers = sum(v for row in rows for v in row if isinstance(v, (int, float)) and not isinstance(v, bool))
    print(json.dumps([len(rows), float(numbers), sorted(times[1:])[task['runs'] // 2]]))
";

/// The end of the history.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_176_000, 0).unwrap_or_default()
}

/// What an answer is and what it took: rows, the sum of all numbers in them, milliseconds.
#[derive(Debug, Clone, Copy)]
struct Answer {
    rows: usize,
    sum: f64,
    ms: f64,
}

impl Answer {
    fn agrees(&self, other: &Self) -> bool {
        self.rows == other.rows && (self.sum - other.sum).abs() <= 1e-6 * self.sum.abs().max(1.0)
    }
}

pub(crate) async fn run() -> Outcome<()> {
    say("\ntemplates of seed 003 over 10,000,000 observations of 90 days in Parquet");
    let folder = match std::env::var_os("TRIPLINE_BENCH_DATA") {
        Some(kept) => PathBuf::from(kept),
        None => std::env::temp_dir().join(format!("tripline-bench-{}", std::process::id())),
    };
    let outcome = compare(&folder).await;
    if std::env::var_os("TRIPLINE_BENCH_DATA").is_none() {
        // Half a gigabyte; nothing else is in it.
        let _ = std::fs::remove_dir_all(&folder);
    }
    outcome
}

async fn compare(folder: &Path) -> Outcome<()> {
    let engine = engine(&folder.join("copies"))?;
    let started = Instant::now();
    for table in TABLES {
        fill(&engine, table).await?;
    }
    say(&format!("  copies made or found in {:.1} s", started.elapsed().as_secs_f64()));
    let mut ours = Vec::new();
    for (_, sql, params) in TEMPLATES {
        ours.push(ask(&engine, sql, params).await?);
    }
    let theirs = duckdb(folder)?;
    let mut ratios = Vec::new();
    for (index, (name, ..)) in TEMPLATES.iter().enumerate() {
        let Answer { rows, ms, .. } = ours[index];
        let Some(theirs) = theirs.as_ref().and_then(|all| all.get(index)) else {
            say(&format!("  {name}: {ms:.1} ms, {rows} rows (no DuckDB here: pip install duckdb)"));
            continue;
        };
        if !ours[index].agrees(theirs) {
            return Err(format!("{name}: {:?} here, {theirs:?} in DuckDB", ours[index]).into());
        }
        let ratio = theirs.ms / ms;
        ratios.push(ratio);
        say(&format!(
            "  {name}: {ratio:.2} × DuckDB's speed ({ms:.1} ms against {:.1} ms, {rows} rows; wanted ≥ 0.7)",
            theirs.ms
        ));
    }
    if !ratios.is_empty() {
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        say(&format!("  geometric mean: {mean:.2} × DuckDB's speed (wanted ≥ 1)"));
    }
    Ok(())
}

/// The vendors' tables as they are, with copies in front; the vendors behind them are made up.
fn engine(copies: &Path) -> Outcome<Engine> {
    let clock = ManualClock::at(now());
    let connectors = Connectors::load(&ConnectorOptions {
        environment: &Environment::of([("LANGFUSE_PUBLIC_KEY", "x")]),
        sources_dir: None,
        cache_dir: None,
        clock: Arc::clone(&clock) as _,
        retry_seed: 1,
    });
    let store = ParquetCopies::new(copies.to_owned());
    let mut entries: Vec<SourceEntry> = Vec::new();
    for table in TABLES {
        let (source, name) = table.name.split_once('.').ok_or("no source")?;
        let real = connectors.source(source).and_then(|s| s.table(name)).ok_or_else(|| format!("no {}", table.name))?;
        let policy =
            CopyPolicy { window: TimeDelta::days(100), overlap: TimeDelta::zero(), time: Some(table.time.to_owned()) };
        let copied =
            CopiedTable::new(Arc::new(Kept::new(table, real)), Arc::clone(&store) as _, policy, "bench".into())?;
        match entries.iter_mut().find(|entry| entry.name == source) {
            Some(entry) => entry.tables.push(copied),
            None => entries.push(SourceEntry {
                name: source.to_owned(),
                description: String::new(),
                status: "configured".to_owned(),
                base_url: String::new(),
                tables: vec![copied],
            }),
        }
    }
    Ok(Engine::new(clock, EngineOptions::default(), &entries, Vec::new())?)
}

fn options(params: Params) -> QueryOptions {
    // The copies were made "now", so nothing is asked of anybody.
    QueryOptions {
        params,
        freshness: Duration::from_secs(3600),
        timeout: Duration::from_secs(900),
        ..Default::default()
    }
}

/// Asks for the whole window once, which makes the copy.
async fn fill(engine: &Engine, table: &Table) -> Outcome<()> {
    let keys = if table.name.starts_with("github.") { " AND owner = 'acme' AND repo = 'shop'" } else { "" };
    let sql =
        format!("SELECT count(*) AS n FROM {} WHERE {} >= now() - INTERVAL '95 days'{keys}", table.name, table.time);
    let result = engine.collect(&sql, options(Params::new())).await?;
    let rows = json_rows(&result.schema, &result.batches)?;
    let found = rows.first().and_then(|row| row.get("n")).and_then(Value::as_u64);
    if found != Some(table.rows) {
        return Err(format!("{} has {found:?} rows instead of {}", table.name, table.rows).into());
    }
    Ok(())
}

async fn ask(engine: &Engine, sql: &str, params: &[(&str, &str)]) -> Outcome<Answer> {
    let params: Params = params.iter().map(|(name, value)| ((*name).to_owned(), Param::from(*value))).collect();
    let (mut times, mut answer) = (Vec::new(), None);
    for _ in 0..=RUNS {
        let started = Instant::now();
        let result = engine.collect(sql, options(params.clone())).await?;
        let rows = json_rows(&result.schema, &result.batches)?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
        if result.report.requests > 0 {
            return Err(format!("a request was sent: {:?}", result.report.scans).into());
        }
        let numbers = rows.iter().flat_map(|row| row.values()).filter_map(Value::as_f64).sum();
        answer = Some((rows.len(), numbers));
    }
    times.remove(0);
    times.sort_by(f64::total_cmp);
    let (rows, sum) = answer.unwrap_or_default();
    Ok(Answer { rows, sum, ms: times[RUNS / 2] })
}

/// One answer per template, `None` where Python or the package is absent.
fn duckdb(folder: &Path) -> Outcome<Option<Vec<Answer>>> {
    let has_package = Command::new("python3").args(["-c", "import duckdb"]).stderr(Stdio::null()).status();
    if !has_package.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let mut files = serde_json::Map::new();
    for table in TABLES {
        files.insert(table.name.to_owned(), json!(table.write(folder)?));
    }
    // DuckDB's clock is the real one; its times have no zone here.
    let now = format!("TIMESTAMP '{}'", now().format("%F %T"));
    let queries: Vec<Value> = TEMPLATES
        .iter()
        .map(|(_, sql, params)| {
            let sql = sql.replace("now()", &now).replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMP");
            let params: serde_json::Map<String, Value> =
                params.iter().map(|(name, value)| ((*name).to_owned(), json!(value.trim_end_matches('Z')))).collect();
            json!({"sql": sql, "params": params})
        })
        .collect();
    let threads = std::thread::available_parallelism()?.get();
    let task = json!({"threads": threads, "runs": RUNS, "tables": files, "queries": queries});
    let file = folder.join("task.json");
    std::fs::write(&file, task.to_string())?;
    let output = Command::new("python3").arg("-c").arg(DUCKDB).stdin(std::fs::File::open(&file)?).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().map(|line| -> Outcome<Answer> {
        let (rows, sum, ms) = serde_json::from_str(line)?;
        Ok(Answer { rows, sum, ms })
    });
    lines.collect::<Outcome<Vec<_>>>().map(Some)
}
