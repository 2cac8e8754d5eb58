//! From rows to values.

use crate::sessions::{
    AgentPerformance, ErrorCluster, EventCorrelation, EventFact, Insight, Session, SessionEvent, SessionStatus,
    error_text, status_of,
};
use crate::sqlite::values::RowExt;
use rusqlite::Row;
use serde_json::{Map, Value};

pub(super) fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    let status: SessionStatus = row.get("status")?;
    let [revision, processed, deep]: [i64; 3] =
        [row.get("revision")?, row.get("processed_revision")?, row.get("deep_revision")?];
    Ok(Session {
        id: row.get("id")?,
        external_session_key: row.get("external_session_key")?,
        user_id: row.get("user_id")?,
        workspace_id: row.get("workspace_id")?,
        start_time: row.time("start_time")?,
        end_time: row.time_opt("end_time")?,
        status,
        event_count: row.get("event_count")?,
        agent_activity_score: row.get("agent_activity_score")?,
        human_activity_score: row.get("human_activity_score")?,
        error_density: row.get("error_density")?,
        milestone_breakdown: row.json("milestone_breakdown")?,
        tags: row.json("tags")?,
        config_snapshot: row.json("config_snapshot")?,
        requires_processing: revision > processed,
        last_processed_at: row.time_opt("last_processed_at")?,
        ready_for_deep: status == SessionStatus::Ended && revision == processed && revision > deep,
        deep_processed_at: row.time_opt("deep_processed_at")?,
        session_report: row.json_opt("session_report")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revision,
        processed_revision: processed,
    })
}

pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<SessionEvent> {
    Ok(SessionEvent {
        id: row.get("id")?,
        session_id: row.get("session_id")?,
        event_type: row.get("event_type")?,
        source_type: row.get("source_type")?,
        source_name: row.get("source_name")?,
        file_path: row.get("file_path")?,
        project_root: row.get("project_root")?,
        language: row.get("language")?,
        payload: row.json("payload")?,
        raw_message: row.get("raw_message")?,
        attribution_source: row.get("attribution_source")?,
        attribution_confidence: row.get("attribution_confidence")?,
        client_timestamp: row.time("client_timestamp")?,
        server_timestamp: row.time("server_timestamp")?,
        event_hash: row.get("event_hash")?,
        metadata: row.json("metadata")?,
        created_at: row.time("server_timestamp")?,
    })
}

pub(super) fn fact(row: &Row<'_>) -> rusqlite::Result<EventFact> {
    let event_type = row.get("event_type")?;
    let payload: Map<String, Value> = row.json("payload")?;
    let raw_message: Option<String> = row.get("raw_message")?;
    Ok(EventFact {
        seq: row.get("seq")?,
        id: row.get("id")?,
        event_type,
        source_type: row.get("source_type")?,
        source_name: row.get("source_name")?,
        file_path: row.get("file_path")?,
        project_root: row.get("project_root")?,
        status: status_of(event_type, &payload).map(str::to_owned),
        error_text: error_text(event_type, &payload, raw_message.as_deref()),
        client_timestamp: row.time("client_timestamp")?,
        server_timestamp: row.time("server_timestamp")?,
    })
}

pub(super) fn cluster(row: &Row<'_>) -> rusqlite::Result<ErrorCluster> {
    Ok(ErrorCluster {
        id: row.get("id")?,
        session_id: row.get("session_id")?,
        normalized_error: row.get("normalized_error")?,
        error_type: row.get("error_type")?,
        representative_event_id: row.get("representative_event_id")?,
        occurrence_count: row.get("occurrence_count")?,
        last_seen_at: row.time("last_seen_at")?,
        metadata: row.json("metadata")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(super) fn correlation(row: &Row<'_>) -> rusqlite::Result<EventCorrelation> {
    Ok(EventCorrelation {
        id: row.get("id")?,
        session_id: row.get("session_id")?,
        cause_event_id: row.get("cause_event_id")?,
        effect_event_id: row.get("effect_event_id")?,
        correlation_type: row.get("correlation_type")?,
        confidence: row.get("confidence")?,
        time_delta_ms: row.get("time_delta_ms")?,
        file_match: row.get("file_match")?,
        metadata: row.json("metadata")?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn performance(row: &Row<'_>) -> rusqlite::Result<AgentPerformance> {
    Ok(AgentPerformance {
        id: row.get("id")?,
        agent_id: row.get("agent_id")?,
        session_id: row.get("session_id")?,
        total_actions: row.get("total_actions")?,
        successful_actions: row.get("successful_actions")?,
        induced_error_count: row.get("induced_error_count")?,
        override_count: row.get("override_count")?,
        success_rate: row.get("success_rate")?,
        induced_error_rate: row.get("induced_error_rate")?,
        override_rate: row.get("override_rate")?,
        metrics_version: row.get("metrics_version")?,
        regression_flags: row.json("regression_flags")?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn insight(row: &Row<'_>) -> rusqlite::Result<Insight> {
    Ok(Insight {
        id: row.get("id")?,
        session_id: row.get("session_id")?,
        agent_id: row.get("agent_id")?,
        severity: row.get("severity")?,
        category: row.get("category")?,
        title: row.get("title")?,
        message: row.get("message")?,
        payload: row.json("payload")?,
        insight_key: row.get("insight_key")?,
        created_at: row.time("created_at")?,
    })
}
