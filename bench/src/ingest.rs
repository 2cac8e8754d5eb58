//! Taking events: through the real server over HTTP with wrk on the same machine, and sealing them.
//!
//! Owns: the load (batches of 100 and single events, each event new), the disk's own rate of fsync beside it, and the same
//! on a folder in memory, where waiting for the disk costs nothing. Must hold: no event is a duplicate of another, so that
//! every acknowledged one was written; the key is checked as in production.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use chrono::{TimeDelta, Utc};
use serde_json::json;
use tripline_engine::{Engine, EngineOptions, LocalTable, QueryOptions, SystemClock};
use tripline_store::{EventFilter, MaintenancePolicy, OpenMode, Scope, SqliteStore, WireEvent, sql_tables};

use crate::say;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const CONNECTIONS: u32 = 64;
const SECONDS: u32 = 10;
const DAY_US: i64 = 86_400_000_000;

pub(crate) async fn run(events: Option<&str>) -> Outcome<()> {
    say("\ningest: durable before 202");
    let on_disk = tempfile::tempdir_in(".")?;
    say(&format!("  the disk waits for {:.0} writes of 8 KiB a second, one after the other", fsyncs(on_disk.path())?));
    let count = events.map(str::parse).transpose()?.unwrap_or(1_000_000);
    over_http(on_disk.path(), "on disk")?;
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let in_memory = tempfile::tempdir_in(memory)?;
        over_http(in_memory.path(), "in memory (no fsync)")?;
    }
    sealed(on_disk.path(), count).await
}

/// Writes that the disk acknowledges a second.
fn fsyncs(folder: &Path) -> Outcome<f64> {
    let mut file = std::fs::File::create(folder.join("fsync"))?;
    let (block, count) = ([7; 8192], 300);
    let started = Instant::now();
    for _ in 0..count {
        file.write_all(&block)?;
        file.sync_data()?;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// `tripline serve`, ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn binary() -> Outcome<Option<PathBuf>> {
    let binary = std::env::current_exe()?.with_file_name("tripline");
    Ok(binary.exists().then_some(binary))
}

impl Server {
    /// A server on `home`, and a key of `scope` for it.
    pub(crate) fn start(binary: &Path, home: &Path, scope: &str) -> Outcome<Self> {
        let command = || {
            let mut command = Command::new(binary);
            command.env_clear().env("TRIPLINE_HOME", home).env("RUST_LOG", "warn");
            command
        };
        let made = command().args(["keys", "create", "bench", "--person", "bench", "--scope", scope]).output()?;
        let key = String::from_utf8(made.stdout)?;
        let key = key.split_whitespace().find(|word| word.starts_with("tl_")).ok_or("no key was printed")?.to_owned();
        let mut child =
            command().args(["serve", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or("no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        let url = line.trim().strip_prefix("listening on ").ok_or("the server did not start")?.to_owned();
        Ok(Self { child, url, key })
    }
}

/// The script of wrk: each request has an id of its own in every run id, so no event was there before.
fn script(key: &str, run: &str, events: usize) -> String {
    let now = Utc::now().timestamp() as f64;
    let event = |n: usize| {
        let step = n % 20;
        let (kind, payload) = match n % 4 {
            0 => ("llm.called", json!({"model": "gpt-4o", "prompt_tokens": 150 + n})),
            1 => (
                "llm.responded",
                json!({"completion_tokens": 20, "latency_ms": 300 + n, "finish_reason": "tool_calls", "output_hash": "",
                       "output_length": 42}),
            ),
            2 => ("tool.called", json!({"tool_name": "web_search", "args_hash": "09404b797168f2c2"})),
            _ => (
                "tool.responded",
                json!({"tool_name": "web_search", "success": true, "output_length": 512, "latency_ms": 88}),
            ),
        };
        json!({"event_type": kind, "run_id": format!("@{:04}", n / 20), "agent_id": format!("agent-{}", n % 3),
               "agent_version": "88e66bb2", "step_index": step, "timestamp": now + n as f64 / 1000.0,
               "payload": payload, "parent_run_id": null})
    };
    let events: Vec<_> = (0..events).map(event).collect();
    let body = json!({"api_key": "", "agent_id": "bench", "events": events}).to_string();
    format!(
        r#"
local parts = {{}}
for part in (([==[{body}]==]) .. "@"):gmatch("([^@]*)@") do parts[#parts + 1] = part end
local threads = 0
function setup(thread) thread:set("id", threads); threads = threads + 1 end
local count = 0
function request()
  count = count + 1
  return wrk.format("POST", "/v1/ingest", nil, table.concat(parts, string.format("{run}-%02d-%09d-", id, count)))
end
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
"#
    )
}

/// Processor time that a process has taken, seconds; `None` where the system does not say.
fn processor(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything, in brackets: user and system time are the 12th and 13th.
    let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

/// What wrk measured.
pub(crate) struct Load {
    pub(crate) requests: f64,
    /// Microseconds of processor time that the server took per request: what a busy machine does not change.
    processor_us: Option<f64>,
    pub(crate) p50: String,
    pub(crate) p99: String,
    pub(crate) failed: bool,
}

fn load(server: &Server, folder: &Path, run: &str, events: usize, connections: u32, seconds: u32) -> Outcome<Load> {
    let file = folder.join("load.lua");
    std::fs::write(&file, script(&server.key, run, events))?;
    wrk(server, &file, "", connections, seconds)
}

/// Runs wrk with a script on a path of the server.
pub(crate) fn wrk(server: &Server, script: &Path, path: &str, connections: u32, seconds: u32) -> Outcome<Load> {
    let before = processor(server.child.id());
    let wrk = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", "--timeout", "10s", "-s"])
        .arg(script)
        .arg(format!("{}{path}", server.url))
        .output()?;
    let said = String::from_utf8(wrk.stdout)?;
    let taken = before.zip(processor(server.child.id())).map(|(before, after)| after - before);
    // "  12345 requests in 10.00s, 1.23MB read"
    let count = said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<f64>().ok());
    let after = |label: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(label));
        line.map(|rest| rest.trim().to_owned()).ok_or_else(|| format!("wrk said nothing of {label}: {said}"))
    };
    Ok(Load {
        requests: after("Requests/sec:")?.parse()?,
        processor_us: taken.zip(count).map(|(seconds, count)| seconds * 1e6 / count.max(1.0)),
        p50: after("50%")?,
        p99: after("99%")?,
        failed: said.contains("Non-2xx") || said.contains("Socket errors"),
    })
}

fn over_http(folder: &Path, place: &str) -> Outcome<()> {
    let Some(binary) = binary()? else {
        say("  over HTTP: the binary is not built (cargo build --release --bin tripline)");
        return Ok(());
    };
    if Command::new("wrk").arg("-v").output().is_err() {
        say("  over HTTP: wrk is not here (apt-get install wrk)");
        return Ok(());
    }
    let home = folder.join("home");
    let server = Server::start(&binary, &home, "ingest")?;
    let warm = load(&server, folder, "w", 100, 8, 2)?;
    say(&format!("  {place}:"));
    let idle = load(&server, folder, "i", 1, 1, 3)?;
    say(&format!("    one connection, single events: p50 {} (wanted < 5 ms), p99 {}", idle.p50, idle.p99));
    let batches = load(&server, folder, "b", 100, CONNECTIONS, SECONDS)?;
    say(&format!(
        "    {CONNECTIONS} connections, batches of 100: {:.0} events/s (wanted 100000), p50 {}, p99 {} (wanted < 50 ms)",
        batches.requests * 100.0,
        batches.p50,
        batches.p99
    ));
    let singles = load(&server, folder, "s", 1, CONNECTIONS, SECONDS)?;
    say(&format!(
        "    {CONNECTIONS} connections, single events: {:.0} requests/s (wanted 15000), p50 {}, p99 {}",
        singles.requests, singles.p50, singles.p99
    ));
    if let (Some(batch), Some(single)) = (batches.processor_us, singles.processor_us) {
        say(&format!(
            "    processor time of the server, sealing included: {:.1} µs per event in batches, {single:.0} µs per single event",
            batch / 100.0
        ));
    }
    if [&warm, &idle, &batches, &singles].iter().any(|load| load.failed) {
        say("    some requests were refused or failed: the figures are not good");
    }
    Ok(())
}

/// Events as SDK 0.5.7 sends them, all of them different; `seed` tells one batch from another.
fn realistic(seed: u64, count: usize, at: f64) -> Vec<WireEvent> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let id = |a: u64, b: u64| {
        format!("{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}", a >> 32, a & 0xffff, (a >> 16) & 0xfff, b & 0xfff, b >> 16)
    };
    let mut run = String::new();
    (0..count)
        .map(|n| {
            let step = n % 20;
            if step == 0 {
                run = id(random(), random());
            }
            let (event_type, payload) = match step {
                0 => (
                    "run.started",
                    json!({"input_text": format!("question {}", random()), "model": "gpt-4o",
                                             "system_prompt": "You are helpful.", "tools": ["web_search", "calculator"],
                                             "sdk_version": "0.5.7", "source_file": "agent.py"}),
                ),
                19 => ("run.completed", json!({"total_steps": 9, "exit_reason": "final_answer", "tool_call_count": 4})),
                _ => match step % 4 {
                    0 => (
                        "llm.called",
                        json!({"model": "gpt-4o", "prompt_tokens": 100 + random() % 4_000, "call_id": n}),
                    ),
                    1 => (
                        "llm.responded",
                        json!({"completion_tokens": random() % 500, "latency_ms": random() % 3_000,
                                                   "output_length": random() % 2_000, "finish_reason": "stop",
                                                   "output": format!("answer {}", random()), "call_id": n}),
                    ),
                    2 => {
                        ("tool.called", json!({"tool_name": "web_search", "args": format!("{{\"q\": {}}}", random())}))
                    }
                    _ => (
                        "tool.responded",
                        json!({"tool_name": "web_search", "success": random() % 10 > 0,
                                                    "output_length": random() % 5_000, "latency_ms": random() % 900}),
                    ),
                },
            };
            WireEvent {
                event_type: event_type.to_owned(),
                run_id: run.clone(),
                agent_id: format!("agent-{}", seed % 12),
                agent_version: "88e66bb2".to_owned(),
                step_index: step as i64 / 2,
                timestamp: Some(at + n as f64 * 0.013 + (random() % 1_000) as f64 / 1e6),
                payload: payload.as_object().cloned().unwrap_or_default(),
                event_id: Some(id(random(), random())),
                ..WireEvent::default()
            }
        })
        .collect()
}

async fn sealed(folder: &Path, count: usize) -> Outcome<()> {
    const BATCH: usize = 2_000;
    let store = SqliteStore::open(folder.join("sealed").join("tripline.db"), OpenMode::Serve)?;
    let (scope, now) = (Scope::default_project(), Utc::now());
    let policy = MaintenancePolicy::default();
    let started = Instant::now();
    let mut sealing = Duration::ZERO;
    for batch in 0..count.div_ceil(BATCH) {
        // Two days, so that a day is half of it.
        let at = now - TimeDelta::microseconds(2 * DAY_US)
            + TimeDelta::microseconds(2 * DAY_US / (count.div_ceil(BATCH) as i64) * batch as i64);
        let events = realistic(batch as u64 + 1, BATCH, at.timestamp() as f64);
        store.store().events.accept(&scope, now, events).await?;
        if batch % 64 == 63 {
            let began = Instant::now();
            store.maintain_events(now, &policy).await?;
            sealing += began.elapsed();
        }
    }
    let began = Instant::now();
    store.maintain_events(now + TimeDelta::hours(1), &policy).await?;
    sealing += began.elapsed();
    say(&format!(
        "  {count} events (SDK 0.5.7's shape, ids and hashes all different) taken in this process in {:.1} s, of which \
         sealing and compaction {:.1} s",
        started.elapsed().as_secs_f64(),
        sealing.as_secs_f64()
    ));
    let (bytes, hash, rows) = sizes(&folder.join("sealed").join("segments"))?;
    say(&format!(
        "    {:.1} bytes per sealed event without its hash (wanted 60), {:.1} with it (wanted 110)",
        (bytes - hash) as f64 / rows as f64,
        bytes as f64 / rows as f64
    ));
    asked(&store, &scope).await
}

/// Bytes of all files, of their column `sha256`, and their rows; of files that were replaced, nothing.
fn sizes(folder: &Path) -> Outcome<(i64, i64, i64)> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    let (mut bytes, mut hash, mut rows) = (0, 0, 0);
    for path in found {
        let reader = SerializedFileReader::new(std::fs::File::open(&path)?)?;
        let metadata = reader.metadata();
        bytes += i64::try_from(std::fs::metadata(&path)?.len())?;
        rows += metadata.file_metadata().num_rows();
        for group in metadata.row_groups() {
            let columns = group.columns().iter().filter(|column| column.column_path().string() == "sha256");
            hash += columns.map(|column| column.compressed_size()).sum::<i64>();
        }
    }
    Ok((bytes, hash, rows))
}

async fn asked(store: &SqliteStore, scope: &Scope) -> Outcome<()> {
    let local = sql_tables(store, scope).into_iter().map(|table| LocalTable {
        schema: table.schema.to_owned(),
        name: table.name.to_owned(),
        provider: table.provider,
    });
    let engine = Engine::new(std::sync::Arc::new(SystemClock), EngineOptions::default(), &[], local.collect())?;
    let run = {
        let filter = EventFilter { columns: Some(vec![2]), ..EventFilter::default() };
        let mut stream = store.store().events.scan(scope, filter).await?;
        let batch = futures::StreamExt::next(&mut stream).await.ok_or("there are no events")??;
        batch.column(0).as_string::<i32>().value(0).to_owned()
    };
    for (what, sql) in [
        ("all of them counted", "SELECT count(*) AS n FROM ingest.events".to_owned()),
        (
            "one day by agent and type",
            "SELECT agent_id, event_type, count(*) AS n FROM ingest.events
             WHERE occurred_at >= now() - INTERVAL '1 day' GROUP BY agent_id, event_type"
                .to_owned(),
        ),
        (
            "one run, step by step",
            format!("SELECT count(*) AS n, max(payload) AS p FROM ingest.events WHERE run_id = '{run}'"),
        ),
    ] {
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..5 {
            let started = Instant::now();
            let answer = engine.collect(&sql, QueryOptions::default()).await?;
            times.push(started.elapsed());
            rows = answer
                .batches
                .iter()
                .filter_map(|batch| batch.column_by_name("n"))
                .flat_map(|column| column.as_primitive::<Int64Type>().values().iter())
                .sum();
        }
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        say(&format!("    {what} ({rows} events): {:.0} ms", median.as_secs_f64() * 1000.0));
    }
    Ok(())
}
