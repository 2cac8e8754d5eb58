//! Quality: kept schemas, drift, the outputs of a feature against its schema, and how often detectors are right.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tripline_agent::quality::{Inspector, QualityError, Validation};
use tripline_store::{Anomaly, AnomalyFilter, IncidentPrecision, SchemaSnapshot};

use super::{Listing, page_request};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::ports::PortErrorKind;
use crate::state::WebState;

/// The incident type of drift, and its job.
const DRIFT: &str = "prompt_drift";
const PATROL: &str = "drift_patrol";

/// How long a scan is waited for before it is said to have started: a scan that cannot start says so at once.
const PATIENCE: Duration = Duration::from_millis(500);

/// Which snapshots.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnapshotQuery {
    feature: Option<String>,
    /// Whether older versions are wanted too.
    #[serde(default)]
    all_versions: bool,
}

/// A kept schema.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotView {
    /// `FEATURE@VERSION`.
    id: String,
    feature_name: String,
    /// 1, 2, 3 … per feature.
    version: i64,
    /// The schema as text, and as it is.
    schema_json: String,
    schema: Value,
    captured_at: DateTime<Utc>,
    sample_count: i64,
    window_start: DateTime<Utc>,
    window_end: DateTime<Utc>,
}

impl SnapshotView {
    fn new(kept: SchemaSnapshot) -> Self {
        let snapshot = kept.snapshot;
        Self {
            id: format!("{}@{}", snapshot.feature, kept.version),
            feature_name: snapshot.feature,
            version: kept.version,
            schema_json: snapshot.schema.to_string(),
            schema: snapshot.schema,
            captured_at: kept.captured_at,
            sample_count: snapshot.sample_count,
            window_start: snapshot.window.start,
            window_end: snapshot.window.end,
        }
    }
}

/// All of a list that has no pages.
#[derive(Debug, Serialize)]
pub(crate) struct All<T> {
    items: Vec<T>,
}

pub(crate) async fn snapshots(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<SnapshotQuery>,
) -> Result<Json<All<SnapshotView>>, ApiError> {
    // By feature, newest version first.
    let kept = state.context().store.schemas.list(&caller.scope, query.feature.as_deref()).await?;
    let mut seen = BTreeSet::new();
    let wanted = kept.into_iter().filter(|one| seen.insert(one.snapshot.feature.clone()) || query.all_versions);
    Ok(Json(All { items: wanted.map(SnapshotView::new).collect() }))
}

/// A page of drift.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DriftQuery {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// One finding of drift.
#[derive(Debug, Serialize)]
pub(crate) struct DriftView {
    id: String,
    feature_name: String,
    detected_at: DateTime<Utc>,
    /// `schema_break` or `score_regression`; null when a detector of your own does not say.
    drift_type: Option<String>,
    severity: String,
    /// The incident, and its first-ranked suspect.
    incident_id: Option<String>,
    blame_commit_sha: Option<String>,
    blame_commit_message: Option<String>,
    /// Share of broken outputs, 0 to 1; null for a regression of scores.
    validation_fail_rate: Option<f64>,
    /// The detector's row.
    details: Value,
}

pub(crate) async fn drift(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<DriftQuery>,
) -> Result<Json<Listing<DriftView>>, ApiError> {
    let (store, scope) = (&state.context().store, &caller.scope);
    let page = page_request(query.limit.or(Some(20)), query.cursor.as_deref())?;
    let filter = AnomalyFilter { kind: Some(DRIFT.to_owned()), ..AnomalyFilter::default() };
    let page = store.anomalies.list(scope, &filter, &page).await?;
    let mut views = Vec::new();
    for anomaly in &page.items {
        let incident = match &anomaly.incident_id {
            Some(id) => store.incidents.get(scope, id).await?,
            None => None,
        };
        views.push(drift_view(anomaly, incident.as_ref()));
    }
    let mut views = views.into_iter();
    Ok(Json(Listing::of(page, |_| views.next()).flattened()))
}

fn drift_view(anomaly: &Anomaly, incident: Option<&tripline_store::Incident>) -> DriftView {
    let finding = &anomaly.finding;
    let text = |key: &str| finding.evidence.get(key).and_then(Value::as_str).map(str::to_owned);
    let suspect = incident.and_then(|incident| incident.suspects.get(0).cloned());
    let sha = incident.and_then(|incident| incident.culprit_sha.clone());
    let message = suspect
        .filter(|suspect| sha.is_some() && suspect.get("sha").and_then(Value::as_str) == sha.as_deref())
        .and_then(|suspect| Some(suspect.get("message")?.as_str()?.lines().next()?.to_owned()));
    DriftView {
        id: anomaly.id.to_string(),
        feature_name: finding.entity.clone(),
        detected_at: finding.detected_at,
        drift_type: text("drift_type"),
        severity: finding.severity.to_string(),
        incident_id: anomaly.incident_id.as_ref().map(ToString::to_string),
        blame_commit_sha: sha,
        blame_commit_message: message,
        validation_fail_rate: finding.evidence.get("fail_rate").and_then(Value::as_f64),
        details: finding.evidence.clone(),
    }
}

/// Starts the drift patrol. It goes on when the caller hangs up; its run is in the history of the job.
pub(crate) async fn scan(State(state): State<WebState>, caller: Caller) -> Result<Response, ApiError> {
    caller.of_installation(&state)?;
    let (patrol, stop) = (state.clone(), state.parts().stop.clone());
    let person = caller.person.clone();
    let mut task = tokio::spawn(async move {
        let run = patrol.parts().jobs.run(&caller.scope, PATROL, false, &caller.person);
        tokio::select! {
            () = stop.cancelled() => None,
            // The job has a deadline of its own, and a lease that tells when it stopped without a word.
            outcome = run => Some(outcome),
        }
    });
    match tokio::time::timeout(PATIENCE, &mut task).await {
        Ok(Ok(Some(Err(error)))) if matches!(error.kind, PortErrorKind::Busy | PortErrorKind::NotFound) => {
            Err(error.into())
        }
        _ => {
            tracing::info!(by = %person, "a scan of outputs was started");
            let body = json!({"status": "scan_started", "job": PATROL, "runs": format!("/api/v1/jobs/{PATROL}/runs")});
            Ok((StatusCode::ACCEPTED, Json(body)).into_response())
        }
    }
}

pub(crate) async fn validation(
    State(state): State<WebState>,
    caller: Caller,
    Id(feature): Id,
) -> Result<Json<Validation>, ApiError> {
    caller.of_installation(&state)?;
    match Inspector::new(state.context().clone()).feature(&feature).await {
        Ok(Some(validation)) => Ok(Json(validation)),
        Ok(None) => Err(ApiError::not_found("output of the last 24 hours of feature", &feature)),
        Err(QualityError::Store(error)) => Err(error.into()),
        Err(QualityError::Unknown { source_name, reason }) => Err(ApiError::new(
            StatusCode::BAD_GATEWAY,
            "unknown",
            format!("outputs are unknown: {source_name} could not be asked"),
        )
        .detail(reason)),
        Err(QualityError::Query(reason)) => {
            tracing::error!(%reason, "outputs could not be judged");
            Err(ApiError::internal())
        }
    }
}

pub(crate) async fn precision(
    State(state): State<WebState>,
    caller: Caller,
) -> Result<Json<All<IncidentPrecision>>, ApiError> {
    Ok(Json(All { items: state.context().store.feedback.precision(&caller.scope).await? }))
}
