//! A history, replayed by a virtual clock through the whole product: simulator over HTTP, engine, detectors, incidents.
//!
//! Must hold: what the product sees is what the vendors' stand-ins serve at that time; its state lies in a temporary
//! folder; a restart keeps the state and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use tripline_agent::investigate::suspects::LIKELY;
use tripline_agent::settings::SyncSettings;
use tripline_engine::{Environment, ManualClock};
use tripline_simulator::{Content, SimulatorHandle, SimulatorOptions, start};
use tripline_store::{Incident, IncidentFilter, JobStatus, OpenMode, PageRequest};

use super::sampler::Sampled;
use super::score::Episode;
use super::truth::{PERIOD, Truth};
use crate::app::Home;
use crate::failure::Failure;
use crate::server::{Background, Running, Server, listen};
use crate::terminal;

/// Jobs are due some seconds after the quarter, one after the other.
const STAGGER: TimeDelta = TimeDelta::seconds(55);
/// Tables of which a local copy is kept, so that a cycle costs what is new.
const COPIED: [&str; 3] = ["langfuse.observations", "langfuse.scores", "github.commits"];

/// Requests to the vendors.
#[derive(Debug, Default, Serialize)]
pub(super) struct Calls {
    total: u64,
    by_source: BTreeMap<String, u64>,
    /// Of the first cycle, which fetches the history, and of the second.
    first_cycle: u64,
    second_cycle: u64,
    /// The most that one of the second cycle's paths was asked.
    pub(super) second_cycle_by_path: BTreeMap<String, u64>,
    /// Of all later cycles.
    median_cycle: u64,
    largest_cycle: u64,
}

impl Calls {
    pub(super) fn text(&self) -> String {
        let sources: Vec<String> = self.by_source.iter().map(|(source, count)| format!("{source} {count}")).collect();
        let paths: Vec<String> = self.second_cycle_by_path.iter().map(|(path, n)| format!("{path} ×{n}")).collect();
        format!(
            "  {} calls ({}); first cycle {}, second {}, then {} in the middle and {} at most\n  second cycle: {}",
            self.total,
            sources.join(", "),
            self.first_cycle,
            self.second_cycle,
            self.median_cycle,
            self.largest_cycle,
            paths.join(", ")
        )
    }
}

/// What a replay gave.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) episodes: Vec<Episode>,
    pub(super) calls: Calls,
    pub(super) sampler: Sampled,
    pub(super) incomplete_windows: u64,
}

/// Replays the history in `folder`; with `restart_every`, the product is ended and started again after so many cycles.
pub(super) async fn replay(folder: &Path, truth: &Truth, restart_every: Option<u32>) -> Result<Replayed, Failure> {
    let first = truth.clock_start.duration_trunc(PERIOD).map_err(Failure::display)?;
    let options = SimulatorOptions {
        content: Content::DataDir(folder.to_owned()),
        clock: Some(first),
        ..SimulatorOptions::default()
    };
    let simulator = start(options).await.map_err(Failure::display)?;
    let state = tempfile::tempdir().map_err(Failure::display)?;
    let home = Home { environment: environment(&simulator, truth), path: state.path().to_owned() };
    let clock = ManualClock::at(first);
    let mut replay = Replay {
        running: Some(serve(&home, &clock).await?),
        simulator,
        client: reqwest::Client::new(),
        down: Vec::new(),
        open: BTreeMap::new(),
        closed: Vec::new(),
        cycles: Vec::new(),
        calls: Calls::default(),
        incomplete: BTreeSet::new(),
    };
    let mut tick = first;
    let mut cycle = 0_u32;
    while tick <= truth.clock_end {
        let now = tick + STAGGER;
        replay.simulator.set_clock(Some(now));
        clock.set(now);
        replay.break_down(&truth.down(now)).await?;
        let ran = replay.server()?.jobs.run_due(now).await?;
        for run in ran.iter().filter(|run| run.status == JobStatus::Gap) {
            replay.incomplete.extend(run.window.map(|window| (run.job.clone(), window.end)));
        }
        for run in ran.iter().filter(|run| run.error.is_some() && truth.down(now).is_empty()) {
            let why = run.error.as_deref().unwrap_or_default();
            terminal::error_line(&format!("{} {}: {} {why}", now.format("%F %R"), run.job, run.status));
        }
        replay.look(now).await?;
        replay.count().await?;
        tick += PERIOD;
        cycle += 1;
        if cycle.is_multiple_of(48) {
            terminal::error_line(&format!("… {}", now.format("%F %R UTC")));
        }
        if restart_every.is_some_and(|every| every > 0 && cycle.is_multiple_of(every)) {
            if let Some(old) = replay.running.take() {
                old.shutdown().await;
            }
            replay.running = Some(serve(&home, &clock).await?);
        }
    }
    let sampler = Sampled::of(&replay.server()?.context, truth).await?;
    Ok(replay.finish(sampler).await)
}

pub(super) async fn serve(home: &Home, clock: &Arc<ManualClock>) -> Result<Running, Failure> {
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let server = Server::assemble(home, Arc::clone(clock) as _, OpenMode::Serve, |settings| {
        for table in COPIED {
            let copy = SyncSettings { window: "30d".to_owned(), ..SyncSettings::default() };
            settings.sync.insert(table.to_owned(), copy);
        }
    })
    .await?;
    server.start(listener, Background { outbox: false, jobs: false }).await
}

/// The environment of a server that knows nothing but the simulator.
pub(super) fn environment(simulator: &SimulatorHandle, truth: &Truth) -> Environment {
    let base = simulator.base_url();
    let text = str::to_owned;
    Environment::of([
        ("AUTH_MODE", text("dev")),
        ("LANGFUSE_BASE_URL", format!("{base}/langfuse")),
        ("LANGFUSE_PUBLIC_KEY", text("pk-bench")),
        ("LANGFUSE_SECRET_KEY", text("sk-bench")),
        ("SENTRY_BASE_URL", format!("{base}/sentry")),
        ("SENTRY_TOKEN", text("bench")),
        ("SENTRY_ORG", truth.sentry_org.clone().unwrap_or_else(|| truth.owner.clone())),
        ("GITHUB_API_URL", format!("{base}/github")),
        ("GITHUB_TOKEN", text("bench")),
        ("GITHUB_OWNER", truth.owner.clone()),
        ("GITHUB_REPO", truth.repo.clone()),
        ("SLACK_API_URL", format!("{base}/slack")),
        ("SLACK_BOT_TOKEN", text("xoxb-bench")),
        ("SLACK_SIGNING_SECRET", text("bench-signing-secret")),
    ])
}

struct Replay {
    /// `None` only while it is started again.
    running: Option<Running>,
    simulator: SimulatorHandle,
    client: reqwest::Client,
    /// Sources that answer errors now.
    down: Vec<String>,
    /// The latest episode of each incident, with its last sighting and how often it was reopened.
    open: BTreeMap<String, (Episode, DateTime<Utc>, i64)>,
    closed: Vec<Episode>,
    cycles: Vec<u64>,
    calls: Calls,
    /// Windows of detectors that were judged, at first, without a source.
    incomplete: BTreeSet<(String, DateTime<Utc>)>,
}

impl Replay {
    fn server(&self) -> Result<&Server, Failure> {
        self.running.as_ref().map(|running| &running.server).ok_or_else(|| Failure::new("the server is not running"))
    }

    async fn break_down(&mut self, down: &[&str]) -> Result<(), Failure> {
        if self.down == down {
            return Ok(());
        }
        let url = format!("{}/_fault", self.simulator.base_url());
        let well = self.down.iter().map(|source| (source.as_str(), "none"));
        let faults: Vec<(&str, &str)> = well.chain(down.iter().map(|source| (*source, "status:503"))).collect();
        for (source, fault) in faults {
            let body = json!({"source": source, "path": "", "fault": fault});
            let answer = self.client.post(&url).json(&body).send().await.map_err(Failure::display)?;
            answer.error_for_status().map_err(Failure::display)?;
        }
        self.down = down.iter().map(|source| (*source).to_owned()).collect();
        Ok(())
    }

    /// Notes which incidents were seen in this cycle.
    async fn look(&mut self, now: DateTime<Utc>) -> Result<(), Failure> {
        let context = self.server()?.context.clone();
        let mut page = PageRequest::first(500);
        loop {
            let listed = context.store.incidents.list(&context.scope, &IncidentFilter::default(), &page).await?;
            for incident in listed.items {
                note(&mut self.open, &mut self.closed, incident, now);
            }
            match listed.next {
                Some(next) => page.cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn count(&mut self) -> Result<(), Failure> {
        let base = self.simulator.base_url();
        let answer = self.client.get(format!("{base}/_requests")).send().await.map_err(Failure::display)?;
        let requests: Vec<Value> = answer.json().await.map_err(Failure::display)?;
        self.client.post(format!("{base}/_reset")).send().await.map_err(Failure::display)?;
        self.cycles.push(requests.len() as u64);
        self.calls.total += requests.len() as u64;
        for request in &requests {
            let text = |key: &str| request.get(key).and_then(Value::as_str).unwrap_or_default();
            *self.calls.by_source.entry(text("source").to_owned()).or_default() += 1;
            if self.cycles.len() == 2 {
                let path = format!("{} {} {}", text("source"), text("method"), text("path"));
                *self.calls.second_cycle_by_path.entry(path).or_default() += 1;
            }
        }
        Ok(())
    }

    async fn finish(mut self, sampler: Sampled) -> Replayed {
        self.closed.extend(self.open.into_values().map(|(episode, ..)| episode));
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
        self.simulator.shutdown().await;
        self.calls.first_cycle = self.cycles.first().copied().unwrap_or_default();
        self.calls.second_cycle = self.cycles.get(1).copied().unwrap_or_default();
        let mut later: Vec<u64> = self.cycles.iter().skip(2).copied().collect();
        later.sort_unstable();
        self.calls.median_cycle = later.get(later.len() / 2).copied().unwrap_or_default();
        self.calls.largest_cycle = later.last().copied().unwrap_or_default();
        Replayed { episodes: self.closed, calls: self.calls, sampler, incomplete_windows: self.incomplete.len() as u64 }
    }
}

/// The first suspect where that is called the cause and is no commit.
fn cause(suspects: &Value) -> Option<String> {
    let first = suspects.get(0)?;
    let is_seen = first.get("kind").and_then(Value::as_str) != Some("commit");
    let named = is_seen && first.get("score")?.as_f64()? >= LIKELY;
    named.then(|| first.get("id")?.as_str().map(str::to_owned)).flatten()
}

fn note(
    open: &mut BTreeMap<String, (Episode, DateTime<Utc>, i64)>,
    closed: &mut Vec<Episode>,
    incident: Incident,
    now: DateTime<Utc>,
) {
    let id = incident.id.to_string();
    let of_array = incident.suspects.as_array().into_iter().flatten();
    let suspects: Vec<String> =
        of_array.filter_map(|suspect| suspect.get("id").and_then(Value::as_str).map(str::to_owned)).collect();
    let culprit = incident.culprit_sha.clone().or_else(|| cause(&incident.suspects));
    // A window that was judged long after its end tells of then.
    let is_late = now - incident.window.end > PERIOD;
    let (from, until) = if is_late { (incident.window.start, incident.window.end) } else { (now, now) };
    match open.get_mut(&id) {
        Some((episode, seen, reopened)) if *reopened == incident.reopened_count => {
            if *seen != incident.last_seen_at {
                *seen = incident.last_seen_at;
                episode.last = until.max(episode.last);
            }
            episode.suspects = suspects;
            episode.culprit = culprit;
        }
        _ => {
            let episode = Episode {
                id: id.clone(),
                class: incident.kind,
                entity: incident.entity,
                opened: now,
                first: from,
                last: until,
                suspects,
                culprit,
            };
            if let Some((before, ..)) = open.insert(id, (episode, incident.last_seen_at, incident.reopened_count)) {
                closed.push(before);
            }
        }
    }
}
