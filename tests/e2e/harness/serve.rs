//! A running `tripline serve`.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{PATIENCE, client, until};

/// A server; it is killed when dropped.
pub(crate) struct Serve {
    child: Child,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    log: Arc<Mutex<String>>,
}

/// An answer of its API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// The first line that a process prints; what comes after is read and dropped, so that the process never waits for it.
pub(super) async fn first_line(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let read = tokio::time::timeout(PATIENCE, lines.read_line(&mut line)).await;
    read.unwrap_or_else(|_| panic!("nothing was printed within {PATIENCE:?}")).unwrap();
    tokio::spawn(async move { tokio::io::copy(&mut lines, &mut tokio::io::sink()).await });
    line
}

impl Serve {
    pub(super) async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut errors = child.stderr.take().unwrap();
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            let mut buffer = vec![0; 8192];
            while let Ok(read @ 1..) = errors.read(&mut buffer).await {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let line = first_line(&mut child).await;
        let url = line.trim().strip_prefix("listening on ");
        let url = url.unwrap_or_else(|| panic!("{line:?} {}", log.lock().unwrap())).to_owned();
        Self { child, url, client: client(), log }
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// `GET`s a path, which must answer 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "GET {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("GET {path}: {error}: {text}"))
    }

    /// The items of a listing.
    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).await["items"].as_array().unwrap().clone()
    }

    /// `POST`s JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let answer = self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// Waits until every detector has judged the window of now, and returns the last runs by job.
    pub(crate) async fn judged(&self) -> Vec<Value> {
        until("every detector to have judged", async || {
            let jobs = self.items("/api/v1/jobs").await;
            // Those of sessions run only when there is one.
            let others = [
                "approval_expiry",
                "session_processing",
                "session_monitoring",
                "on_call_brain",
                "drift_patrol",
                "weekly_digest",
                "pr_risk",
                "risk_history",
                "trace_sampler",
            ];
            let detectors = jobs.iter().filter(|job| !others.iter().any(|name| job["name"] == *name));
            let runs: Vec<Value> = detectors.map(|job| job["last_run"].clone()).collect();
            let ended = |run: &Value| run["finished_at"].is_string();
            (!runs.is_empty() && runs.iter().all(ended)).then_some(runs)
        })
        .await
    }

    /// The incident of a type, with everything about it, once it is there and investigated.
    pub(crate) async fn incident(&self, kind: &str) -> Value {
        until(&format!("an incident of type {kind}"), async || {
            let items = self.items(&format!("/api/v1/incidents?type={kind}")).await;
            let id = items.first().filter(|item| item["investigated_at"].is_string())?["id"].clone();
            Some(self.get(&format!("/api/v1/incidents/{}", id.as_str().unwrap())).await)
        })
        .await
    }

    /// The pending approval of a type, once its message is in Slack.
    pub(crate) async fn pending(&self, kind: &str) -> Value {
        until(&format!("a pending approval of type {kind} in Slack"), async || {
            let items = self.items("/api/v1/approvals?status=pending").await;
            items.into_iter().find(|item| item["incident_type"] == kind && item["slack_ts"].is_string())
        })
        .await
    }

    /// The actions that change something outside.
    pub(crate) async fn remediations(&self) -> Vec<Value> {
        self.items("/api/v1/actions?kind=remediation").await
    }

    /// The one remediation, once it has this status.
    pub(crate) async fn remediation(&self, status: &str) -> Value {
        until(&format!("the action to be {status}"), async || {
            let mut actions = self.remediations().await;
            assert!(actions.len() <= 1, "{actions:#?}");
            actions.pop().filter(|action| action["status"] == status)
        })
        .await
    }

    /// Ends it as a crash does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it did not end: {}", self.log())).unwrap()
    }
}
