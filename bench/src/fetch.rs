//! How many requests a question costs, and how long it takes beside a bare HTTP client at the same concurrency.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use tripline_engine::QueryOptions;

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

    let questions = [
        ("SELECT * FROM toy.rows LIMIT 10", "1"),
        ("SELECT * FROM toy.rows LIMIT 250", "3"),
        ("SELECT * FROM toy.rows WHERE length(key) > 1 LIMIT 10", "1-2"),
        ("SELECT * FROM toy.rows ORDER BY at DESC LIMIT 10", "1"),
        (
            "SELECT count(*) FROM toy.rows WHERE at >= '2024-10-03T22:00:00Z' AND at < '2024-10-04T00:00:00Z'",
            "the window's pages",
        ),
        ("SELECT count(*) FROM toy.rows", "100"),
    ];
    for (sql, wanted) in questions {
        let (requests, took) = ask(&toy, sql).await?;
        say(&format!("  {requests:>4} requests (wanted {wanted:>18})  {:>6} ms  {sql}", took.as_millis()));
    }

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
