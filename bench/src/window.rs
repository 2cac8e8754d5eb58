//! The time-window join over local rows, beside DuckDB where the Python package is installed.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tripline_engine::{Engine, EngineOptions, InputTable, QueryOptions, SystemClock, json_rows};

use crate::say;

const POINTS: i64 = 1_000_000;
const WINDOWS: i64 = 100_000;
const WEEK_US: i64 = 7 * 86_400_000_000;
/// Odd, so that `i × STEP mod WEEK` visits the week evenly without a random generator that two languages must share.
const STEP: i64 = 398_700_000_007;

const QUESTIONS: [(&str, &str, &str, f64); 2] = [
    (
        "50 keys, 5 minutes",
        "SELECT count(*) AS n FROM input.a JOIN input.b ON a.k = b.k AND b.ts >= a.ts AND b.ts < a.ts + INTERVAL '5 minutes'",
        "SELECT count(*) FROM a JOIN b ON a.k = b.k AND b.ts >= a.ts AND b.ts < a.ts + 300000000",
        30.0,
    ),
    (
        "no key, 10 seconds",
        "SELECT count(*) AS n FROM input.a JOIN input.b ON b.ts >= a.ts AND b.ts < a.ts + INTERVAL '10 seconds'",
        "SELECT count(*) FROM a JOIN b ON b.ts >= a.ts AND b.ts < a.ts + 10000000",
        2.0,
    ),
];

/// Prints, for each question, the count and the median of three runs in milliseconds.
const DUCKDB: &str = r"
import duckdb, sys, time
points, windows, week, step = map(int, sys.argv[1:5])
db = duckdb.connect()
db.execute('SET threads = %s' % sys.argv[5])
# A query of some seconds draws a bar on standard output otherwise.
db.execute('SET enable_progress_bar = false')
for name, rows in (('b', points), ('a', windows)):
    db.execute(f'CREATE TABLE {name} AS SELECT i AS id, chr((97 + i % 50 // 26)::INT) || chr((97 + i % 50 % 26)::INT) AS k, ((i::HUGEINT * {step}) % {week})::BIGINT AS ts FROM range({rows}) r(i)')
for sql in sys.argv[6:]:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        count = db.execute(sql).fetchone()[0]
        times.append(time.perf_counter() - started)
    print(count, sorted(times)[1] * 1000)
";

fn table(name: &str, rows: i64) -> Result<InputTable, arrow::error::ArrowError> {
    let letter = |n: i64| char::from(b'a' + u8::try_from(n).unwrap_or(0));
    let ids: Int64Array = (0..rows).map(Some).collect();
    let keys: StringArray =
        (0..rows).map(|i| Some(format!("{}{}", letter(i % 50 / 26), letter(i % 50 % 26)))).collect();
    let at = (0..rows).map(|i| i64::try_from(i128::from(i) * i128::from(STEP) % i128::from(WEEK_US)).unwrap_or(0));
    let at = TimestampMicrosecondArray::from_iter_values(at.collect::<Vec<_>>()).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 3] = [("id", Arc::new(ids)), ("k", Arc::new(keys)), ("ts", Arc::new(at))];
    let batch = RecordBatch::try_from_iter(columns)?;
    let batches = (0..batch.num_rows()).step_by(8192).map(|i| batch.slice(i, 8192.min(batch.num_rows() - i))).collect();
    Ok(InputTable { name: name.to_owned(), schema: batch.schema(), batches })
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    say(&format!("\nwindow join: {POINTS} × {WINDOWS} rows over a week"));
    let input = vec![table("a", WINDOWS)?, table("b", POINTS)?];
    let engine = Engine::new(Arc::new(SystemClock), EngineOptions::default(), &[], Vec::new())?;
    let duckdb = duckdb()?;
    for (index, (name, sql, _, wanted)) in QUESTIONS.iter().enumerate() {
        let mut times = Vec::new();
        let mut count = 0;
        for _ in 0..3 {
            let options = QueryOptions { input: input.clone(), ..QueryOptions::default() };
            let started = Instant::now();
            let result = engine.collect(sql, options).await?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
            let rows = json_rows(&result.schema, &result.batches)?;
            count = rows.first().and_then(|row| row.get("n")).and_then(serde_json::Value::as_i64).unwrap_or(-1);
        }
        times.sort_by(f64::total_cmp);
        let ours = times.get(1).copied().unwrap_or(f64::NAN);
        match duckdb.as_ref().and_then(|runs| runs.get(index)) {
            Some((their_count, _)) if *their_count != count => {
                return Err(format!("{name}: {count} matches here, {their_count} in DuckDB").into());
            }
            Some((_, theirs)) => say(&format!(
                "  {name}: {:.1} × faster than DuckDB ({ours:.0} ms against {theirs:.0} ms, {count} matches; wanted ≥ {wanted})",
                theirs / ours
            )),
            None => say(&format!("  {name}: {ours:.0} ms, {count} matches (no DuckDB here: pip install duckdb)")),
        }
    }
    Ok(())
}

/// Matches and milliseconds of one question.
type Answer = (i64, f64);

/// One answer per question, `None` where Python or the package is absent.
fn duckdb() -> Result<Option<Vec<Answer>>, Box<dyn std::error::Error>> {
    let threads = std::thread::available_parallelism()?.to_string();
    let numbers = [POINTS, WINDOWS, WEEK_US, STEP].map(|n| n.to_string());
    let mut command = Command::new("python3");
    command.arg("-c").arg(DUCKDB).args(&numbers).arg(&threads).args(QUESTIONS.iter().map(|q| q.2));
    let Ok(output) = command.output() else { return Ok(None) };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("No module named") {
            return Ok(None);
        }
        return Err(text.into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    let line = |line: &str| line.split_once(' ').and_then(|(count, ms)| Some((count.parse().ok()?, ms.parse().ok()?)));
    let answers: Option<Vec<Answer>> = text.lines().map(line).collect();
    Ok(Some(answers.ok_or_else(|| format!("what DuckDB said is not understood: {text}"))?))
}
