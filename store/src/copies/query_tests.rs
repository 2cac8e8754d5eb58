//! Copies as queries see them: the engine in front of a source that counts what it is asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use tripline_engine::copy::{CopiedTable, CopyPolicy, TimeSpan};
use tripline_engine::{
    Capabilities, Constraints, Engine, EngineOptions, FilterCapability, LocalTable, ManualClock, Operator, PageStream,
    QueryContext, QueryOptions, QueryResult, RemoteTable, RequestPlan, ScanError, ScanErrorKind, ScanRequest, ScanRun,
    ScanShape, SharedClock, SortKey, SourceEntry, json_rows,
};

use super::ParquetCopies;

fn start() -> DateTime<Utc> {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

fn hours(h: i64) -> DateTime<Utc> {
    start() + TimeDelta::hours(h)
}

#[derive(Debug, Clone)]
struct Row {
    id: i64,
    at: DateTime<Utc>,
    state: &'static str,
    updated_at: DateTime<Utc>,
}

/// A listing of rows, newest first, that notes the stretch of time of every scan and the rows it gave.
#[derive(Debug)]
struct Listing {
    rows: Mutex<Vec<Row>>,
    scans: Mutex<Vec<(String, usize)>>,
    /// Scans that still succeed.
    patience: Mutex<usize>,
    capabilities: Capabilities,
}

impl Listing {
    fn schema() -> SchemaRef {
        let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("at", time(), true),
            Field::new("state", DataType::Utf8, true),
            Field::new("updated_at", time(), true),
            Field::new("said", DataType::Utf8, true),
            Field::new("begun_at", time(), true),
        ]))
    }

    fn batch(rows: &[Row], projection: &[usize]) -> RecordBatch {
        let times = |value: &dyn Fn(&Row) -> DateTime<Utc>| -> ArrayRef {
            let times = rows.iter().map(|row| value(row).timestamp_micros());
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        };
        let all: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id))),
            times(&|row| row.at),
            Arc::new(rows.iter().map(|row| Some(row.state)).collect::<StringArray>()),
            times(&|row| row.updated_at),
            Arc::new(rows.iter().map(|row| Some(format!("secret {}", row.id))).collect::<StringArray>()),
            times(&|row| row.at - TimeDelta::minutes(30)),
        ];
        let columns = projection.iter().map(|i| Arc::clone(&all[*i])).collect();
        let schema = Arc::new(Self::schema().project(projection).unwrap());
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(schema, columns, &options).unwrap()
    }
}

/// Whether `at` lies within what is asked of `column`, and that in words.
fn bounds(constraints: &Constraints, column: &str) -> (impl Fn(DateTime<Utc>) -> bool, String) {
    let edge = |bound: Option<&tripline_engine::Bound>| {
        bound.map(|bound| {
            let tripline_engine::Bound { value, inclusive } = bound;
            let datafusion::scalar::ScalarValue::TimestampMicrosecond(Some(at), _) = value else { panic!("{value}") };
            (*at, *inclusive)
        })
    };
    let constraint = constraints.column(column);
    let lower = edge(constraint.and_then(|c| c.lower.as_ref()));
    let upper = edge(constraint.and_then(|c| c.upper.as_ref()));
    let text = |edge: Option<(i64, bool)>| match edge {
        Some((at, _)) => ((at - start().timestamp_micros()) / 60_000_000).to_string(),
        None => String::new(),
    };
    let words = format!("{}..{}", text(lower), text(upper));
    let within = move |at: DateTime<Utc>| {
        let at = at.timestamp_micros();
        lower.is_none_or(|(l, inclusive)| l < at || (inclusive && l == at))
            && upper.is_none_or(|(u, inclusive)| at < u || (inclusive && u == at))
    };
    (within, words)
}

impl RemoteTable for Listing {
    fn source(&self) -> &str {
        "toy"
    }
    fn name(&self) -> &str {
        "rows"
    }
    fn schema(&self) -> SchemaRef {
        Self::schema()
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn shape(&self, _: &Constraints) -> ScanShape {
        ScanShape { order: Some(SortKey { column: "at".into(), descending: true }), ..ScanShape::default() }
    }
    fn describe(&self, _: &ScanRequest) -> RequestPlan {
        RequestPlan { request: "GET /rows".into(), requests: "1 per page".into(), pushed: Vec::new() }
    }
    fn scan(self: Arc<Self>, request: ScanRequest, run: ScanRun) -> PageStream {
        let page = async move {
            run.stats.add_request();
            {
                let mut patience = self.patience.lock().unwrap();
                if *patience == 0 {
                    return Err(ScanError::new("toy", "rows", ScanErrorKind::Unavailable, "down"));
                }
                *patience -= 1;
            }
            let (at, at_words) = bounds(&request.constraints, "at");
            let (updated, updated_words) = bounds(&request.constraints, "updated_at");
            let mut rows: Vec<Row> = self.rows.lock().unwrap().clone();
            rows.retain(|row| at(row.at) && updated(row.updated_at));
            rows.sort_by_key(|row| std::cmp::Reverse(row.at));
            let words = if updated_words == ".." { at_words } else { format!("{at_words} updated {updated_words}") };
            self.scans.lock().unwrap().push((words, rows.len()));
            Ok(Self::batch(&rows, &request.projection))
        };
        futures::stream::once(page).boxed()
    }
}

struct House {
    listing: Arc<Listing>,
    table: Arc<CopiedTable>,
    engine: Engine,
    clock: Arc<ManualClock>,
    _folder: Arc<tempfile::TempDir>,
}

impl House {
    /// A row every ten minutes of a day; the copy keeps a week.
    fn new(changes: bool) -> Self {
        let filter = |column: &str, operator| FilterCapability {
            column: column.into(),
            operator,
            parameter: column.into(),
            exact: true,
        };
        let mut filters = vec![filter("at", Operator::GreaterEqual), filter("at", Operator::Less)];
        if changes {
            filters.push(filter("updated_at", Operator::GreaterEqual));
        }
        let capabilities = Capabilities {
            filters,
            natural_order: Some(SortKey { column: "at".into(), descending: true }),
            primary_key: vec!["id".into()],
            content: vec!["said".into()],
            at_most: vec![("begun_at".into(), "at".into())],
            ..Capabilities::default()
        };
        let rows = (0..144).map(|i| {
            let at = start() + TimeDelta::minutes(i * 10);
            Row { id: i, at, state: "open", updated_at: at }
        });
        let listing = Arc::new(Listing {
            rows: Mutex::new(rows.collect()),
            scans: Mutex::default(),
            patience: Mutex::new(usize::MAX),
            capabilities,
        });
        Self::over(listing, Arc::new(tempfile::tempdir().unwrap()))
    }

    /// The same, as another process finds it.
    fn reopened(&self) -> Self {
        Self::over(Arc::clone(&self.listing), Arc::clone(&self._folder))
    }

    fn over(listing: Arc<Listing>, folder: Arc<tempfile::TempDir>) -> Self {
        let store = ParquetCopies::new(folder.path().join("copies"));
        let policy = CopyPolicy { window: TimeDelta::days(7), overlap: TimeDelta::minutes(30), time: None };
        let inner = Arc::clone(&listing) as Arc<dyn RemoteTable>;
        let table = CopiedTable::new(inner, Arc::clone(&store) as _, policy, "account".into()).unwrap();
        let clock = ManualClock::at(hours(24));
        let entry = SourceEntry {
            name: "toy".into(),
            description: String::new(),
            status: "configured".into(),
            base_url: String::new(),
            tables: vec![Arc::clone(&table) as _],
        };
        let copies = LocalTable {
            schema: "tripline".into(),
            name: "copies".into(),
            provider: tripline_engine::copy::listing(store as _).unwrap(),
        };
        let shared: SharedClock = Arc::clone(&clock) as _;
        let engine = Engine::new(shared, EngineOptions::default(), &[entry], vec![copies]).unwrap();
        Self { listing, table, engine, clock, _folder: folder }
    }

    async fn ask(&self, sql: &str, freshness: Duration) -> Result<QueryResult, String> {
        let options = QueryOptions { freshness, ..QueryOptions::default() };
        self.engine.collect(sql, options).await.map_err(|error| error.to_string())
    }

    /// The answer as JSON text, and the scans that it cost.
    async fn costs(&self, sql: &str) -> (String, Vec<(String, usize)>) {
        self.listing.scans.lock().unwrap().clear();
        let result = self.ask(sql, Duration::ZERO).await.unwrap();
        let rows = json_rows(&result.schema, &result.batches).unwrap();
        (serde_json::to_string(&rows).unwrap(), self.listing.scans.lock().unwrap().clone())
    }

    fn add(&self, id: i64, at: DateTime<Utc>) {
        self.listing.rows.lock().unwrap().push(Row { id, at, state: "open", updated_at: at });
    }

    fn run(&self) -> ScanRun {
        use tripline_engine::Clock as _;
        let query = QueryContext::new(self.clock.now(), Duration::from_secs(60), 1000);
        let stats = query.report.scan("toy", "rows");
        ScanRun::alone(query, stats)
    }
}

const DAY: &str =
    "SELECT count(*) AS n FROM toy.rows WHERE at >= '2026-11-20T01:00:00Z' AND at < '2026-11-21T12:00:00Z'";

#[tokio::test]
async fn a_second_cycle_costs_only_what_is_new() {
    let house = House::new(false);
    let (answer, scans) = house.costs(DAY).await;
    assert_eq!((answer.as_str(), scans.len(), scans[0].1), (r#"[{"n":138}]"#, 1, 138));
    house.clock.set(hours(25));
    house.add(1000, hours(24) + TimeDelta::minutes(5));
    let (answer, scans) = house.costs(DAY).await;
    assert_eq!(answer, r#"[{"n":139}]"#);
    // From half an hour before the end of the copy: three old rows and the new one.
    assert_eq!(scans, [(format!("{}..", 24 * 60 - 30), 4)]);
    let (_, scans) = house.costs(DAY).await;
    assert_eq!(scans, [], "nothing new at the same instant");
}

#[tokio::test]
async fn windows_that_are_judged_late_are_fetched_together() {
    let house = House::new(false);
    house.costs(DAY).await;
    for hour in 24..48 {
        house.add(1000 + hour, hours(hour) + TimeDelta::minutes(5));
    }
    house.clock.set(hours(48));
    house.listing.scans.lock().unwrap().clear();
    // The newest first, then those that were missed, by a clock that goes on meanwhile.
    for (minutes, end) in std::iter::once(48).chain(25..49).enumerate() {
        house.clock.set(hours(48) + TimeDelta::minutes(i64::try_from(minutes).unwrap()));
        let window = |h: i64| hours(h).format("%FT%TZ").to_string();
        let sql = format!(
            "SELECT count(*) FILTER (WHERE at >= '{}') AS n FROM toy.rows WHERE at >= '{}' AND at < '{}'",
            window(end - 1),
            window(end - 24),
            window(end)
        );
        let freshness = Duration::from_secs(60);
        let options = QueryOptions { now: Some(hours(end)), freshness, ..QueryOptions::default() };
        let result = house.engine.collect(&sql, options).await.unwrap();
        assert_eq!(json_rows(&result.schema, &result.batches).unwrap()[0]["n"], 1, "window {end}");
    }
    assert_eq!(*house.listing.scans.lock().unwrap(), [(format!("{}..", 24 * 60 - 30), 27)]);
}

#[tokio::test]
async fn a_row_that_comes_late_is_found_within_the_overlap() {
    let house = House::new(false);
    house.costs(DAY).await;
    house.add(1000, hours(24) - TimeDelta::minutes(20));
    house.clock.set(hours(24) + TimeDelta::minutes(15));
    assert_eq!(house.costs(DAY).await.0, r#"[{"n":139}]"#);
}

#[tokio::test]
async fn what_changed_later_replaces_its_older_version() {
    let house = House::new(true);
    let closed = format!("{DAY} AND state = 'closed'");
    assert_eq!(house.costs(&closed).await.0, r#"[{"n":0}]"#);
    {
        let mut rows = house.listing.rows.lock().unwrap();
        rows[20].state = "closed";
        rows[20].updated_at = hours(24) + TimeDelta::minutes(1);
    }
    house.clock.set(hours(24) + TimeDelta::minutes(15));
    let (answer, scans) = house.costs(&closed).await;
    assert_eq!(answer, r#"[{"n":1}]"#);
    assert_eq!(scans.len(), 2, "{scans:?}");
    assert!(scans.iter().any(|(words, rows)| words.contains("updated") && *rows == 1), "{scans:?}");
    assert_eq!(house.costs(DAY).await.0, r#"[{"n":138}]"#);
}

#[tokio::test]
async fn an_accepted_age_costs_nothing_even_while_the_source_is_down() {
    let house = House::new(false);
    house.costs(DAY).await;
    house.clock.set(hours(24) + TimeDelta::minutes(10));
    *house.listing.patience.lock().unwrap() = 0;
    let error = house.ask(DAY, Duration::from_secs(60)).await.unwrap_err();
    assert!(error.contains("down"), "{error}");
    let result = house.ask(DAY, Duration::from_secs(900)).await.unwrap();
    assert_eq!(result.report.requests, 0);
    let notes = &result.report.scans[0].notes;
    assert!(notes.iter().any(|note| note.contains("local copy as of 2026-11-21 00:00:00 UTC")), "{notes:?}");
}

#[tokio::test]
async fn a_copy_that_another_process_refreshed_is_not_taken_for_new_because_a_clock_says_so() {
    let house = House::new(true);
    house.costs(DAY).await;
    {
        let mut rows = house.listing.rows.lock().unwrap();
        rows[20].state = "closed";
        rows[20].updated_at = hours(24);
    }
    // The clock stands still, or was set back; a new process sees the copy that the first one left.
    for now in [hours(24), hours(24) - TimeDelta::minutes(5)] {
        let later = house.reopened();
        later.clock.set(now);
        let (answer, scans) = later.costs(&format!("{DAY} AND state = 'closed'")).await;
        assert_eq!(answer, r#"[{"n":1}]"#);
        assert!(!scans.is_empty(), "the source was asked");
    }
}

#[tokio::test]
async fn a_partial_answer_is_the_copys_while_the_source_is_down_and_says_as_of_when() {
    let house = House::new(false);
    house.costs(DAY).await;
    house.clock.set(hours(24) + TimeDelta::minutes(10));
    *house.listing.patience.lock().unwrap() = 0;
    let partial = QueryOptions { partial: true, ..QueryOptions::default() };
    let result = house.engine.collect(DAY, partial.clone()).await.unwrap();
    let rows = json_rows(&result.schema, &result.batches).unwrap();
    assert_eq!(rows[0]["n"], 138);
    assert!(!result.report.complete);
    let warning = &result.report.warnings[0];
    assert!(warning.contains("down") && warning.contains("as of 2026-11-21 00:00:00 UTC"), "{warning}");
    assert_eq!(warning.matches("toy.rows").count(), 1, "{warning}");
    assert!(house.ask(DAY, Duration::ZERO).await.unwrap_err().contains("down"), "only who accepts gaps");
}

#[tokio::test]
async fn a_row_whose_time_moved_out_of_the_copy_leaves_it() {
    let house = House::new(true);
    assert_eq!(house.costs(DAY).await.0, r#"[{"n":138}]"#);
    {
        let mut rows = house.listing.rows.lock().unwrap();
        rows[20].at = start() - TimeDelta::hours(1);
        rows[20].updated_at = hours(24) + TimeDelta::minutes(1);
    }
    house.clock.set(hours(24) + TimeDelta::minutes(15));
    assert_eq!(house.costs(DAY).await.0, r#"[{"n":137}]"#);
}

#[tokio::test]
async fn a_session_sets_how_old_an_answer_may_be() {
    let house = House::new(false);
    house.costs(DAY).await;
    house.clock.set(hours(24) + TimeDelta::minutes(10));
    *house.listing.patience.lock().unwrap() = 0;
    let mut session = tripline_engine::Settings::default();
    let mut ask = async |sql: &str| {
        let stream = house.engine.query_in(&mut session, sql, QueryOptions::default()).await.unwrap();
        stream.collect().await.map(|result| result.report.requests).map_err(|error| error.to_string())
    };
    assert!(ask(DAY).await.unwrap_err().contains("down"));
    ask("SET tripline.freshness = '15m'").await.unwrap();
    assert_eq!(ask(DAY).await, Ok(0));
    assert!(ask(&format!("RESET tripline.freshness; {DAY}")).await.unwrap_err().contains("down"));
    assert_eq!(ask(&format!("SET tripline.freshness = '15m'; {DAY}")).await, Ok(0));
}

#[tokio::test]
async fn a_bound_on_a_time_that_never_exceeds_the_copys_is_as_good_as_one_on_it() {
    let house = House::new(false);
    let begun = "SELECT count(*) AS n FROM toy.rows WHERE begun_at >= '2026-11-20T01:00:00Z'";
    let (answer, scans) = house.costs(begun).await;
    // Begun half an hour before it was at: from half past one on, of 144 rows.
    assert_eq!((answer.as_str(), scans.len(), scans[0].1), (r#"[{"n":135}]"#, 1, 138));
    assert_eq!(house.costs(begun).await, (r#"[{"n":135}]"#.to_owned(), vec![]));
}

#[tokio::test]
async fn content_is_not_kept_and_asked_of_the_source() {
    let house = House::new(false);
    house.costs(DAY).await;
    let (answer, scans) = house.costs("SELECT said FROM toy.rows WHERE at >= '2026-11-20T23:50:00Z'").await;
    assert_eq!((answer.as_str(), scans.len()), (r#"[{"said":"secret 143"}]"#, 1));
    let mut folders = vec![house._folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                assert!(!bytes.windows(6).any(|w| w == b"secret"), "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn what_needs_little_is_asked_of_the_source() {
    let house = House::new(false);
    let newest = "SELECT id FROM toy.rows WHERE at >= '2026-11-20T00:00:00Z' ORDER BY at DESC LIMIT 1";
    assert_eq!(house.costs(newest).await, (r#"[{"id":143}]"#.to_owned(), vec![("0..".to_owned(), 144)]));
    house.costs(DAY).await;
    assert_eq!(
        house.costs("SELECT id FROM toy.rows WHERE at >= '2026-11-20T05:00:00Z' ORDER BY at LIMIT 1").await,
        (r#"[{"id":30}]"#.to_owned(), vec![]),
        "the copy has it all, and answers in either order"
    );
    assert_eq!(house.costs("SELECT count(*) AS n FROM toy.rows").await.0, r#"[{"n":144}]"#);
}

#[tokio::test]
async fn a_stretch_that_is_read_again_forgets_what_the_source_no_longer_has() {
    let house = House::new(false);
    house.costs(DAY).await;
    house.listing.rows.lock().unwrap().retain(|row| row.id != 30);
    assert_eq!(house.costs(DAY).await.0, r#"[{"n":138}]"#, "nobody says what was deleted");
    let span = TimeSpan { from: hours(4), until: hours(6) };
    let synced = house.table.sync(Some(span), &house.run()).await.unwrap();
    assert_eq!(synced[0].1.rows, 137);
    assert_eq!(house.costs(DAY).await.0, r#"[{"n":137}]"#);
}

#[tokio::test]
async fn a_fetch_that_breaks_off_keeps_what_it_had() {
    let house = House::new(false);
    for i in 0..300 {
        house.add(1000 + i, start() - TimeDelta::minutes(i * 10));
    }
    let days = "SELECT count(*) AS n FROM toy.rows WHERE at >= '2026-11-18T00:00:00Z'";
    *house.listing.patience.lock().unwrap() = 1;
    house.ask(days, Duration::ZERO).await.unwrap_err();
    *house.listing.patience.lock().unwrap() = usize::MAX;
    let (answer, scans) = house.costs(days).await;
    assert_eq!(answer, r#"[{"n":433}]"#);
    assert_eq!(scans, [("-2880..0".to_owned(), 288)], "the first day was there");
}

#[tokio::test]
async fn queries_at_the_same_time_fetch_once() {
    let house = House::new(false);
    let answers = futures::future::join_all((0..5).map(|_| house.ask(DAY, Duration::ZERO))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(house.listing.scans.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn copies_are_a_table() {
    let house = House::new(false);
    house.costs(DAY).await;
    let (answer, _) = house.costs("SELECT source, table_name, keys, rows, covered_from FROM tripline.copies").await;
    let expected =
        r#"[{"covered_from":"2026-11-20T01:00:00Z","keys":null,"rows":138,"source":"toy","table_name":"rows"}]"#;
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn explain_says_that_only_what_is_missing_is_fetched() {
    let house = House::new(false);
    let (plan, scans) = house.costs(&format!("EXPLAIN {DAY}")).await;
    assert!(plan.contains("only for what the local copy lacks"), "{plan}");
    assert_eq!(scans, []);
}
