//! One installation: a home of its own and an environment that knows nothing but the simulated vendors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::{APPROVER, PATIENCE, SIGNING_SECRET, Serve, Vendors, binary};

/// A home and an environment.
pub(crate) struct Site {
    home: TempDir,
    environment: BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The exit code.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// The whole of standard output, read as JSON; the command must have gone well.
    pub(crate) fn json(&self) -> Value {
        assert!(self.status.success(), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The completeness report of `--report json`.
    pub(crate) fn report(&self) -> Value {
        let mut lines = self.stderr.lines().filter(|line| line.starts_with('{'));
        let last = lines.next_back().unwrap_or_else(|| panic!("no report: {self:?}"));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Site {
    /// An installation over these vendors.
    pub(crate) fn over(vendors: &Vendors) -> Self {
        let base = vendors.base();
        let account = vendors.account();
        let environment = [
            ("AUTH_MODE", "dev".to_owned()),
            ("LANGFUSE_BASE_URL", format!("{base}/langfuse")),
            ("LANGFUSE_PUBLIC_KEY", "pk-e2e".to_owned()),
            ("LANGFUSE_SECRET_KEY", "sk-e2e".to_owned()),
            ("SENTRY_BASE_URL", format!("{base}/sentry")),
            ("SENTRY_TOKEN", "sentry-e2e".to_owned()),
            ("SENTRY_ORG", account.sentry_org.clone()),
            ("GITHUB_API_URL", format!("{base}/github")),
            ("GITHUB_TOKEN", "github-e2e".to_owned()),
            ("GITHUB_OWNER", account.owner.clone()),
            ("GITHUB_REPO", account.repo.clone()),
            ("SLACK_API_URL", format!("{base}/slack")),
            ("SLACK_BOT_TOKEN", "xoxb-e2e".to_owned()),
            ("SLACK_SIGNING_SECRET", SIGNING_SECRET.to_owned()),
        ];
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let site = Self { home: TempDir::new().unwrap(), environment };
        site.settings(&json!({"governance": {"approvers": [APPROVER, "dev"]}}));
        site
    }

    /// An installation without any vendor.
    pub(crate) fn alone() -> Self {
        let environment = BTreeMap::from([("AUTH_MODE".to_owned(), "dev".to_owned())]);
        Self { home: TempDir::new().unwrap(), environment }
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.insert(name.to_owned(), value.into());
    }

    /// Removes a variable.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.remove(name);
    }

    /// Writes `settings.json`.
    pub(crate) fn settings(&self, settings: &Value) {
        std::fs::write(self.path("settings.json"), settings.to_string()).unwrap();
    }

    /// A place below the home.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.home.path().join(below)
    }

    fn command<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .env_clear()
            .envs(&self.environment)
            .env("TRIPLINE_HOME", self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Outcome {
        let output = tokio::time::timeout(PATIENCE, self.command(args).output()).await;
        let output = output.unwrap_or_else(|_| panic!("the command did not end within {PATIENCE:?}")).unwrap();
        Outcome {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Rows of a query, which must be complete.
    pub(crate) async fn sql(&self, query: &str) -> Vec<Value> {
        let rows = self.run(&["sql", "--format", "json", query]).await.json();
        rows.as_array().unwrap().clone()
    }

    /// Starts `serve` with its clock at `now`, and waits until it listens.
    pub(crate) async fn serve(&self, now: DateTime<Utc>) -> Serve {
        Serve::start(self.command(&["serve", "--port", "0", "--now", &super::text(now)])).await
    }

    /// Starts `simulate` with these arguments and waits for its address.
    pub(crate) async fn simulate(args: &[&str]) -> (tokio::process::Child, String) {
        let mut command = Command::new(binary());
        command.args(["simulate", "--port", "0"]).args(args).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let line = super::serve::first_line(&mut child).await;
        let base = line.split_whitespace().find(|word| word.starts_with("http://"));
        let base = base.unwrap_or_else(|| panic!("no address in {line:?}")).trim_end_matches(';').to_owned();
        (child, base)
    }
}
