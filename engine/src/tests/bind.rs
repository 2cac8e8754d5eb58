//! Joins on keys: fetched once each, only those the other side brings.

use std::sync::Arc;
use std::sync::Mutex;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;

use super::toy::{Toy, now};
use crate::{
    Capabilities, Constraints, Engine, EngineOptions, FilterCapability, ManualClock, MissingKey, Operator, PageStream,
    QueryOptions, RemoteTable, RequestPlan, ScanRequest, ScanRun, ScanShape, SourceEntry, json_rows,
};

/// `keys` keys `k0`, `k1` …, two rows each (`n` 0 and 1). Asked for keys it sends one request per key; asked for
/// everything, one request of all rows. A disobedient one returns other keys' rows as well.
#[derive(Debug)]
struct Lookup {
    name: &'static str,
    keys: i64,
    required: bool,
    disobedient: bool,
    capabilities: Capabilities,
    requests: Mutex<Vec<String>>,
}

impl Lookup {
    fn new(name: &'static str, keys: i64) -> Self {
        let filter =
            FilterCapability { column: "key".into(), operator: Operator::In, parameter: "key".into(), exact: true };
        Self {
            name,
            keys,
            required: false,
            disobedient: false,
            capabilities: Capabilities { filters: vec![filter], max_page_size: 100, ..Capabilities::default() },
            requests: Mutex::new(Vec::new()),
        }
    }
    fn required(mut self) -> Self {
        self.required = true;
        self
    }
    fn disobedient(mut self) -> Self {
        self.disobedient = true;
        self
    }
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl RemoteTable for Lookup {
    fn source(&self) -> &'static str {
        "toy"
    }
    fn name(&self) -> &str {
        self.name
    }
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]))
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn shape(&self, constraints: &Constraints) -> ScanShape {
        let missing = MissingKey { any_of: vec![vec!["key".into()]], example: "WHERE key = 'k1'".into() };
        let lacks = self.required && constraints.values("key").is_none();
        ScanShape { missing: lacks.then_some(missing).into_iter().collect(), ..ScanShape::default() }
    }
    fn describe(&self, _: &ScanRequest) -> RequestPlan {
        RequestPlan { request: format!("GET /{}", self.name), requests: "1 per key".into(), pushed: Vec::new() }
    }
    fn scan(self: Arc<Self>, request: ScanRequest, run: ScanRun) -> PageStream {
        let asked: Vec<String> = match request.constraints.values("key") {
            Some(values) => values.iter().map(|v| v.try_as_str().flatten().unwrap().to_owned()).collect(),
            None => vec!["*".to_owned()],
        };
        let schema = Arc::new(self.schema().project(&request.projection).unwrap());
        futures::stream::iter(asked)
            .map(move |key| {
                run.stats.add_request();
                self.requests.lock().unwrap().push(key.clone());
                let all = key == "*" || (self.disobedient && key == "k1");
                let known: Vec<String> = (0..self.keys)
                    .map(|i| format!("k{i}"))
                    .filter(|k| if self.disobedient { all } else { all || *k == key })
                    .collect();
                let rows: Vec<(&str, i64)> = known.iter().flat_map(|k| [(k.as_str(), 0), (k.as_str(), 1)]).collect();
                let columns: Vec<ArrayRef> = request
                    .projection
                    .iter()
                    .map(|c| -> ArrayRef {
                        match c {
                            0 => Arc::new(rows.iter().map(|r| Some(r.0)).collect::<StringArray>()),
                            _ => Arc::new(rows.iter().map(|r| Some(r.1)).collect::<Int64Array>()),
                        }
                    })
                    .collect();
                let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
                Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options).unwrap())
            })
            .boxed()
    }
}

async fn ask(lookup: Lookup, sql: &str) -> (Vec<String>, Vec<serde_json::Map<String, serde_json::Value>>) {
    let lookup = Arc::new(lookup);
    let toy = Arc::new(Toy::new("t", 4));
    let other = Arc::new(Lookup::new("other", 5));
    let source = SourceEntry {
        name: "toy".into(),
        description: String::new(),
        status: "configured".into(),
        base_url: String::new(),
        tables: vec![Arc::clone(&lookup) as _, toy, other],
    };
    let engine = Engine::new(ManualClock::at(now()), EngineOptions::default(), &[source], Vec::new()).unwrap();
    let result = engine.collect(sql, QueryOptions::default()).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let mut requests = lookup.requests();
    requests.sort();
    (requests, json_rows(&result.schema, &result.batches).unwrap())
}

const OUTER: &str = "(VALUES ('k1', 1), ('k2', 2), ('k1', 3), (NULL, 4), ('zz', 5)) AS o(k, m)";

#[tokio::test]
async fn every_join_type_fetches_each_key_once_and_gives_what_a_plain_join_gives() {
    let queries = [
        format!("SELECT o.m, l.n FROM {OUTER} JOIN toy.l ON l.key = o.k ORDER BY 1, 2"),
        format!("SELECT o.m, l.n FROM toy.l JOIN {OUTER} ON l.key = o.k ORDER BY 1, 2"),
        format!("SELECT o.m, l.n FROM {OUTER} LEFT JOIN toy.l ON l.key = o.k ORDER BY 1, 2"),
        format!("SELECT o.m, l.n FROM toy.l RIGHT JOIN {OUTER} ON l.key = o.k ORDER BY 1, 2"),
        format!("SELECT o.m, l.n FROM {OUTER} LEFT JOIN toy.l ON l.key = o.k AND l.n > 0 ORDER BY 1, 2"),
        format!("SELECT o.m FROM {OUTER} WHERE o.k IN (SELECT key FROM toy.l) ORDER BY 1"),
        format!("SELECT l.key, l.n FROM toy.l WHERE l.key IN (SELECT k FROM {OUTER}) ORDER BY 1, 2"),
        format!("SELECT o.m FROM {OUTER} WHERE NOT EXISTS (SELECT 1 FROM toy.l WHERE l.key = o.k) ORDER BY 1"),
        format!("SELECT o.m, count(l.n) AS c FROM {OUTER} LEFT JOIN toy.l ON l.key = o.k GROUP BY o.m ORDER BY 1"),
        format!(
            "SELECT o.m, s.c FROM {OUTER} JOIN (SELECT key, count(*) AS c FROM toy.l WHERE n >= 0 GROUP BY key) s ON s.key = o.k ORDER BY 1"
        ),
        format!("SELECT o.m, l.n FROM {OUTER} JOIN toy.l ON l.key = o.k AND l.n < o.m ORDER BY 1, 2"),
    ];
    for sql in &queries {
        let (plain_requests, plain) = ask(
            Lookup::new("l", 10),
            &sql.replace("toy.l ", "(SELECT key || '' AS key, n FROM toy.l) AS l ")
                .replace("toy.l)", "(SELECT key || '' AS key, n FROM toy.l) AS l)"),
        )
        .await;
        assert_eq!(plain_requests, ["*"], "the baseline scans: {sql}");
        for lookup in
            [Lookup::new("l", 10).required(), Lookup::new("l", 10), Lookup::new("l", 10).required().disobedient()]
        {
            let (requests, rows) = ask(lookup, sql).await;
            assert_eq!(requests, ["k1", "k2", "zz"], "{sql}");
            assert_eq!(rows, plain, "{sql}");
        }
    }
}

#[tokio::test]
async fn an_empty_outer_side_fetches_nothing() {
    let sql = "SELECT * FROM (VALUES ('k1')) AS o(k) JOIN toy.l ON l.key = o.k WHERE o.k = 'nope'";
    let (requests, rows) = ask(Lookup::new("l", 10).required(), sql).await;
    assert!(requests.len() <= 1 && rows.is_empty(), "{requests:?}");
    let sql = "SELECT * FROM toy.t JOIN toy.l ON l.key = t.status WHERE t.id < 0";
    let (requests, rows) = ask(Lookup::new("l", 10).required(), sql).await;
    assert_eq!((requests.len(), rows.len()), (0, 0));
}

#[tokio::test]
async fn keys_may_come_from_another_vendor_and_be_computed() {
    let sql = "SELECT count(*) AS c FROM toy.t JOIN toy.l ON l.key = concat('k', CAST(t.id AS VARCHAR)) WHERE t.id < 7";
    let (requests, rows) = ask(Lookup::new("l", 10).required(), sql).await;
    assert_eq!(requests.len(), 7);
    assert_eq!(rows[0]["c"], 14);
}

#[tokio::test]
async fn a_limit_stops_the_fetching() {
    let sql = "SELECT l.n FROM toy.t JOIN toy.l ON l.key = concat('k', CAST(t.id AS VARCHAR)) LIMIT 3";
    let (requests, rows) = ask(Lookup::new("l", 400).required(), sql).await;
    assert_eq!(rows.len(), 3);
    assert!(requests.len() <= 100, "one page of keys at most, not all four: {}", requests.len());
}

#[tokio::test]
async fn a_table_that_need_not_be_bound_is_scanned_when_keys_are_many() {
    let numbers: Vec<String> = (0..300).map(|i| format!("('k{i}')")).collect();
    let sql = format!("SELECT count(*) AS c FROM (VALUES {}) AS o(k) JOIN toy.l ON l.key = o.k", numbers.join(","));
    let (requests, rows) = ask(Lookup::new("l", 400), &sql).await;
    assert_eq!((requests.as_slice(), &rows[0]["c"]), (&["*".to_owned()][..], &serde_json::json!(600)));
    let (requests, rows) = ask(Lookup::new("l", 400).required(), &sql).await;
    assert_eq!((requests.len(), &rows[0]["c"]), (300, &serde_json::json!(600)));
}

#[tokio::test]
async fn a_table_that_need_not_be_bound_is_asked_for_the_few_keys_of_another_vendor() {
    let sql = "SELECT count(*) AS c FROM toy.other o JOIN toy.l ON l.key = o.key";
    let (mut requests, rows) = ask(Lookup::new("l", 400), sql).await;
    requests.sort();
    let keys: Vec<String> = (0..5).map(|i| format!("k{i}")).collect();
    assert_eq!((requests, &rows[0]["c"]), (keys, &serde_json::json!(20)));
}

#[tokio::test]
async fn the_querys_own_predicate_on_the_key_is_kept() {
    let sql =
        format!("SELECT o.m, l.n FROM {OUTER} JOIN toy.l ON l.key = o.k WHERE l.key IN ('k2', 'k9') ORDER BY 1, 2");
    let (requests, rows) = ask(Lookup::new("l", 10).required(), &sql).await;
    assert!(!requests.contains(&"k1".to_owned()), "{requests:?}");
    assert_eq!(rows.len(), 2);
}

#[tokio::test]
async fn a_chain_of_lookups_binds_each_to_the_one_before() {
    let sql = "SELECT count(*) AS c FROM (VALUES ('k1'), ('k2')) AS o(k) \
               JOIN toy.l ON l.key = o.k JOIN toy.other x ON x.key = concat('k', CAST(l.n AS VARCHAR))";
    let (requests, rows) = ask(Lookup::new("l", 10).required(), sql).await;
    assert_eq!(requests, ["k1", "k2"]);
    assert_eq!(rows[0]["c"], 8);
}
