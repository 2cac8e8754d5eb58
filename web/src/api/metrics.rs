//! `/metrics`: what was counted as it happened, and what the store, the outbox and the jobs say now.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tripline_store::{ActionFilter, ActionKind, ActionStatus};

use crate::error::ApiError;
use crate::state::WebState;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutboxLabels {
    kind: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    r#type: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DetectorLabels {
    project: String,
    detector: String,
    mode: &'static str,
}

type SecondsGauge = Gauge<f64, AtomicU64>;

pub(crate) async fn metrics(State(state): State<WebState>) -> Result<Response, ApiError> {
    let mut registry = Registry::with_prefix("tripline");
    state.metrics().register(&mut registry);
    approvals(&state, &mut registry).await?;
    outbox(&state, &mut registry).await?;
    jobs(&state, &mut registry).await?;
    run_detectors(&state, &mut registry).await?;
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| ApiError::internal())?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

async fn approvals(state: &WebState, registry: &mut Registry) -> Result<(), ApiError> {
    let context = state.context();
    let stats = context.store.approvals.stats(&context.scope).await?;
    let family = Family::<StatusLabels, Gauge>::default();
    for (status, count) in [
        ("pending", stats.pending),
        ("approved", stats.approved),
        ("rejected", stats.rejected),
        ("expired", stats.expired),
    ] {
        family.get_or_create(&StatusLabels { status }).set(count);
    }
    registry.register("approvals", "Approvals by status", family);
    let clicks = state.parts().governance.clicks.counts();
    let family = Family::<StatusLabels, Counter>::default();
    family.get_or_create(&StatusLabels { status: "accepted" }).inc_by(clicks.accepted);
    family.get_or_create(&StatusLabels { status: "refused" }).inc_by(clicks.refused);
    registry.register("slack_clicks", "Requests to the Slack webhook", family);
    Ok(())
}

async fn outbox(state: &WebState, registry: &mut Registry) -> Result<(), ApiError> {
    let context = state.context();
    let depth = Family::<OutboxLabels, Gauge>::default();
    for kind in ActionKind::ALL {
        for status in ActionStatus::ALL {
            let filter = ActionFilter { kind: Some(*kind), status: Some(*status), ..Default::default() };
            let count = context.store.actions.count(&context.scope, &filter).await?;
            depth.get_or_create(&OutboxLabels { kind: kind.as_str(), status: status.as_str() }).set(count);
        }
    }
    registry.register("actions", "Actions in the outbox by kind and status", depth);
    let attempts = Family::<AttemptLabels, Counter>::default();
    for ((r#type, outcome), count) in state.parts().governance.outbox.counts() {
        attempts.get_or_create(&AttemptLabels { r#type, outcome }).inc_by(count);
    }
    registry.register("action_attempts", "Attempts at actions by how they ended", attempts);
    Ok(())
}

async fn jobs(state: &WebState, registry: &mut Registry) -> Result<(), ApiError> {
    let context = state.context();
    let now = context.clock.now();
    let behind = Family::<JobLabels, SecondsGauge>::default();
    let healthy = Family::<JobLabels, Gauge>::default();
    for job in state.parts().jobs.jobs(&context.scope).await? {
        let labels = JobLabels { job: job.name.clone() };
        if let Some(until) = job.judged_until {
            behind.get_or_create(&labels).set((now - until).as_seconds_f64());
        }
        if let Some(run) = &job.last_run {
            let ok = matches!(run.status, tripline_store::JobStatus::Ok | tripline_store::JobStatus::Running);
            healthy.get_or_create(&labels).set(i64::from(ok));
        }
    }
    registry.register("job_behind_seconds", "Time since the end of what a job has judged", behind);
    registry.register("job_last_run_ok", "Whether a job's newest run is well", healthy);
    Ok(())
}

async fn run_detectors(state: &WebState, registry: &mut Registry) -> Result<(), ApiError> {
    let store = &state.context().store;
    let failing = Family::<DetectorLabels, Gauge>::default();
    let missed = Family::<DetectorLabels, Gauge>::default();
    for project in store.projects.list().await? {
        let scope = tripline_store::Scope::project(project.id);
        for failure in store.runs.detector_failures(&scope).await? {
            let mode = if failure.live { "live" } else { "shadow" };
            let project = scope.project_id().to_string();
            let labels = DetectorLabels { project, detector: failure.detector, mode };
            failing.get_or_create(&labels).set(i64::from(failure.failing));
            missed.get_or_create(&labels).set(failure.runs_not_judged);
        }
    }
    let help = "Whether a run detector that failed lately fails at the newest runs";
    registry.register("run_detector_failing", help, failing);
    registry.register("runs_not_judged", "Runs that a failing live run detector did not judge", missed);
    Ok(())
}
