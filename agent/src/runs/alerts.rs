//! Telling about signals: webhooks get every live signal, Slack one message per incident ("Settled questions, one voice").
//!
//! Owns what is handed over to the outbox, and when. Does not own sending, retrying and signing (actions). Must hold: a
//! signal is marked as told only after the outbox has it on disk; its key names the signal, so that handing it over again
//! after a crash tells nobody twice; signals in shadow are never handed over.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tripline_store::{RunSignal, Scope, StoreError};

use super::explain::{RateContext, explain_signal, severity_name};
use crate::AgentContext;
use crate::actions::{Destinations, Notices};
use crate::govern::GovernError;

/// Signals that are handed over in one go.
const AT_ONCE: u32 = 50;

/// Tells about signals. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Alerts {
    notices: Notices,
    destinations: Arc<Destinations>,
    /// The project whose outbox and Slack channel are the installation's.
    home: Scope,
}

impl Alerts {
    /// Hands over to the outbox of project `home`.
    #[must_use]
    pub fn new(notices: Notices, destinations: Arc<Destinations>, home: Scope) -> Self {
        Self { notices, destinations, home }
    }

    /// Hands over every signal of the context's project that nobody was told of; how many.
    ///
    /// # Errors
    /// Of the store: what was not handed over is tried again.
    pub async fn tell(&self, ctx: &AgentContext, now: DateTime<Utc>) -> Result<usize, GovernError> {
        let mut told = 0;
        loop {
            let signals = ctx.store.runs.unalerted_signals(&ctx.scope, AT_ONCE).await?;
            if signals.is_empty() {
                return Ok(told);
            }
            for signal in &signals {
                self.hand_over(ctx, signal, now).await?;
            }
            told += signals.len();
            let ids = signals.iter().map(|signal| signal.id).collect();
            ctx.store.runs.mark_alerted(&ctx.scope, ids, now).await?;
        }
    }

    async fn hand_over(&self, ctx: &AgentContext, signal: &RunSignal, now: DateTime<Utc>) -> Result<(), GovernError> {
        if self.destinations.has_webhook() {
            let rate = rate_of(ctx, signal, now).await.unwrap_or_else(|error| {
                // The rate is a side remark: the signal is told without it.
                tracing::warn!(%error, "how often a failure was seen could not be counted");
                None
            });
            let key = format!("signal:{}:{}:{}", ctx.scope.project_id(), signal.run_id, signal.failure_type);
            let body = webhook_body(signal, rate, now).to_string();
            self.notices.webhook(&self.home, key, None, body, now).await?;
        }
        let settings = ctx.settings.get();
        let loud = signal.severity >= settings.runs.slack_min_severity;
        let Some(id) = signal.incident_id.as_ref().filter(|_| loud && ctx.scope == self.home) else { return Ok(()) };
        if !self.destinations.has_slack() {
            return Ok(());
        }
        let Some(incident) = ctx.store.incidents.get(&ctx.scope, id).await? else { return Ok(()) };
        let known = self.notices.has_message(&ctx.scope, id).await?;
        self.notices.post(&ctx.scope, &incident, &settings.governance.slack_channel, now).await?;
        if known {
            // The message shows how often it was seen; it is brought up to date, once for each time it came back.
            let cause = format!("seen:{}:{}", incident.reopened_count, incident.severity);
            self.notices.update(&ctx.scope, id, &cause, now).await?;
        }
        Ok(())
    }
}

async fn rate_of(
    ctx: &AgentContext,
    signal: &RunSignal,
    now: DateTime<Utc>,
) -> Result<Option<RateContext>, StoreError> {
    let since = now - TimeDelta::days(7);
    let rate = ctx.store.runs.failure_rate(&ctx.scope, &signal.agent_id, &signal.failure_type, since).await?;
    Ok(RateContext::new(rate.total_runs, rate.affected_runs))
}

/// What a webhook gets (seed 000; `facts/dunetrace.md` §5), and the rate beside it.
fn webhook_body(signal: &RunSignal, rate: Option<RateContext>, now: DateTime<Utc>) -> Value {
    let explanation = explain_signal(signal, rate);
    json!({
        "schema_version": "1.0",
        "event": "failure_signal",
        "sent_at": now.timestamp_micros() as f64 / 1e6,
        "failure_type": signal.failure_type,
        "severity": severity_name(signal.severity),
        "confidence": signal.confidence,
        "run_id": signal.run_id,
        "agent_id": signal.agent_id,
        "agent_version": signal.agent_version,
        "step_index": signal.step_index,
        "detected_at": signal.detected_at.timestamp_micros() as f64 / 1e6,
        "title": explanation.title,
        "what": explanation.what,
        "why_it_matters": explanation.why_it_matters,
        "evidence_summary": explanation.evidence_summary,
        "evidence": signal.evidence,
        "suggested_fixes": explanation.suggested_fixes,
        "rate_context": rate,
    })
}

#[cfg(test)]
mod tests;
