//! Simulated vendors, in this process or in one of their own, and what came in at them.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tripline_simulator::{
    Content, DEFAULT_SEED, LangfuseGeneration, Scenario, SimulatorHandle, SimulatorOptions, Truth, default_anchor,
    start,
};

use super::{SIGNING_SECRET, Serve, Site, client, text};

/// Whose data it is.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) owner: String,
    pub(crate) repo: String,
    pub(crate) sentry_org: String,
}

/// What keeps the vendors there.
enum Running {
    Here(#[allow(dead_code, reason = "dropping it stops the vendors")] SimulatorHandle),
    Process(#[allow(dead_code, reason = "dropping it stops the vendors")] tokio::process::Child),
}

/// The simulated vendors.
pub(crate) struct Vendors {
    _running: Running,
    base: String,
    account: Account,
    client: reqwest::Client,
}

/// A request as the simulator logged it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) source: String,
    pub(crate) method: String,
    pub(crate) path: String,
    #[allow(dead_code, reason = "shown when a count is wrong")]
    pub(crate) query: String,
}

/// A write that was carried out.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) source: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Value,
}

fn word(entry: &Value, key: &str) -> String {
    entry[key].as_str().unwrap_or_default().to_owned()
}

impl Vendors {
    /// Vendors with a bundled history that ends at [`default_anchor`], seen at `clock`.
    pub(crate) async fn with(scenarios: &[Scenario], clock: DateTime<Utc>) -> Self {
        let options = SimulatorOptions {
            content: Content::Scenarios(scenarios.to_vec()),
            clock: Some(clock),
            ..SimulatorOptions::default()
        };
        let (_, truth) = Scenario::generate(scenarios, default_anchor(), DEFAULT_SEED);
        Self::start(options, Account::of(&truth)).await
    }

    /// Vendors with the data of a folder, in this process.
    pub(crate) async fn of_folder(
        folder: &Path,
        account: Account,
        clock: Option<DateTime<Utc>>,
        langfuse: LangfuseGeneration,
    ) -> Self {
        let content = Content::DataDir(folder.to_owned());
        Self::start(SimulatorOptions { content, clock, langfuse, ..SimulatorOptions::default() }, account).await
    }

    /// Vendors with these options.
    pub(crate) async fn start(options: SimulatorOptions, account: Account) -> Self {
        let handle = start(options).await.unwrap();
        let base = handle.base_url();
        Self { _running: Running::Here(handle), base, account, client: client() }
    }

    /// `tripline simulate --data` in a process of its own.
    pub(crate) async fn simulate(folder: &Path, account: Account, clock: DateTime<Utc>) -> Self {
        let (child, base) = Site::simulate(&["--data", folder.to_str().unwrap(), "--clock", &text(clock)]).await;
        Self { _running: Running::Process(child), base, account, client: client() }
    }

    /// `http://host:port`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Whose data it is.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    async fn control(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(format!("{}{path}", self.base)).json(body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn log(&self, path: &str) -> Vec<Value> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        answer.json::<Vec<Value>>().await.unwrap()
    }

    /// What came in.
    pub(crate) async fn requests(&self) -> Vec<Request> {
        let log = self.log("/_requests").await;
        let request = |entry: &Value| Request {
            source: word(entry, "source"),
            method: word(entry, "method"),
            path: word(entry, "path"),
            query: word(entry, "query"),
        };
        log.iter().map(request).collect()
    }

    /// What was carried out.
    pub(crate) async fn writes(&self) -> Vec<Write> {
        let log = self.log("/_writes").await;
        let write = |entry: &Value| Write {
            source: word(entry, "source"),
            method: word(entry, "method"),
            path: word(entry, "path"),
            body: entry["body"].clone(),
        };
        log.iter().map(write).collect()
    }

    /// The GitHub issues that were opened.
    pub(crate) async fn issues(&self) -> Vec<Write> {
        let mut writes = self.writes().await;
        writes.retain(|write| write.source == "github" && write.method == "POST" && write.path.ends_with("/issues"));
        writes
    }

    /// How often it was tried to open an issue, carried out or not.
    pub(crate) async fn attempts_to_open(&self) -> usize {
        let requests = self.requests().await;
        let opens =
            requests.iter().filter(|r| r.source == "github" && r.method == "POST" && r.path.ends_with("/issues"));
        opens.count()
    }

    /// Empties both logs.
    pub(crate) async fn forget(&self) {
        self.control("/_reset", &json!({})).await;
    }

    /// Misbehaves from now on.
    pub(crate) async fn fault(&self, source: &str, path: &str, fault: &str) {
        self.control("/_fault", &json!({"source": source, "path": path, "fault": fault})).await;
    }

    /// Misbehaves once.
    pub(crate) async fn fault_once(&self, source: &str, path: &str, fault: &str) {
        self.control("/_fault", &json!({"source": source, "path": path, "fault": fault, "times": 1})).await;
    }

    /// Behaves again.
    pub(crate) async fn heal(&self) {
        for source in ["langfuse", "sentry", "github", "slack", "datadog", "pagerduty", "linear"] {
            self.control("/_fault", &json!({"source": source, "path": "", "fault": "none"})).await;
        }
    }

    /// Moves the clock.
    pub(crate) async fn set_clock(&self, now: DateTime<Utc>) {
        self.control("/_clock", &json!({"now": text(now)})).await;
    }

    /// A user presses a button of an approval's message; returns what the server answered.
    pub(crate) async fn click(&self, serve: &Serve, user: &str, approval: &Value, action_id: &str) -> u64 {
        self.click_at(&format!("{}/api/slack/actions", serve.url), user, approval, action_id).await
    }

    /// The same, with another address that Slack sends presses to.
    pub(crate) async fn click_at(&self, request_url: &str, user: &str, approval: &Value, action_id: &str) -> u64 {
        let click = json!({
            "request_url": request_url,
            "signing_secret": SIGNING_SECRET,
            "user": user,
            "channel": approval["slack_channel"],
            "ts": approval["slack_ts"],
            "action_id": action_id,
        });
        let answer = self.control("/_click", &click).await;
        answer["status"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }
}

impl Account {
    fn of(truth: &Truth) -> Self {
        Self { owner: truth.owner.clone(), repo: truth.repo.clone(), sentry_org: truth.sentry_org.clone() }
    }
}
