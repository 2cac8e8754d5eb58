//! What rows cost here: memory of a long result, processor time of columns nobody asked for, the cost of asking at all.

use std::io::Write;
use std::time::{Duration, Instant};

use tripline_engine::{Engine, OutputFormat, QueryOptions, RowWriter};

use crate::say;
use crate::toy::{LONG_PAGES, Toy, VENDOR, WIDE};

/// How often a question is asked whose processor time is measured.
const REPEATS: u32 = 5;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub(crate) async fn run() -> Outcome<()> {
    say("\nlocal: memory, processor time, the cost of asking");
    let toy = Toy::apart().await?;
    memory(&toy).await?;
    columns(&toy).await?;
    asking(&toy.engine()?).await
}

/// Counts what is written and throws it away.
#[derive(Default)]
struct Sink(u64);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A field of this process's memory status, MiB; `None` where the system does not say.
fn status(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

async fn memory(toy: &Toy) -> Outcome<()> {
    let engine = toy.engine()?;
    engine.collect("SELECT id FROM toy.long LIMIT 1", QueryOptions::default()).await?;
    // Starts the peak anew.
    let is_reset = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let idle = status("VmRSS");
    let started = Instant::now();
    let mut stream = engine.query("SELECT * FROM toy.long", QueryOptions::default()).await?;
    let mut writer = RowWriter::new(Sink::default(), OutputFormat::Ndjson, stream.schema());
    let mut rows = 0;
    while let Some(batch) = stream.next().await? {
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.finish()?;
    if rows != LONG_PAGES * 1000 {
        return Err(format!("the long table has {rows} rows").into());
    }
    match (idle, status("VmHWM").filter(|_| is_reset)) {
        (Some(idle), Some(peak)) => say(&format!(
            "  {rows} rows to ndjson: {} MiB over idle at the peak, the vendor included (wanted < 300), {:.1} s",
            peak.saturating_sub(idle),
            started.elapsed().as_secs_f64()
        )),
        _ => say("  memory of a long result: this system does not say"),
    }
    Ok(())
}

/// Processor time of this process so far, the vendor's apart; `None` where the system does not say.
fn processor() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok();
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let of_thread = |path: std::path::PathBuf| -> Option<u64> {
        if std::fs::read_to_string(path.join("comm")).ok()?.trim() == VENDOR {
            return None;
        }
        std::fs::read_to_string(path.join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
    };
    let nanos: u64 = threads.filter_map(|thread| of_thread(thread.ok()?.path())).sum();
    text.map(|_| Duration::from_nanos(nanos))
}

async fn columns(toy: &Toy) -> Outcome<()> {
    let mut costs = Vec::new();
    for sql in ["SELECT c7 FROM toy.wide", "SELECT * FROM toy.wide"] {
        let engine = toy.engine()?;
        engine.collect(sql, QueryOptions::default()).await?;
        let before = processor();
        for _ in 0..REPEATS {
            engine.collect(sql, QueryOptions::default()).await?;
        }
        costs.extend(before.zip(processor()).map(|(before, after)| after.saturating_sub(before) / REPEATS));
    }
    match costs.as_slice() {
        [one, all] => say(&format!(
            "  one column of {WIDE} against all of them: {:.1} × less processor time ({} ms against {} ms, receiving \
             the same bytes included; wanted ≥ 5)",
            all.as_secs_f64() / one.as_secs_f64().max(1e-9),
            one.as_millis(),
            all.as_millis()
        )),
        _ => say("  processor time of columns: this system does not say"),
    }
    Ok(())
}

async fn asking(engine: &Engine) -> Outcome<()> {
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        engine.collect("SELECT 1", QueryOptions::default()).await?;
        times.push(started.elapsed());
    }
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    say(&format!(
        "  SELECT 1 in a warm process: {:.2} ms (wanted < 2 through `serve`, its HTTP included)",
        median.as_secs_f64() * 1000.0
    ));
    Ok(())
}
