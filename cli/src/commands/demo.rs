//! `tripline demo`: the main job, end to end, on simulated vendors.
//!
//! Owns: the replay. A simulator and a server run in this process and speak real HTTP with each other; the only thing
//! that is not real is the clock, which the demo moves from one schedule tick to the next. It plays three people: Slack
//! (which signs clicks), an approver who presses the button, and the agent that is told to stop.
//!
//! Must hold: no account, key or model is used, and nothing of the caller's environment; all state lives in a temporary
//! folder; `--once` without `--port` occupies no fixed port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use tripline_engine::{Environment, ManualClock};
use tripline_simulator::{Content, Scenario, SimulatorHandle, SimulatorOptions, Truth, default_anchor, start};
use tripline_store::{
    Action, ActionFilter, ActionKind, ActionStatus, Approval, ApprovalFilter, ApprovalId, ApprovalStatus,
    EvidenceStatus, Incident, IncidentFilter, OpenMode, PageRequest,
};

use crate::app::Home;
use crate::args::DemoArgs;
use crate::commands::serve::told_to_stop;
use crate::failure::Failure;
use crate::server::{Background, Running, Server, listen};
use crate::terminal;

/// How far the replay goes at a time: the schedule of the detectors.
const TICK: TimeDelta = TimeDelta::minutes(15);
/// Jobs are due some seconds after the quarter, one after the other.
const STAGGER: TimeDelta = TimeDelta::seconds(45);
/// Hours that are replayed when nothing is to be found.
const QUIET_HOURS: i64 = 8;
/// What is replayed after the last condition.
const RESOLVED_AFTER: TimeDelta = TimeDelta::hours(2);
/// Pause between ticks, and before the approver decides, when somebody watches.
const LOOK: Duration = Duration::from_millis(900);
/// How long a decision may take to be written down after its click was answered.
const DECIDED_WITHIN: Duration = Duration::from_secs(5);
/// Any secret serves: both sides of it are in this process.
const SIGNING_SECRET: &str = "demo-signing-secret";
/// Most rows of a listing that the document shows.
const MANY: u32 = 500;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document {
    incidents: Vec<IncidentLine>,
    approvals: Vec<ApprovalLine>,
    actions: Vec<ActionLine>,
    requests: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Debug, Serialize)]
struct IncidentLine {
    #[serde(rename = "type")]
    kind: String,
    severity: String,
    window_start: DateTime<Utc>,
    window_end: DateTime<Utc>,
    entity: String,
    culprit_sha: Option<String>,
    cost_usd: Option<f64>,
    narrative: Option<String>,
}

#[derive(Debug, Serialize)]
struct ApprovalLine {
    id: String,
    incident_type: String,
    action_type: String,
    status: String,
    resolved_by: Option<String>,
}

#[derive(Debug, Serialize)]
struct ActionLine {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    attempts: i64,
    idempotency_key: String,
    result: Option<Value>,
}

pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let once = args.once || args.json;
    let name = args.scenario.as_deref().unwrap_or("all");
    let scenarios = Scenario::set(name).map_err(Failure::display)?;
    let anchor = default_anchor();
    let options = SimulatorOptions {
        content: Content::Scenarios(scenarios),
        anchor: Some(anchor),
        langfuse: args.langfuse.into(),
        ..SimulatorOptions::default()
    };
    let simulator = start(options).await.map_err(Failure::display)?;
    let truth = simulator.truth().cloned().ok_or_else(|| Failure::new("the scenario has no truth"))?;

    let port = if once { 0 } else { args.port };
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let address = listener.local_addr().map_err(Failure::display)?;
    let folder = tempfile::tempdir().map_err(|error| Failure::new(format!("no temporary folder: {error}")))?;
    let home = Home { environment: environment(&simulator, &truth, address), path: folder.path().to_owned() };

    let first = first_tick(&truth)?;
    simulator.set_clock(Some(first));
    let clock = ManualClock::at(first);
    let approver = truth.approvers.first().cloned().unwrap_or_default();
    let server = Server::assemble(&home, Arc::clone(&clock) as _, OpenMode::Serve, |settings| {
        settings.governance.approvers = vec![approver.clone()];
    })
    .await?;
    let background = Background { outbox: !once, jobs: false };
    let running = server.start(listener, background).await?;
    let mut replay = Replay {
        running,
        simulator,
        clock,
        approver,
        client: reqwest::Client::new(),
        quiet: args.json,
        watched: !once,
        told: BTreeSet::new(),
        finished: false,
    };
    // One listener from first to last: a signal that comes while nobody listens is lost, and the demo would stay.
    let outcome = tokio::select! {
        () = told_to_stop() => None,
        outcome = replay.perform(first, last_tick(&truth), name, args.json) => Some(outcome),
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None if replay.finished => Ok(()),
        None => Err(Failure::new("stopped before the end")),
    };
    replay.running.shutdown().await;
    replay.simulator.shutdown().await;
    outcome
}

/// The environment of a server that knows nothing but the simulator.
fn environment(simulator: &SimulatorHandle, truth: &Truth, address: SocketAddr) -> Environment {
    let base = simulator.base_url();
    let text = str::to_owned;
    Environment::of([
        ("AUTH_MODE", text("dev")),
        ("LANGFUSE_BASE_URL", format!("{base}/langfuse")),
        ("LANGFUSE_PUBLIC_KEY", text("pk-demo")),
        ("LANGFUSE_SECRET_KEY", text("sk-demo")),
        ("SENTRY_BASE_URL", format!("{base}/sentry")),
        ("SENTRY_TOKEN", text("demo")),
        ("SENTRY_ORG", truth.sentry_org.clone()),
        ("GITHUB_API_URL", format!("{base}/github")),
        ("GITHUB_TOKEN", text("demo")),
        ("GITHUB_OWNER", truth.owner.clone()),
        ("GITHUB_REPO", truth.repo.clone()),
        ("SLACK_API_URL", format!("{base}/slack")),
        ("SLACK_BOT_TOKEN", text("xoxb-demo")),
        ("SLACK_SIGNING_SECRET", text(SIGNING_SECRET)),
        ("TRIPLINE_PUBLIC_URL", format!("http://{address}")),
    ])
}

/// The quarter of an hour before anything happens.
fn first_tick(truth: &Truth) -> Result<DateTime<Utc>, Failure> {
    let quiet = truth.anchor - TimeDelta::hours(QUIET_HOURS);
    let first = truth.incidents.iter().map(|incident| incident.starts_at).min().unwrap_or(quiet);
    first.duration_trunc(TICK).map_err(Failure::display)
}

/// When the last condition is over for long enough to be resolved, or the history ends.
fn last_tick(truth: &Truth) -> DateTime<Utc> {
    let over = truth.incidents.iter().map(|incident| incident.ends_at + RESOLVED_AFTER).max();
    over.map_or(truth.anchor, |over| over.min(truth.anchor))
}

struct Replay {
    running: Running,
    simulator: SimulatorHandle,
    clock: Arc<ManualClock>,
    approver: String,
    client: reqwest::Client,
    /// Nothing is printed on the way.
    quiet: bool,
    /// Somebody looks at the terminal and the page.
    watched: bool,
    /// What was printed already.
    told: BTreeSet<String>,
    /// All was replayed; only the page stays.
    finished: bool,
}

impl Replay {
    fn say(&self, text: &str) {
        if !self.quiet {
            terminal::line(text);
        }
    }

    async fn look(&self) {
        if self.watched {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Replays everything and tells the outcome. With somebody watching it does not end by itself.
    async fn perform(
        &mut self,
        first: DateTime<Utc>,
        until: DateTime<Utc>,
        name: &str,
        as_json: bool,
    ) -> Result<(), Failure> {
        self.play(first, until, name).await?;
        self.finish(as_json).await?;
        self.finished = true;
        if self.watched {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn play(&mut self, first: DateTime<Utc>, until: DateTime<Utc>, name: &str) -> Result<(), Failure> {
        self.say(&format!("replaying '{name}' from {} to {}", first.format("%F %R"), until.format("%F %R UTC")));
        self.say(&format!("page: {}\n", self.running.url()));
        let mut tick = first;
        while tick <= until {
            let now = tick + STAGGER;
            self.simulator.set_clock(Some(now));
            self.clock.set(now);
            for run in &self.running.server.jobs.run_due(now).await? {
                if let Some(error) = &run.error {
                    self.say(&format!("{} {}: {} {error}", now.format("%R"), run.job, run.status));
                }
            }
            self.drain(now).await?;
            self.tell_incidents(now).await?;
            self.decide(now).await?;
            self.acknowledge(now).await?;
            self.tell_actions(now).await?;
            tick += TICK;
            self.look().await;
        }
        Ok(())
    }

    /// Sends messages and executes actions, until nothing is due.
    async fn drain(&self, now: DateTime<Utc>) -> Result<(), Failure> {
        self.running.server.governance.outbox.drain(now).await.map_err(Failure::display)?;
        Ok(())
    }

    async fn incidents(&self) -> Result<Vec<Incident>, Failure> {
        let context = &self.running.server.context;
        let (filter, page) = (IncidentFilter::default(), PageRequest::first(MANY));
        let mut incidents = context.store.incidents.list(&context.scope, &filter, &page).await?.items;
        incidents.reverse();
        Ok(incidents)
    }

    async fn approvals(&self, status: Option<ApprovalStatus>) -> Result<Vec<Approval>, Failure> {
        let context = &self.running.server.context;
        let filter = ApprovalFilter { status, ..ApprovalFilter::default() };
        let page = PageRequest::first(MANY);
        let mut approvals = context.store.approvals.list(&context.scope, &filter, &page).await?.items;
        approvals.reverse();
        Ok(approvals)
    }

    async fn actions(&self) -> Result<Vec<Action>, Failure> {
        let context = &self.running.server.context;
        let filter = ActionFilter { kind: Some(ActionKind::Remediation), ..ActionFilter::default() };
        let page = PageRequest::first(MANY);
        let mut actions = context.store.actions.list(&context.scope, &filter, &page).await?.items;
        actions.reverse();
        Ok(actions)
    }

    async fn tell_incidents(&mut self, now: DateTime<Utc>) -> Result<(), Failure> {
        for incident in self.incidents().await? {
            if !self.told.insert(incident.id.to_string()) {
                continue;
            }
            self.say(&format!(
                "{} ── {} ── {} ── {}",
                now.format("%R"),
                incident.severity.to_string().to_uppercase(),
                incident.kind,
                incident.entity
            ));
            let context = &self.running.server.context;
            for evidence in context.store.evidence.list(&context.scope, &incident.id).await? {
                let found = match evidence.status {
                    EvidenceStatus::Unknown => format!("unknown: {}", evidence.error.unwrap_or_default()),
                    _ => format!("{} rows", evidence.row_count),
                };
                self.say(&format!("      evidence {:<24} {:<18} {found}", evidence.name, evidence.sources.join(", ")));
            }
            if let Some(narrative) = &incident.narrative {
                for line in narrative.lines() {
                    self.say(&format!("      {line}"));
                }
            }
            if let (Some(channel), Some(ts)) = (&incident.slack_channel, &incident.slack_ts) {
                self.say(&format!("      Slack message {ts} in {channel}"));
            }
            self.say("");
        }
        Ok(())
    }

    /// The approver presses Approve in Slack, which signs the click and sends it to the server.
    async fn decide(&mut self, now: DateTime<Utc>) -> Result<(), Failure> {
        for approval in self.approvals(Some(ApprovalStatus::Pending)).await? {
            let (Some(channel), Some(ts)) = (&approval.slack_channel, &approval.slack_ts) else { continue };
            self.look().await;
            let action_id = self.approve_button(channel, ts).await?;
            let click = json!({
                "request_url": format!("{}/api/slack/actions", self.running.url()),
                "signing_secret": SIGNING_SECRET,
                "user": self.approver,
                "channel": channel,
                "ts": ts,
                "action_id": action_id,
            });
            let url = format!("{}/_click", self.simulator.base_url());
            let answer = self.client.post(url).json(&click).send().await.map_err(Failure::display)?;
            let answer: Value = answer.json().await.map_err(Failure::display)?;
            if answer.get("status").and_then(Value::as_u64) != Some(200) {
                return Err(Failure::new(format!("the click was refused: {answer}")));
            }
            self.say(&format!(
                "{} {} approved {} for {}",
                now.format("%R"),
                self.approver,
                approval.request.action_type,
                approval.request.incident_type
            ));
            self.decided(&approval.id).await?;
            self.drain(now).await?;
        }
        Ok(())
    }

    /// Slack is answered at once; the decision is written down right after.
    async fn decided(&self, id: &ApprovalId) -> Result<(), Failure> {
        let context = &self.running.server.context;
        let deadline = tokio::time::Instant::now() + DECIDED_WITHIN;
        loop {
            let approval = context.store.approvals.get(&context.scope, id).await?;
            if approval.is_some_and(|approval| approval.status != ApprovalStatus::Pending) {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Failure::new(format!("the click on approval {id} was answered but decided nothing")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The `action_id` of the button that approves, as the message in the channel has it.
    async fn approve_button(&self, channel: &str, ts: &str) -> Result<String, Failure> {
        let url = format!("{}/slack/conversations.history", self.simulator.base_url());
        let query = [("channel", channel), ("latest", ts), ("oldest", ts), ("inclusive", "true"), ("limit", "1")];
        let answer =
            self.client.get(url).query(&query).bearer_auth("xoxb-demo").send().await.map_err(Failure::display)?;
        let answer: Value = answer.json().await.map_err(Failure::display)?;
        let blocks = answer.pointer("/messages/0/blocks").and_then(Value::as_array).cloned().unwrap_or_default();
        blocks
            .iter()
            .filter_map(|block| block.get("elements").and_then(Value::as_array))
            .flatten()
            .find(|element| element.get("style").and_then(Value::as_str) == Some("primary"))
            .and_then(|button| button.get("action_id").and_then(Value::as_str))
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("message {ts} in {channel} has no button to approve with")))
    }

    /// The agent, asked to stop, stops and says so.
    async fn acknowledge(&mut self, now: DateTime<Utc>) -> Result<(), Failure> {
        for action in self.actions().await? {
            let (ActionStatus::Requested, Some(target)) = (action.status, &action.target) else { continue };
            self.look().await;
            let url = format!("{}/v1/runs/{target}/control", self.running.url());
            let answer =
                self.client.post(url).json(&json!({"state": "stopped"})).send().await.map_err(Failure::display)?;
            let status = answer.status();
            if !status.is_success() {
                let said = answer.text().await.unwrap_or_default();
                return Err(Failure::new(format!("the acknowledgement was refused: HTTP {status} {said}")));
            }
            self.say(&format!("{} the agent of {target} stopped", now.format("%R")));
            self.drain(now).await?;
        }
        Ok(())
    }

    async fn tell_actions(&mut self, now: DateTime<Utc>) -> Result<(), Failure> {
        for action in self.actions().await? {
            if !self.told.insert(format!("{}:{}", action.id, action.status)) {
                continue;
            }
            let result = action.result.as_ref().map(Value::to_string).or(action.error).unwrap_or_default();
            let line = format!("{} action {} {}: {result}\n", now.format("%R"), action.action_type, action.status);
            self.say(&line);
        }
        Ok(())
    }

    async fn finish(&mut self, as_json: bool) -> Result<(), Failure> {
        if as_json {
            let document = self.document().await?;
            terminal::line(&serde_json::to_string_pretty(&document).map_err(Failure::display)?);
            return Ok(());
        }
        let (incidents, actions) = (self.incidents().await?, self.actions().await?);
        self.say(&format!("{} incidents, {} actions", incidents.len(), actions.len()));
        if self.watched {
            self.say(&format!("the page stays at {}; Ctrl-C ends the demo", self.running.url()));
        }
        Ok(())
    }

    async fn document(&self) -> Result<Document, Failure> {
        let incidents = self.incidents().await?.into_iter().map(|incident| IncidentLine {
            kind: incident.kind,
            severity: incident.severity.to_string(),
            window_start: incident.window.start,
            window_end: incident.window.end,
            entity: incident.entity,
            culprit_sha: incident.culprit_sha,
            cost_usd: incident.cost_usd,
            narrative: incident.narrative,
        });
        let approvals = self.approvals(None).await?.into_iter().map(|approval| ApprovalLine {
            id: approval.id.to_string(),
            incident_type: approval.request.incident_type,
            action_type: approval.request.action_type,
            status: approval.status.to_string(),
            resolved_by: approval.resolved_by,
        });
        let actions = self.actions().await?.into_iter().map(|action| ActionLine {
            kind: action.action_type,
            status: action.status.to_string(),
            attempts: action.attempts,
            idempotency_key: action.idempotency_key,
            result: action.result,
        });
        Ok(Document {
            incidents: incidents.collect(),
            approvals: approvals.collect(),
            actions: actions.collect(),
            requests: self.requests().await?,
        })
    }

    /// Requests as the simulator counted them.
    async fn requests(&self) -> Result<BTreeMap<String, BTreeMap<String, u64>>, Failure> {
        let url = format!("{}/_requests", self.simulator.base_url());
        let answer = self.client.get(url).send().await.map_err(Failure::display)?;
        let entries: Vec<Value> = answer.json().await.map_err(Failure::display)?;
        let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for entry in &entries {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            let of_source = counts.entry(text("source").to_owned()).or_default();
            *of_source.entry(format!("{} {}", text("method"), text("path"))).or_default() += 1;
        }
        Ok(counts)
    }
}
