//! What a whole process costs: `tripline sql` from nothing, and a query through a running `tripline serve`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::say;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Every bundled source, configured: with credentials, and a base URL where nobody listens.
const SOURCES: [(&str, &str); 18] = [
    ("LANGFUSE_BASE_URL", "http://127.0.0.1:9"),
    ("LANGFUSE_PUBLIC_KEY", "pk-bench"),
    ("LANGFUSE_SECRET_KEY", "sk-bench"),
    ("SENTRY_BASE_URL", "http://127.0.0.1:9"),
    ("SENTRY_TOKEN", "bench"),
    ("SENTRY_ORG", "bench"),
    ("GITHUB_API_URL", "http://127.0.0.1:9"),
    ("GITHUB_TOKEN", "bench"),
    ("SLACK_API_URL", "http://127.0.0.1:9"),
    ("SLACK_TOKEN", "xoxb-bench"),
    ("DATADOG_API_URL", "http://127.0.0.1:9"),
    ("DD_API_KEY", "bench"),
    ("DD_APP_KEY", "bench"),
    ("PAGERDUTY_API_URL", "http://127.0.0.1:9"),
    ("PAGERDUTY_TOKEN", "bench"),
    ("LINEAR_API_URL", "http://127.0.0.1:9"),
    ("LINEAR_API_KEY", "bench"),
    ("AUTH_MODE", "dev"),
];

pub(crate) async fn run() -> Outcome<()> {
    say("\nprocesses: SELECT 1 from nothing, and through a server");
    let binary = std::env::current_exe()?.with_file_name("tripline");
    if !binary.exists() {
        say("  skipped: the binary is not built (cargo build --release --bin tripline)");
        return Ok(());
    }
    cold(&binary)?;
    warm(&binary).await
}

fn command(binary: &Path, home: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().envs(SOURCES).env("TRIPLINE_HOME", home);
    command
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A whole process, as a person starts it; beside the smallest there is.
fn cold(binary: &Path) -> Outcome<()> {
    let home = tempfile::tempdir()?;
    let (mut times, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let started = Instant::now();
        let run = command(binary, home.path()).args(["sql", "select 1"]).output()?;
        times.push(started.elapsed());
        if !run.status.success() {
            return Err(String::from_utf8_lossy(&run.stderr).into_owned().into());
        }
        let started = Instant::now();
        Command::new("true").output()?;
        bare.push(started.elapsed());
    }
    say(&format!(
        "  cold `tripline sql \"select 1\"`, all sources configured: {} ms (wanted < 60; `true` takes {} ms)",
        median(times).as_millis(),
        median(bare).as_millis()
    ));
    Ok(())
}

/// A running server, stopped when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn warm(binary: &Path) -> Outcome<()> {
    let home = tempfile::tempdir()?;
    let mut child = command(binary, home.path())
        .args(["serve", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let printed = child.stdout.take().ok_or("no output")?;
    let _server = Server(child);
    let mut line = String::new();
    BufReader::new(printed).read_line(&mut line)?;
    let url = line.trim().strip_prefix("listening on ").ok_or_else(|| format!("the server said {line:?}"))?.to_owned();
    // Its first jobs find no vendor; that is over soon.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let client = reqwest::Client::new();
    let (mut times, mut health) = (Vec::new(), Vec::new());
    for round in 0..220 {
        let started = Instant::now();
        let request = client.post(format!("{url}/api/v1/sql")).body(r#"{"sql":"select 1"}"#);
        let answer = request.header("content-type", "application/json").send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(format!("{status}: {text}").into());
        }
        if round >= 20 {
            times.push(started.elapsed());
        }
        let started = Instant::now();
        client.get(format!("{url}/healthz")).send().await?.error_for_status()?.bytes().await?;
        if round >= 20 {
            health.push(started.elapsed());
        }
    }
    say(&format!(
        "  warm `select 1` through `serve`: {:.2} ms (wanted < 2; an empty answer of the same server takes {:.2} ms)",
        median(times).as_secs_f64() * 1000.0,
        median(health).as_secs_f64() * 1000.0
    ));
    Ok(())
}
