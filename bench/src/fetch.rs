//! How many requests a question costs, and how long it takes beside a bare HTTP client at the same concurrency.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use tripline_engine::{QueryOptions, json_rows};

use crate::say;
use crate::toy::{CONCURRENCY, LATENCY, PAGES, ROWS, Toy};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub(crate) async fn run() -> Outcome<()> {
    let toy = Toy::start().await?;
    say(&format!(
        "\nfetch: {PAGES} pages × {ROWS} rows, {} ms per request, concurrency {CONCURRENCY}",
        LATENCY.as_millis()
    ));
    // Connections and code paths are warm for both.
    bare(&toy).await?;
    ask(&toy, "SELECT count(*) FROM toy.rows").await?;
    toy.take_requests();

    let windows =
        "SELECT count(*) FROM toy.moments m JOIN toy.rows r ON r.at >= m.at AND r.at < m.at + INTERVAL '5 minutes'";
    let questions = [
        ("SELECT * FROM toy.rows LIMIT 10", "1"),
        ("SELECT * FROM toy.rows LIMIT 250", "3"),
        ("SELECT * FROM toy.rows WHERE length(key) > 1 LIMIT 10", "1-2"),
        ("SELECT * FROM toy.rows ORDER BY at DESC LIMIT 10", "1"),
        ("SELECT * FROM toy.rows ORDER BY id DESC LIMIT 10", "1"),
        ("SELECT count(*) FROM toy.rows WHERE at >= '2024-10-03T21:00:00Z' AND at < '2024-10-04T00:00:00Z'", "2"),
        ("SELECT count(*) FROM toy.rows", "100"),
        ("SELECT * FROM toy.items WHERE key IN ('a', 'b', 'c')", "3"),
        ("SELECT count(*) FROM (SELECT key FROM toy.rows LIMIT 20) r JOIN toy.items i ON i.key = r.key", "21"),
        (windows, "13"),
        ("SELECT count(*) FROM toy.rows a JOIN toy.rows b ON a.id = b.id", "100"),
        ("SELECT * FROM toy.rows WHERE key = 'a' AND key = 'b'", "0"),
    ];
    for (sql, wanted) in questions {
        let (requests, took) = ask(&toy, sql).await?;
        say(&format!("  {requests:>4} requests (wanted {wanted:>4})  {:>6} ms  {sql}", took.as_millis()));
    }
    cursors(&toy).await?;
    at_once(&toy).await?;
    faults(&toy).await?;
    hostile(&toy).await?;
    hang(&toy).await?;

    let baseline = median(|| bare(&toy)).await?;
    let ours = median(|| async { Ok(ask(&toy, "SELECT id, key, at, text FROM toy.rows").await?.1) }).await?;
    say(&format!(
        "  scan of all pages: {:.2} × a bare client ({} ms against {} ms; wanted ≤ 1.15)",
        ours.as_secs_f64() / baseline.as_secs_f64(),
        ours.as_millis(),
        baseline.as_millis()
    ));
    let join = "SELECT count(*) FROM toy.rows a JOIN other.rows b ON a.id = b.id";
    let two = median(|| async { Ok(ask(&toy, join).await?.1) }).await?;
    say(&format!(
        "  join of two sources: {:.2} × one of them ({} ms; 2 would be the sum)",
        two.as_secs_f64() / ours.as_secs_f64(),
        two.as_millis()
    ));
    Ok(())
}

/// A listing by cursor with a time range, beside a client that follows the cursors.
async fn cursors(toy: &Toy) -> Outcome<()> {
    let client = reqwest::Client::new();
    let started = Instant::now();
    let mut cursor = String::new();
    let mut rows = 0;
    loop {
        let url = format!("{}/feed?limit={ROWS}{cursor}", toy.url);
        let page: serde_json::Value = client.get(url).send().await?.error_for_status()?.json().await?;
        rows += page.pointer("/data").and_then(|data| data.as_array()).map_or(0, Vec::len);
        match page.pointer("/meta/next").and_then(|next| next.as_str()) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let serial = started.elapsed();
    if rows != PAGES * ROWS {
        return Err(format!("the serial client saw {rows} rows").into());
    }
    // A range that the rows fill, and one that begins nine months before they do.
    for (range, since, most) in [
        ("with a time range", "2024-09-27T01:21:00Z", "≤ 110"),
        ("since long before", "2024-01-01T00:00:00Z", "few more"),
    ] {
        let (requests, took) = ask(toy, &format!("SELECT count(*) FROM toy.feed WHERE at >= '{since}'")).await?;
        say(&format!(
            "  by cursor, {range}: {requests} requests (wanted {most}), {:.2} × a client that follows the cursors ({} ms \
             against {} ms; wanted ≤ 0.30)",
            took.as_secs_f64() / serial.as_secs_f64(),
            took.as_millis(),
            serial.as_millis()
        ));
    }
    Ok(())
}

/// The same question ten times at once.
async fn at_once(toy: &Toy) -> Outcome<()> {
    let engine = toy.engine()?;
    toy.take_requests();
    let started = Instant::now();
    let questions = (0..10).map(|_| engine.collect("SELECT count(*) FROM toy.rows", QueryOptions::default()));
    futures::future::try_join_all(questions).await?;
    say(&format!(
        "  ten identical queries at once: {} requests (wanted 100), {} ms",
        toy.take_requests(),
        started.elapsed().as_millis()
    ));
    Ok(())
}

/// Throttling, an error and a broken connection on the way.
async fn faults(toy: &Toy) -> Outcome<()> {
    toy.misbehave(true);
    let engine = toy.engine()?;
    toy.take_requests();
    let started = Instant::now();
    let result =
        engine.collect("SELECT count(*) AS n, count(DISTINCT id) AS d FROM toy.rows", QueryOptions::default()).await;
    let took = started.elapsed();
    toy.misbehave(false);
    let result = result?;
    let rows = json_rows(&result.schema, &result.batches)?;
    let figure =
        |name: &str| rows.first().and_then(|row| row.get(name)).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let retries: u64 = result.report.scans.iter().map(|scan| scan.retries).sum();
    say(&format!(
        "  429 on every 10th, one 503, one dropped connection: {} rows, {} of them distinct (wanted 10000, 10000), {retries} \
         retries, {:.1} s (one wait after another would be more than {} s)",
        figure("n"),
        figure("d"),
        took.as_secs_f64(),
        retries
    ));
    toy.take_requests();
    Ok(())
}

/// A key that would lead elsewhere if it became part of the path as it is.
async fn hostile(toy: &Toy) -> Outcome<()> {
    let result =
        toy.engine()?.collect("SELECT id FROM toy.items WHERE key = '../_stats'", QueryOptions::default()).await?;
    let rows = json_rows(&result.schema, &result.batches)?;
    let arrived = rows.first().and_then(|row| row.get("id")).and_then(serde_json::Value::as_u64) == Some(77);
    say(&format!(
        "  key '../_stats' in a path: {} request, {}",
        toy.take_requests(),
        if arrived { "arrived as one key" } else { "ARRIVED AS SOMETHING ELSE" }
    ));
    Ok(())
}

/// A vendor that never answers.
async fn hang(toy: &Toy) -> Outcome<()> {
    let options = QueryOptions { timeout: Duration::from_secs(1), ..QueryOptions::default() };
    let started = Instant::now();
    let outcome = toy.engine()?.collect("SELECT * FROM toy.silence", options).await;
    let error = outcome.err().ok_or("an answer from nobody")?.to_string();
    let names_it = error.contains("toy.silence") && error.contains("/silence");
    say(&format!(
        "  upstream hangs: an error after {:.2} s of a deadline of 1 s that {} the table and the request",
        started.elapsed().as_secs_f64(),
        if names_it { "names" } else { "DOES NOT NAME" }
    ));
    toy.take_requests();
    Ok(())
}

async fn median<F: Future<Output = Outcome<Duration>>>(run: impl Fn() -> F) -> Outcome<Duration> {
    let mut times = vec![run().await?, run().await?, run().await?];
    times.sort();
    Ok(times.swap_remove(1))
}

/// All pages with a bare client that knows their number, parsed as JSON and thrown away.
async fn bare(toy: &Toy) -> Outcome<Duration> {
    let client = reqwest::Client::new();
    let started = Instant::now();
    let pages = futures::stream::iter(1..=PAGES).map(|page| {
        let request = client.get(format!("{}/rows?page={page}&limit={ROWS}", toy.url));
        async move { request.send().await?.error_for_status()?.json::<serde_json::Value>().await }
    });
    let rows: usize = pages
        .buffered(CONCURRENCY)
        .map_ok(|page| page.get("data").and_then(|d| d.as_array()).map_or(0, Vec::len))
        .try_fold(0, |sum, rows| async move { Ok(sum + rows) })
        .await?;
    if rows != PAGES * ROWS {
        return Err(format!("the bare client saw {rows} rows").into());
    }
    Ok(started.elapsed())
}

async fn ask(toy: &Toy, sql: &str) -> Outcome<(usize, Duration)> {
    let engine = toy.engine()?;
    toy.take_requests();
    let started = Instant::now();
    let result = engine.collect(sql, QueryOptions::default()).await?;
    let took = started.elapsed();
    if !result.report.complete {
        return Err(format!("{sql}: incomplete").into());
    }
    Ok((toy.take_requests(), took))
}
