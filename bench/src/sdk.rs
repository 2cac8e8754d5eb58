//! What reporting a run costs the agent: with a server that answers, and with none.
//!
//! The baseline of an event is a clock reading and a push of as many texts behind a lock, the least that anything of the
//! kind does. Hashing is measured apart: it depends on what is hashed.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tripline_sdk::{
    Client, LlmResponse, Options, RetrievalResponse, Run, RunOptions, ToolResponse, hash_args, hash_content,
};

use crate::say;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Events that are timed one by one.
const EVENTS: usize = 200_000;
const RUNS: usize = 2_000;

pub(crate) fn run() -> Outcome<()> {
    say("\nsdk: what reporting costs the agent");
    let baseline = baseline();
    say(&format!("  baseline, a clock reading and two texts pushed behind a lock: {}", shown(&baseline)));
    let answering = sink()?;
    let nobody = format!("http://{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    for (name, endpoint) in [("with a server", answering.as_str()), ("with nobody there", nobody.as_str())] {
        let client = Client::new(Options { endpoint: Some(endpoint.to_owned()), ..Options::default() })?;
        let run = client.run("bench", &RunOptions::default());
        let times = each(|| run.llm_called("gpt-4o", 150));
        say(&format!(
            "  enqueue one event, {name}: {}; {:.1} × the baseline",
            shown(&times),
            mean(&times) / mean(&baseline)
        ));
        drop(run);
        let whole = runs(&client);
        say(&format!("  a run of 20 events with 8 hashes, {name}: {}", shown(&whole)));
        let stats = client.stats();
        say(&format!("    of {} events {} made room for newer ones", stats.enqueued, stats.overwritten));
        let began = Instant::now();
        client.shutdown(Duration::from_millis(500));
        say(&format!("    shutdown told to take 500 ms at most took {:.0} ms", began.elapsed().as_secs_f64() * 1e3));
    }
    let text = "x".repeat(1_000);
    let args = json!({"query": text, "limit": 10, "filters": ["a", "b"]});
    say(&format!("  hash 1,000 characters: {}", shown(&each(|| drop(black_box(hash_content(black_box(&text))))))));
    say(&format!("  hash arguments with them: {}", shown(&each(|| drop(black_box(hash_args(black_box(&args))))))));
    Ok(())
}

/// Nanoseconds of each call, sorted.
fn each(mut work: impl FnMut()) -> Vec<u64> {
    let mut times: Vec<u64> = (0..EVENTS)
        .map(|_| {
            let began = Instant::now();
            work();
            u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    times.sort_unstable();
    times
}

fn mean(times: &[u64]) -> f64 {
    times.iter().sum::<u64>() as f64 / times.len().max(1) as f64
}

fn shown(times: &[u64]) -> String {
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or(0) as f64 / 1e3;
    format!("mean {:.3} µs, p50 {:.3}, p99 {:.3}, p99.9 {:.3}", mean(times) / 1e3, at(0.5), at(0.99), at(0.999))
}

fn baseline() -> Vec<u64> {
    let queue: Mutex<VecDeque<(SystemTime, String, String)>> = Mutex::new(VecDeque::with_capacity(10_000));
    each(|| {
        let item = (SystemTime::now(), "gpt-4o".to_owned(), "llm.called".to_owned());
        if let Ok(mut queue) = queue.lock() {
            if queue.len() == 10_000 {
                queue.pop_front();
            }
            queue.push_back(item);
        }
    })
}

/// Runs of six steps, as an agent reports them.
fn runs(client: &Client) -> Vec<u64> {
    let input = "Where is my order? ".repeat(20);
    let prompt = "You answer questions about orders. ".repeat(30);
    let args = json!({"order": 42, "customer": "c-17"});
    let mut times: Vec<u64> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            let tools = ["find_order", "refund", "search"];
            let options = RunOptions {
                user_input: &input,
                system_prompt: &prompt,
                model: "gpt-4o",
                tools: &tools,
                ..RunOptions::default()
            };
            let run = client.run("bench", &options);
            for _ in 0..3 {
                step(&run, &args);
            }
            run.final_answer();
            run.complete();
            u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    times.sort_unstable();
    times
}

fn step(run: &Run, args: &serde_json::Value) {
    run.llm_called("gpt-4o", 150);
    let output_hash = hash_content("Let me look that up for you.");
    run.llm_responded(&LlmResponse { completion_tokens: 20, output_hash: &output_hash, ..LlmResponse::default() });
    run.tool_called("find_order", args);
    run.tool_responded("find_order", &ToolResponse { output_length: 512, ..ToolResponse::default() });
    run.retrieval_called("docs", "");
    run.retrieval_responded("docs", &RetrievalResponse { result_count: 3, top_score: Some(0.8), latency_ms: 12 });
}

/// A server that answers 202 to whatever comes.
fn sink() -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(url)
}

fn answer(mut stream: std::net::TcpStream) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut part = [0; 65_536];
    loop {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&part[..read]);
        while let Some(end) = whole_request(&bytes) {
            bytes.drain(..end);
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}")?;
        }
    }
}

/// How long the first request is, once all of it is there.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(bytes.get(..head)?).ok()?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())?;
    (bytes.len() >= head + length).then_some(head + length)
}
