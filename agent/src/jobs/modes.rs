//! The modes by the clock: the on-call brain, the drift patrol and the weekly digest, for real and dry.
//!
//! Owns: what a run of each does and what it keeps in its detail. Does not own: judging (detect, quality), responding, the
//! digest itself. Must hold: a run that had a source missing is a gap, not a clean one; dry, nothing is written.

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tripline_store::{ApprovalFilter, ApprovalStatus, JobRunFilter, JobStatus, PageRequest, Window};

use super::spec::{JobSpec, Work};
use super::{Ended, HandRun, Inspector, JobError, Jobs, Made, Persist, ended, swept};
use crate::queries::DetectorSpec;
use crate::risk::{JOB_BUDGET, Risk};
use crate::sampler::Sampler;
use crate::sessions::{MonitoringAgent, ProcessingWorker};

/// The incident type whose detectors the patrol judges.
const DRIFT: &str = "prompt_drift";

/// One cycle of the on-call brain: every detector judges what is due (what it judged already costs nothing), and what they
/// found since the cycle before is summed up. The traces worth looking at are told from the others first.
///
/// Boxed, because a job is running here that runs jobs: detectors, which run none.
pub(super) fn on_call(jobs: &Jobs, tick: DateTime<Utc>) -> BoxFuture<'_, Result<Ended, JobError>> {
    Box::pin(cycle(jobs, tick))
}

async fn cycle(jobs: &Jobs, tick: DateTime<Utc>) -> Result<Ended, JobError> {
    let ctx = jobs.detectors.context();
    let now = ctx.clock.now();
    let mut detectors = serde_json::Map::new();
    let mut missing: Vec<String> = Vec::new();
    let (mut findings, mut requests) = (0, 0);
    let mut sampling = Value::Null;
    for spec in jobs.specs().into_iter().filter(|spec| matches!(spec.work, Work::Detect(_) | Work::SampleTraces)) {
        jobs.run_job(&spec, now).await?;
        let filter = JobRunFilter { job: Some(spec.name.clone()), ..JobRunFilter::default() };
        let newest = ctx.store.jobs.list(&ctx.scope, &filter, &PageRequest::first(1)).await?.items.into_iter().next();
        let Some(run) = newest else {
            missing.push(format!("{}: never judged", spec.name));
            continue;
        };
        let detail = run.detail.unwrap_or_default();
        let of = |key: &str| detail.get(key).cloned().unwrap_or(Value::Null);
        let waiting = if spec.window.is_some() { jobs.windows_due(&spec, now).await? } else { 0 };
        if run.status != JobStatus::Ok {
            missing.push(format!("{}: {}", spec.name, run.error.unwrap_or_else(|| run.status.to_string())));
        } else if waiting > 0 {
            missing.push(format!("{}: {waiting} windows are not judged yet", spec.name));
        }
        findings += of("findings").as_u64().unwrap_or_default();
        requests += of("requests").as_u64().unwrap_or_default();
        if matches!(spec.work, Work::SampleTraces) {
            sampling = json!({"status": run.status, "due_at": run.due_at, "stats": of("stats"),
                "share_dropped": of("share_dropped"), "requests": of("requests"), "gaps": of("gaps")});
            continue;
        }
        detectors.insert(
            spec.name.clone(),
            json!({"status": run.status, "due_at": run.due_at, "findings": of("findings"), "opened": of("opened"),
                "updated": of("updated"), "resolved": of("resolved"), "requests": of("requests"), "gaps": of("gaps")}),
        );
    }
    let detail = json!({"cycle": tick, "sampling": sampling, "detectors": detectors, "findings": findings, "requests": requests});
    if missing.is_empty() {
        return Ok(Ended { status: JobStatus::Ok, error: None, detail, partial: false });
    }
    Ok(Ended { status: JobStatus::Gap, error: Some(missing.join("; ")), detail, partial: true })
}

/// The drift patrol: every output of the day against its schema, and the detectors of drift judged and responded to.
pub(super) async fn patrol(jobs: &Jobs, tick: DateTime<Utc>) -> Result<Ended, JobError> {
    let ctx = jobs.detectors.context();
    let mut whole = Ended { status: JobStatus::Ok, error: None, detail: json!({}), partial: false };
    let mut judged = Vec::new();
    for (detector, window) in drift_windows(jobs, tick)? {
        // Schemas are captured in the order of windows, which this one may be ahead of.
        let judgement = jobs.detectors.judge(&detector, window, Persist::CostHours).await?;
        let response =
            jobs.responder.respond(&judgement).await.map_err(|error| JobError::Quality(error.to_string()))?;
        let one = ended(&judgement, &response);
        judged.push(json!({"detector": detector.name, "window_end": window.end, "outcome": one.detail}));
        if one.status != JobStatus::Ok {
            whole = Ended { status: one.status, error: one.error, ..whole };
        }
    }
    let sweep = Inspector::new(ctx.clone()).sweep(tick).await?;
    if !sweep.gaps.is_empty() && whole.status == JobStatus::Ok {
        let reasons: Vec<&str> = sweep.gaps.iter().map(|gap| gap.reason.as_str()).collect();
        whole = Ended { status: JobStatus::Gap, error: Some(reasons.join("; ")), ..whole };
    }
    whole.detail = json!({
        "detectors": judged, "features": swept(&sweep), "outputs": sweep.features.iter().map(|f| f.total).sum::<u64>(),
        "requests": sweep.requests, "gaps": sweep.gaps,
    });
    Ok(whole)
}

/// The detectors of drift with the window of their latest tick: the same window that they judge by themselves, so that a
/// clean one is counted once.
fn drift_windows(jobs: &Jobs, tick: DateTime<Utc>) -> Result<Vec<(std::sync::Arc<DetectorSpec>, Window)>, JobError> {
    let mut windows = Vec::new();
    for spec in jobs.specs() {
        if let Work::Detect(detector) = &spec.work
            && detector.kind == DRIFT
        {
            let end = spec.schedule.last_at(tick).unwrap_or(tick);
            windows.push((std::sync::Arc::clone(detector), Window::new(end - detector.window, end)?));
        }
    }
    Ok(windows)
}

/// How a run of the weekly digest ended.
pub(super) fn of_digest(made: &Made) -> Ended {
    let digest = &made.digest;
    let detail = json!({
        "digest": digest.id, "week_start": digest.week_start, "week_end": digest.week_end, "narrator": digest.narrator,
        "post": made.post, "requests": made.requests, "gaps": digest.gaps,
    });
    if made.waits {
        let reasons: Vec<String> = digest.gaps.iter().map(|gap| format!("{}: {}", gap.source, gap.reason)).collect();
        return Ended { status: JobStatus::Gap, error: Some(reasons.join("; ")), detail, partial: false };
    }
    Ended { status: JobStatus::Ok, error: None, detail, partial: false }
}

/// Scores the pull requests that wait.
pub(super) async fn score_pulls(risk: Option<&Risk>) -> Ended {
    let Some(risk) = risk else { return Ended::failed("nothing scores pull requests here") };
    let handled = match risk.handle_due().await {
        Ok(handled) => handled,
        Err(error) => return Ended::failed(error),
    };
    let error = (!handled.failed.is_empty()).then(|| handled.failed.join("; "));
    let status = if error.is_some() { JobStatus::Failed } else { JobStatus::Ok };
    Ended { status, error, detail: json!(handled), partial: false }
}

/// Tells the traces worth looking at from the others.
pub(super) async fn sample_traces(jobs: &Jobs, tick: DateTime<Utc>) -> Ended {
    let sampled = match Sampler::new(jobs.detectors.context().clone()).run(tick, true).await {
        Ok(sampled) => sampled,
        Err(error) => return Ended::failed(error),
    };
    let reasons: Vec<&str> = sampled.gaps.iter().map(|gap| gap.reason.as_str()).collect();
    let error = (!reasons.is_empty()).then(|| reasons.join("; "));
    let status = if error.is_some() { JobStatus::Gap } else { JobStatus::Ok };
    Ended { status, error, detail: json!(sampled), partial: false }
}

/// Measures past commits that are not measured yet.
pub(super) async fn measure_commits(risk: Option<&Risk>) -> Ended {
    let Some(risk) = risk else { return Ended::failed("nothing measures commits here") };
    let history = match risk.repository() {
        Ok(repository) => risk.history(repository, JOB_BUDGET, true).await,
        Err(error) => Err(error),
    };
    let history = match history {
        Ok(history) => history,
        Err(error) => return Ended::failed(error),
    };
    let coverage = &history.coverage;
    let detail = json!({"measured_now": history.new, "measured": coverage.measured, "commits": coverage.commits,
        "requests": history.requests, "gaps": coverage.gaps});
    // What is left because the budget is used up is done next time.
    let gaps: Vec<String> = coverage
        .gaps
        .iter()
        .filter(|gap| gap.source != "tripline")
        .map(|gap| format!("{}: {}", gap.source, gap.reason))
        .collect();
    let status = if gaps.is_empty() { JobStatus::Ok } else { JobStatus::Gap };
    let error = (!gaps.is_empty()).then(|| gaps.join("; "));
    Ended { status, error, detail, partial: false }
}

impl Jobs {
    /// What a job would do now. Writes nothing.
    pub(super) async fn dry_run(&self, spec: &JobSpec, now: DateTime<Utc>) -> Result<HandRun, JobError> {
        let ctx = self.detectors.context();
        let would = match &spec.work {
            Work::Detect(detector) => {
                let window = Window::new(now - detector.window, now)?;
                let judgement = self.detectors.judge(detector, window, Persist::Nothing).await?;
                return Ok(HandRun::Dry { judgement: Some(judgement), would: None });
            }
            Work::ExpireApprovals => {
                let filter = ApprovalFilter { status: Some(ApprovalStatus::Pending), ..ApprovalFilter::default() };
                let pending = ctx.store.approvals.list(&ctx.scope, &filter, &PageRequest::first(500)).await?.items;
                let due = pending.into_iter().filter(|approval| approval.request.expires_at <= now);
                json!({"expire": due.map(|approval| approval.id).collect::<Vec<_>>()})
            }
            Work::ProcessSessions => json!({"sessions_wait": ProcessingWorker::new(ctx).has_work().await?}),
            Work::MonitorSessions => json!({"sessions_wait": MonitoringAgent::new(ctx).has_work().await?}),
            Work::OnCall => {
                let mut judgements = Vec::new();
                for detector in self.detectors.queries().current().detectors.values() {
                    let window = Window::new(now - detector.window, now)?;
                    judgements.push(self.detectors.judge(detector, window, Persist::Nothing).await?);
                }
                let requests: u64 = judgements.iter().map(|judgement| judgement.requests).sum();
                json!({"judgements": judgements, "requests": requests})
            }
            Work::DriftPatrol => {
                let mut judgements = Vec::new();
                for (detector, _) in drift_windows(self, now)? {
                    let window = Window::new(now - detector.window, now)?;
                    judgements.push(self.detectors.judge(&detector, window, Persist::Nothing).await?);
                }
                let sweep = Inspector::new(ctx.clone()).sweep(now).await?;
                json!({"judgements": judgements, "sweep": sweep})
            }
            Work::WeeklyDigest => {
                let end = spec.schedule.last_at(now).unwrap_or(now);
                json!({"digest": self.digest(end, true).await?})
            }
            Work::SampleTraces => {
                json!({"sampling": Sampler::new(ctx.clone()).run(now, false).await?})
            }
            Work::ScorePulls => json!({"waiting": ctx.store.risk.waiting_scores(&ctx.scope).await?}),
            Work::MeasureCommits => match self.risk.as_ref().and_then(|risk| Some((risk, risk.repository().ok()?))) {
                Some((risk, repository)) => {
                    // Only the listing: what it would measure, without asking for it.
                    let history =
                        risk.history(repository, 0, false).await.map_err(|e| JobError::Risk(e.to_string()))?;
                    json!({"measured": history.coverage.measured, "commits": history.coverage.commits})
                }
                None => json!({"measured": 0, "commits": null}),
            },
        };
        Ok(HandRun::Dry { judgement: None, would: Some(would) })
    }
}
